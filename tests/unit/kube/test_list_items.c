#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "kube/list_items.h"
#include "kube/objects.h"

struct seen {
	char text[1024];
	size_t n, stop_at;
};

static int take(void *user, const char *text, size_t len)
{
	struct seen *seen = user;
	size_t at = strlen(seen->text);

	seen->n++;
	if (text)
		snprintf(seen->text + at, sizeof(seen->text) - at, "%.*s|", (int)len, text);
	else
		snprintf(seen->text + at, sizeof(seen->text) - at, "<%zu>|", len);
	return seen->n == seen->stop_at ? -ENOMEM : 0;
}

/* Feeds in pieces of `step`; 0, or the first error, also of the end. */
static int feed(struct kube_list_items *list, const char *text, size_t step, struct seen *seen,
                char *rest, size_t size)
{
	size_t len = strlen(text), rest_len = 0;
	const char *end = NULL;
	int r = 0;

	for (size_t at = 0; at < len && r == 0; at += step)
		r = kube_list_items_feed(list, text + at, len - at < step ? len - at : step, take,
		                         seen);
	if (r == 0)
		r = kube_list_items_end(list, &end, &rest_len);
	if (r == 0)
		snprintf(rest, size, "%.*s", (int)rest_len, end);
	return r;
}

static void takes_a_list_apart(void **state)
{
	static const struct {
		const char *text, *items, *rest;
	} rows[] = {
		{ "{'items':[]}", "", "{'items':[]}" },
		{ " { 'items' : [ ] } \r\n\t", "", " { 'items' : [] } \r\n\t" },
		{ "{'items':null}", "", "{'items':null}" },
		{ "{'items':[{}]}", "{}|", "{'items':[]}" },
		{ "{'items':[{},{'a':1}]}", "{}|{'a':1}|", "{'items':[]}" },
		{ "{'items':[ {} , {'a':1} \n]}", "{}|{'a':1}|", "{'items':[]}" },
		{ "{'kind':'PodList','metadata':{'resourceVersion':'7'},'items':[{'a':[1,{}]}]}",
		  "{'a':[1,{}]}|",
		  "{'kind':'PodList','metadata':{'resourceVersion':'7'},'items':[]}" },
		{ "{'items':[{'a':'}]'}],'metadata':{'continue':'x'}}", "{'a':'}]'}|",
		  "{'items':[],'metadata':{'continue':'x'}}" },
		{ "{'items':[{'a':'\\\\'},{'b':'\\'}'}]}", "{'a':'\\\\'}|{'b':'\\'}'}|",
		  "{'items':[]}" },
		/* Only the outer object's. */
		{ "{'x':{'items':[1]},'y':'items','items':[{'items':[{}]}]}", "{'items':[{}]}|",
		  "{'x':{'items':[1]},'y':'items','items':[]}" },
		{ "{'items2':[],'item':[],'items':[]}", "", "{'items2':[],'item':[],'items':[]}" },
		/* Larger than the bound of 40: counted, and the others are there. */
		{ "{'items':[{'a':'0123456789012345678901234567890123456789'},{'b':2}]}",
		  "<48>|{'b':2}|", "{'items':[]}" },
		{ "{'items':[{'a':'01234567890123456789012345678901'}]}",
		  "{'a':'01234567890123456789012345678901'}|", "{'items':[]}" },
		{ "{'items':[{'a':'012345678901234567890123456789012'}]}", "<41>|",
		  "{'items':[]}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = repeat("", rows[i].text, "", 1, ""), rest[512] = "";

		/* The rows have ' for ", as the expected texts do. */
		for (char *p = text; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		for (size_t step = 1; step < 80; step += step < 8 ? 1 : 23) {
			static struct kube_list_items list;
			struct seen seen = { 0 };

			kube_list_items_init(&list, 40);
			if (feed(&list, text, step, &seen, rest, sizeof(rest)) < 0)
				fail_msg("%s: %s", list.reason, text);
			for (char *p = seen.text; *p; p++)
				*p = *p == '"' ? '\'' : *p;
			for (char *p = rest; *p; p++)
				*p = *p == '"' ? '\'' : *p;
			assert_string_equal(seen.text, rows[i].items);
			assert_string_equal(rest, rows[i].rest);
			kube_list_items_clear(&list);
		}
		free(text);
	}
}

/* None of these may pass for a list, least of all for a shorter one. */
static void says_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{ "", "the list ends early" },
		{ "{", "the list ends early" },
		{ "{\"items\"", "the list ends early" },
		{ "{\"items\":[", "the list ends early" },
		{ "{\"items\":[{}", "the list ends early" },
		{ "{\"items\":[{},", "the list ends early" },
		{ "{\"items\":[{}]", "the list ends early" },
		{ "{\"items\":[{\"a\":\"", "the list ends early" },
		{ "{\"items\":[{}],\"metadata\":{}", "the list ends early" },
		{ "{}", "no items" },
		{ "{\"metadata\":{}}", "no items" },
		{ "[]", "not an object" },
		{ "\xef\xbb\xbf{\"items\":[]}", "not an object" },
		{ "<html>", "not an object" },
		{ "{\"items\":[]}x", "more after the list" },
		{ "{\"items\":[]}{\"items\":[]}", "more after the list" },
		{ "{\"items\":[]}]", "more after the list" },
		{ "{\"items\":[1]}", "an item that is no object" },
		{ "{\"items\":[null]}", "an item that is no object" },
		{ "{\"items\":[[]]}", "an item that is no object" },
		{ "{\"items\":[,{}]}", "an item that is no object" },
		{ "{\"items\":[{},]}", "an item that is no object" },
		{ "{\"items\":[{},,{}]}", "an item that is no object" },
		{ "{\"items\":[{}{}]}", "no comma between items" },
		{ "{\"items\":[{}}", "no comma between items" },
		{ "{\"items\":[{]]}", "a bracket of the wrong kind" },
		{ "{\"items\":[{\"a\":[}]}", "a bracket of the wrong kind" },
		{ "{\"items\":{}}", "items that are no list" },
		{ "{\"items\":\"x\"}", "items that are no list" },
		{ "{\"items\":7}", "items that are no list" },
		{ "{\"items\":[],\"items\":[]}", "items twice" },
		{ "{\"items\":null,\"items\":[{}]}", "items twice" },
		{ "{\"\\u0069tems\":[]}", "an escape in a key" },
		{ "{items:[]}", "no key where one belongs" },
		{ "{\"items\"[]}", "no colon after a key" },
		{ "{\"items\":[],]", "no key where one belongs" },
		{ "{\"a\":]}", "a bracket too many" },
		{ "{\"a\":[}}", "a bracket of the wrong kind" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step < 64; step += 31) {
			static struct kube_list_items list;
			struct seen seen = { 0 };
			char rest[64];

			kube_list_items_init(&list, 40);
			if (feed(&list, rows[i].text, step, &seen, rest, sizeof(rest)) != -EINVAL)
				fail_msg("taken: %s", rows[i].text);
			assert_string_equal(list.reason, rows[i].reason);
			assert_int_equal(kube_list_items_feed(&list, "{", 1, take, &seen), -EINVAL);
			kube_list_items_clear(&list);
		}
}

static void is_bounded_beside_the_items_and_in_depth(void **state)
{
	static struct kube_list_items list;
	struct seen seen = { 0 };
	char *wide = repeat("{\"x\":\"", "y", "", KUBE_LIST_REST_MAX, "\",\"items\":[]}"),
	     *deep = repeat("{\"items\":[{\"a\":", "[", "", KUBE_SKIP_DEPTH_MAX, ""),
	     *many = repeat("{\"items\":[", "{}", ",", 100000, "]}"), rest[64];

	(void)state;
	kube_list_items_init(&list, KUBE_FRAME_MAX);
	assert_int_equal(feed(&list, wide, 16384, &seen, rest, sizeof(rest)), -EINVAL);
	assert_string_equal(list.reason, "too much beside the items");
	kube_list_items_reset(&list);
	assert_int_equal(feed(&list, deep, 16384, &seen, rest, sizeof(rest)), -EINVAL);
	assert_string_equal(list.reason, "nested too deep");
	kube_list_items_reset(&list);
	assert_int_equal(feed(&list, many, 16384, &seen, rest, sizeof(rest)), 0);
	assert_int_equal(seen.n, 100000);
	assert_true(list.item.capacity + list.rest.capacity < 4096);
	kube_list_items_clear(&list);
	free(wide);
	free(deep);
	free(many);
}

static void who_takes_may_end_it(void **state)
{
	static struct kube_list_items list;
	struct seen seen = { .stop_at = 2 };
	char rest[64];

	(void)state;
	kube_list_items_init(&list, 40);
	assert_int_equal(feed(&list, "{\"items\":[{},{},{}]}", 99, &seen, rest, sizeof(rest)),
	                 -ENOMEM);
	assert_int_equal(seen.n, 2);
	kube_list_items_clear(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_list_apart),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(is_bounded_beside_the_items_and_in_depth),
		cmocka_unit_test(who_takes_may_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
