#include "world.h"

#include "verdict/explain.h"

static void nothing(struct world *w)
{
	(void)w;
}

static void unlisted(struct world *w)
{
	w->subject.policy.n_exceptions = 0;
}

static void default_gone(struct world *w)
{
	world_unroute(w, "0.0.0.0/0");
}

static void unreadable(struct world *w)
{
	w->subject.live.readable = false;
}

static void perhaps(struct world *w)
{
	w->rules[2].other = true;
}

static void missing(struct world *w)
{
	w->subject.gateway = NULL;
}

static void from_spec(struct world *w)
{
	static struct cidr spec[1];

	spec[0] = w->exceptions[0];
	w->blue.exceptions = spec;
	w->blue.n_exceptions = 1;
}

static void azure(struct world *w)
{
	w->blue.default_to_gateway = false;
	w->subject.policy.default_path = PATH_DIRECT;
}

static void required(struct world *w)
{
	w->subject.gateway = NULL;
	w->subject.gateway_name = NULL;
	w->subject.required = true;
	w->subject.policy.default_path = PATH_UNKNOWN;
	w->subject.policy.n_exceptions = 0;
}

static const struct {
	const char *name;
	void (*edit)(struct world *w);
	const char *to;
	enum path path;
	const char *match, *rule, *interface, *route;
	enum explain_live live;
	enum explain_agreement agreement;
} cases[] = {
	{ "internet", nothing, "8.8.8.8", PATH_GATEWAY, "",
	  "defaultRoute staticEgressGateway of gateway blue", "wg0",
	  "default via inet6 fe80::1 dev wg0", EXPLAIN_LIVE_TUNNEL, EXPLAIN_AGREES },
	{ "excluded", nothing, "10.50.7.7", PATH_DIRECT, "10.50.0.0/16",
	  "excludedCIDRs of the node's CNI configuration holds 10.50.0.0/16", "eth0",
	  "10.50.0.0/16 via 10.60.1.1 dev eth0 proto static", EXPLAIN_LIVE_OTHER, EXPLAIN_AGREES },
	{ "excluded by the gateway", from_spec, "10.0.0.1", PATH_DIRECT, "10.0.0.0/16",
	  "spec.excludeCidrs of the gateway holds 10.0.0.0/16", "eth0", "dev eth0 proto static",
	  EXPLAIN_LIVE_OTHER, EXPLAIN_AGREES },
	{ "not excluded any more", unlisted, "10.50.7.7", PATH_GATEWAY, "", "no exception", "eth0",
	  "10.50.0.0/16 via", EXPLAIN_LIVE_OTHER, EXPLAIN_DIFFERS },
	{ "cluster", nothing, "10.60.1.99", PATH_CLUSTER, "10.60.0.0/16", "policy.clusterCidrs",
	  "wg0", "default", EXPLAIN_LIVE_TUNNEL, EXPLAIN_AGREES },
	{ "IMDS", nothing, "169.254.169.254", PATH_CLUSTER, "169.254.0.0/16", "platform", "eth0",
	  "169.254.169.254/32 via", EXPLAIN_LIVE_OTHER, EXPLAIN_AGREES },
	{ "IPv6", nothing, "2001:db8::1", PATH_GATEWAY, "", "IPv4 only", "", "", EXPLAIN_LIVE_NONE,
	  EXPLAIN_AGREES },
	{ "no route", default_gone, "8.8.8.8", PATH_GATEWAY, "", "defaultRoute", "", "",
	  EXPLAIN_LIVE_NONE, EXPLAIN_DIFFERS },
	{ "unreadable", unreadable, "8.8.8.8", PATH_GATEWAY, "", "defaultRoute", "", "",
	  EXPLAIN_LIVE_UNKNOWN, EXPLAIN_UNKNOWN },
	{ "unknown rule", perhaps, "8.8.8.8", PATH_GATEWAY, "", "defaultRoute", "", "",
	  EXPLAIN_LIVE_UNKNOWN, EXPLAIN_UNKNOWN },
	{ "no object", missing, "8.8.8.8", PATH_GATEWAY, "", "does not exist in namespace team",
	  "wg0", "default", EXPLAIN_LIVE_TUNNEL, EXPLAIN_UNKNOWN },
	{ "azureNetworking", azure, "8.8.8.8", PATH_DIRECT, "", "defaultRoute azureNetworking",
	  "wg0", "default", EXPLAIN_LIVE_TUNNEL, EXPLAIN_DIFFERS },
	{ "required", required, "8.8.8.8", PATH_UNKNOWN, "", "requireGateway", "wg0", "default",
	  EXPLAIN_LIVE_TUNNEL, EXPLAIN_UNKNOWN },
};

static void says_which_way_and_why(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct explain e;
		struct world w;
		struct ip to = ip_of(cases[i].to);

		world_init(&w);
		cases[i].edit(&w);
		explain(&w.subject, &to, NULL, 0, &e);
		if (e.expected.path != cases[i].path || e.live != cases[i].live ||
		    e.agreement != cases[i].agreement)
			fail_msg("%s: %s, live %s, %s (%s)", cases[i].name,
			         path_name(e.expected.path), explain_live_name(e.live),
			         explain_agreement_name(e.agreement), e.verdict);
		assert_string_equal(e.match, cases[i].match);
		assert_string_equal(e.interface, cases[i].interface);
		expect_text(cases[i].name, e.rule, cases[i].rule);
		expect_text(cases[i].name, e.route, cases[i].route);
		assert_int_equal(e.verdict[0] != '\0', 1);
		assert_null(e.newest);
		world_clear(&w);
	}
}

static void tells_what_was_seen(void **state)
{
	const struct flow *flows[3];
	struct ip to = ip_of("8.8.8.8");
	struct explain e;
	struct world w;

	(void)state;
	world_init(&w);
	flows[0] = world_flow(&w, "8.8.8.8", WORLD_WG0, 1, 9);
	flows[1] = world_flow(&w, "8.8.4.4", WORLD_WG0, 1, 99);
	flows[2] = world_flow(&w, "8.8.8.8", WORLD_ETH0, 1, 5);
	explain(&w.subject, &to, flows, 3, &e);
	assert_int_equal(e.n_flows, 2);
	assert_int_equal(e.packets, 10);
	assert_int_equal(e.bytes, 800);
	assert_ptr_equal(e.newest, flows[0]);
	assert_string_equal(e.must_interface, "wg0");
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_which_way_and_why),
		cmocka_unit_test(tells_what_was_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
