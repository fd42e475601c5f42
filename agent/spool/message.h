/*
 * What the worker and the process that keeps the spool say to each other.
 *
 * Over a SOCK_SEQPACKET pair, one message a datagram: a header of fixed size, then the rows that
 * it announces, each a header of fixed size and its text. Both sides are the same program; each
 * believes no message all the same: what is not exactly as announced is refused whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

/* What a row is of. */
enum spool_table {
	SPOOL_RECORD,    /* waits for the collector: key log.record.uid, body an OTLP LogRecord */
	SPOOL_VIOLATION, /* newest state of one: key its id, body as spool's owner writes it */
	SPOOL_SUBJECT,   /* state and last proof of one: key the pod's uid */
	_SPOOL_TABLE_MAX,
};

#define SPOOL_KEY_MAX 64 /* with its NUL: a pod's uid has 36 characters, the others 32 */

struct spool_row {
	enum spool_table table;
	char key[SPOOL_KEY_MAX];
	int64_t wall_us;  /* of a record: when it happened; of a violation: when it was resolved, 0:
	                    open; of a subject: when this was written */
	int64_t number;   /* of a record: its place in the order, given by the spool; else 0 */
	const char *body; /* not NUL-terminated; no body: the row is to be removed */
	size_t len;
};

enum spool_kind {
	/* worker → spool */
	SPOOL_OPEN, /* once, before the network is heard; then a folder cannot be named any more */
	SPOOL_PUT,  /* rows: all of them are kept, or none */
	SPOOL_READ, /* records after a number */
	SPOOL_DONE, /* records up to a number are at the collector, or given up */
	SPOOL_HISTORY, /* violations that were resolved from `after` to `until`, both included, newest
	                  first, of one moment by their keys */
	SPOOL_REMOVE, /* nothing is to be left */
	/* spool → worker */
	SPOOL_ROWS,
	SPOOL_END, /* of OPEN, READ, HISTORY, REMOVE: no more rows follow; of OPEN with `more`: the disk
	               cannot be read yet, rows and another END follow when it can */
	SPOOL_KEPT, /* every PUT up to `token` is kept */
	_SPOOL_KIND_MAX,
};

/* Why what should have reached the collector will not. */
enum spool_drop {
	SPOOL_DROP_FULL,    /* the oldest gave way: collector.spool.maxBytes */
	SPOOL_DROP_AGE,     /* the oldest: SPOOL_AGE_US */
	SPOOL_DROP_CORRUPT, /* on disk, and no longer readable; at least so many */
	SPOOL_DROP_FAILED,  /* neither disk nor memory took it */
	_SPOOL_DROP_MAX,
};
const char *spool_drop_name(enum spool_drop drop); /* "full" …: a label */

#define SPOOL_TEXT_MAX 256

/* How the spool is, with every END and KEPT. */
struct spool_state {
	bool degraded;                     /* in memory: what is there is lost at the next crash */
	char reason[SPOOL_TEXT_MAX];       /* why, or what was lost; one sentence; "" */
	uint64_t waiting;                  /* records */
	uint64_t bytes;                    /* on disk, or in memory: pages in use */
	int64_t oldest_us;                 /* of the records that wait; 0: none */
	uint64_t dropped[_SPOOL_DROP_MAX]; /* records, since the start */
	uint64_t errors;                   /* of the disk, since the start */
	bool full; /* records were dropped for want of room within SPOOL_FULL_NS */
};

struct spool_message {
	uint32_t kind; /* enum spool_kind */
	uint32_t n_rows;
	uint64_t token; /* PUT: rising; KEPT: the newest kept; others: returned with rows and END */
	int64_t after;  /* READ: number; DONE: up to this number; HISTORY: wall time */
	int64_t until;  /* HISTORY: wall time; a list's later pages */
	uint32_t max_rows;                   /* READ, HISTORY */
	uint32_t max_bytes;                  /* READ: of bodies; at least one record comes */
	uint64_t limit;                      /* OPEN: bytes the spool may take */
	bool more;                           /* END: there are more; of OPEN: they come later */
	char directory[SPOOL_DIRECTORY_MAX]; /* OPEN: absolute */
	struct spool_state state;            /* END, KEPT */
};

/* A message is at most this long: a row or two with the largest bodies. */
#define SPOOL_MESSAGE_MAX (sizeof(struct spool_message) + SPOOL_ROWS_MAX * 128 + 2 * SPOOL_BODY_MAX)

/*
 * Message and rows as they go over the socket, into a buffer of SPOOL_MESSAGE_MAX: *len bytes of it.
 * -EMSGSIZE: they do not fit, or their number is none that such a message has.
 */
int spool_message_write(const struct spool_message *message, const struct spool_row *rows,
                        char *out, size_t *len);
/*
 * The rows' bodies are borrowed from `data`. -EPROTO: not exactly what it announces, a text without
 * its NUL, a table or kind that there is not.
 */
int spool_message_read(const char *data, size_t len, struct spool_message *message,
                       struct spool_row rows[static SPOOL_ROWS_MAX]);
