#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Remembers that this flow of the subject took a wrong way. */
static void remember_offending(struct watched *watched, const struct flow *flow)
{
	struct flow_ref ref = flow_table_ref(flow);
	size_t capacity = watched->offending_capacity;

	for (size_t i = 0; i < watched->n_offending; i++)
		if (watched->offending[i].place == ref.place &&
		    watched->offending[i].serial == ref.serial)
			return;

	if (watched->n_offending == capacity && capacity < OFFENDING_MAX) {
		size_t more = capacity ? capacity * 2 : 8;
		struct flow_ref *grown =
			realloc(watched->offending, more * sizeof(*watched->offending));

		if (grown) {
			watched->offending = grown;
			watched->offending_capacity = more;
		}
	}
	if (watched->n_offending == watched->offending_capacity) {
		/* The newest are what goes on now; old ones may have ended long ago. */
		if (watched->offending_capacity)
			watched->offending[watched->offending_refused++ %
			                   watched->offending_capacity] = ref;
		return;
	}
	watched->offending[watched->n_offending++] = ref;
}

static void classify(struct watched *watched, struct flow *flow)
{
	enum violation_kind kind;

	judge_flow(watched->subject, flow, &kind);
	if (!flow->offending)
		return;
	remember_offending(watched, flow);
	/* The first of its kind is told at once; what follows is counted at the next tick. */
	if (!watched->record.streak[kind].since.wall_us)
		watched->urgent = true;
}

static struct watched *watched_of(struct agent *agent, const struct flow *flow)
{
	return flow->key.subject < SUBJECTS_MAX ? agent->watched[flow->key.subject] : NULL;
}

static void on_opened(void *user, struct flow *flow, bool is_new)
{
	struct agent *agent = user;
	struct watched *watched = watched_of(agent, flow);

	if (!watched)
		return;
	classify(watched, flow);
	if (is_new)
		report_flow_opened(agent->report, flow->path);
}

static void on_updated(void *user, struct flow *flow, const struct flow_delta *delta)
{
	struct agent *agent = user;
	struct watched *watched = watched_of(agent, flow);
	struct moment now;

	report_flow_updated(agent->report, flow->path, delta);
	if (!watched || !flow->offending)
		return;

	/* A flow that went on after a quiet time begins anew. */
	classify(watched, flow);
	if (watched->urgent) {
		now = clock_now();
		agent_judge_now(agent, watched, &now);
	}
}

static void on_failed(void *user, struct flow *flow, int error)
{
	(void)user;
	(void)flow;
	(void)error; /* flow->failed counts it */
}

static void on_adopted(void *user, uint32_t number, const char *uid)
{
	struct agent *agent = user;
	int r;

	r = inventory_reserve(agent->inventory, number, uid);
	if (r < 0)
		log_warn("subject of an earlier run not taken over", "uid", uid, "error",
		         strerror(-r), NULL);
}

/* What matters first: the programs take FLOW_LINKS_MAX, and a pod may add interfaces at will. */
static unsigned int rank_of(const struct live *live, const struct live_link *link)
{
	if (link->ifindex == live->tunnel_ifindex)
		return 0;
	return strcmp(link->kind, "veth") == 0 ? 1 : 2;
}

static size_t links_of(const struct subject *subject, struct flow_link *out)
{
	const struct live *live = &subject->live;
	size_t n = 0;

	for (unsigned int rank = 0; rank <= 2; rank++)
		for (size_t i = 0; i < live->n_links && n < LIVE_LINKS_MAX; i++) {
			const struct live_link *link = &live->links[i];

			if (!link->loopback && rank_of(live, link) == rank)
				out[n++] = (struct flow_link){ .ifindex = link->ifindex,
					                       .is_tunnel = rank == 0 };
		}
	return n;
}

static bool can_attach(const struct subject *subject)
{
	if (subject->host_network)
		return subject->cgroup_path != NULL;
	return subject->netns_fd >= 0 && subject->live.readable;
}

static void attach(struct agent *agent, struct watched *watched)
{
	const struct subject *subject = watched->subject;
	struct flow_link links[LIVE_LINKS_MAX];
	struct flow_loader_error error = { "" };
	int r;

	watched->attach_due = false;
	if (!can_attach(subject))
		return; /* comes with the namespace, the cgroup or the links */

	if (subject->host_network)
		r = flow_client_attach_cgroup(agent->packets, subject->number, subject->uid,
		                              subject->cgroup_path, &error);
	else
		r = flow_client_attach(agent->packets, subject->number, subject->uid,
		                       subject->netns_fd, links, links_of(subject, links), &error);

	watched->observing = r == 0;
	snprintf(watched->attach_error, sizeof(watched->attach_error), "%s",
	         r < 0 ? error.text : "");
	if (r < 0)
		log_warn("pod is not observed", "namespace", subject->namespace, "pod",
		         subject->pod, "reason", error.text, NULL);
}

/* A listed pod whose namespace or cgroup is not found yet. */
static bool is_awaited(void *user, uint32_t number)
{
	return ((struct agent *)user)->watched[number] != NULL;
}

/*
 * What no listed pod claimed belongs to pods that went while no agent was here.
 * Their numbers are given away again, and their flows must not go with them. An
 * inventory that could not be read yet claims nothing and condemns nothing.
 */
