/* sources: agent/flow/ledger.c agent/flow/slots.c agent/flow/table.c agent/flow/flow.c agent/flow/pins.c agent/flow/fail.c */
/*
 * Records and slots of a map that somebody wrote into, and names in the folder
 * of pins: whatever they say, flows stay within the table's
 * bound, and nothing is told of a pod that is gone.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "flow/ledger.h"
#include "flow/pins.h"

#define FLOWS 8
#define SLOTS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t packets;
};

static int number(void *user, uint32_t owner)
{
	(void)user;
	return owner % 4 == 3 ? -1 : (int)(owner % 4);
}

static void on_opened(void *user, struct flow *flow, bool is_new)
{
	(void)user;
	(void)is_new;
	assert(flow->key.subject < 3);
}

static void on_updated(void *user, struct flow *flow, const struct flow_delta *delta)
{
	struct seen *seen = user;

	assert(flow->key.subject < 3);
	seen->packets += delta->packets;
}

static void on_failed(void *user, struct flow *flow, int error)
{
	(void)user;
	(void)error;
	assert(flow->key.subject < 3);
}

static int count(void *user, struct flow *flow)
{
	(void)flow;
	++*(size_t *)user;
	return 0;
}

static void check_pin(const uint8_t *data, size_t size)
{
	char name[160], uid[FLOW_UID_MAX + 1];
	uint32_t owner;

	if (size >= sizeof(name))
		return;
	memcpy(name, data, size);
	name[size] = '\0';
	if (pins_parse_subject(name, &owner, uid) == 0)
		assert(strlen(uid) <= FLOW_UID_MAX && strchr(name, '-'));
}

/* One byte says what the next bytes are: a record of any size, or a slot. */
static void feed(struct ledger *ledger, const uint8_t *data, size_t size)
{
	struct moment now = { .mono_ns = 1000000000, .wall_us = 1795000000000000 };

	while (size > 2) {
		uint8_t what = data[0], length = data[1];
		struct flow_slot state = { 0 };
		size_t n = length < size - 2 ? length : size - 2;
		void *copy = malloc(n + 1);

		assert(copy);
		memcpy(copy, data + 2, n);
		now.mono_ns += what * 1000000ULL;
		memcpy(&state, copy, n < sizeof(state) ? n : sizeof(state));
		if (what % 3 == 0)
			ledger_record(ledger, copy, n, &now);
		else if (what % 3 == 1)
			(void)ledger_found(ledger, what % SLOTS, &state, &now);
		else
			(void)ledger_swept(ledger, what % SLOTS, &state, &now);
		free(copy);
		data += 2 + n;
		size -= 2 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { 0 };
	const struct flow_reader_callbacks callbacks = { on_opened, on_updated, on_failed, &seen };
	struct flow_table *table = NULL;
	struct ledger *ledger = NULL;
	size_t n = 0;

	check_pin(data, size);
	assert(flow_table_new(FLOWS, &table) == 0);
	assert(ledger_new(table, SLOTS, number, NULL, &callbacks, &ledger) == 0);
	feed(ledger, data, size);
	(void)flow_table_each(table, count, &n);
	assert(n <= FLOWS && ledger_count(ledger, 0, SLOTS) <= SLOTS);
	ledger_free(ledger);
	flow_table_free(table);
	return 0;
}
