#include "test.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "probe/schedule.h"

#define SEC NSEC_PER_SEC
#define START (1000 * SEC)

static struct schedule *make(size_t n_echoes, bool control)
{
	struct schedule_settings settings = {
		.interval_ns = 30 * SEC,
		.n_echoes = n_echoes,
		.node_control = control,
		.seed = 42,
	};
	struct schedule *schedule;

	assert_int_equal(schedule_new(&settings, START, &schedule), 0);
	return schedule;
}

static void add(struct schedule *schedule, uint32_t subject, uint64_t generation, uint64_t now)
{
	char uid[32];

	snprintf(uid, sizeof(uid), "uid-%u-%llu", subject, (unsigned long long)generation);
	schedule_add(schedule, subject, generation, uid, now);
}

/* Everything due at `now` is asked and answered at once; counts per subject and in all. */
struct tally {
	unsigned int asked[SUBJECTS_MAX], skipped[SUBJECTS_MAX], node, complete, total;
};

static void drain(struct schedule *schedule, uint64_t now, struct tally *tally)
{
	struct schedule_probe probe;

	while (schedule_next(schedule, now, &probe)) {
		tally->total += !probe.skip;
		if (probe.subject == PROBE_SUBJECT_NODE)
			tally->node++;
		else if (probe.skip)
			tally->skipped[probe.subject]++;
		else
			tally->asked[probe.subject]++;
		tally->complete += schedule_done(
			schedule, &probe, probe.skip ? PROBE_SKIPPED : PROBE_ANSWERED, 0, now);
	}
}

static void refuses_bad_settings(void **state)
{
	struct schedule_settings settings = { .interval_ns = SEC, .n_echoes = ECHOES_MAX + 1 };
	struct schedule *schedule = NULL;

	(void)state;
	assert_int_equal(schedule_new(&settings, 0, &schedule), -EINVAL);
	settings = (struct schedule_settings){ .n_echoes = 1 };
	assert_int_equal(schedule_new(&settings, 0, &schedule), -EINVAL);
	assert_null(schedule);
}

static void a_round_is_each_echo_once(void **state)
{
	struct schedule *schedule = make(3, false);
	struct schedule_probe probe[4];
	unsigned int seen = 0;
	uint64_t wake;

	(void)state;
	assert_true(schedule_wake_ns(schedule, START) == UINT64_MAX);
	add(schedule, 7, 1, START);
	wake = schedule_wake_ns(schedule, START);
	assert_in_range(wake, START, START + 2 * SEC);
	assert_true(wake == START || !schedule_next(schedule, wake - 1, &probe[0]));

	for (int i = 0; i < 3; i++) {
		assert_true(schedule_next(schedule, wake, &probe[i]));
		assert_int_equal(probe[i].subject, 7);
		assert_int_equal(probe[i].generation, 1);
		assert_int_equal(probe[i].round, 1);
		assert_false(probe[i].skip);
		seen |= 1u << probe[i].echo;
	}
	assert_int_equal(seen, 7);
	assert_false(schedule_next(schedule, wake, &probe[3]));
	assert_true(schedule_wake_ns(schedule, wake) == UINT64_MAX); /* waits for results */

	assert_false(schedule_done(schedule, &probe[1], PROBE_TIMEOUT, 0, wake));
	assert_false(schedule_done(schedule, &probe[1], PROBE_TIMEOUT, 0, wake)); /* twice */
	assert_false(schedule_done(schedule, &probe[0], PROBE_ANSWERED, 0, wake));
	assert_true(schedule_done(schedule, &probe[2], PROBE_ANSWERED, 0, wake));

	/* The next one comes 0.9 to 1.1 intervals after this one began. */
	assert_in_range(schedule_wake_ns(schedule, wake), wake + 27 * SEC, wake + 33 * SEC);
	schedule_free(schedule);
}

/* Over an hour every subject is asked about once per interval, in changing order, out of step. */
static void is_fair_and_out_of_step(void **state)
{
	struct schedule *schedule = make(3, true);
	struct tally tally = { 0 };
	uint64_t now = START, end = START + 3600 * SEC;
	unsigned int most_at_once = 0, last = 0;

	(void)state;
	for (uint32_t i = 0; i < 250; i++)
		add(schedule, i, i + 1, START);
	while (now < end) {
		drain(schedule, now, &tally);
		if (now > START + 120 * SEC && tally.total - last > most_at_once)
			most_at_once = tally.total - last;
		last = tally.total;
		now = schedule_wake_ns(schedule, now);
	}
	for (uint32_t i = 0; i < 250; i++)
		assert_in_range(tally.asked[i] + tally.skipped[i], 3 * 109, 3 * 134);
	assert_in_range(tally.node, 3 * 109, 3 * 134);
	assert_in_range(most_at_once, 1, 60); /* 750 per interval, spread */
	schedule_free(schedule);
}

