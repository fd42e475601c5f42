/* sources: agent/kube/status.c agent/kube/object.c */
/* Any answer is told in one visible line, within its bounds. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/utf8.h"
#include "kube/object.h"
#include "kube/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visible(const char *text)
{
	uint32_t c;

	for (size_t n; *text; text += n) {
		n = utf8_read(text, &c);
		assert(n > 0 && utf8_visible(c));
	}
}

static void check(const struct kube_status *status)
{
	char text[300];

	assert(status->code == 0 || (status->code >= 100 && status->code <= 599));
	assert(status->code != 410 || status->expired);
	assert(memchr(status->reason, '\0', sizeof(status->reason)));
	assert(memchr(status->message, '\0', sizeof(status->message)));
	visible(status->reason);
	visible(status->message);
	kube_status_format(status, text, sizeof(text));
	assert(text[0]);
	visible(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_object *object = NULL;
	struct decode_error error;
	struct kube_status status;

	kube_status_of_answer(503, (const char *)data, size, &status);
	assert(status.code == 503);
	check(&status);
	kube_status_of_answer(0, (const char *)data, size, &status);
	check(&status);
	if (kube_object_parse((const char *)data, size, SIZE_MAX, &object, &error) < 0)
		return 0;
	kube_status_decode(object, &status);
	check(&status);
	json_object_put(object);
	return 0;
}
