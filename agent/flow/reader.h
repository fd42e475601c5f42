/*
 * From the programs' maps to struct flow, by mapped memory alone.
 *
 * New flows come through a ring buffer that is drained every FLOW_DRAIN_MS and
 * never wakes anybody; counters are swept every FLOW_SWEEP_MS. What happened
 * before the reader was made, while no agent was there, is read from the maps
 * at once: the callbacks fire inside flow_reader_new() for it.
 */
#pragma once

#include "base/loop.h"
#include "flow/source.h"
#include "flow/table.h"

struct flow_reader;

struct flow_reader_callbacks {
	/*
	 * A flow was seen for the first time (is_new), or on another CPU, or
	 * again after its counters had to give way. Always followed by
	 * updated() for what it brought, before the next flow.
	 */
	void (*opened)(void *user, struct flow *flow, bool is_new);
	/* Its counters moved; flow->last says when that was noticed. The sum of all deltas is the flow's total. */
	void (*updated)(void *user, struct flow *flow, const struct flow_delta *delta);
	/* A TCP connection attempt ended without one; error: errno of the socket, 0: given up by the pod. */
	void (*failed)(void *user, struct flow *flow, int error);
	void *user;
};

/* Copies source; its descriptors, loop and table are borrowed. */
int flow_reader_new(const struct flow_source *source, struct loop *loop, struct flow_table *table,
                    const struct flow_reader_callbacks *callbacks, struct flow_reader **out);
struct flow_reader *flow_reader_free(struct flow_reader *reader);

/* Drains and sweeps now: before a flow listing, at the end of `check`. */
int flow_reader_flush(struct flow_reader *reader);
/* Call before the subject is detached: takes the last counts, then forgets the subject's flows. */
void flow_reader_remove_subject(struct flow_reader *reader, uint32_t number);

struct flow_reader_stats {
	uint64_t events; /* records read from the ring */
	uint64_t
		lost; /* records the full ring refused; the flow is tried again with its next packet */
	uint64_t
		refused; /* records without a place in memory; records, or a ring, that made no sense */
	uint64_t evictions; /* flows that gave way in the table */
	uint64_t unparsed;  /* packets whose headers were truncated or too deep */
	uint64_t fragments; /* IP fragments but the first */
	uint64_t
		link_control; /* neighbour discovery, multicast membership and other on-link traffic */
	uint64_t resets;      /* TCP resets outside of a known flow */
	uint64_t probes;      /* the agent's own packets */
	uint64_t busy; /* packets of hostNetwork pods not counted: their slot was being changed */
};
struct flow_reader_stats flow_reader_stats(struct flow_reader *reader);
