#include "test.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kube/event_series.h"

#define MINUTE (60 * NSEC_PER_SEC)
#define START_US 1795190400000000

static struct moment at(uint64_t ns)
{
	return (struct moment){ .mono_ns = 1000 * NSEC_PER_SEC + ns,
		                .wall_us = START_US + (int64_t)(ns / NSEC_PER_USEC) };
}

static int setup(void **state)
{
	struct kube_event_series *series;

	assert_int_equal(kube_event_series_new("worker-1", &series), 0);
	*state = series;
	return 0;
}

static int teardown(void **state)
{
	kube_event_series_free(*state);
	return 0;
}

static struct kube_event about(const char *pod, const char *id)
{
	return (struct kube_event){
		.regarding = { "v1", "Pod", "team", pod, "u" },
		.related = { "g/v1", "Gateway", "team", "blue", "v" },
		.warning = true,
		.reason = "GatewayBypass",
		.action = "Verify",
		.note = "note",
		.id = id,
	};
}

static int add(struct kube_event_series *series, const struct kube_event *event, uint64_t ns)
{
	struct moment now = at(ns);

	return kube_event_series_add(series, event, &now);
}

static void expect_head(const struct kube_event_series *series, enum kube_event_due due,
                        uint32_t count)
{
	const struct kube_event_entry *head = kube_event_series_head(series);

	if (due == KUBE_EVENT_NOTHING) {
		assert_null(head);
		return;
	}
	assert_non_null(head);
	assert_int_equal(head->due, due);
	assert_int_equal(head->times.count, count);
}

static void told(struct kube_event_series *series, uint64_t ns)
{
	kube_event_series_told(series, kube_event_series_head(series)->times.count, at(ns).mono_ns);
}

static void tick(struct kube_event_series *series, uint64_t ns)
{
	kube_event_series_tick(series, at(ns).mono_ns);
}

/* From the first to the end: who is told what, at which minute. */
static void a_repeat_becomes_a_series(void **state)
{
	static const struct {
		double minute;
		bool add;
		enum kube_event_due due;
		uint32_t count;
		double next; /* minute; 0: nothing to wait for */
	} rows[] = {
		{ 0, true, KUBE_EVENT_CREATE, 1, 0 },
		{ 5.9, true, KUBE_EVENT_PATCH, 2, 0 }, /* the second is told at once */
		{ 6, true, KUBE_EVENT_NOTHING, 3, 12 },
		{ 11, true, KUBE_EVENT_NOTHING, 4, 17 },
		{ 16, true, KUBE_EVENT_NOTHING, 5, 22 },
		{ 21, true, KUBE_EVENT_NOTHING, 6, 27 },
		{ 26, true, KUBE_EVENT_NOTHING, 7, 32 },
		{ 31, true, KUBE_EVENT_NOTHING, 8, 35.9 }, /* half an hour after the last word */
		{ 35.8, false, KUBE_EVENT_NOTHING, 8, 35.9 },
		{ 35.9, false, KUBE_EVENT_PATCH, 8, 0 },
		{ 36, true, KUBE_EVENT_NOTHING, 9, 42 },
		{ 41.9, false, KUBE_EVENT_NOTHING, 9, 42 },
		{ 42, false, KUBE_EVENT_PATCH, 9, 0 }, /* its end */
		{ 42.1, true, KUBE_EVENT_CREATE, 1, 0 },
	};
	struct kube_event event = about("app", NULL);
	struct kube_event_series *series = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ns = (uint64_t)(rows[i].minute * MINUTE);
		uint64_t next = rows[i].next ? at((uint64_t)(rows[i].next * MINUTE)).mono_ns : 0;

		if (rows[i].add)
			assert_int_equal(add(series, &event, ns), rows[i].due == KUBE_EVENT_CREATE
			                                                  ? KUBE_EVENT_QUEUED
			                                                  : KUBE_EVENT_COUNTED);
		else
			tick(series, ns);
		expect_head(series, rows[i].due, rows[i].count);
		if (rows[i].due != KUBE_EVENT_NOTHING) {
			if (rows[i].add)
				assert_int_equal(kube_event_series_head(series)->times.last_us,
				                 at(ns).wall_us);
			told(series, ns);
			expect_head(series, KUBE_EVENT_NOTHING, 0);
		}
		if (kube_event_series_next(series) != next)
			fail_msg("row %zu: next %llu, not %llu", i,
			         (unsigned long long)kube_event_series_next(series),
			         (unsigned long long)next);
	}
	assert_int_equal(kube_event_series_evicted(series), 0);
}

