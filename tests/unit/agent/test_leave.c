#include "test.h"

#include "agent.h"

static int out_of_time(struct timer *timer)
{
	(void)timer;
	fail_msg("it does not end");
	return 0;
}

static struct agent agent = { .gone = true, .leave = { .asked = true } };

static int again(struct timer *timer)
{
	(void)timer;
	agent_leave(&agent);
	return 0;
}

/* The first signal found that the DaemonSet is gone; the second only makes it quicker. */
static void what_is_known_stands(void **state)
{
	struct timer deadline = TIMER_INIT, signal = TIMER_INIT;

	(void)state;
	assert_int_equal(loop_new(&agent.loop), 0);
	assert_int_equal(timer_init(&deadline, agent.loop, out_of_time), 0);
	assert_int_equal(timer_set(&deadline, 60 * NSEC_PER_SEC, 0), 0);
	assert_int_equal(timer_init(&signal, agent.loop, again), 0);
	assert_int_equal(timer_set(&signal, 0, 0), 0);
	assert_int_equal(loop_run(agent.loop), 0);
	assert_true(agent.gone);
	timer_clear(&signal);
	timer_clear(&deadline);
	agent_leave_stop(&agent);
	loop_free(agent.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_known_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
