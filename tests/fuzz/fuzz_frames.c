/* sources: agent/kube/frames.c agent/kube/object.c */
/*
 * Lines do not depend on how the stream is cut: the first byte says how, the rest is fed so and
 * compared with lines found by looking at the whole. What a line holds goes through the decoder.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "kube/frames.h"
#include "kube/object.h"

#define MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reader {
	const char *at, *end; /* of the whole */
};

static int take(void *user, const char *line, size_t len)
{
	struct reader *reader = user;
	struct json_object *frame = NULL, *object = NULL;
	struct decode_error error = { "" };
	enum kube_frame_type type = _KUBE_FRAME_TYPE_MAX;
	struct kube_meta meta;

	/* The next line of the whole that is not blank. */
	for (;;) {
		const char *end = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
		size_t n, blank = 0;

		assert(end);
		n = (size_t)(end - reader->at);
		while (blank < n && strchr(" \t\r", reader->at[blank]) && reader->at[blank])
			blank++;
		if (blank < n) {
			assert(n == len && memcmp(reader->at, line, len) == 0);
			reader->at = end + 1;
			break;
		}
		reader->at = end + 1;
	}
	assert(len <= MAX);

	if (kube_object_parse(line, len, MAX, &frame, &error) < 0) {
		assert(error.text[0] && !frame);
		return 0;
	}
	if (kube_frame_decode(frame, &type, &object, &error) == 0) {
		assert(type < _KUBE_FRAME_TYPE_MAX);
		kube_object_meta(object, &meta);
		assert(!meta.name || strlen(meta.name) < len);
	} else {
		assert(error.text[0] && !object);
	}
	json_object_put(frame);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct reader reader = { text, text + size - 1 };
	struct kube_frames frames;
	uint32_t seed;
	int r = 0;

	if (size < 1)
		return 0;
	seed = data[0];
	kube_frames_init(&frames, MAX);
	for (size_t at = 0; at < size - 1 && r == 0;) {
		size_t n = seed % 37 + 1;

		n = n < size - 1 - at ? n : size - 1 - at;
		r = kube_frames_feed(&frames, text + at, n, take, &reader);
		at += n;
		seed = seed * 1103515245u + 12345;
	}
	assert(r == 0 || r == -EOVERFLOW);
	assert(frames.part.len <= MAX);
	kube_frames_clear(&frames);
	return 0;
}
