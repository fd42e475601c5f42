/*
 * What happens goes into the spool.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "broker/processes.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/*
 * What open violations counted is kept anew: each of them this often, so many a tick, which is all of VIOLATIONS_MAX
 * in that time. A crash loses no more of the counts.
 */
#define VIOLATION_AGAIN_NS (300 * NSEC_PER_SEC)
#define VIOLATIONS_A_TICK 16
_Static_assert(VIOLATIONS_MAX / VIOLATIONS_A_TICK * (JUDGE_TICK_MS * NSEC_PER_MSEC) <
                       VIOLATION_AGAIN_NS,
               "one round of all of them takes longer than the next one waits");

static bool set_key(struct spool_row *row, const char *key)
{
	return snprintf(row->key, sizeof(row->key), "%s", key) < (int)sizeof(row->key);
}

static uint64_t put(struct agent *agent, const struct spool_row *rows, size_t n)
{
	return agent->spool.client ? spool_client_put(agent->spool.client, rows, n) : 0;
}

void agent_spool_remove(struct agent *agent, enum spool_table table, const char *key)
{
	struct spool_row row = { .table = table };

	if (set_key(&row, key))
		(void)put(agent, &row, 1);
}

/* Changes */

/* Without a collector nothing waits for one; what is remembered is kept all the same. */
static bool is_reported(const struct agent *agent)
{
	return agent->export.settings.target[EXPORT_LOGS].url != NULL;
}

/* false: no memory, or a uid that cannot be one. */
static bool set_row(struct spool_row *row, const char *key, const struct buf *body)
{
	row->body = body->data;
	row->len = body->len;
	return !body->error && set_key(row, key);
}

static void keep_violation(struct agent *agent, const struct violation *violation)
{
	cleanup(buf_clearp) struct buf snapshot = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row row = { .table = SPOOL_VIOLATION };

	snapshot_violation_write(violation, agent->spool.boot, &snapshot);
	if (set_row(&row, violation->id, &snapshot))
		(void)put(agent, &row, 1);
}

static const struct violation *open_at(const struct agent *agent, size_t index)
{
	const struct violation *violation = violations_at(agent->violations, index);

	return violation && violation->open ? violation : NULL;
}

/* The last that this run counted. */
static void keep_violations(struct agent *agent)
{
	const struct violation *violation;

	for (size_t i = 0; (violation = open_at(agent, i)) != NULL; i++)
		keep_violation(agent, violation);
}

/*
 * Some of them, and the others in the next ticks. One that others push aside meanwhile, by opening
 * or resolving, has its turn in the next round. Never at the cost of what is new: a spool that is
 * slow is spared it.
 */
static void keep_some_violations(struct agent *agent, const struct moment *now)
{
	const struct violation *violation = NULL;
	uint64_t since_ns = agent->spool.round_ns ?: agent->started.mono_ns;

	if (spool_client_stats(agent->spool.client)->queued_bytes > 0 ||
	    (!agent->spool.in_round && now->mono_ns - since_ns < VIOLATION_AGAIN_NS))
		return;
	if (!agent->spool.in_round)
		agent->spool.round_ns = now->mono_ns;
	for (size_t i = 0; i < VIOLATIONS_A_TICK; i++) {
		violation = open_at(agent, agent->spool.in_round);
		if (!violation)
			break;
		keep_violation(agent, violation);
		agent->spool.in_round++;
	}
	if (!violation)
		agent->spool.in_round = 0;
}

static uint64_t put_violation(struct agent *agent, const struct violation *violation,
                              enum violation_change change, const struct moment *now)
{
	cleanup(buf_clearp) struct buf record = BUF_INIT(SPOOL_BODY_MAX);
	cleanup(buf_clearp) struct buf snapshot = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row rows[] = {
		{ .table = SPOOL_VIOLATION, .wall_us = violation->resolved.wall_us },
		{ .table = SPOOL_RECORD, .wall_us = now->wall_us },
	};
	char uid[OTLP_UID_MAX];
	bool reported = is_reported(agent);

	snapshot_violation_write(violation, agent->spool.boot, &snapshot);
	if (reported)
		otlp_violation(agent->config->node, violation, change, now, &record, uid);
	if (!set_row(&rows[0], violation->id, &snapshot) ||
	    (reported && !set_row(&rows[1], uid, &record))) {
		agent->out_of_memory++;
		return 0;
	}
	return put(agent, rows, reported ? 2 : 1);
}

void agent_spool_violation(struct agent *agent, const struct violation *violation,
                           enum violation_change change, const struct moment *now)
{
	agent_tell(agent, violation, change,
	           agent->spool.client ? put_violation(agent, violation, change, now) : 0);
}

/* `record` NULL: only what is remembered. The token, or 0. */
static uint64_t put_subject(struct agent *agent, struct watched *watched, const struct buf *record,
                            const char *uid, const struct moment *now)
{
	cleanup(buf_clearp) struct buf snapshot = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row subject = { .table = SPOOL_SUBJECT, .wall_us = now->wall_us }, rows[2];
	uint64_t token;
	size_t n = 0;

	if (record) {
		rows[n] = (struct spool_row){ .table = SPOOL_RECORD, .wall_us = now->wall_us };
		if (!set_row(&rows[n++], uid, record)) {
			agent->out_of_memory++;
			return 0;
		}
	}
	snapshot_subject_write(&watched->record, agent->spool.boot, &snapshot);
	/* A uid that no API server would give, of a file: it is told, but not remembered. */
	if (set_row(&subject, watched->subject->uid, &snapshot))
		rows[n++] = subject;
	else if (snapshot.error)
		agent->out_of_memory++;
	token = n ? put(agent, rows, n) : 0;
	if (token) {
		watched->kept_proof_ns = watched->record.last_proof.mono_ns;
		watched->kept_ns = now->mono_ns;
	}
	return token;
}

