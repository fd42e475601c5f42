// SPDX-License-Identifier: GPL-2.0
/*
 * The other ways to observe flows, with the same header parser and the same
 * record per new flow, to be measured against bpf/egress.bpf.c.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flow_event.h"

#include "packet.bpf.h"

#define PASS_ON (-1)
#define ALLOW 1

struct totals {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_id);
	__type(value, struct totals);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_id);
	__type(value, struct totals);
} cgroup_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_id);
	__type(value, struct totals);
} percpu_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct totals);
} sockets SEC(".maps");

static __always_inline void tell(const struct flow_id *id)
{
	struct flow_opened *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return;
	record->kind = FLOW_RECORD_OPENED;
	record->now.id = *id;
	record->now.first_ns = bpf_ktime_get_ns();
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline bool identify(struct __sk_buff *skb, __u32 l2, struct flow_id *id)
{
	struct packet p = { 0 };

	if (parse(skb, l2, false, &p) != PACKET_FLOW)
		return false;
	__builtin_memcpy(id->remote, p.remote, sizeof(id->remote));
	id->ifindex = skb->ifindex;
	id->port = p.remote_port;
	id->protocol = p.protocol;
	return true;
}

static __always_inline void count_in(void *map, struct __sk_buff *skb, __u32 l2, bool atomic)
{
	struct totals *totals, fresh = { 1, skb->len };
	struct flow_id id = { 0 };

	if (!identify(skb, l2, &id))
		return;
	totals = bpf_map_lookup_elem(map, &id);
	if (!totals) {
		tell(&id);
		bpf_map_update_elem(map, &id, &fresh, BPF_ANY);
	} else if (atomic) {
		__sync_fetch_and_add(&totals->packets, 1);
		__sync_fetch_and_add(&totals->bytes, skb->len);
	} else {
		totals->packets++;
		totals->bytes += skb->len;
	}
}

SEC("tc")
int tcx_empty(struct __sk_buff *skb)
{
	return PASS_ON;
}

SEC("tc")
int tcx_lru(struct __sk_buff *skb)
{
	count_in(&flows, skb, 14, true);
	return PASS_ON;
}

SEC("tc")
int tcx_percpu_lru(struct __sk_buff *skb)
{
	count_in(&percpu_flows, skb, 14, false);
	return PASS_ON;
}

/* Only packets that conntrack calls new; totals would have to come from elsewhere. */
SEC("tc")
int tcx_conntrack(struct __sk_buff *skb)
{
	struct flow_id id = { 0 };
	unsigned long nfct = 0;

	bpf_probe_read_kernel(&nfct, sizeof(nfct),
	                      (void *)skb + bpf_core_field_offset(struct sk_buff, _nfct));
	if (nfct > 7 && (nfct & 7) == IP_CT_NEW && identify(skb, 14, &id))
		tell(&id);
	return PASS_ON;
}

SEC("cgroup_skb/egress")
int cgroup_empty(struct __sk_buff *skb)
{
	return ALLOW;
}

SEC("cgroup_skb/egress")
int cgroup_lru(struct __sk_buff *skb)
{
	count_in(&cgroup_flows, skb, 0, true);
	return ALLOW;
}

static __always_inline void count_socket(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct totals *totals = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct flow_id id = { 0 };

	if (!totals) {
		if (!identify(skb, 0, &id))
			return;
		tell(&id);
		totals = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
	if (totals) {
		__sync_fetch_and_add(&totals->packets, 1);
		__sync_fetch_and_add(&totals->bytes, skb->len);
	}
}

SEC("cgroup_skb/egress")
int cgroup_storage(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk)
		count_socket(skb, sk);
	return ALLOW;
}

char LICENSE[] SEC("license") = "GPL";