static void keeps_the_budget(void **state)
{
	struct schedule_settings settings = { .interval_ns = 10 * SEC,
		                              .n_echoes = 1,
		                              .rate_per_s = { 5 } };
	struct schedule *schedule;
	struct tally tally = { 0 };
	uint64_t now = START;
	unsigned int least = UINT32_MAX, most = 0;

	(void)state;
	assert_int_equal(schedule_new(&settings, START, &schedule), 0);
	for (uint32_t i = 0; i < 200; i++) /* 20 a second are wanted */
		add(schedule, i, 1, START);
	while (now < START + 400 * SEC) {
		drain(schedule, now, &tally);
		now = schedule_wake_ns(schedule, now);
	}
	assert_in_range(tally.total, 5 * 400 - 10, 5 * 400 + ECHO_BURST);
	/* What there is, is shared: no subject starves, and what was not asked is said. */
	for (uint32_t i = 0; i < 200; i++) {
		least = tally.asked[i] < least ? tally.asked[i] : least;
		most = tally.asked[i] > most ? tally.asked[i] : most;
		assert_true(tally.skipped[i] > 0);
	}
	assert_true(least >= 5);
	assert_true(most <= 20);
	schedule_free(schedule);
}

static void backs_off_when_asked(void **state)
{
	static const struct {
		uint32_t retry_after_s;
		uint64_t pause_s;
	} rows[] = {
		{ 100, 100 },
		{ 5, 5 },
		{ 0, 60 },           /* twice the interval */
		{ UINT32_MAX, 900 }, /* capped */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct schedule *schedule = make(2, false);
		struct schedule_probe probe;
		uint64_t now, limited_at = 0, resumed_at = 0;
		unsigned int other = 0;

		add(schedule, 0, 1, START);
		for (now = START; now < START + 2000 * SEC && !resumed_at;
		     now = schedule_wake_ns(schedule, now)) {
			while (schedule_next(schedule, now, &probe)) {
				bool limit = probe.echo == 1 && !limited_at;

				if (limit)
					limited_at = now;
				else if (probe.echo == 1 && !probe.skip)
					resumed_at = now;
				assert_int_equal(probe.paused, probe.skip);
				other += probe.echo == 0;
				schedule_done(schedule, &probe,
				              limit        ? PROBE_RATE_LIMITED
				              : probe.skip ? PROBE_SKIPPED
				                           : PROBE_ANSWERED,
				              rows[i].retry_after_s, now);
			}
		}
		assert_in_range(resumed_at - limited_at, rows[i].pause_s * SEC,
		                (rows[i].pause_s + 34) * SEC);
		assert_true(other * 34 * SEC >= resumed_at - limited_at); /* never paused */
		schedule_free(schedule);
	}
}

static void forgets_the_removed_while_running(void **state)
{
	struct schedule *schedule = make(1, false);
	struct schedule_probe old, probe;

	(void)state;
	add(schedule, 3, 1, START);
	assert_true(schedule_next(schedule, START + 2 * SEC, &old));
	schedule_remove(schedule, 3);
	schedule_remove(schedule, 3);
	assert_false(schedule_done(schedule, &old, PROBE_ANSWERED, 0, START + 3 * SEC));
	assert_false(schedule_next(schedule, START + 60 * SEC, &probe));

	/* Reborn under the same number: the old answer does not count for it. */
	add(schedule, 3, 2, START + 60 * SEC);
	assert_true(schedule_next(schedule, START + 62 * SEC, &probe));
	assert_int_equal(probe.generation, 2);
	assert_false(schedule_done(schedule, &old, PROBE_ANSWERED, 0, START + 62 * SEC));
	/* Added again as it is: nothing changes. */
	add(schedule, 3, 2, START + 62 * SEC);
	assert_true(schedule_done(schedule, &probe, PROBE_ANSWERED, 0, START + 62 * SEC));

	/* Another generation without a removal starts anew as well. */
	assert_true(schedule_next(schedule, START + 96 * SEC, &old));
	add(schedule, 3, 3, START + 97 * SEC);
	assert_false(schedule_done(schedule, &old, PROBE_ANSWERED, 0, START + 97 * SEC));
	schedule_free(schedule);
}

