#include "world.h"

static void wrong_address_opens_at_once_and_ends_after_two_good_rounds(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 1);
	expect(&w, "before", STATE_VERIFIED, 0);

	for (int round = 1; round <= 3; round++) {
		ROUND(&w, 1 + round * 10, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
		world_judge(&w, 1 + round * 10);
		expect(&w, "wrong", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
		assert_int_equal(w.findings[0].count, round);
		assert_int_equal(w.findings[0].first.wall_us, at(10.8).wall_us);
	}
	/* Nothing decided, nothing forgotten, nothing counted. */
	ROUND(&w, 41, OUTBOUND, "!timeout", "!timeout", "!timeout");
	world_judge(&w, 41);
	expect(&w, "undecided", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	assert_int_equal(w.findings[0].count, 3);

	ROUND(&w, 51, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 51);
	expect(&w, "one good round", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	ROUND(&w, 61, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 61);
	expect(&w, "two good rounds", STATE_VERIFIED, 0);
	assert_int_equal(w.n_changes, 2);
	assert_string_equal(w.changes[0].id, w.changes[1].id);
	assert_int_equal(w.changes[1].what, VIOLATION_RESOLVED);
	world_clear(&w);
}

static void does_not_flap(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	for (int round = 0; round < 20; round++) {
		const char *says = round % 2 ? GOOD : OUTBOUND;

		ROUND(&w, 1 + round * 10, says, says, says, says);
		world_judge(&w, 1 + round * 10);
		expect(&w, "alternating", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	}
	assert_int_equal(w.n_changes, 1);
	world_clear(&w);
}

static void judges_by_the_objects_of_now(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 1);
	expect(&w, "wrong", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));

	/* The prefix becomes what was seen. */
	assert_int_equal(prefix_parse(OUTBOUND, &w.blue.prefix), 0);
	w.subject.gateway_changed_us = at(12).wall_us;
	world_judge(&w, 12);
	assert_int_equal(w.n_findings, 0);

	/* And a proof against the old prefix is none against the new. */
	ROUND(&w, 13, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 13);
	expect(&w, "right now", STATE_VERIFIED, 0);
	assert_int_equal(prefix_parse("203.0.113.68/31", &w.blue.prefix), 0);
	w.subject.gateway_changed_us = at(14).wall_us;
	world_judge(&w, 14);
	expect(&w, "changed back", STATE_UNVERIFIED, 0);

	/* New flows take a new address 5 s after the objects. */
	ROUND(&w, 16, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 16);
	assert_int_equal(w.n_findings, 0);
	expect_reason(&w, "settling", "has just changed");
	ROUND(&w, 20, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 20);
	expect(&w, "settled", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	world_clear(&w);
}

/* The namespace is found while CNI ADD still works in it. */
static void pod_is_being_set_up(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.subject.netns_since = at(10);
	w.subject.live.tunnel_ifindex = 0;
	world_judge(&w, 10);
	w.subject.live.tunnel_ifindex = WORLD_WG0;
	ROUND(&w, 11, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 11);
	assert_int_equal(w.n_findings, 0);
	expect_reason(&w, "coming up", "the pod is being set up");

	/* It stays so: that is its state. */
	ROUND(&w, 15, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 15);
	expect(&w, "up", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	world_clear(&w);

	/* One that was complete when it was met has no such excuse. */
	world_init(&w);
	w.subject.netns_since = at(10);
	world_judge(&w, 10);
	ROUND(&w, 11, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 11);
	expect(&w, "complete", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	world_clear(&w);
}

static void proof_goes_stale(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 31);
	expect(&w, "3 intervals", STATE_VERIFIED, 0);
	ROUND(&w, 31, "!http-status", "!http-status", "!http-status", NULL);
	world_judge(&w, 31.1);
	expect(&w, "older than 3 intervals", STATE_UNVERIFIED, 0);
	expect_reason(&w, "older than 3 intervals", "the last proof is of ");
	expect_reason(&w, "older than 3 intervals", "ifconfig http-status");
	assert_int_equal(w.record.state_since.mono_ns, at(31.1).mono_ns);
	world_judge(&w, 32);
	assert_int_equal(w.record.state_since.mono_ns, at(31.1).mono_ns);
	world_clear(&w);
}

#define SILENT "!connect-timeout"

struct silence {
	const char *name;
	const char *says[WORLD_ECHOES]; /* both rounds */
	const char *control;            /* what the node's probes say; NULL: never asked */
	double control_at;
	bool control_off;
	double since; /* when the agent met the pod */
	enum subject_state state;
	unsigned int kinds;
	const char *reason, *phase;
};

static const struct silence silences[] = {
	{ "gateway node gone",
	  { SILENT, SILENT, SILENT, "!timeout" },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_VIOLATED,
	  KIND(EGRESS_UNREACHABLE),
	  "no echo answers the pod for 20 s",
	  "connect" },
	{ "DNS dead",
	  { "!resolve-timeout", "!resolve-failed", "!resolve-timeout", "!resolve-timeout" },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_VIOLATED,
	  KIND(EGRESS_UNREACHABLE),
	  "phase resolve",
	  "resolve" },
	{ "the node is silent too",
	  { SILENT, SILENT, SILENT, SILENT },
	  SILENT,
	  20,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "no echo answered the node since then either",
	  NULL },
	{ "the node's answer is old",
	  { SILENT, SILENT, SILENT, SILENT },
	  OUTBOUND,
	  0,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "answered the node since then either",
	  NULL },
	{ "no control probe yet",
	  { SILENT, SILENT, SILENT, SILENT },
	  NULL,
	  0,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "answered the node since then either",
	  NULL },
	{ "control is off",
	  { SILENT, SILENT, SILENT, SILENT },
	  OUTBOUND,
	  20,
	  true,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "control probe is off",
	  NULL },
	{ "one echo answers nonsense",
	  { SILENT, SILENT, "!unparseable", SILENT },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "trace unparseable",
	  NULL },
	{ "429 is an answer",
	  { SILENT, SILENT, "!rate-limited", SILENT },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "trace rate-limited",
	  NULL },
	{ "our own fault says nothing",
	  { "!local-error", "!skipped", NULL, NULL },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "local-error",
	  NULL },
	{ "an excluded echo's answer is none",
	  { SILENT, SILENT, "10.0.9.9=" OUTBOUND, NULL },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_VIOLATED,
	  KIND(EGRESS_UNREACHABLE),
	  "phase connect",
	  "connect" },
	{ "only excluded echoes are silent",
	  { "10.0.9.7=!timeout", "10.0.9.8=!timeout", "10.0.9.9=!timeout", "10.0.9.6=!timeout" },
	  OUTBOUND,
	  20,
	  false,
	  -100,
	  STATE_UNVERIFIED,
	  0,
	  "can prove the gateway",
	  NULL },
	{ "the agent met the pod just now",
	  { SILENT, SILENT, SILENT, SILENT },
	  OUTBOUND,
	  20,
	  false,
	  19,
	  STATE_PENDING,
	  0,
	  "the pod started moments ago",
	  NULL },
};

static void tells_a_dead_gateway_from_a_dead_echo(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(silences) / sizeof(silences[0]); i++) {
		const struct silence *row = &silences[i];
		struct world w;

		world_init(&w);
		w.subject.since = at(row->since);
		w.context.node_control = !row->control_off;
		if (row->control)
			world_control(&w, row->control_at, row->control);
		world_round(&w, 1, row->says);
		world_judge(&w, 1);
		assert_int_equal(w.n_findings, 0); /* one round is not enough */
		world_round(&w, 21, row->says);
		world_judge(&w, 21);
		expect(&w, row->name, row->state, row->kinds);
		expect_reason(&w, row->name, row->reason);
		if (row->phase) {
			struct json_object *evidence = evidence_of(&w.findings[0]), *value;

			assert_true(json_object_object_get_ex(evidence, "phase", &value));
			assert_string_equal(json_object_get_string(value), row->phase);
			json_object_put(evidence);
		}
		world_clear(&w);
	}
}

/* All echoes die between the node's question and the pod's: nobody knows yet that they live. */
static void answer_from_before_the_silence_vouches_for_nothing(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_control(&w, 0.9, OUTBOUND);
	ROUND(&w, 1, SILENT, SILENT, SILENT, SILENT);
	ROUND(&w, 11, SILENT, SILENT, SILENT, SILENT);
	world_judge(&w, 11);
	expect(&w, "not asked since", STATE_UNVERIFIED, 0);

	world_control(&w, 12, OUTBOUND);
	ROUND(&w, 21, SILENT, SILENT, SILENT, SILENT);
	world_judge(&w, 21);
	expect(&w, "they live", STATE_VIOLATED, KIND(EGRESS_UNREACHABLE));
	assert_int_equal(w.findings[0].count, 3);
	world_clear(&w);
}

/* The echoes come back while the pod's question is under way: the node's answer comes first. */
static void echo_that_comes_back_accuses_nobody(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_control(&w, 1, SILENT);
	ROUND(&w, 1, SILENT, SILENT, SILENT, SILENT);
	world_control(&w, 11, SILENT);
	ROUND(&w, 11, SILENT, SILENT, SILENT, SILENT);
	world_control(&w, 21.15, OUTBOUND);
	ROUND(&w, 21.2, SILENT, SILENT, SILENT, SILENT);
	world_judge(&w, 21.2);
	expect(&w, "back, but the pod asked before", STATE_UNVERIFIED, 0);

	ROUND(&w, 31, SILENT, SILENT, SILENT, SILENT);
	world_judge(&w, 31);
	expect(&w, "asked in vain since", STATE_VIOLATED, KIND(EGRESS_UNREACHABLE));
	ROUND(&w, 41, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 41);
	expect(&w, "over", STATE_VERIFIED, 0);
	world_clear(&w);
}

static void outage_has_a_length_and_ends_by_itself(void **state)
{
	struct json_object *evidence, *value;
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	for (int round = 1; round <= 4; round++) {
		world_control(&w, 1 + round * 10, OUTBOUND);
		ROUND(&w, 1 + round * 10, SILENT, SILENT, SILENT, SILENT);
		world_judge(&w, 1 + round * 10);
	}
	expect(&w, "outage", STATE_VIOLATED, KIND(EGRESS_UNREACHABLE));
	assert_int_equal(w.findings[0].count, 4);
	expect_reason(&w, "outage", "for 40 s");
	evidence = evidence_of(&w.findings[0]);
	assert_true(json_object_object_get_ex(evidence, "outageSeconds", &value));
	assert_true(json_object_get_double(value) > 39.9 && json_object_get_double(value) < 40.1);
	json_object_put(evidence);

	/* The node falls silent as well: no reason to believe that the pod's egress came back. */
	world_control(&w, 51, SILENT);
	ROUND(&w, 51, SILENT, SILENT, SILENT, SILENT);
	world_judge(&w, 51);
	expect(&w, "still", STATE_VIOLATED, KIND(EGRESS_UNREACHABLE));

	ROUND(&w, 62, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 62);
	expect(&w, "over", STATE_VERIFIED, 0);
	assert_int_equal(w.n_changes, 2);
	world_clear(&w);
}

/* azureNetworking: only 192.0.2.10 and .11 must take the gateway. */
static void make_azure(struct world *w)
{
	w->blue.default_to_gateway = false;
	w->subject.policy.default_path = PATH_DIRECT;
	w->subject.policy.n_exceptions = 0;
	world_except(w, "192.0.2.10/31");
	world_unroute(w, "0.0.0.0/0");
	world_unroute(w, "10.0.0.0/16");
	world_unroute(w, "10.50.0.0/16");
	world_unroute(w, "169.254.169.254/32");
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "192.0.2.10/31", "fe80::1", WORLD_WG0, RTPROT_BOOT);
}

static void azure_networking_is_inverted(void **state)
{
	static const struct {
		const char *name, *says[WORLD_ECHOES];
		enum subject_state state;
		unsigned int kinds;
		const char *reason;
	} cases[] = {
		{ "right",
		  { GOOD, GOOD, OUTBOUND, OUTBOUND },
		  STATE_VERIFIED,
		  0,
		  "2 of 2 TCP echoes saw" },
		{ "nothing uses the gateway",
		  { OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND },
		  STATE_VIOLATED,
		  KIND(WRONG_SOURCE_ADDRESS),
		  "2 of 2 TCP echoes saw " OUTBOUND },
		{ "everything does",
		  { GOOD, GOOD, GOOD, GOOD },
		  STATE_VIOLATED,
		  KIND(UNEXPECTED_GATEWAY),
		  "saw the gateway's address " GOOD },
		{ "only others can be asked",
		  { NULL, NULL, OUTBOUND, OUTBOUND },
		  STATE_UNVERIFIED,
		  0,
		  "no quorum" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;

		world_init(&w);
		make_azure(&w);
		world_control(&w, 1, OUTBOUND);
		world_round(&w, 1, cases[i].says);
		world_judge(&w, 1);
		expect(&w, cases[i].name, cases[i].state, cases[i].kinds);
		expect_reason(&w, cases[i].name, cases[i].reason);
		world_clear(&w);
	}
}

static void unexpected_gateway_ends(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	make_azure(&w);
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 1);
	expect(&w, "open", STATE_VIOLATED, KIND(UNEXPECTED_GATEWAY));
	ROUND(&w, 11, GOOD, GOOD, OUTBOUND, OUTBOUND);
	world_judge(&w, 11);
	expect(&w, "one clean round", STATE_VIOLATED, KIND(UNEXPECTED_GATEWAY));
	ROUND(&w, 21, GOOD, GOOD, OUTBOUND, OUTBOUND);
	world_judge(&w, 21);
	expect(&w, "two", STATE_VERIFIED, 0);
	world_clear(&w);
}

static void a_reborn_pod_does_not_inherit_answers(void **state)
{
	struct world w;
	struct probe_result results[3];
	struct moment now = at(1);

	(void)state;
	world_init(&w);
	for (uint16_t i = 0; i < 3; i++) {
		results[i] = answer_of(&w, i, OUTBOUND, 1);
		results[i].generation--;
	}
	judge_round(&w.record, &w.input, results, 3, &now);
	world_judge(&w, 1);
	expect(&w, "old answers", STATE_UNVERIFIED, 0);
	world_clear(&w);
}

/* The address known from before still says that a public echo proves nothing in private mode. */
static void remembers_what_an_echo_can_prove(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.blue.provision_public_ips = false;
	assert_int_equal(prefix_parse("10.0.1.8", &w.blue.prefix), 0);
	ROUND(&w, 1, OUTBOUND, OUTBOUND, OUTBOUND, NULL);
	for (int round = 1; round <= 3; round++) {
		world_control(&w, round * 10, OUTBOUND);
		ROUND(&w, 1 + round * 10, "!resolve-timeout", "!resolve-timeout",
		      "!resolve-timeout", NULL);
	}
	world_judge(&w, 31);
	expect(&w, "resolve failed later", STATE_UNVERIFIED, 0);
	expect_reason(&w, "resolve failed later", "is public");
	world_clear(&w);
}

/* Whoever makes a pod writes its annotations, and could name a verified pod's namespace. */
static void a_namespace_without_the_pods_address_proves_nothing(void **state)
{
	struct live_address address = { .ifindex = WORLD_ETH0, .len = 128 };
	struct world w;

	(void)state;
	world_init(&w);
	address.ip = w.subject.ip;
	w.subject.live.addresses = &address;
	w.subject.live.n_addresses = 1;
	ROUND(&w, 1, GOOD, GOOD, GOOD, GOOD);
	world_judge(&w, 1);
	expect(&w, "its own", STATE_VERIFIED, 0);
	address.ip = ip_of("10.60.1.77");
	world_judge(&w, 2);
	expect(&w, "another's", STATE_UNVERIFIED, 0);
	expect_reason(&w, "another's", "does not have the pod's address");
	w.subject.live.addresses = NULL;
	w.subject.live.n_addresses = 0;
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_namespace_without_the_pods_address_proves_nothing),
		cmocka_unit_test(wrong_address_opens_at_once_and_ends_after_two_good_rounds),
		cmocka_unit_test(does_not_flap),
		cmocka_unit_test(judges_by_the_objects_of_now),
		cmocka_unit_test(pod_is_being_set_up),
		cmocka_unit_test(proof_goes_stale),
		cmocka_unit_test(tells_a_dead_gateway_from_a_dead_echo),
		cmocka_unit_test(answer_from_before_the_silence_vouches_for_nothing),
		cmocka_unit_test(echo_that_comes_back_accuses_nobody),
		cmocka_unit_test(outage_has_a_length_and_ends_by_itself),
		cmocka_unit_test(azure_networking_is_inverted),
		cmocka_unit_test(unexpected_gateway_ends),
		cmocka_unit_test(a_reborn_pod_does_not_inherit_answers),
		cmocka_unit_test(remembers_what_an_echo_can_prove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
