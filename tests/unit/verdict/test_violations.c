#include "world.h"

#include "limits.h"

#define QUIET (10 * NSEC_PER_SEC)

static const struct violation_subject app = { "team", "app", "u-1", "team", "blue" };

struct events {
	size_t opened, resolved;
};

static void count(void *user, const struct violation *v, enum violation_change change)
{
	struct events *events = user;

	assert_int_equal(v->open, change == VIOLATION_OPENED);
	assert_int_equal(!!v->resolved.wall_us, change == VIOLATION_RESOLVED);
	if (change == VIOLATION_OPENED)
		events->opened++;
	else
		events->resolved++;
}

static struct finding finding(enum violation_kind kind, double first, double last, uint64_t n)
{
	struct finding out = { .kind = kind, .count = n, .first = at(first), .last = at(last) };

	snprintf(out.reason, sizeof(out.reason), "reason at %g", last);
	snprintf(out.remedy, sizeof(out.remedy), "remedy");
	out.evidence = strdup("{}");
	return out;
}

/* NULL-safe: `n` 0 reports that nothing holds. */
static void update(struct violations *v, const struct violation_subject *subject, double now,
                   size_t n, struct finding f)
{
	struct moment moment = at(now);

	assert_int_equal(violations_update(v, subject, &f, n, QUIET, &moment), 0);
	assert_null(n ? f.evidence : NULL);
	if (!n)
		free(f.evidence);
}

static const struct finding none = { 0 };

static void opens_once_counts_and_resolves(void **state)
{
	struct events events = { 0 };
	const struct violation *v;
	struct violations *violations;

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	update(violations, &app, 1, 1, finding(GATEWAY_BYPASS, 1, 1, 1));
	update(violations, &app, 2, 1, finding(GATEWAY_BYPASS, 1, 2, 5));
	update(violations, &app, 3, 1, finding(GATEWAY_BYPASS, 1, 3, 4)); /* a flow was evicted */
	assert_int_equal(events.opened, 1);
	assert_int_equal(violations_open(violations, "u-1"), 1);
	assert_int_equal(violations_open(violations, "u-2"), 0);
	assert_int_equal(violations_open(violations, NULL), 1);

	v = violations_at(violations, 0);
	assert_int_equal(v->count, 5);
	assert_int_equal(v->first.mono_ns, at(1).mono_ns);
	assert_int_equal(v->last.mono_ns, at(3).mono_ns);
	assert_string_equal(v->reason, "reason at 3");
	assert_string_equal(v->gateway, "blue");
	assert_int_equal(strlen(v->id), 32);
	assert_null(violations_at(violations, 1));

	update(violations, &app, 12.9, 0, none);
	assert_int_equal(events.resolved, 0); /* quiet for 9.9 s */
	update(violations, &app, 13, 0, none);
	assert_int_equal(events.resolved, 1);
	assert_int_equal(violations_open(violations, NULL), 0);
	assert_int_equal(violations_at(violations, 0)->resolved.wall_us, at(13).wall_us);
	update(violations, &app, 14, 0, none);
	assert_int_equal(events.resolved, 1);
	assert_int_equal(violations_total(violations, GATEWAY_BYPASS), 1);
	assert_int_equal(violations_total(violations, STALE_ROUTES), 0);
	violations_free(violations);
}

static void coming_back_within_the_quiet_time_is_the_same(void **state)
{
	struct events events = { 0 };
	struct violations *violations;
	char id[33];

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	update(violations, &app, 1, 1, finding(GATEWAY_BYPASS, 1, 1, 7));
	memcpy(id, violations_at(violations, 0)->id, sizeof(id));
	update(violations, &app, 5, 0, none);
	update(violations, &app, 8, 1,
	       finding(GATEWAY_BYPASS, 8, 8, 2)); /* counts from one again */
	assert_int_equal(events.opened, 1);
	assert_string_equal(violations_at(violations, 0)->id, id);
	assert_int_equal(violations_at(violations, 0)->count, 9);
	assert_int_equal(violations_at(violations, 0)->first.mono_ns, at(1).mono_ns);
	update(violations, &app, 9, 1, finding(GATEWAY_BYPASS, 8, 9, 3));
	assert_int_equal(violations_at(violations, 0)->count, 10);
	violations_free(violations);
}

