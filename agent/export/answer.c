#include "export/answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "kube/object.h"
#include "kube/status.h"
#include "limits.h"

const char *export_result_name(enum export_result result)
{
	static const char *const names[] = {
		[EXPORT_OK] = "ok",
		[EXPORT_RETRY] = "retry",
		[EXPORT_REFUSED] = "refused",
		[EXPORT_FAILED] = "failed",
	};

	return names[result];
}

static void object_putp(struct json_object **object)
{
	json_object_put(*object);
}

static struct json_object *member(struct json_object *object, const char *key, json_type type)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value) || !json_object_is_type(value, type))
		return NULL;
	return value;
}

/* A 64-bit integer is written as a string; readers take a number, too. -1: neither. */
static int64_t count_of(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;
	uint64_t count;

	if (!json_object_object_get_ex(object, key, &value) || !value)
		return 0;
	if (json_object_is_type(value, json_type_int))
		return json_object_get_int64(value) < 0 ? -1 : json_object_get_int64(value);
	if (!json_object_is_type(value, json_type_string) ||
	    parse_u64(json_object_get_string(value), INT64_MAX, &count) < 0)
		return -1;
	return (int64_t)count;
}

static void take_text(struct json_object *object, const char *key, struct export_answer *out)
{
	struct json_object *value = member(object, key, json_type_string);

	if (value)
		kube_text_line(json_object_get_string(value),
		               (size_t)json_object_get_string_len(value), out->message,
		               sizeof(out->message));
}

/* Statuses */

static bool is_retried(uint16_t status)
{
	return status == 429 || status == 502 || status == 503 || status == 504;
}

/* "400", "400: its words" */
static void prefix_status(uint16_t status, struct export_answer *out)
{
	char words[sizeof(out->message)];
	int n;

	memcpy(words, out->message, sizeof(words));
	n = snprintf(out->message, sizeof(out->message), "%u%s", (unsigned int)status,
	             words[0] ? ": " : "");
	kube_text_line(words, strlen(words), out->message + n, sizeof(out->message) - (size_t)n);
}

/* google.rpc.Status as JSON; a proxy says what it has to say as plain text, or in HTML. */
static void read_refusal(const struct http_response *response, struct export_answer *out)
{
	cleanup(object_putp) struct json_object *object = NULL;
	const char *type = response->content_type ?: "text/plain";
	struct decode_error ignored;

	if (kube_object_parse(response->body, response->body_len, EXPORT_ANSWER_JSON_MAX, &object,
	                      &ignored) == 0)
		take_text(object, "message", out);
	else if (strncasecmp(type, "text/plain", 10) == 0)
		kube_text_line(response->body, response->body_len, out->message,
		               sizeof(out->message));
	prefix_status(response->status, out);
}

static void say(struct export_answer *out, const char *what, const char *why)
{
	char text[sizeof(out->message)];

	snprintf(text, sizeof(text), "%s%s%s", what, *why ? ": " : "", why);
	kube_text_line(text, strlen(text), out->message, sizeof(out->message));
}

/* 200 is what the specification knows; Loki says 204, others 202, and the Collector takes all of them. */
static bool is_success(uint16_t status)
{
	return status >= 200 && status < 300;
}

static void read_success(const struct http_response *response, enum export_signal signal,
                         uint64_t sent, struct export_answer *out)
{
	const char *key = signal == EXPORT_LOGS ? "rejectedLogRecords" : "rejectedDataPoints";
	cleanup(object_putp) struct json_object *object = NULL;
	struct json_object *partial;
	struct decode_error error = { "" };
	int64_t rejected;

	/* An empty message is nothing at all in some servers' answers. */
	if (response->body_len == 0)
		return;
	if (kube_object_parse(response->body, response->body_len, EXPORT_ANSWER_JSON_MAX, &object,
	                      &error) < 0) {
		say(out, "success with a body that is no answer", error.text);
		return;
	}
	partial = member(object, "partialSuccess", json_type_object);
	if (!partial)
		return;
	take_text(partial, "errorMessage", out);
	rejected = count_of(partial, key);
	if (rejected < 0)
		say(out, "success with a count that is none", key);
	else
		out->rejected = (uint64_t)rejected < sent ? (uint64_t)rejected : sent;
}

/*
 * What broke after the status line. An answer that ends early may have been going to say
 * anything; one that is complete and wrong says what its status says.
 */
static enum export_result result_of_broken(const struct http_response *response)
{
	bool complete = response->error == HTTP_PROTOCOL || response->error == HTTP_TOO_LARGE;

	if (!complete || response->status < 200)
		return EXPORT_FAILED;
	if (is_retried(response->status))
		return EXPORT_RETRY;
	return is_success(response->status) ? EXPORT_OK : EXPORT_REFUSED;
}

void export_answer_read(const struct http_response *response, enum export_signal signal,
                        uint64_t sent, struct export_answer *out)
{
	uint16_t status = response->status;

	*out = (struct export_answer){ .retry_after_s = response->retry_after_s };
	if (response->error != HTTP_OK) {
		out->result = result_of_broken(response);
		say(out, http_error_text(response->error), response->detail ?: "");
		if (out->result == EXPORT_RETRY || out->result == EXPORT_REFUSED)
			prefix_status(status, out);
	} else if (is_success(status)) {
		out->result = EXPORT_OK;
		read_success(response, signal, sent, out);
	} else {
		out->result = is_retried(status) ? EXPORT_RETRY : EXPORT_REFUSED;
		read_refusal(response, out);
	}
}
