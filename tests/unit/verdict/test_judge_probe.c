#include "world.h"

/* One round of a healthy pod, then the verdict. */
struct row {
	const char *name;
	const char *says[WORLD_ECHOES];
	unsigned int quorum;
	bool private_mode;
	enum subject_state state;
	unsigned int kinds;
	const char *reason; /* part of it */
};

static const struct row rows[] = {
	{ "all good",
	  { GOOD, GOOD, GOOD, GOOD },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "3 of 3 TCP echoes" },
	{ "different members of the prefix",
	  { GOOD, GOOD2, GOOD, GOOD2 },
	  3,
	  false,
	  STATE_VERIFIED,
	  0,
	  "an allowed address, " GOOD },
	{ "dissent is named",
	  { GOOD, OUTBOUND, GOOD, GOOD },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "but ipify saw " OUTBOUND },
	{ "an echo is down",
	  { GOOD, GOOD, "!connect-refused", GOOD },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "trace connect-refused" },
	{ "UDP without quorum is named",
	  { GOOD, GOOD, GOOD, "!timeout" },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "no quorum of 1 UDP echo: udp timeout" },
	{ "UDP proves alone",
	  { "!timeout", "!timeout", "!timeout", GOOD },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "no quorum of 2 TCP echoes" },
	{ "two lie differently",
	  { GOOD, OUTBOUND, "198.51.100.78", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "trace saw 198.51.100.78" },
	{ "two lie alike, one does not",
	  { GOOD, OUTBOUND, OUTBOUND, NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "ipify saw " OUTBOUND },
	{ "all lie differently",
	  { "198.51.100.1", "198.51.100.2", "198.51.100.3", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "no quorum of 2 TCP echoes" },
	{ "one alone does not accuse",
	  { OUTBOUND, "!timeout", "!timeout", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "ifconfig saw " OUTBOUND },
	{ "nor prove",
	  { GOOD, "!timeout", "!timeout", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "no quorum" },
	{ "quorum of one",
	  { OUTBOUND, "!timeout", "!timeout", NULL },
	  1,
	  false,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  "1 of 3 TCP echoes saw " OUTBOUND },
	{ "quorum 0 means 1",
	  { GOOD, "!timeout", "!timeout", NULL },
	  0,
	  false,
	  STATE_VERIFIED,
	  0,
	  GOOD },
	{ "quorum is lowered to the echoes",
	  { GOOD, GOOD, GOOD, NULL },
	  9,
	  false,
	  STATE_VERIFIED,
	  0,
	  "3 of 3" },
	{ "a quorum lies or it is wrong",
	  { OUTBOUND, OUTBOUND, "!http-status", NULL },
	  2,
	  false,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  "echoes saw " OUTBOUND },
	{ "TCP good, UDP wrong by one word",
	  { GOOD, GOOD, GOOD, OUTBOUND },
	  2,
	  false,
	  STATE_VERIFIED,
	  0,
	  "no quorum of 1 UDP echo: udp saw " OUTBOUND },
	{ "TCP wrong, UDP good",
	  { OUTBOUND, OUTBOUND, OUTBOUND, GOOD },
	  2,
	  false,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  OUTBOUND },
	{ "500",
	  { "!http-status", "!http-status", "!http-status", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "ifconfig http-status" },
	{ "HTML page",
	  { "!unparseable", "!unparseable", GOOD, NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "unparseable" },
	{ "10 MB body",
	  { "!too-large", "!too-large", "!too-large", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "too-large" },
	{ "redirect",
	  { "!redirect", "!redirect", "!redirect", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "redirect" },
	{ "wrong TLS name",
	  { "!tls-verify", "!tls-verify", "!tls-verify", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "tls-verify" },
	{ "implausible",
	  { "!implausible", "!implausible", "!implausible", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "implausible" },
	{ "rate limited",
	  { "!rate-limited", "!rate-limited", "!rate-limited", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "rate-limited" },
	{ "left alone, as they asked",
	  { "!paused", "!paused", "!skipped", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "rate-limited" },
	{ "our own fault",
	  { "!local-error", "!skipped", NULL, NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "local-error" },
	{ "all bad answers at once",
	  { "!http-status", "!too-large", "!redirect", "!unparseable" },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "too-large" },
	{ "a proxy answers with a private address",
	  { "10.1.2.3", "10.1.2.3", "10.1.2.3", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "10.1.2.3, which cannot be the source" },
	{ "an IPv6 address to an IPv4 question",
	  { "2001:db8::1", "2001:db8::1", GOOD, NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "cannot be the source" },
	{ "IPv6 all the way is a way past the gateway",
	  { "2001:db8::10=2001:db8::1", "2001:db8::11=2001:db8::1", "!timeout", NULL },
	  2,
	  false,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  "2001:db8::1" },
	{ "an excluded echo proves nothing",
	  { "10.0.9.9=" OUTBOUND, GOOD, GOOD, NULL },
	  3,
	  false,
	  STATE_VERIFIED,
	  0,
	  "2 of 2 TCP echoes saw an allowed address, " GOOD
	  "; ifconfig is not reached through the gateway" },
	{ "nor does it accuse",
	  { "10.0.9.9=" OUTBOUND, "10.0.9.8=" OUTBOUND, "!timeout", NULL },
	  2,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "ifconfig is not reached through the gateway" },
	{ "a cluster echo proves nothing",
	  { "10.60.7.7=" GOOD, "10.60.7.8=" GOOD, "10.60.7.9=" GOOD, "10.60.7.9=" GOOD },
	  1,
	  false,
	  STATE_UNVERIFIED,
	  0,
	  "no TCP echo can prove the gateway" },
	{ "an echo inside the network sees the secondary address",
	  { GOOD, GOOD, "10.70.0.9=10.50.1.21", NULL },
	  3,
	  false,
	  STATE_VERIFIED,
	  0,
	  "2 of 2" },
	{ "private mode with public echoes",
	  { "198.51.100.5", "198.51.100.5", "198.51.100.5", NULL },
	  2,
	  true,
	  STATE_UNVERIFIED,
	  0,
	  "ifconfig is public and cannot see private addresses" },
	{ "private mode, private echoes",
	  { "10.70.0.9=10.0.1.8", "10.70.0.8=10.0.1.9", NULL, NULL },
	  2,
	  true,
	  STATE_VERIFIED,
	  0,
	  "10.0.1.8" },
	{ "private mode, not in the list",
	  { "10.70.0.9=10.0.1.10", "10.70.0.8=10.0.1.10", "!timeout", NULL },
	  2,
	  true,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  "10.0.1.10, an unknown address" },
	{ "private mode, untranslated",
	  { "10.70.0.9=10.60.1.2", "10.70.0.8=10.60.1.2", "!timeout", NULL },
	  2,
	  true,
	  STATE_VIOLATED,
	  KIND(WRONG_SOURCE_ADDRESS),
	  "the pod's own address, untranslated" },
};

static void weighs_one_round(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct world w;

		world_init(&w);
		w.settings.quorum = row->quorum;
		if (row->private_mode) {
			w.blue.provision_public_ips = false;
			assert_int_equal(prefix_parse("10.0.1.8,,10.0.1.9", &w.blue.prefix), 0);
		}
		world_control(&w, 0.5, OUTBOUND);
		world_round(&w, 1, row->says);
		world_judge(&w, 1.5);
		expect(&w, row->name, row->state, row->kinds);
		expect_reason(&w, row->name, row->reason);
		world_clear(&w);
	}
}

static void two_quorums_against_each_other_prove_nothing(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	for (size_t i = 0; i < WORLD_ECHOES; i++)
		w.settings.echo_udp[i] = false;
	world_control(&w, 0.5, OUTBOUND);
	ROUND(&w, 1, GOOD, GOOD, OUTBOUND, OUTBOUND);
	world_judge(&w, 1);
	expect(&w, "half by another way", STATE_UNVERIFIED, 0);
	world_clear(&w);
}

/* Two echoes over each: one liar of each transport makes no quorum of two. */
static void transports_are_weighed_apart(void **state)
{
	static const struct {
		const char *name, *says[WORLD_ECHOES];
		enum subject_state state;
	} cases[] = {
		{ "a liar each", { OUTBOUND, "!timeout", OUTBOUND, "!timeout" }, STATE_UNVERIFIED },
		{ "a proof each", { GOOD, "!timeout", GOOD, "!timeout" }, STATE_UNVERIFIED },
		{ "UDP wrong", { GOOD, GOOD, OUTBOUND, OUTBOUND }, STATE_VIOLATED },
		{ "UDP proves", { GOOD, OUTBOUND, GOOD, GOOD }, STATE_VERIFIED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;

		world_init(&w);
		w.settings.echo_udp[2] = true;
		world_round(&w, 1, cases[i].says);
		world_judge(&w, 1);
		expect(&w, cases[i].name, cases[i].state,
		       cases[i].state == STATE_VIOLATED ? KIND(WRONG_SOURCE_ADDRESS) : 0);
		world_clear(&w);
	}
}

#define LIE "203.0.113.250"

/* A pod that only one echo of a transport can vouch for: the quorum of two is lowered to that one. */
static void lone_accuser_needs_the_nodes_answers(void **state)
{
	static const struct {
		const char *name, *node[WORLD_ECHOES], *says[WORLD_ECHOES];
		unsigned int quorum;
		bool lone;
		enum subject_state state;
		const char *reason;
	} cases[] = {
		{ "UDP wrong",
		  { OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND },
		  { GOOD, GOOD, GOOD, "198.51.100.9" },
		  2,
		  true,
		  STATE_VIOLATED,
		  "1 of 1 UDP echo saw 198.51.100.9, an unknown address" },
		{ "UDP leaves as the node does",
		  { OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND },
		  { GOOD, GOOD, GOOD, OUTBOUND },
		  2,
		  true,
		  STATE_VIOLATED,
		  "1 of 1 UDP echo saw " OUTBOUND },
		{ "the only one lies to everybody",
		  { OUTBOUND, OUTBOUND, OUTBOUND, LIE },
		  { GOOD, GOOD, GOOD, LIE },
		  2,
		  true,
		  STATE_VERIFIED,
		  "udp saw " LIE "; what the node is told does not bear it out" },
		{ "as another one does",
		  { LIE, OUTBOUND, "!timeout", LIE },
		  { GOOD, GOOD, LIE, LIE },
		  2,
		  true,
		  STATE_VERIFIED,
		  "does not bear it out" },
		{ "not asked by the node yet",
		  { OUTBOUND, OUTBOUND, OUTBOUND, NULL },
		  { GOOD, GOOD, GOOD, OUTBOUND },
		  2,
		  true,
		  STATE_VERIFIED,
		  "does not bear it out" },
		{ "silent to the node",
		  { OUTBOUND, OUTBOUND, OUTBOUND, "!timeout" },
		  { GOOD, GOOD, GOOD, OUTBOUND },
		  2,
		  true,
		  STATE_VIOLATED,
		  OUTBOUND },
		{ "an echo inside the network sees another side of the node",
		  { "10.50.0.4", OUTBOUND, OUTBOUND, OUTBOUND },
		  { GOOD, GOOD, GOOD, OUTBOUND },
		  2,
		  true,
		  STATE_VIOLATED,
		  OUTBOUND },
		{ "one is enough by configuration",
		  { OUTBOUND, OUTBOUND, OUTBOUND, LIE },
		  { GOOD, GOOD, GOOD, LIE },
		  1,
		  false,
		  STATE_VIOLATED,
		  LIE },
		{ "a quorum accuses, whatever one of them says elsewhere",
		  { OUTBOUND, OUTBOUND, LIE, OUTBOUND },
		  { OUTBOUND, OUTBOUND, LIE, GOOD },
		  2,
		  false,
		  STATE_VIOLATED,
		  "2 of 3 TCP echoes saw " OUTBOUND },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool violated = cases[i].state == STATE_VIOLATED;
		struct world w;

		world_init(&w);
		w.settings.quorum = cases[i].quorum;
		for (uint16_t echo = 0; echo < WORLD_ECHOES; echo++)
			if (cases[i].node[echo])
				w.node[echo] = answer_of(&w, echo, cases[i].node[echo], 5);
		world_round(&w, 1, cases[i].says);
		assert_int_equal(w.record.alone_new, cases[i].lone);
		world_round(&w, 11, cases[i].says);
		assert_false(w.record.alone_new);
		world_judge(&w, 11);
		expect(&w, cases[i].name, cases[i].state,
		       violated ? KIND(WRONG_SOURCE_ADDRESS) : 0);
		expect_reason(&w, cases[i].name, cases[i].reason);
		world_clear(&w);
	}
}

/* The pod's first round may be over before the node's own answers are there. */
static void learns_later_whose_address_it_is(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	ROUND(&w, 1, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 1);
	assert_int_equal(w.record.attribution, ATTRIBUTION_UNKNOWN);
	world_control(&w, 1.5, OUTBOUND);
	world_judge(&w, 2);
	assert_int_equal(w.record.attribution, ATTRIBUTION_OUTBOUND);
	expect_text("later", w.findings[0].reason, "the cluster's outbound address");
	world_clear(&w);
}

/* The gateway nodes are not to blame for what never reaches them. */
static void blames_the_pods_own_routes(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_control(&w, 0.5, OUTBOUND);
	world_unroute(&w, "0.0.0.0/0");
	world_route(&w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	ROUND(&w, 1, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
	world_judge(&w, 1);
	for (size_t i = 0; i < w.n_findings; i++)
		if (w.findings[i].kind == WRONG_SOURCE_ADDRESS)
			expect_text("routes", w.findings[i].remedy,
			            "kubectl delete pod -n team app");
	world_clear(&w);
}

/* Between the node's answer and the pod's it may have begun to lie, or ended. */
static void lone_accuser_is_checked_between_its_answers(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_control(&w, 0.5, OUTBOUND);
	ROUND(&w, 1, GOOD, GOOD, GOOD, LIE);
	world_judge(&w, 1);
	expect(&w, "it began after the node asked", STATE_VERIFIED, 0);

	w.node[3] = answer_of(&w, 3, LIE, 10);
	ROUND(&w, 11, GOOD, GOOD, GOOD, LIE);
	w.node[3] = answer_of(&w, 3, OUTBOUND, 21);
	ROUND(&w, 21, GOOD, GOOD, GOOD, LIE);
	world_judge(&w, 21);
	expect(&w, "it ended while the pod asked", STATE_VERIFIED, 0);

	ROUND(&w, 31, GOOD, GOOD, GOOD, LIE);
	world_judge(&w, 31);
	expect(&w, "the truth between two answers", STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
	world_clear(&w);
}

static void names_whose_address_it_is(void **state)
{
	static const struct {
		const char *seen, *attribution, *to, *reason, *remedy;
	} cases[] = {
		{ "203.0.113.71", "gateway", "team/red", "an address of gateway team/red",
		  "kubectl describe gatewayvmconfiguration -n team blue" },
		{ OUTBOUND, "outbound", NULL, "the cluster's outbound address",
		  "no gateway node translates" },
		{ "192.0.2.99", "node", NULL, "this node's own address",
		  "leaves this node directly" },
		{ "192.0.2.98", "unknown", NULL, "an unknown address", "belongs to nobody" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_object *evidence, *value;
		struct world w;

		world_init(&w);
		w.context.node_ip = ip_of("192.0.2.99");
		world_control(&w, 0.5, OUTBOUND);
		ROUND(&w, 1, cases[i].seen, cases[i].seen, cases[i].seen, cases[i].seen);
		world_judge(&w, 1);
		expect(&w, cases[i].seen, STATE_VIOLATED, KIND(WRONG_SOURCE_ADDRESS));
		expect_text(cases[i].seen, w.findings[0].reason, cases[i].reason);
		expect_text(cases[i].seen, w.findings[0].remedy, cases[i].remedy);
		assert_string_equal(attribution_name(w.record.attribution), cases[i].attribution);

		evidence = evidence_of(&w.findings[0]);
		assert_true(json_object_object_get_ex(evidence, "observed", &value));
		assert_string_equal(json_object_get_string(value), cases[i].seen);
		assert_true(json_object_object_get_ex(evidence, "attribution", &value));
		assert_string_equal(json_object_get_string(value), cases[i].attribution);
		assert_true(json_object_object_get_ex(evidence, "attributedTo", &value));
		if (cases[i].to)
			assert_string_equal(json_object_get_string(value), cases[i].to);
		else
			assert_null(value);
		assert_true(json_object_object_get_ex(evidence, "echoes", &value));
		assert_int_equal(json_object_array_length(value), WORLD_ECHOES);
		json_object_put(evidence);
		world_clear(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weighs_one_round),
		cmocka_unit_test(two_quorums_against_each_other_prove_nothing),
		cmocka_unit_test(transports_are_weighed_apart),
		cmocka_unit_test(lone_accuser_needs_the_nodes_answers),
		cmocka_unit_test(learns_later_whose_address_it_is),
		cmocka_unit_test(blames_the_pods_own_routes),
		cmocka_unit_test(lone_accuser_is_checked_between_its_answers),
		cmocka_unit_test(names_whose_address_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
