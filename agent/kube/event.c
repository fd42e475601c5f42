#include "kube/event.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define SUFFIX_LEN 17              /* a dot and 16 digits */

/* Labels between dots begin and end with a letter or a digit (RFC 1123). */
static bool is_subdomain(const char *text, size_t len)
{
	bool inside = false; /* a label has begun */

	if (len == 0 || len > KUBE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool alnum =
			(text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');

		if (alnum)
			inside = true;
		else if (!inside || (text[i] != '-' && text[i] != '.'))
			return false;
		else if (text[i] == '.' && text[i - 1] == '-')
			return false;
		else if (text[i] == '.')
			inside = false;
	}
	return inside && text[len - 1] != '-';
}

static bool is_label(const char *text)
{
	size_t len = strlen(text);

	return len <= KUBE_LABEL_MAX && is_subdomain(text, len) && !strchr(text, '.');
}

bool kube_event_is_controller(const char *text)
{
	const char *slash = strchr(text, '/'), *name = slash ? slash + 1 : text;
	size_t len = strlen(name);

	if (slash && !is_subdomain(text, (size_t)(slash - text)))
		return false;
	if (len == 0 || len > KUBE_LABEL_MAX || !isalnum((unsigned char)name[0]) ||
	    !isalnum((unsigned char)name[len - 1]))
		return false;
	for (; *name; name++)
		if ((unsigned char)*name > 0x7e ||
		    (!isalnum((unsigned char)*name) && !strchr("-_.", *name)))
			return false;
	return true;
}

static bool fits(const char *text)
{
	return text && *text && strlen(text) <= KUBE_EVENT_TEXT_MAX;
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

const char *kube_event_fault(const struct kube_event *event)
{
	const char *namespace = or_empty(event->regarding.namespace);

	if (!fits(event->reason))
		return "an event's reason has 1 to 128 bytes";
	if (!fits(event->action))
		return "an event's action has 1 to 128 bytes";
	if (!fits(event->regarding.kind) || !*or_empty(event->regarding.name))
		return "an event is about an object with a kind and a name";
	if (*namespace && !is_label(namespace))
		return "an event's namespace is a DNS label";
	return NULL;
}

const char *kube_event_namespace(const struct kube_event *event)
{
	const char *namespace = or_empty(event->regarding.namespace);

	return *namespace ? namespace : "default";
}

void kube_event_name(const char *regarding, uint64_t number, char out[static KUBE_NAME_MAX + 1])
{
	size_t len = regarding ? strlen(regarding) : 0;

	if (!is_subdomain(or_empty(regarding), len)) {
		regarding = "event";
		len = strlen(regarding);
	}
	if (len > KUBE_NAME_MAX - SUFFIX_LEN)
		len = KUBE_NAME_MAX - SUFFIX_LEN;
	while (!isalnum(
		(unsigned char)regarding[len - 1])) /* cut at a dot or dash; the first is none */
		len--;
	snprintf(out, KUBE_NAME_MAX + 1, "%.*s.%016llx", (int)len, regarding,
	         (unsigned long long)number);
}

/* One character of the text as it is to be shown; *len of it are read. */
static const char *shown(const char *p, size_t *len, size_t *out_len)
{
	uint32_t c;
	size_t n = utf8_read(p, &c);

	*len = n ? n : 1;
	*out_len = *len;
	if (*p == '\n' || *p == '\r' || *p == '\t')
		return " ";
	if (n && utf8_visible(c))
		return p;
	*out_len = strlen(REPLACEMENT);
	return REPLACEMENT;
}

void kube_event_clean(const char *text, size_t max, char *out)
{
	size_t n = 0, cut = 0; /* cut: where "..." still fits behind */

	text = or_empty(text);
	while (*text) {
		size_t len, out_len;
		const char *p = shown(text, &len, &out_len);

		if (n + out_len > max) {
			for (n = cut; n < max && n < cut + 3; n++)
				out[n] = '.';
			break;
		}
		memcpy(out + n, p, out_len);
		n += out_len;
		text += len;
		if (n + 3 <= max)
			cut = n;
	}
	out[n] = '\0';
}

static void write_clean(struct encode *e, const char *key, const char *text)
{
	char clean[KUBE_NAME_MAX + 1];

	kube_event_clean(text, KUBE_NAME_MAX, clean);
	if (*clean)
		encode_text(e, key, clean);
}

static void write_reference(struct encode *e, const char *key, const struct kube_reference *of)
{
	if (!of->kind)
		return;
	encode_object(e, key);
	write_clean(e, "apiVersion", of->api_version);
	write_clean(e, "kind", of->kind);
	write_clean(e, "namespace", of->namespace);
	write_clean(e, "name", of->name);
	write_clean(e, "uid", of->uid);
	encode_object_end(e);
}

static void write_short(struct encode *e, const char *key, const char *text)
{
	char clean[KUBE_EVENT_TEXT_MAX + 1];

	kube_event_clean(text, KUBE_EVENT_TEXT_MAX, clean);
	encode_text(e, key, clean);
}

static void write_series(struct encode *e, const struct kube_event_times *times)
{
	encode_object(e, "series");
	encode_u64(e, "count", times->count < INT32_MAX ? times->count : INT32_MAX);
	encode_time(e, "lastObservedTime", times->last_us);
	encode_object_end(e);
}

void kube_event_write(const struct kube_event *event, const char *name, const char *controller,
                      const char *instance, const struct kube_event_times *times, struct buf *out)
{
	struct encode e = ENCODE_INIT(out);
	char note[KUBE_EVENT_NOTE_MAX + 1];

	kube_event_clean(event->note, KUBE_EVENT_NOTE_MAX, note);
	encode_object(&e, NULL);
	encode_text(&e, "apiVersion", "events.k8s.io/v1");
	encode_text(&e, "kind", "Event");
	encode_object(&e, "metadata");
	encode_text(&e, "name", name);
	encode_text(&e, "namespace", kube_event_namespace(event));
	encode_object_end(&e);
	encode_time(&e, "eventTime", times->first_us);
	encode_text(&e, "reportingController", controller);
	/* A node's name may have 253 bytes, this field 128. */
	write_short(&e, "reportingInstance", instance);
	write_short(&e, "action", event->action);
	write_short(&e, "reason", event->reason);
	write_reference(&e, "regarding", &event->regarding);
	write_reference(&e, "related", &event->related);
	encode_text(&e, "note", note);
	encode_text(&e, "type", event->warning ? "Warning" : "Normal");
	if (times->count >= 2)
		write_series(&e, times);
	encode_object_end(&e);
}

void kube_event_write_series(const struct kube_event_times *times, struct buf *out)
{
	struct encode e = ENCODE_INIT(out);

	encode_object(&e, NULL);
	write_series(&e, times);
	encode_object_end(&e);
}
