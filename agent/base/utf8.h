/*
 * UTF-8: which bytes form a character (RFC 3629: no surrogates, shortest form).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Length of the character at p, 1 to 4, and *out; 0 when there is none. Not past a NUL. */
size_t utf8_read(const char *p, uint32_t *out);
