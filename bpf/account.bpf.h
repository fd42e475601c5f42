/*
 * Counting a packet in its flow's slot, and giving a slot to a new flow.
 *
 * tcx programs run with bottom halves disabled (__dev_queue_xmit() takes
 * rcu_read_lock_bh()), so on one CPU one follows the other and plain additions
 * to a CPU's own slots lose nothing. cgroup programs run in the sender's
 * context and may be interrupted by a packet that a softirq sends: they have
 * slots of their own, each with a lock that is tried and never waited for.
 */
#ifndef ACCOUNT_BPF_H
#define ACCOUNT_BPF_H

struct place {
	__u32 base, mask; /* of this CPU's slots */
	bool shared;
};

static __always_inline struct place find_place(bool shared)
{
	__u32 cpu = bpf_get_smp_processor_id();

	/* A CPU that was plugged in since the maps were made shares slots with another. */
	if (!shared && cpu < n_cpus)
		return (struct place){ cpu * n_slots, n_slots - 1, false };
	return (struct place){ n_cpus * n_slots + (cpu % n_cpus) * FLOW_SHARED_SLOTS,
			       FLOW_SHARED_SLOTS - 1, true };
}

/* What one packet adds; `fresh` is the slot as it begins with this packet. */
static __always_inline void measure(struct __sk_buff *skb, const struct packet *p,
				    struct flow_slot *fresh)
{
	__u32 segments = skb->gso_segs;

	fresh->packets = 1;
	fresh->bytes = skb->len - p->net_offset;
	if (segments > 1) {
		fresh->packets = segments;
		fresh->bytes += (segments - 1) * (p->offset - p->net_offset + p->transport_len);
	}
}

/* The part of the hash that both ways to look at a packet have in common. */
static __always_inline __u64 hash_peer(const struct packet *p, __u32 owner, __u32 ifindex)
{
	__u64 h = (p->remote[0] + seed) * 0x9e3779b97f4a7c15ULL;

	h ^= (p->remote[1] + (seed >> 7)) * 0xc2b2ae3d27d4eb4fULL;
	h ^= (((__u64)owner << 32 | ifindex) + seed) * 0xd6e8feb86659fd93ULL;
	return h ^ h >> 32;
}

static __always_inline __u32 hash_tail(__u64 peer, const struct flow_id *id)
{
	__u64 tail = (__u64)id->opened_by << 24 | (__u32)id->protocol << 16 | id->port;
	__u64 h = (peer ^ tail) * 0xff51afd7ed558ccdULL;

	return h >> 32 ^ h >> 13;
}

static __always_inline void set_opener(struct flow_id *id, const struct packet *p,
				       enum flow_opened_by by)
{
	id->opened_by = by;
	id->port = by == FLOW_BY_POD ? p->remote_port : p->local_port;
}

static __always_inline bool is_same(const struct flow_slot *a, const struct flow_slot *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] &&
	       *(const __u32 *)(x + 3) == *(const __u32 *)(y + 3);
}

static __always_inline bool lock(struct flow_slot *slot, const struct place *place)
{
	if (!place->shared || __sync_val_compare_and_swap(&slot->lock, 0, 1) == 0)
		return true;
	count(FLOW_COUNT_BUSY);
	return false;
}

static __always_inline void unlock(struct flow_slot *slot, const struct place *place)
{
	if (place->shared)
		__sync_lock_test_and_set(&slot->lock, 0);
}

static __always_inline void add_packet(struct __sk_buff *skb, const struct packet *p,
				       struct flow_slot *slot, const struct flow_slot *fresh)
{
	slot->packets += fresh->packets;
	slot->bytes += fresh->bytes;
	if (p->protocol == IPPROTO_TCP && (p->tcp == TCP_SYN || p->tcp == TCP_SYN_ACK) &&
	    !packet_is_retransmission(skb))
		slot->connections++;
}

/* True: counted, or not to be counted. False: another flow has the slot. */
static __always_inline bool count_known(struct __sk_buff *skb, const struct packet *p,
					const struct place *place, __u64 peer,
					const struct flow_slot *fresh)
{
	__u32 index = place->base + (hash_tail(peer, &fresh->id) & place->mask);
	struct flow_slot *slot = bpf_map_lookup_elem(&slots, &index);
	bool same;

	if (!slot || !lock(slot, place))
		return true;
	same = is_same(slot, fresh);
	if (same)
		add_packet(skb, p, slot, fresh);
	unlock(slot, place);
	return same;
}

/* The exchanges order the stores between them: a reader that finds first_ns unchanged read one flow. */
static __always_inline void occupy(struct flow_slot *slot, const struct flow_slot *fresh)
{
	__sync_lock_test_and_set(&slot->first_ns, 0);
	slot->id = fresh->id;
	slot->connections = fresh->connections;
	slot->packets = fresh->packets;
	slot->bytes = fresh->bytes;
	__sync_lock_test_and_set(&slot->first_ns, fresh->first_ns);
}

/* First the record, then the slot: a flow that cannot be told is tried again with its next packet. */
static __always_inline void take_over(struct flow_slot *slot, __u32 index, struct flow_slot *fresh)
{
	struct flow_opened *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record) {
		count(FLOW_COUNT_LOST);
		return;
	}
	fresh->first_ns = bpf_ktime_get_ns();
	record->kind = FLOW_RECORD_OPENED;
	record->slot = index;
	record->now = *fresh;
	record->victim = *slot;
	occupy(slot, fresh);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void open_flow(struct __sk_buff *skb, const struct packet *p,
				      const struct place *place, __u64 peer,
				      struct flow_slot *fresh)
{
	__u32 index = place->base + (hash_tail(peer, &fresh->id) & place->mask);
	struct flow_slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot || !lock(slot, place))
		return;
	fresh->connections = p->protocol != IPPROTO_TCP ||
			     ((p->tcp == TCP_SYN || p->tcp == TCP_SYN_ACK) &&
			      !packet_is_retransmission(skb));
	take_over(slot, index, fresh);
	unlock(slot, place);
}

static __always_inline void account(struct __sk_buff *skb, const struct packet *p, __u32 owner,
				    bool shared)
{
	__u64 peer = hash_peer(p, owner, skb->ifindex);
	enum opener opener = opener_by_headers(p);
	struct place place = find_place(shared);
	struct flow_slot fresh = { 0 };

	__builtin_memcpy(fresh.id.remote, p->remote, sizeof(fresh.id.remote));
	fresh.id.owner = owner;
	fresh.id.ifindex = skb->ifindex;
	fresh.id.protocol = p->protocol;
	measure(skb, p, &fresh);

	if (opener != OPENER_REMOTE) {
		set_opener(&fresh.id, p, FLOW_BY_POD);
		if (count_known(skb, p, &place, peer, &fresh))
			return;
	}
	if (opener != OPENER_POD) {
		set_opener(&fresh.id, p, FLOW_BY_REMOTE);
		if (count_known(skb, p, &place, peer, &fresh))
			return;
	}

	opener = find_opener(skb, p, owner, opener);
	if (opener == OPENER_NOBODY) {
		count(FLOW_COUNT_RESET);
		return;
	}
	set_opener(&fresh.id, p, opener == OPENER_REMOTE ? FLOW_BY_REMOTE : FLOW_BY_POD);
	open_flow(skb, p, &place, peer, &fresh);
}

#endif
