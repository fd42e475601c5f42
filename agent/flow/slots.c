#include "flow/slots.h"

#include <errno.h>

#include "base/cleanup.h"

/* Entries are packed; the index finds them by slot. A page of slots is counted, to pass over empty ones. */
#define PAGE_SLOTS 64
#define KNOWN_MIN 256

struct slots {
	uint32_t total;
	uint32_t *index; /* by slot: entry + 1; 0: not known */
	uint16_t *per_page;
	struct known_slot *known;
	uint32_t n, capacity;
};

DEFINE_FREEP(struct slots, slots)

int slots_new(uint32_t total, struct slots **out)
{
	cleanup(slots_freep) struct slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	slots->total = total;
	slots->index = calloc(total, sizeof(*slots->index));
	slots->per_page = calloc(total / PAGE_SLOTS + 1, sizeof(*slots->per_page));
	if (!slots->index || !slots->per_page)
		return -ENOMEM;
	*out = take_ptr(slots);
	return 0;
}

struct slots *slots_free(struct slots *slots)
{
	if (!slots)
		return NULL;

	free(slots->index);
	free(slots->per_page);
	free(slots->known);
	free(slots);
	return NULL;
}

struct known_slot *slots_find(struct slots *slots, uint32_t slot)
{
	if (slot >= slots->total || !slots->index[slot])
		return NULL;
	return &slots->known[slots->index[slot] - 1];
}

static int grow(struct slots *slots)
{
	uint32_t capacity = slots->capacity ? slots->capacity + slots->capacity / 2 : KNOWN_MIN;
	struct known_slot *known;

	if (slots->n < slots->capacity)
		return 0;
	known = reallocarray(slots->known, capacity, sizeof(*known));
	if (!known)
		return -ENOMEM;
	slots->known = known;
	slots->capacity = capacity;
	return 0;
}

int slots_put(struct slots *slots, const struct known_slot *known)
{
	struct known_slot *old;
	int r;

	if (known->slot >= slots->total)
		return -ERANGE;
	old = slots_find(slots, known->slot);
	if (old) {
		*old = *known;
		return 0;
	}
	r = grow(slots);
	if (r < 0)
		return r;
	slots->known[slots->n++] = *known;
	slots->index[known->slot] = slots->n;
	slots->per_page[known->slot / PAGE_SLOTS]++;
	return 0;
}

void slots_remove(struct slots *slots, uint32_t slot)
{
	struct known_slot *gone = slots_find(slots, slot);

	if (!gone)
		return;
	*gone = slots->known[--slots->n];
	slots->index[gone->slot] = slots->index[slot];
	slots->index[slot] = 0;
	slots->per_page[slot / PAGE_SLOTS]--;
}

size_t slots_count(const struct slots *slots, uint32_t first, uint32_t n)
{
	size_t count = 0;

	for (uint32_t page = first / PAGE_SLOTS; page * PAGE_SLOTS < first + n; page++) {
		if (page * PAGE_SLOTS >= slots->total)
			break;
		count += slots->per_page[page];
	}
	return count;
}

uint32_t slots_total(const struct slots *slots)
{
	return slots->total;
}
