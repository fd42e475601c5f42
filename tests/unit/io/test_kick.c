#include "test.h"

#include "fake.h"
#include "io/kick.h"

struct counted {
	struct kick kick;
	struct loop *loop;
	int calls, again;
};

static int on_kick(struct kick *kick)
{
	struct counted *counted = container_of(kick, struct counted, kick);

	counted->calls++;
	if (counted->again-- > 0)
		kick_now(kick); /* from within: one more call, not a lost one */
	else
		loop_stop(counted->loop);
	return 0;
}

static void runs_once_per_round(void **state)
{
	struct counted counted = { .kick = KICK_INIT, .again = 3 };

	(void)state;
	assert_int_equal(loop_new(&counted.loop), 0);
	assert_int_equal(kick_init(&counted.kick, counted.loop, on_kick), 0);
	kick_now(&counted.kick);
	kick_now(&counted.kick);
	fake_loop_run(counted.loop);
	assert_int_equal(counted.calls, 4);

	kick_now(&counted.kick); /* pending when it goes away */
	kick_clear(&counted.kick);
	kick_clear(&counted.kick);
	assert_null(loop_free(counted.loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_once_per_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
