/*
 * Who opened the flow that a packet belongs to.
 *
 * Answers to connections from outside leave by eth0 whatever the gateway says,
 * so a wrong answer here is a false alarm, or hides a bypass. In this order:
 * the packet's own headers, how the socket came by its port, conntrack, what
 * was remembered, and whether somebody listens on the port.
 */
#ifndef OPENER_BPF_H
#define OPENER_BPF_H

enum opener {
	OPENER_POD = FLOW_BY_POD,
	OPENER_REMOTE = FLOW_BY_REMOTE,
	OPENER_UNKNOWN,
	OPENER_NOBODY, /* the packet opens nothing */
};

#define ICMP_ECHO 8
#define ICMP_TIMESTAMP 13
#define ICMPV6_ECHO_REQUEST 128

/* What the headers alone tell. */
static __always_inline enum opener opener_by_headers(const struct packet *p)
{
	switch (p->protocol) {
	case IPPROTO_TCP:
		return p->tcp == TCP_SYN       ? OPENER_POD
		       : p->tcp == TCP_SYN_ACK ? OPENER_REMOTE
		                               : OPENER_UNKNOWN;
	case IPPROTO_ICMP:
		return p->icmp_type == ICMP_ECHO || p->icmp_type == ICMP_TIMESTAMP ? OPENER_POD
		                                                                   : OPENER_REMOTE;
	case IPPROTO_ICMPV6:
		return p->icmp_type == ICMPV6_ECHO_REQUEST ? OPENER_POD : OPENER_REMOTE;
	default:
		return OPENER_UNKNOWN;
	}
}

static __always_inline __u64 fingerprint(const struct packet *p, __u32 owner,
                                         enum flow_opened_by by)
{
	return hash_tail(hash_peer(p, owner, 0), tail_of(p, by)) | 1; /* 0: nothing there */
}

static __always_inline __u64 *opened_place(__u64 fingerprint)
{
	__u32 index = fingerprint >> 32 & (FLOW_OPENED_ENTRIES - 1);

	return bpf_map_lookup_elem(&opened, &index);
}

static __always_inline bool is_remembered(const struct packet *p, __u32 owner,
                                          enum flow_opened_by by)
{
	__u64 wanted = fingerprint(p, owner, by), *place = opened_place(wanted);

	return place && *place == wanted;
}

static __always_inline void remember(const struct packet *p, __u32 owner, enum flow_opened_by by)
{
	__u64 wanted = fingerprint(p, owner, by), *place = opened_place(wanted);

	if (place)
		*place = wanted;
}

enum tracked_state {
	TRACKED_NEVER,
	TRACKED_ALWAYS,
	TRACKED_PARTLY, /* some packets are exempt: ingress has to remember for them */
};

static __always_inline __u8 *tracked_state(__u32 owner)
{
	__u32 number = owner & (FLOW_OWNERS - 1);

	return bpf_map_lookup_elem(&tracked, &number);
}

/* Keeps what ingress has to know about this subject's conntrack. */
static __always_inline void note_tracking(__u32 owner, enum tracking tracking)
{
	__u8 *state = tracked_state(owner);

	if (!state)
		return;
	if (tracking == TRACKING_NONE && *state == TRACKED_ALWAYS)
		*state = TRACKED_PARTLY;
	else if (tracking != TRACKING_NONE && *state == TRACKED_NEVER)
		*state = TRACKED_ALWAYS;
}

/*
 * A listening socket on the packet's port. The remote side is left zero, so
 * that no established socket matches (net/core/filter.c, sk_lookup()).
 */
static __always_inline bool is_listening(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = { 0 };
	struct bpf_sock *sk;
	__u32 size, off;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		size = sizeof(tuple.ipv4);
		off = p->net_offset + offsetof(struct iphdr, saddr);
		tuple.ipv4.dport = bpf_htons(p->local_port);
		if (bpf_skb_load_bytes(skb, off, &tuple.ipv4.daddr, sizeof(tuple.ipv4.daddr)))
			return false;
	} else {
		size = sizeof(tuple.ipv6);
		off = p->net_offset + offsetof(struct ipv6hdr, saddr);
		tuple.ipv6.dport = bpf_htons(p->local_port);
		if (bpf_skb_load_bytes(skb, off, tuple.ipv6.daddr, sizeof(tuple.ipv6.daddr)))
			return false;
	}

	sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	size = sk->state;
	bpf_sk_release(sk);
	return size == BPF_TCP_LISTEN;
}

/* A TCP packet from the midst of a connection. */
static __always_inline enum opener opener_of_tcp(struct __sk_buff *skb, const struct packet *p,
                                                 __u32 owner)
{
	enum tracking tracking;
	enum bind_kind bind;

	if (p->tcp == TCP_RST)
		return OPENER_NOBODY;
	bind = packet_bind_kind(skb);
	if (bind == BIND_CONNECT)
		return OPENER_POD;
	tracking = packet_tracking(skb);
	if (tracking != TRACKING_NONE) {
		count(FLOW_COUNT_CONNTRACK);
		return tracking == TRACKING_REPLIER ? OPENER_REMOTE : OPENER_POD;
	}
	if (is_remembered(p, owner, FLOW_BY_POD))
		return OPENER_POD;
	if (bind == BIND_EXPLICIT || is_remembered(p, owner, FLOW_BY_REMOTE))
		return OPENER_REMOTE;
	return is_listening(skb, p) ? OPENER_REMOTE : OPENER_POD;
}

static __always_inline enum opener opener_of_other(struct __sk_buff *skb, const struct packet *p,
                                                   __u32 owner)
{
	enum tracking tracking = packet_tracking(skb);

	note_tracking(owner, tracking);
	if (tracking != TRACKING_NONE) {
		count(FLOW_COUNT_CONNTRACK);
		return tracking == TRACKING_REPLIER ? OPENER_REMOTE : OPENER_POD;
	}
	if (is_remembered(p, owner, FLOW_BY_REMOTE))
		return OPENER_REMOTE;
	remember(p, owner, FLOW_BY_POD);
	return OPENER_POD;
}

/* For the first packet of what is a new flow to us; `told` is what its headers tell. */
static __always_inline enum opener find_opener(struct __sk_buff *skb, const struct packet *p,
                                               __u32 owner, enum opener told)
{
	if (p->protocol != IPPROTO_TCP)
		return told == OPENER_UNKNOWN ? opener_of_other(skb, p, owner) : told;
	if (told == OPENER_UNKNOWN)
		return opener_of_tcp(skb, p, owner);
	/* Later packets of these do not say who opened them once the slot is lost. */
	if (told == OPENER_REMOTE)
		remember(p, owner, FLOW_BY_REMOTE);
	else if (packet_bind_kind(skb) != BIND_CONNECT)
		remember(p, owner, FLOW_BY_POD);
	return told;
}

#endif
