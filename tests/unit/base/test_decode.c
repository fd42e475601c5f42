#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decode.h"
#include "base/ip.h"

struct thing {
	char *text, *name;
	bool flag;
	uint16_t port;
	struct ip ip;
	int64_t time;
};

#define FIELD(member) offsetof(struct thing, member)
static const struct decode_field fields[] = {
	{ "text", decode_text, FIELD(text), false },
	{ "a.b.name", decode_name, FIELD(name), false },
	{ "flag", decode_bool, FIELD(flag), false },
	{ "port", decode_u16, FIELD(port), false },
	{ "ip", decode_ip, FIELD(ip), false },
	{ "time", decode_time, FIELD(time), false },
	{ 0 },
};

static const struct thing untouched = { .flag = true, .port = 77, .ip = { { 7 } }, .time = 77 };

static int decode(const char *text, struct thing *thing, struct decode_error *error)
{
	struct json_object *object = json_tokener_parse(text);
	int r;

	*error = (struct decode_error){ "" };
	r = decode_object(object, fields, thing, error);
	json_object_put(object);
	return r;
}

static void clear(struct thing *thing)
{
	free(thing->text);
	free(thing->name);
	*thing = untouched;
}

static void reads_what_is_there(void **state)
{
	struct thing thing = untouched;
	struct decode_error error;
	char ip[IP_TEXT_MAX];

	(void)state;
	assert_int_equal(decode("{\"text\":\"\",\"a\":{\"b\":{\"name\":\"x-1.y\",\"c\":[1]}},"
	                        "\"flag\":false,\"port\":65535,\"ip\":\"2001:db8::1\","
	                        "\"time\":\"2026-11-20T15:51:08Z\",\"unknown\":{\"x\":[{}]}}",
	                        &thing, &error),
	                 0);
	assert_string_equal(thing.text, "");
	assert_string_equal(thing.name, "x-1.y");
	assert_false(thing.flag);
	assert_int_equal(thing.port, 65535);
	assert_string_equal(ip_format(&thing.ip, ip), "2001:db8::1");
	assert_int_equal(thing.time, 1795189868000000);
	clear(&thing);

	/* Of a key that occurs twice the last counts, and the first is not leaked. */
	assert_int_equal(decode("{\"text\":\"one\",\"text\":\"two\"}", &thing, &error), 0);
	assert_string_equal(thing.text, "two");
	clear(&thing);
}

static void absent_and_null_are_the_same(void **state)
{
	static const char *const texts[] = {
		"{}",
		"null",
		"{\"text\":null,\"a\":null,\"flag\":null,\"port\":null,\"ip\":null,\"time\":null}",
		"{\"a\":{}}",
		"{\"a\":{\"b\":null}}",
		"{\"a\":{\"b\":{\"name\":null}}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct thing thing = untouched;
		struct decode_error error;

		assert_int_equal(decode(texts[i], &thing, &error), 0);
		assert_memory_equal(&thing, &untouched, sizeof(thing));
	}
}

static void says_what_is_wrong_and_where(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "[]", "not an object" },
		{ "7", "not an object" },
		{ "\"x\"", "not an object" },
		{ "{\"a\":[]}", "a: not an object" },
		{ "{\"a\":{\"b\":\"x\"}}", "a.b: not an object" },
		{ "{\"text\":7}", "text: not a string" },
		{ "{\"text\":{}}", "text: not a string" },
		{ "{\"text\":\"a\\u0000b\"}", "text: contains NUL" },
		{ "{\"flag\":\"true\"}", "flag: not a boolean" },
		{ "{\"flag\":0}", "flag: not a boolean" },
		{ "{\"port\":\"80\"}", "port: not an integer" },
		{ "{\"port\":80.0}", "port: not an integer" },
		{ "{\"port\":true}", "port: not an integer" },
		{ "{\"port\":65536}", "port: out of range" },
		{ "{\"port\":-1}", "port: out of range" },
		{ "{\"port\":4294967376}", "port: out of range" },
		{ "{\"port\":18446744073709551615}", "port: out of range" },
		{ "{\"port\":99999999999999999999999999}", "port: out of range" },
		{ "{\"ip\":\"\"}", "ip: not an IP address" },
		{ "{\"ip\":7}", "ip: not an IP address" },
		{ "{\"ip\":\"192.0.2.7/32\"}", "ip: not an IP address" },
		{ "{\"ip\":\"192.0.2.7\\u0000.8\"}", "ip: not an IP address" },
		{ "{\"time\":1795189868}", "time: not an RFC 3339 time" },
		{ "{\"time\":\"\"}", "time: not an RFC 3339 time" },
		{ "{\"time\":\"2026-11-20T15:51:08Z\\u0000\"}", "time: not an RFC 3339 time" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct thing thing = untouched;
		struct decode_error error;

		assert_int_equal(decode(rows[i].text, &thing, &error), -EINVAL);
		assert_string_equal(error.text, rows[i].error);
		assert_memory_equal(&thing, &untouched, sizeof(thing));
	}
}

