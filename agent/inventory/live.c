#include "inventory/live.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

void live_clear(struct live *live)
{
	free(live->links);
	free(live->addresses);
	free(live->routes);
	free(live->rules);
	free(live->tunnel.peers);
	*live = (struct live){ 0 };
}

const struct live_link *live_link_find(const struct live *live, uint32_t ifindex)
{
	for (size_t i = 0; i < live->n_links; i++)
		if (live->links[i].ifindex == ifindex)
			return &live->links[i];
	return NULL;
}

const struct live_link *live_link_by_name(const struct live *live, const char *name)
{
	for (size_t i = 0; i < live->n_links; i++)
		if (strcmp(live->links[i].name, name) == 0)
			return &live->links[i];
	return NULL;
}

/*
 * kube-egress-cni names it wg0 (pkg/consts/const.go), so among several that can
 * be it that one is meant. Only the name tells a userspace WireGuard, whose link
 * is a tun. A link of any other kind is none, whatever its name: what is taken
 * for the tunnel is a way that nobody questions, and who may rename links in a
 * pod could make eth0 it.
 */
static bool can_be_tunnel(const struct live_link *link)
{
	return !link->loopback &&
	       (strcmp(link->kind, "wireguard") == 0 || strcmp(link->kind, "tun") == 0);
}

const struct live_link *live_tunnel_link(const struct live *live)
{
	const struct live_link *named = live_link_by_name(live, "wg0");

	if (named && can_be_tunnel(named))
		return named;
	for (size_t i = 0; i < live->n_links; i++)
		if (strcmp(live->links[i].kind, "wireguard") == 0)
			return &live->links[i];
	return NULL;
}

bool live_has_address(const struct live *live, const struct ip *ip)
{
	for (size_t i = 0; i < live->n_addresses; i++)
		if (memcmp(&live->addresses[i].ip, ip, sizeof(*ip)) == 0)
			return true;
	return false;
}

/*
 * Most specific, then of the lowest metric, then the first. Prefixes that the
 * rule passes over are as if they were not there only when they would have been
 * chosen (fib4_rule_suppress(): the whole table is left then).
 */
static const struct live_route *table_lookup(const struct live *live, const struct live_rule *rule,
                                             const struct ip *dst)
{
	const struct live_route *best = NULL;

	for (size_t i = 0; i < live->n_routes; i++) {
		const struct live_route *route = &live->routes[i];

		if (route->table != rule->table || route->ipv6 != rule->ipv6 ||
		    !cidr_contains(&route->dst, dst))
			continue;
		if (!best || route->dst.len > best->dst.len ||
		    (route->dst.len == best->dst.len && route->priority < best->priority))
			best = route;
	}

	if (best && rule->suppress && best->dst.len <= rule->suppress_len)
		return NULL;
	return best;
}

enum match { MATCH_NO, MATCH_YES, MATCH_MAYBE };

static enum match rule_match(const struct live_rule *rule, const struct ip *dst, uint32_t mark)
{
	bool maybe = rule->other, all = true;

	if (((rule->mark ^ mark) & rule->mask) != 0)
		all = false;
	if (rule->has_dst && !cidr_contains(&rule->dst, dst))
		all = false;
	/* The source is chosen by the first lookup, and the second one sees it. */
	maybe = maybe || rule->has_src;

	if (all && maybe)
		return MATCH_MAYBE;
	return all != rule->invert ? MATCH_YES : MATCH_NO;
}

/* Whether the rule can end or divert the search at all. */
static bool acts(const struct live_rule *rule)
{
	return rule->action != FR_ACT_NOP && rule->action != FR_ACT_UNSPEC;
}

static const struct live_route *follow_rules(const struct live *live, const struct ip *dst,
                                             uint32_t mark, bool *certain)
{
	bool ipv6 = !ip_is_v4(dst);

	for (size_t i = 0; i < live->n_rules; i++) {
		const struct live_rule *rule = &live->rules[i];
		enum match match = MATCH_NO;
		const struct live_route *route;

		if (rule->ipv6 == ipv6 && acts(rule))
			match = rule_match(rule, dst, mark);
		if (match == MATCH_MAYBE)
			*certain = false;
		if (match != MATCH_YES)
			continue;
		if (rule->action != FR_ACT_TO_TBL)
			return NULL;

		route = table_lookup(live, rule, dst);
		if (route && route->type != RTN_THROW)
			return route;
	}
	return NULL;
}

const struct live_route *live_route_lookup(const struct live *live, const struct ip *dst,
                                           uint32_t mark, bool *certain)
{
	const struct live_route *route;

	*certain = live->readable && !live->truncated;
	route = follow_rules(live, dst, mark, certain);
	if (!route || route->type != RTN_UNICAST)
		return NULL;

	if (route->ifindex == 0)
		*certain = false;
	return route;
}
