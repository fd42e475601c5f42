/*
 * Values of OTLP's JSON: attributes, and numbers of 64 bits as texts.
 *
 * What is not known is not written: no attribute is empty, a time that is none is left out. The
 * key of each is the caller's to write once.
 */
#pragma once

#include "base/encode.h"

/* Bytes of a name that are shown: a Kubernetes name has at most 253. What is longer ends in "...". */
#define OTLP_NAME_MAX 256

/* {"key", "value"} into the open array of attributes. */
void otlp_value_text(struct encode *e, const char *key, const char *value);
/* As text, of at most OTLP_NAME_MAX bytes with its NUL. */
void otlp_value_name(struct encode *e, const char *key, const char *value);
/* `json` is a JSON string with its quotes. */
void otlp_value_raw(struct encode *e, const char *key, const char *json);
/* At most INT64_MAX: intValue is signed. */
void otlp_value_int(struct encode *e, const char *key, uint64_t value);
void otlp_value_double(struct encode *e, const char *key, double value);
void otlp_value_bool(struct encode *e, const char *key, bool value);
void otlp_value_ip(struct encode *e, const char *key, const struct ip *value);
/*
 * RFC 3339 as everywhere else in our API and in the evidence, so that they are compared as they
 * are; nanoseconds as a number are more than a double holds, which some backends make of it.
 */
void otlp_value_time(struct encode *e, const char *key, int64_t wall_us);

/* Fields of an object. A fixed64, sfixed64 or uint64: as text. */
void otlp_value_u64(struct encode *e, const char *field, uint64_t value);
void otlp_value_unix(struct encode *e, const char *field, int64_t wall_us);
/* Proto3's JSON has words for what JSON has no numbers for. */
void otlp_value_number(struct encode *e, const char *field, double value);
