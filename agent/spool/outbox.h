/*
 * Messages that the socket to the spool did not take yet, in their order.
 *
 * Rows are bounded, SPOOL_QUEUE_BYTES_MAX with all else: the oldest of them give way to newer ones, as in the
 * spool itself. Nothing here is under way: a message leaves whole, or stays. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum outbox_kind {
	OUTBOX_QUESTION, /* never gives way; bounded by being few */
	OUTBOX_ROWS,     /* remembered only: its loss is that of a newer state's predecessor */
	OUTBOX_RECORD,   /* rows, with a record among them: its loss is counted */
};

struct outbox_message;

/* Zeroed: empty. */
struct outbox {
	struct outbox_message *first, *last;
	size_t bytes;
};

/* Copied. `lost` is raised by the records that gave way. -ENOMEM: nothing has changed; -ENOBUFS: questions alone fill it. */
int outbox_add(struct outbox *outbox, enum outbox_kind kind, const char *data, size_t len,
               uint64_t *lost);
/* The oldest, borrowed; NULL: none. */
const char *outbox_first(const struct outbox *outbox, size_t *len);
void outbox_drop_first(struct outbox *outbox);
void outbox_clear(struct outbox *outbox);
