/*
 * Bounded header parsing: what a packet says about its flow.
 *
 * Headers are copied out of the packet: mostly from its linear part, through a
 * helper where a sender put them elsewhere (a packet socket's ring may leave
 * them in fragments, and an unread packet would be an unseen bypass).
 */
#ifndef PACKET_BPF_H
#define PACKET_BPF_H

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
/* uapi/linux/in6.h: macros, which BTF does not hold. */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP6_FRAGMENT_OFFSET 0xfff8
/* RFC 8200 4.1 allows each once, destination options twice; more is no honest sender's. */
#define IP6_EXTENSIONS_MAX 6
/* Where the last header may begin; six extension headers of the greatest length come to 12 KiB. */
#define HEADERS_MAX 0x3fff

enum verdict {
	PACKET_FLOW,
	PACKET_OTHER, /* not IP */
	PACKET_UNPARSED,
	PACKET_FRAGMENT, /* not the first: no ports */
	PACKET_CONTROL,
};

enum tcp_kind {
	TCP_SYN,
	TCP_SYN_ACK,
	TCP_RST,
	TCP_OTHER,
};

struct packet {
	__u64 remote[2];
	__u32 offset; /* of the transport header */
	__u32 net_offset;
	__u16 local_port, remote_port;
	__u8 protocol;
	__u8 tcp; /* enum tcp_kind */
	__u8 icmp_type;
	__u8 transport_len; /* for the headers of segments */
};

/*
 * Keeps the compiler from holding a struct in registers: BPF has too few, and
 * it spills and clears them on every branch (measured: 3 ns per packet).
 */
#define IN_MEMORY(x) asm volatile("" : : "r"(&(x)) : "memory")

/*
 * `len` bytes from `off` on: in the packet itself, or else copied to `copy`.
 * NULL: the packet ends before.
 */
static __always_inline const void *header(struct __sk_buff *skb, __u32 off, void *copy,
                                          const __u32 len)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	/* The verifier does not see why the bound holds: hide from the compiler that it does. */
	asm volatile("" : "+r"(off));
	if (off > HEADERS_MAX)
		return NULL;
	if (data + off + len <= end)
		return data + off;
	return bpf_skb_load_bytes(skb, off, copy, len) ? NULL : copy;
}

static __always_inline enum tcp_kind tcp_kind(const struct tcphdr *tcp)
{
	if (tcp->rst)
		return TCP_RST;
	if (tcp->syn)
		return tcp->ack ? TCP_SYN_ACK : TCP_SYN;
	return TCP_OTHER;
}

static __always_inline enum verdict parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr copy;
	const struct tcphdr *tcp = header(skb, p->offset, &copy, sizeof(copy));

	if (!tcp)
		return PACKET_UNPARSED;
	p->local_port = bpf_ntohs(tcp->source);
	p->remote_port = bpf_ntohs(tcp->dest);
	p->tcp = tcp_kind(tcp);
	p->transport_len = tcp->doff * 4;
	return PACKET_FLOW;
}

/* UDP, UDP-Lite, SCTP and DCCP begin with the two ports. */
static __always_inline enum verdict parse_ports(struct __sk_buff *skb, struct packet *p)
{
	__be16 copy[2];
	const __be16 *ports = header(skb, p->offset, copy, sizeof(copy));

	if (!ports)
		return PACKET_UNPARSED;
	p->local_port = bpf_ntohs(ports[0]);
	p->remote_port = bpf_ntohs(ports[1]);
	p->transport_len = sizeof(struct udphdr);
	return PACKET_FLOW;
}

static __always_inline enum verdict parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u8 copy;
	const __u8 *type = header(skb, p->offset, &copy, sizeof(copy));

	if (!type)
		return PACKET_UNPARSED;
	p->icmp_type = *type;
	/* Multicast listeners, neighbours, routers (RFC 2710, 4861, 3122, 3810): about the link. */
	if (p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= 130 && p->icmp_type <= 143)
		return PACKET_CONTROL;
	return PACKET_FLOW;
}

static __always_inline enum verdict parse_transport(struct __sk_buff *skb, struct packet *p)
{
	switch (p->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(skb, p);
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return parse_ports(skb, p);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return parse_icmp(skb, p);
	case IPPROTO_IGMP:
		return PACKET_CONTROL;
	default:
		return PACKET_FLOW;
	}
}

/* 224.0.0.0/24 is never forwarded (RFC 5771 4), nor is the limited broadcast. */
static __always_inline bool is_on_link_v4(__u32 addr)
{
	return addr >> 8 == 0xe00000 || addr == 0xffffffff;
}

