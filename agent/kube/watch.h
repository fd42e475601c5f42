/*
 * Keeps one list of objects as the API server has it: list, watch, and again.
 *
 * Holds no objects: they are handed on one at a time, as JSON. Asks by a streaming
 * list where the server knows it, by pages and a watch else (kubernetes,
 * client-go tools/cache/reflector.go; KEP-3157). What the server refuses or
 * does not have is a state, not an end: it is asked again, more and more rarely.
 */
#pragma once

#include <json-c/json.h>

#include "base/decode.h"
#include "kube/client.h"

struct kube_watch;

struct kube_resource {
	const char *group;          /* "" for the core */
	const char *version;        /* "v1alpha1" */
	const char *plural;         /* "staticgatewayconfigurations" */
	const char *kind;           /* of one object; others are counted and passed over */
	const char *field_selector; /* not encoded; NULL: none */
};

enum kube_watch_state {
	KUBE_WATCH_WAITING,   /* not asked yet, or the first list is under way */
	KUBE_WATCH_SYNCED,    /* the list is complete and followed */
	KUBE_WATCH_STALE,     /* it was complete, and cannot be followed now */
	KUBE_WATCH_ABSENT,    /* the server does not know the resource (404) */
	KUBE_WATCH_FORBIDDEN, /* 401 or 403 */
	KUBE_WATCH_FAILING,   /* never complete, for another reason */
	_KUBE_WATCH_STATE_MAX,
};
const char *kube_watch_state_name(enum kube_watch_state state); /* "synced" … */

/*
 * Any but put and remove may be NULL. Between begin and commit or abort the objects are
 * those of a complete list: what is not among them is gone. Outside a put is an
 * upsert. A resource of a group that is absent for KUBE_ABSENT_NS is an empty list.
 */
struct kube_watch_events {
	void *user;
	void (*begin)(void *user);
	/* Borrowed. 0; -EINVAL with a reason: left out, counted; -ENOMEM: the list is asked for again. */
	int (*put)(void *user, struct json_object *object, struct decode_error *error);
	void (*remove)(void *user, const char *namespace,
	               const char *name); /* namespace "" of cluster objects */
	void (*commit)(void *user);
	void (*abort)(void *user);
	void (*state)(void *user); /* state or reason changed */
};

/* Resource texts are borrowed for the watch's life. Begins after `delay_ns` (all nodes start at once). */
int kube_watch_new(struct loop *loop, struct kube_client *client,
                   const struct kube_resource *resource, const struct kube_watch_events *events,
                   uint64_t delay_ns, struct kube_watch **out);
struct kube_watch *kube_watch_free(struct kube_watch *watch);

enum kube_watch_state kube_watch_state(const struct kube_watch *watch);
/* One sentence for people: what the server said, or "". Borrowed until the next change. */
const char *kube_watch_reason(const struct kube_watch *watch);
/* Monotonic; 0: never. The newest word from the server on this list. */
uint64_t kube_watch_heard_ns(const struct kube_watch *watch);

struct kube_watch_stats {
	uint64_t lists;   /* complete ones begun: by stream or pages */
	uint64_t watches; /* opened */
	uint64_t events;  /* objects and deletions delivered */
	uint64_t bookmarks;
	uint64_t expired;   /* 410 wherever it came */
	uint64_t throttled; /* 429 */
	uint64_t errors;    /* requests that failed otherwise, streams that broke */
	uint64_t silences;  /* streams given up because nothing came */
	uint64_t refused;   /* objects that could not be taken: wrong kind, wrong form, too large */
	char last_refusal[200]; /* "": all that there is was taken, or is said to be gone */
};
const struct kube_watch_stats *kube_watch_stats(const struct kube_watch *watch);
