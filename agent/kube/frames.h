/*
 * Lines of a stream: a watch answers with one JSON text per line.
 *
 * Each byte is looked at once, however the stream is cut. A line that is whole in what came
 * is handed on from there; else it is gathered, up to `max`. What is empty is passed over.
 */
#pragma once

#include "base/buf.h"

/* Borrowed, without the line's end. 0, or -errno to end the feeding. */
typedef int (*kube_frame_fn)(void *user, const char *line, size_t len);

struct kube_frames {
	struct buf part; /* of a line whose end has not come */
	int error;       /* sticky until kube_frames_reset() */
};

/* `max` of one line: it ends the stream with -EOVERFLOW, a part would be something else. */
void kube_frames_init(struct kube_frames *frames, size_t max);
/* 0, -EOVERFLOW, -ENOMEM, or what `fn` said. */
int kube_frames_feed(struct kube_frames *frames, const char *data, size_t len, kube_frame_fn fn,
                     void *user);
/* Forgets what was gathered. */
void kube_frames_reset(struct kube_frames *frames);
void kube_frames_clear(struct kube_frames *frames);
