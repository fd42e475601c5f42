#include "kube/question.h"

#include <string.h>

/* RFC 3986, 2.3: what never needs encoding. */
static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("-._~", c));
}

static void encode(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (is_unreserved(*text))
			buf_append(out, text, 1);
		else
			buf_format(out, "%%%02X", (unsigned char)*text);
	}
}

static void param(struct buf *out, const char *name, const char *value, char *separator)
{
	if (!value || !*value)
		return;
	buf_format(out, "%c%s=", *separator, name);
	encode(out, value);
	*separator = '&';
}

static void number(struct buf *out, const char *name, unsigned int value, char *separator)
{
	if (value == 0)
		return;
	buf_format(out, "%c%s=%u", *separator, name, value);
	*separator = '&';
}

void kube_question_path(const struct kube_resource *resource, const struct kube_question *question,
                        struct buf *out)
{
	bool core = !resource->group || !*resource->group;
	char separator = '?';

	buf_text(out, core ? "/api/" : "/apis/");
	if (!core) {
		encode(out, resource->group);
		buf_text(out, "/");
	}
	encode(out, resource->version);
	buf_text(out, "/");
	encode(out, resource->plural);

	if (question->ask != KUBE_ASK_PAGE) {
		param(out, "watch", "1", &separator);
		param(out, "allowWatchBookmarks", "true", &separator);
	}
	if (question->ask == KUBE_ASK_STREAM) {
		/* One without the other is refused (apimachinery pkg/apis/meta/v1/types.go). */
		param(out, "sendInitialEvents", "true", &separator);
		param(out, "resourceVersionMatch", "NotOlderThan", &separator);
	}
	param(out, "resourceVersion", question->version, &separator);
	param(out, "fieldSelector", resource->field_selector, &separator);
	number(out, "limit", question->limit, &separator);
	param(out, "continue", question->token, &separator);
	number(out, "timeoutSeconds", question->timeout_s, &separator);
}
