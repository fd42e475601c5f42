/*
 * SIGTERM: an update, or the end?
 *
 * Packet programs stay in the kernel while an agent is replaced, so that
 * nothing is missed; when the DaemonSet is removed nobody would ever take them
 * out. The API server knows which it is. Without its answer they stay: what is
 * left behind does no harm, what was missed cannot be had again.
 *
 * The rights to ask end with what is removed, because kubectl deletes the role
 * with the rest. So a refusal is an answer, too: of an agent that was once
 * allowed to ask, and whose pod is still listed. A pod that was deleted by force
 * has lost its token as well, but is no longer listed, and has a successor.
 * Because an API server that has just begun refuses everybody for a moment, and
 * tells of deleted pods a moment later, a refusal counts when it comes twice.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decode.h"
#include "base/log.h"
#include "kube/owner.h"

/* An answer takes milliseconds; kubelet kills after the pod's terminationGracePeriodSeconds. */
#define ANSWER_NS (3 * NSEC_PER_SEC)
/* Until a refusal is asked again. */
#define AGAIN_NS (1 * NSEC_PER_SEC)
/* Between two tries to learn whether asking is allowed. */
#define TRY_NS (60 * NSEC_PER_SEC)

/* For what still waits to be at the collector when the spool goes with the rest; and how often to look. */
#define FLUSH_NS (3 * NSEC_PER_SEC)
#define FLUSH_TICK_NS (50 * NSEC_PER_MSEC)

static const char *name_in(const char *variable)
{
	const char *text = getenv(variable);

	return text && decode_is_name(text) ? text : NULL;
}

/* From the DaemonSet's environment: fields of the downward API. */
#define NAMESPACE name_in("POD_NAMESPACE")
#define DAEMONSET name_in("DAEMONSET_NAME")
#define POD name_in("POD_NAME")

static enum kube_owner owner_of(const struct http_response *response)
{
	return kube_owner_of(response->error == HTTP_OK ? response->status : 0, response->body,
	                     response->body_len);
}

static int ask(struct agent *agent, bool for_namespace, http_done_fn done)
{
	char path[700];
	const struct kube_request request = {
		.path = path,
		.accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
		.timeout_ns = ANSWER_NS,
		.done = done,
		.user = agent,
	};

	if (for_namespace)
		snprintf(path, sizeof(path), "/api/v1/namespaces/%s", NAMESPACE);
	else
		snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/daemonsets/%s", NAMESPACE,
		         DAEMONSET);
	return kube_client_start(agent->kube, &request, &agent->leave.call);
}

/* While it runs */

static void on_allowed(void *user, const struct http_response *response)
{
	struct agent *agent = user;

	agent->leave.call = NULL;
	agent->leave.allowed = owner_of(response) == KUBE_OWNER_STAYS;
}

void agent_leave_prepare(struct agent *agent)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (agent->leave.allowed || agent->leave.call || agent->stopping || !agent->kube ||
	    now_ns < agent->leave.next_ns || !NAMESPACE || !DAEMONSET)
		return;
	agent->leave.next_ns = now_ns + TRY_NS;
	(void)ask(agent, false, on_allowed);
}

/* When it ends */

static int on_flush(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, leave.timer);
	bool done = agent_export_done(agent);

	if (!done && clock_now().mono_ns < agent->leave.flush_until_ns)
		return 0;
	if (!done)
		log_warn("reports that the collector has not taken go with the agent", NULL);
	loop_stop(agent->loop);
	return 0;
}

/* Nothing of the spool stays on the node: what waits there is sent now or never. */
static bool is_flushing(struct agent *agent)
{
	if (!agent->gone || agent_export_done(agent))
		return false;
	agent->leave.flush_until_ns = clock_now().mono_ns + FLUSH_NS;
	return timer_init(&agent->leave.timer, agent->loop, on_flush) == 0 &&
	       timer_set(&agent->leave.timer, FLUSH_TICK_NS, FLUSH_TICK_NS) == 0;
}

