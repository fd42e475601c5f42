/*
 * Every map, its key, value, size and why.
 */
#ifndef MAPS_BPF_H
#define MAPS_BPF_H

/*
 * Counters: per CPU, direct-mapped by a hash of the flow. An array of our own
 * partition and not a per-CPU array, because that cannot be mapped into the
 * agent. The agent sets the size.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_slot);
} slots SEC(".maps");

/* struct flow_opened and struct flow_failed. Nobody is ever woken. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 << 10);
} ring SEC(".maps");

/*
 * Who sent first, where neither TCP flags nor conntrack tell: fingerprints of
 * "the pod opened something to this address and port" and "this address opened
 * something to that port of the pod", each in the place its hash says. A newer
 * one may take the place of an older. 128 KiB, small enough
 * to stay in cache; an LRU hash would cost 300 ns per new
 * flow, this costs 5.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_OPENED_ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} opened SEC(".maps");

/* Per subject number: 1 while its packets carry conntrack entries, so ingress need not remember. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_OWNERS);
	__type(key, __u32);
	__type(value, __u8);
} tracked SEC(".maps");

/* Cookie of a subject's network namespace to its owner number: for failed connections. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_OWNERS);
	__type(key, __u64);
	__type(value, __u32);
} namespaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, _FLOW_COUNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* struct flow_layout, for the agent that takes the maps over. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_layout);
} layout_map SEC(".maps");

/*
 * bpf_skb_cgroup_id() of the sockets of every agent on this node, which all
 * share this map (agent/flow/probers.h). Not an LRU hash: that gives up
 * entries long before it is full, because each CPU takes free places for itself
 * (kernel/bpf/bpf_lru_list.c, LOCAL_FREE_TARGET), and one given up here is a
 * running agent's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FLOW_PROBERS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} probers SEC(".maps");

/* Copy of struct flow_layout: constants to the verifier. */
const volatile __u32 n_cpus = 1;
const volatile __u32 n_slots = 1;
const volatile __u64 seed;

/* What learn_own_cgroup found, for user space. */
__u64 own_cgroup;

static __always_inline void count(enum flow_count which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	if (value)
		*value += 1;
}

#endif
