#include "flow/ledger.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "limits.h"

/* Interfaces a subject's connections left by last: where to look for one that failed without a route. */
#define RECENT_LINKS 4

struct ledger {
	struct flow_table *table; /* borrowed */
	struct slots *slots;
	ledger_number_fn number;
	void *number_user;
	struct flow_reader_callbacks callbacks;
	uint64_t events, refused;
	uint64_t earliest_ns;
	uint32_t watches; /* asked for of what was found */
	uint32_t recent[SUBJECTS_MAX][RECENT_LINKS];
};

DEFINE_FREEP(struct ledger, ledger)

int ledger_new(struct flow_table *table, uint32_t total_slots, ledger_number_fn number, void *user,
               const struct flow_reader_callbacks *callbacks, struct ledger **out)
{
	cleanup(ledger_freep) struct ledger *ledger = calloc(1, sizeof(*ledger));
	int r;

	if (!ledger)
		return -ENOMEM;
	ledger->table = table;
	ledger->earliest_ns = UINT64_MAX;
	ledger->number = number;
	ledger->number_user = user;
	ledger->callbacks = *callbacks;
	r = slots_new(total_slots, &ledger->slots);
	if (r < 0)
		return r;
	*out = take_ptr(ledger);
	return 0;
}

struct ledger *ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return NULL;

	slots_free(ledger->slots);
	free(ledger);
	return NULL;
}

static bool make_key(const struct ledger *ledger, const struct flow_id *id, struct flow_key *out)
{
	int number = ledger->number(ledger->number_user, id->owner);
	bool remote = id->opened_by == FLOW_BY_REMOTE;

	if (number < 0)
		return false;
	*out = (struct flow_key){ .subject = (uint32_t)number,
		                  .ifindex = id->ifindex,
		                  .remote_port = remote ? 0 : id->port,
		                  .local_port = remote ? id->port : 0,
		                  .protocol = id->protocol,
		                  .origin = remote ? FLOW_REMOTE : FLOW_LOCAL };
	memcpy(out->remote.b, id->remote, sizeof(out->remote.b));
	return true;
}

static void note_link(struct ledger *ledger, const struct flow_key *key)
{
	uint32_t *recent = ledger->recent[key->subject];

	if (recent[0] == key->ifindex)
		return;
	memmove(recent + 1, recent, (RECENT_LINKS - 1) * sizeof(*recent));
	recent[0] = key->ifindex;
}

/* Finds or adds the flow and announces it. NULL: not ours any more, or no memory. */
static struct flow *open_flow(struct ledger *ledger, const struct flow_slot *state,
                              const struct moment *now)
{
	struct moment first = clock_at(now, state->first_ns);
	struct flow_key key;
	struct flow *flow;
	bool is_new;

	if (!make_key(ledger, &state->id, &key))
		return NULL;
	if (flow_table_add(ledger->table, &key, &is_new, &flow) < 0) {
		ledger->refused++;
		return NULL;
	}
	note_link(ledger, &key);
	if (is_new || first.mono_ns < flow->first.mono_ns)
		flow->first = first;
	if (first.mono_ns > flow->last.mono_ns)
		flow->last = first;
	ledger->callbacks.opened(ledger->callbacks.user, flow, is_new);
	return flow;
}

static void add(struct ledger *ledger, struct flow *flow, const struct flow_delta *delta)
{
	flow->packets += delta->packets;
	flow->bytes += delta->bytes;
	flow->connections += delta->connections;
	ledger->callbacks.updated(ledger->callbacks.user, flow, delta);
}

/*
 * Credits the flow with what the slot counted since `base` (NULL: ever). Only
 * TCP has connections to count; any other flow is one.
 */
static bool credit(struct ledger *ledger, struct flow *flow, const struct flow_slot *state,
                   const struct known_slot *base)
{
	struct flow_delta delta = { state->packets, state->bytes, state->connections };

	if (base) {
		delta.packets -= base->packets;
		delta.bytes -= base->bytes;
		delta.connections -= base->connections;
	}
	if (state->id.protocol != IPPROTO_TCP)
		delta.connections = flow->connections ? 0 : 1;
	if (!delta.packets && !delta.bytes && !delta.connections)
		return false;
	add(ledger, flow, &delta);
	return true;
}

