#include "world.h"

/* A row: how the world is at `now`, and what follows. */
struct row {
	const char *name;
	void (*edit)(struct world *w);
	double now;
	enum subject_state state;
	unsigned int kinds;
	const char *reason, *remedy;
};

static void no_prefix(struct world *w)
{
	w->blue.prefix.n = 0;
	w->blue.egress_prefix = "";
	w->blue.created_us = at(0).wall_us;
}

static void only_blanks(struct world *w)
{
	no_prefix(w);
	assert_int_equal(prefix_parse(",,", &w->blue.prefix), 0);
}

static void bad_prefix(struct world *w)
{
	no_prefix(w);
	w->blue.egress_prefix = "<pending>";
	w->blue.prefix_bad = true;
}

static void no_prefix_and_bad_exception(struct world *w)
{
	no_prefix(w);
	w->blue.bad_exception = "fd00::/8";
}

static void lost_prefix(struct world *w) /* under the agent's eyes, after an hour of life */
{
	no_prefix(w);
	w->blue.created_us = at(-3600).wall_us;
	w->subject.gateway_changed_us = at(0).wall_us;
}

static void old_without_prefix(struct world *w) /* the agent saw it first just now */
{
	no_prefix(w);
	w->blue.created_us = at(-3600).wall_us;
}

static void missing(struct world *w)
{
	w->subject.gateway = NULL;
}

static void unknown(struct world *w)
{
	missing(w);
	w->subject.gateway_unknown = true;
}

static void missing_just_met(struct world *w)
{
	missing(w);
	w->subject.since = at(0);
	w->subject.gateway_changed_us = 0;
}

static void deleted(struct world *w)
{
	w->blue.deleted_us = at(0).wall_us;
}

static void untunneled(struct world *w)
{
	w->subject.live.tunnel_ifindex = 0;
	w->subject.live.n_links = 2;
}

static void untunneled_just_met(struct world *w)
{
	untunneled(w);
	w->subject.since = at(0);
	w->subject.started_us = at(0).wall_us;
}

static void untunneled_bad_exception(struct world *w)
{
	untunneled(w);
	w->blue.bad_exception = "10.0.0.0";
}

static void untunneled_unreadable(struct world *w)
{
	untunneled(w);
	w->subject.live.readable = false;
}

static void untunneled_truncated(struct world *w)
{
	untunneled(w);
	w->subject.live.truncated = true;
}

static void host_network(struct world *w)
{
	w->subject.host_network = true;
	w->subject.live.readable = false;
}

static void just_started(struct world *w)
{
	w->subject.since = at(-1);
	w->subject.created_us = at(-2).wall_us;
	w->subject.started_us = at(-1).wall_us;
	w->subject.gateway_changed_us = at(-1).wall_us;
}

static void just_started_html(struct world *w)
{
	just_started(w);
	ROUND(w, 1, "!unparseable", "!unparseable", "!unparseable", "!unparseable");
}

static void just_started_silent(struct world *w)
{
	just_started(w);
	ROUND(w, 1, "!connect-timeout", "!connect-timeout", "!connect-timeout", "!timeout");
}

static void new_gateway(struct world *w)
{
	w->blue.created_us = at(0).wall_us;
}

static void edited_gateway(struct world *w)
{
	w->subject.gateway_changed_us = at(0).wall_us;
}

static void no_echoes(struct world *w)
{
	w->settings.n_echoes = 0;
}

static void nothing(struct world *w)
{
	(void)w;
}

#define PREFIX KIND(UNASSIGNED_PREFIX)
#define MISSING KIND(MISSING_CONFIGURATION)
#define UNPROGRAMMED KIND(UNPROGRAMMED_POD)

