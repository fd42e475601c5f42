/*
 * What records and slots mean: flows and what they gained.
 *
 * A flow is the sum of the slots that hold it, one per CPU it was sent from,
 * and of those it lost to other flows. The ledger keeps that sum right in
 * whatever order it hears of them, also after a restart. It reads no map and
 * no clock.
 */
#pragma once

#include <linux/types.h>

#include "bpf/flow_event.h"
#include "flow/reader.h"
#include "flow/slots.h"

struct ledger;

/* The subject's number, or -1: it is gone. */
typedef int (*ledger_number_fn)(void *user, uint32_t owner);

int ledger_new(struct flow_table *table, uint32_t total_slots, ledger_number_fn number, void *user,
               const struct flow_reader_callbacks *callbacks, struct ledger **out);
struct ledger *ledger_free(struct ledger *ledger);

/* A record from the ring, of whatever size and content. */
void ledger_record(struct ledger *ledger, const void *data, size_t size, const struct moment *now);
/* An occupied slot found when the agent starts, or after records were lost. True: its next packet is worth a record. */
bool ledger_found(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                  const struct moment *now);
/*
 * A slot read again. True: its flow took a wrong way and is quiet now, so that
 * its next packet is worth a record.
 */
bool ledger_swept(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                  const struct moment *now);

/* Is this slot, or are any of these, worth reading again? */
bool ledger_knows(struct ledger *ledger, uint32_t slot);
size_t ledger_count(const struct ledger *ledger, uint32_t first, uint32_t n);

/* When the earliest of all records was written, CLOCK_MONOTONIC; UINT64_MAX: there was none. */
uint64_t ledger_earliest_ns(const struct ledger *ledger);
uint64_t ledger_events(const struct ledger *ledger);
uint64_t ledger_refused(const struct ledger *ledger); /* no memory for it, or it made no sense */
