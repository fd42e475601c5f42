/* ldflags: -Wl,--wrap=spool_client_load,--wrap=spool_client_put,--wrap=spool_client_stats,--wrap=agent_tell,--wrap=agent_source_complete */
/* What an earlier run left, told before the first judgement and after it. */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "agent.h"

#define BOOT "11111111-2222-3333-4444-555555555555"

static struct {
	spool_row_fn row;
	spool_end_fn end;
	void *user;
	int result;
	/* what was put and told */
	unsigned int puts, removed, told;
	int64_t wall_us;
	char key[SPOOL_KEY_MAX], reason[REASON_MAX];
	enum violation_change change;
} w;
static struct spool_client_stats stats;

int __wrap_spool_client_load(struct spool_client *client, const char *directory, uint64_t max_bytes,
                             spool_row_fn row, spool_end_fn end, void *user);
int __wrap_spool_client_load(struct spool_client *client, const char *directory, uint64_t max_bytes,
                             spool_row_fn row, spool_end_fn end, void *user)
{
	assert_non_null(client);
	assert_string_equal(directory, "/spool");
	assert_int_equal(max_bytes, 77);
	w.row = row;
	w.end = end;
	w.user = user;
	return w.result;
}

uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n);
uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n)
{
	assert_non_null(client);
	assert_int_equal(n, 1);
	w.removed += !rows->body;
	w.wall_us = rows->wall_us;
	memcpy(w.key, rows->key, sizeof(w.key));
	return ++w.puts;
}

const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client);
const struct spool_client_stats *__wrap_spool_client_stats(const struct spool_client *client)
{
	assert_non_null(client);
	return &stats;
}

void __wrap_agent_tell(struct agent *agent, const struct violation *violation,
                       enum violation_change change, uint64_t token);
void __wrap_agent_tell(struct agent *agent, const struct violation *violation,
                       enum violation_change change, uint64_t token)
{
	assert_non_null(agent);
	(void)token;
	w.told++;
	w.change = change;
	memcpy(w.reason, violation->reason, sizeof(w.reason));
}

bool __wrap_agent_source_complete(const struct agent *agent);
bool __wrap_agent_source_complete(const struct agent *agent)
{
	assert_non_null(agent);
	return true;
}

static struct config config = { .spool_directory = (char *)"/spool", .spool_max_bytes = 77 };
static struct subject subject = { .uid = (char *)"u-1", .netns_fd = -1 };

static void no_change(void *user, const struct violation *violation, enum violation_change change)
{
	agent_spool_violation(user, violation, change, &(struct moment){ 9, 9 });
}

static struct agent *begin(int result)
{
	struct agent *agent = calloc(1, sizeof(*agent));

	memset(&w, 0, sizeof(w));
	w.result = result;
	agent->config = &config;
	agent->spool.client = (struct spool_client *)&stats;
	snprintf(agent->spool.boot, sizeof(agent->spool.boot), "%s", BOOT);
	agent->watched[3] = calloc(1, sizeof(struct watched));
	agent->watched[3]->subject = &subject;
	assert_int_equal(violations_new(no_change, agent, &agent->violations), 0);
	assert_int_equal(agent_spool_load(agent), 0);
	return agent;
}

static void end(struct agent *agent)
{
	agent_spool_forget_all(agent);
	violations_free(agent->violations);
	free(agent->watched[3]);
	free(agent);
}

static void tell_violation(const char *id, const char *uid)
{
	const struct moment then = clock_now();
	struct violation violation = { .kind = STALE_ROUTES,
		                       .namespace = (char *)"team",
		                       .pod = (char *)"app",
		                       .uid = (char *)uid,
		                       .first = then,
		                       .last = then,
		                       .opened = then,
		                       .count = 1,
		                       .reason = "seen before",
		                       .remedy = "restart it",
		                       .evidence = (char *)"{}",
		                       .open = true };
	cleanup(buf_clearp) struct buf body = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row row = { .table = SPOOL_VIOLATION };

	snprintf(violation.id, sizeof(violation.id), "%s", id);
	snapshot_violation_write(&violation, BOOT, &body);
	snprintf(row.key, sizeof(row.key), "%s", id);
	row.body = body.data;
	row.len = body.len;
	w.row(w.user, &row);
}

/* This run finds it by itself; its id. */
static const char *find(struct agent *agent)
{
	const struct moment now = clock_now();
	const struct violation_subject who = { .namespace = "team", .pod = "app", .uid = "u-1" };
	struct finding finding = { .kind = STALE_ROUTES, .first = now, .last = now, .count = 1 };

	assert_int_equal(violations_update(agent->violations, &who, &finding, 1, 1, &now), 0);
	assert_int_equal(w.told, 1);
	return violations_at(agent->violations, 0)->id;
}

