#include "world.h"

enum pod {
	POD_NORMAL,
	POD_AZURE,
	POD_UNTUNNELED,
	POD_HOST,
	POD_ORPHAN,
	POD_REQUIRED,
	POD_PLAIN,
	POD_UNREADABLE,
};

static void make(struct world *w, enum pod pod)
{
	world_init(w);
	switch (pod) {
	case POD_NORMAL:
		break;
	case POD_AZURE:
		w->blue.default_to_gateway = false;
		w->subject.policy.default_path = PATH_DIRECT;
		break;
	case POD_UNTUNNELED:
		w->subject.live.tunnel_ifindex = 0;
		w->subject.live.n_links = 2;
		break;
	case POD_HOST:
		w->subject.host_network = true;
		w->subject.live.readable = false;
		break;
	case POD_ORPHAN: /* the annotation names nothing that exists */
		w->subject.gateway = NULL;
		break;
	case POD_REQUIRED:
		w->subject.required = true;
		/* fallthrough */
	case POD_PLAIN:
		w->subject.gateway = NULL;
		w->subject.gateway_name = NULL;
		w->subject.policy.default_path = PATH_UNKNOWN;
		w->subject.policy.n_exceptions = 0;
		break;
	case POD_UNREADABLE:
		w->subject.live.readable = false;
		break;
	}
}

static const struct {
	enum pod pod;
	const char *dst;
	uint32_t ifindex;
	enum flow_origin origin;
	enum path path;
	int kind; /* -1: not offending */
} cases[] = {
	{ POD_NORMAL, "192.0.2.1", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, -1 },
	{ POD_NORMAL, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, GATEWAY_BYPASS },
	/* Answers, whatever their mark; and by the tunnel they are seen to be there. */
	{ POD_NORMAL, "198.51.100.7", WORLD_ETH0, FLOW_REMOTE, PATH_REPLY, -1 },
	{ POD_NORMAL, "198.51.100.7", WORLD_WG0, FLOW_REMOTE, PATH_GATEWAY, -1 },
	/* Cluster, excluded, platform. */
	{ POD_NORMAL, "10.60.1.99", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_NORMAL, "10.60.1.99", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, -1 },
	{ POD_NORMAL, "10.0.0.10", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, -1 },
	{ POD_NORMAL, "10.0.0.10", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY,
	  -1 }, /* stale-routes says it */
	{ POD_NORMAL, "169.254.169.254", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_NORMAL, "168.63.129.16", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_NORMAL, "ff02::2", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_NORMAL, "10.60.1.1", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_NORMAL, "192.0.2.1", WORLD_LOOPBACK, FLOW_LOCAL, PATH_UNKNOWN, -1 },
	{ POD_NORMAL, "192.0.2.1", 77, FLOW_LOCAL, PATH_UNKNOWN, -1 }, /* interface not known yet */
	{ POD_NORMAL, "2001:db8::1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, GATEWAY_BYPASS },
	{ POD_AZURE, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, -1 },
	{ POD_AZURE, "192.0.2.1", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, UNEXPECTED_GATEWAY },
	{ POD_AZURE, "10.0.0.10", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, -1 },
	{ POD_AZURE, "10.0.0.10", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, GATEWAY_BYPASS },
	{ POD_AZURE, "10.60.1.99", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, -1 },
	{ POD_AZURE, "192.0.2.1", WORLD_ETH0, FLOW_REMOTE, PATH_REPLY, -1 },
	{ POD_UNTUNNELED, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, GATEWAY_BYPASS },
	{ POD_UNTUNNELED, "10.0.0.10", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, -1 },
	{ POD_UNTUNNELED, "192.0.2.1", WORLD_ETH0, FLOW_REMOTE, PATH_REPLY, -1 },
	{ POD_HOST, "192.0.2.1", 7, FLOW_LOCAL, PATH_DIRECT, GATEWAY_BYPASS },
	{ POD_HOST, "192.0.2.1", WORLD_LOOPBACK, FLOW_LOCAL, PATH_UNKNOWN, -1 },
	{ POD_HOST, "10.60.1.99", 7, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_ORPHAN, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, -1 },
	{ POD_REQUIRED, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, UNGOVERNED_EGRESS },
	{ POD_REQUIRED, "10.60.1.99", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_REQUIRED, "169.254.169.254", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
	{ POD_REQUIRED, "192.0.2.1", WORLD_ETH0, FLOW_REMOTE, PATH_REPLY, -1 },
	{ POD_REQUIRED, "192.0.2.1", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, UNEXPECTED_GATEWAY },
	{ POD_PLAIN, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_DIRECT, -1 },
	{ POD_PLAIN, "192.0.2.1", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, UNEXPECTED_GATEWAY },
	{ POD_PLAIN, "10.60.1.99", WORLD_WG0, FLOW_LOCAL, PATH_GATEWAY, -1 },
	{ POD_UNREADABLE, "192.0.2.1", WORLD_ETH0, FLOW_LOCAL, PATH_UNKNOWN, -1 },
	{ POD_UNREADABLE, "10.60.1.99", WORLD_ETH0, FLOW_LOCAL, PATH_CLUSTER, -1 },
};

static void classifies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum violation_kind kind = _VIOLATION_KIND_MAX;
		struct flow *flow;
		struct world w;

		make(&w, cases[i].pod);
		flow = world_flow(&w, cases[i].dst, cases[i].ifindex, 0, 0);
		flow->key.origin = (uint8_t)cases[i].origin;
		flow->offending = cases[i].kind < 0; /* must be set either way */
		judge_flow(&w.subject, flow, &kind);
		if (flow->path != cases[i].path || flow->offending != (cases[i].kind >= 0) ||
		    (flow->offending && (int)kind != cases[i].kind) ||
		    (!flow->offending && kind != _VIOLATION_KIND_MAX))
			fail_msg("row %zu (%s): path %s, offending %d", i, cases[i].dst,
			         path_name((enum path)flow->path), flow->offending);
		world_clear(&w);
	}
}

