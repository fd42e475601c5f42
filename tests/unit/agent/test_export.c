/* ldflags: -Wl,--wrap=spool_client_stats */
#include "test.h"

#include <string.h>

#include "agent.h"

static struct spool_client_stats stats;

const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client);

const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client)
{
	assert_non_null(client);
	return &stats;
}

/* What an earlier run left is read, and answered, before there is anything else. */
static void nothing_is_there_while_the_spool_is_loaded(void **state)
{
	struct agent agent = { 0 };

	(void)state;
	agent_export_kick(&agent);
	assert_true(agent_export_done(&agent));
	assert_string_equal(agent.export.node_uid, "");
}

/* The newest that the spool told is no news of a disk that has not answered since. */
static void what_is_not_kept_is_not_ready(void **state)
{
	static const struct {
		uint64_t waits_s, refused_s; /* ago; 0: not */
		bool degraded, ok;
		const char *reason;
	} rows[] = {
		{ 0, 0, false, true, "no collector is configured" },
		{ 0, 0, true, false, "spool /s: in memory only" },
		{ 2, 0, false, true, "no collector is configured" },
		{ 11, 0, false, false, "spool /s: the disk does not answer: nothing is kept" },
		{ 11, 0, true, false, "spool /s: the disk does not answer: nothing is kept" },
		{ 0, 5, false, false,
		  "spool /s: reports were dropped: the disk did not take them in time" },
		{ 0, 601, false, true, "no collector is configured" },
	};
	struct config config = { .spool_directory = (char *)"/s" };
	struct agent agent = { .config = &config };
	uint64_t now_ns = clock_now().mono_ns;

	(void)state;
	agent.spool.client = (struct spool_client *)&stats;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct report_condition_state is = { 0 };

		if (rows[i].refused_s * NSEC_PER_SEC >= now_ns)
			continue; /* the machine was not there then */
		stats.waits_ns = rows[i].waits_s ? now_ns - rows[i].waits_s * NSEC_PER_SEC : 0;
		stats.refused_ns =
			rows[i].refused_s ? now_ns - rows[i].refused_s * NSEC_PER_SEC : 0;
		stats.state.degraded = rows[i].degraded;
		strcpy(stats.state.reason, rows[i].degraded ? "in memory only" : "");
		agent_export_condition(&agent, &is);
		assert_string_equal(is.reason, rows[i].reason);
		assert_int_equal(is.ok, rows[i].ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_there_while_the_spool_is_loaded),
		cmocka_unit_test(what_is_not_kept_is_not_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
