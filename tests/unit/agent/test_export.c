/* ldflags: -Wl,--wrap=spool_client_stats,--wrap=exporter_stats,--wrap=exporter_free */
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

static struct exporter_stats exported;

const struct exporter_stats *__wrap_exporter_stats(const struct exporter *exporter);

const struct exporter_stats *__wrap_exporter_stats(const struct exporter *exporter)
{
	assert_ptr_equal(exporter, &exported);
	return &exported;
}

struct exporter *__wrap_exporter_free(struct exporter *exporter);

struct exporter *__wrap_exporter_free(struct exporter *exporter)
{
	assert_true(!exporter || exporter == (struct exporter *)&exported);
	return NULL;
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

/* Every counter has its own multiple, so that none can stand for another. */
static void fill(struct exporter_stats *out, uint64_t n)
{
	*out = (struct exporter_stats){ .sent = n, .rejected = 2 * n, .sent_bytes = 3 * n };
	for (unsigned int i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		for (unsigned int k = 0; k < _EXPORT_RESULT_MAX; k++)
			out->requests[i][k] = (4 + i * _EXPORT_RESULT_MAX + k) * n;
}

static void assert_counts(const struct exporter_stats *is, uint64_t n)
{
	struct exporter_stats wanted;

	fill(&wanted, n);
	assert_int_equal(is->sent, wanted.sent);
	assert_int_equal(is->rejected, wanted.rejected);
	assert_int_equal(is->sent_bytes, wanted.sent_bytes);
	assert_memory_equal(is->requests, wanted.requests, sizeof(wanted.requests));
}

/* Each reload replaces the exporter; whoever reads the metrics does not see that. */
static void no_counter_goes_back_at_a_reload(void **state)
{
	static const struct {
		uint64_t
			n; /* what this exporter counted; 0: the configuration names no collector */
		int64_t success_us;
		const char *error;
		bool refusing;
		uint64_t sum;
		int64_t newest_us;
	} rows[] = {
		{ 5, 100, "", false, 5, 100 },
		{ 1, 0, "refused", true, 6, 100 }, /* it has not reached the collector yet */
		{ 0, 0, "", false, 6, 100 },
		{ 2, 90, "", false, 8, 90 }, /* the clock was set back: the newest, all the same */
		{ 1, 0, "", false, 9, 90 },
	};
	struct agent agent = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct exporter_stats is;

		fill(&exported, rows[i].n);
		exported.last_success_us = rows[i].success_us;
		exported.refusing = rows[i].refusing;
		strcpy(exported.last_error, rows[i].error);
		if (rows[i].n)
			agent.export.exporter = (struct exporter *)&exported;

		is = agent_export_stats(&agent);
		assert_counts(&is, rows[i].sum);
		assert_int_equal(is.last_success_us, rows[i].newest_us);
		assert_int_equal(is.refusing, rows[i].refusing);
		assert_string_equal(is.last_error, rows[i].error);

		agent_export_stop(&agent);
		assert_null(agent.export.exporter);
		is = agent_export_stats(&agent);
		assert_counts(&is, rows[i].sum);
		assert_int_equal(is.last_success_us, rows[i].newest_us);
		assert_string_equal(is.last_error,
		                    ""); /* of a collector that is not asked any more */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_counter_goes_back_at_a_reload),
		cmocka_unit_test(nothing_is_there_while_the_spool_is_loaded),
		cmocka_unit_test(what_is_not_kept_is_not_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
