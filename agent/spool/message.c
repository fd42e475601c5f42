#include "spool/message.h"

#include <errno.h>
#include <string.h>

/* As on the wire: no padding, and nothing whose every value is not good until it was looked at. */
struct wire_header {
	uint32_t kind, n_rows, max_rows, max_bytes;
	uint64_t token;
	int64_t after, until;
	uint64_t limit;
	uint64_t more;
};

/* After the header of END and KEPT. */
struct wire_state {
	uint64_t waiting, bytes;
	int64_t oldest_us;
	uint64_t dropped[_SPOOL_DROP_MAX];
	uint64_t errors;
	uint32_t degraded, full;
	char reason[SPOOL_TEXT_MAX];
};

#define NO_BODY (-1)

struct wire_row {
	uint32_t table;
	int32_t len; /* of the body that follows; NO_BODY */
	int64_t wall_us, number;
	char key[SPOOL_KEY_MAX];
};

_Static_assert(sizeof(struct wire_header) + sizeof(struct wire_state) + SPOOL_DIRECTORY_MAX <=
                       sizeof(struct spool_message),
               "a message may be longer than SPOOL_MESSAGE_MAX says");
_Static_assert(sizeof(struct wire_row) <= 128, "a row is longer than SPOOL_MESSAGE_MAX says");

const char *spool_drop_name(enum spool_drop drop)
{
	static const char *const names[] = {
		[SPOOL_DROP_FULL] = "full",
		[SPOOL_DROP_AGE] = "age",
		[SPOOL_DROP_CORRUPT] = "corrupt",
		[SPOOL_DROP_FAILED] = "failed",
	};

	_Static_assert(sizeof(names) / sizeof(names[0]) == _SPOOL_DROP_MAX, "a drop has no name");
	return names[drop];
}

static bool has_rows(uint32_t kind)
{
	return kind == SPOOL_PUT || kind == SPOOL_ROWS;
}

static bool has_state(uint32_t kind)
{
	return kind == SPOOL_END || kind == SPOOL_KEPT;
}

static bool counts(uint32_t kind, uint32_t n_rows)
{
	return has_rows(kind) ? n_rows > 0 && n_rows <= SPOOL_ROWS_MAX : n_rows == 0;
}

/* Writing */

struct writer {
	char *out;
	size_t len;
};

static int put(struct writer *w, const void *data, size_t len)
{
	if (len > SPOOL_MESSAGE_MAX - w->len)
		return -EMSGSIZE;
	if (len)
		memcpy(w->out + w->len, data, len);
	w->len += len;
	return 0;
}

/* The rest of `to` is zero: nothing of this process's memory goes along. */
static int copy_text(char *to, const char *from, size_t max)
{
	size_t len = strnlen(from, max);

	if (len == max)
		return -EMSGSIZE;
	memset(to, 0, max);
	memcpy(to, from, len);
	return 0;
}

static int put_state(struct writer *w, const struct spool_state *state)
{
	struct wire_state wire = { .waiting = state->waiting,
		                   .bytes = state->bytes,
		                   .oldest_us = state->oldest_us,
		                   .errors = state->errors,
		                   .degraded = state->degraded,
		                   .full = state->full };
	int r;

	memcpy(wire.dropped, state->dropped, sizeof(wire.dropped));
	r = copy_text(wire.reason, state->reason, sizeof(wire.reason));
	return r ?: put(w, &wire, sizeof(wire));
}

static int put_directory(struct writer *w, const char *directory)
{
	char wire[SPOOL_DIRECTORY_MAX];

	return copy_text(wire, directory, sizeof(wire)) ?: put(w, wire, sizeof(wire));
}

static int put_row(struct writer *w, const struct spool_row *row)
{
	struct wire_row wire = {
		.table = row->table, .len = NO_BODY, .wall_us = row->wall_us, .number = row->number
	};
	int r;

	if (row->body && row->len > SPOOL_BODY_MAX)
		return -EMSGSIZE;
	if (row->body)
		wire.len = (int32_t)row->len;
	r = copy_text(wire.key, row->key, sizeof(wire.key));
	r = r ?: put(w, &wire, sizeof(wire));
	return r ?: put(w, row->body, row->body ? row->len : 0);
}

