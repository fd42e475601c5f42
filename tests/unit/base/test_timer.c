#include "test.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/timer.h"

struct counter {
	struct timer timer;
	struct timer *victim; /* stopped by the first expiry */
	unsigned int fired, stop_after;
	uint64_t last_ns;
	bool clear_self;
};

static int on_fired(struct timer *timer)
{
	struct counter *counter = container_of(timer, struct counter, timer);
	struct loop *loop = timer->source.loop;

	counter->fired++;
	counter->last_ns = clock_now().mono_ns;
	if (counter->victim)
		assert_int_equal(timer_stop(counter->victim), 0);
	if (counter->clear_self)
		timer_clear(timer);
	if (counter->fired == counter->stop_after)
		loop_stop(loop);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static struct loop *loop;
static struct timer deadline;

static int start(void **state)
{
	(void)state;
	deadline = (struct timer)TIMER_INIT;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(timer_init(&deadline, loop, on_deadline), 0);
	return timer_set(&deadline, 60 * NSEC_PER_SEC, 0);
}

static int stop(void **state)
{
	(void)state;
	timer_clear(&deadline);
	loop_free(loop); /* asserts that nothing is registered any more */
	return 0;
}

static void init(struct counter *counter, unsigned int stop_after)
{
	*counter = (struct counter){ .timer = TIMER_INIT, .stop_after = stop_after };
	assert_int_equal(timer_init(&counter->timer, loop, on_fired), 0);
}

static void fires_once_and_not_early(void **state)
{
	uint64_t before = clock_now().mono_ns;
	struct counter once, late;

	(void)state;
	init(&once, 0);
	init(&late, 1);
	assert_int_equal(timer_set(&once.timer, 5 * NSEC_PER_MSEC, 0), 0);
	assert_int_equal(timer_set(&late.timer, 30 * NSEC_PER_MSEC, 0), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(once.fired, 1);
	assert_true(once.last_ns - before >= 5 * NSEC_PER_MSEC);
	assert_true(late.last_ns - before >= 30 * NSEC_PER_MSEC);
	timer_clear(&once.timer);
	timer_clear(&late.timer);
}

static void a_period_repeats(void **state)
{
	struct counter counter;

	(void)state;
	init(&counter, 4);
	assert_int_equal(timer_set(&counter.timer, 0, 2 * NSEC_PER_MSEC), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(counter.fired, 4);

	/* The newest setting counts. */
	counter.fired = 0;
	counter.stop_after = 1;
	assert_int_equal(timer_set(&counter.timer, 3600 * NSEC_PER_SEC, 0), 0);
	assert_int_equal(timer_set(&counter.timer, 0, 0), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(counter.fired, 1);
	timer_clear(&counter.timer);
}

/* Both are due; whichever is first stops the other, whose event may be ready by then. */
static void a_stopped_timer_does_not_fire(void **state)
{
	struct counter a, b, end;

	(void)state;
	init(&a, 0);
	init(&b, 0);
	init(&end, 1);
	a.victim = &b.timer;
	b.victim = &a.timer;
	assert_int_equal(timer_set(&a.timer, 0, 0), 0);
	assert_int_equal(timer_set(&b.timer, 0, 0), 0);
	assert_int_equal(timer_set(&end.timer, 20 * NSEC_PER_MSEC, 0), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(a.fired + b.fired, 1);
	timer_clear(&a.timer);
	timer_clear(&b.timer);
	timer_clear(&end.timer);
}

static void clearing_is_safe_anywhere(void **state)
{
	struct timer never = TIMER_INIT, zeroed = { 0 };
	struct counter *counter = calloc(1, sizeof(*counter));

	(void)state;
	timer_clear(&never);
	timer_clear(&never);
	timer_clear(&zeroed); /* must not close descriptor 0 */
	assert_int_equal(timer_set(&never, 1, 0), -EBADF);

	assert_non_null(counter);
	init(counter, 1);
	counter->clear_self = true;
	assert_int_equal(timer_set(&counter->timer, 0, NSEC_PER_MSEC), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(counter->fired, 1);
	timer_clear(&counter->timer);
	free(counter);
}

static void a_failing_callback_stops_the_loop(void **state)
{
	(void)state;
	assert_int_equal(timer_set(&deadline, 0, 0), 0);
	assert_int_equal(loop_run(loop), -ETIMEDOUT);
}

int main(void)
{
#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, start, stop)
	const struct CMUnitTest tests[] = {
		WITH_LOOP(fires_once_and_not_early),          WITH_LOOP(a_period_repeats),
		WITH_LOOP(a_stopped_timer_does_not_fire),     WITH_LOOP(clearing_is_safe_anywhere),
		WITH_LOOP(a_failing_callback_stops_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