static const struct row rows[] = {
	{ "prefix empty, within the grace", no_prefix, 59, STATE_PENDING, 0,
	  "no egressIpPrefix yet, since ", NULL },
	{ "prefix empty, past the grace", no_prefix, 60, STATE_VIOLATED, PREFIX,
	  "gateway blue has no egressIpPrefix after 60 s",
	  "kubectl describe staticgatewayconfiguration -n team blue" },
	{ "nothing but commas", only_blanks, 61, STATE_VIOLATED, PREFIX, "no egressIpPrefix",
	  NULL },
	{ "prefix does not parse, within", bad_prefix, 59, STATE_PENDING, 0,
	  "neither a CIDR nor a list of addresses: \"<pending>\", since ", NULL },
	{ "prefix does not parse, past", bad_prefix, 61, STATE_VIOLATED, PREFIX,
	  "neither a CIDR nor a list of addresses: \"<pending>\"", NULL },
	{ "and a bad exception", no_prefix_and_bad_exception, 61, STATE_VIOLATED, PREFIX,
	  "\"fd00::/8\" makes every start of a pod fail", "remove `fd00::/8`" },
	{ "prefix lost, within", lost_prefix, 59, STATE_PENDING, 0, NULL, NULL },
	{ "prefix lost, past", lost_prefix, 61, STATE_VIOLATED, PREFIX, NULL, NULL },
	{ "never had one, agent is new", old_without_prefix, 0, STATE_VIOLATED, PREFIX,
	  "after 3600 s", NULL },
	{ "SGC missing", missing, 1, STATE_VIOLATED, MISSING,
	  "names gateway blue, which does not exist in namespace team",
	  "kubectl get staticgatewayconfiguration -n team" },
	{ "SGC not listed because nothing is", unknown, 1, STATE_UNVERIFIED, 0,
	  "StaticGatewayConfigurations cannot be read, or not whole", NULL },
	{ "SGC missing, pod met just now", missing_just_met, 4, STATE_PENDING, 0,
	  "waiting for the gateway", NULL },
	{ "SGC missing, pod met a while ago", missing_just_met, 6, STATE_VIOLATED, MISSING, NULL,
	  NULL },
	{ "SGC being deleted", deleted, 1, STATE_VIOLATED, MISSING, "is being deleted", NULL },
	{ "no tunnel", untunneled, 1, STATE_VIOLATED, UNPROGRAMMED, "has no tunnel interface",
	  "kubectl delete pod -n team app" },
	{ "no tunnel yet", untunneled_just_met, 4, STATE_PENDING, 0, "started moments ago", NULL },
	{ "no tunnel after all", untunneled_just_met, 6, STATE_VIOLATED, UNPROGRAMMED, NULL, NULL },
	{ "no tunnel, bad exception", untunneled_bad_exception, 1, STATE_VIOLATED, UNPROGRAMMED,
	  "\"10.0.0.0\"", "remove `10.0.0.0` from spec.excludeCidrs" },
	{ "links unknown", untunneled_unreadable, 1, STATE_UNVERIFIED, 0, "not probed yet", NULL },
	{ "links cut", untunneled_truncated, 1, STATE_UNVERIFIED, 0, NULL, NULL },
	{ "hostNetwork", host_network, 1, STATE_VIOLATED, UNPROGRAMMED, "uses the host's network",
	  "hostNetwork: false" },
	{ "just started, not probed", just_started, 1, STATE_PENDING, 0, "the pod started", NULL },
	{ "just started, silent", just_started_silent, 2, STATE_PENDING, 0, "connect-timeout",
	  NULL },
	{ "a start does not explain HTML", just_started_html, 2, STATE_UNVERIFIED, 0, "unparseable",
	  NULL },
	{ "started longer ago than the grace", just_started, 61, STATE_UNVERIFIED, 0, NULL, NULL },
	{ "new gateway", new_gateway, 10, STATE_PENDING, 0, "the gateway was created", NULL },
	{ "edited gateway", edited_gateway, 10, STATE_PENDING, 0, "the gateway changed", NULL },
	{ "edited long ago", edited_gateway, 61, STATE_UNVERIFIED, 0, NULL, NULL },
	{ "no echo", no_echoes, 1, STATE_UNVERIFIED, 0, "no echo is configured", NULL },
	{ "nothing known yet", nothing, 1, STATE_UNVERIFIED, 0, "namespace is not found", NULL },
};

static void judges_the_objects(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct world w;

		world_init(&w);
		row->edit(&w);
		world_judge(&w, row->now);
		expect(&w, row->name, row->state, row->kinds);
		if (row->reason)
			expect_reason(&w, row->name, row->reason);
		if (row->remedy)
			expect_text(row->name, w.findings[0].remedy, row->remedy);
		if (w.n_findings)
			json_object_put(evidence_of(&w.findings[0]));
		world_clear(&w);
	}
}

/* A proof from before does not outlive the gateway. */
static void a_lost_gateway_ends_the_proof(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 1);
	expect(&w, "before", STATE_VERIFIED, 0);
	w.subject.gateway = NULL;
	w.subject.gateway_changed_us = at(2).wall_us;
	world_judge(&w, 2);
	expect(&w, "gone", STATE_VIOLATED, KIND(MISSING_CONFIGURATION));
	assert_int_equal(w.findings[0].first.wall_us, at(2).wall_us);
	w.subject.gateway = &w.blue;
	w.subject.gateway_changed_us = at(3).wall_us;
	world_judge(&w, 12.5);
	expect(&w, "back", STATE_VERIFIED, 0);
	world_clear(&w);
}

static void a_tunnel_that_vanishes_is_dated_by_it(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_judge(&w, 1);
	untunneled(&w);
	world_read(&w, 7);
	world_judge(&w, 8); /* the pod may be ending: its tunnel goes first */
	assert_int_equal(w.n_findings, 0);
	world_judge(&w, 12);
	expect(&w, "vanished", STATE_VIOLATED, KIND(UNPROGRAMMED_POD));
	assert_int_equal(w.findings[0].first.wall_us, at(7).wall_us);
	expect_text("vanished", w.findings[0].reason, "any more");
	world_clear(&w);
}

static void prefix_resolves_when_it_comes(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	no_prefix(&w);
	world_judge(&w, 61);
	expect(&w, "open", STATE_VIOLATED, PREFIX);
	assert_int_equal(prefix_parse("10.0.1.8,,10.0.1.9", &w.blue.prefix), 0);
	w.blue.provision_public_ips = false;
	w.subject.gateway_changed_us = at(65).wall_us;
	ROUND(&w, 66, "10.70.0.9=10.0.1.8", "10.70.0.8=10.0.1.9", NULL, NULL);
	world_judge(&w, 71.1);
	expect(&w, "assigned", STATE_VERIFIED, 0);
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judges_the_objects),
		cmocka_unit_test(a_lost_gateway_ends_the_proof),
		cmocka_unit_test(a_tunnel_that_vanishes_is_dated_by_it),
		cmocka_unit_test(prefix_resolves_when_it_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