/* IPv4-mapped. Little-endian, as every machine this runs on. */
static __always_inline void set_v4(struct packet *p, __be32 addr)
{
	p->remote[0] = 0;
	p->remote[1] = (__u64)addr << 32 | bpf_htonl(0xffff);
}

static __always_inline enum verdict parse_v4(struct __sk_buff *skb, struct packet *p, bool ingress)
{
	struct iphdr copy;
	const struct iphdr *ip = header(skb, p->net_offset, &copy, sizeof(copy));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return PACKET_UNPARSED;
	set_v4(p, ingress ? ip->saddr : ip->daddr);
	p->protocol = ip->protocol;
	p->offset = p->net_offset + ip->ihl * 4;
	if (is_on_link_v4(bpf_ntohl(ip->daddr)))
		return PACKET_CONTROL;
	if (bpf_ntohs(ip->frag_off) & IP_FRAGMENT_OFFSET)
		return PACKET_FRAGMENT;
	return parse_transport(skb, p);
}

struct extension {
	__u8 next, len; /* len in units of 8 bytes but for the first; 4 with AH */
	__be16 fragment;
};

/* One extension header: 0, or what stops the walk; *done when there is none. */
static __always_inline enum verdict skip_extension(struct __sk_buff *skb, struct packet *p,
                                                   bool *done)
{
	struct extension copy;
	const struct extension *ext;
	__u8 kind = p->protocol;

	*done = kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_FRAGMENT &&
	        kind != IPPROTO_DSTOPTS && kind != IPPROTO_AH;
	if (*done)
		return PACKET_FLOW;
	ext = header(skb, p->offset, &copy, sizeof(copy));
	if (!ext)
		return PACKET_UNPARSED;
	if (kind == IPPROTO_FRAGMENT && (bpf_ntohs(ext->fragment) & IP6_FRAGMENT_OFFSET))
		return PACKET_FRAGMENT;
	p->protocol = ext->next;
	if (kind == IPPROTO_FRAGMENT)
		p->offset += 8;
	else if (kind == IPPROTO_AH)
		p->offset += (ext->len + 2) * 4;
	else
		p->offset += (ext->len + 1) * 8;
	return PACKET_FLOW;
}

/* fe80::/10 and the multicast scopes up to the link's (RFC 4291 2.7). */
static __always_inline bool is_on_link_v6(const struct in6_addr *a)
{
	const __u8 *b = (const __u8 *)a;

	return (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) || (b[0] == 0xff && (b[1] & 0x0f) <= 2);
}

static __always_inline void set_v6(struct packet *p, const struct in6_addr *a)
{
	const __u32 *words = a->in6_u.u6_addr32;

	p->remote[0] = (__u64)words[1] << 32 | words[0];
	p->remote[1] = (__u64)words[3] << 32 | words[2];
}

static __always_inline enum verdict parse_v6(struct __sk_buff *skb, struct packet *p, bool ingress)
{
	struct ipv6hdr copy;
	const struct ipv6hdr *ip = header(skb, p->net_offset, &copy, sizeof(copy));
	enum verdict verdict;
	bool done = false;

	if (!ip || ip->version != 6)
		return PACKET_UNPARSED;
	set_v6(p, ingress ? &ip->saddr : &ip->daddr);
	p->protocol = ip->nexthdr;
	p->offset = p->net_offset + sizeof(*ip);
	if (is_on_link_v6(&ip->daddr))
		return PACKET_CONTROL;
	for (int i = 0; i < IP6_EXTENSIONS_MAX && !done; i++) {
		verdict = skip_extension(skb, p, &done);
		if (verdict != PACKET_FLOW)
			return verdict;
	}
	return done ? parse_transport(skb, p) : PACKET_UNPARSED;
}

/*
 * What the receiver will take the packet for. A packet socket's sender chooses
 * skb->protocol (net/packet/af_packet.c, packet_snd(): sll_protocol), but the
 * other end goes by the frame (eth_type_trans()): so does this.
 */
static __always_inline __be16 ethertype(struct __sk_buff *skb, __u32 l2)
{
	const __be16 *type;
	__be16 copy;

	if (l2 < sizeof(copy))
		return skb->protocol;
	type = header(skb, l2 - sizeof(copy), &copy, sizeof(copy));
	return type ? *type : 0;
}

/* Fills p as far as the verdict says. `l2`: bytes before the IP header. */
static __always_inline enum verdict parse(struct __sk_buff *skb, __u32 l2, bool ingress,
                                          struct packet *p)
{
	__be16 type = ethertype(skb, l2);

	p->net_offset = l2;
	if (type == bpf_htons(ETH_P_IP))
		return parse_v4(skb, p, ingress);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_v6(skb, p, ingress);
	return PACKET_OTHER;
}

#endif
