/*
 * Base64 (RFC 4648, section 4), strictly: padded, in whole groups, no bits left over.
 */
#pragma once

#include <stddef.h>

/* Bytes that `len` characters may be. */
#define BASE64_ROOM(len) ((len) / 4 * 3)

/*
 * Line ends are passed over, as Go's decoder does; everything else that is no
 * base64 is -EINVAL. `out` has BASE64_ROOM(len) bytes and may be written in part on error.
 */
int base64_decode(const char *text, size_t len, void *out, size_t *out_len);