static void the_same_beginning_reopens_the_same(void **state)
{
	struct events events = { 0 };
	struct violations *violations;

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	update(violations, &app, 1, 1, finding(UNPROGRAMMED_POD, -100, 1, 1));
	update(violations, &app, 20, 0, none);
	update(violations, &app, 30, 1, finding(UNPROGRAMMED_POD, -100, 30, 1));
	assert_int_equal(events.opened, 2);
	assert_int_equal(events.resolved, 1);
	assert_true(violations_at(violations, 0)->open);
	assert_null(violations_at(violations, 1));
	violations_free(violations);
}

static void ids_tell_what_differs(void **state)
{
	static const struct {
		struct violation_subject subject;
		enum violation_kind kind;
		double first;
		bool same;
	} cases[] = {
		{ { "team", "app", "u-1", "team", "blue" }, GATEWAY_BYPASS, 1, true },
		{ { "team", "renamed", "u-1", "team", "blue" }, GATEWAY_BYPASS, 1, true },
		{ { "team", "app", "u-2", "team", "blue" }, GATEWAY_BYPASS, 1, false },
		{ { "team", "app", "u-1", "team", "red" }, GATEWAY_BYPASS, 1, false },
		{ { "team", "app", "u-1", NULL, NULL }, GATEWAY_BYPASS, 1, false },
		{ { "team", "app", "u-1", "team", "blue" }, UNGOVERNED_EGRESS, 1, false },
		{ { "team", "app", "u-1", "team", "blue" }, GATEWAY_BYPASS, 1.001, false },
		/* The wall clock was read a little differently after a restart. */
		{ { "team", "app", "u-1", "team", "blue" }, GATEWAY_BYPASS, -1, true },
	};
	char first_id[33];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct events events = { 0 };
		struct violations *violations;
		struct finding f = finding(cases[i].kind, cases[i].first, 2, 1);

		if (cases[i].first < 0) {
			f.first = at(1);
			f.first.wall_us -= 600000;
		}
		assert_int_equal(violations_new(count, &events, &violations), 0);
		update(violations, &cases[i].subject, 2, 1, f);
		if (i == 0)
			memcpy(first_id, violations_at(violations, 0)->id, sizeof(first_id));
		assert_int_equal(strcmp(first_id, violations_at(violations, 0)->id) == 0,
		                 cases[i].same);
		violations_free(violations);
	}
}

static void another_gateway_resolves_the_old_one(void **state)
{
	const struct violation_subject red = { "team", "app", "u-1", "team", "red" };
	struct events events = { 0 };
	struct violations *violations;

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	update(violations, &app, 1, 1, finding(STALE_ROUTES, 1, 1, 1));
	update(violations, &red, 20, 1, finding(STALE_ROUTES, 20, 20, 1));
	assert_int_equal(events.opened, 2);
	assert_int_equal(events.resolved, 1);
	assert_string_equal(violations_at(violations, 0)->gateway, "red");
	assert_string_equal(violations_at(violations, 1)->gateway, "blue");
	violations_free(violations);
}

static void a_gone_pod_takes_its_violations_along(void **state)
{
	const struct violation_subject other = { "team", "other", "u-2", "team", "blue" };
	struct events events = { 0 };
	struct violations *violations;
	struct moment now = at(2);

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	update(violations, &app, 1, 1, finding(GATEWAY_BYPASS, 1, 1, 1));
	update(violations, &other, 1, 1, finding(GATEWAY_BYPASS, 1, 1, 1));
	violations_forget(violations, "u-1", &now);
	assert_int_equal(events.resolved, 1);
	assert_string_equal(violations_at(violations, 0)->pod, "other");
	assert_string_equal(violations_at(violations, 1)->reason,
	                    "the pod is gone; before: reason at 1");
	violations_free(violations);
}