#define ID "0123456789abcdef0123456789abcdef"

static void before_the_first_judgement(void **state)
{
	struct agent *agent = begin(0);

	(void)state;
	tell_violation(ID, "u-1");
	w.end(w.user, 0, false);
	assert_true(agent->spool.loaded);
	assert_false(agent->spool.behind);
	assert_int_equal(violations_open(agent->violations, "u-1"), 1);
	assert_string_equal(violations_at(agent->violations, 0)->id, ID);
	assert_int_equal(w.told, 0);
	assert_int_equal(w.puts, 0);
	end(agent);
}

/* Nothing is gone before all of it was told; then who is not here is. */
static void later_and_not_found(void **state)
{
	struct agent *agent = begin(-EINPROGRESS);
	const struct moment now = clock_now();

	(void)state;
	assert_true(agent->spool.behind);
	agent_spool_settle(agent, &now);
	assert_false(agent->spool.settled);
	tell_violation(ID, "u-1");
	tell_violation("fedcba9876543210fedcba9876543210", "gone");
	assert_int_equal(violations_open(agent->violations, NULL), 2);
	assert_int_equal(w.told, 0);
	agent_spool_settle(agent, &now);
	assert_int_equal(violations_open(agent->violations, NULL), 2);
	w.end(w.user, 0, false);
	agent_spool_settle(agent, &now);
	assert_true(agent->spool.settled);
	assert_int_equal(violations_open(agent->violations, NULL), 1);
	assert_int_equal(violations_open(agent->violations, "u-1"), 1);
	assert_int_equal(w.told, 1);
	assert_int_equal(w.change, VIOLATION_RESOLVED);
	assert_non_null(strstr(w.reason, "the pod is gone"));
	end(agent);
}

static void later_and_the_same(void **state)
{
	struct agent *agent = begin(-EINPROGRESS);
	char id[33];

	(void)state;
	snprintf(id, sizeof(id), "%s", find(agent));
	tell_violation(id, "u-1");
	assert_int_equal(violations_open(agent->violations, NULL), 1);
	assert_int_equal(w.told, 1);
	/* And when it is over by now it does not come back. */
	violations_forget(agent->violations, "u-1", &(struct moment){ 9, 9 });
	assert_int_equal(w.told, 2);
	tell_violation(id, "u-1");
	assert_int_equal(violations_open(agent->violations, NULL), 0);
	assert_int_equal(w.told, 2);
	assert_int_equal(agent->spool.unread, 0);
	end(agent);
}

static void later_and_under_another_id(void **state)
{
	struct agent *agent = begin(-EINPROGRESS);
	char id[33];

	(void)state;
	snprintf(id, sizeof(id), "%s", find(agent));
	tell_violation(ID, "u-1");
	assert_int_equal(violations_open(agent->violations, NULL), 1);
	assert_string_equal(violations_at(agent->violations, 0)->id, id);
	assert_int_equal(w.told, 2);
	assert_int_equal(w.change, VIOLATION_RESOLVED);
	assert_non_null(strstr(w.reason, id));
	assert_string_equal(w.key, ID); /* kept as resolved */
	assert_true(w.wall_us > 0);
	end(agent);
}

static void a_later_proof(void **state)
{
	static const struct {
		uint64_t had_ns, before_ns;
		bool revived;
	} rows[] = { { 0, 50, true }, { 60, 50, false }, { 40, 50, true } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct agent *agent = begin(-EINPROGRESS);
		struct moment now = clock_now();
		struct judge_record before, *record = &agent->watched[3]->record;
		cleanup(buf_clearp) struct buf body = BUF_INIT(SPOOL_BODY_MAX);
		struct spool_row row = { .table = SPOOL_SUBJECT, .key = "u-1", .wall_us = 1 };

		now.mono_ns += 100;
		judge_record_init(&before, &now);
		before.last_proof = (struct moment){ rows[i].before_ns, now.wall_us };
		before.state_since = now;
		snapshot_subject_write(&before, BOOT, &body);
		record->last_proof.mono_ns = rows[i].had_ns;
		row.body = body.data;
		row.len = body.len;
		w.row(w.user, &row);
		assert_int_equal(record->last_proof.mono_ns,
		                 rows[i].revived ? rows[i].before_ns : rows[i].had_ns);
		assert_true(record->remembered);
		assert_int_equal(agent->spool.unread, 0);
		/* Of a pod that has not come yet it waits for it. */
		snprintf(row.key, sizeof(row.key), "u-2");
		w.row(w.user, &row);
		assert_int_equal(agent->spool.n_remembered, 1);
		end(agent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_first_judgement),
		cmocka_unit_test(later_and_not_found),
		cmocka_unit_test(later_and_the_same),
		cmocka_unit_test(later_and_under_another_id),
		cmocka_unit_test(a_later_proof),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
