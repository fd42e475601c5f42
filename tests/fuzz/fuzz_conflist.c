/* A CNI configuration of any content: within the limits, and nothing of one that is not understood. */
/* sources: agent/inventory/conflist.c */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "inventory/conflist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conflist conflist = { .known = true };
	char *text = malloc(size + 1);
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	r = conflist_parse(text, size, &conflist);
	assert(r <= 0 || r == 1);
	assert(conflist.n_excluded + conflist.n_excluded_v6 <= CNI_EXCEPTIONS_MAX);
	assert(r >= 0 || (!conflist.known && conflist.n_excluded == 0 && conflist.state[0]));
	free(text);
	return 0;
}
