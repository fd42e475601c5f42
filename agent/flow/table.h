/*
 * All flows that are remembered, bounded.
 *
 * A flow keeps its address until it is evicted or removed. When the table is
 * full a new flow takes the place of one that was idle long: of a few picked
 * at random the one idle longest. Evictions are counted.
 */
#pragma once

#include <stddef.h>

#include "flow/flow.h"

struct flow_table;

int flow_table_new(size_t max, struct flow_table **out); /* max: FLOWS_MAX */
struct flow_table *flow_table_free(struct flow_table *table);

/* Borrowed until the table changes; NULL: not there. */
struct flow *flow_table_find(struct flow_table *table, const struct flow_key *key);

/* Finds or adds; -ENOMEM. A new flow is zero but for its key. */
int flow_table_add(struct flow_table *table, const struct flow_key *key, bool *is_new,
                   struct flow **out);

/*
 * Calls fn for every flow, or for those of one subject; stops when fn returns
 * nonzero and returns that. fn must not add or remove flows.
 */
typedef int (*flow_table_fn)(void *user, struct flow *flow);
int flow_table_each(struct flow_table *table, flow_table_fn fn, void *user);
int flow_table_each_of(struct flow_table *table, uint32_t subject, flow_table_fn fn, void *user);

/* Forgets a subject's flows; returns how many. */
size_t flow_table_remove_subject(struct flow_table *table, uint32_t subject);

size_t flow_table_count(const struct flow_table *table);
uint64_t flow_table_evictions(const struct flow_table *table);

/*
 * A reference that outlives evictions: flow_table_get() is NULL once the flow
 * is gone, also when its place holds another one.
 */
struct flow_ref {
	uint32_t place, serial;
};
struct flow_ref flow_table_ref(const struct flow *flow);
struct flow *flow_table_get(struct flow_table *table, struct flow_ref ref);
