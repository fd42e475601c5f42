/*
 * FNV-1a, 64 bits (RFC 9923): to find things and to name them. Whoever chooses the input can
 * make two alike; what must not be confused then is compared besides.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HASH_SEED 0xcbf29ce484222325ULL /* the offset basis */

/* The hash of all that `h` was made from, and this. */
uint64_t hash_bytes(uint64_t h, const void *data, size_t n);
/* With its NUL, so that no two lists of texts are alike; NULL is not "". */
uint64_t hash_text(uint64_t h, const char *text);
