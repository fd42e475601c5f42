#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "kube/object.h"
#include "kube/objects.h"

static void is_strict(void **state)
{
	static const struct {
		const char *text;
		int result;
		const char *error; /* begins */
	} rows[] = {
		{ "{}", 0, "" },
		{ " {\"a\":[1,2]} \r\n\t", 0, "" },
		{ "{\"a\":1,\"a\":2}", 0, "" },
		{ "", -EINVAL, "the JSON ends early" },
		{ "{\"a\":", -EINVAL, "the JSON ends early" },
		{ "[]", -EINVAL, "not an object" },
		{ "null", -EINVAL, "the JSON ends early" },
		{ "\"x\"", -EINVAL, "not an object" },
		{ "{} {}", -EINVAL, "" },
		{ "{}x", -EINVAL, "" },
		{ "{\"a\":1,}", -EINVAL, "not JSON at byte 7" },
		{ "{\"a\":/**/1}", -EINVAL, "not JSON" },
		{ "{\"a\":\"\xff\"}", -EINVAL, "not JSON" },
		{ "{\"a\":\"\xc3\"}", -EINVAL, "not JSON" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *object = (void *)state;
		struct decode_error error = { "" };
		int r = kube_object_parse(rows[i].text, strlen(rows[i].text), 4096, &object,
		                          &error);

		if (r != rows[i].result)
			fail_msg("%d %s: %s", r, error.text, rows[i].text);
		if (strncmp(error.text, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s: %s", error.text, rows[i].text);
		if (r == 0)
			json_object_put(object);
		else
			assert_ptr_equal(object, (void *)state);
	}
}

static void is_bounded(void **state)
{
	char *fits = repeat("{\"a\":", "[", "", KUBE_DEPTH_MAX - 2, ""),
	     *shut = repeat(fits, "]", "", KUBE_DEPTH_MAX - 2, "}"),
	     *deep = repeat("{\"a\":", "[", "", 200, "");
	struct decode_error error = { "" };
	struct json_object *object = NULL;

	(void)state;
	assert_int_equal(kube_object_parse(shut, strlen(shut), 4096, &object, &error), 0);
	json_object_put(object);
	assert_int_equal(kube_object_parse(deep, strlen(deep), 4096, &object, &error), -E2BIG);
	assert_string_equal(error.text, "nested deeper than 64");
	assert_int_equal(kube_object_parse("{    }", 6, 5, &object, &error), -E2BIG);
	assert_string_equal(error.text, "larger than 5 bytes");
	free(fits);
	free(shut);
	free(deep);
}

static void same(const char *a, const char *b)
{
	if (a && b)
		assert_string_equal(a, b);
	else
		assert_ptr_equal(a, b);
}

static void reads_what_every_object_has(void **state)
{
	static const struct {
		const char *text;
		struct kube_meta meta;
	} rows[] = {
		{ "{}", { 0 } },
		{ "{'kind':'Pod','metadata':{'namespace':'a','name':'b','resourceVersion':'7'}}",
		  { .kind = "Pod", .namespace = "a", .name = "b", .version = "7" } },
		{ "{'kind':'PodList','metadata':{'resourceVersion':'7','continue':'x'}}",
		  { .kind = "PodList", .version = "7", .token = "x" } },
		{ "{'metadata':{'annotations':{'k8s.io/initial-events-end':'true'}}}",
		  { .initial_events_end = true } },
		{ "{'metadata':{'annotations':{'k8s.io/initial-events-end':'false'}}}", { 0 } },
		{ "{'metadata':{'annotations':{'k8s.io/initial-events-end':true}}}", { 0 } },
		{ "{'metadata':{'annotations':[]}}", { 0 } },
		{ "{'kind':7,'metadata':{'name':[],'resourceVersion':7,'continue':null}}", { 0 } },
		{ "{'metadata':{'name':'a\\u0000b'}}", { 0 } },
		{ "{'metadata':null}", { 0 } },
		{ "{'metadata':[]}", { 0 } },
		{ "{'metadata':{'name':'a','name':'b'}}", { .name = "b" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *object = object_of(rows[i].text);
		struct kube_meta meta;

		memset(&meta, 0x5a, sizeof(meta));
		kube_object_meta(object, &meta);
		same(meta.kind, rows[i].meta.kind);
		same(meta.namespace, rows[i].meta.namespace);
		same(meta.name, rows[i].meta.name);
		same(meta.version, rows[i].meta.version);
		same(meta.token, rows[i].meta.token);
		assert_int_equal(meta.initial_events_end, rows[i].meta.initial_events_end);
		json_object_put(object);
	}
}

static void reads_frames(void **state)
{
	static const struct {
		const char *text;
		int type; /* -1: refused */
		const char *error;
	} rows[] = {
		{ "{'type':'ADDED','object':{}}", KUBE_FRAME_ADDED, "" },
		{ "{'type':'MODIFIED','object':{}}", KUBE_FRAME_MODIFIED, "" },
		{ "{'type':'DELETED','object':{}}", KUBE_FRAME_DELETED, "" },
		{ "{'type':'BOOKMARK','object':{}}", KUBE_FRAME_BOOKMARK, "" },
		{ "{'type':'ERROR','object':{}}", KUBE_FRAME_ERROR, "" },
		{ "{'type':'added','object':{}}", KUBE_FRAME_OTHER, "" },
		{ "{'type':'','object':{}}", KUBE_FRAME_OTHER, "" },
		{ "{'type':'NEW','object':{}}", KUBE_FRAME_OTHER, "" },
		{ "{'object':{}}", -1, "type: not a string" },
		{ "{'type':7,'object':{}}", -1, "type: not a string" },
		{ "{'type':'ADDED'}", -1, "object: not an object" },
		{ "{'type':'ADDED','object':null}", -1, "object: not an object" },
		{ "{'type':'ADDED','object':[]}", -1, "object: not an object" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *frame = object_of(rows[i].text), *object = NULL;
		enum kube_frame_type type = _KUBE_FRAME_TYPE_MAX;
		struct decode_error error = { "" };
		int r = kube_frame_decode(frame, &type, &object, &error);

		assert_int_equal(r, rows[i].type < 0 ? -EINVAL : 0);
		assert_string_equal(error.text, rows[i].error);
		assert_int_equal(type, rows[i].type < 0 ? _KUBE_FRAME_TYPE_MAX : rows[i].type);
		assert_int_equal(object != NULL, r == 0);
		json_object_put(frame);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_strict),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(reads_what_every_object_has),
		cmocka_unit_test(reads_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
