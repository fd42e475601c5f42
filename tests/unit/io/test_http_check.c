#include "test.h"

#include <string.h>

#include "io/http_check.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void hosts(void **state)
{
	static const struct {
		const char *host;
		bool loopback;
	} rows[] = {
		{ "localhost", true },
		{ "LOCALHOST:9466", true },
		{ "127.0.0.1", true },
		{ "127.0.0.1:9466", true },
		{ "127.1.2.3:1", true },
		{ "[::1]", true },
		{ "[::1]:9466", true },
		{ "", false },
		{ ":9466", false },
		{ "evil.example", false },
		{ "localhost.evil.example", false },
		{ "localhost:", false },
		{ "localhost:99999", false },
		{ "localhost:80:80", false },
		{ "127.0.0.1.nip.io", false },
		{ "10.0.0.1", false },
		{ "[::2]", false },
		{ "[::1", false },
		{ "[::1]x", false },
		{ "[::1]:", false },
		{ "::1", false },
		{ "user@localhost", false },
		{ "localhostlocalhostlocalhostlocalhostlocalhostlocalhost", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (http_host_is_loopback(rows[i].host) != rows[i].loopback)
			fail_msg("host \"%s\"", rows[i].host);
}

static void origins(void **state)
{
	(void)state;
	assert_true(http_origin_is_loopback("http://localhost:9466"));
	assert_true(http_origin_is_loopback("http://[::1]:9466"));
	assert_false(http_origin_is_loopback("null"));
	assert_false(http_origin_is_loopback("https://evil.example"));
	assert_false(http_origin_is_loopback("http://localhost.evil.example"));
	assert_false(http_origin_is_loopback(""));
}

static void escapes(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },          { "plain", "plain" },
		{ "%41%62", "Ab" },  { "a%2Fb", "a/b" },
		{ "%00", "%00" },    { "%", "%" },
		{ "%4", "%4" },      { "%zz", "%zz" },
		{ "%%41", "%A" },    { "%c3%a4", "\xc3\xa4" },
		{ "x%0Ay", "x\ny" }, { "%4%41", "%4A" },
	};
	char text[32];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		strcpy(text, rows[i].in);
		assert_int_equal(http_unescape(text), strlen(rows[i].out));
		assert_string_equal(text, rows[i].out);
	}
}

static void heads(void **state)
{
	static const struct {
		struct http_head head;
		unsigned int status; /* 0: taken */
	} rows[] = {
		{ { .method = "GET", .target_path = "/", .version = "HTTP/1.1", .n_hosts = 1 }, 0 },
		{ { .method = "HEAD", .target_path = "/", .version = "HTTP/1.1", .n_hosts = 1 },
		  0 },
		{ { .method = "GET", .target_path = "/", .version = "HTTP/1.0" }, 0 },
		{ { .method = "GET", .target_path = "/", .version = "HTTP/1.1" }, 400 },
		{ { .method = "GET", .target_path = "/", .version = "HTTP/1.1", .n_hosts = 2 },
		  400 },
		{ { .method = "GET",
		    .target_path = "http://x/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1 },
		  400 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .target_len = 2049 },
		  414 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .foreign_hosts = 1 },
		  0 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .foreign_hosts = 1,
		    .check_host = true },
		  421 },
		{ { .method = "POST", .target_path = "/", .version = "HTTP/1.1", .n_hosts = 1 },
		  405 },
		{ { .method = "POST",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .post = true },
		  0 },
		{ { .method = "POST",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .post = true,
		    .check_host = true,
		    .origin = "http://evil.example" },
		  403 },
		{ { .method = "POST",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .post = true,
		    .check_host = true,
		    .origin = "http://localhost:9466" },
		  0 },
		{ { .method = "DELETE",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .post = true },
		  405 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .content_length = "1024" },
		  0 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .content_length = "1025" },
		  413 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .content_length = "99999999999999999999999" },
		  413 },
		{ { .method = "GET",
		    .target_path = "/",
		    .version = "HTTP/1.1",
		    .n_hosts = 1,
		    .transfer_encoding = "chunked" },
		  411 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct http_refusal *refusal = http_check(&rows[i].head);

		if ((refusal ? refusal->status : 0) != rows[i].status)
			fail_msg("row %zu: %u", i, refusal ? refusal->status : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),
		cmocka_unit_test(origins),
		cmocka_unit_test(escapes),
		cmocka_unit_test(heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
