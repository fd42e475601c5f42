/* ldflags: -Wl,--wrap=spool_client_put,--wrap=spool_client_stats,--wrap=agent_export_report */
#include "test.h"

#include <string.h>

#include "agent.h"

static struct {
	unsigned int n, reports, violations;
	bool refuses;
	char key[SPOOL_KEY_MAX];
	int64_t wall_us;
} put;

uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n);

uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n)
{
	assert_non_null(client);
	assert_int_equal(n, 1);
	if (rows->table == SPOOL_RECORD) {
		assert_string_equal(rows->key, "r-1");
		put.reports++;
		return 1;
	}
	if (rows->table == SPOOL_VIOLATION) {
		assert_int_equal(rows->wall_us, 0); /* open */
		put.violations++;
		memcpy(put.key, rows->key, sizeof(put.key));
		return 1;
	}
	assert_int_equal(rows->table, SPOOL_SUBJECT);
	put.n++;
	put.wall_us = rows->wall_us;
	memcpy(put.key, rows->key, sizeof(put.key));
	return put.refuses ? 0 : put.n;
}

static struct spool_client_stats stats;

const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client);

const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client)
{
	assert_non_null(client);
	return &stats;
}

int __wrap_agent_export_report(struct agent *agent, const struct moment *now, struct buf *out,
                               char uid[static OTLP_UID_MAX]);

int __wrap_agent_export_report(struct agent *agent, const struct moment *now, struct buf *out,
                               char uid[static OTLP_UID_MAX])
{
	assert_non_null(agent);
	assert_non_null(now);
	buf_text(out, "{}");
	snprintf(uid, OTLP_UID_MAX, "r-1");
	return out->error;
}

#define HOUR_NS (3600 * NSEC_PER_SEC)

/* One each of the pods u-0, u-1 and so on. */
static void open_violations(struct agent *agent, unsigned int n)
{
	const struct moment now = { HOUR_NS, 1 };

	assert_int_equal(violations_new(NULL, NULL, &agent->violations), 0);
	for (unsigned int i = 0; i < n; i++) {
		struct finding finding = { .kind = UNPROGRAMMED_POD, .first = now, .last = now };
		struct violation_subject subject = { .namespace = "ns", .pod = "p" };
		char uid[16];

		snprintf(uid, sizeof(uid), "u-%u", i);
		subject.uid = uid;
		assert_int_equal(
			violations_update(agent->violations, &subject, &finding, 1, 1, &now), 0);
	}
	assert_int_equal(violations_open(agent->violations, NULL), n);
}

/* Else it would be forgotten like that of a pod that is gone, and told once more by the next run. */
static void who_does_not_change_is_kept_all_the_same(void **state)
{
	static const struct {
		uint64_t hours;
		uint64_t proof_ns;
		bool refuses;
		unsigned int puts;
	} rows[] = {
		{ 1, 0, true, 1 },  /* of an earlier run: not written by this one */
		{ 2, 0, false, 2 }, /* what was refused, again */
		{ 3, 0, false, 2 },  { 25, 0, false, 2 }, { 26, 0, false, 3 }, /* a day later */
		{ 27, 5, false, 4 },                                           /* a proof */
		{ 50, 5, false, 4 }, { 51, 5, false, 5 },
	};
	struct subject subject = { .uid = (char *)"u-1", .netns_fd = -1 };
	struct watched watched = { .subject = &subject, .announced = true };
	struct agent agent = { .watched = { &watched } };

	(void)state;
	open_violations(&agent, 0);
	agent.spool.client = (struct spool_client *)&put;
	agent.spool.settled = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct moment now = { .mono_ns = rows[i].hours * HOUR_NS,
			                    .wall_us = (int64_t)rows[i].hours };

		watched.record.last_proof.mono_ns = rows[i].proof_ns;
		put.refuses = rows[i].refuses;
		agent_spool_tick(&agent, &now);
		assert_int_equal(put.n, rows[i].puts);
	}
	assert_string_equal(put.key, "u-1");
	assert_int_equal(put.wall_us, 51);
	violations_free(agent.violations);
}

