#include "kube/status.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "kube/object.h"

/* Reasons that decide, and the code they stand for (apimachinery pkg/apis/meta/v1/types.go). */
static const struct {
	const char *reason;
	uint16_t code;
} codes[] = {
	{ "Unauthorized", 401 },    { "Forbidden", 403 },     { "NotFound", 404 },
	{ "Expired", 410 },         { "Gone", 410 },          { "Invalid", 422 },
	{ "TooManyRequests", 429 }, { "InternalError", 500 }, { "ServiceUnavailable", 503 },
	{ "BadRequest", 400 },      { "ServerTimeout", 504 }, { "Timeout", 504 },
};

void kube_text_line(const char *text, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len;) {
		char at[5] = { 0 };
		uint32_t c = 0;
		size_t bytes;

		memcpy(at, text + i, len - i < 4 ? len - i : 4);
		bytes = at[0] ? utf8_read(at, &c) : 0;
		if (bytes == 0) {
			at[0] = at[0] ? '?' : ' ';
			bytes = 1;
		} else if (!utf8_visible(c)) {
			at[0] = ' ';
			at[1] = '\0';
			i += bytes - 1;
			bytes = 1;
		}
		i += bytes;
		if (at[0] == ' ' && (n == 0 || out[n - 1] == ' '))
			continue;
		if (n + bytes >= size)
			break;
		memcpy(out + n, at, bytes);
		n += bytes;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static struct json_object *member(struct json_object *object, const char *key, json_type type)
{
	struct json_object *value = NULL;

	if (!object || !json_object_object_get_ex(object, key, &value) ||
	    !json_object_is_type(value, type))
		return NULL;
	return value;
}

static void take_text(struct json_object *object, const char *key, char *out, size_t size)
{
	struct json_object *value = member(object, key, json_type_string);

	out[0] = '\0';
	if (value)
		kube_text_line(json_object_get_string(value),
		               (size_t)json_object_get_string_len(value), out, size);
}

static int64_t take_number(struct json_object *object, const char *key, int64_t least, int64_t most)
{
	struct json_object *value = member(object, key, json_type_int);
	int64_t number = value ? json_object_get_int64(value) : 0;

	return number < least || number > most ? 0 : number;
}

/* Servers before 1.18 say it in the message only (apimachinery pkg/api/errors). */
static bool is_too_large(struct json_object *causes, const char *message)
{
	for (size_t i = 0; causes && i < json_object_array_length(causes); i++) {
		struct json_object *cause = json_object_array_get_idx(causes, i), *value;

		if (!json_object_is_type(cause, json_type_object))
			continue;
		value = member(cause, "reason", json_type_string);
		if (value && strcmp(json_object_get_string(value), "ResourceVersionTooLarge") == 0)
			return true;
	}
	return strncmp(message, "Too large resource version", 26) == 0;
}

/* What the numbers and words together mean. */
static void conclude(struct kube_status *status)
{
	bool expired =
		strcmp(status->reason, "Expired") == 0 || strcmp(status->reason, "Gone") == 0;

	for (size_t i = 0; status->code == 0 && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(status->reason, codes[i].reason) == 0)
			status->code = codes[i].code;
	status->expired = expired || status->code == 410;
}

void kube_status_decode(struct json_object *object, struct kube_status *status)
{
	struct json_object *kind, *details;

	*status = (struct kube_status){ 0 };
	if (!json_object_is_type(object, json_type_object))
		return;
	kind = member(object, "kind", json_type_string);
	if (kind && strcmp(json_object_get_string(kind), "Status") != 0)
		return;

	details = member(object, "details", json_type_object);
	status->code = (uint16_t)take_number(object, "code", 100, 599);
	take_text(object, "reason", status->reason, sizeof(status->reason));
	take_text(object, "message", status->message, sizeof(status->message));
	status->retry_after_s = (uint32_t)take_number(details, "retryAfterSeconds", 0, UINT32_MAX);
	status->too_large =
		is_too_large(member(details, "causes", json_type_array), status->message);
	conclude(status);
}

void kube_status_of_answer(uint16_t code, const char *body, size_t len, struct kube_status *status)
{
	struct json_object *object = NULL;
	struct decode_error error;
	size_t start = 0;

	*status = (struct kube_status){ 0 };
	while (start < len && isspace((unsigned char)body[start]))
		start++;
	if (start < len && body[start] == '{' &&
	    kube_object_parse(body, len, KUBE_LIST_REST_MAX, &object, &error) == 0)
		kube_status_decode(object, status);
	else if (start < len && body[start] != '<' && body[start] != '{') /* "404 page not found" */
		kube_text_line(body, len, status->message, sizeof(status->message));
	json_object_put(object);

	/* What HTTP says is what clients and proxies act on. */
	if (code != 0)
		status->code = code;
	conclude(status);
}

void kube_status_format(const struct kube_status *status, char *out, size_t size)
{
	char code[16] = "";

	if (status->code)
		snprintf(code, sizeof(code), "%u", status->code);
	snprintf(out, size, "%s%s%s%s%s", code, code[0] && status->reason[0] ? " " : "",
	         status->reason, status->message[0] && (code[0] || status->reason[0]) ? ": " : "",
	         status->message);
	if (!out[0])
		snprintf(out, size, "an error without a word");
}
