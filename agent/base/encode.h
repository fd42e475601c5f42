/*
 * Streaming JSON writer into a buf.
 *
 * No tree: values are written in order, commas and nesting are kept here.
 * Text is escaped, invalid UTF-8 becomes U+FFFD, so the output is always valid
 * JSON when buf->error is 0. A NULL text is written as null.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"

#define ENCODE_DEPTH_MAX 16

struct encode {
	struct buf *out; /* borrowed */
	unsigned int depth;
	bool need_comma[ENCODE_DEPTH_MAX + 1];
};

#define ENCODE_INIT(buf)     \
	{                    \
		.out = (buf) \
	}

/* `key` is NULL inside arrays and at the top. */
void encode_object(struct encode *e, const char *key);
void encode_object_end(struct encode *e);
void encode_array(struct encode *e, const char *key);
void encode_array_end(struct encode *e);
void encode_text(struct encode *e, const char *key, const char *value);
void encode_u64(struct encode *e, const char *key, uint64_t value);
void encode_i64(struct encode *e, const char *key, int64_t value);
void encode_double(struct encode *e, const char *key, double value);
void encode_bool(struct encode *e, const char *key, bool value);
void encode_null(struct encode *e, const char *key);
void encode_ip(struct encode *e, const char *key, const struct ip *value);
void encode_cidr(struct encode *e, const char *key, const struct cidr *value);
/* RFC 3339 with microseconds; 0 is written as null. */
void encode_time(struct encode *e, const char *key, int64_t wall_us);
/* `json` is already valid JSON: evidence kept as text. NULL and "" are written as null. */
void encode_raw(struct encode *e, const char *key, const char *json);
