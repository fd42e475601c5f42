#include "verdict/explain.h"

#include <assert.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "verdict/judge_parts.h"
#include "verdict/sentence.h"

#define V4_BITS 96

static const char *const live_names[] = {
	[EXPLAIN_LIVE_UNKNOWN] = "unknown",
	[EXPLAIN_LIVE_NONE] = "none",
	[EXPLAIN_LIVE_TUNNEL] = "tunnel",
	[EXPLAIN_LIVE_OTHER] = "other",
};
static_assert(sizeof(live_names) / sizeof(live_names[0]) == _EXPLAIN_LIVE_MAX,
              "a live way has no name");

static const char *const agreement_names[] = {
	[EXPLAIN_UNKNOWN] = "unknown",
	[EXPLAIN_AGREES] = "agrees",
	[EXPLAIN_DIFFERS] = "differs",
};
static_assert(sizeof(agreement_names) / sizeof(agreement_names[0]) == _EXPLAIN_AGREEMENT_MAX,
              "an agreement has no name");

const char *explain_live_name(enum explain_live live)
{
	return live_names[live];
}

const char *explain_agreement_name(enum explain_agreement agreement)
{
	return agreement_names[agreement];
}

static bool is_spec_exception(const struct kube_gateway *gateway, const struct cidr *match)
{
	for (size_t i = 0; gateway && i < gateway->n_exceptions; i++)
		if (gateway->exceptions[i].len == match->len &&
		    memcmp(&gateway->exceptions[i].net, &match->net, sizeof(match->net)) == 0)
			return true;
	return false;
}

static void describe_default(const struct subject *subject, struct explain *out)
{
	if (!subject->gateway_name)
		sentence_set(out->rule, sizeof(out->rule), "%s",
		             subject->required ? "requireGateway: the pod must not leave directly, "
		                                 "and no gateway is assigned"
		                               : "the pod has no gateway annotation");
	else if (!subject->gateway)
		sentence_set(out->rule, sizeof(out->rule),
		             "gateway %s of the annotation does not exist in namespace %s",
		             subject->gateway_name, subject->namespace);
	else if (!ip_is_v4(&out->dst))
		sentence_set(out->rule, sizeof(out->rule),
		             "gateway %s serves IPv4 only: IPv6 must not leave %s",
		             subject->gateway->name,
		             subject->gateway->default_to_gateway ? "directly" : "through it");
	else
		sentence_set(out->rule, sizeof(out->rule),
		             "defaultRoute %s of gateway %s: no exception matches",
		             subject->gateway->default_to_gateway ? "staticEgressGateway"
		                                                  : "azureNetworking",
		             subject->gateway->name);
}

static void describe_rule(const struct subject *subject, struct explain *out)
{
	const struct cidr *match = out->expected.match;

	if (match)
		cidr_format(match, out->match);
	switch (out->expected.reason) {
	case PATH_BY_CLUSTER:
		sentence_set(out->rule, sizeof(out->rule), "policy.clusterCidrs holds %s",
		             out->match);
		return;
	case PATH_BY_PLATFORM:
		sentence_set(out->rule, sizeof(out->rule),
		             "%s belongs to the platform and is never judged", out->match);
		return;
	case PATH_BY_EXCEPTION:
		sentence_set(out->rule, sizeof(out->rule), "%s holds %s",
		             is_spec_exception(subject->gateway, match)
		                     ? "spec.excludeCidrs of the gateway"
		                     : "excludedCIDRs of the node's CNI configuration",
		             out->match);
		return;
	case PATH_BY_DEFAULT:
	case PATH_BY_ORIGIN:
	case _PATH_REASON_MAX:
		break;
	}
	describe_default(subject, out);
}

/* As ip-route(8) prints it. */
static void format_route(const struct live_route *route, const char *interface,
                         char out[static EXPLAIN_TEXT_MAX])
{
	bool is_v4 = ip_is_v4(&route->dst.net) && route->dst.len >= V4_BITS;
	bool is_default = route->dst.len == (is_v4 ? V4_BITS : 0);
	char text[CIDR_TEXT_MAX];

	sentence_set(out, EXPLAIN_TEXT_MAX, "%s",
	             is_default ? "default" : cidr_format(&route->dst, text));
	if (route->has_gateway)
		sentence_add(out, EXPLAIN_TEXT_MAX, " via %s%s",
		             is_v4 && !ip_is_v4(&route->gateway) ? "inet6 " : "",
		             ip_format(&route->gateway, text));
	sentence_add(out, EXPLAIN_TEXT_MAX, " dev %s", interface);
	if (route->table != RT_TABLE_MAIN)
		sentence_add(out, EXPLAIN_TEXT_MAX, " table %u", route->table);
	if (route->protocol == RTPROT_STATIC)
		sentence_add(out, EXPLAIN_TEXT_MAX, " proto static");
	else if (route->protocol == RTPROT_KERNEL)
		sentence_add(out, EXPLAIN_TEXT_MAX, " proto kernel");
	if (route->priority)
		sentence_add(out, EXPLAIN_TEXT_MAX, " metric %u", route->priority);
}

