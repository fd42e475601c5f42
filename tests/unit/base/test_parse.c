#include "test.h"

#include "base/parse.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	const char *text;
	int r;
	uint64_t value;
};

static int u64_to_99(const char *text, uint64_t *out)
{
	return parse_u64(text, 99, out);
}

static int u64(const char *text, uint64_t *out)
{
	return parse_u64(text, UINT64_MAX, out);
}

static void check(const struct row *rows, size_t n, int (*parse)(const char *, uint64_t *))
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = 77;

		if (parse(rows[i].text, &value) != rows[i].r ||
		    value != (rows[i].r < 0 ? 77 : rows[i].value))
			fail_msg("row %zu: \"%s\" gave %d and %llu", i, rows[i].text,
			         parse(rows[i].text, &value), (unsigned long long)value);
	}
}

static void whole_numbers(void **state)
{
	static const struct row small[] = {
		{ "0", 0, 0 },
		{ "99", 0, 99 },
		{ "007", 0, 7 },
		{ "100", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "0x1", -EINVAL, 0 },
		{ "1e1", -EINVAL, 0 },
		{ "1.0", -EINVAL, 0 },
		{ "\xd9\xa1", -EINVAL, 0 }, /* a digit of another script */
	};
	static const struct row large[] = {
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "99999999999999999999999999999999", -ERANGE, 0 },
		{ "99999999999999999999999999999999x", -EINVAL, 0 },
	};

	(void)state;
	check(small, COUNT(small), u64_to_99);
	check(large, COUNT(large), u64);
}

static void durations(void **state)
{
	static const struct row rows[] = {
		{ "0s", 0, 0 },
		{ "1ns", 0, 1 },
		{ "5us", 0, 5000 },
		{ "300ms", 0, 300000000 },
		{ "5s", 0, 5000000000 },
		{ "5m", 0, 300000000000 },
		{ "1m30s", 0, 90000000000 },
		{ "2h", 0, 7200000000000 },
		{ "1h2m3s4ms5us6ns", 0, 3723004005006 },
		{ "90m", 0, 5400000000000 },
		{ "5124095h", 0, 18446742000000000000u },
		{ "5124096h", -ERANGE, 0 },
		{ "18446744073709551615ns", 0, UINT64_MAX },
		{ "18446744073709551616ns", -ERANGE, 0 },
		{ "18446744073s709551616ns", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "5", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },
		{ "5 s", -EINVAL, 0 },
		{ "5s ", -EINVAL, 0 },
		{ "5S", -EINVAL, 0 },
		{ "5d", -EINVAL, 0 },
		{ "5min", -EINVAL, 0 },
		{ "30s1m", -EINVAL, 0 },
		{ "1s1s", -EINVAL, 0 },
		{ "1m30", -EINVAL, 0 },
	};

	(void)state;
	check(rows, COUNT(rows), parse_duration);
}

static void sizes(void **state)
{
	static const struct row rows[] = {
		{ "0", 0, 0 },
		{ "512", 0, 512 },
		{ "1k", 0, 1000 },
		{ "64Ki", 0, 65536 },
		{ "256Mi", 0, 268435456 },
		{ "256M", 0, 256000000 },
		{ "1Gi", 0, 1073741824 },
		{ "1G", 0, 1000000000 },
		{ "16777215Ti", 0, 18446742974197923840u },
		{ "16777216Ti", -ERANGE, 0 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "Mi", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "1.5Gi", -EINVAL, 0 },
		{ "1K", -EINVAL, 0 },
		{ "1ki", -EINVAL, 0 },
		{ "1KiB", -EINVAL, 0 },
		{ "1 Ki", -EINVAL, 0 },
		{ "1Mi2Ki", -EINVAL, 0 },
		{ "100m", -EINVAL, 0 },
	};

	(void)state;
	check(rows, COUNT(rows), parse_size);
}

static void truths(void **state)
{
	static const char *const bad[] = {
		"", "True", "yes", "1", "on", "true ", "truefalse", "tru"
	};
	bool value = false;

	(void)state;
	assert_int_equal(parse_bool("true", &value), 0);
	assert_true(value);
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(parse_bool(bad[i], &value), -EINVAL);
		assert_true(value);
	}
	assert_int_equal(parse_bool("false", &value), 0);
	assert_false(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_numbers),
		cmocka_unit_test(durations),
		cmocka_unit_test(sizes),
		cmocka_unit_test(truths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
