/*
 * UTF-8: which bytes form a character (RFC 3629: no surrogates, shortest form).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the character at p, 1 to 4, and *out; 0 when there is none. Not past a NUL. */
size_t utf8_read(const char *p, uint32_t *out);

/*
 * Shows something, in its place: no control character, and none of those that
 * turn the direction of text around or have no width, which make one name look
 * like another.
 */
bool utf8_visible(uint32_t c);