static void stop(struct agent *agent, bool gone, const char *why)
{
	if (agent->kube)
		log_info(gone ? "packet programs are taken out"
		              : "packet programs stay and count on",
		         "reason", why, NULL);
	agent->gone = gone;
	timer_clear(&agent->leave.timer);
	if (!is_flushing(agent))
		loop_stop(agent->loop);
}

static void refused(struct agent *agent)
{
	if (!agent->leave.allowed)
		stop(agent, false, "the agent may not ask whether its DaemonSet is to stay");
	else if (!POD || !inventory_lists_pod(agent->inventory, NAMESPACE, POD))
		stop(agent, false, "the agent's pod was deleted by force");
	else if (agent->leave.refused)
		stop(agent, true, "the agent's rights were removed");
	else if (timer_set(&agent->leave.timer, AGAIN_NS, 0) < 0)
		stop(agent, false, "the API server cannot be asked again");
	else
		agent->leave.refused = true;
}

static void decide(struct agent *agent, const struct http_response *response, const char *what)
{
	char why[64];

	switch (owner_of(response)) {
	case KUBE_OWNER_STAYS:
		stop(agent, false, "the DaemonSet is to stay");
		return;
	case KUBE_OWNER_LEAVES:
		snprintf(why, sizeof(why), "the %s is removed", what);
		stop(agent, true, why);
		return;
	case KUBE_OWNER_REFUSED:
		refused(agent);
		return;
	case KUBE_OWNER_UNKNOWN:
		stop(agent, false, "the API server does not tell whether the DaemonSet is to stay");
		return;
	}
}

static void on_namespace(void *user, const struct http_response *response)
{
	struct agent *agent = user;

	agent->leave.call = NULL;
	if (owner_of(response) == KUBE_OWNER_REFUSED && agent->leave.refused)
		stop(agent, false, "the DaemonSet is to stay; its Namespace may not be asked for");
	else
		decide(agent, response, "Namespace");
}

/* A namespace that ends may take its pods before what made them. */
static void on_daemonset(void *user, const struct http_response *response)
{
	struct agent *agent = user;

	agent->leave.call = NULL;
	if (owner_of(response) != KUBE_OWNER_STAYS)
		decide(agent, response, "DaemonSet");
	else if (ask(agent, true, on_namespace) < 0)
		stop(agent, false, "no memory to ask the API server");
}

static void ask_all(struct agent *agent)
{
	if (timer_set(&agent->leave.timer, ANSWER_NS, 0) < 0 || ask(agent, false, on_daemonset) < 0)
		stop(agent, false, "no memory to ask the API server");
}

/* The answer is late, or it was a refusal and the pause after it is over. */
static int on_timer(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, leave.timer);

	if (agent->leave.call)
		stop(agent, false, "the API server does not answer");
	else
		ask_all(agent);
	return 0;
}

void agent_leave(struct agent *agent)
{
	if (agent->gone) { /* that is known, and only the collector was waited for */
		loop_stop(agent->loop);
		return;
	}
	if (agent->leave.asked) {
		stop(agent, false, "told so twice");
		return;
	}
	agent->leave.asked = true;
	agent_leave_stop(agent); /* the question of whether it may ask */
	if (!agent->kube || !NAMESPACE || !DAEMONSET)
		stop(agent, false, "POD_NAMESPACE and DAEMONSET_NAME name no DaemonSet");
	else if (timer_init(&agent->leave.timer, agent->loop, on_timer) < 0)
		stop(agent, false, "no memory to ask the API server");
	else
		ask_all(agent);
}

void agent_leave_stop(struct agent *agent)
{
	if (agent->leave.call)
		kube_call_cancel(agent->leave.call);
	agent->leave.call = NULL;
	timer_clear(&agent->leave.timer);
}
