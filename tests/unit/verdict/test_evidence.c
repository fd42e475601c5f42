#include "world.h"

#include "verdict/sentence.h"

static size_t length_of(struct json_object *object, const char *key)
{
	struct json_object *value;

	assert_true(json_object_object_get_ex(object, key, &value));
	return json_object_array_length(value);
}

static size_t left_out_of(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? (size_t)json_object_get_int64(value)
	                                                      : 0;
}

/* 1,000 bypassed destinations and 1,000 addresses: cut, counted, still JSON. */
static void lists_are_cut_and_say_so(void **state)
{
	enum { FLOWS = 1000 };
	struct flow *flows = calloc(FLOWS, sizeof(*flows));
	const struct flow **list = calloc(FLOWS, sizeof(*list));
	struct json_object *evidence, *gateway;
	struct moment now = at(2);
	enum violation_kind kind;
	struct world w;

	(void)state;
	assert_non_null(flows);
	assert_non_null(list);
	world_init(&w);
	for (size_t i = 0; i < FLOWS; i++) {
		w.n_flows = 0;
		flows[i] = *world_flow(&w, "192.0.2.0", WORLD_ETH0, 1, 1.5);
		flows[i].key.remote.b[14] = (uint8_t)(i / 256);
		flows[i].key.remote.b[15] = (uint8_t)i;
		judge_flow(&w.subject, &flows[i], &kind);
		list[i] = &flows[i];
	}
	w.blue.prefix.n = 0;
	for (size_t i = 0; i < PREFIX_ITEMS_MAX; i++) {
		w.blue.prefix.items[i] = cidr_of("203.0.113.0/32");
		w.blue.prefix.items[i].net.b[15] = (uint8_t)i;
		w.blue.prefix.n++;
	}
	w.input.offending = list;
	w.input.n_offending = FLOWS;
	assert_int_equal(judge(&w.record, &w.input, &now, w.findings, &w.n_findings), 0);
	assert_int_equal(kinds_of(&w), KIND(GATEWAY_BYPASS));
	assert_int_equal(w.findings[0].count, FLOWS);

	evidence = evidence_of(&w.findings[0]);
	assert_true(length_of(evidence, "flows") >= 4);
	assert_int_equal(length_of(evidence, "flows") + left_out_of(evidence, "flowsLeftOut"),
	                 FLOWS);
	assert_true(json_object_object_get_ex(evidence, "gateway", &gateway));
	assert_int_equal(length_of(gateway, "allowed") + left_out_of(gateway, "allowedLeftOut"),
	                 PREFIX_ITEMS_MAX);
	json_object_put(evidence);
	world_clear(&w);
	free(flows);
	free(list);
}

/* Every field somebody else wrote, as bad as it can be. */
static void hostile_text_stays_json(void **state)
{
	static char quotes[2000], huge[20000];
	struct probe_result results[3];
	struct json_object *evidence;
	struct moment now = at(1);
	struct world w;

	(void)state;
	world_init(&w);
	memset(quotes, '"', sizeof(quotes) - 1);
	memset(huge, '\x01', sizeof(huge) - 1);
	w.subject.pod = quotes;
	for (uint16_t i = 0; i < 3; i++) {
		results[i] = answer_of(&w, i, "!timeout", 1);
		memset(results[i].detail, '\xff', sizeof(results[i].detail) - 1);
	}
	for (int round = 0; round < 2; round++) {
		world_control(&w, 1, OUTBOUND);
		judge_round(&w.record, &w.input, results, 3, &now);
	}
	assert_int_equal(judge(&w.record, &w.input, &now, w.findings, &w.n_findings), 0);
	assert_int_equal(kinds_of(&w), KIND(EGRESS_UNREACHABLE));
	evidence = evidence_of(&w.findings[0]);
	assert_false(json_object_object_get_ex(evidence, "tooLarge", NULL));
	json_object_put(evidence);
	world_drop_findings(&w);

	w.subject.pod = huge;
	assert_int_equal(judge(&w.record, &w.input, &now, w.findings, &w.n_findings), 0);
	evidence = evidence_of(&w.findings[0]);
	assert_true(json_object_object_get_ex(evidence, "tooLarge", NULL));
	json_object_put(evidence);
	w.subject.pod = "app";
	world_clear(&w);
}

/* What an auditor needs to come to the same verdict. */
static void wrong_source_can_be_recomputed(void **state)
{
	struct json_object *evidence, *echoes, *gateway, *allowed, *value;
	size_t outside = 0, quorum;
	struct prefix_set prefix = { 0 };
	struct world w;

	(void)state;
	world_init(&w);
	world_control(&w, 0.5, OUTBOUND);
	ROUND(&w, 1, OUTBOUND, OUTBOUND, "!unparseable", NULL);
	world_judge(&w, 1);
	evidence = evidence_of(world_finding(&w, WRONG_SOURCE_ADDRESS));
	assert_true(json_object_object_get_ex(evidence, "gateway", &gateway));
	assert_true(json_object_object_get_ex(gateway, "allowed", &allowed));
	for (size_t i = 0; i < json_object_array_length(allowed); i++)
		prefix.items[prefix.n++] =
			cidr_of(json_object_get_string(json_object_array_get_idx(allowed, i)));
	assert_true(prefix_equal(&prefix, &w.blue.prefix));

	assert_true(json_object_object_get_ex(evidence, "quorum", &value));
	quorum = (size_t)json_object_get_int64(value);
	assert_true(json_object_object_get_ex(evidence, "echoes", &echoes));
	for (size_t i = 0; i < json_object_array_length(echoes); i++) {
		struct json_object *echo = json_object_array_get_idx(echoes, i);
		struct ip seen;

		if (!json_object_object_get_ex(echo, "observed", &value))
			continue;
		seen = ip_of(json_object_get_string(value));
		outside += !prefix_contains(&prefix, &seen);
		assert_true(json_object_object_get_ex(echo, "finished", &value));
		assert_non_null(value);
	}
	assert_true(outside >= quorum);
	json_object_put(evidence);
	world_clear(&w);
}

static void sentences_end_in_their_room(void **state)
{
	char text[12] = "";

	(void)state;
	sentence_set(text, sizeof(text), "%s", "0123456789a");
	assert_string_equal(text, "0123456789a");
	sentence_add(text, sizeof(text), "%s", "b");
	assert_string_equal(text, "0123456789a");
	sentence_set(text, sizeof(text), "%s", "0123456789ab");
	assert_string_equal(text, "01234567...");
	sentence_set(text, sizeof(text), "%s", "0123");
	sentence_add(text, sizeof(text), "%d", 4);
	assert_string_equal(text, "01234");
	sentence_add(text, sizeof(text), "%s", "56789abcdef");
	assert_string_equal(text, "01234567...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_cut_and_say_so),
		cmocka_unit_test(hostile_text_stays_json),
		cmocka_unit_test(wrong_source_can_be_recomputed),
		cmocka_unit_test(sentences_end_in_their_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
