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

/* Everything a slot is found and filled by. */
struct seen {
	const struct packet *p;
	struct place place;
	__u32 owner, ifindex;
	__u64 peer; /* hash */
};

struct amount {
	__u64 packets, bytes;
};

/* A GSO packet leaves as segments, each with the headers again. */
static __always_inline struct amount measure(struct __sk_buff *skb, const struct packet *p)
{
	struct amount amount = { 1, skb->len - p->net_offset };
	__u32 segments = skb->gso_segs;

	if (segments > 1) {
		amount.packets = segments;
		amount.bytes += (segments - 1) * (p->offset - p->net_offset + p->transport_len);
	}
	return amount;
}

static __always_inline bool is_connection(struct __sk_buff *skb, const struct packet *p)
{
	return p->protocol == IPPROTO_TCP && (p->tcp == TCP_SYN || p->tcp == TCP_SYN_ACK) &&
	       !packet_is_retransmission(skb);
}

/* The words of struct flow_id, one by one from registers. */
static __always_inline bool is_same(const struct flow_slot *slot, const struct seen *seen,
                                    __u32 tail)
{
	const __u64 *words = (const void *)slot;

	return words[0] == seen->p->remote[0] && words[1] == seen->p->remote[1] &&
	       words[2] == ((__u64)seen->ifindex << 32 | seen->owner) &&
	       *(const __u32 *)(words + 3) == tail;
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
                                       struct flow_slot *slot)
{
	struct amount amount = measure(skb, p);

	slot->packets += amount.packets;
	slot->bytes += amount.bytes;
	if (is_connection(skb, p))
		slot->connections++;
}

static __always_inline __u32 slot_index(const struct seen *seen, __u32 tail)
{
	return seen->place.base + (hash_tail(seen->peer, tail) >> 32 & seen->place.mask);
}

/* A full ring loses nothing here: the slot stays watched, and its counters are swept. */
static __always_inline void tell_resumed(struct flow_slot *slot, __u32 index)
{
	struct flow_resumed *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return;
	slot->watched = 0;
	record->kind = FLOW_RECORD_RESUMED;
	record->slot = index;
	record->time_ns = bpf_ktime_get_ns();
	record->now = *slot;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* True: counted, or not to be counted. False: another flow has the slot. */
static __always_inline bool count_known(struct __sk_buff *skb, const struct seen *seen,
                                        enum flow_opened_by by)
{
	__u32 tail = tail_of(seen->p, by), index = slot_index(seen, tail);
	struct flow_slot *slot = bpf_map_lookup_elem(&slots, &index);
	bool same;

	if (!slot || !lock(slot, &seen->place))
		return true;
	same = is_same(slot, seen, tail);
	if (same) {
		add_packet(skb, seen->p, slot);
		if (slot->watched)
			tell_resumed(slot, index);
	}
	unlock(slot, &seen->place);
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
	slot->watched = 0;
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

static __always_inline void fill(struct __sk_buff *skb, const struct seen *seen,
                                 enum flow_opened_by by, struct flow_slot *fresh)
{
	struct amount amount = measure(skb, seen->p);

	__builtin_memcpy(fresh->id.remote, seen->p->remote, sizeof(fresh->id.remote));
	fresh->id.owner = seen->owner;
	fresh->id.ifindex = seen->ifindex;
	fresh->id.port = by == FLOW_BY_POD ? seen->p->remote_port : seen->p->local_port;
	fresh->id.protocol = seen->p->protocol;
	fresh->id.opened_by = by;
	fresh->connections = seen->p->protocol != IPPROTO_TCP || is_connection(skb, seen->p);
	fresh->packets = amount.packets;
	fresh->bytes = amount.bytes;
}

static __always_inline void open_flow(struct __sk_buff *skb, const struct seen *seen,
                                      enum flow_opened_by by)
{
	__u32 index = slot_index(seen, tail_of(seen->p, by));
	struct flow_slot *slot = bpf_map_lookup_elem(&slots, &index);
	struct flow_slot fresh = { 0 };

	if (!slot || !lock(slot, &seen->place))
		return;
	fill(skb, seen, by, &fresh);
	take_over(slot, index, &fresh);
	unlock(slot, &seen->place);
}

static __always_inline void account(struct __sk_buff *skb, const struct packet *p, __u32 owner,
                                    bool shared)
{
	enum opener opener = opener_by_headers(p);
	struct seen seen = { .p = p,
		             .place = find_place(shared),
		             .owner = owner,
		             .ifindex = skb->ifindex,
		             .peer = hash_peer(p, owner, skb->ifindex) };

	if (opener != OPENER_REMOTE && count_known(skb, &seen, FLOW_BY_POD))
		return;
	if (opener != OPENER_POD && count_known(skb, &seen, FLOW_BY_REMOTE))
		return;

	opener = find_opener(skb, p, owner, opener);
	if (opener == OPENER_NOBODY)
		count(FLOW_COUNT_RESET);
	else
		open_flow(skb, &seen, opener == OPENER_REMOTE ? FLOW_BY_REMOTE : FLOW_BY_POD);
}

#endif
