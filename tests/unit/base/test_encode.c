#include "test.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/encode.h"

#define U "\xef\xbf\xbd"

/* What json-c reads back; the caller puts it. */
static struct json_object *parse(const struct buf *buf)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	assert_int_equal(buf->error, 0);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, buf->data, (int)buf->len + 1);
	assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
	json_tokener_free(tokener);
	return object;
}

static void writes_every_type(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);
	struct encode e = ENCODE_INIT(&buf);
	struct ip ip;
	struct cidr cidr;

	(void)state;
	assert_int_equal(ip_parse("192.0.2.7", &ip), 0);
	assert_int_equal(cidr_parse("2001:db8::/32", &cidr), 0);
	encode_object(&e, NULL);
	encode_text(&e, "text", "a\"b");
	encode_text(&e, "no\ttext", NULL);
	encode_u64(&e, "u64", UINT64_MAX);
	encode_i64(&e, "i64", INT64_MIN);
	encode_bool(&e, "yes", true);
	encode_array(&e, "list");
	encode_array(&e, NULL);
	encode_array_end(&e);
	encode_object(&e, NULL);
	encode_object_end(&e);
	encode_bool(&e, NULL, false);
	encode_null(&e, NULL);
	encode_array_end(&e);
	encode_ip(&e, "ip", &ip);
	encode_cidr(&e, "cidr", &cidr);
	encode_time(&e, "time", 1795189868123456);
	encode_time(&e, "never", 0);
	encode_raw(&e, "raw", "{\"x\":[1]}");
	encode_raw(&e, "none", NULL);
	encode_raw(&e, "empty", "");
	encode_object_end(&e);

	assert_string_equal(
		buf.data,
		"{\"text\":\"a\\\"b\",\"no\\ttext\":null,\"u64\":18446744073709551615,"
		"\"i64\":-9223372036854775808,\"yes\":true,\"list\":[[],{},false,null],"
		"\"ip\":\"192.0.2.7\",\"cidr\":\"2001:db8::/32\","
		"\"time\":\"2026-11-20T15:51:08.123456Z\",\"never\":null,\"raw\":{\"x\":[1]},"
		"\"none\":null,\"empty\":null}");
	json_object_put(parse(&buf));
}

static void any_text_reads_back(void **state)
{
	static const struct {
		const char *text, *back; /* NULL: the same */
	} rows[] = {
		{ "", NULL },
		{ "plain", NULL },
		{ "\"\\/\b\f\n\r\t", NULL },
		{ "\x01\x02\x0b\x1e\x1f\x7f", NULL },
		{ "</script><!--", NULL },
		{ "ä€\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", NULL },
		{ "\xe2\x80\xa8\xe2\x80\xae", NULL },
		{ "\xc2\x9b[2J", NULL },
		{ "\xff", U },
		{ "a\x80z", "a" U "z" },
		{ "\xc0\xaf", U U },             /* overlong / */
		{ "\xc1\xbf", U U },             /* overlong */
		{ "\xe0\x80\xaf", U U U },       /* overlong */
		{ "\xed\xa0\x80", U U U },       /* surrogate */
		{ "\xf0\x80\x80\x80", U U U U }, /* overlong */
		{ "\xf4\x90\x80\x80", U U U U }, /* past the last */
		{ "\xf8\x88\x80\x80\x80", U U U U U },
		{ "\xe2\x82", U U },        /* the end is missing */
		{ "\xe2\x82\"", U U "\"" }, /* it must not swallow the quote */
		{ "\xf0\x9f\x98", U U U },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);
		struct encode e = ENCODE_INIT(&buf);
		struct json_object *object;

		encode_text(&e, NULL, rows[i].text);
		object = parse(&buf);
		assert_string_equal(json_object_get_string(object),
		                    rows[i].back ? rows[i].back : rows[i].text);
		json_object_put(object);
	}
}

/* Answers are shown in terminals: nothing in a text may move the cursor or turn what follows. */
static void what_is_invisible_is_escaped(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);
	struct encode e = ENCODE_INIT(&buf);

	(void)state;
	encode_text(&e, NULL,
	            "\x1b[2J\x7f\xc2\x9b"
	            "2J\xe2\x80\xae\xe2\x81\xa6\xc3\xa4");
	assert_string_equal(buf.data, "\"\\u001b[2J\\u007f\\u009b2J\\u202e\\u2066\xc3\xa4\"");
}

static void every_byte_reads_back_as_valid_text(void **state)
{
	(void)state;
	for (int a = 1; a < 256; a++) {
		cleanup(buf_clearp) struct buf buf = BUF_INIT(1 << 16);
		struct encode e = ENCODE_INIT(&buf);

		encode_array(&e, NULL);
		for (int b = 0; b < 256; b++) {
			const char text[] = { (char)a, (char)b, 'x', '\0' };

			encode_text(&e, NULL, text);
		}
		encode_array_end(&e);
		json_object_put(parse(&buf));
	}
}

static void numbers_read_back(void **state)
{
	static const struct {
		double value;
		const char *text;
	} rows[] = {
		{ 0, "0" },
		{ 0.1, "0.1" },
		{ -1.5, "-1.5" },
		{ 1.0 / 3, "0.3333333333333333" },
		{ 1e300, "1e+300" },
		{ 5e-324, "4.94065645841247e-324" },
		{ 1795189868.123456, "1795189868.123456" },
		{ NAN, "null" },
		{ INFINITY, "null" },
		{ -INFINITY, "null" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);
		struct encode e = ENCODE_INIT(&buf);
		struct json_object *object;

		encode_double(&e, NULL, rows[i].value);
		assert_string_equal(buf.data, rows[i].text);
		object = parse(&buf);
		if (isfinite(rows[i].value))
			assert_true(json_object_get_double(object) == rows[i].value);
		json_object_put(object);
	}
}

static void nest(unsigned int depth)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(4096);
	struct encode e = ENCODE_INIT(&buf);

	for (unsigned int i = 0; i < depth; i++)
		encode_array(&e, NULL);
	encode_u64(&e, NULL, 1);
	encode_u64(&e, NULL, 2);
	for (unsigned int i = 0; i < depth; i++)
		encode_array_end(&e);
	json_object_put(parse(&buf));
}

/* Depth is the code's, never the data's: too much of it is a bug and ends the program. */
static void nests_to_its_limit(void **state)
{
	int status;
	pid_t child;

	(void)state;
	nest(ENCODE_DEPTH_MAX);

	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		nest(ENCODE_DEPTH_MAX + 1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void an_overflow_sticks(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(32);
	struct encode e = ENCODE_INIT(&buf);

	(void)state;
	encode_object(&e, NULL);
	encode_text(&e, "a", "0123456789012345678901234567890123456789");
	encode_u64(&e, "b", 1);
	encode_object_end(&e);
	assert_int_equal(buf.error, -EOVERFLOW);
	assert_true(buf.len <= 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_every_type),
		cmocka_unit_test(any_text_reads_back),
		cmocka_unit_test(what_is_invisible_is_escaped),
		cmocka_unit_test(every_byte_reads_back_as_valid_text),
		cmocka_unit_test(numbers_read_back),
		cmocka_unit_test(nests_to_its_limit),
		cmocka_unit_test(an_overflow_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
