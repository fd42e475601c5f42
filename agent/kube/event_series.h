/*
 * Which events the API server is to be told, and when.
 *
 * As client-go's tools/events/event_broadcaster.go: the first is created; a repeat within
 * KUBE_EVENT_SERIES_NS makes it a series, told at once, then every
 * KUBE_EVENT_REFRESH_NS and when it ends. One object has a budget of new events,
 * the agent another. Pure: time comes in, and who sends takes the entries from the
 * queue's head and says what became of them.
 */
#pragma once

#include "base/clock.h"
#include "kube/event.h"

struct kube_event_series;

enum kube_event_due { KUBE_EVENT_NOTHING, KUBE_EVENT_CREATE, KUBE_EVENT_PATCH };

struct kube_event_entry {
	struct kube_event event; /* its texts are behind the entry, in the same block */
	char name[KUBE_NAME_MAX + 1];
	struct kube_event_times times;
	enum kube_event_due due;
	uint32_t told; /* times.count as the server has it; 0: not created yet */

	/* Of the table alone. */
	uint64_t hash;   /* of what makes two events the same */
	uint64_t id;     /* hash of event.id; 0: none */
	uint32_t number; /* how often that id began anew */
	uint64_t last_ns, told_ns;
	struct kube_event_entry *next; /* in the queue */
};

enum kube_event_outcome {
	KUBE_EVENT_QUEUED,
	KUBE_EVENT_COUNTED,   /* a repeat */
	KUBE_EVENT_THROTTLED, /* past a budget */
	KUBE_EVENT_DROPPED,   /* past the queue */
};

/* `instance` goes into names, so that two nodes never take the same one; borrowed. */
int kube_event_series_new(const char *instance, struct kube_event_series **out);
struct kube_event_series *kube_event_series_free(struct kube_event_series *series);

/* An enum kube_event_outcome, or -ENOMEM. The event is copied. */
int kube_event_series_add(struct kube_event_series *series, const struct kube_event *event,
                          const struct moment *now);

/* The oldest that is due; NULL: none. It stays until one of the three below. */
struct kube_event_entry *kube_event_series_head(const struct kube_event_series *series);
/* The server has the head with that count. */
void kube_event_series_told(struct kube_event_series *series, uint32_t count, uint64_t now_ns);
/* The server has it no longer: to be created again. */
void kube_event_series_anew(struct kube_event_series *series);
/* The server will not have it: the next of its kind is a first one. */
void kube_event_series_forget(struct kube_event_series *series);

/* Queues what is to be told of series, forgets what is old. */
void kube_event_series_tick(struct kube_event_series *series, uint64_t now_ns);
/* When the tick has something to queue; 0: nothing waits for it. */
uint64_t kube_event_series_next(const struct kube_event_series *series);

/* Series of which the newest repeats were not told, because newer events needed the room. */
uint64_t kube_event_series_evicted(const struct kube_event_series *series);
