/* ldflags: -Wl,--wrap=malloc,--wrap=calloc,--wrap=strdup */
/* What is remembered across restarts: nothing is lost on the way. */
#include "snapshot_sample.h"

#include "base/utf8.h"

#define OTHER_BOOT "11111111-2222-3333-4444-555555555555"

static long left = -1; /* allocations of ours until one fails; -1: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
	return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

static void same_text(const char *what, const char *a, const char *b)
{
	if ((!a != !b) || (a && strcmp(a, b) != 0))
		fail_msg("%s: \"%s\" is not \"%s\"", what, a ? a : "NULL", b ? b : "NULL");
}

static void same_moment(const char *what, const struct moment *a, const struct moment *b)
{
	if (a->mono_ns != b->mono_ns || a->wall_us != b->wall_us)
		fail_msg("%s: %llu, %lld is not %llu, %lld", what, (unsigned long long)a->mono_ns,
		         (long long)a->wall_us, (unsigned long long)b->mono_ns,
		         (long long)b->wall_us);
}

static void same_violation(const struct violation *a, const struct violation *b)
{
	same_text("id", a->id, b->id);
	assert_int_equal(a->kind, b->kind);
	same_text("namespace", a->namespace, b->namespace);
	same_text("pod", a->pod, b->pod);
	same_text("uid", a->uid, b->uid);
	same_text("gateway namespace", a->gateway_namespace, b->gateway_namespace);
	same_text("gateway", a->gateway, b->gateway);
	same_moment("first", &a->first, &b->first);
	same_moment("last", &a->last, &b->last);
	same_moment("opened", &a->opened, &b->opened);
	same_moment("resolved", &a->resolved, &b->resolved);
	assert_int_equal(a->count, b->count);
	same_text("reason", a->reason, b->reason);
	same_text("remedy", a->remedy, b->remedy);
	same_text("evidence", a->evidence, b->evidence);
	assert_int_equal(a->open, b->open);
}

static void round_trip(const struct violation *violation)
{
	cleanup(buf_clearp) struct buf text = written(violation, BOOT);
	struct violation *read = NULL, *copied = NULL;

	assert_int_equal(read_text(text.data, text.len, &read), 0);
	same_violation(violation, read);
	assert_int_equal(snapshot_violation_copy(read, &copied), 0);
	snapshot_violation_free(read);
	same_violation(violation, copied); /* it stands by itself */
	assert_null(snapshot_violation_free(copied));
}

static void every_field_comes_back(void **state)
{
	struct violation v;

	(void)state;
	for (int kind = 0; kind < _VIOLATION_KIND_MAX; kind++) {
		v = sample();
		v.kind = (enum violation_kind)kind;
		round_trip(&v);
	}
	v = sample();
	v.gateway = v.gateway_namespace = NULL;
	round_trip(&v);
	v = sample();
	v.evidence = NULL;
	round_trip(&v);
	v = sample();
	v.resolved = at(95);
	v.open = false;
	round_trip(&v);
	v = sample();
	v.count = INT64_MAX;
	v.reason[0] = v.remedy[0] = '\0';
	round_trip(&v);
	assert_null(snapshot_violation_free(NULL));
}

static void hostile_texts_come_back(void **state)
{
	static const char *const texts[] = {
		"\"}, \"id\": \"x\", {\"", "\\\\\" \\u0000",       "a\nb\r\tc\b\f",
		"\x1b[2J\x7f\x01",         "\xe2\x80\xae txet",    "\xf0\x9f\x92\xa5 \xc3\xa4",
		"%s%n%1000000d",           "</script><!-- ' or 1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct violation v = sample();

		snprintf(v.reason, sizeof(v.reason), "%s", texts[i]);
		snprintf(v.remedy, sizeof(v.remedy), "%s%s", texts[i], texts[i]);
		v.gateway = (char *)texts[i]; /* an annotation */
		round_trip(&v);
	}
}

