/*
 * What an earlier run left in the spool comes back: before the first judgement, or, when the disk does not answer in time
 * or cannot be read, later than that. What was found meanwhile stands then (README.md).
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "verdict/sentence.h"

static struct watched *find_watched(const struct agent *agent, const char *uid)
{
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i] && strcmp(agent->watched[i]->subject->uid, uid) == 0)
			return agent->watched[i];
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Another id: this run could not know since when it is so. */
static bool is_same_fault(const struct violation *a, const struct violation *b)
{
	return a->kind == b->kind && strcmp(a->uid, b->uid) == 0 &&
	       same_text(a->gateway_namespace, b->gateway_namespace) &&
	       same_text(a->gateway, b->gateway);
}

/* Who was told that it opened is told where it goes on; it is no second one. */
static void end_with(struct agent *agent, struct violation *violation, const char *id,
                     const struct moment *now)
{
	char before[REASON_MAX];

	memcpy(before, violation->reason, sizeof(before));
	sentence_set(violation->reason, sizeof(violation->reason),
	             "goes on as %s, which opened while the spool could not be read; before: %s",
	             id, before);
	violation->open = false;
	violation->resolved = *now;
	agent_spool_violation(agent, violation, VIOLATION_RESOLVED, now);
}

/* What this run found stands: the same violation, or the same fault under another id. */
static bool is_known(struct agent *agent, struct violation *violation, const struct moment *now)
{
	const struct violation *other, *same = NULL;

	for (size_t i = 0; (other = violations_at(agent->violations, i)); i++) {
		if (strcmp(other->id, violation->id) == 0)
			return true;
		if (other->open && is_same_fault(other, violation))
			same = other;
	}
	if (same)
		end_with(agent, violation, same->id, now);
	return same != NULL;
}

/* Of a pod that is here already: a proof that is newer than what this run saw. */
static bool revive_subject(struct agent *agent, const struct spool_row *row,
                           const struct moment *now)
{
	struct watched *watched = agent->spool.behind ? find_watched(agent, row->key) : NULL;
	struct judge_record *record, before;

	if (!watched)
		return false;
	record = &watched->record;
	judge_record_init(&before, now);
	if (snapshot_subject_read(row->body, row->len, agent->spool.boot, now, &before) < 0) {
		agent->spool.unread++;
		return true;
	}
	record->remembered = true;
	if (before.last_proof.mono_ns > record->last_proof.mono_ns)
		record->last_proof = before.last_proof;
	if (record->rounds > 0)
		return true;
	record->observed = before.observed;
	record->attribution = before.attribution;
	memcpy(record->attributed_to, before.attributed_to, sizeof(record->attributed_to));
	return true;
}

static void restore_violation(struct agent *agent, const struct spool_row *row,
                              const struct moment *now)
{
	struct violation *violation = NULL;
	int r;

	r = snapshot_violation_read(row->body, row->len, agent->spool.boot, now, &violation);
	if (r == 0 && !violation->open)
		r = -EINVAL;
	if (r == 0 && agent->spool.behind && is_known(agent, violation, now)) {
		snapshot_violation_free(violation);
		return;
	}
	r = r ?: violations_restore(agent->violations, violation);
	snapshot_violation_free(violation);
	if (r == 0)
		return;
	if (r == -EINVAL) /* it would come again at each start */
		agent_spool_remove(agent, SPOOL_VIOLATION, row->key);
	agent->spool.unread++;
	log_error("a violation of an earlier run is not known any more", "id", row->key, "error",
	          strerror(-r), NULL);
}

/* Kept as text until the subject comes; there are at most twice as many as a node may have pods. */
static void keep_subject(struct agent *agent, const struct spool_row *row)
{
	struct remembered *remembered;

	if (!agent->spool.remembered)
		agent->spool.remembered = calloc(2 * SUBJECTS_MAX, sizeof(*remembered));
	if (!agent->spool.remembered || agent->spool.n_remembered == 2 * SUBJECTS_MAX) {
		agent->spool.unread++;
		return;
	}
	remembered = &agent->spool.remembered[agent->spool.n_remembered];
	remembered->body = malloc(row->len + 1);
	if (!remembered->body) {
		agent->spool.unread++;
		return;
	}
	memcpy(remembered->body, row->body, row->len);
	remembered->len = row->len;
	memcpy(remembered->uid, row->key, sizeof(remembered->uid));
	agent->spool.n_remembered++;
}