void agent_spool_state(struct agent *agent, struct watched *watched, enum subject_state from,
                       const struct moment *now)
{
	cleanup(buf_clearp) struct buf record = BUF_INIT(SPOOL_BODY_MAX);
	cleanup(buf_clearp) struct buf event = BUF_INIT(EVENT_BYTES_MAX);
	char uid[OTLP_UID_MAX];
	uint64_t token = 0;

	if (agent->spool.client && is_reported(agent)) {
		otlp_state(agent->config->node, watched->subject, &watched->record, from, now,
		           &record, uid);
		token = put_subject(agent, watched, &record, uid, now);
	} else if (agent->spool.client) {
		token = put_subject(agent, watched, NULL, NULL, now);
	}
	events_state_write(watched->subject, &watched->record, from, &event);
	agent_tell_state(agent, &event, token);
}

void agent_spool_forget(struct agent *agent, const struct subject *subject)
{
	agent_spool_remove(agent, SPOOL_SUBJECT, subject->uid);
}

/* There is a newer proof, or the row would grow old although the pod is here. */
static bool is_due(const struct watched *watched, const struct moment *now)
{
	return watched->record.last_proof.mono_ns > watched->kept_proof_ns || !watched->kept_ns ||
	       now->mono_ns - watched->kept_ns >= SPOOL_SUBJECT_AGAIN_NS;
}

static void keep_proofs(struct agent *agent, const struct moment *now)
{
	for (size_t i = 0; i < SUBJECTS_MAX; i++) {
		struct watched *watched = agent->watched[i];

		if (watched && watched->announced && is_due(watched, now))
			(void)put_subject(agent, watched, NULL, NULL, now);
	}
}

static void keep_report(struct agent *agent, const struct moment *now)
{
	cleanup(buf_clearp) struct buf record = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row row = { .table = SPOOL_RECORD, .wall_us = now->wall_us };
	char uid[OTLP_UID_MAX];

	if (agent_export_report(agent, now, &record, uid) < 0 || !set_row(&row, uid, &record))
		agent->out_of_memory++;
	else
		(void)put(agent, &row, 1);
}

/* The first one when everything was read. Who cannot read it is not silent for that. */
static bool is_report_due(const struct agent *agent, const struct moment *now)
{
	if (!agent->spool.reported_ns && agent->spool.settled)
		return true;
	return now->mono_ns - (agent->spool.reported_ns ?: agent->started.mono_ns) >=
	       REPORT_INTERVAL_NS;
}

void agent_spool_tick(struct agent *agent, const struct moment *now)
{
	agent_spool_settle(agent, now);
	if (!agent->spool.client)
		return;
	keep_some_violations(agent, now);
	if (!is_report_due(agent, now))
		return;
	agent->spool.reported_ns = now->mono_ns;
	keep_proofs(agent, now);
	if (is_reported(agent))
		keep_report(agent, now);
}

/* Life */

static void on_kept(void *user, uint64_t token)
{
	agent_tell_kept(user, token);
	agent_export_kick(user);
}

static void on_gone(void *user)
{
	struct agent *agent = user;

	log_error("the process of the spool is gone; the agent ends, to be started anew", NULL);
	loop_stop(agent->loop);
}

static int read_boot(struct agent *agent)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(sizeof(agent->spool.boot) - 1);
	int r = file_read(AT_FDCWD, BOOT_ID, &text);

	if (r < 0)
		return r;
	snprintf(agent->spool.boot, sizeof(agent->spool.boot), "%.*s",
	         (int)strcspn(text.data, "\n"), text.data);
	return 0;
}

int agent_spool_start(struct agent *agent, char error[static 512])
{
	const struct spool_events events = { agent, on_kept, on_gone };
	int fd = processes_spool_fd();
	int r;

	r = agent_tell_start(agent);
	if (r == 0 && fd >= 0) {
		r = read_boot(agent);
		r = r ?: spool_client_new(agent->loop, fd, &events, &agent->spool.client);
		r = r ?: agent_spool_load(agent);
	}
	if (r < 0)
		snprintf(error, 512, "collector.spool.directory: %s: %s",
		         agent->config->spool_directory, strerror(-r));
	return r;
}

void agent_spool_stop(struct agent *agent)
{
	struct moment now = clock_now();

	if (agent->spool.client && agent->violations && !agent->gone) {
		keep_proofs(agent, &now);
		keep_violations(agent);
	}
	if (agent->spool.client && agent->gone && spool_client_remove(agent->spool.client) < 0)
		log_error("the spool's files are not removed", "directory",
		          agent->config->spool_directory, NULL);
	if (agent->spool.client && !agent->gone)
		(void)spool_client_finish(agent->spool.client);
	if (agent->report)
		agent_tell_stop(agent);
	agent->spool.client = spool_client_free(agent->spool.client);
	agent_spool_forget_all(agent);
}
