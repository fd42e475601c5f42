#include "world.h"

/* Edits of a healthy pod's routes and of the objects. */
static void nothing(struct world *w)
{
	(void)w;
}

static void edited_exclude_cidrs(struct world *w) /* the recording: .60 out, one host in */
{
	w->exceptions[1] = cidr_of("192.0.2.11/32");
}

static void exception_added(struct world *w)
{
	world_except(w, "192.0.2.0/24");
}

static void exception_removed(struct world *w)
{
	w->subject.policy.n_exceptions--;
	w->subject.policy.n_exceptions--; /* 10.50.0.0/16 and IMDS; the latter is the platform's */
}

static void platform_route_is_extra(struct world *w)
{
	w->subject.policy.n_exceptions = 2; /* IMDS is routed by the CNI, not listed */
}

static void cni_unknown(struct world *w)
{
	w->subject.policy.n_exceptions = 1;
	w->subject.cni_known = false;
}

static void default_moved(struct world *w)
{
	world_unroute(w, "0.0.0.0/0");
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
}

static void default_shadowed(struct world *w) /* both exist, the lower metric wins */
{
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	w->routes[0].priority = 100;
}

static void default_backup(struct world *w)
{
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	w->routes[w->subject.live.n_routes - 1].priority = 100;
}

static void default_gone(struct world *w)
{
	world_unroute(w, "0.0.0.0/0");
}