static void remember(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                     const struct flow *flow)
{
	struct known_slot known = { .slot = slot,
		                    .connections = state->connections,
		                    .packets = state->packets,
		                    .bytes = state->bytes,
		                    .first_ns = state->first_ns,
		                    .flow = flow ? flow_table_ref(flow) : (struct flow_ref){ 0 } };

	if (slots_put(ledger->slots, &known) < 0)
		ledger->refused++;
}

/* The flow that had a slot until now gets the rest of its counts. */
static void settle(struct ledger *ledger, const struct flow_slot *victim,
                   const struct known_slot *known, const struct moment *now)
{
	bool continues = known && known->first_ns == victim->first_ns;
	struct flow *flow = continues ? flow_table_get(ledger->table, known->flow) : NULL;

	if (continues && known->packets == victim->packets)
		return;
	if (!flow)
		flow = open_flow(ledger, victim, now);
	if (flow)
		credit(ledger, flow, victim, continues ? known : NULL);
}

static bool is_sane(const struct flow_slot *state)
{
	return state->first_ns && state->id.opened_by <= FLOW_BY_REMOTE;
}

static void on_opened(struct ledger *ledger, const struct flow_opened *record,
                      const struct moment *now)
{
	const struct known_slot *known = slots_find(ledger->slots, record->slot);
	/* Found at the start in a later state than this record tells of. */
	bool outdated = known && known->first_ns >= record->now.first_ns;
	struct flow *flow;

	if (record->victim.first_ns && is_sane(&record->victim))
		settle(ledger, &record->victim, outdated ? NULL : known, now);
	if (outdated)
		return;

	flow = open_flow(ledger, &record->now, now);
	if (flow)
		credit(ledger, flow, &record->now, NULL);
	remember(ledger, record->slot, &record->now, flow);
}

static struct flow *find_failed(struct ledger *ledger, struct flow_key *key)
{
	struct flow *flow = key->ifindex ? flow_table_find(ledger->table, key) : NULL;

	for (size_t i = 0; !flow && i < RECENT_LINKS; i++) {
		key->ifindex = ledger->recent[key->subject][i];
		flow = flow_table_find(ledger->table, key);
	}
	return flow;
}

/* A connection that failed before any packet left is no flow. */
static void on_failed(struct ledger *ledger, const struct flow_failed *record)
{
	struct flow_id id = { .owner = record->owner,
		              .ifindex = record->ifindex,
		              .port = record->port,
		              .protocol = IPPROTO_TCP,
		              .opened_by = FLOW_BY_POD };
	struct flow_key key;
	struct flow *flow;

	memcpy(id.remote, record->remote, sizeof(id.remote));
	if (!make_key(ledger, &id, &key))
		return;
	flow = find_failed(ledger, &key);
	if (!flow)
		return;
	flow->failed++;
	ledger->callbacks.failed(ledger->callbacks.user, flow, record->error);
}

/* What the slot counted since it was read last, up to `when`. */
static void advance(struct ledger *ledger, struct known_slot *known, uint32_t slot,
                    const struct flow_slot *state, const struct moment *when,
                    const struct moment *now)
{
	struct flow *flow = flow_table_get(ledger->table, known->flow);

	if (!flow)
		flow = open_flow(ledger, state, now);
	if (!flow)
		return;
	if (when->mono_ns > flow->last.mono_ns)
		flow->last = *when;
	credit(ledger, flow, state, known);
	remember(ledger, slot, state, flow);
}

/*
 * Its packets may have been read already, by a sweep or when the agent started;
 * when the flow sent, only the record tells.
 */
