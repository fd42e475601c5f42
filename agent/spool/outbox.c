#include "spool/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

struct outbox_message {
	struct outbox_message *next;
	size_t len;
	enum outbox_kind kind;
	char data[];
};

static size_t weight(size_t len)
{
	return sizeof(struct outbox_message) + len;
}

/* The one that follows `before`; NULL: the first. */
static void unlink_after(struct outbox *outbox, struct outbox_message *before)
{
	struct outbox_message **at = before ? &before->next : &outbox->first, *gone = *at;

	*at = gone->next;
	if (outbox->last == gone)
		outbox->last = before;
	outbox->bytes -= weight(gone->len);
	free(gone);
}

/* Questions are few, and all of them are passed over at most. */
static bool make_room(struct outbox *outbox, size_t wanted, uint64_t *lost)
{
	struct outbox_message *before = NULL, *message = outbox->first;

	while (message && outbox->bytes + wanted > SPOOL_QUEUE_BYTES_MAX) {
		if (message->kind == OUTBOX_QUESTION) {
			before = message;
		} else {
			*lost += message->kind == OUTBOX_RECORD;
			unlink_after(outbox, before);
		}
		message = before ? before->next : outbox->first;
	}
	return outbox->bytes + wanted <= SPOOL_QUEUE_BYTES_MAX;
}

int outbox_add(struct outbox *outbox, enum outbox_kind kind, const char *data, size_t len,
               uint64_t *lost)
{
	struct outbox_message *added = malloc(weight(len));

	if (!added)
		return -ENOMEM;
	if (kind != OUTBOX_QUESTION && !make_room(outbox, weight(len), lost)) {
		free(added);
		return -ENOBUFS;
	}
	added->next = NULL;
	added->len = len;
	added->kind = kind;
	memcpy(added->data, data, len);
	if (outbox->last)
		outbox->last->next = added;
	else
		outbox->first = added;
	outbox->last = added;
	outbox->bytes += weight(len);
	return 0;
}

const char *outbox_first(const struct outbox *outbox, size_t *len)
{
	if (!outbox->first)
		return NULL;
	*len = outbox->first->len;
	return outbox->first->data;
}

void outbox_drop_first(struct outbox *outbox)
{
	if (outbox->first)
		unlink_after(outbox, NULL);
}

void outbox_clear(struct outbox *outbox)
{
	while (outbox->first)
		unlink_after(outbox, NULL);
}
