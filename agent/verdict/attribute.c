#include "verdict/attribute.h"

#include <string.h>

#include "verdict/sentence.h"

static bool same_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool is_own(const struct subject *subject, const struct kube_gateway *gateway)
{
	return subject->gateway && strcmp(subject->gateway->namespace, gateway->namespace) == 0 &&
	       strcmp(subject->gateway->name, gateway->name) == 0;
}

static const struct kube_gateway *find_gateway(const struct subject *subject,
                                               const struct judge_context *context,
                                               const struct ip *observed)
{
	for (size_t i = 0; i < context->n_gateways; i++)
		if (!is_own(subject, context->gateways[i]) &&
		    prefix_contains(&context->gateways[i]->prefix, observed))
			return context->gateways[i];
	return NULL;
}

/* Any control answer will do: the node leaves by the cluster's outbound addresses only. */
static bool seen_by_node(const struct judge_context *context, const struct ip *observed)
{
	for (size_t i = 0; context->node_results && i < ECHOES_MAX; i++) {
		const struct probe_result *result = &context->node_results[i];

		if (result->finished.wall_us && result->outcome == PROBE_ANSWERED &&
		    same_ip(&result->observed, observed))
			return true;
	}
	return false;
}

enum attribution attribute(const struct subject *subject, const struct judge_context *context,
                           const struct ip *observed, char name[static 160])
{
	const struct kube_gateway *gateway;

	name[0] = '\0';
	if (subject->gateway && prefix_contains(&subject->gateway->prefix, observed))
		return ATTRIBUTION_EXPECTED;

	gateway = find_gateway(subject, context, observed);
	if (gateway) {
		sentence_set(name, 160, "%s/%s", gateway->namespace, gateway->name);
		return ATTRIBUTION_GATEWAY;
	}
	if (context->has_node_ip && same_ip(&context->node_ip, observed))
		return ATTRIBUTION_NODE;
	return seen_by_node(context, observed) ? ATTRIBUTION_OUTBOUND : ATTRIBUTION_UNKNOWN;
}

void attribute_describe(enum attribution attribution, const char *name, char *out, size_t size)
{
	switch (attribution) {
	case ATTRIBUTION_EXPECTED:
		sentence_add(out, size, "the gateway's own address");
		return;
	case ATTRIBUTION_GATEWAY:
		sentence_add(out, size, "an address of gateway %s", name);
		return;
	case ATTRIBUTION_NODE:
		sentence_add(out, size, "this node's own address");
		return;
	case ATTRIBUTION_OUTBOUND:
		sentence_add(out, size, "the cluster's outbound address");
		return;
	case ATTRIBUTION_NONE:
	case ATTRIBUTION_UNKNOWN:
	case _ATTRIBUTION_MAX:
		break;
	}
	sentence_add(out, size, "an unknown address");
}
