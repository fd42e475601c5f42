#include "test.h"

#include "agent.h"

/* What an earlier run left is read, and answered, before there is anything else. */
static void nothing_is_there_while_the_spool_is_loaded(void **state)
{
	struct agent agent = { 0 };

	(void)state;
	agent_export_kick(&agent);
	assert_true(agent_export_done(&agent));
	assert_string_equal(agent.export.node_uid, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_there_while_the_spool_is_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
