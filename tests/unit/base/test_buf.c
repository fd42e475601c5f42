#include "test.h"

#include <string.h>

#include "base/buf.h"

static void an_append_that_does_not_fit_is_refused_whole(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(8);

	(void)state;
	assert_null(buf.data);
	buf_text(&buf, "12345");
	buf_text(&buf, "6789");
	assert_int_equal(buf.error, -EOVERFLOW);
	assert_string_equal(buf.data, "12345");

	buf_text(&buf, "6"); /* it would fit; the error stays */
	buf_format(&buf, "%d", 6);
	assert_int_equal(buf.len, 5);

	buf_reset(&buf);
	assert_int_equal(buf.error, 0);
	assert_string_equal(buf.data, "");
	buf_text(&buf, "12345678");
	assert_int_equal(buf.error, 0);
	assert_int_equal(buf.len, 8);
	buf_append(&buf, "", 0); /* nothing always fits */
	assert_int_equal(buf.error, 0);
	buf_append(&buf, "", 1);
	assert_int_equal(buf.error, -EOVERFLOW);
}

static void lengths_that_wrap_are_refused(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(64);

	(void)state;
	buf_text(&buf, "x");
	buf_append(&buf, "y", SIZE_MAX);
	assert_int_equal(buf.error, -EOVERFLOW);
	assert_int_equal(buf.len, 1);
}

static void grows_to_its_limit_and_no_further(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(100000);
	static const char block[777] = { 0 };

	(void)state;
	while (!buf.error)
		buf_append(&buf, block, sizeof(block));
	assert_int_equal(buf.len, 100000 / sizeof(block) * sizeof(block));
	assert_true(buf.capacity <= 100001);
}

static void bytes_are_kept_and_followed_by_nul(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);

	(void)state;
	buf_append(&buf, "a\0b", 3);
	buf_format(&buf, "%s-%03d", "c", 7);
	assert_memory_equal(buf.data, "a\0bc-007\0", 9);
	assert_int_equal(buf.len, 8);

	buf_clear(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.max, 4096);
	buf_clear(&buf);
}

static void a_formatted_text_may_be_longer_than_what_is_there(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);

	(void)state;
	buf_format(&buf, "%0300d", 7);
	assert_int_equal(buf.len, 300);
	buf_format(&buf, "%4000d", 7);
	assert_int_equal(buf.error, -EOVERFLOW);
	assert_int_equal(buf.len, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_append_that_does_not_fit_is_refused_whole),
		cmocka_unit_test(lengths_that_wrap_are_refused),
		cmocka_unit_test(grows_to_its_limit_and_no_further),
		cmocka_unit_test(bytes_are_kept_and_followed_by_nul),
		cmocka_unit_test(a_formatted_text_may_be_longer_than_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
