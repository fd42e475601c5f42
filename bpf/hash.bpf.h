/*
 * One hash for slots and for what is remembered of peers. Seeded, so that a
 * pod cannot choose which of its flows push each other out.
 */
#ifndef HASH_BPF_H
#define HASH_BPF_H

/* The part that both ways to look at a packet have in common: three independent products. */
static __always_inline __u64 hash_peer(const struct packet *p, __u32 owner, __u32 ifindex)
{
	__u64 h = (p->remote[0] + seed) * 0x9e3779b97f4a7c15ULL;

	h ^= (p->remote[1] + (seed >> 7)) * 0xc2b2ae3d27d4eb4fULL;
	h ^= (((__u64)owner << 32 | ifindex) + seed) * 0xd6e8feb86659fd93ULL;
	return h ^ h >> 32;
}

/* The last four bytes of struct flow_id as one value: little-endian. */
static __always_inline __u32 tail_of(const struct packet *p, enum flow_opened_by by)
{
	__u16 port = by == FLOW_BY_POD ? p->remote_port : p->local_port;

	return (__u32)by << 24 | (__u32)p->protocol << 16 | port;
}

/* The upper half is the better one. */
static __always_inline __u64 hash_tail(__u64 peer, __u32 tail)
{
	__u64 h = (peer ^ tail) * 0xff51afd7ed558ccdULL;

	return h ^ h >> 29;
}

#endif
