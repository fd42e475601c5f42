#include "agent.h"

#include <errno.h>
#include <stdio.h>

#include <string.h>

#include "base/log.h"
#include "io/netns.h"
#include "io/privileged.h"

static int open_in_pod(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	struct watched *watched = user;
	uint16_t port;
	struct ip ip;
	int fd = -1, r;

	/* -1 would mean the agent's own namespace: the node's answer under the pod's name. */
	if (watched->subject->netns_fd < 0)
		return -ENOENT;
	if (!privileged()) {
		r = netns_socket(watched->subject->netns_fd, family, type, protocol, &fd);
	} else {
		r = probe_socket_peer(peer, &ip, &port);
		if (r == 0)
			r = privileged()->connect(watched->subject->netns_fd, type, &ip, port, &fd);
	}
	return r < 0 ? r : fd;
}

static int arm(struct agent *agent)
{
	struct moment now = clock_now();
	uint64_t wake = schedule_wake_ns(agent->schedule, now.mono_ns);

	if (wake == UINT64_MAX)
		return timer_stop(&agent->probe_timer);
	return timer_set(&agent->probe_timer, wake > now.mono_ns ? wake - now.mono_ns : 0, 0);
}

static void forget_round(struct watched *watched)
{
	free(watched->round);
	watched->round = NULL;
	watched->n_round = 0;
}

/* Most subjects wait most of the time: only a running round has room for its results. */
static void keep_result(struct agent *agent, struct watched *watched,
                        const struct probe_result *result)
{
	if (!watched->round)
		watched->round = calloc(ECHOES_MAX, sizeof(*watched->round));
	if (!watched->round)
		agent->out_of_memory++;
	else if (watched->n_round < ECHOES_MAX)
		watched->round[watched->n_round++] = *result;
}

static void take_result(struct agent *agent, const struct probe_result *result)
{
	struct moment now = clock_now();
	struct watched *watched;
	bool complete;

	complete = schedule_result(agent->schedule, result, now.mono_ns);
	report_probe(agent->report, result);
	if (result->echo >= agent->settings.n_echoes)
		return;

	if (result->subject == PROBE_SUBJECT_NODE) {
		agent->control[result->echo] = *result;
		if (complete)
			agent_judge_control(agent, &result->started, &now);
		return;
	}

	watched = result->subject < SUBJECTS_MAX ? agent->watched[result->subject] : NULL;
	if (!watched || watched->subject->generation != result->generation)
		return;

	keep_result(agent, watched, result);
	if (!complete)
		return;

	agent->last_round = now;
	/* Without memory for a single result nothing is known. */
	if (watched->n_round)
		agent_judge_round(agent, watched, &now);
	forget_round(watched);
}

static void on_result(void *user, const struct probe_result *result)
{
	struct agent *agent = user;

	take_result(agent, result);
	/* A result may free the budget that another probe waits for. */
	(void)arm(agent);
}

static void start(struct agent *agent, const struct schedule_probe *due)
{
	struct watched *watched = due->subject < SUBJECTS_MAX ? agent->watched[due->subject] : NULL;
	struct prober_request request = {
		.subject = due->subject,
		.generation = due->generation,
		.round = due->round,
		.echo = due->echo,
	};
	struct probe_result skipped;
	const char *why = due->why;
	int r = -EBUSY;

	if (watched)
		request.opener = (struct socket_opener){ open_in_pod, watched };

	if (!due->skip) {
		r = prober_start(agent->prober, &request);
		why = r == -EBUSY ? "too many probes wait already" : strerror(-r);
	}
	if (due->skip || r < 0) {
		probe_result_skipped(agent->prober, &request, why, &skipped);
		skipped.http_status = due->paused ? 429 : 0;
		agent->probes_skipped++;
		take_result(agent, &skipped);
	}
}

int agent_probes_pump(struct agent *agent)
{
	struct moment now = clock_now();
	struct schedule_probe due;

	/* Attaching keeps the loop from answers that are in time: they would look late. */
	if (!agent->schedule || agent_flows_attaching(agent))
		return 0; /* called again when it is over */
	while (schedule_next(agent->schedule, now.mono_ns, &due))
		start(agent, &due);
	return arm(agent);
}