static void drop_unclaimed(struct agent *agent)
{
	if (agent->claimed || !agent_source_complete(agent))
		return;
	agent->claimed = flow_client_drop_unclaimed(agent->packets, is_awaited, agent);
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++)
		if (!agent->watched[i])
			flow_table_remove_subject(agent->flows, i);
}

/*
 * One pod in a turn of the loop: the kernel waits for all its CPUs at each
 * attachment, 20 ms and more per pod, and the others' events and answers must not.
 */
static int on_attach_timer(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, attach_timer);

	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i] && agent->watched[i]->attach_due) {
			attach(agent, agent->watched[i]);
			return timer_set(timer, 0, 0);
		}
	drop_unclaimed(agent);
	return agent_probes_pump(agent);
}

bool agent_flows_attaching(const struct agent *agent)
{
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i] && agent->watched[i]->attach_due)
			return true;
	return false;
}

void agent_flows_attach(struct agent *agent, struct watched *watched)
{
	if (!agent->packets) {
		snprintf(watched->attach_error, sizeof(watched->attach_error), "%s",
		         agent->bpf_error);
		return;
	}
	if (!can_attach(watched->subject)) {
		watched->observing = false;
		watched->attach_error[0] = '\0';
		return;
	}
	if (flow_client_is_attached(agent->packets, watched->subject->number)) {
		attach(agent, watched); /* only what changed costs */
		return;
	}
	watched->attach_due = true;
	(void)timer_set(&agent->attach_timer, 0, 0);
}

int agent_flows_start(struct agent *agent)
{
	struct flow_reader_callbacks callbacks = {
		.opened = on_opened,
		.updated = on_updated,
		.failed = on_failed,
		.user = agent,
	};
	struct flow_loader_error error = { "" };
	struct flow_source source;
	int r;

	r = flow_table_new(FLOWS_MAX, &agent->flows);
	if (r == 0)
		r = timer_init(&agent->attach_timer, agent->loop, on_attach_timer);
	if (r < 0)
		return r;

	r = flow_client_new(&error, &agent->packets);
	if (r < 0) {
		snprintf(agent->bpf_error, sizeof(agent->bpf_error), "%s", error.text);
		if (r == -EBUSY)
			return r;
		log_error("no packets are observed", "reason", error.text, NULL);
		return 0; /* probes and live configuration still tell something */
	}
	flow_client_adopted(agent->packets, on_adopted, agent);
	flow_client_source(agent->packets, &source);
	return flow_reader_new(&source, agent->loop, agent->flows, &callbacks, &agent->reader);
}

/* Ticks between two tries of what failed: a link may have come right without any event. */
#define RETRY_TICKS 10

void agent_flows_settle(struct agent *agent)
{
	bool retry = ++agent->ticks % RETRY_TICKS == 0;

	if (!agent->packets)
		return;
	for (size_t i = 0; retry && i < SUBJECTS_MAX; i++)
		if (agent->watched[i] && agent->watched[i]->attach_error[0])
			agent->watched[i]->attach_due = true;
	if (!agent->claimed || retry)
		(void)timer_set(&agent->attach_timer, 0, 0);
}

void agent_flows_stop(struct agent *agent)
{
	timer_clear(&agent->attach_timer);
	agent->reader = flow_reader_free(agent->reader);
	/* Programs stay where they are and count on, so that an update misses nothing. */
	agent->packets = flow_client_free(agent->packets, !agent->options.once && !agent->gone);
}

void agent_flows_detach(struct agent *agent, struct watched *watched)
{
	if (agent->reader)
		flow_reader_remove_subject(agent->reader, watched->subject->number);
	if (agent->packets)
		flow_client_detach(agent->packets, watched->subject->number);
	watched->observing = false;
}

static int reclassify(void *user, struct flow *flow)
{
	struct watched *watched = user;

	/* It was judged by what held then; what holds now is not for what ended before. */
	if (watched->caught_up)
		flow->unjudged = false;
	classify(watched, flow);
	return 0;
}

/* The policy or the interfaces changed: every flow is judged anew. */
void agent_flows_classify(struct agent *agent, struct watched *watched)
{
	watched->n_offending = 0;
	watched->offending_refused = 0;
	(void)flow_table_each_of(agent->flows, watched->subject->number, reclassify, watched);
}

/* All is known that a flow's way is judged by. */
static bool is_decided(const struct subject *subject)
{
	return !subject->gateway_unknown && (subject->host_network || subject->live.readable);
}

void agent_flows_judged(struct agent *agent, struct watched *watched)
{
	watched->caught_up = watched->caught_up || is_decided(watched->subject);
	for (size_t i = 0; i < watched->n_offending; i++) {
		struct flow *flow = flow_table_get(agent->flows, watched->offending[i]);

		if (flow)
			flow->unjudged = false;
	}
}

size_t agent_flows_offending(struct agent *agent, struct watched *watched,
                             const struct flow *list[static OFFENDING_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < watched->n_offending; i++) {
		const struct flow *flow = flow_table_get(agent->flows, watched->offending[i]);

		if (!flow || !flow->offending) /* evicted, or right under the new policy */
			continue;
		watched->offending[n] = watched->offending[i];
		list[n++] = flow;
	}
	watched->n_offending = n;
	return n;
}
