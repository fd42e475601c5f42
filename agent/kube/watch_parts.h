/*
 * What the files of the watch share; of no interest elsewhere.
 */
#pragma once

#include "base/timer.h"
#include "kube/frames.h"
#include "kube/list_items.h"
#include "kube/reflector.h"
#include "kube/status.h"

#define WATCH_REASON_MAX 320

struct kube_watch {
	struct loop *loop; /* borrowed, as the next two */
	struct kube_client *client;
	const struct kube_resource *resource;
	struct kube_watch_events events;
	struct timer timer;
	struct kube_reflector reflector;
	struct kube_call *call; /* NULL: none is out */
	bool stopped;           /* the rest of the answer counts for nothing */
	bool begun;             /* between begin and commit or abort */
	struct kube_frames frames;
	struct kube_list_items list;
	uint64_t heard_ns;
	struct kube_watch_stats stats;
	char reason[WATCH_REASON_MAX];
	enum kube_watch_state told_state;
	char told_reason[WATCH_REASON_MAX];
};

uint32_t kube_watch_random(void);

/* watch_answer.c: what comes. Each ends with the reflector told. */

void kube_watch_on_opened(void *user);
int kube_watch_on_data(void *user, const char *data, size_t len);
/* The request is over; its failure, if it is one, is noted. */
void kube_watch_on_answer(struct kube_watch *watch, const struct http_response *response);

/* watch_objects.c: what becomes of objects. 0, or -ENOMEM. */

int kube_watch_put(struct kube_watch *watch, struct json_object *object,
                   const struct kube_meta *meta);
void kube_watch_remove(struct kube_watch *watch, const struct kube_meta *meta);
void kube_watch_refuse(struct kube_watch *watch, const struct kube_meta *meta, const char *why);
void kube_watch_commit(struct kube_watch *watch);
void kube_watch_abort(struct kube_watch *watch);
void kube_watch_empty(struct kube_watch *watch);
