/* sources: agent/spool/message.c */
/*
 * What is read lies within the message, and is the same when it is written and read again.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "spool/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_rows(const struct spool_row *a, const struct spool_row *b)
{
	assert(a->table == b->table && a->wall_us == b->wall_us && a->number == b->number);
	assert(strcmp(a->key, b->key) == 0 && a->len == b->len && !a->body == !b->body);
	assert(!a->body || memcmp(a->body, b->body, a->len) == 0);
}

static void same_states(const struct spool_state *a, const struct spool_state *b)
{
	assert(a->degraded == b->degraded && a->full == b->full && a->waiting == b->waiting);
	assert(a->bytes == b->bytes && a->oldest_us == b->oldest_us && a->errors == b->errors);
	assert(memcmp(a->dropped, b->dropped, sizeof(a->dropped)) == 0);
	assert(strcmp(a->reason, b->reason) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char again[SPOOL_MESSAGE_MAX];
	struct spool_row rows[SPOOL_ROWS_MAX], others[SPOOL_ROWS_MAX];
	struct spool_message message, other;
	const char *text = (const char *)data;
	size_t len = 0;
	int r = spool_message_read(text, size, &message, rows);

	if (r < 0) {
		assert(r == -EPROTO);
		return 0;
	}
	assert(message.kind < _SPOOL_KIND_MAX && message.n_rows <= SPOOL_ROWS_MAX);
	for (uint32_t i = 0; i < message.n_rows; i++) {
		assert(rows[i].table < _SPOOL_TABLE_MAX && rows[i].len <= SPOOL_BODY_MAX);
		assert(!rows[i].body ||
		       (rows[i].body >= text && rows[i].body + rows[i].len <= text + size));
	}
	assert(spool_message_write(&message, rows, again, &len) == 0 && len == size);
	assert(spool_message_read(again, len, &other, others) == 0);
	assert(message.kind == other.kind && message.n_rows == other.n_rows);
	assert(message.token == other.token && message.after == other.after);
	assert(message.until == other.until && message.limit == other.limit);
	assert(message.more == other.more && message.max_rows == other.max_rows);
	assert(message.max_bytes == other.max_bytes);
	assert(strcmp(message.directory, other.directory) == 0);
	same_states(&message.state, &other.state);
	for (uint32_t i = 0; i < message.n_rows; i++)
		same_rows(&rows[i], &others[i]);
	return 0;
}
