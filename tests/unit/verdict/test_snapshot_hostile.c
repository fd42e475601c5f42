/*
 * What is remembered across restarts, as a disk may bring it back: it is either refused, and changes
 * nothing, or a violation like any other.
 */
#include "snapshot_sample.h"

/* The text with one value in the place of another; `value` NULL: without that key. */
static char *with(const char *text, const char *key, const char *value)
{
	struct json_object *object = json_tokener_parse(text);
	char *out;

	assert_non_null(object);
	assert_true(json_object_object_get_ex(object, key, NULL));
	json_object_object_del(object, key);
	out = strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
	assert_non_null(out);
	if (value) {
		size_t size = strlen(out) + strlen(key) + strlen(value) + 8;
		char *more = malloc(size);

		assert_non_null(more);
		snprintf(more, size, "%.*s,\"%s\":%s}", (int)strlen(out) - 1, out, key, value);
		free(out);
		out = more;
	}
	return out;
}

struct change_of {
	const char *key;
	const char *good[3]; /* what else it may be; "-": absent */
	const char *bad[10];
};

#define NOT_A_TEXT "7", "true", "[]", "{}", "1.5", "[\"x\"]"
#define NOT_A_MOMENT                                                                      \
	"7", "\"x\"", "[]", "{}", "{\"mono\":-1,\"wall\":1}", "{\"mono\":1,\"wall\":-1}", \
		"{\"mono\":1}", "{\"mono\":1.5,\"wall\":1}",                              \
		"{\"mono\":1,\"wall\":9223372036854776}", "{\"mono\":\"1\",\"wall\":1}"

static const struct change_of of_violation[] = {
	{ "version", { "1" }, { "-", "null", "0", "2", "-1", "\"1\"", "1.0", "[1]" } },
	{ "boot", { "\"\"", "\"x\"" }, { "-", "null", NOT_A_TEXT, "\"a\\u0000b\"" } },
	{ "id",
	  { "\"00000000000000000000000000000000\"" },
	  { "-", "null", "7", "\"\"", "\"0123456789abcdef0123456789abcde\"",
	    "\"0123456789abcdef0123456789abcdef0\"", "\"0123456789abcdef0123456789abcdeF\"",
	    "\"0123456789abcdef0123456789abcde\\u0000\"",
	    "\"0123456789abcdef0123456789abcd/.\"" } },
	{ "kind", { "\"stale-routes\"" }, { "-", "null", "\"\"", "\"Stale-Routes\"", "3", "{}" } },
	{ "namespace", { "\"x\"" }, { "-", "null", "\"\"", "\"a/b\"", NOT_A_TEXT } },
	{ "pod", { "\"x.y\"" }, { "-", "null", "\"\"", "\"../x\"", NOT_A_TEXT } },
	{ "uid", { "\"x\"" }, { "-", "null", "\"\"", "\"a b\"", NOT_A_TEXT } },
	/* Both or none. */
	{ "gatewayNamespace", { "\"x\"" }, { "-", "null", "\"\"", NOT_A_TEXT } },
	{ "gateway", { "\"a b\"" }, { "-", "null", NOT_A_TEXT } },
	{ "first", { "{\"mono\":0,\"wall\":0}" }, { NOT_A_MOMENT } },
	{ "last", { "{\"mono\":0,\"wall\":0}" }, { NOT_A_MOMENT } },
	{ "opened", { "{\"mono\":0,\"wall\":1}" }, { NOT_A_MOMENT } },
	{ "opened", { NULL }, { "-", "null", "{\"mono\":5,\"wall\":0}" } },
	{ "resolved", { "{\"mono\":9,\"wall\":9}" }, { NOT_A_MOMENT } },
	{ "first", { NULL }, { "-", "null", "true", "{\"mono\":null,\"wall\":1}" } },
	{ "last", { NULL }, { "-", "null" } },
	{ "resolved", { NULL }, { "-", "null" } },
	{ "count", { "0", "1" }, { "-", "null", "-1", "1.5", "\"1\"", "[]", "{}" } },
	{ "reason", { "\"\"", "\"\\ud800\"" }, { "-", "null", NOT_A_TEXT } },
	{ "remedy", { "\"\"" }, { "-", "null", NOT_A_TEXT, "\"a\\u0000\"" } },
	{ "evidence",
	  { "-", "null", "\"{}\"" },
	  { NOT_A_TEXT, "\"\"", "\"[]\"", "\"{\"", "\"{} x\"" } },
};

