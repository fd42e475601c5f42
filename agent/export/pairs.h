/*
 * "key=value,key=value" as the OTEL_* variables have it: W3C Baggage without its properties,
 * percent-encoded (specification/resource/sdk.md, specification/protocol/exporter.md). Pure.
 */
#pragma once

#include <stddef.h>

/* Texts are borrowed for the call. 0, or anything else to end with it. */
typedef int (*pairs_fn)(void *user, const char *key, const char *value);

/*
 * Blanks around keys and values, and empty members, are passed over; a value may be empty and may have "=".
 * -EINVAL with *reason, constant text that repeats nothing of what was read (it may be
 * secret), and *at, the member's place from 1; -ENOMEM; or what `fn` returned.
 */
int pairs_read(const char *text, pairs_fn fn, void *user, const char **reason, size_t *at);
