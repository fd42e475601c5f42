/*
 * A change is told (log, server-sent events, Kubernetes Events) once the spool keeps it: what
 * somebody was told is in the audit trail, whatever happens next. A spool that does not answer in
 * time, or refuses, does not keep an alarm back: told early, and counted.
 */
#include "agent.h"

#include "base/log.h"

static void tell_violation(struct agent *agent, const struct violation *violation,
                           enum violation_change change)
{
	bool opened = change == VIOLATION_OPENED;

	log_line(&(struct log_site){ 0 }, opened ? LOG_WARN : LOG_INFO,
	         opened ? "violation opened" : "violation resolved", "kind",
	         violation_kind_name(violation->kind), "namespace", violation->namespace, "pod",
	         violation->pod, "gateway", violation->gateway ? violation->gateway : "", "reason",
	         violation->reason, "id", violation->id, NULL);
	report_violation(agent->report, violation, change);
	agent_event(agent, violation, change);
}

static struct untold *oldest(struct agent *agent)
{
	return agent->spool.n ? &agent->spool.untold[agent->spool.first] : NULL;
}

static struct untold take_oldest(struct agent *agent)
{
	struct untold untold = *oldest(agent);

	agent->spool.first = (agent->spool.first + 1) % TELL_QUEUE_MAX;
	agent->spool.n--;
	return untold;
}

static void untold_clear(struct untold *untold)
{
	untold->violation = snapshot_violation_free(untold->violation);
	buf_clear(&untold->state);
}

static void tell_oldest(struct agent *agent)
{
	cleanup(untold_clear) struct untold untold = take_oldest(agent);

	if (untold.violation)
		tell_violation(agent, untold.violation, untold.change);
	else
		report_state(agent->report, &untold.state);
}

static void tell_all(struct agent *agent)
{
	while (oldest(agent))
		tell_oldest(agent);
}

/* The agent ends: what is not kept is not told, and the next one finds it anew. */
static bool is_lost(const struct agent *agent)
{
	return agent->spool.client && spool_client_stats(agent->spool.client)->gone;
}

/* For the oldest; nothing to wait for stops it. */
static void set_timer(struct agent *agent)
{
	const struct untold *untold = oldest(agent);
	uint64_t now_ns = clock_now().mono_ns;

	if (!untold)
		(void)timer_stop(&agent->spool.late);
	else
		(void)timer_set(&agent->spool.late,
		                untold->until_ns > now_ns ? untold->until_ns - now_ns : 0, 0);
}

static int on_late(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, spool.late);
	uint64_t now_ns = clock_now().mono_ns;

	while (oldest(agent) && !is_lost(agent) && oldest(agent)->until_ns <= now_ns) {
		agent->spool.told_early++;
		tell_oldest(agent);
	}
	set_timer(agent);
	return 0;
}

/* In the order in which they happened, also when there is no room to wait. */
static void wait_for(struct agent *agent, struct untold untold)
{
	if (agent->spool.n == TELL_QUEUE_MAX) {
		agent->spool.told_early++;
		tell_oldest(agent);
	}
	untold.until_ns = clock_now().mono_ns + TELL_WAIT_NS;
	agent->spool.untold[(agent->spool.first + agent->spool.n++) % TELL_QUEUE_MAX] = untold;
	if (agent->spool.n == 1)
		set_timer(agent);
}

void agent_tell(struct agent *agent, const struct violation *violation,
                enum violation_change change, uint64_t token)
{
	struct untold untold = { .token = token, .change = change };

	if (is_lost(agent))
		return;
	agent->spool.told_early += agent->spool.client && !token;
	if (!token || snapshot_violation_copy(violation, &untold.violation) < 0) {
		tell_all(agent);
		tell_violation(agent, violation, change);
		return;
	}
	wait_for(agent, untold);
}

void agent_tell_state(struct agent *agent, struct buf *json, uint64_t token)
{
	if (is_lost(agent))
		return;
	agent->spool.told_early += agent->spool.client && !token;
	if (!token) {
		tell_all(agent);
		report_state(agent->report, json);
		return;
	}
	wait_for(agent, (struct untold){ .token = token, .state = *json });
	*json = (struct buf)BUF_INIT(EVENT_BYTES_MAX);
}

void agent_tell_kept(struct agent *agent, uint64_t token)
{
	while (oldest(agent) && oldest(agent)->token <= token)
		tell_oldest(agent);
	set_timer(agent);
}

int agent_tell_start(struct agent *agent)
{
	return timer_init(&agent->spool.late, agent->loop, on_late);
}

void agent_tell_stop(struct agent *agent)
{
	if (!is_lost(agent))
		tell_all(agent);
	while (oldest(agent)) {
		struct untold untold = take_oldest(agent);

		untold_clear(&untold);
	}
	timer_clear(&agent->spool.late);
}
