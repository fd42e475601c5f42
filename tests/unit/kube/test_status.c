#include "test.h"

#include <string.h>

#include "kube/objects.h"
#include "kube/status.h"

static void reads_what_decides(void **state)
{
	static const struct {
		const char *text;
		uint16_t code;
		const char *reason;
		uint32_t retry_after_s;
		bool expired, too_large;
	} rows[] = {
		{ "{}", 0, "", 0, false, false },
		{ "{'kind':'Status','code':410,'reason':'Expired'}", 410, "Expired", 0, true,
		  false },
		{ "{'code':410,'reason':'Gone'}", 410, "Gone", 0, true, false },
		{ "{'code':410}", 410, "", 0, true, false },
		{ "{'reason':'Expired'}", 410, "Expired", 0, true, false },
		{ "{'reason':'Gone'}", 410, "Gone", 0, true, false },
		/* etcd's, by way of an older server */
		{ "{'code':500,'reason':'Expired'}", 500, "Expired", 0, true, false },
		{ "{'reason':'TooManyRequests','details':{'retryAfterSeconds':7}}", 429,
		  "TooManyRequests", 7, false, false },
		{ "{'code':429,'details':{'retryAfterSeconds':-1}}", 429, "", 0, false, false },
		{ "{'code':429,'details':{'retryAfterSeconds':4294967296}}", 429, "", 0, false,
		  false },
		{ "{'reason':'InternalError'}", 500, "InternalError", 0, false, false },
		{ "{'reason':'Forbidden'}", 403, "Forbidden", 0, false, false },
		{ "{'reason':'Unauthorized'}", 401, "Unauthorized", 0, false, false },
		{ "{'reason':'Invalid'}", 422, "Invalid", 0, false, false },
		{ "{'reason':'Novel'}", 0, "Novel", 0, false, false },
		{ "{'code':504,'reason':'Timeout','message':'Timeout: Too large resource version: "
		  "9, current: 7','details':{'causes':[{'reason':'ResourceVersionTooLarge',"
		  "'message':'x'}],'retryAfterSeconds':1}}",
		  504, "Timeout", 1, false, true },
		{ "{'code':504,'message':'Too large resource version: 9, current: 7'}", 504, "", 0,
		  false, true },
		{ "{'code':504,'message':'x','details':{'causes':[{'reason':'Other'},7,null]}}",
		  504, "", 0, false, false },
		/* wrong types are as if they were not there */
		{ "{'code':'410'}", 0, "", 0, false, false },
		{ "{'code':410.0}", 0, "", 0, false, false },
		{ "{'code':99}", 0, "", 0, false, false },
		{ "{'code':600}", 0, "", 0, false, false },
		{ "{'code':66946}", 0, "", 0, false, false },
		{ "{'reason':['Expired']}", 0, "", 0, false, false },
		{ "{'details':[],'message':{}}", 0, "", 0, false, false },
		{ "{'details':{'causes':{}}}", 0, "", 0, false, false },
		{ "{'kind':'Pod','code':410}", 0, "", 0, false, false },
		{ "[]", 0, "", 0, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *object = object_of(rows[i].text);
		struct kube_status status;

		memset(&status, 0x5a, sizeof(status));
		kube_status_decode(object, &status);
		if (status.code != rows[i].code)
			fail_msg("%u: %s", status.code, rows[i].text);
		assert_string_equal(status.reason, rows[i].reason);
		assert_int_equal(status.retry_after_s, rows[i].retry_after_s);
		assert_int_equal(status.expired, rows[i].expired);
		assert_int_equal(status.too_large, rows[i].too_large);
		json_object_put(object);
	}
}

static void an_answer_is_told_in_one_sentence(void **state)
{
	static const struct {
		uint16_t code;
		const char *body, *text;
		bool expired;
	} rows[] = {
		{ 403,
		  "{\"kind\":\"Status\",\"code\":403,\"reason\":\"Forbidden\",\"message\":\"pods "
		  "is forbidden\"}",
		  "403 Forbidden: pods is forbidden", false },
		{ 404, "404 page not found\n", "404: 404 page not found", false },
		{ 502, "<html><body>Bad gateway</body></html>", "502", false },
		{ 502, "  \n<html>", "502", false },
		{ 500, "", "500", false },
		{ 500, "{\"code\":", "500", false },
		{ 503, "{\"code\":410,\"reason\":\"x\"}", "503 x", false },
		{ 410, "", "410", true },
		{ 429, "Too many\r\n requests,\x1b[31m later", "429: Too many requests, [31m later",
		  false },
		{ 500, "a\xff\x80z \xc3\xa4 \xe2\x80\xae!", "500: a??z \xc3\xa4 !", false },
		{ 0, "", "an error without a word", false },
		{ 0, "oops", "oops", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_status status;
		char text[300];

		kube_status_of_answer(rows[i].code, rows[i].body, strlen(rows[i].body), &status);
		kube_status_format(&status, text, sizeof(text));
		assert_string_equal(text, rows[i].text);
		assert_int_equal(status.expired, rows[i].expired);
		assert_int_equal(status.code, rows[i].code);
	}
}

static void a_line_is_cut_between_characters(void **state)
{
	static const struct {
		const char *text;
		size_t len, size;
		const char *line;
	} rows[] = {
		{ "abc", 3, 4, "abc" },
		{ "abcd", 4, 4, "abc" },
		{ "ab\xc3\xa4", 4, 4, "ab" },
		{ "ab\xc3\xa4", 4, 5, "ab\xc3\xa4" },
		{ "ab\xc3\xa4", 3, 8, "ab?" },
		{ "a\0b", 3, 8, "a b" },
		{ "  a  b  ", 8, 16, "a b" },
		{ "\xf0\x9f\x98\x80", 4, 8, "\xf0\x9f\x98\x80" },
		{ "\xc2\x80\xc2\x80x", 5, 8, "x" },
		{ "", 0, 1, "" },
		{ "x", 1, 1, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[16];

		kube_text_line(rows[i].text, rows[i].len, line, rows[i].size);
		assert_string_equal(line, rows[i].line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_decides),
		cmocka_unit_test(an_answer_is_told_in_one_sentence),
		cmocka_unit_test(a_line_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
