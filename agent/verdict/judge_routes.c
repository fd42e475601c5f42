/*
 * Live routes against what the objects say now.
 *
 * Both are functions of the destination that change only where some prefix
 * begins or ends. So comparing them at the first address of every prefix, and
 * at the first address behind it, compares them everywhere: overlapping,
 * nested and duplicate prefixes need no care.
 */
#include "verdict/judge_parts.h"

#include <linux/rtnetlink.h>
#include <string.h>

#include "base/hash.h"
#include "verdict/remedy.h"
#include "verdict/sentence.h"

#define V4_BITS 96
#define MAIN_TABLE RT_TABLE_MAIN

enum want { WANT_ANY, WANT_TUNNEL, WANT_OTHER };

struct compare {
	const struct subject *subject;
	bool stale;
	struct ip at;
	char reason[REASON_MAX];
};

static bool is_v4_prefix(const struct cidr *cidr)
{
	return cidr->len >= V4_BITS && ip_is_v4(&cidr->net);
}

static const struct cidr *exception_of(const struct subject *subject, const struct ip *dst)
{
	for (size_t i = 0; i < subject->policy.n_exceptions; i++)
		if (cidr_contains(&subject->policy.exceptions[i], dst))
			return &subject->policy.exceptions[i];
	return NULL;
}

/* Exceptions before the cluster: a listed CIDR must have its route wherever it lies. */
static enum want want_at(const struct subject *subject, const struct ip *dst)
{
	bool by_default = subject->policy.default_path == PATH_GATEWAY;

	if (exception_of(subject, dst))
		return by_default ? WANT_OTHER : WANT_TUNNEL;
	if (path_expect(&subject->policy, dst, false).path == PATH_CLUSTER)
		return WANT_ANY;
	return by_default ? WANT_TUNNEL : WANT_OTHER;
}

/*
 * A route past the tunnel that somebody set. Link routes (the next hop's /32)
 * belong to the interface; and what the CNI configuration excludes must be
 * known before anything may be called extra.
 */
static bool is_extra(const struct subject *subject, const struct live_route *route)
{
	return subject->cni_known && route->has_gateway &&
	       (route->protocol == RTPROT_STATIC || route->protocol == RTPROT_BOOT);
}

static const char *link_name(const struct subject *subject, uint32_t ifindex)
{
	const struct live_link *link = judge_link(subject, ifindex);

	return link ? link->name : "another interface";
}

static void differ(struct compare *compare, const struct ip *at)
{
	compare->stale = true;
	compare->at = *at;
}

static void compare_tunnel(struct compare *compare, const struct ip *at,
                           const struct live_route *route)
{
	const struct cidr *listed = exception_of(compare->subject, at);
	char text[CIDR_TEXT_MAX], address[IP_TEXT_MAX];

	if (route->ifindex == compare->subject->live.tunnel_ifindex)
		return;
	if (listed) {
		differ(compare, at);
		sentence_set(compare->reason, REASON_MAX,
		             "excludeCidrs lists %s for the gateway, but the pod's routes send %s "
		             "to %s",
		             cidr_format(listed, text), ip_format(at, address),
		             link_name(compare->subject, route->ifindex));
	} else if (is_extra(compare->subject, route)) {
		differ(compare, at);
		sentence_set(
			compare->reason, REASON_MAX,
			"the pod's route to %s leaves by %s, but the gateway does not exclude %s",
			cidr_format(&route->dst, text), link_name(compare->subject, route->ifindex),
			ip_format(at, address));
	}
}

static void compare_other(struct compare *compare, const struct ip *at,
                          const struct live_route *route)
{
	const struct cidr *listed = exception_of(compare->subject, at);
	char text[CIDR_TEXT_MAX], address[IP_TEXT_MAX];

	if (route->ifindex != compare->subject->live.tunnel_ifindex)
		return;
	differ(compare, at);
	if (listed)
		sentence_set(compare->reason, REASON_MAX,
		             "%s is excluded from the gateway, but the pod's routes send %s to it",
		             cidr_format(listed, text), ip_format(at, address));
	else
		sentence_set(compare->reason, REASON_MAX,
		             "the pod's route to %s uses the gateway, but excludeCidrs does not "
		             "list %s (azureNetworking)",
		             cidr_format(&route->dst, text), ip_format(at, address));
}

static bool is_local(const struct live *live, const struct ip *dst)
{
	for (size_t i = 0; i < live->n_routes; i++)
		if (live->routes[i].table == RT_TABLE_LOCAL &&
		    cidr_contains(&live->routes[i].dst, dst))
			return true;
	return false;
}

/*
 * Nothing is concluded where a rule that we do not model could decide, nor from
 * a destination that nothing leads to: it fails closed.
 */
static void compare_at(struct compare *compare, const struct ip *at)
{
	const struct live *live = &compare->subject->live;
	enum want want = want_at(compare->subject, at);
	const struct live_route *route;
	bool certain = true;

	if (want == WANT_ANY || is_local(live, at))
		return;
	route = live_route_lookup(live, at, 0, &certain);
	if (!route || !certain || !route->ifindex)
		return;
	if (want == WANT_TUNNEL)
		compare_tunnel(compare, at, route);
	else
		compare_other(compare, at, route);
}

/* The first address behind the prefix; false at the end of the address space. */
static bool behind(const struct cidr *cidr, struct ip *out)
{
	struct ip ip = cidr->net;
	uint32_t address = (uint32_t)ip.b[12] << 24 | (uint32_t)ip.b[13] << 16 |
	                   (uint32_t)ip.b[14] << 8 | ip.b[15];
	uint64_t next = (uint64_t)address + (1ULL << (128 - cidr->len));

	if (next > UINT32_MAX)
		return false;
	ip.b[12] = (uint8_t)(next >> 24);
	ip.b[13] = (uint8_t)(next >> 16);
	ip.b[14] = (uint8_t)(next >> 8);
	ip.b[15] = (uint8_t)next;
	*out = ip;
	return true;
}