/* Without cluster CIDRs too: the next hop's link route is the CNI plugin's own. */
/* A pod must not end its violation by making its links unreadable or by deleting one. */
static void what_was_known_of_a_flow_holds_while_nothing_can_be_read(void **state)
{
	struct flow flow = { .key = { .remote = ip_of("192.0.2.1"),
		                      .ifindex = WORLD_ETH0,
		                      .protocol = IPPROTO_TCP } };
	enum violation_kind kind;
	struct world w;

	(void)state;
	world_init(&w);
	judge_flow(&w.subject, &flow, &kind);
	assert_true(flow.offending);
	w.subject.live.readable = false;
	kind = _VIOLATION_KIND_MAX;
	judge_flow(&w.subject, &flow, &kind);
	assert_true(flow.offending);
	assert_int_equal(kind, GATEWAY_BYPASS);
	assert_int_equal(flow.path, PATH_DIRECT);
	world_clear(&w);
}

static void the_next_hop_is_no_egress(void **state)
{
	static const struct {
		const char *dst;
		bool offending;
	} rows[] = { { "10.60.1.1", false }, { "10.60.1.3", true }, { "192.0.2.254", true } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum violation_kind kind;
		struct world w;

		world_init(&w);
		w.subject.policy.n_cluster = 0;
		/* A public next hop is none that the platform lays. */
		world_route(&w, "192.0.2.254/32", NULL, WORLD_ETH0, RTPROT_BOOT);
		world_route(&w, "198.51.100.0/24", "192.0.2.254", WORLD_ETH0, RTPROT_BOOT);
		world_flow(&w, rows[i].dst, WORLD_ETH0, 0, 0);
		judge_flow(&w.subject, &w.flows[0], &kind);
		assert_int_equal(w.flows[0].offending, rows[i].offending);
		world_clear(&w);
	}
}

