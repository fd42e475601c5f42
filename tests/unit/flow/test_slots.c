#include "test.h"

#include "flow/slots.h"

static void put(struct slots *slots, uint32_t slot, uint64_t packets)
{
	struct known_slot known = { .slot = slot, .packets = packets };

	assert_int_equal(slots_put(slots, &known), 0);
}

static void slots_are_found_until_removed(void **state)
{
	struct slots *slots;

	(void)state;
	assert_int_equal(slots_new(10000, &slots), 0);
	for (uint32_t i = 0; i < 10000; i += 3)
		put(slots, i, i);
	for (uint32_t i = 0; i < 10000; i += 9)
		slots_remove(slots, i);
	for (uint32_t i = 0; i < 10000; i++) {
		const struct known_slot *known = slots_find(slots, i);

		assert_int_equal(known != NULL, i % 3 == 0 && i % 9 != 0);
		if (known) {
			assert_int_equal(known->slot, i);
			assert_int_equal(known->packets, i);
		}
	}
	assert_int_equal(slots_total(slots), 10000);
	assert_null(slots_free(slots));
}

static void one_entry_per_slot(void **state)
{
	struct slots *slots;

	(void)state;
	assert_int_equal(slots_new(128, &slots), 0);
	put(slots, 5, 1);
	put(slots, 5, 2);
	assert_int_equal(slots_find(slots, 5)->packets, 2);
	assert_int_equal(slots_count(slots, 0, 128), 1);
	slots_remove(slots, 5);
	slots_remove(slots, 5);
	assert_int_equal(slots_count(slots, 0, 128), 0);
	assert_null(slots_free(slots));
}

static void out_of_range_is_refused(void **state)
{
	struct known_slot known = { .slot = 128 };
	struct slots *slots;

	(void)state;
	assert_int_equal(slots_new(128, &slots), 0);
	assert_int_equal(slots_put(slots, &known), -ERANGE);
	known.slot = UINT32_MAX;
	assert_int_equal(slots_put(slots, &known), -ERANGE);
	assert_null(slots_find(slots, 128));
	slots_remove(slots, UINT32_MAX);
	assert_null(slots_free(slots));
}

static void windows_are_counted(void **state)
{
	struct slots *slots;

	(void)state;
	assert_int_equal(slots_new(4096 + 1024, &slots), 0);
	put(slots, 0, 1);
	put(slots, 4095, 1);
	put(slots, 5119, 1);
	assert_int_equal(slots_count(slots, 0, 4096), 2);
	assert_int_equal(slots_count(slots, 4096, 1024), 1);
	assert_int_equal(slots_count(slots, 64, 64), 0);
	assert_null(slots_free(slots));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_are_found_until_removed),
		cmocka_unit_test(one_entry_per_slot),
		cmocka_unit_test(out_of_range_is_refused),
		cmocka_unit_test(windows_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
