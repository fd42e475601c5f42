#include "base/base64.h"

#include <errno.h>
#include <stdint.h>

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, void *out, size_t *out_len)
{
	uint8_t *bytes = out;
	uint32_t group = 0;
	size_t n = 0, padding = 0, digits = 0;

	for (size_t i = 0; i < len; i++) {
		int value = value_of(text[i]);

		if (text[i] == '\n' || text[i] == '\r')
			continue;
		if (text[i] == '=' && digits % 4 >= 2)
			padding++;
		else if (value < 0 || padding)
			return -EINVAL;
		group = group << 6 | (uint32_t)(value < 0 ? 0 : value);
		if (++digits % 4)
			continue;
		if (group & ((1u << 8 * padding) - 1))
			return -EINVAL;
		for (size_t byte = 0; byte < 3 - padding; byte++)
			bytes[n++] = (uint8_t)(group >> (16 - 8 * byte));
		group = 0;
	}
	if (digits % 4)
		return -EINVAL;
	*out_len = n;
	return 0;
}
