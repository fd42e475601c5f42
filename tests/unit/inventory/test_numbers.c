#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "inventory/numbers.h"

static void are_reused_as_late_as_possible(void **state)
{
	struct numbers numbers = { .next = 0 };
	uint32_t number;

	(void)state;
	for (uint32_t i = 0; i < SUBJECTS_MAX / 2; i++) {
		assert_int_equal(numbers_take(&numbers, "u", &number), 0);
		assert_int_equal(number, i);
	}
	numbers_give(&numbers, 0);
	for (uint32_t i = SUBJECTS_MAX / 2; i < SUBJECTS_MAX; i++) {
		assert_int_equal(numbers_take(&numbers, "u", &number), 0);
		assert_int_equal(number, i);
	}
	assert_int_equal(numbers_take(&numbers, "u", &number), 0);
	assert_int_equal(number, 0);

	number = 77;
	assert_int_equal(numbers_take(&numbers, "u", &number), -ENOSPC);
	assert_int_equal(number, 77);
}

static void wait_for_their_pods(void **state)
{
	struct numbers numbers = { .next = 0 };
	uint32_t number;

	(void)state;
	assert_int_equal(numbers_reserve(&numbers, 1, "pod-1"), 0);
	assert_int_equal(numbers_reserve(&numbers, SUBJECTS_MAX - 1, "pod-x"), 0);
	assert_int_equal(numbers_reserve(&numbers, 1, "pod-2"), -EEXIST);
	assert_int_equal(numbers_reserve(&numbers, 2, "pod-1"), -EEXIST);
	assert_int_equal(numbers_reserve(&numbers, SUBJECTS_MAX, "pod-3"), -ERANGE);

	assert_int_equal(numbers_take(&numbers, "other", &number), 0);
	assert_int_equal(number, 0);
	assert_int_equal(numbers_take(&numbers, "another", &number), 0);
	assert_int_equal(number, 2);
	assert_int_equal(numbers_take(&numbers, "pod-x", &number), 0);
	assert_int_equal(number, SUBJECTS_MAX - 1);
	assert_int_equal(numbers_reserve(&numbers, 0, "late"), -EEXIST);

	numbers_forget_reserved(&numbers);
	numbers.next = 0;
	assert_int_equal(numbers_take(&numbers, "third", &number), 0);
	assert_int_equal(number, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(are_reused_as_late_as_possible),
		cmocka_unit_test(wait_for_their_pods),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
