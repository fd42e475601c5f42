/*
 * SIGTERM: an update, or the end?
 *
 * Packet programs stay in the kernel while an agent is replaced, so that
 * nothing is missed; when the DaemonSet is removed nobody would ever take them
 * out. The API server knows which it is. Without its answer they stay: what is
 * left behind does no harm, what was missed cannot be had again.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decode.h"
#include "base/log.h"
#include "kube/owner.h"

/* An answer takes milliseconds; kubelet waits 30 s before it kills. */
#define ANSWER_NS (3 * NSEC_PER_SEC)

static void ask(struct agent *agent);

static void stop(struct agent *agent, bool gone, const char *why)
{
	if (agent->kube)
		log_info(gone ? "packet programs are taken out"
		              : "packet programs stay and count on",
		         "reason", why, NULL);
	agent->gone = gone;
	timer_clear(&agent->leave.timer);
	loop_stop(agent->loop);
}

static void on_answer(void *user, const struct http_response *response)
{
	struct agent *agent = user;
	const char *what = agent->leave.questions == 1 ? "DaemonSet" : "Namespace";
	char why[128];

	agent->leave.call = NULL;
	switch (kube_owner_of(response->error == HTTP_OK ? response->status : 0, response->body,
	                      response->body_len)) {
	case KUBE_OWNER_LEAVES:
		snprintf(why, sizeof(why), "the %s is being deleted (HTTP status %u)", what,
		         response->status);
		stop(agent, true, why);
		return;
	case KUBE_OWNER_STAYS:
		if (agent->leave.questions == 1)
			ask(agent);
		else
			stop(agent, false, "the DaemonSet is to stay");
		return;
	case KUBE_OWNER_UNKNOWN:
		stop(agent, false, "the API server does not tell whether the DaemonSet is to stay");
		return;
	}
}

static int on_late(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, leave.timer);

	stop(agent, false, "the API server does not answer");
	return 0;
}

/* The DaemonSet first; a namespace that ends takes its pods before, or after, what made them. */
static void ask(struct agent *agent)
{
	char path[700];
	const struct kube_request request = {
		.path = path,
		.accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
		.timeout_ns = ANSWER_NS,
		.done = on_answer,
		.user = agent,
	};

	if (agent->leave.questions++ == 0)
		snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/daemonsets/%s",
		         agent->leave.namespace, agent->leave.daemonset);
	else
		snprintf(path, sizeof(path), "/api/v1/namespaces/%s", agent->leave.namespace);
	if (kube_client_start(agent->kube, &request, &agent->leave.call) < 0)
		stop(agent, false, "no memory to ask the API server");
}

static bool is_name(const char *text)
{
	return text && decode_is_name(text);
}

void agent_leave(struct agent *agent)
{
	const char *namespace = getenv("POD_NAMESPACE"), *daemonset = getenv("DAEMONSET_NAME");

	if (agent->leave.questions) {
		stop(agent, false, "told so twice");
		return;
	}
	if (!agent->kube || !is_name(namespace) || !is_name(daemonset)) {
		stop(agent, false, "POD_NAMESPACE and DAEMONSET_NAME name no DaemonSet");
		return;
	}
	agent->leave.namespace = namespace;
	agent->leave.daemonset = daemonset;
	if (timer_init(&agent->leave.timer, agent->loop, on_late) < 0 ||
	    timer_set(&agent->leave.timer, ANSWER_NS, 0) < 0) {
		stop(agent, false, "no timer");
		return;
	}
	ask(agent);
}

void agent_leave_stop(struct agent *agent)
{
	if (agent->leave.call)
		kube_call_cancel(agent->leave.call);
	agent->leave.call = NULL;
	timer_clear(&agent->leave.timer);
}