static void what_differs_is_another_event(void **state)
{
	struct kube_event_series *series = *state;
	struct kube_event events[8];
	size_t n = sizeof(events) / sizeof(events[0]);

	for (size_t i = 0; i < n; i++)
		events[i] = about("app", NULL);
	events[1].warning = false;
	events[2].reason = "StaleRoutes";
	events[3].action = "Repair";
	events[4].regarding.uid = "reborn";
	events[5].related.name = "green";
	events[6].related = (struct kube_reference){ 0 };
	events[7].regarding.kind = "StaticGatewayConfiguration";
	for (size_t i = 0; i < n; i++)
		assert_int_equal(add(series, &events[i], i), KUBE_EVENT_QUEUED);
	for (size_t i = 0; i < n; i++) {
		events[i].note = "other words";
		assert_int_equal(add(series, &events[i], n + i), KUBE_EVENT_COUNTED);
	}
	for (size_t i = 0; i < n; i++) { /* in their order; the repeat goes with the create */
		expect_head(series, KUBE_EVENT_CREATE, 2);
		assert_string_equal(kube_event_series_head(series)->event.reason, events[i].reason);
		assert_string_equal(kube_event_series_head(series)->event.note, "note");
		told(series, n + n + i);
	}
	expect_head(series, KUBE_EVENT_NOTHING, 0);
}

static void take_name(struct kube_event_series *series, const struct kube_event *event, uint64_t ns,
                      char out[static KUBE_NAME_MAX + 1])
{
	assert_int_equal(add(series, event, ns), KUBE_EVENT_QUEUED);
	strcpy(out, kube_event_series_head(series)->name);
	told(series, ns);
}

static void an_id_gives_the_same_name_after_a_restart(void **state)
{
	char first[KUBE_NAME_MAX + 1], again[KUBE_NAME_MAX + 1], other[KUBE_NAME_MAX + 1];
	struct kube_event event = about("app", "id-1"), same = about("app", "id-2"),
			  unnamed = about("web", NULL);
	struct kube_event_series *series = *state, *restarted, *elsewhere;

	take_name(series, &event, 0, first);
	assert_int_equal(strncmp(first, "app.", 4), 0);

	assert_int_equal(kube_event_series_new("worker-1", &restarted), 0);
	take_name(restarted, &event, 17 * MINUTE, again);
	assert_string_equal(first, again);
	/* Over, and begun anew: the server shall show that too. */
	take_name(restarted, &event, 27 * MINUTE, again);
	assert_string_not_equal(first, again);
	take_name(restarted, &event, 37 * MINUTE, other);
	assert_string_not_equal(first, other);
	assert_string_not_equal(again, other);
	/* Another occurrence of the same is named by its own id. */
	take_name(restarted, &same, 47 * MINUTE, again);
	assert_string_not_equal(first, again);
	kube_event_series_free(restarted);

	assert_int_equal(kube_event_series_new("worker-2", &elsewhere), 0);
	take_name(elsewhere, &event, 0, again);
	assert_string_not_equal(first, again);
	kube_event_series_free(elsewhere);

	take_name(series, &unnamed, 0, first);
	take_name(series, &unnamed, 10 * MINUTE, again);
	assert_string_not_equal(first, again);
}

static void an_object_has_a_budget(void **state)
{
	struct kube_event event = about("app", NULL), other = about("web", NULL);
	struct kube_event_series *series = *state;
	char reason[32];

	event.reason = reason;
	for (int i = 0; i < 40; i++) {
		snprintf(reason, sizeof(reason), "Reason%d", i);
		assert_int_equal(add(series, &event, 0), i < KUBE_EVENT_OBJECT_BURST
		                                                 ? KUBE_EVENT_QUEUED
		                                                 : KUBE_EVENT_THROTTLED);
	}
	assert_int_equal(add(series, &other, 0), KUBE_EVENT_QUEUED);
	while (kube_event_series_head(series))
		told(series, 0);

	/* One each five minutes, and never more than the burst. */
	assert_int_equal(add(series, &event, 5 * MINUTE - 1), KUBE_EVENT_THROTTLED);
	assert_int_equal(add(series, &event, 5 * MINUTE), KUBE_EVENT_QUEUED);
	told(series, 5 * MINUTE);
	for (int i = 0; i < 40; i++) {
		snprintf(reason, sizeof(reason), "Later%d", i);
		assert_int_equal(add(series, &event, 5000 * MINUTE),
		                 i < KUBE_EVENT_OBJECT_BURST ? KUBE_EVENT_QUEUED
		                                             : KUBE_EVENT_THROTTLED);
	}
}

static struct kube_event numbered(char pod[static 32], size_t i)
{
	snprintf(pod, 32, "app-%zu", i);
	return about(pod, NULL);
}

static void the_agent_has_a_budget_and_a_queue(void **state)
{
	struct kube_event_series *series = *state;
	struct kube_event event;
	char pod[32];

	for (size_t i = 0; i < KUBE_EVENTS_QUEUED_MAX; i++) {
		event = numbered(pod, i);
		assert_int_equal(add(series, &event, 0), KUBE_EVENT_QUEUED);
	}
	event = numbered(pod, 9999);
	assert_int_equal(add(series, &event, NSEC_PER_SEC), KUBE_EVENT_DROPPED);
	event = numbered(pod, 0); /* a repeat takes no room */
	assert_int_equal(add(series, &event, NSEC_PER_SEC), KUBE_EVENT_COUNTED);
	while (kube_event_series_head(series))
		told(series, NSEC_PER_SEC);

	event = numbered(pod, 9999);
	assert_int_equal(add(series, &event, NSEC_PER_SEC), KUBE_EVENT_QUEUED);
	event = numbered(pod, 9998);
	assert_int_equal(add(series, &event, NSEC_PER_SEC), KUBE_EVENT_THROTTLED);
	assert_int_equal(add(series, &event, 2 * NSEC_PER_SEC), KUBE_EVENT_QUEUED);
}

