#include "test.h"

#include <string.h>

#include "kube/version.h"
#include "limits.h"

static void versions_are_compared_as_numbers_of_any_length(void **state)
{
	static const struct {
		const char *a, *b;
		bool older;
	} rows[] = {
		{ "9", "10", true },
		{ "10", "9", false },
		{ "10", "10", false },
		{ "18446744073709551616", "18446744073709551617", true },
		{ "99999999999999999999999999", "100000000000000000000000000", true },
		{ "09", "10", false },
		{ "9", "010", false },
		{ "0", "1", false },
		{ "a", "b", false },
		{ "1x", "2x", false },
		{ "", "1", false },
		{ "1", "", false },
		{ "-1", "1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (kube_version_is_older(rows[i].a, rows[i].b) != rows[i].older)
			fail_msg("%s, %s", rows[i].a, rows[i].b);
}

static void what_goes_into_a_request_is_printable_and_bounded(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{ NULL, false },    { "", false },         { "1", true },
		{ "!~", true },     { "a b", false },      { "1\n", false },
		{ "1\x7f", false }, { "\xc3\xa4", false }, { "123456789", true },
		{ "a/b+c=", true },
	};
	char longest[KUBE_VERSION_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (kube_version_ok(rows[i].text) != rows[i].ok)
			fail_msg("row %zu", i);
	memset(longest, '1', sizeof(longest));
	longest[KUBE_VERSION_MAX] = '\0';
	assert_true(kube_version_ok(longest));
	longest[KUBE_VERSION_MAX] = '1';
	longest[KUBE_VERSION_MAX + 1] = '\0';
	assert_false(kube_version_ok(longest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_compared_as_numbers_of_any_length),
		cmocka_unit_test(what_goes_into_a_request_is_printable_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
