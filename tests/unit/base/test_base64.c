#include "test.h"

#include <string.h>

#include "base/base64.h"

static void decodes_strictly(void **state)
{
	static const struct {
		const char *text, *bytes; /* bytes NULL: refused */
	} rows[] = {
		/* RFC 4648, section 10 */
		{ "", "" },
		{ "Zg==", "f" },
		{ "Zm8=", "fo" },
		{ "Zm9v", "foo" },
		{ "Zm9vYg==", "foob" },
		{ "Zm9vYmE=", "fooba" },
		{ "Zm9vYmFy", "foobar" },
		{ "/+/+", "\xff\xef\xfe" },
		{ "Zm9v\r\nYmFy\n", "foobar" },
		{ "\nZ\ng\n=\n=", "f" },
		{ "Zg", NULL },
		{ "Zg=", NULL },
		{ "Z===", NULL },
		{ "====", NULL },
		{ "=", NULL },
		{ "Zg===", NULL },
		{ "Zg==Zg==", NULL },
		{ "Zh==", NULL }, /* bits left over */
		{ "Zm9=", NULL },
		{ "Zg=a", NULL },
		{ "Zm 9v", NULL },
		{ "Zm9-", NULL },
		{ "Zm9_", NULL },
		{ "Zm9\xc3", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char bytes[16] = "";
		size_t n = 99;
		int r;

		assert_true(BASE64_ROOM(strlen(rows[i].text)) <= sizeof(bytes));
		r = base64_decode(rows[i].text, strlen(rows[i].text), bytes, &n);
		if (r != (rows[i].bytes ? 0 : -EINVAL))
			fail_msg("%s: %d", rows[i].text, r);
		assert_int_equal(n, rows[i].bytes ? strlen(rows[i].bytes) : 99);
		if (rows[i].bytes)
			assert_memory_equal(bytes, rows[i].bytes, n);
	}
	assert_int_equal(base64_decode("Zg\0=", 4, (char[4]){ 0 }, &(size_t){ 0 }), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(decodes_strictly) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
