// SPDX-License-Identifier: GPL-2.0
/*
 * The packet programs. They look and count; they never drop, change or wake.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "flow_event.h"

#include "maps.bpf.h"

#include "compat.bpf.h"
#include "packet.bpf.h"

#include "hash.bpf.h"

#include "opener.bpf.h"

#include "account.bpf.h"

#define PASS_ON (-1) /* TCX_NEXT, and TC_ACT_UNSPEC to the classic hook */
#define ALLOW 1
#define LOOPBACK_IFINDEX 1 /* include/linux/netdevice.h, in every namespace */

/* An immediate that the loader replaces; `initial` lets the unpatched program pass the verifier. */
#define PATCHED(which, initial)                                                                    \
	({                                                                                         \
		__u64 value_;                                                                      \
		asm volatile("%0 = %1 ll" : "=r"(value_) : "i"((__u64)(which) << 32 | (initial))); \
		(__u32) value_;                                                                    \
	})

/*
 * Ours, or of another agent that looks at this pod. A socket in TIME_WAIT has no
 * cgroup any more, but it cannot open a connection either.
 */
static __always_inline bool is_probe(struct __sk_buff *skb, const struct packet *p)
{
	__u64 cgroup;

	if (skb->priority != FLOW_PROBE_PRIORITY)
		return false;
	cgroup = bpf_skb_cgroup_id(skb);
	if (cgroup)
		return bpf_map_lookup_elem(&probers, &cgroup);
	return p->protocol == IPPROTO_TCP && p->tcp != TCP_SYN;
}

/* The probe's peer must not be taken for one that sent first. */
static __always_inline void pass_probe(const struct packet *p, __u32 owner)
{
	count(FLOW_COUNT_PROBE);
	if (p->protocol != IPPROTO_TCP && !is_remembered(p, owner, FLOW_BY_POD))
		remember(p, owner, FLOW_BY_POD);
}

static __always_inline void look_out(struct __sk_buff *skb, __u32 owner, __u32 l2, bool shared)
{
	struct packet p = { 0 };

	IN_MEMORY(p);
	switch (parse(skb, l2, false, &p)) {
	case PACKET_FLOW:
		if (is_probe(skb, &p))
			pass_probe(&p, owner);
		else
			account(skb, &p, owner, shared);
		break;
	case PACKET_UNPARSED:
		count(FLOW_COUNT_UNPARSED);
		break;
	case PACKET_FRAGMENT:
		count(FLOW_COUNT_FRAGMENT);
		break;
	case PACKET_CONTROL:
		count(FLOW_COUNT_CONTROL);
		break;
	case PACKET_OTHER:
		break;
	}
}

/* Most of what comes in is TCP, and its flags tell enough on the way out: one look. */
static __always_inline bool is_plain_tcp(struct __sk_buff *skb, __u32 l2)
{
	void *end = (void *)(long)skb->data_end;
	const struct iphdr *ip = (void *)(long)skb->data + l2;

	return skb->protocol == bpf_htons(ETH_P_IP) && (void *)(ip + 1) <= end &&
	       ip->protocol == IPPROTO_TCP;
}

/* Notes who sent first, for egress, where nothing in the answer's packet would tell. */
static __always_inline void look_in(struct __sk_buff *skb, __u32 owner, __u32 l2)
{
	__u8 *state = tracked_state(owner);
	struct packet p = { 0 };
	__u16 port;

	IN_MEMORY(p);
	if (is_plain_tcp(skb, l2) || (state && *state == TRACKED_ALWAYS))
		return;
	if (parse(skb, l2, true, &p) != PACKET_FLOW || p.protocol == IPPROTO_TCP ||
	    opener_by_headers(&p) != OPENER_UNKNOWN)
		return;
	port = p.local_port;
	p.local_port = p.remote_port;
	p.remote_port = port;
	if (!is_remembered(&p, owner, FLOW_BY_REMOTE) && !is_remembered(&p, owner, FLOW_BY_POD))
		remember(&p, owner, FLOW_BY_REMOTE);
}

SEC("tc")
int egress(struct __sk_buff *skb)
{
	look_out(skb, PATCHED(FLOW_PATCH_OWNER, 0), PATCHED(FLOW_PATCH_L2, 14), false);
	return PASS_ON;
}

SEC("tc")
int ingress(struct __sk_buff *skb)
{
	look_in(skb, PATCHED(FLOW_PATCH_OWNER, 0), PATCHED(FLOW_PATCH_L2, 14));
	return PASS_ON;
}

SEC("cgroup_skb/egress")
int cgroup_egress(struct __sk_buff *skb)
{
	if (skb->ifindex != LOOPBACK_IFINDEX)
		look_out(skb, PATCHED(FLOW_PATCH_OWNER, 0), 0, true);
	return ALLOW;
}

SEC("cgroup_skb/ingress")
int cgroup_ingress(struct __sk_buff *skb)
{
	if (skb->ifindex != LOOPBACK_IFINDEX)
		look_in(skb, PATCHED(FLOW_PATCH_OWNER, 0), 0);
	return ALLOW;
}

/*
 * Run once with BPF_PROG_TEST_RUN, whose packet belongs to a socket made by the
 * caller: the id that the agent's sockets will have, however cgroups are mounted.
 */
SEC("tc")
int learn_own_cgroup(struct __sk_buff *skb)
{
	own_cgroup = bpf_skb_cgroup_id(skb);
	return PASS_ON;
}

static __always_inline void copy_remote(struct flow_failed *record, const struct sock *sk)
{
	__u32 *words = (__u32 *)record->remote;

	if (sk->__sk_common.skc_family == 2 /* AF_INET */) {
		__builtin_memset(record->remote, 0, 10);
		words[2] = bpf_htonl(0xffff);
		words[3] = sk->__sk_common.skc_daddr;
	} else {
		BPF_CORE_READ_INTO(&record->remote, sk, __sk_common.skc_v6_daddr);
	}
}

static __always_inline void report_failure(const struct sock *sk, __u32 owner)
{
	struct flow_failed *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		count(FLOW_COUNT_LOST);
		return;
	}
	record->kind = FLOW_RECORD_FAILED;
	record->owner = owner;
	copy_remote(record, sk);
	record->port = bpf_ntohs(sk->__sk_common.skc_dport);
	record->error = sk->sk_err;
	record->ifindex = BPF_CORE_READ(sk, sk_dst_cache, dev, ifindex);
	record->time_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Runs for every TCP state change of the node: anything but a failed connect returns at once. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connect_failed, const struct sock *sk, int old_state, int new_state)
{
	__u64 cookie;
	__u32 *owner;

	if (old_state != BPF_TCP_SYN_SENT || new_state != BPF_TCP_CLOSE)
		return 0;
	cookie = sk->__sk_common.skc_net.net->net_cookie;
	owner = bpf_map_lookup_elem(&namespaces, &cookie);
	if (owner)
		report_failure(sk, *owner);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