static void on_resumed(struct ledger *ledger, const struct flow_resumed *record,
                       const struct moment *now)
{
	const struct flow_delta nothing = { 0 };
	struct known_slot *known = slots_find(ledger->slots, record->slot);
	struct moment when = clock_at(now, record->time_ns);
	struct flow *flow;

	if (!known || known->first_ns != record->now.first_ns ||
	    ledger->number(ledger->number_user, record->now.id.owner) < 0)
		return;
	if (known->packets < record->now.packets) {
		advance(ledger, known, record->slot, &record->now, &when, now);
		return;
	}
	flow = flow_table_get(ledger->table, known->flow);
	if (!flow || flow->last.mono_ns >= when.mono_ns)
		return;
	flow->last = when;
	add(ledger, flow, &nothing);
}

static void note_time(struct ledger *ledger, uint64_t time_ns)
{
	if (time_ns < ledger->earliest_ns)
		ledger->earliest_ns = time_ns;
}

void ledger_record(struct ledger *ledger, const void *data, size_t size, const struct moment *now)
{
	union {
		__u32 kind;
		struct flow_opened opened;
		struct flow_failed failed;
		struct flow_resumed resumed;
	} record;

	ledger->events++;
	if (size >= sizeof(record.kind)) {
		memcpy(&record, data, size < sizeof(record) ? size : sizeof(record));
		if (record.kind == FLOW_RECORD_OPENED && size == sizeof(record.opened) &&
		    is_sane(&record.opened.now)) {
			note_time(ledger, record.opened.now.first_ns);
			on_opened(ledger, &record.opened, now);
			return;
		}
		if (record.kind == FLOW_RECORD_FAILED && size == sizeof(record.failed)) {
			on_failed(ledger, &record.failed);
			return;
		}
		if (record.kind == FLOW_RECORD_RESUMED && size == sizeof(record.resumed) &&
		    is_sane(&record.resumed.now)) {
			note_time(ledger, record.resumed.time_ns);
			on_resumed(ledger, &record.resumed, now);
			return;
		}
	}
	ledger->refused++;
}

/*
 * Nobody knows yet whether its flow took a wrong way, and the agent may end
 * before it is known: what the flow does from now on leaves a record. No more
 * of them than the ring has room for at once; busy flows tell of themselves.
 */
static bool is_to_watch(struct ledger *ledger, const struct flow_slot *state)
{
	if (state->watched || ledger->watches == FLOW_WATCHES_MAX)
		return false;
	ledger->watches++;
	return true;
}

bool ledger_found(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                  const struct moment *now)
{
	const struct known_slot *known = slots_find(ledger->slots, slot);
	struct flow *flow;

	if (!is_sane(state))
		return false;
	if (known && known->first_ns == state->first_ns)
		return ledger_swept(ledger, slot, state, now);
	flow = open_flow(ledger, state, now);
	if (!flow)
		return false;
	credit(ledger, flow, state, NULL);
	remember(ledger, slot, state, flow);
	return is_to_watch(ledger, state);
}

bool ledger_swept(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                  const struct moment *now)
{
	struct known_slot *known = slots_find(ledger->slots, slot);
	const struct flow *flow;

	/* Another occupant: its record is in the ring and brings the end of this one. */
	if (!known || known->first_ns != state->first_ns)
		return false;
	if (known->packets == state->packets) {
		flow = flow_table_get(ledger->table, known->flow);
		return flow && flow->offending && !state->watched;
	}
	if (ledger->number(ledger->number_user, state->id.owner) < 0)
		slots_remove(ledger->slots, slot);
	else
		advance(ledger, known, slot, state, now, now);
	return false;
}

bool ledger_knows(struct ledger *ledger, uint32_t slot)
{
	return slots_find(ledger->slots, slot);
}

size_t ledger_count(const struct ledger *ledger, uint32_t first, uint32_t n)
{
	return slots_count(ledger->slots, first, n);
}

uint64_t ledger_earliest_ns(const struct ledger *ledger)
{
	return ledger->earliest_ns;
}

uint64_t ledger_events(const struct ledger *ledger)
{
	return ledger->events;
}

uint64_t ledger_refused(const struct ledger *ledger)
{
	return ledger->refused;
}