/* An API server that does not answer is no reason to be taken for dead. */
static void who_can_read_nothing_reports(void **state)
{
	static const struct {
		uint64_t seconds; /* since the start */
		bool settled;
		unsigned int reports;
	} rows[] = {
		{ 1, false, 0 },  { 59, false, 0 }, { 60, false, 1 },
		{ 100, true, 1 }, { 119, true, 1 }, { 120, true, 2 },
	};
	struct agent agent = { .started = { .mono_ns = HOUR_NS } };

	(void)state;
	open_violations(&agent, 0);
	put.reports = 0;
	agent.spool.client = (struct spool_client *)&put;
	agent.export.settings.target[EXPORT_LOGS].url = (char *)"http://c/v1/logs";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct moment now = { .mono_ns = HOUR_NS + rows[i].seconds * NSEC_PER_SEC,
			                    .wall_us = 1 };

		agent.spool.settled = rows[i].settled;
		agent_spool_tick(&agent, &now);
		assert_int_equal(put.reports, rows[i].reports);
	}

	agent.spool.reported_ns = 0;
	agent_spool_tick(&agent, &(struct moment){ HOUR_NS + NSEC_PER_SEC, 1 });
	assert_int_equal(put.reports, 3);
	violations_free(agent.violations);
}

static unsigned int ticks(struct agent *agent, uint64_t from_s, uint64_t to_s)
{
	put.violations = 0;
	for (uint64_t s = from_s; s <= to_s; s++)
		agent_spool_tick(agent, &(struct moment){ HOUR_NS + s * NSEC_PER_SEC, 1 });
	return put.violations;
}

/* A crash loses five minutes of what they counted, at most; and they never push new reports aside. */
static void what_violations_counted_is_kept_now_and_then(void **state)
{
	struct agent agent = { .started = { .mono_ns = HOUR_NS } };

	(void)state;
	agent.spool.client = (struct spool_client *)&put;
	open_violations(&agent, 40);
	assert_int_equal(ticks(&agent, 1, 299), 0);
	assert_int_equal(ticks(&agent, 300, 300), 16);
	assert_int_equal(ticks(&agent, 301, 301), 16);
	stats.queued_bytes = 1;
	assert_int_equal(ticks(&agent, 302, 309), 0);
	stats.queued_bytes = 0;
	assert_int_equal(ticks(&agent, 310, 310), 8);
	assert_string_equal(put.key, violations_at(agent.violations, 39)->id);
	assert_int_equal(ticks(&agent, 311, 599), 0);
	assert_int_equal(ticks(&agent, 600, 899), 40);

	/* What was resolved has been kept as that. */
	for (unsigned int i = 0; i < 39; i++) {
		char uid[16];

		snprintf(uid, sizeof(uid), "u-%u", i);
		violations_forget(agent.violations, uid, &(struct moment){ HOUR_NS, 1 });
	}
	assert_int_equal(ticks(&agent, 900, 1199), 1);
	assert_string_equal(put.key, violations_at(agent.violations, 0)->id);
	violations_forget(agent.violations, "u-39", &(struct moment){ HOUR_NS, 1 });
	assert_int_equal(ticks(&agent, 1200, 1800), 0);
	violations_free(agent.violations);
}

/* However many there may be: each of them once in a round. */
static void all_violations_have_their_turn(void **state)
{
	struct agent agent = { .started = { .mono_ns = HOUR_NS } };

	(void)state;
	agent.spool.client = (struct spool_client *)&put;
	open_violations(&agent, VIOLATIONS_MAX);
	assert_int_equal(ticks(&agent, 300, 599), VIOLATIONS_MAX);
	assert_int_equal(ticks(&agent, 600, 899), VIOLATIONS_MAX);
	violations_free(agent.violations);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_does_not_change_is_kept_all_the_same),
		cmocka_unit_test(who_can_read_nothing_reports),
		cmocka_unit_test(what_violations_counted_is_kept_now_and_then),
		cmocka_unit_test(all_violations_have_their_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
