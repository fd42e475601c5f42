/*
 * Kernel structures and how they differ, one function each.
 */
#ifndef COMPAT_BPF_H
#define COMPAT_BPF_H

enum tracking {
	TRACKING_NONE,    /* no conntrack in this namespace, or exempt from it */
	TRACKING_OPENER,  /* this packet goes the way of the connection's first one */
	TRACKING_REPLIER, /* it answers */
};

/* include/linux/skbuff.h: the low bits of _nfct are enum ip_conntrack_info, the others the entry. */
#define NFCT_INFO_MASK 7UL

/*
 * What conntrack says about the packet. The field is there only with
 * CONFIG_NF_CONNTRACK; the context pointer of tc and cgroup_skb programs is the
 * sk_buff itself, which helpers may read through.
 */
static __always_inline enum tracking packet_tracking(struct __sk_buff *skb)
{
	struct sk_buff *kernel_skb = (void *)skb;
	unsigned long nfct = 0;

	if (!bpf_core_field_exists(kernel_skb->_nfct))
		return TRACKING_NONE;
	if (bpf_probe_read_kernel(&nfct, sizeof(nfct),
	                          (void *)skb + bpf_core_field_offset(struct sk_buff, _nfct)))
		return TRACKING_NONE;
	if (!(nfct & ~NFCT_INFO_MASK))
		return TRACKING_NONE;
	return (nfct & NFCT_INFO_MASK) >= IP_CT_IS_REPLY ? TRACKING_REPLIER : TRACKING_OPENER;
}

enum bind_kind {
	BIND_UNKNOWN,  /* no TCP socket, or none that still owns its port */
	BIND_CONNECT,  /* connect() chose the port: the pod opened the connection */
	BIND_EXPLICIT, /* bound by the program, or inherited from a listening socket */
};

/*
 * How the packet's socket came by its port. inet_hash_connect() marks the
 * bucket of a port it chose with fastreuse -1 (net/ipv4/inet_hashtables.c,
 * __inet_hash_connect); bind() sets 0 or 1, and an accepted socket shares its
 * listener's bucket, also when the listener is closed.
 */
static __always_inline enum bind_kind packet_bind_kind(struct __sk_buff *skb)
{
	struct bpf_sock *common = skb->sk;
	struct inet_bind_bucket *bucket;
	struct tcp_sock *sk;
	signed char fastreuse;

	if (!common)
		return BIND_UNKNOWN;
	sk = (void *)bpf_skc_to_tcp_sock(common);
	if (!sk)
		return BIND_UNKNOWN;
	bucket = BPF_CORE_READ(sk, inet_conn.icsk_bind_hash);
	if (!bucket || BPF_CORE_READ_INTO(&fastreuse, bucket, fastreuse))
		return BIND_UNKNOWN;
	return fastreuse < 0 ? BIND_CONNECT : BIND_EXPLICIT;
}

/* Is this SYN the first one? Sent without a socket of ours (forwarded, raw), it counts. */
static __always_inline bool packet_is_retransmission(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp;

	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return false;
	tcp = bpf_tcp_sock(sk);
	return tcp && tcp->total_retrans > 0;
}

#endif
