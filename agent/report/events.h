/*
 * Server-sent events: every change of a state or a violation, to whoever
 * listens.
 *
 * A few are kept, so that a reader that lost its connection misses nothing; one
 * that was away longer is told to read everything again (event "resync").
 */
#pragma once

#include "io/http_server.h"
#include "verdict/judge.h"
#include "verdict/violations.h"

struct events;

/* `epoch` tells this run's ids from an earlier one's. */
int events_new(int64_t epoch, struct events **out);
struct events *events_free(struct events *events);

void events_violation(struct events *events, const struct violation *violation,
                      enum violation_change change);
/*
 * A change of state in two steps, because it is told when it is kept, and the subject may be gone by then.
 * `from` _STATE_MAX: it was not known before. EVENT_BYTES_MAX are enough.
 */
void events_state_write(const struct subject *subject, const struct judge_record *record,
                        enum subject_state from, struct buf *json);
void events_state(struct events *events, const struct buf *json);

/* Makes the request's answer a stream; -EBUSY: too many. */
int events_open(struct events *events, const struct http_server_request *request);

struct events_stats {
	uint64_t lost;        /* not kept: too large, or no memory */
	unsigned int readers; /* now */
};
struct events_stats events_stats(const struct events *events);
