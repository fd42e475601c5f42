#include "io/netlink.h"

#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "limits.h"

#define V4_MAPPED_BITS 96

static void copy_text(char *to, size_t size, const struct nlattr *attr)
{
	size_t n = strnlen(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));

	if (n >= size)
		n = size - 1;
	memcpy(to, mnl_attr_get_payload(attr), n);
	to[n] = '\0';
}

static bool get_u32(const struct nlattr *attr, uint32_t *out)
{
	if (mnl_attr_get_payload_len(attr) < sizeof(*out))
		return false;
	*out = mnl_attr_get_u32(attr);
	return true;
}

static bool ip_of(int family, const void *data, size_t len, struct ip *out)
{
	static const struct ip mapped = { .b = { [10] = 0xff, [11] = 0xff } };
	size_t size = family == AF_INET ? 4 : 16;

	if (len != size)
		return false;
	*out = mapped;
	memcpy(out->b + sizeof(out->b) - size, data, size);
	return true;
}

static bool get_ip(const struct nlattr *attr, int family, struct ip *out)
{
	return ip_of(family, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), out);
}

/* False when the length is none of that family. */
static bool mapped_len(int family, unsigned int len, uint8_t *out)
{
	unsigned int base = family == AF_INET ? V4_MAPPED_BITS : 0;

	if (base + len > 128)
		return false;
	*out = (uint8_t)(base + len);
	return true;
}

/* The default route and "from all" carry no address. */
static bool any(int family, unsigned int len, struct cidr *out)
{
	static const uint8_t zero[16];

	return ip_of(family, zero, family == AF_INET ? 4 : 16, &out->net) &&
	       mapped_len(family, len, &out->len);
}

static bool get_kind(const struct nlattr *info, struct netlink_link *link)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, info) if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		copy_text(link->kind, sizeof(link->kind), attr);
	return true;
}

static int decode_link(const struct nlmsghdr *message, union netlink_row *row)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
	struct netlink_link link = { 0 };
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head) || head->ifi_index <= 0)
		return -EBADMSG;

	link.ifindex = (uint32_t)head->ifi_index;
	link.up = head->ifi_flags & IFF_UP;
	link.loopback = head->ifi_flags & IFF_LOOPBACK;

	mnl_attr_for_each(attr, message, sizeof(*head))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_IFNAME)
			copy_text(link.name, sizeof(link.name), attr);
		else if (type == IFLA_IFALIAS)
			copy_text(link.alias, sizeof(link.alias), attr);
		else if (type == IFLA_LINKINFO)
			get_kind(attr, &link);
	}

	row->link = link;
	return 0;
}

static int decode_address(const struct nlmsghdr *message, union netlink_row *row)
{
	const struct ifaddrmsg *head = mnl_nlmsg_get_payload(message);
	struct netlink_address address = { 0 };
	bool has_local = false, has_any = false;
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head))
		return -EBADMSG;
	if (head->ifa_family != AF_INET && head->ifa_family != AF_INET6)
		return 1;
	if (!mapped_len(head->ifa_family, head->ifa_prefixlen, &address.len))
		return -EBADMSG;

	address.ifindex = head->ifa_index;
	address.ipv6 = head->ifa_family == AF_INET6;
	mnl_attr_for_each(attr, message, sizeof(*head))
	{
		uint16_t type = mnl_attr_get_type(attr);

		/* With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours. */
		if (type != IFA_LOCAL && (type != IFA_ADDRESS || has_local))
			continue;
		if (!get_ip(attr, head->ifa_family, &address.ip))
			return -EBADMSG;
		has_any = true;
		has_local = has_local || type == IFA_LOCAL;
	}
	if (!has_any)
		return -EBADMSG;

	row->address = address;
	return 0;
}

static bool get_via(const struct nlattr *attr, struct ip *out)
{
	const struct rtvia *via = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr);

	if (len < sizeof(*via) || (via->rtvia_family != AF_INET && via->rtvia_family != AF_INET6))
		return false;
	return ip_of(via->rtvia_family, via->rtvia_addr, len - sizeof(*via), out);
}

static bool route_attr(const struct nlattr *attr, int family, struct netlink_route *route,
                       bool *multipath)
{
	switch (mnl_attr_get_type(attr)) {
	case RTA_DST:
		return get_ip(attr, family, &route->dst.net);
	case RTA_GATEWAY:
		route->has_gateway = true;
		return get_ip(attr, family, &route->gateway);
	case RTA_VIA: /* an IPv4 route by an IPv6 next hop: that is how the tunnel's is written */
		route->has_gateway = true;
		return get_via(attr, &route->gateway);
	case RTA_OIF:
		return get_u32(attr, &route->ifindex);
	case RTA_TABLE:
		return get_u32(attr, &route->table);
	case RTA_PRIORITY:
		return get_u32(attr, &route->priority);
	case RTA_MULTIPATH:
		*multipath = true;
		return true;
	default:
		return true;
	}
}

