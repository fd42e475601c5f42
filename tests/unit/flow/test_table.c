#include "test.h"

#include <string.h>

#include "flow/table.h"

static struct flow_key key_of(uint32_t n, uint32_t subject)
{
	struct flow_key key = { .subject = subject, .ifindex = n, .protocol = 6 };

	memcpy(key.remote.b + 12, &n, sizeof(n));
	return key;
}

static struct flow *add(struct flow_table *table, uint32_t n, uint32_t subject, bool expect_new)
{
	struct flow_key key = key_of(n, subject);
	struct flow *flow;
	bool is_new;

	assert_int_equal(flow_table_add(table, &key, &is_new, &flow), 0);
	assert_int_equal(is_new, expect_new);
	assert_memory_equal(&flow->key, &key, sizeof(key));
	return flow;
}

static void a_flow_keeps_its_place(void **state)
{
	struct flow_key absent = key_of(1, 1);
	struct flow_table *table;
	struct flow *first;

	(void)state;
	assert_int_equal(flow_table_new(100000, &table), 0);
	assert_null(flow_table_find(table, &absent));
	first = add(table, 1, 1, true);
	first->packets = 42;
	for (uint32_t n = 2; n <= 5000; n++)
		add(table, n, n % 7, true);

	assert_ptr_equal(add(table, 1, 1, false), first);
	assert_ptr_equal(flow_table_find(table, &absent), first);
	assert_int_equal(first->packets, 42);
	assert_int_equal(flow_table_count(table), 5000);
	assert_int_equal(flow_table_evictions(table), 0);
	assert_null(flow_table_free(table));
}

static int count_one(void *user, struct flow *flow)
{
	(void)flow;
	++*(size_t *)user;
	return 0;
}

static int stop_at_once(void *user, struct flow *flow)
{
	count_one(user, flow);
	return 5;
}

static void flows_of_a_subject_are_listed_and_removed(void **state)
{
	struct flow_table *table;
	size_t n = 0;

	(void)state;
	assert_int_equal(flow_table_new(100000, &table), 0);
	for (uint32_t i = 0; i < 3000; i++)
		add(table, i, i % 3, true);

	assert_int_equal(flow_table_each_of(table, 1, count_one, &n), 0);
	assert_int_equal(n, 1000);
	assert_int_equal(flow_table_each(table, stop_at_once, &n), 5);
	assert_int_equal(n, 1001);

	assert_int_equal(flow_table_remove_subject(table, 1), 1000);
	assert_int_equal(flow_table_remove_subject(table, 1), 0);
	assert_int_equal(flow_table_count(table), 2000);
	for (uint32_t i = 0; i < 3000; i++) {
		struct flow_key key = key_of(i, i % 3);

		assert_int_equal(flow_table_find(table, &key) != NULL, i % 3 != 1);
	}
	/* Places of removed flows are used again, empty. */
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(add(table, i, i % 3, i % 3 == 1)->packets, 0);
	assert_null(flow_table_free(table));
}

static void a_full_table_evicts_what_was_idle(void **state)
{
	const uint32_t max = 1000, busy = 100;
	struct flow_table *table;
	size_t kept = 0;

	(void)state;
	assert_int_equal(flow_table_new(max, &table), 0);
	for (uint32_t i = 0; i < max; i++)
		add(table, i, 1, true)->last.mono_ns = i < busy ? 1000000 : i;
	for (uint32_t i = 0; i < 500; i++)
		add(table, max + i, 1, true)->last.mono_ns = 1000000;

	assert_int_equal(flow_table_count(table), max);
	assert_int_equal(flow_table_evictions(table), 500);
	for (uint32_t i = 0; i < busy; i++) {
		struct flow_key key = key_of(i, 1);

		kept += flow_table_find(table, &key) != NULL;
	}
	/* Eight candidates at random: all busy has less than one chance in a million. */
	assert_int_equal(kept, busy);
	assert_null(flow_table_free(table));
}

static void a_reference_outlives_its_flow_safely(void **state)
{
	struct flow_table *table;
	struct flow_ref ref;
	struct flow *flow;

	(void)state;
	assert_int_equal(flow_table_new(1, &table), 0);
	assert_null(flow_table_get(table, (struct flow_ref){ 0 }));
	flow = add(table, 1, 1, true);
	ref = flow_table_ref(flow);
	assert_ptr_equal(flow_table_get(table, ref), flow);

	add(table, 2, 1, true);
	assert_null(flow_table_get(table, ref));
	flow_table_remove_subject(table, 1);
	assert_null(flow_table_get(table, ref));
	assert_null(flow_table_get(table, (struct flow_ref){ 99, 1 }));
	assert_null(flow_table_free(table));
}

static void names(void **state)
{
	static const struct {
		uint8_t protocol;
		const char *name;
	} rows[] = { { 6, "tcp" },    { 17, "udp" }, { 1, "icmp" }, { 58, "icmpv6" },
		     { 132, "sctp" }, { 0, "0" },    { 255, "255" } };
	char buf[8];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(flow_protocol_name(rows[i].protocol, buf), rows[i].name);
	assert_string_equal(flow_origin_name(FLOW_LOCAL), "local");
	assert_string_equal(flow_origin_name(FLOW_REMOTE), "remote");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_keeps_its_place),
		cmocka_unit_test(flows_of_a_subject_are_listed_and_removed),
		cmocka_unit_test(a_full_table_evicts_what_was_idle),
		cmocka_unit_test(a_reference_outlives_its_flow_safely),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
