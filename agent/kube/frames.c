#include "kube/frames.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* A block for one large object is not kept for the many small ones that follow. */
#define KEPT_MAX 65536

void kube_frames_init(struct kube_frames *frames, size_t max)
{
	*frames = (struct kube_frames){ .part = BUF_INIT(max) };
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			return false;
	return true;
}

static void forget(struct kube_frames *frames)
{
	if (frames->part.capacity > KEPT_MAX)
		buf_clear(&frames->part);
	else
		buf_reset(&frames->part);
}

/* The rest of a line: what was gathered before belongs to it. */
static int take(struct kube_frames *frames, const char *data, size_t len, kube_frame_fn fn,
                void *user)
{
	int r = 0;

	if (frames->part.len == 0) {
		if (len > frames->part.max)
			return -EOVERFLOW;
		return is_blank(data, len) ? 0 : fn(user, data, len);
	}

	buf_append(&frames->part, data, len);
	r = frames->part.error;
	if (r == 0 && !is_blank(frames->part.data, frames->part.len))
		r = fn(user, frames->part.data, frames->part.len);
	forget(frames);
	return r;
}

int kube_frames_feed(struct kube_frames *frames, const char *data, size_t len, kube_frame_fn fn,
                     void *user)
{
	while (len > 0 && !frames->error) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;

		if (end) {
			frames->error = take(frames, data, n, fn, user);
			n++;
		} else {
			buf_append(&frames->part, data, n);
			frames->error = frames->part.error;
		}
		data += n;
		len -= n;
	}
	return frames->error;
}

void kube_frames_reset(struct kube_frames *frames)
{
	forget(frames);
	frames->error = 0;
}

void kube_frames_clear(struct kube_frames *frames)
{
	buf_clear(&frames->part);
	frames->error = 0;
}
