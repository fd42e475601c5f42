/* ldflags: -Wl,--wrap=calloc,--wrap=strdup */
/* Violations of an earlier run: they go on as if nothing had been. */
#include "world.h"

#include "limits.h"

#define QUIET (10 * NSEC_PER_SEC)
#define ALL_KINDS (KIND(_VIOLATION_KIND_MAX) - 1)
#define ID "0123456789abcdef0123456789abcdef"

static long left = -1; /* allocations of ours until one fails; -1: none does */

void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
	return left >= 0 && left-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

static const struct violation_subject app = { "team", "app", "u-1", "team", "blue" };

struct events {
	size_t opened, resolved;
	char id[33];
};

static void count(void *user, const struct violation *v, enum violation_change change)
{
	struct events *events = user;

	assert_int_equal(v->open, change == VIOLATION_OPENED);
	*(change == VIOLATION_OPENED ? &events->opened : &events->resolved) += 1;
	memcpy(events->id, v->id, sizeof(events->id));
}

/* Of the earlier run, whose texts are borrowed. */
static struct violation earlier(enum violation_kind kind, double first, double last, uint64_t n)
{
	return (struct violation){ .id = ID,
		                   .kind = kind,
		                   .namespace = (char *)"team",
		                   .pod = (char *)"app",
		                   .uid = (char *)"u-1",
		                   .gateway_namespace = (char *)"team",
		                   .gateway = (char *)"blue",
		                   .first = at(first),
		                   .last = at(last),
		                   .opened = at(first + 1),
		                   .count = n,
		                   .reason = "seen before",
		                   .remedy = "restart it",
		                   .evidence = (char *)"{\"before\":1}",
		                   .open = true };
}

static void update(struct violations *v, double now, size_t n, enum violation_kind kind,
                   double first, uint64_t times)
{
	struct moment moment = at(now);
	struct finding f = { .kind = kind, .count = times, .first = at(first), .last = moment };

	snprintf(f.reason, sizeof(f.reason), "seen at %g", now);
	f.evidence = n ? strdup("{}") : NULL;
	assert_int_equal(violations_update(v, &app, &f, n, QUIET, &moment), 0);
	assert_null(f.evidence);
}

static void nothing_found(struct violations *v, double now)
{
	update(v, now, 0, GATEWAY_BYPASS, 0, 0);
}

static struct violations *restored(struct events *events, const struct violation *violation)
{
	struct violations *violations;

	*events = (struct events){ 0 };
	assert_int_equal(violations_new(count, events, &violations), 0);
	assert_int_equal(violations_restore(violations, violation), 0);
	return violations;
}

static void is_there_and_nothing_is_reported(void **state)
{
	(void)state;
	for (int bare = 0; bare < 2; bare++) {
		struct violation before = earlier(STALE_ROUTES, 1, 2, 3);
		struct violations *violations;
		const struct violation *v;
		struct events events;

		if (bare)
			before.gateway = before.gateway_namespace = before.evidence = NULL;
		violations = restored(&events, &before);
		v = violations_at(violations, 0);
		assert_string_equal(v->id, ID);
		assert_int_equal(v->kind, STALE_ROUTES);
		assert_string_equal(v->namespace, "team");
		assert_string_equal(v->pod, "app");
		assert_string_equal(v->uid, "u-1");
		assert_string_equal(v->reason, "seen before");
		assert_string_equal(v->remedy, "restart it");
		assert_int_equal(v->count, 3);
		assert_memory_equal(&v->first, &before.first, sizeof(v->first));
		assert_memory_equal(&v->last, &before.last, sizeof(v->last));
		assert_memory_equal(&v->opened, &before.opened, sizeof(v->opened));
		assert_int_equal(v->resolved.wall_us, 0);
		assert_true(v->open);
		if (bare) {
			assert_true(!v->gateway && !v->gateway_namespace && !v->evidence);
		} else {
			assert_string_equal(v->gateway, "blue");
			assert_string_equal(v->gateway_namespace, "team");
			assert_string_equal(v->evidence, "{\"before\":1}");
			assert_ptr_not_equal(v->evidence, before.evidence);
		}
		assert_null(violations_at(violations, 1));
		assert_int_equal(violations_open(violations, "u-1"), 1);
		assert_int_equal(violations_total(violations, STALE_ROUTES), 0);
		assert_int_equal(events.opened + events.resolved, 0);
		violations_free(violations);
	}
}

