/*
 * Live configuration of a network namespace: what the kernel would do now.
 *
 * Filled by inventory/live_reader from netlink; the functions here are pure.
 * All lists are bounded (limits.h); `truncated` says that one was cut, and then
 * nothing may be concluded from what is missing.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/ip.h"

struct live_link {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth", "wireguard", "tun" …; "" for loopback */
	/* kube-egress-cni keeps the link's first name here (pkg/cni/wireguard/nic.go). */
	char alias[64];
	bool up, loopback;
};

struct live_address {
	uint32_t ifindex;
	struct ip ip;
	uint8_t len; /* of the mapped form, as struct cidr */
};

struct live_route {
	struct cidr dst;  /* 0.0.0.0/0 is len 96 */
	bool ipv6;        /* of the IPv6 tables: ::/0 holds mapped addresses too, but routes none */
	uint32_t table;   /* 254 main, 255 local, 8738 for marked packets */
	uint32_t ifindex; /* 0: none (blackhole, unreachable, multipath) */
	struct ip gateway;
	bool has_gateway;
	uint8_t type;     /* RTN_* */
	uint8_t protocol; /* RTPROT_* */
	uint8_t scope;
	uint32_t priority;
};

struct live_rule {
	uint32_t priority, table;
	uint32_t mark, mask;  /* mask 0: any */
	struct cidr src, dst; /* len 0 and zero: any */
	bool has_src, has_dst, invert;
	bool other; /* has a selector that we do not model (iif, uid, ports …) */
	bool ipv6;
	bool suppress; /* passes over routes of suppress_len and shorter, as wg-quick uses it */
	uint8_t suppress_len; /* of the mapped form */
	uint8_t action;       /* FR_ACT_* */
};

struct live_peer {
	uint8_t key[32];
	bool has_endpoint;
	struct ip endpoint;
	uint16_t endpoint_port;
	struct cidr allowed[16];
	size_t n_allowed;
	int64_t handshake_us; /* wall; 0: never */
	uint64_t rx_bytes, tx_bytes;
};

struct live_tunnel {
	bool readable;         /* false: the facts below are unknown, see live.tunnel_error */
	struct moment read_at; /* more often than all the rest: counters change without notice */
	bool has_key;          /* a userspace WireGuard does not tell its public key */
	uint8_t key[32]; /* public key; private keys are never read into memory that we keep */
	uint16_t listen_port;
	struct live_peer *peers; /* owned */
	size_t n_peers;
	bool truncated; /* more peers or allowed addresses than the limits */
};

struct live {
	bool readable; /* false: nothing below is known */
	int error;     /* -errno of the last reading */
	bool truncated;
	struct moment read_at;
	struct live_link *links; /* owned, and so on */
	size_t n_links;
	struct live_address *addresses;
	size_t n_addresses;
	struct live_route *routes;
	size_t n_routes;
	struct live_rule *rules;
	size_t n_rules;
	uint32_t tunnel_ifindex; /* 0: no tunnel interface */
	struct live_tunnel tunnel;
	char tunnel_error[96]; /* why tunnel.readable is false */
};

void live_clear(struct live *live);

const struct live_link *live_link_find(const struct live *live, uint32_t ifindex);
const struct live_link *live_link_by_name(const struct live *live, const char *name);

/* The link that is the tunnel: of kind wireguard, or a tun (a userspace WireGuard's) named wg0. */
const struct live_link *live_tunnel_link(const struct live *live);

/* The namespace has the address, on any link. */
bool live_has_address(const struct live *live, const struct ip *ip);

/*
 * What the kernel would do with a locally made packet to `dst` with `mark`:
 * rules in order, longest prefix, lowest metric. NULL when nothing matches or
 * the route is no unicast one; *certain is false when a rule that we do not
 * model could decide otherwise, when a list was cut, or when several next hops
 * share the route (ifindex 0).
 */
const struct live_route *live_route_lookup(const struct live *live, const struct ip *dst,
                                           uint32_t mark, bool *certain);