static void names_are_dns_subdomains(void **state)
{
	static const char max[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
				  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
				  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
				  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static const char *const good[] = { "a", "0", "a-b", "a--b", "a.b", "1.2.3", max };
	static const char *const bad[] = { "",    "-",    "-a",   "a-",   ".",       ".a",
		                           "a.",  "a..b", "a-.b", "a.-b", "A",       "a_b",
		                           "a/b", "../x", "a b",  "a\n",  "\xc3\xa4" };
	char text[300];

	(void)state;
	assert_int_equal(strlen(max), 253);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct thing thing = untouched;
		struct decode_error error;

		snprintf(text, sizeof(text), "{\"a\":{\"b\":{\"name\":\"%s\"}}}", good[i]);
		assert_int_equal(decode(text, &thing, &error), 0);
		assert_string_equal(thing.name, good[i]);
		clear(&thing);
	}
	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		struct json_object *value;
		struct decode_error error;
		char *name = NULL;

		snprintf(text, sizeof(text), "%sa", max); /* one too long */
		value = json_object_new_string(i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : text);
		assert_int_equal(decode_name(value, &name, &error), -EINVAL);
		assert_string_equal(error.text,
		                    ": not a name of lower-case letters, digits, - and .");
		assert_null(name);
		json_object_put(value);
	}
}

static void required_fields_must_be_there(void **state)
{
	static const struct decode_field required[] = {
		{ "a.name", decode_name, FIELD(name), true },
		{ 0 },
	};
	static const char *const texts[] = { "{}", "null", "{\"a\":{}}",
		                             "{\"a\":{\"name\":null}}" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_object *object = json_tokener_parse(texts[i]);
		struct thing thing = untouched;
		struct decode_error error;

		assert_int_equal(decode_object(object, required, &thing, &error), -EINVAL);
		assert_string_equal(error.text, "a.name: missing");
		json_object_put(object);
	}
}

static void members_have_any_key(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *value, *error;
	} rows[] = {
		{ "{\"m\":{\"l\":{\"example.com/x.y\":\"v\"}}}", 0, "v", "" },
		{ "{\"m\":{\"l\":{\"example\":{\"com/x\":{\"y\":\"v\"}}}}}", 0, NULL, "" },
		{ "{}", 0, NULL, "" },
		{ "{\"m\":{\"l\":null}}", 0, NULL, "" },
		{ "{\"m\":{\"l\":{}}}", 0, NULL, "" },
		{ "{\"m\":{\"l\":{\"example.com/x.y\":null}}}", 0, NULL, "" },
		{ "{\"m\":{\"l\":[]}}", -EINVAL, NULL, "m.l: not an object" },
		{ "{\"m\":7}", -EINVAL, NULL, "m: not an object" },
		{ "{\"m\":{\"l\":{\"example.com/x.y\":7}}}", -EINVAL, NULL,
		  "m.l[example.com/x.y]: not a string" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *object = json_tokener_parse(rows[i].text);
		struct decode_error error = { "" };
		char *value = NULL;

		assert_int_equal(decode_member(object, "m.l", "example.com/x.y", decode_text,
		                               &value, &error),
		                 rows[i].r);
		assert_string_equal(error.text, rows[i].error);
		if (rows[i].value)
			assert_string_equal(value, rows[i].value);
		else
			assert_null(value);
		free(value);
		json_object_put(object);
	}
}

static void a_long_reason_is_cut(void **state)
{
	struct decode_error error;

	(void)state;
	assert_int_equal(decode_fail(&error, "%0500d", 1), -EINVAL);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_is_there),
		cmocka_unit_test(absent_and_null_are_the_same),
		cmocka_unit_test(says_what_is_wrong_and_where),
		cmocka_unit_test(names_are_dns_subdomains),
		cmocka_unit_test(required_fields_must_be_there),
		cmocka_unit_test(members_have_any_key),
		cmocka_unit_test(a_long_reason_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