static int decode_route(const struct nlmsghdr *message, union netlink_row *row)
{
	const struct rtmsg *head = mnl_nlmsg_get_payload(message);
	struct netlink_route route = { 0 };
	const struct nlattr *attr;
	bool multipath = false;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head))
		return -EBADMSG;
	if (head->rtm_family != AF_INET && head->rtm_family != AF_INET6)
		return 1;
	if (head->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD))
		return 1;
	if (!any(head->rtm_family, head->rtm_dst_len, &route.dst))
		return -EBADMSG;

	route.ipv6 = head->rtm_family == AF_INET6;
	route.table = head->rtm_table;
	route.type = head->rtm_type;
	route.protocol = head->rtm_protocol;
	route.scope = head->rtm_scope;
	mnl_attr_for_each(attr, message,
	                  sizeof(*head)) if (!route_attr(attr, head->rtm_family, &route,
	                                                 &multipath)) return -EBADMSG;
	if (multipath) {
		route.ifindex = 0;
		route.has_gateway = false;
	}

	row->route = route;
	return 0;
}

static bool rule_suppress(const struct nlattr *attr, int family, struct netlink_rule *rule)
{
	uint32_t len;

	if (!get_u32(attr, &len))
		return false;
	rule->suppress = len != UINT32_MAX; /* -1: not set */
	return !rule->suppress || (len <= 128 && mapped_len(family, len, &rule->suppress_len));
}

static bool rule_attr(const struct nlattr *attr, int family, struct netlink_rule *rule)
{
	switch (mnl_attr_get_type(attr)) {
	case FRA_SRC:
		rule->has_src = true;
		return get_ip(attr, family, &rule->src.net);
	case FRA_DST:
		rule->has_dst = true;
		return get_ip(attr, family, &rule->dst.net);
	case FRA_PRIORITY:
		return get_u32(attr, &rule->priority);
	case FRA_TABLE:
		return get_u32(attr, &rule->table);
	case FRA_FWMARK:
		return get_u32(attr, &rule->mark);
	case FRA_FWMASK:
		return get_u32(attr, &rule->mask);
	case FRA_SUPPRESS_PREFIXLEN:
		return rule_suppress(attr, family, rule);
	case FRA_FLOW: /* a realm is counted by, not routed by */
	case FRA_PAD:
	case FRA_PROTOCOL:
		return true;
	default:
		rule->other = true;
		return true;
	}
}

static int decode_rule(const struct nlmsghdr *message, union netlink_row *row)
{
	const struct fib_rule_hdr *head = mnl_nlmsg_get_payload(message);
	struct netlink_rule rule = { 0 };
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*head))
		return -EBADMSG;
	/* Multicast routing has rules too, with families of their own. */
	if (head->family != AF_INET && head->family != AF_INET6)
		return 1;
	if (!any(head->family, head->src_len, &rule.src) ||
	    !any(head->family, head->dst_len, &rule.dst))
		return -EBADMSG;

	rule.ipv6 = head->family == AF_INET6;
	rule.table = head->table;
	rule.action = head->action;
	rule.invert = head->flags & FIB_RULE_INVERT;
	rule.other = head->tos != 0 || head->action == FR_ACT_GOTO;
	mnl_attr_for_each(attr, message,
	                  sizeof(*head)) if (!rule_attr(attr, head->family, &rule)) return -EBADMSG;

	row->rule = rule;
	return 0;
}

static const struct list {
	uint16_t ask, type;
	size_t head;
	int (*decode)(const struct nlmsghdr *message, union netlink_row *row);
} lists[] = {
	[NETLINK_LINKS] = { RTM_GETLINK, RTM_NEWLINK, sizeof(struct ifinfomsg), decode_link },
	[NETLINK_ADDRESSES] = { RTM_GETADDR, RTM_NEWADDR, sizeof(struct ifaddrmsg),
	                        decode_address },
	[NETLINK_ROUTES] = { RTM_GETROUTE, RTM_NEWROUTE, sizeof(struct rtmsg), decode_route },
	[NETLINK_RULES] = { RTM_GETRULE, RTM_NEWRULE, sizeof(struct fib_rule_hdr), decode_rule },
};
static_assert(sizeof(lists) / sizeof(lists[0]) == _NETLINK_LIST_MAX, "a list has no decoder");

int netlink_decode(enum netlink_list list, const struct nlmsghdr *message, union netlink_row *row)
{
	if (message->nlmsg_type != lists[list].type)
		return 1;
	return lists[list].decode(message, row);
}

/* Dumps */

struct dump {
	enum netlink_list list;
	const struct netlink_sink *sink;
};

static int take_row(void *user, const struct nlmsghdr *message)
{
	struct dump *dump = user;
	union netlink_row row;
	int r;

	r = netlink_decode(dump->list, message, &row);
	if (r != 0)
		return r < 0 ? r : 0;
	return dump->sink->row(dump->sink->user, &row);
}

static void ask_for(enum netlink_list list, struct nlmsghdr *request)
{
	request->nlmsg_type = lists[list].ask;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	/* Zero is AF_UNSPEC: both families in one dump. */
	mnl_nlmsg_put_extra_header(request, lists[list].head);
	if (list == NETLINK_LINKS)
		mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

int netlink_dump(struct netlink *netlink, enum netlink_list list, const struct netlink_sink *sink)
{
	struct dump dump = { list, sink };
	bool inconsistent = false;
	int r = 0;

	for (int i = 0; i < NETLINK_DUMP_ATTEMPTS; i++) {
		_Alignas(struct nlmsghdr) char space[128];
		struct nlmsghdr *request = mnl_nlmsg_put_header(space);

		if (i > 0)
			sink->restart(sink->user);
		ask_for(list, request);
		r = netlink_request(netlink, request, take_row, &dump, &inconsistent);
		if (r != 0 || !inconsistent)
			return r;
	}
	return -EINTR;
}
