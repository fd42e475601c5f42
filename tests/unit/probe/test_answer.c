#include "test.h"

#include <string.h>

#include "limits.h"
#include "probe/answer.h"

static void check(const struct answer_format *format, const char *body, size_t len,
                  enum probe_outcome outcome, const char *address)
{
	struct ip ip = { .b = { 77 } };
	char text[IP_TEXT_MAX];

	if (answer_parse(format, body, len, &ip) != outcome)
		fail_msg("%s: expected %s", body, probe_outcome_name(outcome));
	if (address)
		assert_string_equal(ip_format(&ip, text), address);
	else
		assert_int_equal(ip.b[0], 77); /* untouched */
}

static void reads_text(void **state)
{
	static const struct {
		const char *body;
		enum probe_outcome outcome;
		const char *address;
	} rows[] = {
		{ "203.0.113.7", PROBE_ANSWERED, "203.0.113.7" },
		{ " \t203.0.113.7\r\n", PROBE_ANSWERED, "203.0.113.7" },
		{ "10.0.1.8\n", PROBE_ANSWERED, "10.0.1.8" }, /* the judge decides */
		{ "100.64.0.1\n", PROBE_ANSWERED, "100.64.0.1" },
		{ "2001:db8::7\n", PROBE_ANSWERED, "2001:db8::7" },
		{ "::ffff:203.0.113.7\n", PROBE_ANSWERED, "203.0.113.7" },
		{ "", PROBE_UNPARSEABLE, NULL },
		{ "\n", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113.7\n203.0.113.8\n", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113.7, 10.0.0.1", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113.7:80", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113.7/32", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113.07", PROBE_UNPARSEABLE, NULL },
		{ "203.0.113", PROBE_UNPARSEABLE, NULL },
		{ "\"203.0.113.7\"", PROBE_UNPARSEABLE, NULL },
		{ "\xef\xbb\xbf"
		  "203.0.113.7",
		  PROBE_UNPARSEABLE, NULL },
		{ "<!doctype html><html><body>Your address: 203.0.113.7</body></html>",
		  PROBE_UNPARSEABLE, NULL },
		{ "0.0.0.0", PROBE_IMPLAUSIBLE, NULL },
		{ "127.0.0.1", PROBE_IMPLAUSIBLE, NULL },
		{ "127.255.255.255", PROBE_IMPLAUSIBLE, NULL },
		{ "169.254.169.254", PROBE_IMPLAUSIBLE, NULL },
		{ "224.0.0.1", PROBE_IMPLAUSIBLE, NULL },
		{ "255.255.255.255", PROBE_IMPLAUSIBLE, NULL },
		{ "::", PROBE_IMPLAUSIBLE, NULL },
		{ "::1", PROBE_IMPLAUSIBLE, NULL },
		{ "fe80::1", PROBE_IMPLAUSIBLE, NULL },
		{ "ff02::1", PROBE_IMPLAUSIBLE, NULL },
	};
	static const struct answer_format text = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&text, rows[i].body, strlen(rows[i].body), rows[i].outcome, rows[i].address);
	check(&text, "203.0.113.7\0x", 13, PROBE_UNPARSEABLE, NULL);
}

