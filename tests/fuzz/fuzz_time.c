/* A time that parses prints to one that parses to the same, and to the same second as written. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[64], printed[CLOCK_TEXT_MAX];
	int64_t once, twice = 0;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	if (clock_parse(text, &once) < 0)
		return 0;
	assert(clock_parse(clock_format(once, printed), &twice) == 0);
	assert(once == twice);
	assert(strncmp(text, printed, 19) == 0);
	return 0;
}
