#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

/* Test vectors of RFC 9923, with and without the NUL. */
static void test_published(void **state)
{
	static const struct {
		const char *data;
		size_t n;
		uint64_t hash;
	} rows[] = {
		{ "", 0, 0xcbf29ce484222325ULL },       { "a", 1, 0xaf63dc4c8601ec8cULL },
		{ "foobar", 6, 0x85944171f73967e8ULL }, { "", 1, 0xaf63bd4c8601b7dfULL },
		{ "a", 2, 0x089be207b544f1e4ULL },      { "foobar", 7, 0x34531ca7168b8f38ULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(hash_bytes(HASH_SEED, rows[i].data, rows[i].n) == rows[i].hash);
		if (rows[i].n > strlen(rows[i].data))
			assert_true(hash_text(HASH_SEED, rows[i].data) == rows[i].hash);
	}
}

static void test_parts(void **state)
{
	uint64_t h = hash_bytes(HASH_SEED, "foo", 3);

	(void)state;
	assert_true(hash_bytes(h, "bar", 3) == 0x85944171f73967e8ULL);
	assert_true(hash_bytes(h, NULL, 0) == h);
	/* Where a text ends counts, and whether there is one. */
	assert_true(hash_text(hash_text(HASH_SEED, "ab"), "c") !=
	            hash_text(hash_text(HASH_SEED, "a"), "bc"));
	assert_true(hash_text(HASH_SEED, NULL) == hash_bytes(HASH_SEED, "\xff", 1));
	assert_true(hash_text(HASH_SEED, NULL) != hash_text(HASH_SEED, ""));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