static void a_cancelled_round_comes_again_at_its_time(void **state)
{
	struct schedule *schedule = make(2, false);
	struct schedule_probe old, probe;
	uint64_t now = START + 2 * SEC;

	(void)state;
	add(schedule, 3, 1, START);
	assert_true(schedule_next(schedule, now, &old));
	schedule_cancel(schedule, 3);
	assert_false(schedule_done(schedule, &old, PROBE_ANSWERED, 0, now));
	assert_false(schedule_next(schedule, now, &probe));
	assert_true(schedule_next(schedule, now + 33 * SEC, &probe));
	assert_int_equal(probe.round, old.round + 1);
	schedule_free(schedule);
}

static void probes_on_request(void **state)
{
	struct schedule *schedule = make(1, false);
	struct schedule_probe probe;
	uint64_t now = START + 2 * SEC;

	(void)state;
	assert_true(schedule_request(schedule, 3, now) == UINT64_MAX);
	add(schedule, 3, 1, START);
	assert_true(schedule_next(schedule, now, &probe));
	assert_int_equal(schedule_request(schedule, 3, now), 0);
	assert_true(schedule_request(schedule, 3, now + SEC) == 4 * SEC);

	/* While one runs it waits for that, and a second at least. */
	assert_false(schedule_next(schedule, now + 2 * SEC, &probe));
	assert_true(schedule_done(schedule, &probe, PROBE_ANSWERED, 0, now + 2 * SEC));
	assert_true(schedule_next(schedule, now + 2 * SEC, &probe));
	assert_int_equal(probe.round, 2);
	assert_true(schedule_done(schedule, &probe, PROBE_ANSWERED, 0, now + 2 * SEC));

	schedule_soon(schedule, 3, now + 2 * SEC);
	schedule_soon(schedule, 4, now); /* unknown: nothing */
	assert_false(schedule_next(schedule, now + 2 * SEC, &probe));
	assert_int_equal(schedule_wake_ns(schedule, now + 2 * SEC), now + 3 * SEC);
	assert_true(schedule_next(schedule, now + 3 * SEC, &probe));
	assert_int_equal(schedule_request(schedule, 3, now + 5 * SEC), 0);
	schedule_free(schedule);
}

/* A suspended machine: one round each, within the budget; and a clock that stands still. */
static void a_jump_forward_is_one_late_round(void **state)
{
	struct schedule *schedule = make(1, false);
	struct tally tally = { 0 };
	uint64_t now = START;

	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		add(schedule, i, 1, START);
	while (now < START + 60 * SEC) {
		drain(schedule, now, &tally);
		now = schedule_wake_ns(schedule, now);
	}
	memset(&tally, 0, sizeof(tally));
	now += 86400 * SEC;
	drain(schedule, now, &tally);
	drain(schedule, now, &tally);
	assert_int_equal(tally.total, 20);
	assert_int_equal(tally.complete, 20);
	assert_true(schedule_wake_ns(schedule, now) > now);
	schedule_free(schedule);
}

static void order_and_phase_differ(void **state)
{
	struct schedule *schedule = make(4, false);
	unsigned int first[4] = { 0 };
	uint64_t phase[2];

	(void)state;
	for (uint32_t i = 0; i < 60; i++) {
		struct schedule_probe probe;

		add(schedule, i, i, START);
		if (i < 2)
			phase[i] = schedule_wake_ns(schedule, START);
		assert_true(schedule_next(schedule, START + 2 * SEC, &probe));
		first[probe.echo]++;
		schedule_remove(schedule, i);
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(first[i], 5, 30);
	assert_true(phase[0] != phase[1]);
	schedule_free(schedule);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_bad_settings),
		cmocka_unit_test(a_round_is_each_echo_once),
		cmocka_unit_test(is_fair_and_out_of_step),
		cmocka_unit_test(keeps_the_budget),
		cmocka_unit_test(backs_off_when_asked),
		cmocka_unit_test(forgets_the_removed_while_running),
		cmocka_unit_test(a_cancelled_round_comes_again_at_its_time),
		cmocka_unit_test(probes_on_request),
		cmocka_unit_test(a_jump_forward_is_one_late_round),
		cmocka_unit_test(order_and_phase_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
