/*
 * Memory for foreign libraries, and how often there was none.
 *
 * libcurl and c-ares tell of missing memory by whatever it led to: a host that
 * does not resolve, a connection that nobody waits for any more. Who compares
 * the count before and after knows better than to blame the other side.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *heap_malloc(size_t size);
void *heap_calloc(size_t n, size_t size);
void *heap_realloc(void *old, size_t size);
char *heap_strdup(const char *text);
void heap_free(void *old);

/* Something else that a library needs could not be had, as a place in the event loop. */
void heap_note_failure(void);
/* Since the process began. */
uint64_t heap_failures(void);