static void compare_edges(struct compare *compare, const struct cidr *cidr)
{
	struct ip next;

	if (compare->stale || !is_v4_prefix(cidr))
		return;
	compare_at(compare, &cidr->net);
	if (!compare->stale && behind(cidr, &next))
		compare_at(compare, &next);
}

static void compare_list(struct compare *compare, const struct cidr *list, size_t n)
{
	for (size_t i = 0; i < n && !compare->stale; i++)
		compare_edges(compare, &list[i]);
}

/* First and by itself: when it is turned round everything differs, and this says why. */
static void compare_default(struct compare *compare)
{
	const struct live *live = &compare->subject->live;
	bool to_gateway = compare->subject->policy.default_path == PATH_GATEWAY;
	const struct live_route *best = NULL;
	struct ip any;

	for (size_t i = 0; i < live->n_routes; i++) {
		const struct live_route *route = &live->routes[i];

		if (route->table == MAIN_TABLE && route->dst.len == V4_BITS &&
		    ip_is_v4(&route->dst.net) && (!best || route->priority < best->priority))
			best = route;
	}
	if (ip_parse("0.0.0.0", &any) < 0 || (best && !best->ifindex))
		return; /* several next hops, or a blackhole: the edges will tell */
	if (best && (best->ifindex == live->tunnel_ifindex) == to_gateway)
		return;

	differ(compare, &any);
	if (!best)
		sentence_set(compare->reason, REASON_MAX, "the pod has no default route");
	else
		sentence_set(compare->reason, REASON_MAX,
		             "the pod's default route leaves by %s, but defaultRoute is %s",
		             link_name(compare->subject, best->ifindex),
		             to_gateway ? "staticEgressGateway" : "azureNetworking");
}

static void compare_all(struct compare *compare)
{
	const struct subject *subject = compare->subject;
	size_t n_platform;
	const struct cidr *platform = path_platform(&n_platform);

	compare_default(compare);
	compare_list(compare, subject->policy.exceptions, subject->policy.n_exceptions);
	for (size_t i = 0; i < subject->live.n_routes && !compare->stale; i++)
		compare_edges(compare, &subject->live.routes[i].dst);
	compare_list(compare, subject->policy.cluster, subject->policy.n_cluster);
	compare_list(compare, platform, n_platform);
}

static uint64_t key_of(const struct subject *subject)
{
	const struct path_policy *policy = &subject->policy;
	const uint64_t facts[] = { subject->live.read_at.mono_ns, subject->live.tunnel_ifindex,
		                   policy->default_path,          subject->cni_known,
		                   policy->n_exceptions,          policy->n_cluster };
	uint64_t h = hash_bytes(HASH_SEED, facts, sizeof(facts));

	if (policy->n_exceptions)
		h = hash_bytes(h, policy->exceptions,
		               policy->n_exceptions * sizeof(*policy->exceptions));
	if (policy->n_cluster)
		h = hash_bytes(h, policy->cluster, policy->n_cluster * sizeof(*policy->cluster));
	return h;
}

static bool is_judged(const struct subject *subject)
{
	return subject->gateway && !subject->gateway->deleted_us && !subject->host_network &&
	       judge_live_complete(subject) && subject->live.tunnel_ifindex;
}

void judge_track_routes(struct judge_record *record, const struct judge_input *input,
                        const struct moment *now)
{
	const struct subject *subject = input->subject;
	struct compare compare = { .subject = subject };
	bool was_stale = record->routes_stale;
	uint64_t key;

	if (!is_judged(subject)) {
		record->routes_stale = false;
		record->routes_key = 0;
		return;
	}
	key = key_of(subject);
	if (key == record->routes_key)
		return;

	compare_all(&compare);
	record->routes_key = key;
	record->routes_stale = compare.stale;
	if (!compare.stale)
		return;
	record->routes_at = compare.at;
	memcpy(record->routes_reason, compare.reason, sizeof(record->routes_reason));
	if (!was_stale)
		record->routes_since = judge_gateway_edited(subject)
		                               ? judge_at_wall(now, subject->gateway_changed_us)
		                               : subject->live.read_at;
}

static void write_stale(const struct evidence *evidence)
{
	const struct subject *subject = evidence->input->subject;
	struct encode *e = evidence->e;

	encode_ip(e, "differsAt", &evidence->record->routes_at);
	encode_bool(e, "cniConfigurationKnown", subject->cni_known);
	encode_text(e, "tunnel", link_name(subject, subject->live.tunnel_ifindex));
	evidence_cidrs(evidence, "exceptions", subject->policy.exceptions,
	               subject->policy.n_exceptions);
	evidence_cidrs(evidence, "cluster", subject->policy.cluster, subject->policy.n_cluster);
	encode_time(e, "liveReadAt", subject->live.read_at.wall_us);
	evidence_routes(evidence, "routes");
}

int judge_stale_routes(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out)
{
	if (!record->routes_stale || judge_settling(input, now))
		return 0;
	out->count = 1;
	out->first = record->routes_since;
	out->last = *now;
	memcpy(out->reason, record->routes_reason, sizeof(out->reason));
	remedy_of_object(input->subject, STALE_ROUTES, out->remedy);
	return judge_found(record, input, now, out, write_stale, NULL);
}