static void default_in_halves(struct world *w)
{
	world_route(w, "0.0.0.0/1", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "128.0.0.0/1", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
}

static void quarter_past_the_platform(struct world *w) /* begins inside 0.0.0.0/8 */
{
	world_route(w, "0.0.0.0/2", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
}

static void host_route_by_hand(struct world *w)
{
	world_route(w, "8.8.8.8/32", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
}

static void wider_than_listed(struct world *w)
{
	world_unroute(w, "10.50.0.0/16");
	world_route(w, "10.48.0.0/14", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
}

static void overlapping(struct world *w) /* 10.0.0.0/8 listed beside 10.0.0.0/16 and /50 */
{
	world_except(w, "10.0.0.0/8");
	world_except(w, "10.0.0.0/8");
	world_route(w, "10.0.0.0/8", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
}

static void covered_by_a_wider_one(struct world *w)
{
	overlapping(w);
	world_unroute(w, "10.50.0.0/16"); /* .0.0/8 still leads there */
}

static void hole_in_an_exception(struct world *w)
{
	world_route(w, "10.50.7.0/24", "fe80::1", WORLD_WG0, RTPROT_BOOT);
}

static void link_route(struct world *w)
{
	world_route(w, "10.99.0.0/24", NULL, WORLD_ETH0, RTPROT_KERNEL);
}

static void cluster_route(struct world *w)
{
	world_route(w, "10.60.0.0/16", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
}

static void listed_cluster_route_missing(struct world *w)
{
	world_except(w, "10.60.0.0/16");
}

static void other_table(struct world *w)
{
	world_route(w, "8.8.8.8/32", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	w->routes[w->subject.live.n_routes - 1].table = 8738;
}

/* A rule before main sends everything to a table of its own. */
static void diverted_by_a_rule(struct world *w)
{
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	w->routes[w->subject.live.n_routes - 1].table = 100;
	w->rules[3] = w->rules[2];
	w->rules[2] = (struct live_rule){ .priority = 100, .table = 100, .action = FR_ACT_TO_TBL };
	w->subject.live.n_rules = 4;
}

static void perhaps_diverted(struct world *w) /* by a selector that is not modelled */
{
	diverted_by_a_rule(w);
	w->rules[2].other = true;
}

static void blackhole(struct world *w)
{
	world_route(w, "8.8.8.8/32", NULL, 0, RTPROT_STATIC);
	w->routes[w->subject.live.n_routes - 1].type = RTN_BLACKHOLE;
}

static void truncated(struct world *w)
{
	default_moved(w);
	w->subject.live.truncated = true;
}

static void unreadable(struct world *w)
{
	default_moved(w);
	w->subject.live.readable = false;
}

static void just_met(struct world *w)
{
	default_moved(w);
	w->subject.since = at(0);
	w->subject.gateway_changed_us = at(-1).wall_us;
}

static void azure(struct world *w)
{
	w->blue.default_to_gateway = false;
	w->subject.policy.default_path = PATH_DIRECT;
	w->subject.policy.n_exceptions = 0;
	world_except(w, "192.0.2.11/32");
}

static void azure_right(struct world *w)
{
	azure(w);
	w->subject.live.n_routes = 0;
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "10.60.1.0/24", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "10.60.1.1/32", NULL, WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "192.0.2.11/32", "fe80::1", WORLD_WG0, RTPROT_BOOT);
}

static void azure_not_listed_any_more(struct world *w)
{
	azure_right(w);
	w->exceptions[0] = cidr_of("192.0.2.12/32");
	world_route(w, "192.0.2.12/32", "fe80::1", WORLD_WG0, RTPROT_BOOT);
}

static void azure_newly_listed(struct world *w)
{
	azure_right(w);
	world_except(w, "198.51.100.0/24");
}

static const struct {
	const char *name;
	void (*edit)(struct world *w);
	const char *reason; /* NULL: not stale */
} cases[] = {
	{ "as recorded", nothing, NULL },
	{ "excludeCidrs edited", edited_exclude_cidrs, "192.0.2.11/32 is excluded" },
	{ "exception added", exception_added, "192.0.2.0/24 is excluded" },
	{ "exception removed", exception_removed, "route to 10.50.0.0/16 leaves by eth0" },
	{ "platform", platform_route_is_extra, NULL },
	{ "CNI configuration unknown", cni_unknown, NULL },
	{ "default moved", default_moved,
	  "default route leaves by eth0, but defaultRoute is static" },
	{ "default shadowed", default_shadowed, "default route leaves by eth0" },
	{ "default with a backup", default_backup, NULL },
	{ "default gone", default_gone, "no default route" },
	{ "default in halves", default_in_halves, "route to 0.0.0.0/1" },
	{ "quarter", quarter_past_the_platform, "route to 0.0.0.0/2" },
	{ "host route by hand", host_route_by_hand, "route to 8.8.8.8/32" },
	{ "wider than listed", wider_than_listed, "route to 10.48.0.0/14" },
	{ "overlapping", overlapping, NULL },
	{ "covered", covered_by_a_wider_one, NULL },
	{ "hole", hole_in_an_exception, "10.50.0.0/16 is excluded from the gateway" },
	{ "link route", link_route, NULL },
	{ "cluster route", cluster_route, NULL },
	{ "listed cluster route missing", listed_cluster_route_missing,
	  "10.60.0.0/16 is excluded" },
	{ "other table", other_table, NULL },
	{ "diverted by a rule", diverted_by_a_rule, "route to 0.0.0.0/0 leaves by eth0" },
	{ "perhaps diverted", perhaps_diverted, NULL },
	{ "blackhole", blackhole, NULL },
	{ "truncated", truncated, NULL },
	{ "unreadable", unreadable, NULL },
	{ "just met", just_met, NULL },
	{ "azureNetworking now", azure, "defaultRoute is azureNetworking" },
	{ "azureNetworking right", azure_right, NULL },
	{ "azureNetworking, not listed any more", azure_not_listed_any_more,
	  "route to 192.0.2.11/32 uses the gateway" },
	{ "azureNetworking, newly listed", azure_newly_listed, "198.51.100.0/24 for the gateway" },
};

static void compares_with_what_the_objects_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct finding *finding;
		struct world w;

		world_init(&w);
		cases[i].edit(&w);
		world_judge(&w, 1);
		finding = world_finding(&w, STALE_ROUTES);
		if (!!finding != !!cases[i].reason)
			fail_msg("%s: %s", cases[i].name, finding ? finding->reason : "not stale");
		if (finding) {
			struct json_object *evidence = evidence_of(finding);

			expect_text(cases[i].name, finding->reason, cases[i].reason);
			expect_text(cases[i].name, finding->remedy,
			            "kubectl delete pod -n team app");
			assert_true(json_object_object_get_ex(evidence, "routes", NULL));
			assert_true(json_object_object_get_ex(evidence, "exceptions", NULL));
			json_object_put(evidence);
		}
		world_clear(&w);
	}
}

/* A single look at a pod that runs for long: what is missing is missing. */
static void once_waits_for_new_pods_only(void **state)
{
	struct world w;

	(void)state;
	for (int age = 0; age < 2; age++) {
		world_init(&w);
		just_met(&w);
		w.settings.once = true;
		w.subject.started_us = at(age ? -600 : 0).wall_us;
		world_judge(&w, 1);
		assert_true(!!world_finding(&w, STALE_ROUTES) == (age > 0));
		world_clear(&w);
	}
}

/* With such an entry no pod can start: a restart alone would end what still runs. */
static void bad_exception_comes_first(void **state)
{
	const struct finding *finding;
	struct world w;

	(void)state;
	world_init(&w);
	exception_added(&w);
	w.blue.bad_exception = "fd00::/8";
	world_judge(&w, 1);
	finding = world_finding(&w, STALE_ROUTES);
	if (!finding)
		fail_msg("not stale");
	expect_text("bad exception", finding->remedy, "remove `fd00::/8` from spec.excludeCidrs");
	expect_text("bad exception", finding->remedy,
	            "then restart the pod: `kubectl delete pod -n team app`");
	w.blue.bad_exception = NULL;
	world_clear(&w);
}

/* The answer is kept until a reading or an object changes, and no longer. */
static void looks_again_when_something_changed(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_judge(&w, 1);
	assert_null(world_finding(&w, STALE_ROUTES));
	world_except(&w, "192.0.2.0/24");
	w.subject.gateway_changed_us = at(2).wall_us;
	world_judge(&w, 3);
	assert_non_null(world_finding(&w, STALE_ROUTES));
	assert_int_equal(world_finding(&w, STALE_ROUTES)->first.wall_us, at(2).wall_us);
	world_judge(&w, 4);
	assert_int_equal(world_finding(&w, STALE_ROUTES)->first.wall_us, at(2).wall_us);

	/* A pod restarted in place: its routes are read anew. */
	world_route(&w, "192.0.2.0/24", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	world_read(&w, 5);
	world_judge(&w, 5);
	assert_null(world_finding(&w, STALE_ROUTES));
	world_judge(&w, 15);
	assert_int_equal(w.n_changes, 2);
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares_with_what_the_objects_say),
		cmocka_unit_test(once_waits_for_new_pods_only),
		cmocka_unit_test(bad_exception_comes_first),
		cmocka_unit_test(looks_again_when_something_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
