#include "test.h"

#include "base/clock.h"

static void reads_times(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-11-20T15:51:08Z", 1795189868000000 },
		{ "2026-11-20T15:51:08.5Z", 1795189868500000 },
		{ "2026-11-20T15:51:08.123456Z", 1795189868123456 },
		{ "2026-11-20T15:51:08.123456789Z", 1795189868123456 },
		{ "2026-11-20T15:51:08.000000001Z", 1795189868000000 },
		{ "2024-02-29T23:59:59Z", 1709251199000000 },
		{ "1969-12-31T23:59:59.999999Z", -1 },
		{ "0001-01-01T00:00:00Z", -62135596800000000 }, /* Go's zero time */
		{ "9999-12-31T23:59:59.999999Z", 253402300799999999 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int64_t us = 77;

		assert_int_equal(clock_parse(good[i].text, &us), 0);
		assert_int_equal(us, good[i].us);
	}
}

static void refuses_what_is_no_time(void **state)
{
	static const char *const bad[] = {
		"",
		"2026",
		"2026-11-20",
		"2026-11-20T15:51:08",
		"2026-11-20T15:51:08z",
		"2026-11-20 15:51:08Z",
		"2026-11-20T15:51:08+01:00",
		"2026-11-20T15:51:08.Z",
		"2026-11-20T15:51:08.1234567890Z",
		"2026-11-20T15:51:08,5Z",
		"2026-11-20T15:51:08ZZ",
		" 2026-11-20T15:51:08Z",
		"2026-1-20T15:51:08Z",
		"+026-11-20T15:51:08Z",
		"12026-11-20T15:51:08Z",
		"2026-00-20T15:51:08Z",
		"2026-13-20T15:51:08Z",
		"2026-11-00T15:51:08Z",
		"2026-11-31T15:51:08Z",
		"2026-02-29T15:51:08Z",
		"2026-11-20T24:00:00Z",
		"2026-11-20T15:60:00Z",
		"2026-11-20T15:51:60Z",
		"2026-12-31T23:59:60Z", /* nor where a leap second may be */
		"2026-11-20T15:51:99Z",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t us = 77;

		if (clock_parse(bad[i], &us) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(us, 77);
	}
}

static void writes_times(void **state)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ 0, "1970-01-01T00:00:00.000000Z" },
		{ 1795189868123456, "2026-11-20T15:51:08.123456Z" },
		{ 1795189868000001, "2026-11-20T15:51:08.000001Z" },
		{ -1, "1969-12-31T23:59:59.999999Z" },
		{ -1000000, "1969-12-31T23:59:59.000000Z" },
		{ -62135596800000000, "0001-01-01T00:00:00.000000Z" },
		{ INT64_MAX, "294247-01-10T04:00:54.775807Z" },
		{ INT64_MIN, "-290308-12-21T19:59:05.224192Z" },
	};
	char text[CLOCK_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(clock_format(rows[i].us, text), rows[i].text);
}

static void a_moment_is_seen_from_another(void **state)
{
	static const struct moment now = { .mono_ns = 5 * NSEC_PER_SEC, .wall_us = 1000000000 };

	(void)state;
	assert_int_equal(clock_at(&now, now.mono_ns).wall_us, now.wall_us);
	assert_int_equal(clock_at(&now, 7 * NSEC_PER_SEC).wall_us, 1002000000);
	assert_int_equal(clock_at(&now, 0).wall_us, 995000000);
	assert_int_equal(clock_at(&now, 0).mono_ns, 0);
}

static void clocks_do_not_go_back(void **state)
{
	struct moment first = clock_now(), second = clock_now();

	(void)state;
	assert_true(second.mono_ns >= first.mono_ns);
	assert_true(first.wall_us > 1700000000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_times),
		cmocka_unit_test(refuses_what_is_no_time),
		cmocka_unit_test(writes_times),
		cmocka_unit_test(a_moment_is_seen_from_another),
		cmocka_unit_test(clocks_do_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