static void every_protocol_alike(void **state)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 132, 47 };

	(void)state;
	for (size_t i = 0; i < sizeof(protocols); i++) {
		enum violation_kind kind;
		struct world w;

		world_init(&w);
		world_flow(&w, "192.0.2.1", WORLD_ETH0, 0, 0)->key.protocol = protocols[i];
		judge_flow(&w.subject, &w.flows[0], &kind);
		assert_true(w.flows[0].offending);
		assert_int_equal(kind, GATEWAY_BYPASS);
		world_clear(&w);
	}
}

static void bypass_carries_destination_port_and_count(void **state)
{
	struct json_object *evidence, *list, *flow, *value;
	struct world w;

	(void)state;
	world_init(&w);
	world_flow(&w, "192.0.2.1", WORLD_ETH0, 1, 1.5)->connections = 3;
	world_flow(&w, "192.0.2.2", WORLD_ETH0, 1.2, 1.6)->connections = 0;
	w.input.events_lost = 12;
	world_judge(&w, 1.7);
	expect(&w, "bypass", STATE_VIOLATED, KIND(GATEWAY_BYPASS));
	assert_int_equal(w.findings[0].count, 4);
	assert_int_equal(w.findings[0].first.mono_ns, at(1).mono_ns);
	assert_int_equal(w.findings[0].last.mono_ns, at(1.6).mono_ns);
	expect_text("bypass", w.findings[0].reason, "tcp 192.0.2.2 port 443 left by eth0");
	expect_text("bypass", w.findings[0].reason, "2 destinations");
	expect_text("bypass", w.findings[0].remedy, "kubectl delete pod -n team app");

	evidence = evidence_of(&w.findings[0]);
	assert_true(json_object_object_get_ex(evidence, "flowEventsLost", &value));
	assert_int_equal(json_object_get_int64(value), 12);
	assert_true(json_object_object_get_ex(evidence, "flows", &list));
	assert_int_equal(json_object_array_length(list), 2);
	flow = json_object_array_get_idx(list, 0);
	assert_true(json_object_object_get_ex(flow, "destination", &value));
	assert_string_equal(json_object_get_string(value), "192.0.2.1");
	assert_true(json_object_object_get_ex(flow, "port", &value));
	assert_int_equal(json_object_get_int64(value), 443);
	assert_true(json_object_object_get_ex(flow, "interface", &value));
	assert_string_equal(json_object_get_string(value), "eth0");
	json_object_put(evidence);
	world_clear(&w);
}

/* The route moves to eth0 while traffic runs, and returns. */
static void opens_with_the_first_packet_and_resolves_after_the_quiet_time(void **state)
{
	struct world w;
	struct flow *flow;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_flow(&w, "192.0.2.1", WORLD_WG0, -50, 2);
	world_judge(&w, 2);
	expect(&w, "before", STATE_VERIFIED, 0);

	flow = world_flow(&w, "192.0.2.1", WORLD_ETH0, 3, 3);
	flow->connections = 0; /* an established one moves */
	world_judge(&w, 3.05);
	expect(&w, "moved", STATE_VIOLATED, KIND(GATEWAY_BYPASS));
	flow->last = at(8);
	world_judge(&w, 8);
	w.flows[0].last = at(9); /* the route is back */
	ROUND(&w, 11, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 17.9);
	expect(&w, "quiet time", STATE_VIOLATED, KIND(GATEWAY_BYPASS));
	world_judge(&w, 18.1);
	expect(&w, "resolved", STATE_VERIFIED, 0);
	assert_int_equal(w.n_changes, 2);
	world_clear(&w);
}

/* The kernel's slot of an old incident moves again: a new incident, with another beginning. */
static void a_second_incident_is_another(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_flow(&w, "192.0.2.1", WORLD_ETH0, 1, 2);
	world_judge(&w, 2);
	world_judge(&w, 13);
	assert_int_equal(w.n_changes, 2);
	w.flows[0].last = at(500);
	world_judge(&w, 500);
	assert_int_equal(w.n_changes, 3);
	assert_int_equal(w.findings[0].first.mono_ns, at(500).mono_ns);
	assert_string_not_equal(w.changes[0].id, w.changes[2].id);
	world_clear(&w);
}

