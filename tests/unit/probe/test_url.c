#include "test.h"

#include <string.h>

#include "probe/url.h"

static void takes(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
		bool tls, literal;
		const char *path;
	} good[] = {
		{ "https://ifconfig.me/ip", "ifconfig.me", 443, true, false, "/ip" },
		{ "http://ifconfig.me", "ifconfig.me", 80, false, false, "/" },
		{ "http://10.1.2.3:8080/", "10.1.2.3", 8080, false, true, "/" },
		{ "http://a/?format=json", "a", 80, false, false, "/?format=json" },
		{ "http://a?format=json", "a", 80, false, false, "/?format=json" },
		{ "https://[2001:db8::1]:8443/x", "2001:db8::1", 8443, true, true, "/x" },
		{ "http://echo.example.net.:1/", "echo.example.net.", 1, false, false, "/" },
		{ "http://my_echo.svc:65535/", "my_echo.svc", 65535, false, false, "/" },
		{ "http://4u.example/", "4u.example", 80, false, false, "/" },
		{ "http://a/%0d%0a", "a", 80, false, false, "/%0d%0a" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *reason = "untouched";
		struct url url;

		assert_int_equal(url_parse(good[i].text, &url, &reason), 0);
		assert_string_equal(reason, "untouched");
		assert_string_equal(url.host, good[i].host);
		assert_string_equal(url.path, good[i].path);
		assert_int_equal(url.port, good[i].port);
		assert_int_equal(url.tls, good[i].tls);
		assert_int_equal(url.literal, good[i].literal);
	}
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"",
		"ifconfig.me",
		"ftp://a/",
		"HTTP://a/",
		"file:///etc/passwd",
		"http:/a/",
		"http://",
		"http:///path",
		"http://user@a/",
		"http://user:pw@a/",
		"http://a:0/",
		"http://a:65536/",
		"http://a:/",
		"http://a:8o/",
		"http://a:80:80/",
		"http://-a/",
		"http://a-/",
		"http://a..b/",
		"http://.a/",
		"http://127.1/", /* an address to inet_aton() */
		"http://2130706433/",
		"http://0x7f.0.0.1/",
		"http://10.0.0.256/",
		"http://10.0.0.01/",
		"http://1.2.3.4./",
		"http://a b/",
		"http://a\\b/",
		"http://a%2eb/",
		"http://[::1/",
		"http://[::1]x/",
		"http://[10.0.0.1]/",
		"http://[fe80::1%eth0]/",
		"http://::1/",
		"http://a/ b",
		"http://a/#x",
		"http://a/\r\nHost: b",
		"http://a/\x7f",
		"http://a/\xc3\xa4",
		"http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b/",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct url url = { .port = 77 };
		const char *reason = NULL;

		if (url_parse(bad[i], &url, &reason) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_non_null(reason);
		assert_int_equal(url.port, 77); /* untouched */
	}
}

static void bounds_the_length(void **state)
{
	char text[URL_MAX + 8] = "http://a/";
	const char *reason;
	struct url url;

	(void)state;
	memset(text + 9, 'x', URL_MAX - 2 - 9);
	text[URL_MAX - 2] = '\0';
	assert_int_equal(url_parse(text, &url, &reason), 0);
	strcat(text, "y");
	assert_int_equal(url_parse(text, &url, &reason), -EINVAL);
}

static void takes_stun(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *host;
		uint16_t port;
	} rows[] = {
		{ "echo.example.net:3479", 0, "echo.example.net", 3479 },
		{ "echo.example.net", 0, "echo.example.net", 3478 },
		{ "10.1.2.3", 0, "10.1.2.3", 3478 },
		{ "[2001:db8::1]", 0, "2001:db8::1", 3478 },
		{ "[2001:db8::1]:1", 0, "2001:db8::1", 1 },
		{ "stun:echo.example.net", -EINVAL, NULL, 0 },
		{ "echo.example.net/", -EINVAL, NULL, 0 },
		{ "", -EINVAL, NULL, 0 },
		{ ":3478", -EINVAL, NULL, 0 },
		{ "a@b", -EINVAL, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *reason;
		struct url url;

		assert_int_equal(url_parse_stun(rows[i].text, &url, &reason), rows[i].r);
		if (rows[i].r < 0)
			continue;
		assert_string_equal(url.host, rows[i].host);
		assert_int_equal(url.port, rows[i].port);
		assert_false(url.tls);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(bounds_the_length),
		cmocka_unit_test(takes_stun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