/* The most that one can be fits a row of the spool. */
static void the_largest_comes_back(void **state)
{
	static const char *const fills[] = { "z", "\\\\", "\\\"", "\\u202e", "\xe2\x82\xac" };
	char evidence[EVIDENCE_MAX + 1], name[254];

	(void)state;
	memset(name, 'n', 253);
	name[253] = '\0';
	for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
		struct violation v = sample();

		fill_evidence(evidence, fills[i]);
		v.namespace = v.pod = v.uid = v.gateway = v.gateway_namespace = name;
		v.evidence = evidence;
		memset(v.reason, 1, sizeof(v.reason) - 1);
		memset(v.remedy, '"', sizeof(v.remedy) - 1);
		round_trip(&v);
	}
}

static void is_prefix(const char *part, const char *whole)
{
	uint32_t c;

	assert_memory_equal(part, whole, strlen(part));
	for (size_t n; *part; part += n) {
		n = utf8_read(part, &c);
		assert_true(n > 0);
	}
}

/* A sentence that was cut within a character grows when it is written; that loses no violation. */
static void half_characters_lose_nothing(void **state)
{
	char whole[3 * REASON_MAX] = "";

	(void)state;
	for (size_t i = 0; i < REASON_MAX - 1; i++)
		strcat(whole, "\xef\xbf\xbd");
	for (size_t broken = 1; broken < REASON_MAX; broken += 7) {
		struct violation v = sample(), *read = NULL;
		struct buf text;

		memset(v.reason, '\xe2', broken);
		memset(v.reason + broken, 'x', REASON_MAX - 1 - broken);
		memset(v.remedy, '\x80', REMEDY_MAX - 1);
		text = written(&v, BOOT);
		assert_int_equal(read_text(text.data, text.len, &read), 0);
		is_prefix(read->remedy, whole);
		assert_in_range(strlen(read->remedy), REMEDY_MAX - 4, REMEDY_MAX - 1);
		assert_in_range(strlen(read->reason), REASON_MAX - 4, REASON_MAX - 1);
		assert_memory_equal(read->reason, whole,
		                    3 * broken < REASON_MAX - 4 ? 3 * broken : REASON_MAX - 4);
		snapshot_violation_free(read);
		buf_clear(&text);
	}
}

