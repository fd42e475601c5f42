#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "io/yaml.h"
#include "limits.h"

DEFINE_FREEP(struct yaml_node, yaml_node)

static struct yaml_node *read_good(const char *text)
{
	struct yaml_node *root = NULL;
	struct yaml_error error = { 0 };

	if (yaml_document(text, strlen(text), &root, &error) < 0)
		fail_msg("%s: %zu:%zu: %s", text, error.line, error.column, error.text);
	return root;
}

static void types_plain_scalars(void **state)
{
	static const struct {
		const char *text;
		enum yaml_type type;
	} rows[] = {
		{ "~", YAML_NULL },        { "null", YAML_NULL },       { "Null", YAML_NULL },
		{ "NULL", YAML_NULL },     { "nULL", YAML_TEXT },       { "true", YAML_BOOL },
		{ "True", YAML_BOOL },     { "FALSE", YAML_BOOL },      { "tRUE", YAML_TEXT },
		{ "yes", YAML_TEXT },      { "on", YAML_TEXT },         { "y", YAML_TEXT },
		{ "0", YAML_INT },         { "-7", YAML_INT },          { "+7", YAML_INT },
		{ "007", YAML_INT },       { "0x1F", YAML_INT },        { "0o17", YAML_INT },
		{ "0o8", YAML_TEXT },      { "0xg", YAML_TEXT },        { "0x", YAML_TEXT },
		{ "-0x1", YAML_TEXT },     { "1_000", YAML_TEXT },      { "0b1", YAML_TEXT },
		{ "1.5", YAML_FLOAT },     { ".5", YAML_FLOAT },        { "5.", YAML_FLOAT },
		{ "-1e3", YAML_FLOAT },    { "1E+3", YAML_FLOAT },      { "1e", YAML_TEXT },
		{ ".", YAML_TEXT },        { "+", YAML_TEXT },          { "1.2.3", YAML_TEXT },
		{ ".inf", YAML_FLOAT },    { "-.INF", YAML_FLOAT },     { ".NaN", YAML_FLOAT },
		{ "-.nan", YAML_TEXT },    { "inf", YAML_TEXT },        { "10.0.0.1", YAML_TEXT },
		{ "30s", YAML_TEXT },      { "2026-11-21", YAML_TEXT }, { "12:30", YAML_TEXT },
		{ "'1'", YAML_TEXT },      { "\"true\"", YAML_TEXT },   { "''", YAML_TEXT },
		{ "|\n  1\n", YAML_TEXT }, { "[]", YAML_LIST },         { "{}", YAML_MAP },
		{ "", YAML_NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(yaml_node_freep) struct yaml_node *root = NULL;
		char text[64];

		snprintf(text, sizeof(text), "a: %s\n", rows[i].text);
		root = read_good(text);
		if (root->n != 1 || root->items[0].type != rows[i].type)
			fail_msg("%s: got %s", rows[i].text, yaml_type_name(root->items[0].type));
	}
}

static void keeps_positions(void **state)
{
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;

	(void)state;
	root = read_good("# first\nä: {b: [1, \"x\\ty\"]}\nc:\n  - d: |\n      two\n      lines\n");
	assert_int_equal(root->type, YAML_MAP);
	assert_int_equal(root->n, 2);
	assert_string_equal(root->keys[0].text, "ä");
	assert_int_equal(root->items[0].line, 2);
	assert_int_equal(root->items[0].column, 4); /* characters, not bytes */
	assert_string_equal(root->items[0].items[0].items[1].text, "x\ty");
	assert_int_equal(root->items[0].items[0].items[1].column, 12);
	assert_int_equal(root->items[1].items[0].keys[0].line, 4);
	assert_int_equal(root->items[1].items[0].keys[0].column, 5);
	assert_string_equal(root->items[1].items[0].items[0].text, "two\nlines\n");
}

static void takes_nothing(void **state)
{
	static const char *const empty[] = { "", "\n", "# only this\n", "---\n", "---\n...\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		cleanup(yaml_node_freep) struct yaml_node *root = read_good(empty[i]);

		assert_int_equal(root->type, YAML_NULL);
		assert_true(root->line >= 1 && root->column >= 1);
	}
}

static const struct bad {
	const char *text;
	size_t line, column;
	const char *says;
} bad[] = {
	{ "a: &x 1\n", 1, 4, "anchor" },
	{ "a: &x [1]\n", 1, 4, "anchor" },
	{ "&x a: 1\n", 1, 1, "anchor" },
	{ "a: 1\nb: *x\n", 2, 4, "alias" },
	{ "*x : 1\n", 1, 1, "alias" },
	/* A billion laughs need an anchor first. */
	{ "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", 1, 4, "anchor" },
	{ "a: !!str 1\n", 1, 4, "tag" },
	{ "a: ! 1\n", 1, 4, "tag" },
	{ "a: !x {b: 1}\n", 1, 4, "tag" },
	{ "%YAML 1.2\n---\na: 1\n", 1, 1, "directive" },
	{ "%TAG ! tag:x,2000:\n---\na: 1\n", 1, 1, "directive" },
	{ "a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key a" },
	{ "x:\n  a: 1\n  \"a\": 1\n", 3, 3, "duplicate key a" },
	{ "{a: 1, b: 2, 'a': 3}\n", 1, 14, "duplicate key a" },
	{ "1: a\n", 1, 1, "no text" },
	{ "true: a\n", 1, 1, "no text" },
	{ "~: a\n", 1, 1, "no text" },
	{ "? [a]\n: b\n", 1, 3, "no text" },
	{ "? {a: b}\n: c\n", 1, 3, "no text" },
	{ "?\n: a\n", 1, 2, "no text" },
	{ "\"a\\0b\": 1\n", 1, 1, "NUL" },
	{ "a: [1,\nb: 2\n", 3, 1, "" },
	{ "a: [1\n", 2, 1, "" },
	{ "a: 'x\n", 2, 1, "" },
	{ "a:\n\t- b\n", 2, 1, "" },
	{ "a: b: c\n", 1, 5, "" },
	{ "a: \xff\n", 1, 4, "" },
	{ "# \xc3\xa4\nab: \xc3(\n", 2, 6, "" }, /* the byte that should have followed */
	{ "a: \xed\xa0\x80\n", 1, 4, "" },       /* a surrogate */
	{ "a: \x01\n", 1, 4, "" },
};

static int never(void *user, struct json_object *object, size_t line)
{
	(void)object;
	(void)line;
	return ++*(int *)user;
}

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct yaml_node untouched, *root = &untouched;
		struct yaml_error error = { 0 };
		int calls = 0, r;

		r = yaml_document(bad[i].text, strlen(bad[i].text), &root, &error);
		if (r != -EINVAL || error.line != bad[i].line || error.column != bad[i].column ||
		    !strstr(error.text, bad[i].says))
			fail_msg("%s: %d %zu:%zu: %s", bad[i].text, r, error.line, error.column,
			         error.text);
		assert_ptr_equal(root, &untouched);

		error = (struct yaml_error){ 0 };
		r = yaml_objects(bad[i].text, strlen(bad[i].text), never, &calls, &error);
		if (r != -EINVAL || error.line != bad[i].line || error.column != bad[i].column)
			fail_msg("objects: %s: %d %zu:%zu: %s", bad[i].text, r, error.line,
			         error.column, error.text);
		assert_int_equal(calls, 0);
	}
}

