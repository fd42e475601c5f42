/*
 * What a network namespace's kernel says: links, addresses, routes, rules.
 *
 * Rows come one at a time from bounded dumps; the caller decides how many it
 * wants, because a pod may have made a million of them.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "io/netlink_socket.h"

struct netlink_link {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	char kind[16];  /* cut when longer; "" for loopback and physical ones */
	char alias[64]; /* the same */
	bool up, loopback;
};

struct netlink_address {
	uint32_t ifindex;
	struct ip ip;
	uint8_t len; /* of the mapped form */
	bool ipv6;
};

struct netlink_route {
	struct cidr dst;
	bool ipv6;
	bool has_gateway;
	struct ip gateway;
	uint32_t table, priority;
	uint32_t ifindex; /* 0: none, or several (multipath) */
	uint8_t type, protocol, scope;
};

struct netlink_rule {
	uint32_t priority, table;
	uint32_t mark, mask; /* mask 0: any */
	struct cidr src, dst;
	bool has_src, has_dst, invert, ipv6;
	bool other; /* has a selector that is not here */
	bool suppress;
	uint8_t suppress_len; /* of the mapped form */
	uint8_t action;       /* FR_ACT_* */
};

enum netlink_list {
	NETLINK_LINKS,
	NETLINK_ADDRESSES, /* both families, as the following */
	NETLINK_ROUTES,    /* all tables; without cached and dead ones */
	NETLINK_RULES,     /* in the order in which the kernel goes through them, per family */
	_NETLINK_LIST_MAX,
};

union netlink_row {
	struct netlink_link link;
	struct netlink_address address;
	struct netlink_route route;
	struct netlink_rule rule;
};

struct netlink_sink {
	void *user;
	/* The kernel's answer was inconsistent: forget this dump's rows, it is asked again. */
	void (*restart)(void *user);
	/* 0: go on; > 0: enough, the dump ends well; < 0: it fails with this. */
	int (*row)(void *user, const union netlink_row *row);
};

/*
 * -EINTR: inconsistent NETLINK_DUMP_ATTEMPTS times; -ETIMEDOUT; -EBADMSG: an
 * answer that cannot be. Positive when the sink had enough.
 */
int netlink_dump(struct netlink *netlink, enum netlink_list list, const struct netlink_sink *sink);

/* One row, as the kernel writes it: 0, or 1 for a row of no interest, or -EBADMSG. */
int netlink_decode(enum netlink_list list, const struct nlmsghdr *message, union netlink_row *row);
