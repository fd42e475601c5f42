#include "base/hash.h"

#include <string.h>

#define PRIME 0x100000001b3ULL

uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ bytes[i]) * PRIME;
	return h;
}

uint64_t hash_text(uint64_t h, const char *text)
{
	return text ? hash_bytes(h, text, strlen(text) + 1) : hash_bytes(h, "\xff", 1);
}