int spool_message_write(const struct spool_message *message, const struct spool_row *rows,
                        char *out, size_t *len)
{
	const struct wire_header header = { .kind = message->kind,
		                            .n_rows = message->n_rows,
		                            .max_rows = message->max_rows,
		                            .max_bytes = message->max_bytes,
		                            .token = message->token,
		                            .after = message->after,
		                            .until = message->until,
		                            .limit = message->limit,
		                            .more = message->more };
	struct writer w = { .out = out };
	int r;

	if (!counts(message->kind, message->n_rows))
		return -EMSGSIZE;
	r = put(&w, &header, sizeof(header));
	if (r == 0 && message->kind == SPOOL_OPEN)
		r = put_directory(&w, message->directory);
	if (r == 0 && has_state(message->kind))
		r = put_state(&w, &message->state);
	for (uint32_t i = 0; i < message->n_rows && r == 0; i++)
		r = put_row(&w, &rows[i]);
	if (r == 0)
		*len = w.len;
	return r;
}

/* Reading */

struct reader {
	const char *at;
	size_t left;
};

static int take(struct reader *reader, void *out, size_t len)
{
	if (len > reader->left)
		return -EPROTO;
	memcpy(out, reader->at, len);
	reader->at += len;
	reader->left -= len;
	return 0;
}

static bool is_text(const char *text, size_t max)
{
	return memchr(text, '\0', max) != NULL;
}

static int take_header(struct reader *reader, struct spool_message *message)
{
	struct wire_header wire;
	int r = take(reader, &wire, sizeof(wire));

	if (r < 0)
		return r;
	if (wire.kind >= _SPOOL_KIND_MAX || !counts(wire.kind, wire.n_rows) || wire.more > 1)
		return -EPROTO;
	*message = (struct spool_message){ .kind = wire.kind,
		                           .n_rows = wire.n_rows,
		                           .token = wire.token,
		                           .after = wire.after,
		                           .until = wire.until,
		                           .max_rows = wire.max_rows,
		                           .max_bytes = wire.max_bytes,
		                           .limit = wire.limit,
		                           .more = wire.more };
	return 0;
}

static int take_directory(struct reader *reader, char directory[static SPOOL_DIRECTORY_MAX])
{
	int r = take(reader, directory, SPOOL_DIRECTORY_MAX);

	if (r < 0)
		return r;
	return is_text(directory, SPOOL_DIRECTORY_MAX) && directory[0] == '/' ? 0 : -EPROTO;
}

static int take_state(struct reader *reader, struct spool_state *state)
{
	struct wire_state wire;
	int r = take(reader, &wire, sizeof(wire));

	if (r < 0)
		return r;
	if (wire.degraded > 1 || wire.full > 1 || !is_text(wire.reason, sizeof(wire.reason)))
		return -EPROTO;
	*state = (struct spool_state){ .degraded = wire.degraded,
		                       .waiting = wire.waiting,
		                       .bytes = wire.bytes,
		                       .oldest_us = wire.oldest_us,
		                       .errors = wire.errors,
		                       .full = wire.full };
	memcpy(state->dropped, wire.dropped, sizeof(state->dropped));
	memcpy(state->reason, wire.reason, sizeof(state->reason));
	return 0;
}

static int take_row(struct reader *reader, struct spool_row *row)
{
	struct wire_row wire;
	int r = take(reader, &wire, sizeof(wire));

	if (r < 0)
		return r;
	if (wire.table >= _SPOOL_TABLE_MAX || wire.len < NO_BODY ||
	    wire.len > (int32_t)SPOOL_BODY_MAX || !is_text(wire.key, sizeof(wire.key)))
		return -EPROTO;
	*row = (struct spool_row){ .table = wire.table,
		                   .wall_us = wire.wall_us,
		                   .number = wire.number };
	memcpy(row->key, wire.key, sizeof(row->key));
	if (wire.len == NO_BODY)
		return 0;
	if ((size_t)wire.len > reader->left)
		return -EPROTO;
	row->body = reader->at;
	row->len = (size_t)wire.len;
	reader->at += row->len;
	reader->left -= row->len;
	return 0;
}

int spool_message_read(const char *data, size_t len, struct spool_message *message,
                       struct spool_row rows[static SPOOL_ROWS_MAX])
{
	struct reader reader = { data, len };
	int r = len <= SPOOL_MESSAGE_MAX ? 0 : -EPROTO;

	r = r ?: take_header(&reader, message);
	if (r == 0 && message->kind == SPOOL_OPEN)
		r = take_directory(&reader, message->directory);
	if (r == 0 && has_state(message->kind))
		r = take_state(&reader, &message->state);
	for (uint32_t i = 0; r == 0 && i < message->n_rows; i++)
		r = take_row(&reader, &rows[i]);
	return r ?: reader.left ? -EPROTO : 0;
}
