/*
 * What the packet programs and the agent share.
 *
 * The one file both sides include, so it uses kernel types only and includes
 * nothing: the BPF side gets them from vmlinux.h, the agent from
 * <linux/types.h>. Every field has a fixed width, padding is spelled out, and
 * the sizes are asserted by whichever compiler reads it. It is also what a
 * program left by an earlier agent and its successor agree on: any change of
 * meaning raises FLOW_LAYOUT_VERSION.
 *
 * Addresses are in network byte order, IPv4 as IPv4-mapped; all else is in
 * host order.
 */
#ifndef FLOW_EVENT_H
#define FLOW_EVENT_H

#define FLOW_LAYOUT_VERSION 2

/*
 * Packets with this skb->priority that come from the cgroup of an agent are
 * its probes. A pod may copy the priority but not the cgroup.
 */
#define FLOW_PROBE_PRIORITY 0x65760001

/*
 * Placeholders in the programs: 64-bit immediates whose upper half is one of
 * these. The loader writes the lower half, once per subject and interface kind.
 */
#define FLOW_PATCH_OWNER 0x65766f77 /* which subject: see FLOW_OWNER_BITS */
#define FLOW_PATCH_L2 0x65766c32    /* bytes before the IP header: 14, or 0 on a tunnel */

/*
 * The owner of a slot: the subject's number in the low bits, above it a count
 * of attachments, so that a slot of a pod that is gone never looks like one of
 * the pod that got its number.
 */
#define FLOW_OWNER_BITS 10
#define FLOW_OWNERS (1 << FLOW_OWNER_BITS)

/* Slots per CPU for what cgroup programs count. */
#define FLOW_SHARED_SLOTS 512

/* Peers that are remembered, a power of two. */
#define FLOW_OPENED_ENTRIES 16384

/* Cgroups that probes come from: the agent's, and those of every `check` beside it. */
#define FLOW_PROBERS_MAX 256

enum flow_opened_by {
	FLOW_BY_POD,
	FLOW_BY_REMOTE,
};

struct flow_id {
	__u8 remote[16];
	__u32 owner;
	__u32 ifindex;
	__u16 port; /* opened by the pod: the remote's; else the pod's own */
	__u8 protocol;
	__u8 opened_by; /* enum flow_opened_by */
};

/*
 * One flow's counters on one CPU. first_ns is 0 while the slot is empty or
 * changes hands, and tells one occupation of the slot from the next.
 */
struct flow_slot {
	struct flow_id id;
	__u32 connections; /* TCP: SYN (or SYN+ACK) that were no retransmission */
	__u64 packets;     /* as they leave the interface: segments, not GSO packets */
	__u64 bytes;       /* from the IP header on */
	__u64 first_ns;    /* bpf_ktime_get_ns() */
	__u32 lock;        /* only used by cgroup programs */
	__u32 watched;     /* the agent asks for a record of the next packet, and gets one */
};

enum flow_record_kind {
	FLOW_RECORD_OPENED,
	FLOW_RECORD_FAILED,
	FLOW_RECORD_RESUMED,
};

/* A slot has a new occupant. */
struct flow_opened {
	__u32 kind; /* FLOW_RECORD_OPENED */
	__u32 slot; /* index in the map */
	struct flow_slot now;
	struct flow_slot
		victim; /* the previous occupant's last state; first_ns 0: there was none */
};

/* A TCP connection ended in SYN_SENT. */
struct flow_failed {
	__u32 kind; /* FLOW_RECORD_FAILED */
	__u32 owner;
	__u8 remote[16];
	__u16 port;
	__u16 error;   /* errno of the socket; 0: the pod gave up */
	__u32 ifindex; /* where it was routed; 0: not known */
	__u64 time_ns;
};

/* A watched flow sent again. */
struct flow_resumed {
	__u32 kind; /* FLOW_RECORD_RESUMED */
	__u32 slot; /* index in the map */
	__u64 time_ns;
	struct flow_slot now; /* with that packet */
};

enum flow_count {
	FLOW_COUNT_LOST,      /* records that the full ring refused */
	FLOW_COUNT_UNPARSED,  /* truncated, or too many extension headers */
	FLOW_COUNT_FRAGMENT,  /* IP fragments but the first */
	FLOW_COUNT_CONTROL,   /* on-link traffic of the kernel */
	FLOW_COUNT_RESET,     /* TCP RST outside of a known flow */
	FLOW_COUNT_PROBE,     /* the agent's own packets */
	FLOW_COUNT_BUSY,      /* not counted because the slot was locked */
	FLOW_COUNT_CONNTRACK, /* flows whose opener conntrack told */
	_FLOW_COUNT_MAX,
};

/* What the pinned maps were made for. Written once, before any program. */
struct flow_layout {
	__u32 version;
	__u32 cpus;        /* CPUs with slots of their own */
	__u32 slots;       /* of one CPU, a power of two */
	__u32 attachments; /* made so far: upper part of the last owner number */
	__u64 seed;        /* of the hash: a pod must not be able to choose its slots */
};

_Static_assert(sizeof(struct flow_id) == 28, "flow_id changed size");
_Static_assert(sizeof(struct flow_slot) == 64, "flow_slot changed size");
_Static_assert(sizeof(struct flow_opened) == 136, "flow_opened changed size");
_Static_assert(sizeof(struct flow_failed) == 40, "flow_failed changed size");
_Static_assert(sizeof(struct flow_resumed) == 80, "flow_resumed changed size");
_Static_assert(sizeof(struct flow_layout) == 24, "flow_layout changed size");

#endif
