/* sources: agent/kube/event.c agent/kube/event_series.c */
/* Whatever the texts of an event are: its JSON is whole and within the server's bounds, its name a DNS subdomain. */
#undef NDEBUG
#include <assert.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "kube/event_series.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line of the input; "" past its end. */
static char *next(char **text)
{
	char *line = strsep(text, "\n");

	return line ? line : (char *)"";
}

static void check_name(const char *name)
{
	size_t len = strlen(name);

	assert(len > 0 && len <= 253);
	assert(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len);
	assert(!strstr(name, "..") && !strstr(name, ".-") && !strstr(name, "-."));
	assert(!strchr(".-", name[0]) && !strchr(".-", name[len - 1]));
}

static void check_text(struct json_object *event, const char *key, size_t max)
{
	struct json_object *value;
	const char *p;

	assert(json_object_object_get_ex(event, key, &value));
	p = json_object_get_string(value);
	assert(strlen(p) <= max);
	while (*p) {
		uint32_t c;
		size_t n = utf8_read(p, &c);

		assert(n > 0 && utf8_visible(c));
		p += n;
	}
}

static void check_written(const struct kube_event *event, const char *instance)
{
	struct kube_event_times times = { 1, 2, 2 };
	struct buf out = BUF_INIT(KUBE_EVENT_BYTES_MAX);
	char name[KUBE_NAME_MAX + 1];
	struct json_object *object;

	kube_event_name(event->regarding.name, 1, name);
	check_name(name);
	kube_event_write(event, name, "fuzz", instance, &times, &out);
	assert(out.error == 0);
	object = json_tokener_parse(out.data);
	assert(object);
	check_text(object, "note", 1024);
	check_text(object, "action", 128);
	check_text(object, "reason", 128);
	check_text(object, "reportingInstance", 128);
	json_object_put(object);
	buf_clear(&out);
}

/* The same event twice is a series, whatever it says. */
static void check_series(const struct kube_event *event)
{
	struct moment now = { 1, 1 };
	struct kube_event_series *series;

	if (kube_event_series_new("fuzz", &series) < 0)
		return;
	assert(kube_event_series_add(series, event, &now) == KUBE_EVENT_QUEUED);
	assert(kube_event_series_add(series, event, &now) == KUBE_EVENT_COUNTED);
	check_name(kube_event_series_head(series)->name);
	assert(strcmp(kube_event_series_head(series)->event.note, event->note) == 0);
	kube_event_series_told(series, 2, 2);
	assert(!kube_event_series_head(series));
	kube_event_series_free(series);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = strndup((const char *)data, size), *text = copy;
	struct kube_event event = { .warning = size % 2 };
	const char *instance;

	assert(copy);
	event.regarding.name = next(&text);
	event.regarding.namespace = next(&text);
	event.regarding.kind = next(&text);
	event.regarding.uid = next(&text);
	event.regarding.api_version = next(&text);
	event.reason = next(&text);
	event.action = next(&text);
	event.related.kind = next(&text);
	event.related.name = next(&text);
	instance = next(&text);
	event.id = next(&text);
	event.note = text ? text : "";
	if (!kube_event_fault(&event)) {
		check_written(&event, instance);
		check_series(&event);
	}
	(void)kube_event_is_controller(instance);
	free(copy);
	return 0;
}
