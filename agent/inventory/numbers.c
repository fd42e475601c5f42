#include "inventory/numbers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool find_reserved(const struct numbers *numbers, const char *uid, uint32_t *number)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++)
		if (numbers->reserved[i] && strcmp(numbers->reserved[i], uid) == 0) {
			*number = i;
			return true;
		}
	return false;
}

int numbers_reserve(struct numbers *numbers, uint32_t number, const char *uid)
{
	uint32_t other;

	if (number >= SUBJECTS_MAX)
		return -ERANGE;
	if (numbers->used[number] || numbers->reserved[number] ||
	    find_reserved(numbers, uid, &other))
		return -EEXIST;

	numbers->reserved[number] = strdup(uid);
	return numbers->reserved[number] ? 0 : -ENOMEM;
}

static void take(struct numbers *numbers, uint32_t number)
{
	free(numbers->reserved[number]);
	numbers->reserved[number] = NULL;
	numbers->used[number] = true;
}

int numbers_take(struct numbers *numbers, const char *uid, uint32_t *out)
{
	uint32_t number;

	if (find_reserved(numbers, uid, &number)) {
		take(numbers, number);
		*out = number;
		return 0;
	}

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		number = (numbers->next + i) % SUBJECTS_MAX;
		if (numbers->used[number] || numbers->reserved[number])
			continue;
		take(numbers, number);
		numbers->next = (number + 1) % SUBJECTS_MAX;
		*out = number;
		return 0;
	}
	return -ENOSPC;
}

void numbers_give(struct numbers *numbers, uint32_t number)
{
	assert(numbers->used[number]);
	numbers->used[number] = false;
}

void numbers_forget_reserved(struct numbers *numbers)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		free(numbers->reserved[i]);
		numbers->reserved[i] = NULL;
	}
}