/* What is found of it after the restart, and what it comes to. */
struct found {
	double now, first;
	uint64_t times, total;
};

static void goes_on_when_it_is_found_again(void **state)
{
	static const struct {
		enum violation_kind kind;
		uint64_t before;
		bool rebooted; /* its beginning is from before this boot */
		struct found found[4];
	} cases[] = {
		/* The kernel counted on meanwhile. */
		{ GATEWAY_BYPASS, 7, false, { { 60, 1, 9, 9 }, { 61, 1, 12, 12 } } },
		/* A flow was evicted. */
		{ UNGOVERNED_EGRESS, 7, false, { { 60, 1, 5, 7 }, { 61, 1, 8, 8 } } },
		/* It paused and came again: the kernel's counters too began again. */
		{ UNEXPECTED_GATEWAY, 7, false, { { 60, 55, 2, 9 }, { 61, 55, 4, 11 } } },
		{ GATEWAY_BYPASS, 7, true, { { 60, 55, 2, 9 }, { 61, 55, 4, 11 } } },
		/* Rounds, which the agent counts. */
		{ WRONG_SOURCE_ADDRESS, 5, false, { { 60, 60, 1, 6 }, { 70, 60, 2, 7 } } },
		{ EGRESS_UNREACHABLE, 5, true, { { 60, 50, 2, 7 }, { 70, 50, 3, 8 } } },
		/* What holds, holds once. */
		{ MISSING_CONFIGURATION, 1, false, { { 60, 1, 1, 1 }, { 61, 1, 1, 1 } } },
		{ TUNNEL_BROKEN, 1, false, { { 60, 59, 1, 1 }, { 61, 59, 1, 1 } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct violation before = earlier(cases[i].kind, 1, 40, cases[i].before);
		struct violations *violations;
		const struct violation *v;
		struct events events;
		double last = 0;

		if (cases[i].rebooted)
			before.first.mono_ns = before.opened.mono_ns = 0;
		violations = restored(&events, &before);
		for (const struct found *f = cases[i].found; f->now > 0; f++) {
			update(violations, f->now, 1, cases[i].kind, f->first, f->times);
			v = violations_at(violations, 0);
			if (v->count != f->total)
				fail_msg("row %zu at %g: counted %llu", i, f->now,
				         (unsigned long long)v->count);
			last = f->now;
		}
		v = violations_at(violations, 0);
		assert_string_equal(v->id, ID);
		assert_memory_equal(&v->first, &before.first, sizeof(v->first));
		assert_memory_equal(&v->opened, &before.opened, sizeof(v->opened));
		assert_int_equal(v->last.mono_ns, at(last).mono_ns);
		assert_string_equal(v->evidence, "{}");
		assert_int_equal(strncmp(v->reason, "seen at", 7), 0);
		assert_int_equal(events.opened + events.resolved, 0);

		/* Found: from now on it ends as any other. */
		nothing_found(violations, last + 9.9);
		assert_int_equal(events.resolved, 0);
		nothing_found(violations, last + 10);
		nothing_found(violations, last + 11);
		assert_int_equal(events.resolved, 1);
		assert_int_equal(events.opened, 0);
		assert_string_equal(events.id, ID);
		assert_null(violations_at(violations, 1));
		violations_free(violations);
	}
}

static void stays_until_its_kind_is_decided(void **state)
{
	struct violation before = earlier(STALE_ROUTES, 1, 95, 1);
	struct violations *violations;
	struct events events;

	(void)state;
	violations = restored(&events, &before);
	nothing_found(violations, 5000);
	violations_decide(violations, "u-1", 0);
	violations_decide(violations, "u-1", ALL_KINDS & ~KIND(STALE_ROUTES));
	violations_decide(violations, "u-2", ALL_KINDS);
	nothing_found(violations, 6000);
	assert_int_equal(events.resolved, 0);
	violations_decide(violations, "u-1", KIND(STALE_ROUTES));
	assert_int_equal(events.resolved, 0);
	nothing_found(violations, 6001);
	assert_int_equal(events.resolved, 1);
	assert_int_equal(violations_at(violations, 0)->resolved.wall_us, at(6001).wall_us);
	violations_free(violations);

	/* Decided does not mean quiet. */
	violations = restored(&events, &before);
	violations_decide(violations, "u-1", ALL_KINDS);
	nothing_found(violations, 104.9);
	assert_int_equal(events.resolved, 0);
	nothing_found(violations, 105);
	assert_int_equal(events.resolved, 1);
	violations_free(violations);
}

static void ends_with_its_pod(void **state)
{
	struct violation before = earlier(STALE_ROUTES, 1, 95, 1);
	struct moment now = at(96);
	struct events events;
	struct violations *violations = restored(&events, &before);

	(void)state;
	violations_forget(violations, "u-2", &now);
	assert_int_equal(events.resolved, 0);
	violations_forget(violations, "u-1", &now);
	assert_int_equal(events.resolved, 1);
	assert_string_equal(violations_at(violations, 0)->reason,
	                    "the pod is gone; before: seen before");
	violations_free(violations);
}

/* What is found of one gateway says nothing of another. */
static void another_gateway_is_another_violation(void **state)
{
	struct violation before = earlier(STALE_ROUTES, 1, 50, 1);
	struct events events;
	struct violations *violations;

	(void)state;
	before.gateway = (char *)"red";
	violations = restored(&events, &before);
	update(violations, 70, 1, STALE_ROUTES, 70, 1);
	assert_int_equal(events.opened, 1);
	assert_string_not_equal(events.id, ID);
	assert_int_equal(events.resolved, 0);
	violations_decide(violations, "u-1", ALL_KINDS);
	update(violations, 71, 1, STALE_ROUTES, 70, 1);
	assert_int_equal(events.resolved, 1);
	assert_string_equal(events.id, ID);
	assert_int_equal(violations_open(violations, "u-1"), 1);
	violations_free(violations);
}

static void the_limit_holds(void **state)
{
	struct violation before = earlier(STALE_ROUTES, 1, 50, 1);
	struct moment now = at(60);
	struct events events;
	struct violations *violations = restored(&events, &before);
	char uid[16];

	(void)state;
	assert_int_equal(violations_restore(violations, &before), -EEXIST);
	assert_int_equal(violations_open(violations, NULL), 1);
	for (int i = 1; i < VIOLATIONS_MAX; i++) {
		snprintf(uid, sizeof(uid), "u-%d", i % 100);
		before.uid = uid;
		snprintf(before.id, sizeof(before.id), "%032x", i);
		assert_int_equal(violations_restore(violations, &before), 0);
	}
	before.uid = (char *)"late";
	assert_int_equal(violations_restore(violations, &before), -EEXIST);
	assert_int_equal(violations_refused(violations), 0);
	snprintf(before.id, sizeof(before.id), "%032x", VIOLATIONS_MAX);
	assert_int_equal(violations_restore(violations, &before), -ENOBUFS);
	assert_int_equal(violations_refused(violations), 1);
	assert_int_equal(violations_open(violations, NULL), VIOLATIONS_MAX);
	assert_int_equal(violations_open(violations, "late"), 0);

	/* A resolved one makes room. */
	violations_forget(violations, "u-7", &now);
	assert_true(events.resolved > 0);
	assert_int_equal(violations_restore(violations, &before), 0);
	assert_int_equal(violations_open(violations, "late"), 1);
	assert_int_equal(violations_refused(violations), 1);
	assert_int_equal(events.opened, 0);
	violations_free(violations);
}

static void memory_runs_out(void **state)
{
	struct violation before = earlier(STALE_ROUTES, 1, 50, 1);
	struct violations *violations;
	struct events events = { 0 };
	long failed = 0;
	int r;

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	for (;; failed++) {
		left = failed;
		r = violations_restore(violations, &before);
		left = -1;
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(violations_at(violations, 0));
	}
	assert_int_equal(failed, 7); /* it, and six texts */
	assert_string_equal(violations_at(violations, 0)->evidence, "{\"before\":1}");
	assert_int_equal(violations_refused(violations), 0);
	violations_free(violations);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_there_and_nothing_is_reported),
		cmocka_unit_test(goes_on_when_it_is_found_again),
		cmocka_unit_test(stays_until_its_kind_is_decided),
		cmocka_unit_test(ends_with_its_pod),
		cmocka_unit_test(another_gateway_is_another_violation),
		cmocka_unit_test(the_limit_holds),
		cmocka_unit_test(memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
