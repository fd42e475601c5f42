/*
 * One JSON text of the API server, and what every object has.
 *
 * Strict: one object in valid UTF-8, nothing before or after it. Items of a list
 * carry neither kind nor apiVersion where the resource is built in.
 */
#pragma once

#include "base/decode.h"
#include "limits.h"

/*
 * 0; -E2BIG when it is nested deeper than KUBE_DEPTH_MAX or longer than `max`; -EINVAL
 * when it is no object; -ENOMEM. The reason is in `error`.
 */
int kube_object_parse(const char *text, size_t len, size_t max, struct json_object **out,
                      struct decode_error *error);

struct kube_meta { /* borrowed from the object; NULL: absent or no plain text */
	const char *kind;
	const char *namespace, *name;
	const char *version;     /* metadata.resourceVersion */
	const char *token;       /* metadata.continue, of a list */
	bool initial_events_end; /* annotation k8s.io/initial-events-end, of a bookmark */
};

void kube_object_meta(struct json_object *object, struct kube_meta *meta);

enum kube_frame_type {
	KUBE_FRAME_ADDED,
	KUBE_FRAME_MODIFIED,
	KUBE_FRAME_DELETED,
	KUBE_FRAME_BOOKMARK,
	KUBE_FRAME_ERROR,
	KUBE_FRAME_OTHER, /* of a newer server: passed over */
	_KUBE_FRAME_TYPE_MAX
};

/* A frame of a watch, {"type", "object"}: -EINVAL with a reason when it is none. `object` is borrowed. */
int kube_frame_decode(struct json_object *frame, enum kube_frame_type *type,
                      struct json_object **object, struct decode_error *error);