static void reads_json(void **state)
{
	static const struct {
		const char *body;
		enum probe_outcome outcome;
	} rows[] = {
		{ "{\"ip\":\"203.0.113.7\"}", PROBE_ANSWERED },
		{ " {\"a\":[1,{}],\"ip\":\"203.0.113.7\",\"b\":null} \n", PROBE_ANSWERED },
		{ "{\"ip\":\" 203.0.113.7\"}", PROBE_ANSWERED },
		{ "{\"ip\":\"203.0.113.7\"}x", PROBE_UNPARSEABLE },
		{ "{\"ip\":\"203.0.113.7\"}{}", PROBE_UNPARSEABLE },
		{ "{\"ip\":\"203.0.113.7\"", PROBE_UNPARSEABLE },
		{ "{\"ip\":\"203.0.113.7\\u0000\"}", PROBE_UNPARSEABLE },
		{ "{\"ip\":[\"203.0.113.7\"]}", PROBE_UNPARSEABLE },
		{ "{\"ip\":3405803783}", PROBE_UNPARSEABLE },
		{ "{\"IP\":\"203.0.113.7\"}", PROBE_UNPARSEABLE },
		{ "{\"x\":{\"ip\":\"203.0.113.7\"}}", PROBE_UNPARSEABLE },
		{ "{'ip':'203.0.113.7'}", PROBE_UNPARSEABLE },
		{ "{\"ip\":\"203.0.113.7\",}", PROBE_UNPARSEABLE },
		{ "[\"203.0.113.7\"]", PROBE_UNPARSEABLE },
		{ "203.0.113.7", PROBE_UNPARSEABLE },
		{ "", PROBE_UNPARSEABLE },
		{ "[[[[[[[[[[[[[[[[", PROBE_UNPARSEABLE },
		{ "{\"ip\":\"127.0.0.1\"}", PROBE_IMPLAUSIBLE },
	};
	static const struct answer_format json = { .json = "ip" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&json, rows[i].body, strlen(rows[i].body), rows[i].outcome,
		      rows[i].outcome == PROBE_ANSWERED ? "203.0.113.7" : NULL);
}

static void reads_keys(void **state)
{
	static const struct {
		const char *body;
		enum probe_outcome outcome;
	} rows[] = {
		{ "fl=1\nip=203.0.113.7\nts=2\n", PROBE_ANSWERED },
		{ "ip=203.0.113.7", PROBE_ANSWERED },
		{ "ip=203.0.113.7\r\nfl=1\r\n", PROBE_ANSWERED },
		{ "ip=203.0.113.7\nip=203.0.113.8\n", PROBE_UNPARSEABLE },
		{ "xip=203.0.113.7\n", PROBE_UNPARSEABLE },
		{ "ip =203.0.113.7\n", PROBE_UNPARSEABLE },
		{ "ip=\n", PROBE_UNPARSEABLE },
		{ "ip\n", PROBE_UNPARSEABLE },
		{ "", PROBE_UNPARSEABLE },
		{ "<html>ip=203.0.113.7</html>", PROBE_UNPARSEABLE },
		{ "ip=169.254.1.1\n", PROBE_IMPLAUSIBLE },
	};
	static const struct answer_format key = { .key = "ip" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(&key, rows[i].body, strlen(rows[i].body), rows[i].outcome,
		      rows[i].outcome == PROBE_ANSWERED ? "203.0.113.7" : NULL);
}

static void bounds_the_length(void **state)
{
	static const struct answer_format text = { 0 };
	char body[ECHO_BODY_MAX + 1];

	(void)state;
	memset(body, ' ', sizeof(body));
	memcpy(body, "203.0.113.7", 11);
	check(&text, body, ECHO_BODY_MAX, PROBE_ANSWERED, "203.0.113.7");
	check(&text, body, ECHO_BODY_MAX + 1, PROBE_TOO_LARGE, NULL);
}

static void names_everything(void **state)
{
	(void)state;
	for (int i = 0; i < _PROBE_OUTCOME_MAX; i++)
		assert_non_null(probe_outcome_name((enum probe_outcome)i));
	for (int i = 0; i < _PROBE_PHASE_MAX; i++)
		assert_non_null(probe_phase_name((enum probe_phase)i));
	assert_string_equal(probe_outcome_name(PROBE_CONNECT_TIMEOUT), "connect-timeout");
	assert_string_equal(probe_phase_name(PROBE_FIRST_BYTE), "firstByte");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_text),       cmocka_unit_test(reads_json),
		cmocka_unit_test(reads_keys),       cmocka_unit_test(bounds_the_length),
		cmocka_unit_test(names_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
