#include "export/delivery.h"

#include <string.h>

#include "base/clock.h"

/*
 * What was split for its size would be again and again: it grows after so many batches in a
 * row, which bounds what is sent in vain to a ninth.
 */
#define GROW_AFTER 8

void delivery_init(struct delivery *d)
{
	memset(d, 0, sizeof(*d));
	d->limit = EXPORT_RECORDS_MAX;
}

static void wait_until(struct delivery *d, uint64_t due_ns)
{
	d->state = DELIVERY_WAIT;
	d->due_ns = due_ns;
}

/* Doubled with every failure in a row, drawn from half to one and a half of it. */
static void pause_for(struct delivery *d, uint64_t now_ns, uint32_t random, uint32_t retry_after_s)
{
	uint64_t pause_ns = EXPORT_BACKOFF_MAX_NS, asked_ns = retry_after_s * NSEC_PER_SEC;

	if (d->failures < 16 && EXPORT_BACKOFF_NS << d->failures < pause_ns)
		pause_ns = EXPORT_BACKOFF_NS << d->failures;
	if (d->failures < 16)
		d->failures++;
	pause_ns = pause_ns / 2 + (pause_ns >> 16) * (random >> 16);
	if (asked_ns > EXPORT_RETRY_AFTER_MAX_NS)
		asked_ns = EXPORT_RETRY_AFTER_MAX_NS;
	/* Not earlier than asked for, and not all nodes at once. */
	if (pause_ns < asked_ns)
		pause_ns = asked_ns + (asked_ns >> 19) * (random >> 16);
	wait_until(d, now_ns + pause_ns);
}

void delivery_kick(struct delivery *d, uint64_t now_ns)
{
	d->more = true;
	if (d->state == DELIVERY_IDLE)
		wait_until(d, now_ns + EXPORT_DELAY_NS);
}

uint64_t delivery_due(const struct delivery *d)
{
	return d->state == DELIVERY_WAIT ? d->due_ns : UINT64_MAX;
}

enum delivery_act delivery_tick(struct delivery *d, uint64_t now_ns)
{
	if (d->state != DELIVERY_WAIT || now_ns < d->due_ns)
		return DELIVERY_NONE;
	if (d->held > 0) {
		d->state = DELIVERY_SENDING;
		return DELIVERY_SEND;
	}
	d->state = DELIVERY_READING;
	d->more = false; /* what comes from now on may not be among it */
	return DELIVERY_READ;
}

static void halve(struct delivery *d, size_t n)
{
	d->limit = n > 1 ? n / 2 : 1;
	d->accepted = 0;
}

enum delivery_act delivery_read(struct delivery *d, uint64_t now_ns, uint32_t random, int r,
                                size_t n, int64_t last, bool more)
{
	if (r < 0) { /* for want of memory, perhaps: less is asked for */
		halve(d, d->limit);
		d->more = true;
		pause_for(d, now_ns, random, 0);
		return DELIVERY_NONE;
	}
	d->more |= more;
	if (n == 0 && d->more) {
		wait_until(d, now_ns + EXPORT_DELAY_NS);
		return DELIVERY_NONE;
	}
	if (n == 0) {
		d->state = DELIVERY_IDLE;
		return DELIVERY_NONE;
	}
	d->held = n;
	d->last = last;
	d->state = DELIVERY_SENDING;
	return DELIVERY_SEND;
}

/* The batch is done with; what waits is next, at once. */
static void advance(struct delivery *d, uint64_t now_ns)
{
	d->done = d->last;
	d->held = 0;
	d->refusals = d->failures = 0;
	d->refused_alone = false;
	if (d->more)
		wait_until(d, now_ns);
	else
		d->state = DELIVERY_IDLE;
}

static void grow(struct delivery *d)
{
	/* What was in the way was that record, or that the collector refused everything. */
	if (d->refused_alone) {
		d->limit = EXPORT_RECORDS_MAX;
		d->accepted = 0;
	} else if (++d->accepted >= GROW_AFTER) {
		d->limit = d->limit < EXPORT_RECORDS_MAX / 2 ? d->limit * 2 : EXPORT_RECORDS_MAX;
		d->accepted = 0;
	}
}

enum delivery_act delivery_answered(struct delivery *d, uint64_t now_ns, uint32_t random,
                                    enum export_result result, uint32_t retry_after_s)
{
	switch (result) {
	case EXPORT_OK:
		grow(d);
		advance(d, now_ns);
		return DELIVERY_DONE;
	case EXPORT_REFUSED:
		if (d->held == 1) {
			d->refused_alone = true;
			d->state = DELIVERY_WITNESSING;
			return DELIVERY_WITNESS;
		}
		halve(d, d->held);
		d->held = 0;
		d->more = true;
		wait_until(d, now_ns);
		return DELIVERY_SPLIT;
	default:
		pause_for(d, now_ns, random, retry_after_s);
		return DELIVERY_NONE;
	}
}

enum delivery_act delivery_witnessed(struct delivery *d, uint64_t now_ns, uint32_t random,
                                     enum export_result result, uint32_t retry_after_s)
{
	if (result != EXPORT_OK || ++d->refusals < EXPORT_REFUSALS_MAX) {
		pause_for(d, now_ns, random, retry_after_s);
		return DELIVERY_NONE;
	}
	d->limit = EXPORT_RECORDS_MAX;
	d->accepted = 0;
	advance(d, now_ns);
	return DELIVERY_GIVE_UP;
}
