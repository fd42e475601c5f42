#include "kube/event_series.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A budget that refills: time that has been saved up, in units of one event's. */
struct budget {
	uint64_t object; /* hash of whose it is */
	uint64_t saved_ns, at_ns;
};

struct kube_event_series {
	const char *instance;
	struct kube_event_entry *entries[KUBE_EVENT_SERIES_MAX];
	size_t n_entries;
	struct kube_event_entry *head, **tail;
	size_t n_queued;
	struct budget agent, objects[KUBE_EVENT_OBJECTS_MAX];
	size_t n_objects;
	uint64_t names;   /* made so far */
	uint64_t evicted; /* with something untold */
};

int kube_event_series_new(const char *instance, struct kube_event_series **out)
{
	struct kube_event_series *series = calloc(1, sizeof(*series));

	if (!series)
		return -ENOMEM;
	series->instance = instance;
	series->tail = &series->head;
	series->agent.saved_ns = KUBE_EVENT_AGENT_BURST * KUBE_EVENT_AGENT_NS;
	*out = series;
	return 0;
}

struct kube_event_series *kube_event_series_free(struct kube_event_series *series)
{
	if (!series)
		return NULL;
	for (size_t i = 0; i < series->n_entries; i++)
		free(series->entries[i]);
	free(series);
	return NULL;
}

/* What makes two events the same */

/* In an API server's answer a field that is absent is "". */
static uint64_t hash_field(uint64_t h, const char *text)
{
	return hash_text(h, text ? text : "");
}

static uint64_t hash_reference(uint64_t h, const struct kube_reference *of)
{
	h = hash_field(h, of->api_version);
	h = hash_field(h, of->kind);
	h = hash_field(h, of->namespace);
	h = hash_field(h, of->name);
	return hash_field(h, of->uid);
}

