#include "agent.h"

#include <ctype.h>
#include <stdio.h>

#include "limits.h"

#define GATEWAY_API "egressgateway.kubernetes.azure.com/v1alpha1"

/* "gateway-bypass" → "GatewayBypass", "GatewayBypassResolved" */
static void write_reason(const struct violation *violation, bool opened,
                         char out[static KUBE_EVENT_TEXT_MAX])
{
	bool begins = true;
	size_t n = 0;

	for (const char *p = violation_kind_name(violation->kind); *p; p++) {
		if (*p != '-')
			out[n++] = begins ? (char)toupper((unsigned char)*p) : *p;
		begins = *p == '-';
	}
	snprintf(out + n, KUBE_EVENT_TEXT_MAX - n, "%s", opened ? "" : "Resolved");
}

/*
 * An agent that was restarted finds open what it had told: the same id again. Where
 * the beginning is the kernel's, the violation's own is; where it is the agent's reading of
 * a clock, what began within the same hour counts as the same, which is how long the API
 * server keeps an event. Only what is open is found again.
 */
static const char *write_id(const struct violation *violation, bool opened,
                            char out[static sizeof(violation->id)])
{
	if (!opened)
		return NULL;
	if (violations_kernel_timed(violation->kind))
		return violation->id;
	snprintf(out, sizeof(violation->id), "hour %lld",
	         (long long)(violation->first.wall_us / 3600000000));
	return out;
}

static struct kube_reference pod_of(const struct violation *violation)
{
	return (struct kube_reference){
		.api_version = "v1",
		.kind = "Pod",
		.namespace = violation->namespace,
		.name = violation->pod,
		.uid = violation->uid,
	};
}

/* Without a kind when there is no such object. */
static struct kube_reference gateway_of(const struct agent *agent,
                                        const struct violation *violation)
{
	const struct kube_gateway *gateway = NULL;

	if (violation->gateway && violation->gateway_namespace)
		gateway = inventory_gateway_find(agent->inventory, violation->gateway_namespace,
		                                 violation->gateway);
	if (!gateway)
		return (struct kube_reference){ 0 };
	return (struct kube_reference){
		.api_version = GATEWAY_API,
		.kind = "StaticGatewayConfiguration",
		.namespace = gateway->namespace,
		.name = gateway->name,
		.uid = gateway->uid,
	};
}

void agent_event(struct agent *agent, const struct violation *violation,
                 enum violation_change change)
{
	char reason[KUBE_EVENT_TEXT_MAX], id[sizeof(violation->id)];
	char note[REASON_MAX + REMEDY_MAX + 32], whose[sizeof(note) + 2 * KUBE_NAME_MAX + 32];
	bool opened = change == VIOLATION_OPENED;
	struct moment now = clock_now();
	struct kube_event event = {
		.regarding = pod_of(violation),
		.warning = opened,
		.reason = reason,
		.action = "Verify",
		.note = note,
	};

	if (!agent->recorder)
		return;
	event.related = gateway_of(agent, violation);
	event.id = write_id(violation, opened, id);
	write_reason(violation, opened, reason);
	if (opened)
		snprintf(note, sizeof(note), "%s. To do: %s", violation->reason, violation->remedy);
	else
		snprintf(note, sizeof(note), "resolved: %s", violation->reason);
	kube_recorder_add(agent->recorder, &event, &now);
	if (!event.related.kind)
		return;

	/* The gateway's list tells of many pods. */
	snprintf(whose, sizeof(whose), "pod %s/%s: %s", violation->namespace, violation->pod, note);
	event.regarding = event.related;
	event.related = pod_of(violation);
	event.note = whose;
	kube_recorder_add(agent->recorder, &event, &now);
}
