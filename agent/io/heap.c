#include "io/heap.h"

#include <stdlib.h>
#include <string.h>

static uint64_t failures;

static void *noted(void *block)
{
	failures += block == NULL;
	return block;
}

/* NULL for nothing would look like a failure. */
static size_t at_least_one(size_t size)
{
	return size ? size : 1;
}

void *heap_malloc(size_t size)
{
	return noted(malloc(at_least_one(size)));
}

void *heap_calloc(size_t n, size_t size)
{
	return noted(calloc(at_least_one(n), at_least_one(size)));
}

void *heap_realloc(void *old, size_t size)
{
	return noted(realloc(old, at_least_one(size)));
}

char *heap_strdup(const char *text)
{
	return noted(strdup(text));
}

void heap_free(void *old)
{
	free(old);
}

void heap_note_failure(void)
{
	failures++;
}

uint64_t heap_failures(void)
{
	return failures;
}