static void on_loaded(void *user, const struct spool_row *row)
{
	struct agent *agent = user;
	struct moment now = clock_now();

	if (row->table == SPOOL_VIOLATION)
		restore_violation(agent, row, &now);
	else if (row->table == SPOOL_SUBJECT && !revive_subject(agent, row, &now))
		keep_subject(agent, row);
}

/* All of it. Who came late is settled like everybody else: a pod that is not here is gone. */
static void on_end(void *user, int r, bool more)
{
	struct agent *agent = user;

	(void)more;
	if (r < 0) /* the process is gone */
		return;
	agent->spool.loaded = true;
	if (!agent->spool.behind)
		return;
	agent->spool.settled = false;
	log_info("spool: what an earlier run left is taken over", "directory",
	         agent->config->spool_directory, NULL);
}

int agent_spool_load(struct agent *agent)
{
	const char *directory = agent->config->spool_directory, *reason;
	int r = spool_client_load(agent->spool.client, directory, agent->config->spool_max_bytes,
	                          on_loaded, on_end, agent);

	if (r < 0 && r != -EINPROGRESS)
		return r;
	agent->spool.behind = r == -EINPROGRESS;
	reason = spool_client_stats(agent->spool.client)->state.reason;
	if (reason[0])
		log_warn(agent->spool.behind ? "spool: what an earlier run left is not known yet"
		                             : "spool",
		         "directory", directory, "reason", reason, NULL);
	return 0;
}

void agent_spool_remember(struct agent *agent, struct watched *watched)
{
	struct moment now = clock_now();

	for (size_t i = 0; i < agent->spool.n_remembered; i++) {
		struct remembered *remembered = &agent->spool.remembered[i];

		if (!remembered->body || strcmp(remembered->uid, watched->subject->uid) != 0)
			continue;
		if (snapshot_subject_read(remembered->body, remembered->len, agent->spool.boot,
		                          &now, &watched->record) == 0) {
			watched->announced = true;
			watched->kept_proof_ns = watched->record.last_proof.mono_ns;
		} else {
			agent->spool.unread++;
		}
		free(take_ptr(remembered->body));
		return;
	}
}

/* The first violation of a pod that is not here any more. */
static const char *gone_pod(const struct agent *agent)
{
	const struct violation *violation;

	for (size_t i = 0; (violation = violations_at(agent->violations, i)) && violation->open;
	     i++)
		if (!find_watched(agent, violation->uid))
			return violation->uid;
	return NULL;
}

/* Everything was read once: what has not come is gone. */
void agent_spool_settle(struct agent *agent, const struct moment *now)
{
	char uid[KUBE_NAME_MAX + 1];
	const char *gone;

	if (agent->spool.settled || !agent_source_complete(agent))
		return;
	if (agent->spool.client && !agent->spool.loaded)
		return;
	agent->spool.settled = true;
	while ((gone = gone_pod(agent)) != NULL) {
		snprintf(uid, sizeof(uid), "%s", gone);
		violations_forget(agent->violations, uid, now);
	}
	for (size_t i = 0; i < agent->spool.n_remembered; i++) {
		if (agent->spool.remembered[i].body)
			agent_spool_remove(agent, SPOOL_SUBJECT, agent->spool.remembered[i].uid);
	}
	agent_spool_forget_all(agent);
}

void agent_spool_forget_all(struct agent *agent)
{
	for (size_t i = 0; i < agent->spool.n_remembered; i++)
		free(agent->spool.remembered[i].body);
	free(take_ptr(agent->spool.remembered));
	agent->spool.n_remembered = 0;
}
