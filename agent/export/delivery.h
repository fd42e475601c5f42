/*
 * What to send next, and when: records in their order, one request at a time.
 *
 * Knows no sockets, no clock and no records, only their numbers. It is told what came and
 * answers what to do; times, and randomness for what must not happen on all nodes at once, are
 * handed in. The rules are those at the top of export/exporter.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/exporter.h"
#include "limits.h"

enum delivery_state {
	DELIVERY_IDLE,    /* nothing waits */
	DELIVERY_WAIT,    /* until due_ns */
	DELIVERY_READING, /* the spool was asked */
	DELIVERY_SENDING,
	DELIVERY_WITNESSING, /* a heartbeat is out: does the collector take anything? */
};

enum delivery_act {
	DELIVERY_NONE,
	DELIVERY_READ,    /* up to `limit` records after `done`; then delivery_read() */
	DELIVERY_SEND,    /* the batch; then delivery_answered() */
	DELIVERY_WITNESS, /* a heartbeat; then delivery_witnessed() */
	DELIVERY_DONE,    /* the batch is at the collector, up to `done` */
	DELIVERY_SPLIT,   /* forget the batch: less of it is read next */
	DELIVERY_GIVE_UP, /* the batch, of one, is given up, up to `done` */
};

/* Open only to be embedded. */
struct delivery {
	enum delivery_state state;
	uint64_t due_ns;
	int64_t done; /* records up to this number are at the collector, or given up */
	bool more;    /* there is more, as far as is known */

	/* the batch that is held: read, and not yet answered for */
	size_t held;  /* records; 0: none */
	int64_t last; /* the number of its last */

	size_t limit;          /* of the next batch */
	unsigned int accepted; /* batches in a row at this limit */
	unsigned int failures; /* in a row, for the next pause */
	unsigned int refusals; /* of the record that is held, alone, while others were taken */
	bool refused_alone;    /* the newest batch was a single one, and refused */
};

void delivery_init(struct delivery *delivery);

/* There is something new. */
void delivery_kick(struct delivery *delivery, uint64_t now_ns);
/* When delivery_tick() is to be called; UINT64_MAX: not before something came. */
uint64_t delivery_due(const struct delivery *delivery);
/* NONE, READ or SEND. */
enum delivery_act delivery_tick(struct delivery *delivery, uint64_t now_ns);

/*
 * What READ brought: `n` records, the last with number `last`; `more`: there are others.
 * r < 0: it failed, or the batch could not be made. NONE or SEND.
 */
enum delivery_act delivery_read(struct delivery *delivery, uint64_t now_ns, uint32_t random, int r,
                                size_t n, int64_t last, bool more);
/* What became of SEND: NONE (the same again, later), DONE, SPLIT or WITNESS. */
enum delivery_act delivery_answered(struct delivery *delivery, uint64_t now_ns, uint32_t random,
                                    enum export_result result, uint32_t retry_after_s);
/* What became of WITNESS: NONE or GIVE_UP. */
enum delivery_act delivery_witnessed(struct delivery *delivery, uint64_t now_ns, uint32_t random,
                                     enum export_result result, uint32_t retry_after_s);