static void refuses_nul_and_a_second_document(void **state)
{
	static const struct {
		const char *text;
		size_t len, line, column;
	} rows[] = {
		{ "a: \"b\\0c\"\n", 10, 1, 4 },
		{ "a: b\0c\n", 7, 1, 5 },
		{ "\0", 1, 1, 1 },
		{ "a: 1\n---\nb: 2\n", 14, 2, 1 },
		{ "a: 1\n---\n", 9, 2, 1 },
		{ "\xff\xfe"
		  "a\0:\0",
		  6, 1, 1 }, /* UTF-16 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct yaml_node untouched, *root = &untouched;
		struct yaml_error error = { 0 };

		assert_int_equal(yaml_document(rows[i].text, rows[i].len, &root, &error), -EINVAL);
		if (error.line != rows[i].line || error.column != rows[i].column)
			fail_msg("row %zu: %zu:%zu: %s", i, error.line, error.column, error.text);
		assert_ptr_equal(root, &untouched);
	}
}

static char *repeat(const char *text, size_t n)
{
	size_t len = strlen(text);
	char *all = malloc(n * len + 1);

	assert_non_null(all);
	for (size_t i = 0; i < n; i++)
		memcpy(all + i * len, text, len);
	all[n * len] = '\0';
	return all;
}

static int read_repeated(const char *before, const char *text, size_t n, const char *after)
{
	cleanup(mem_freep) char *middle = repeat(text, n);
	cleanup(mem_freep) char *all = NULL;
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;
	struct yaml_error error;
	int len = asprintf(&all, "%s%s%s", before, middle, after);

	assert_true(len > 0);
	return yaml_document(all, (size_t)len, &root, &error);
}

static void bounds(void **state)
{
	(void)state;
	assert_int_equal(read_repeated("", "[", 60,
	                               "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
	                               "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
	                 0);
	assert_int_equal(read_repeated("", "[", 100000, ""), -EINVAL);
	assert_int_equal(read_repeated("", "- ", 5000, "x"), -EINVAL);
	assert_int_equal(read_repeated("", "{a: ", 1000, ""), -EINVAL);
	assert_int_equal(read_repeated("", "? ", 1000, ""), -EINVAL);
	assert_int_equal(read_repeated("[", "x,", YAML_DOCUMENT_NODES_MAX - 2, "]"), 0);
	assert_int_equal(read_repeated("[", "x,", YAML_DOCUMENT_NODES_MAX, "]"), -EINVAL);
	assert_int_equal(read_repeated("'", "x", YAML_SCALAR_MAX, "'"), 0);
	assert_int_equal(read_repeated("'", "x", YAML_SCALAR_MAX + 1, "'"), -EINVAL);
}

/* Objects */

struct seen {
	char text[2048]; /* "LINE:JSON;" for each */
	int stop_after, result;
	struct json_object *kept;
};

static int on_object(void *user, struct json_object *object, size_t line)
{
	struct seen *seen = user;
	size_t at = strlen(seen->text);

	snprintf(seen->text + at, sizeof(seen->text) - at, "%zu:%s;", line,
	         object ? json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE)
	                : "null");
	if (!seen->kept)
		seen->kept = json_object_get(object);
	return --seen->stop_after == 0 ? seen->result : 0;
}

static int read_objects(const char *text, struct seen *seen, struct yaml_error *error)
{
	int r = yaml_objects(text, strlen(text), on_object, seen, error);

	json_object_put(seen->kept);
	seen->kept = NULL;
	return r;
}

static void gives_objects(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "---\n---\n# no\n---\n", "" },
		{ "a: 1\n", "1:{\"a\":1};" },
		{ "a: 1\n---\n---\nb: 2\n", "1:{\"a\":1};4:{\"b\":2};" },
		{ "apiVersion: v1\nitems:\n- a: 1\n- b: 2\nkind: List\nmetadata:\n  x: \"\"\n",
		  "3:{\"a\":1};4:{\"b\":2};" },
		{ "kind: List\nitems:\n- a: 1\n---\nb: 2\n", "3:{\"a\":1};5:{\"b\":2};" },
		{ "{\"apiVersion\":\"v1\",\"items\":[{\"a\":1},{\"b\":null}],\"kind\":\"List\"}\n",
		  "1:{\"a\":1};1:{\"b\":null};" },
		{ "items: []\nkind: List\n", "" },
		{ "items: null\nkind: PodList\n", "" },
		/* Only on top is `items` a List's. */
		{ "spec:\n  items:\n  - a: 1\n", "1:{\"spec\":{\"items\":[{\"a\":1}]}};" },
		{ "items:\n- items:\n  - a: 1\nkind: XList\n", "2:{\"items\":[{\"a\":1}]};" },
		{ "a: 9223372036854775807\nb: -9223372036854775808\nc: 0x10\nd: 0o17\ne: +5\n",
		  "1:{\"a\":9223372036854775807,\"b\":-9223372036854775808,\"c\":16,\"d\":15,"
		  "\"e\":5};" },
		{ "a: yes\nb: True\nc: 'true'\nd: \"2026-11-20T15:51:08Z\"\ne: \"8080\"\n",
		  "1:{\"a\":\"yes\",\"b\":true,\"c\":\"true\",\"d\":\"2026-11-20T15:51:08Z\","
		  "\"e\":\"8080\"};" },
		/* As kubectl prints labels and annotations that no number can hold. */
		{ "a: 12e4567\nb: 0x71c7656ec7ab88b098defb751b7401b5f6d8976f\n",
		  "1:{\"a\":\"12e4567\",\"b\":\"0x71c7656ec7ab88b098defb751b7401b5f6d8976f\"};" },
		/* Managed fields and keys past 128 bytes, as go-yaml prints them. */
		{ "k:{\"type\":\"Ready\"}:\n  .: {}\n",
		  "1:{\"k:{\\\"type\\\":\\\"Ready\\\"}\":{\".\":{}}};" },
		{ "? aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n: b\n",
		  "1:{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":\"b\"};" },
		{ "a: \"\\u003cb\\u003e \\/\"\n", "1:{\"a\":\"<b> /\"};" },
		/* One pod's NUL must not refuse all of the cluster's. */
		{ "a: \"b\\0c\"\n", "1:{\"a\":\"b\\u0000c\"};" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct yaml_error error = { 0 };
		struct seen seen = { 0 };

		if (read_objects(rows[i].text, &seen, &error) != 0)
			fail_msg("%s: %zu:%zu: %s", rows[i].text, error.line, error.column,
			         error.text);
		assert_string_equal(seen.text, rows[i].want);
	}
}

