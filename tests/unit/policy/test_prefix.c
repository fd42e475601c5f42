#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/prefix.h"

static struct ip ip(const char *text)
{
	struct ip out;

	assert_int_equal(ip_parse(text, &out), 0);
	return out;
}

static void reads_every_form(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *in, *out; /* NULL: none */
	} cases[] = {
		{ NULL, 0, NULL, "0.0.0.0" },
		{ "", 0, NULL, "0.0.0.0" },
		{ ",", 0, NULL, "0.0.0.0" },
		{ " , ,\t", 0, NULL, "0.0.0.0" },
		{ "203.0.113.68/31", 1, "203.0.113.69", "203.0.113.70" },
		{ "203.0.113.69/31", 1, "203.0.113.68", "203.0.113.67" }, /* host bits */
		{ "10.0.1.8", 1, "10.0.1.8", "10.0.1.9" },
		{ "10.0.1.8,,10.0.1.9", 2, "10.0.1.9", "10.0.1.10" },
		{ ",10.0.1.8,10.0.1.9,", 2, "10.0.1.8", "10.0.1.7" },
		{ " 10.0.1.8 ,\n10.0.1.9\r\n", 2, "10.0.1.9", "10.0.1.10" },
		{ "10.0.1.8,10.0.1.8, 10.0.1.8", 1, "10.0.1.8", "10.0.1.9" },
		{ "10.0.1.8,203.0.113.0/28", 2, "203.0.113.15", "203.0.113.16" },
		{ "10.0.1.8,10.0.1.8/32", 1, "10.0.1.8", "10.0.1.9" },
		{ "2001:db8::/124", 1, "2001:db8::f", "2001:db8::10" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix_set set = { .n = 77 };
		struct ip inside, outside = ip(cases[i].out);

		assert_int_equal(prefix_parse(cases[i].text, &set), 0);
		assert_int_equal(set.n, cases[i].n);
		assert_false(prefix_contains(&set, &outside));
		if (!cases[i].in)
			continue;
		inside = ip(cases[i].in);
		assert_true(prefix_contains(&set, &inside));
	}
}

static void refuses_the_rest_untouched(void **state)
{
	static const char *const cases[] = {
		"x",
		"10.0.1.8;10.0.1.9",
		"10.0.1.8 10.0.1.9",
		"10.0.1.8,x",
		"10.0.1.256",
		"10.0.1.8/33",
		"10.0.1.8/",
		"/31",
		"010.0.1.8",
		"10.0.1",
		"<pending>",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd",
		"10.0.1.8,10.0.1.9-10.0.1.12",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix_set set = { .n = 77 };

		assert_int_equal(prefix_parse(cases[i], &set), -EINVAL);
		assert_int_equal(set.n, 77);
	}
}

/* Distinct addresses, one more than fit when `n` says so. */
static char *list_of(size_t n)
{
	char *text = malloc(n * 16 + 1), *p = text;

	assert_non_null(text);
	*p = '\0';
	for (size_t i = 0; i < n; i++)
		p += sprintf(p, "10.1.%zu.%zu,", i / 256, i % 256);
	return text;
}

static void is_bounded(void **state)
{
	char *fits = list_of(PREFIX_ITEMS_MAX), *over = list_of(PREFIX_ITEMS_MAX + 1);
	struct prefix_set set = { .n = 77 };

	(void)state;
	assert_int_equal(prefix_parse(over, &set), -E2BIG);
	assert_int_equal(set.n, 77);
	assert_int_equal(prefix_parse(fits, &set), 0);
	assert_int_equal(set.n, PREFIX_ITEMS_MAX);
	free(fits);
	free(over);
}

static void compares_as_sets(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} cases[] = {
		{ "10.0.1.8,10.0.1.9", "10.0.1.9,,10.0.1.8", true },
		{ "10.0.1.8", "10.0.1.8/32", true },
		{ "10.0.1.8,10.0.1.9", "10.0.1.8", false },
		{ "10.0.1.8", "10.0.1.8,10.0.1.9", false },
		{ "10.0.1.8/31", "10.0.1.8,10.0.1.9", false }, /* as written, not as covered */
		{ "", NULL, true },
		{ "", "10.0.1.8", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix_set a, b;

		assert_int_equal(prefix_parse(cases[i].a, &a), 0);
		assert_int_equal(prefix_parse(cases[i].b, &b), 0);
		assert_int_equal(prefix_equal(&a, &b), cases[i].equal);
	}
}

static void knows_private_addresses(void **state)
{
	static const struct {
		const char *ip;
		bool private;
	} cases[] = {
		{ "10.0.0.1", true },     { "11.0.0.1", false },     { "172.16.0.1", true },
		{ "172.31.255.1", true }, { "172.32.0.1", false },   { "192.168.1.1", true },
		{ "192.169.0.1", false }, { "100.64.0.1", true },    { "100.127.255.255", true },
		{ "100.128.0.0", false }, { "203.0.113.68", false }, { "fd00::1", true },
		{ "2001:db8::1", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip address = ip(cases[i].ip);

		assert_int_equal(prefix_private(&address), cases[i].private);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_every_form),
		cmocka_unit_test(refuses_the_rest_untouched),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(compares_as_sets),
		cmocka_unit_test(knows_private_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
