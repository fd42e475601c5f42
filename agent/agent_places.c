/*
 * The node's folders that the agent reads. In a container each is a mount that
 * somebody may have left out: then they are not there, or are the container's
 * own, and everything looks as if the node had no pods.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "inventory/cgroup.h"
#include "inventory/inventory.h"

#define PLACES_MAX 3
#define PLACE_TEXT_MAX 192

/* What only root may look into is there. */
static bool is_there(const char *path)
{
	return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Somebody's pods are found by their namespaces. */
static bool needs_namespaces(const struct agent *agent)
{
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i] && !agent->watched[i]->subject->host_network)
			return true;
	return false;
}

static size_t find_missing(const struct agent *agent, char out[static PLACES_MAX][PLACE_TEXT_MAX])
{
	const struct config *config = agent->config;
	size_t n = 0;

	if (!is_there(config->netns_dir))
		snprintf(out[n++], PLACE_TEXT_MAX,
		         "inventory.netnsDir %.80s is not there: no pod is probed or observed "
		         "but those of the node's network",
		         config->netns_dir);
	/* kubelet makes it before the first pod, which on a node with an API server the agent itself may be. */
	if (agent->kube && !cgroup_has_pods(config->cgroup_root))
		snprintf(
			out[n++], PLACE_TEXT_MAX,
			"inventory.cgroupRoot %.80s holds no pods: those of the node's network are "
			"not observed",
			config->cgroup_root);
	if (agent->kube && !is_there(INVENTORY_CNI_DIRECTORY))
		snprintf(out[n++], PLACE_TEXT_MAX,
		         INVENTORY_CNI_DIRECTORY " is not there: what the CNI plugin excludes "
		                                 "counts as the gateway's");
	return n;
}

void agent_places_tell(const struct agent *agent)
{
	char missing[PLACES_MAX][PLACE_TEXT_MAX];
	size_t n = find_missing(agent, missing);

	for (size_t i = 0; i < n; i++)
		log_warn("a folder of the node is missing", "what", missing[i], "remedy",
		         "in a container, mount the node's", NULL);
}

bool agent_places_ready(const struct agent *agent, char *reason, size_t size)
{
	char missing[PLACES_MAX][PLACE_TEXT_MAX];
	size_t n = find_missing(agent, missing), used = 0;

	reason[0] = '\0';
	for (size_t i = 0; i < n && used < size; i++)
		used += (size_t)snprintf(reason + used, size - used, "%s%s", used ? "; " : "",
		                         missing[i]);
	return is_there(agent->config->netns_dir) || !needs_namespaces(agent);
}