static void refuses_what_is_no_object(void **state)
{
	static const char *const rows[] = {
		"text\n",
		"- a: 1\n",
		"a: 1\n---\n7\n",
		"items: {a: 1}\n",
		"items: x\n",
		"items: []\nitems: []\n",
		"kind: List\nitems:\n- a: 1\nkind: List\n",
		"items:\n- a: 1\n- a: [\n",
		/* Cut where it is still YAML. */
		"apiVersion: v1\nitems:\n- a: 1\n",
		"apiVersion: v1\nitems:\n- a: 1\nkind: Li\n",
		"apiVersion: v1\nitems:\n- a: 1\nkind:\n",
		"items: []\nkind: [List]\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct yaml_error error = { 0 };
		struct seen seen = { 0 };

		assert_int_equal(read_objects(rows[i], &seen, &error), -EINVAL);
		assert_true(error.line >= 1 && error.column >= 1 && error.text[0]);
	}
}

static void ends_when_told(void **state)
{
	struct yaml_error error = { 0 };
	struct seen seen = { .stop_after = 2, .result = 42 };

	(void)state;
	assert_int_equal(read_objects("items:\n- a: 1\n- a: 2\n- a: 3\n", &seen, &error), 42);
	assert_string_equal(seen.text, "2:{\"a\":1};3:{\"a\":2};");

	seen = (struct seen){ .stop_after = 1, .result = -ECANCELED };
	assert_int_equal(read_objects("a: 1\n---\na: 2\n", &seen, &error), -ECANCELED);
}

static int count(void *user, struct json_object *object, size_t line)
{
	(void)line;
	assert_true(json_object_is_type(object, json_type_object));
	++*(size_t *)user;
	return 0;
}

/* Items are counted one by one: a List may be as long as its file. */
static void streams_a_long_list(void **state)
{
	static const char item[] = "- {kind: Pod, metadata: {name: a, labels: {b: c, d: e}}}\n";
	cleanup(mem_freep) char *items = repeat(item, 50000);
	cleanup(mem_freep) char *all = NULL;
	struct yaml_error error = { 0 };
	size_t n = 0;

	(void)state;
	assert_true(asprintf(&all, "items:\n%skind: List\n", items) > 0);
	assert_int_equal(yaml_objects(all, strlen(all), count, &n, &error), 0);
	assert_int_equal(n, 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_plain_scalars),
		cmocka_unit_test(keeps_positions),
		cmocka_unit_test(takes_nothing),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_nul_and_a_second_document),
		cmocka_unit_test(bounds),
		cmocka_unit_test(gives_objects),
		cmocka_unit_test(refuses_what_is_no_object),
		cmocka_unit_test(ends_when_told),
		cmocka_unit_test(streams_a_long_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