static void look_up(const struct subject *subject, struct explain *out)
{
	const struct live_route *route;
	const struct live_link *link;
	bool certain = true;

	if (!judge_live_complete(subject))
		return;
	route = live_route_lookup(&subject->live, &out->dst, 0, &certain);
	if (route) {
		link = judge_link(subject, route->ifindex);
		sentence_set(out->interface, sizeof(out->interface), "%s", link ? link->name : "?");
		format_route(route, out->interface, out->route);
	}
	if (!certain)
		return;
	if (!route)
		out->live = EXPLAIN_LIVE_NONE;
	else if (!subject->host_network && subject->live.tunnel_ifindex &&
	         route->ifindex == subject->live.tunnel_ifindex)
		out->live = EXPLAIN_LIVE_TUNNEL;
	else
		out->live = EXPLAIN_LIVE_OTHER;
}

/*
 * The cluster is reached either way and a packet that does not leave breaks no
 * rule, IPv6 least of all: it is meant to be unreachable.
 */
static enum explain_agreement compare(const struct explain *out)
{
	if (out->live == EXPLAIN_LIVE_UNKNOWN || !out->governed)
		return EXPLAIN_UNKNOWN;
	if (out->expected.path == PATH_CLUSTER)
		return EXPLAIN_AGREES;
	if (out->live == EXPLAIN_LIVE_NONE)
		return ip_is_v4(&out->dst) ? EXPLAIN_DIFFERS : EXPLAIN_AGREES;
	return (out->live == EXPLAIN_LIVE_TUNNEL) == (out->expected.path == PATH_GATEWAY)
	               ? EXPLAIN_AGREES
	               : EXPLAIN_DIFFERS;
}

static const char *must(const struct explain *out)
{
	if (!out->governed)
		return "no rule says how it must leave";
	if (out->expected.path == PATH_GATEWAY)
		return "it must take the gateway";
	return out->expected.path == PATH_CLUSTER ? "it stays inside the cluster"
	                                          : "it must leave directly";
}

static void conclude(const struct subject *subject, struct explain *out)
{
	const char *is;

	switch (out->live) {
	case EXPLAIN_LIVE_TUNNEL:
		is = "the routes send it through the tunnel";
		break;
	case EXPLAIN_LIVE_OTHER:
		is = "the routes send it past the tunnel";
		break;
	case EXPLAIN_LIVE_NONE:
		is = "no route leads there";
		break;
	case EXPLAIN_LIVE_UNKNOWN:
	case _EXPLAIN_LIVE_MAX:
	default:
		is = subject->live.readable ? "the routes are not fully known"
		                            : "the pod's routes cannot be read";
	}
	out->agreement = compare(out);
	sentence_set(out->verdict, sizeof(out->verdict), "%s%s %s", must(out),
	             out->agreement == EXPLAIN_DIFFERS  ? ", but"
	             : out->agreement == EXPLAIN_AGREES ? ", and"
	                                                : ";",
	             is);
}

static void collect(const struct flow *const *flows, size_t n_flows, struct explain *out)
{
	for (size_t i = 0; i < n_flows; i++) {
		const struct flow *flow = flows[i];

		if (memcmp(&flow->key.remote, &out->dst, sizeof(out->dst)) != 0)
			continue;
		out->n_flows++;
		out->packets += flow->packets;
		out->bytes += flow->bytes;
		if (!out->newest || flow->last.mono_ns > out->newest->last.mono_ns)
			out->newest = flow;
	}
}

void explain(const struct subject *subject, const struct ip *dst, const struct flow *const *flows,
             size_t n_flows, struct explain *out)
{
	const struct live_link *tunnel;

	*out = (struct explain){ .dst = *dst };
	out->expected = path_expect(&subject->policy, dst, false);
	out->governed = subject->gateway || out->expected.path == PATH_CLUSTER;
	describe_rule(subject, out);

	tunnel = subject->host_network ? NULL : judge_link(subject, subject->live.tunnel_ifindex);
	if (out->governed && out->expected.path == PATH_GATEWAY && tunnel)
		memcpy(out->must_interface, tunnel->name, sizeof(out->must_interface));
	look_up(subject, out);
	conclude(subject, out);
	collect(flows, n_flows, out);
}