static uint64_t hash_event(const struct kube_event *event)
{
	uint64_t h = hash_text(HASH_SEED, event->warning ? "Warning" : "Normal");

	h = hash_field(h, event->reason);
	h = hash_field(h, event->action);
	h = hash_reference(h, &event->regarding);
	return hash_reference(h, &event->related);
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_reference(const struct kube_reference *a, const struct kube_reference *b)
{
	return same_text(a->kind, b->kind) && same_text(a->namespace, b->namespace) &&
	       same_text(a->name, b->name) && same_text(a->uid, b->uid) &&
	       same_text(a->api_version, b->api_version);
}

static bool same_event(const struct kube_event *a, const struct kube_event *b)
{
	return a->warning == b->warning && same_text(a->reason, b->reason) &&
	       same_text(a->action, b->action) && same_reference(&a->regarding, &b->regarding) &&
	       same_reference(&a->related, &b->related);
}

/* SIZE_MAX: none. */
static size_t find(const struct kube_event_series *series, const struct kube_event *event,
                   uint64_t hash)
{
	for (size_t i = 0; i < series->n_entries; i++)
		if (series->entries[i]->hash == hash &&
		    same_event(&series->entries[i]->event, event))
			return i;
	return SIZE_MAX;
}

/* Entries */

static void copy_text(const char **text, char **room)
{
	size_t len;

	if (!*text)
		return;
	len = strlen(*text) + 1;
	memcpy(*room, *text, len);
	*text = *room;
	*room += len;
}

static struct kube_event_entry *entry_new(const struct kube_event *event, uint64_t hash)
{
	struct kube_event copy = *event;
	const char **texts[] = {
		&copy.regarding.api_version,
		&copy.regarding.kind,
		&copy.regarding.namespace,
		&copy.regarding.name,
		&copy.regarding.uid,
		&copy.related.api_version,
		&copy.related.kind,
		&copy.related.namespace,
		&copy.related.name,
		&copy.related.uid,
		&copy.reason,
		&copy.action,
		&copy.note,
	};
	struct kube_event_entry *entry;
	size_t size = sizeof(*entry);
	char *room;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		size += *texts[i] ? strlen(*texts[i]) + 1 : 0;
	entry = calloc(1, size);
	if (!entry)
		return NULL;
	room = (char *)(entry + 1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		copy_text(texts[i], &room);
	copy.id = NULL;
	entry->event = copy;
	entry->hash = hash;
	entry->id = event->id ? hash_text(HASH_SEED, event->id) : 0;
	return entry;
}

/*
 * The same id, the same name; unless it began anew meanwhile. Without an id a
 * moment makes it unique, and a number, as two may come in one.
 */
static void name_entry(struct kube_event_series *series, struct kube_event_entry *entry)
{
	uint64_t h = hash_field(entry->hash, series->instance);

	if (entry->id) {
		h = hash_bytes(h, &entry->id, sizeof(entry->id));
		h = hash_bytes(h, &entry->number, sizeof(entry->number));
	} else {
		series->names++;
		h = hash_bytes(h, &entry->times.first_us, sizeof(entry->times.first_us));
		h = hash_bytes(h, &series->names, sizeof(series->names));
	}
	kube_event_name(entry->event.regarding.name, h, entry->name);
}

static void drop_entry(struct kube_event_series *series, size_t index)
{
	assert(series->entries[index]->due == KUBE_EVENT_NOTHING);
	free(series->entries[index]);
	series->entries[index] = series->entries[--series->n_entries];
}

/* Room for one more: what was quiet longest makes place, what is queued never does. */
static bool make_room(struct kube_event_series *series)
{
	size_t oldest = SIZE_MAX;

	if (series->n_entries < KUBE_EVENT_SERIES_MAX)
		return true;
	for (size_t i = 0; i < series->n_entries; i++)
		if (series->entries[i]->due == KUBE_EVENT_NOTHING &&
		    (oldest == SIZE_MAX ||
		     series->entries[i]->last_ns < series->entries[oldest]->last_ns))
			oldest = i;
	if (oldest == SIZE_MAX)
		return false;
	series->evicted += series->entries[oldest]->told < series->entries[oldest]->times.count;
	drop_entry(series, oldest);
	return true;
}

/* The queue */

static void push(struct kube_event_series *series, struct kube_event_entry *entry,
                 enum kube_event_due due)
{
	assert(entry->due == KUBE_EVENT_NOTHING);
	entry->due = due;
	entry->next = NULL;
	*series->tail = entry;
	series->tail = &entry->next;
	series->n_queued++;
}

static struct kube_event_entry *pop(struct kube_event_series *series)
{
	struct kube_event_entry *entry = series->head;

	assert(entry);
	series->head = entry->next;
	if (!series->head)
		series->tail = &series->head;
	series->n_queued--;
	entry->due = KUBE_EVENT_NOTHING;
	entry->next = NULL;
	return entry;
}

struct kube_event_entry *kube_event_series_head(const struct kube_event_series *series)
{
	return series->head;
}

/* When the server is to hear of the repeats; UINT64_MAX: there are none. */
static uint64_t due_at(const struct kube_event_entry *entry)
{
	uint64_t refresh = entry->told_ns + KUBE_EVENT_REFRESH_NS,
		 end = entry->last_ns + KUBE_EVENT_SERIES_NS;

	if (entry->due != KUBE_EVENT_NOTHING || entry->times.count <= entry->told)
		return UINT64_MAX;
	if (entry->told <= 1)
		return 0; /* the second: now it is a series */
	return refresh < end ? refresh : end;
}

static void consider(struct kube_event_series *series, struct kube_event_entry *entry,
                     uint64_t now_ns)
{
	if (due_at(entry) <= now_ns)
		push(series, entry, KUBE_EVENT_PATCH);
}

void kube_event_series_told(struct kube_event_series *series, uint32_t count, uint64_t now_ns)
{
	struct kube_event_entry *entry = pop(series);

	entry->told = count;
	entry->told_ns = now_ns;
	consider(series, entry, now_ns);
}

void kube_event_series_anew(struct kube_event_series *series)
{
	assert(series->head);
	series->head->due = KUBE_EVENT_CREATE;
}

void kube_event_series_forget(struct kube_event_series *series)
{
	struct kube_event_entry *entry = pop(series);

	for (size_t i = 0; i < series->n_entries; i++)
		if (series->entries[i] == entry) {
			drop_entry(series, i);
			return;
		}
	assert(false);
}

/* Budgets */

static void refill(struct budget *budget, uint64_t burst, uint64_t each_ns, uint64_t now_ns)
{
	uint64_t most = burst * each_ns, passed = now_ns - budget->at_ns;

	if (now_ns > budget->at_ns)
		budget->saved_ns =
			passed < most - budget->saved_ns ? budget->saved_ns + passed : most;
	budget->at_ns = now_ns;
}

/* Of an object not seen before a full one; the one used longest ago makes place. */
static struct budget *budget_of(struct kube_event_series *series, uint64_t object)
{
	struct budget *oldest = &series->objects[0];

	for (size_t i = 0; i < series->n_objects; i++) {
		if (series->objects[i].object == object)
			return &series->objects[i];
		if (series->objects[i].at_ns < oldest->at_ns)
			oldest = &series->objects[i];
	}
	if (series->n_objects < KUBE_EVENT_OBJECTS_MAX)
		oldest = &series->objects[series->n_objects++];
	*oldest = (struct budget){
		.object = object,
		.saved_ns = KUBE_EVENT_OBJECT_BURST * KUBE_EVENT_OBJECT_NS,
	};
	return oldest;
}

static bool affordable(struct kube_event_series *series, const struct kube_reference *object,
                       uint64_t now_ns)
{
	struct budget *own = budget_of(series, hash_reference(HASH_SEED, object));

	refill(own, KUBE_EVENT_OBJECT_BURST, KUBE_EVENT_OBJECT_NS, now_ns);
	refill(&series->agent, KUBE_EVENT_AGENT_BURST, KUBE_EVENT_AGENT_NS, now_ns);
	if (own->saved_ns < KUBE_EVENT_OBJECT_NS || series->agent.saved_ns < KUBE_EVENT_AGENT_NS)
		return false;
	own->saved_ns -= KUBE_EVENT_OBJECT_NS;
	series->agent.saved_ns -= KUBE_EVENT_AGENT_NS;
	return true;
}

/* Adding */

static bool is_open(const struct kube_event_entry *entry, uint64_t now_ns)
{
	return entry->due != KUBE_EVENT_NOTHING || now_ns < entry->last_ns + KUBE_EVENT_SERIES_NS;
}

static void repeat(struct kube_event_series *series, struct kube_event_entry *entry,
                   const struct moment *now)
{
	if (entry->times.count < UINT32_MAX)
		entry->times.count++;
	entry->times.last_us = now->wall_us;
	entry->last_ns = now->mono_ns;
	consider(series, entry, now->mono_ns);
}

/* `old` is the ended series of the same event; SIZE_MAX: none. */
static int add_first(struct kube_event_series *series, const struct kube_event *event,
                     uint64_t hash, size_t old, const struct moment *now)
{
	struct kube_event_entry *entry;

	if (series->n_queued >= KUBE_EVENTS_QUEUED_MAX)
		return KUBE_EVENT_DROPPED;
	if (!affordable(series, &event->regarding, now->mono_ns))
		return KUBE_EVENT_THROTTLED;
	entry = entry_new(event, hash);
	if (!entry)
		return -ENOMEM;
	if (old != SIZE_MAX) {
		if (entry->id && entry->id == series->entries[old]->id)
			entry->number = series->entries[old]->number + 1;
		drop_entry(series, old);
	}
	if (!make_room(series)) {
		free(entry);
		return KUBE_EVENT_DROPPED;
	}
	entry->times = (struct kube_event_times){ now->wall_us, now->wall_us, 1 };
	entry->last_ns = now->mono_ns;
	name_entry(series, entry);
	series->entries[series->n_entries++] = entry;
	push(series, entry, KUBE_EVENT_CREATE);
	return KUBE_EVENT_QUEUED;
}

int kube_event_series_add(struct kube_event_series *series, const struct kube_event *event,
                          const struct moment *now)
{
	uint64_t hash = hash_event(event);
	size_t index;

	/* First of all the tick: an ended series may owe its last count. */
	kube_event_series_tick(series, now->mono_ns);
	index = find(series, event, hash);
	if (index == SIZE_MAX || !is_open(series->entries[index], now->mono_ns))
		return add_first(series, event, hash, index, now);
	repeat(series, series->entries[index], now);
	return KUBE_EVENT_COUNTED;
}

void kube_event_series_tick(struct kube_event_series *series, uint64_t now_ns)
{
	for (size_t i = series->n_entries; i-- > 0;) {
		struct kube_event_entry *entry = series->entries[i];

		consider(series, entry, now_ns);
		if (entry->due == KUBE_EVENT_NOTHING &&
		    now_ns >= entry->last_ns + KUBE_EVENT_KEPT_NS)
			drop_entry(series, i);
	}
}

uint64_t kube_event_series_next(const struct kube_event_series *series)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < series->n_entries; i++) {
		uint64_t at = due_at(series->entries[i]);

		if (at < next)
			next = at;
	}
	return next == UINT64_MAX ? 0 : next;
}

uint64_t kube_event_series_evicted(const struct kube_event_series *series)
{
	return series->evicted;
}