static void tell_all(struct kube_event_series *series, uint64_t ns)
{
	while (kube_event_series_head(series))
		told(series, ns);
}

static void add_each(struct kube_event_series *series, size_t from, size_t to, uint64_t ns,
                     int outcome)
{
	char pod[32];

	for (size_t i = from; i < to; i++) {
		struct kube_event event = numbered(pod, i);

		assert_int_equal(add(series, &event, ns), outcome);
		tell_all(series, ns);
	}
}

static void the_quietest_makes_place(void **state)
{
	const size_t burst = KUBE_EVENT_AGENT_BURST, all = KUBE_EVENT_SERIES_MAX;
	struct kube_event_series *series = *state;

	/* A full table of open series: the burst, then one a second. */
	add_each(series, 0, burst, 0, KUBE_EVENT_QUEUED);
	add_each(series, 0, burst, 300 * NSEC_PER_SEC, KUBE_EVENT_COUNTED);
	for (size_t i = burst; i < all; i++) {
		if (i == burst + 348) { /* the first have a repeat now that is not told */
			add_each(series, 0, burst, 649 * NSEC_PER_SEC, KUBE_EVENT_COUNTED);
			add_each(series, burst, i, 649 * NSEC_PER_SEC + 1, KUBE_EVENT_COUNTED);
		}
		add_each(series, i, i + 1, (301 + i - burst) * NSEC_PER_SEC, KUBE_EVENT_QUEUED);
	}
	assert_int_equal(kube_event_series_evicted(series), 0);

	add_each(series, all, all + 1, 813 * NSEC_PER_SEC, KUBE_EVENT_QUEUED);
	assert_int_equal(kube_event_series_evicted(series), 1);
	add_each(series, burst, all + 1, 814 * NSEC_PER_SEC, KUBE_EVENT_COUNTED);
	add_each(series, 0, 1, 815 * NSEC_PER_SEC, KUBE_EVENT_QUEUED); /* it was the one */
	assert_int_equal(kube_event_series_evicted(series), 2);
}

static void what_is_refused_is_forgotten_and_what_is_gone_made_anew(void **state)
{
	struct kube_event event = about("app", NULL);
	struct kube_event_series *series = *state;

	assert_int_equal(add(series, &event, 0), KUBE_EVENT_QUEUED);
	kube_event_series_forget(series);
	expect_head(series, KUBE_EVENT_NOTHING, 0);
	assert_int_equal(add(series, &event, 1), KUBE_EVENT_QUEUED);
	told(series, 1);
	assert_int_equal(add(series, &event, 2), KUBE_EVENT_COUNTED);
	expect_head(series, KUBE_EVENT_PATCH, 2);
	kube_event_series_anew(series);
	expect_head(series, KUBE_EVENT_CREATE, 2);
	told(series, 3);
	/* What came while one was told is the next thing to tell. */
	assert_int_equal(add(series, &event, 4), KUBE_EVENT_COUNTED);
	expect_head(series, KUBE_EVENT_NOTHING, 0);
	tick(series, 4 + KUBE_EVENT_SERIES_NS);
	expect_head(series, KUBE_EVENT_PATCH, 3);
	assert_int_equal(add(series, &event, 5 + KUBE_EVENT_SERIES_NS), KUBE_EVENT_COUNTED);
	kube_event_series_told(series, 3, at(6 + KUBE_EVENT_SERIES_NS).mono_ns);
	assert_int_equal(kube_event_series_next(series), at(5 + 2 * KUBE_EVENT_SERIES_NS).mono_ns);
}

static void an_hour_later_nothing_is_remembered(void **state)
{
	struct kube_event event = about("app", "id");
	struct kube_event_series *series = *state;
	char first[KUBE_NAME_MAX + 1], again[KUBE_NAME_MAX + 1];

	take_name(series, &event, 0, first);
	take_name(series, &event, 60 * MINUTE, again); /* the server has forgotten it, too */
	assert_string_equal(first, again);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_repeat_becomes_a_series),
		TEST(what_differs_is_another_event),
		TEST(an_id_gives_the_same_name_after_a_restart),
		TEST(an_object_has_a_budget),
		TEST(the_agent_has_a_budget_and_a_queue),
		TEST(the_quietest_makes_place),
		TEST(what_is_refused_is_forgotten_and_what_is_gone_made_anew),
		TEST(an_hour_later_nothing_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