static const struct change_of of_subject[] = {
	{ "version", { "1" }, { "-", "null", "0", "2", "\"1\"" } },
	{ "boot", { "\"\"" }, { "-", "null", NOT_A_TEXT } },
	{ "state", { "\"pending\"" }, { "-", "null", "\"\"", "\"Verified\"", "3", "\"broken\"" } },
	{ "stateSince", { "{\"mono\":0,\"wall\":0}" }, { NOT_A_MOMENT } },
	{ "stateSince", { NULL }, { "-", "null" } },
	{ "reason", { "\"\"", "\"\\ud800\"" }, { "-", "null", NOT_A_TEXT } },
	{ "lastProof", { "{\"mono\":0,\"wall\":0}" }, { NOT_A_MOMENT } },
	{ "lastProof", { NULL }, { "-", "null" } },
	{ "observed", { "-", "null", "\"2001:db8::1\"" }, { "\"\"", "\"1.2.3\"", "7", "{}" } },
	{ "attribution", { "-", "null", "\"node\"" }, { "\"\"", "\"Node\"", "7", "{}" } },
	{ "attributedTo", { "-", "null", "\"a/b\"" }, { NOT_A_TEXT } },
	{ "proofReason", { "-", "null", "\"\"" }, { NOT_A_TEXT } },
	{ "findingReason", { "-", "null", "\"\"" }, { NOT_A_TEXT } },
};

typedef int (*try_fn)(const char *text, size_t len);

static void try_changes(const char *text, const struct change_of *of, size_t n, try_fn try_it)
{
	for (size_t i = 0; i < n; i++) {
		const struct {
			const char *const *values;
			size_t n;
			int expected;
		} sets[] = { { of[i].good, 3, 0 }, { of[i].bad, 10, -EINVAL } };

		for (size_t s = 0; s < 2; s++)
			for (size_t j = 0; j < sets[s].n && sets[s].values[j]; j++) {
				const char *value = sets[s].values[j];
				char *changed = with(text, of[i].key,
				                     strcmp(value, "-") == 0 ? NULL : value);
				int r = try_it(changed, strlen(changed));

				if (r != sets[s].expected)
					fail_msg("%s %s: %d", of[i].key, value, r);
				free(changed);
			}
	}
}

/* Whatever is taken can be told: by the API, the spool and OTLP. */
static void check_violation(const struct violation *v)
{
	const char *const names[] = { v->namespace, v->pod, v->uid };

	assert_true(v->kind < _VIOLATION_KIND_MAX);
	assert_int_equal(strlen(v->id), 32);
	for (size_t i = 0; i < 3; i++)
		assert_true(names[i] && decode_is_name(names[i]));
	assert_true(!v->gateway == !v->gateway_namespace);
	assert_true(memchr(v->reason, '\0', sizeof(v->reason)) != NULL);
	assert_true(memchr(v->remedy, '\0', sizeof(v->remedy)) != NULL);
	assert_true(v->opened.wall_us != 0);
	assert_true(v->open == !v->resolved.wall_us);
	assert_true(v->first.mono_ns <= NOW.mono_ns && v->last.mono_ns <= NOW.mono_ns);
	assert_true(v->opened.wall_us <= INT64_MAX / 1000 && v->last.wall_us <= INT64_MAX / 1000);
	if (v->evidence) {
		struct json_object *evidence = json_tokener_parse(v->evidence);

		assert_true(json_object_is_type(evidence, json_type_object));
		json_object_put(evidence);
	}
}

static int try_violation(const char *text, size_t len)
{
	struct violation *const untouched = (struct violation *)&of_violation, *read = untouched;
	int r = read_text(text, len, &read);

	if (r < 0) {
		assert_ptr_equal(read, untouched);
		return r;
	}
	check_violation(read);
	snapshot_violation_free(read);
	return 0;
}

static int try_subject(const char *text, size_t len)
{
	cleanup(mem_freep) char *copy = malloc(len ? len : 1);
	struct judge_record record, before;
	struct moment now = NOW;
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(&record, 0, sizeof(record));
	judge_record_init(&record, &now);
	memcpy(&before, &record, sizeof(before));
	r = snapshot_subject_read(copy, len, BOOT, &now, &record);
	if (r < 0) {
		assert_memory_equal(&before, &record, sizeof(before));
		return r;
	}
	assert_true(record.state < _STATE_MAX && record.attribution < _ATTRIBUTION_MAX);
	assert_true(record.last_proof.mono_ns <= now.mono_ns);
	assert_true(record.state_since.mono_ns <= now.mono_ns);
	assert_true(memchr(record.reason, '\0', sizeof(record.reason)) != NULL);
	assert_true(memchr(record.attributed_to, '\0', sizeof(record.attributed_to)) != NULL);
	return 0;
}