static int on_probe_timer(struct timer *timer)
{
	return agent_probes_pump(container_of(timer, struct agent, probe_timer));
}

/* The nodes of a cluster must not fall into step: each has its own seed. */
static uint64_t seed_of(const char *node)
{
	uint64_t hash = 14695981039346656037ULL; /* FNV-1a */

	for (; *node; node++)
		hash = (hash ^ (unsigned char)*node) * 1099511628211ULL;
	return hash;
}

int agent_probes_start(struct agent *agent, char error[static 512])
{
	const struct config *config = agent->config;
	struct prober_echo echoes[ECHOES_MAX] = { 0 };
	struct prober_options options = {
		.echoes = echoes,
		.n_echoes = config->n_echoes,
		.timeout_ns = config->timeout_ns,
		.resume_tls = true,
	};
	struct schedule_settings settings = {
		.interval_ns = config->interval_ns,
		.n_echoes = config->n_echoes,
		.node_control = config->node_control,
		.seed = seed_of(config->node),
	};
	struct moment now = clock_now();
	const char *reason = NULL;
	size_t which = 0;
	int r;

	for (size_t i = 0; i < config->n_echoes; i++)
		echoes[i] = (struct prober_echo){
			.name = config->echoes[i].name,
			.url = config->echoes[i].url,
			.stun = config->echoes[i].stun,
			.json = config->echoes[i].json,
			.key = config->echoes[i].key,
			.has_resolve = config->echoes[i].has_resolve,
			.resolve = config->echoes[i].resolve,
		};

	r = prober_new(agent->loop, &options, on_result, agent, &reason, &which, &agent->prober);
	if (r < 0) {
		snprintf(error, 512, "%s: probe.echoes[%zu]: %s", agent->options.config_path, which,
		         reason ? reason : strerror(-r));
		return r;
	}

	r = schedule_new(&settings, now.mono_ns, &agent->schedule);
	if (r < 0)
		return r;
	memset(agent->control, 0, sizeof(agent->control));
	if (agent->probe_timer.fd < 0) {
		r = timer_init(&agent->probe_timer, agent->loop, on_probe_timer);
		if (r < 0)
			return r;
	}
	return timer_set(&agent->probe_timer, 0, 0);
}

void agent_probes_stop(struct agent *agent)
{
	agent->prober = prober_free(agent->prober);
	agent->schedule = schedule_free(agent->schedule);
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i]) {
			agent->watched[i]->scheduled_inode = 0;
			forget_round(agent->watched[i]);
		}
}

void agent_probes_forget(struct agent *agent, struct watched *watched)
{
	if (!watched->scheduled_inode)
		return;
	prober_cancel(agent->prober, watched->subject->number);
	schedule_remove(agent->schedule, watched->subject->number);
	watched->scheduled_inode = 0;
	forget_round(watched);
}

/* Probes need the pod's namespace; a new one ends what still runs in the old. */
void agent_probes_follow(struct agent *agent, struct watched *watched)
{
	const struct subject *subject = watched->subject;
	uint64_t inode = subject->netns_fd >= 0 ? subject->netns_inode : 0;
	struct moment now = clock_now();

	if (inode == watched->scheduled_inode)
		return;
	agent_probes_forget(agent, watched);
	/* Without a gateway no answer would be right, and the question would be the pod's only traffic. */
	if (!inode || !subject->gateway_name || agent->config->n_echoes == 0)
		return;
	schedule_add(agent->schedule, subject->number, subject->generation, subject->uid,
	             now.mono_ns);
	schedule_soon(agent->schedule, subject->number, now.mono_ns);
	watched->scheduled_inode = inode;
	(void)arm(agent);
}

void agent_probes_soon(struct agent *agent, struct watched *watched)
{
	if (!watched->scheduled_inode)
		return;
	schedule_soon(agent->schedule, watched->subject->number, clock_now().mono_ns);
	(void)arm(agent);
}
