/*
 * Bounded, growable bytes.
 *
 * A buf never grows past its limit: an append that would is refused whole and
 * leaves a sticky error, so that a writer may append many times and check once.
 * The bytes are always followed by a NUL that is not counted.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t capacity;
	size_t max;
	int error; /* 0, -ENOMEM or -EOVERFLOW; sticky until buf_reset() or buf_clear() */
};

/* A limit of SIZE_MAX / 2 at most. */
#define BUF_INIT(limit)        \
	{                      \
		.max = (limit) \
	}

void buf_append(struct buf *buf, const void *data, size_t len);
void buf_text(struct buf *buf, const char *text);
void buf_format(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps memory and limit, forgets bytes and error. */
void buf_reset(struct buf *buf);
/* Frees; the limit stays. */
void buf_clear(struct buf *buf);
static inline void buf_clearp(struct buf *buf)
{
	buf_clear(buf);
}