static void times_are_of_this_boot_or_of_the_wall_clock(void **state)
{
	const uint64_t now_ns = NOW.mono_ns; /* the machine runs since 5100 s */
	const int64_t now_us = NOW.wall_us;
	const struct {
		const char *boot;
		struct moment stored;
		uint64_t mono_ns;
	} cases[] = {
		{ BOOT, { 1, now_us - 5 }, 1 },
		{ BOOT, { now_ns, now_us }, now_ns },
		/* The wall clock was set meanwhile: the other one is right. */
		{ BOOT, { now_ns - 7, now_us + 900000000 }, now_ns - 7 },
		{ BOOT, { now_ns - 7, 1 }, now_ns - 7 },
		{ BOOT, { now_ns + 1, now_us - 3000000 }, now_ns - 3 * NSEC_PER_SEC },
		{ BOOT, { INT64_MAX, now_us + 3 }, now_ns },
		{ OTHER_BOOT, { 1, now_us - 3000000 }, now_ns - 3 * NSEC_PER_SEC },
		{ OTHER_BOOT, { now_ns - 5, now_us }, now_ns },
		{ OTHER_BOOT, { now_ns - 5, now_us + 1 }, now_ns },
		{ OTHER_BOOT, { now_ns - 5, INT64_MAX / 1000 }, now_ns },
		/* Before this boot. */
		{ OTHER_BOOT, { now_ns - 5, now_us - 5100000000 }, 0 },
		{ OTHER_BOOT, { now_ns - 5, now_us - 5100000001 }, 0 },
		{ OTHER_BOOT, { now_ns - 5, 1 }, 0 },
		{ "", { now_ns - 5, now_us - 1 }, now_ns - 1000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct violation v = sample(), *read = NULL;
		struct moment expected = { cases[i].mono_ns, cases[i].stored.wall_us };
		struct moment now = NOW;
		struct judge_record record, other;
		struct buf text;

		v.first = v.last = v.opened = v.resolved = cases[i].stored;
		text = written(&v, cases[i].boot);
		assert_int_equal(read_text(text.data, text.len, &read), 0);
		same_moment("first", &read->first, &expected);
		same_moment("last", &read->last, &expected);
		same_moment("opened", &read->opened, &expected);
		same_moment("resolved", &read->resolved, &expected);
		assert_false(read->open);
		snapshot_violation_free(read);

		judge_record_init(&record, &now);
		other = record;
		record.state_since = record.last_proof = cases[i].stored;
		buf_reset(&text);
		snapshot_subject_write(&record, cases[i].boot, &text);
		assert_int_equal(snapshot_subject_read(text.data, text.len, BOOT, &now, &other), 0);
		same_moment("since", &other.state_since, &expected);
		same_moment("last proof", &other.last_proof,
		            strcmp(cases[i].boot, BOOT) == 0 ? &expected : &(struct moment){ 0 });
		buf_clear(&text);
	}
}

/* A time that never was must not come to lie in the future, where nothing would ever be quiet. */
static void never_stays_never(void **state)
{
	static const struct moment never;
	struct violation v = sample(), *read = NULL;
	struct buf text;

	(void)state;
	v.last = (struct moment){ INT64_MAX, 0 };
	text = written(&v, BOOT);
	assert_int_equal(read_text(text.data, text.len, &read), 0);
	same_moment("last", &read->last, &never);
	same_moment("resolved", &read->resolved, &never);
	assert_true(read->open);
	snapshot_violation_free(read);
	buf_clear(&text);
}

static void subjects_come_back(void **state)
{
	(void)state;
	for (int i = 0; i < _STATE_MAX * _ATTRIBUTION_MAX; i++) {
		struct judge_record record = sample_record(), read;
		struct moment now = NOW;
		struct buf text;

		record.state = (enum subject_state)(i % _STATE_MAX);
		record.attribution = (enum attribution)(i / _STATE_MAX);
		text = written_subject(&record);
		judge_record_init(&read, &now);
		assert_int_equal(snapshot_subject_read(text.data, text.len, BOOT, &now, &read), 0);
		assert_int_equal(read.state, record.state);
		same_moment("since", &read.state_since, &record.state_since);
		same_moment("last proof", &read.last_proof, &record.last_proof);
		same_text("reason", read.reason, record.reason);
		same_text("round", read.round_reason, record.round_reason);
		same_text("finding", read.finding_reason, record.finding_reason);
		assert_int_equal(read.attribution, record.attribution);
		if (record.attribution != ATTRIBUTION_NONE) {
			assert_memory_equal(&read.observed, &record.observed,
			                    sizeof(read.observed));
			same_text("whose", read.attributed_to, record.attributed_to);
		}
		same_moment("begun", &read.begun, &now); /* of this run */
		assert_int_equal(read.rounds, 0);
		buf_clear(&text);
	}
}

/* Only our own calls fail: json-c 0.16 does not survive a failure of its own. */
static void memory_runs_out(void **state)
{
	struct violation v = sample(), *read = NULL, *copied = NULL;
	struct judge_record record = sample_record(), found;
	cleanup(buf_clearp) struct buf text = written(&v, BOOT), subject = written_subject(&record);
	long failed[3] = { 0 };

	(void)state;
	for (;; failed[0]++) {
		struct moment now = NOW;
		int r;

		left = failed[0];
		r = snapshot_violation_read(text.data, text.len, BOOT, &now, &read);
		left = -1;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(read);
	}
	for (;; failed[1]++) {
		int r;

		left = failed[1];
		r = snapshot_violation_copy(read, &copied);
		left = -1;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(copied);
	}
	memset(&found, 0, sizeof(found));
	for (;; failed[2]++) {
		struct judge_record before;
		struct moment now = NOW;
		int r;

		memcpy(&before, &found, sizeof(before));
		left = failed[2];
		r = snapshot_subject_read(subject.data, subject.len, BOOT, &now, &found);
		left = -1;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_memory_equal(&found, &before, sizeof(found));
	}
	same_text("reason", found.reason, record.reason);
	same_violation(&v, read);
	same_violation(&v, copied);
	snapshot_violation_free(read);
	snapshot_violation_free(copied);
	assert_true(failed[0] >= 12 && failed[1] >= 7 && failed[2] >= 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(hostile_texts_come_back),
		cmocka_unit_test(the_largest_comes_back),
		cmocka_unit_test(half_characters_lose_nothing),
		cmocka_unit_test(times_are_of_this_boot_or_of_the_wall_clock),
		cmocka_unit_test(never_stays_never),
		cmocka_unit_test(subjects_come_back),
		cmocka_unit_test(memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
