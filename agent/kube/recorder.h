/*
 * Events (events.k8s.io/v1), so that `kubectl describe` tells what was found.
 *
 * Best effort: the API and the metrics are what counts. A repeat within
 * KUBE_EVENT_SERIES_NS becomes a series of the first event, patched rarely; an object has a
 * budget (burst and refill), the whole a queue; what does not fit is counted.
 */
#pragma once

#include "base/clock.h"
#include "kube/client.h"
#include "kube/event.h"

struct kube_recorder;

/*
 * `controller` is a qualified name, else -EINVAL; `instance` is the node's; both copied.
 * Nothing is read from the server's answers but what went wrong.
 */
int kube_recorder_new(struct loop *loop, struct kube_client *client, const char *controller,
                      const char *instance, struct kube_recorder **out);
/* What is queued is lost. */
struct kube_recorder *kube_recorder_free(struct kube_recorder *recorder);

/* Everything is copied. One at a time goes to the server; nothing waits for it. */
void kube_recorder_add(struct kube_recorder *recorder, const struct kube_event *event,
                       const struct moment *now);

struct kube_recorder_stats {
	uint64_t added;
	uint64_t sent;      /* events created, or known to the server already */
	uint64_t series;    /* patches of a series */
	uint64_t coalesced; /* repeats that only count in memory */
	uint64_t throttled; /* past an object's budget */
	uint64_t
		dropped; /* past the queue or the table of series, given up after KUBE_EVENT_TRIES, or no memory */
	uint64_t rejected; /* the server refused: 403, 422, the namespace ends … */
	char last_error[160];
};
const struct kube_recorder_stats *kube_recorder_stats(const struct kube_recorder *recorder);
