/*
 * The occupied slots that the agent knows of, and what it read there last.
 *
 * One entry per slot at most. A pure table: it reads no map.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/table.h"

struct known_slot {
	uint32_t slot;
	uint32_t connections; /* the counters as read last */
	uint64_t packets, bytes;
	uint64_t first_ns; /* tells the occupation of the slot */
	struct flow_ref flow;
};

struct slots;

int slots_new(uint32_t total, struct slots **out);
struct slots *slots_free(struct slots *slots);

/* Borrowed until the next slots_put() or slots_remove(). NULL: not known. */
struct known_slot *slots_find(struct slots *slots, uint32_t slot);
/* Enters or replaces; -ENOMEM, -ERANGE. */
int slots_put(struct slots *slots, const struct known_slot *known);
void slots_remove(struct slots *slots, uint32_t slot);

/* How many are known of the `n` slots from `first` on. */
size_t slots_count(const struct slots *slots, uint32_t first, uint32_t n);
uint32_t slots_total(const struct slots *slots);