/* SIGKILL in the middle: the next agent knows nothing but the kernel's slots. */
static void a_new_agent_finds_the_same_incident(void **state)
{
	char id[33];
	struct world w;
	struct moment now = at(20);

	(void)state;
	world_init(&w);
	world_flow(&w, "192.0.2.1", WORLD_ETH0, 1, 2);
	world_judge(&w, 2);
	memcpy(id, w.changes[0].id, sizeof(id));
	world_flow(&w, "192.0.2.2", WORLD_ETH0, 9, 20);
	w.flows[0].last = at(8);
	world_judge(&w, 9);

	w.violations = violations_free(w.violations);
	assert_int_equal(violations_new(world_note, &w, &w.violations), 0);
	judge_record_init(&w.record, &now);
	w.n_changes = 0;
	world_judge(&w, 20);
	assert_int_equal(w.n_changes, 1);
	assert_string_equal(w.changes[0].id, id);
	assert_int_equal(w.findings[0].first.mono_ns, at(1).mono_ns);
	assert_int_equal(w.findings[0].count, 2);
	world_clear(&w);
}

/* Sent and ended while no agent was here, longer ago than the quiet time: told, once, and over. */
static void what_nobody_judged_is_told_however_old(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_flow(&w, "192.0.2.1", WORLD_ETH0, 1, 2);
	world_judge(&w, 500);
	assert_int_equal(w.n_changes, 0); /* told by the agent before */

	world_flow(&w, "192.0.2.2", WORLD_ETH0, 400, 401);
	w.flows[1].connections = 7;
	w.flows[1].unjudged = true;
	world_judge(&w, 501);
	assert_int_equal(w.n_changes, 1);
	assert_int_equal(w.findings[0].kind, GATEWAY_BYPASS);
	assert_int_equal(w.findings[0].first.mono_ns, at(400).mono_ns);
	assert_int_equal(w.findings[0].count, 7);
	w.flows[1].unjudged = false;
	world_judge(&w, 502);
	expect(&w, "over", STATE_UNVERIFIED, 0);
	assert_int_equal(w.n_changes, 2);
	world_judge(&w, 503);
	assert_int_equal(w.n_changes, 2);
	world_clear(&w);
}

static void required_pods_are_never_verified(void **state)
{
	struct world w;

	(void)state;
	make(&w, POD_REQUIRED);
	world_flow(&w, "10.60.1.99", WORLD_ETH0, 1, 1);
	world_judge(&w, 1);
	expect(&w, "inside", STATE_UNVERIFIED, 0);
	expect_reason(&w, "inside", "nothing left the cluster so far");
	w.input.observing = false;
	world_judge(&w, 1);
	expect_reason(&w, "inside", "not observed");
	world_flow(&w, "192.0.2.1", WORLD_ETH0, 2, 2);
	world_judge(&w, 2);
	expect(&w, "outside", STATE_VIOLATED, KIND(UNGOVERNED_EGRESS));
	expect_text("outside", w.findings[0].remedy, "static-gateway-configuration");
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classifies),
		cmocka_unit_test(what_was_known_of_a_flow_holds_while_nothing_can_be_read),
		cmocka_unit_test(the_next_hop_is_no_egress),
		cmocka_unit_test(every_protocol_alike),
		cmocka_unit_test(bypass_carries_destination_port_and_count),
		cmocka_unit_test(opens_with_the_first_packet_and_resolves_after_the_quiet_time),
		cmocka_unit_test(a_second_incident_is_another),
		cmocka_unit_test(a_new_agent_finds_the_same_incident),
		cmocka_unit_test(what_nobody_judged_is_told_however_old),
		cmocka_unit_test(required_pods_are_never_verified),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