static void newest_first_and_open_before_resolved(void **state)
{
	static const char *const order[] = { "u-3", "u-1", "u-2" };
	struct events events = { 0 };
	struct violations *violations;
	struct moment now = at(9);

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	for (int i = 1; i <= 3; i++) {
		char uid[16];
		struct violation_subject s = { "team", "app", uid, "team", "blue" };

		snprintf(uid, sizeof(uid), "u-%d", i);
		update(violations, &s, i, 1, finding(GATEWAY_BYPASS, i, i, 1));
	}
	violations_forget(violations, "u-2", &now);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(violations_at(violations, i)->uid, order[i]);
	violations_free(violations);
}

static void open_ones_are_never_evicted(void **state)
{
	struct events events = { 0 };
	struct violations *violations;
	char uid[16];
	struct violation_subject s = { "team", "app", uid, "team", "blue" };

	(void)state;
	assert_int_equal(violations_new(count, &events, &violations), 0);
	for (int i = 0; i < VIOLATIONS_MAX; i++) {
		snprintf(uid, sizeof(uid), "u-%d", i);
		update(violations, &s, 1, 1, finding(GATEWAY_BYPASS, 1, 1, 1));
	}
	snprintf(uid, sizeof(uid), "late");
	update(violations, &s, 2, 1, finding(GATEWAY_BYPASS, 2, 2, 1));
	assert_int_equal(violations_refused(violations), 1);
	assert_int_equal(violations_open(violations, NULL), VIOLATIONS_MAX);

	/* A resolved one makes room. */
	snprintf(uid, sizeof(uid), "u-7");
	update(violations, &s, 30, 0, none);
	assert_int_equal(events.resolved, 1);
	snprintf(uid, sizeof(uid), "late");
	update(violations, &s, 31, 1, finding(GATEWAY_BYPASS, 31, 31, 1));
	assert_int_equal(violations_refused(violations), 1);
	assert_int_equal(violations_open(violations, NULL), VIOLATIONS_MAX);
	assert_null(violations_at(violations, VIOLATIONS_MAX));
	violations_free(violations);
}

static void names_are_those_of_the_contract(void **state)
{
	(void)state;
	for (int i = 0; i < _VIOLATION_KIND_MAX; i++) {
		enum violation_kind kind = _VIOLATION_KIND_MAX;

		assert_true(
			violation_kind_parse(violation_kind_name((enum violation_kind)i), &kind));
		assert_int_equal(kind, i);
	}
	assert_string_equal(violation_kind_name(WRONG_SOURCE_ADDRESS), "wrong-source-address");
	assert_string_equal(state_name(STATE_UNVERIFIED), "unverified");
	assert_string_equal(attribution_name(ATTRIBUTION_OUTBOUND), "outbound");
}

static void unknown_names_are_refused(void **state)
{
	static const char *const cases[] = { "", "Gateway-Bypass", "gateway-bypass ", "gateway" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum violation_kind kind = _VIOLATION_KIND_MAX;

		assert_false(violation_kind_parse(cases[i], &kind));
		assert_int_equal(kind, _VIOLATION_KIND_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_once_counts_and_resolves),
		cmocka_unit_test(coming_back_within_the_quiet_time_is_the_same),
		cmocka_unit_test(the_same_beginning_reopens_the_same),
		cmocka_unit_test(ids_tell_what_differs),
		cmocka_unit_test(another_gateway_resolves_the_old_one),
		cmocka_unit_test(a_gone_pod_takes_its_violations_along),
		cmocka_unit_test(newest_first_and_open_before_resolved),
		cmocka_unit_test(open_ones_are_never_evicted),
		cmocka_unit_test(names_are_those_of_the_contract),
		cmocka_unit_test(unknown_names_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