static void what_is_missing_or_of_another_type_is_refused(void **state)
{
	struct violation v = sample();
	struct judge_record record = sample_record();
	cleanup(buf_clearp) struct buf text = written(&v, BOOT), subject = written_subject(&record);

	(void)state;
	try_changes(text.data, of_violation, sizeof(of_violation) / sizeof(of_violation[0]),
	            try_violation);
	try_changes(subject.data, of_subject, sizeof(of_subject) / sizeof(of_subject[0]),
	            try_subject);
	assert_int_equal(try_violation("", 0), -EINVAL);
	assert_int_equal(try_violation("null", 4), -EINVAL);
	assert_int_equal(try_violation("[]", 2), -EINVAL);
	assert_int_equal(try_subject("\"\"", 2), -EINVAL);
}

/* Evidence that nothing could show, and a text that no row holds. */
static void what_is_too_large_is_refused(void **state)
{
	char evidence[EVIDENCE_MAX + 2], deep[512] = "";
	struct violation v = sample();
	struct buf text;
	char *padded;

	(void)state;
	fill_evidence(evidence, "z");
	memcpy(evidence + EVIDENCE_MAX - 1, " }", 3);
	evidence[EVIDENCE_MAX - 2] = '"';
	assert_int_equal(strlen(evidence), EVIDENCE_MAX + 1);
	v.evidence = evidence;
	text = written(&v, BOOT);
	assert_int_equal(try_violation(text.data, text.len), -EINVAL);
	buf_clear(&text);

	for (int i = 0; i < 70; i++)
		strcat(deep, "{\"a\":");
	strcat(deep, "1");
	for (int i = 0; i < 70; i++)
		strcat(deep, "}");
	v.evidence = deep;
	text = written(&v, BOOT);
	assert_int_equal(try_violation(text.data, text.len), -EINVAL);
	buf_clear(&text);

	v = sample();
	text = written(&v, BOOT);
	padded = malloc(SPOOL_BODY_MAX + 1);
	assert_non_null(padded);
	memset(padded, ' ', SPOOL_BODY_MAX + 1);
	memcpy(padded, text.data, text.len);
	assert_int_equal(try_violation(padded, SPOOL_BODY_MAX), 0);
	assert_int_equal(try_violation(padded, SPOOL_BODY_MAX + 1), -EINVAL);
	padded[text.len] = '}';
	assert_int_equal(try_violation(padded, text.len + 1), -EINVAL);
	free(padded);
	buf_clear(&text);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

/* Cut after each byte; each bit wrong alone; some wrong together. */
static void mangle(struct buf *text, try_fn try_it)
{
	uint64_t seed = 0x9e3779b97f4a7c15ULL;
	size_t taken = 0;

	assert_int_equal(try_it(text->data, text->len), 0);
	for (size_t len = 0; len < text->len; len++)
		assert_int_equal(try_it(text->data, len), -EINVAL);
	for (size_t bit = 0; bit < text->len * 8; bit++) {
		text->data[bit / 8] = (char)(text->data[bit / 8] ^ 1 << bit % 8);
		taken += try_it(text->data, text->len) == 0;
		text->data[bit / 8] = (char)(text->data[bit / 8] ^ 1 << bit % 8);
	}
	/* A digit or a letter of a sentence became another; most were not. */
	assert_in_range(taken, 1, text->len * 4);
	for (int run = 0; run < 2000; run++) {
		cleanup(mem_freep) char *copy = malloc(text->len);

		assert_non_null(copy);
		memcpy(copy, text->data, text->len);
		for (uint64_t n = 1 + next(&seed) % 4; n > 0; n--)
			copy[next(&seed) % text->len] = (char)(next(&seed) >> 56);
		(void)try_it(copy, text->len);
	}
}

static void mangled_texts_are_refused_or_valid(void **state)
{
	struct violation v = sample();
	struct judge_record record = sample_record();
	cleanup(buf_clearp) struct buf text = written(&v, BOOT), subject = written_subject(&record);

	(void)state;
	mangle(&text, try_violation);
	mangle(&subject, try_subject);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_or_of_another_type_is_refused),
		cmocka_unit_test(what_is_too_large_is_refused),
		cmocka_unit_test(mangled_texts_are_refused_or_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
