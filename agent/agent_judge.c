#include "agent.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

static void on_violation(void *user, const struct violation *violation,
                         enum violation_change change)
{
	struct moment now = clock_now();

	agent_spool_violation(user, violation, change, &now);
}

static struct judge_context context_of(const struct agent *agent)
{
	const struct kube_node *node = inventory_node(agent->inventory);
	struct judge_context context = {
		.gateways = agent->gateways,
		.n_gateways = agent->n_gateways,
		.node_results = agent->control,
		.node_control = agent->config->node_control,
	};

	if (node && node->has_ip) {
		context.has_node_ip = true;
		context.node_ip = node->internal_ip;
	}
	return context;
}

/* Nine system calls: once for all subjects of a tick. */
static uint64_t events_lost(const struct agent *agent)
{
	return agent->reader ? flow_reader_stats(agent->reader).lost : 0;
}

static struct judge_input input_of(struct agent *agent, struct watched *watched,
                                   const struct judge_context *context, uint64_t lost)
{
	const struct kube_gateway *gateway = watched->subject->gateway;

	return (struct judge_input){
		.subject = watched->subject,
		.gateway_nodes =
			gateway ? inventory_gateway_vm_find(agent->inventory, gateway->namespace,
		                                            gateway->name)
				: NULL,
		.settings = &agent->settings,
		.context = context,
		.observing = watched->observing,
		.events_lost = lost,
	};
}

static void judge_subject(struct agent *agent, struct watched *watched, uint64_t lost,
                          const struct moment *now)
{
	const struct subject *subject = watched->subject;
	struct judge_context context = context_of(agent);
	struct judge_input input = input_of(agent, watched, &context, lost);
	const struct flow *offending[OFFENDING_MAX];
	struct finding findings[JUDGE_FINDINGS_MAX];
	struct violation_subject who = {
		.namespace = subject->namespace,
		.pod = subject->pod,
		.uid = subject->uid,
		.gateway_namespace = subject->gateway_name ? subject->namespace : NULL,
		.gateway = subject->gateway_name,
	};
	enum subject_state before = watched->record.state;
	size_t n = 0;
	int r;

	watched->urgent = false;
	input.offending = offending;
	input.n_offending = agent_flows_offending(agent, watched, offending);

	r = judge(&watched->record, &input, now, findings, &n);
	if (r == 0)
		violations_decide(agent->violations, subject->uid,
		                  judge_decided(&watched->record, &input, now));
	if (r == 0)
		r = violations_update(agent->violations, &who, findings, n,
		                      judge_quiet_ns(&agent->settings), now);
	if (r == 0)
		agent_flows_judged(agent, watched);
	if (r < 0) { /* nothing is known, so nothing may be resolved by it */
		agent->out_of_memory++;
		log_error("not judged", "namespace", subject->namespace, "pod", subject->pod,
		          "error", strerror(-r), NULL);
	}

	/* In any case: what was verified must not stay so while nobody can judge. */
	judge_state(&watched->record, &input, violations_open(agent->violations, subject->uid),
	            now);
	if (watched->record.state != before || !watched->announced) {
		enum subject_state from = watched->announced ? before : _STATE_MAX;

		agent_spool_state(agent, watched, from, now);
	}
	watched->announced = true;
}

void agent_judge_now(struct agent *agent, struct watched *watched, const struct moment *now)
{
	judge_subject(agent, watched, events_lost(agent), now);
}

void agent_judge_round(struct agent *agent, struct watched *watched, const struct moment *now)
{
	struct judge_context context = context_of(agent);
	uint64_t lost = events_lost(agent);
	struct judge_input input = input_of(agent, watched, &context, lost);

	judge_round(&watched->record, &input, watched->round, watched->n_round, now);
	if (watched->record.alone_new)
		schedule_soon(agent->schedule, PROBE_SUBJECT_NODE, now->mono_ns);
	judge_subject(agent, watched, lost, now);
}

/* Whom a lone echo accuses is asked again as soon as that echo has answered the node. */
void agent_judge_control(struct agent *agent, const struct moment *asked, const struct moment *now)
{
	for (size_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct watched *watched = agent->watched[i];

		if (watched && watched->record.alone_new &&
		    asked->mono_ns >= watched->record.alone_since.mono_ns)
			schedule_soon(agent->schedule, (uint32_t)i, now->mono_ns);
	}
}

/* Graces end and proofs age without any event. */
void agent_judge_tick(struct agent *agent)
{
	uint64_t lost = events_lost(agent);
	struct moment now = clock_now();

	if (!agent->gateways)
		agent_judge_gateways(agent);
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i])
			judge_subject(agent, agent->watched[i], lost, &now);
}

void agent_judge_settings(struct agent *agent)
{
	const struct config *config = agent->config;
	struct judge_settings *settings = &agent->settings;

	*settings = (struct judge_settings){
		.interval_ns = config->interval_ns,
		.pending_grace_ns = config->pending_grace_ns,
		.quorum = config->quorum,
		.n_echoes = config->n_echoes,
		.once = agent->options.once,
	};
	for (size_t i = 0; i < config->n_echoes; i++) {
		settings->echo_name[i] = config->echoes[i].name;
		settings->echo_udp[i] = config->echoes[i].stun != NULL;
	}
}

/* The judge names another gateway's address; it needs them all as one array. */
void agent_judge_gateways(struct agent *agent)
{
	size_t n = inventory_gateway_count(agent->inventory);
	const struct kube_gateway **list = calloc(n + 1, sizeof(struct kube_gateway *));

	agent->n_gateways = 0;
	free(agent->gateways);
	agent->gateways = list;
	if (!list) {
		agent->out_of_memory++;
		return; /* addresses stay unattributed until the next tick */
	}

	for (size_t i = 0; i < n; i++)
		list[i] = inventory_gateway(agent->inventory, i);
	agent->n_gateways = n;
}

int agent_judge_start(struct agent *agent)
{
	agent_judge_settings(agent);
	return violations_new(on_violation, agent, &agent->violations);
}
