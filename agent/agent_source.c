/*
 * Where objects come from: a file, or the API server.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"

/* Who says so in events. */
#define REPORTING_CONTROLLER "egress-verifier"
/* Agents of all nodes that start at once spread their first lists over this, each at its own place. */
#define START_SPREAD_MS 2000

static uint64_t start_delay_ns(const struct agent *agent)
{
	if (agent->options.once)
		return 0;
	/* The same node has the same place. */
	return hash_text(HASH_SEED, agent->config->node) % START_SPREAD_MS * NSEC_PER_MSEC;
}

static int start_kube(struct agent *agent, char error[static 512])
{
	const struct source_kube_options options = { .node = agent->config->node,
		                                     .delay_ns = start_delay_ns(agent) };
	int r;

	r = kube_client_new(agent->loop, &agent->api_server, &agent->kube, error);
	if (r < 0)
		return r;
	r = source_kube_new(agent->loop, agent->kube, agent->inventory, &options,
	                    &agent->source_kube);
	if (r == 0 && !agent->options.once)
		r = kube_recorder_new(agent->loop, agent->kube, REPORTING_CONTROLLER,
		                      agent->config->node, &agent->recorder);
	if (r < 0)
		snprintf(error, 512, "inventory from the API server: %s", strerror(-r));
	return r;
}

static int start_file(struct agent *agent, char error[static 512])
{
	const char *path = agent->config->inventory_file;
	int r;

	r = source_file_new(agent->loop, path, agent->inventory, &agent->source_file);
	if (r < 0)
		snprintf(error, 512, "%s: %s", path, strerror(-r));
	return r;
}

int agent_source_load(struct agent *agent, char error[static 512])
{
	if (agent->config->source_file)
		return 0;
	return agent_api_server(agent->config, &agent->api_server, error);
}

const struct kube_server *agent_source_server(const struct agent *agent)
{
	if (agent->config->source_file)
		return NULL;
	return agent->kube ? kube_client_server(agent->kube) : &agent->api_server;
}

int agent_source_start(struct agent *agent, char error[static 512])
{
	return agent->config->source_file ? start_file(agent, error) : start_kube(agent, error);
}

void agent_source_stop(struct agent *agent)
{
	agent->source_file = source_file_free(agent->source_file);
	agent->source_kube = source_kube_free(agent->source_kube);
	agent->recorder = kube_recorder_free(agent->recorder);
	agent->kube = kube_client_free(agent->kube);
	kube_server_clear(&agent->api_server);
}

void agent_source_reload(struct agent *agent)
{
	if (agent->source_file)
		(void)source_file_reload(agent->source_file);
}

bool agent_source_complete(const struct agent *agent)
{
	if (agent->source_file)
		return source_file_stats(agent->source_file)->reloads > 0;
	return agent->source_kube && source_kube_synced(agent->source_kube);
}

bool agent_source_settled(const struct agent *agent)
{
	return agent->source_file ||
	       (agent->source_kube && source_kube_settled(agent->source_kube));
}

bool agent_source_ready(const struct agent *agent, char *reason, size_t size)
{
	struct moment now = clock_now();

	if (agent->source_file) {
		const struct source_file_stats *stats = source_file_stats(agent->source_file);
		bool good = !stats->last_error[0];

		snprintf(reason, size, "%s", good ? stats->last_refusal : stats->last_error);
		return good;
	}
	if (agent->source_kube)
		return source_kube_ready(agent->source_kube, &now, reason, size);
	snprintf(reason, size, "not read yet");
	return false;
}

uint64_t agent_source_refused(const struct agent *agent)
{
	if (agent->source_file)
		return source_file_stats(agent->source_file)->refused;
	return agent->source_kube ? source_kube_refused(agent->source_kube) : 0;
}
