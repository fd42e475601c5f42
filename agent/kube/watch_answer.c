#include "kube/watch_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

/* What went wrong, as one sentence */

static void give_reason(struct kube_watch *watch, const char *where, const char *what,
                        const char *detail)
{
	char text[2 * WATCH_REASON_MAX];

	snprintf(text, sizeof(text), "%s%s%s%s%s", where, *where && *what ? ": " : "", what,
	         *detail ? ": " : "", detail);
	kube_text_line(text, strlen(text), watch->reason, sizeof(watch->reason));
}

static void note(struct kube_watch *watch, const struct kube_failure *failure)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (failure->expired)
		watch->stats.expired++;
	else if (failure->code == 429)
		watch->stats.throttled++;
	else
		watch->stats.errors++;
	watch->stopped = true;
	if (kube_reflector_failed(&watch->reflector, now_ns, kube_watch_random(), failure) ==
	    KUBE_ACT_EMPTY)
		kube_watch_empty(watch);
}

static int protocol_error(struct kube_watch *watch, const char *what, const char *detail)
{
	give_reason(watch, what, detail, "");
	note(watch, &(struct kube_failure){ .kind = KUBE_FAILURE_PROTOCOL });
	return -ECANCELED;
}

static int no_memory(struct kube_watch *watch)
{
	give_reason(watch, "", "no memory for what the server sent", "");
	note(watch, &(struct kube_failure){ .kind = KUBE_FAILURE_MEMORY });
	return -ECANCELED;
}

static void note_status(struct kube_watch *watch, const struct kube_status *status,
                        uint32_t retry_after_s)
{
	kube_status_format(status, watch->reason, sizeof(watch->reason));
	note(watch, &(struct kube_failure){
			    .kind = KUBE_FAILURE_STATUS,
			    .code = status->code,
			    .expired = status->expired,
			    .too_large = status->too_large,
			    .retry_after_s = retry_after_s ? retry_after_s : status->retry_after_s,
		    });
}

/* Streams */

static bool is_of_kind(struct kube_watch *watch, const struct kube_meta *meta)
{
	char why[128];

	if (!meta->kind || strcmp(meta->kind, watch->resource->kind) == 0)
		return true;
	snprintf(why, sizeof(why), "of kind %.64s", meta->kind);
	kube_watch_refuse(watch, meta, why);
	return false;
}

static int take_event(struct kube_watch *watch, enum kube_frame_type type,
                      struct json_object *object)
{
	struct kube_meta meta;

	kube_object_meta(object, &meta);
	if (!is_of_kind(watch, &meta))
		return 0;
	if (type == KUBE_FRAME_BOOKMARK)
		watch->stats.bookmarks++;
	switch (kube_reflector_event(&watch->reflector, clock_now().mono_ns, kube_watch_random(),
	                             type, meta.version, meta.initial_events_end)) {
	case KUBE_ACT_PUT:
		return kube_watch_put(watch, object, &meta) < 0 ? no_memory(watch) : 0;
	case KUBE_ACT_REMOVE:
		kube_watch_remove(watch, &meta);
		return 0;
	case KUBE_ACT_COMMIT:
		kube_watch_commit(watch);
		return 0;
	case KUBE_ACT_STOP:
		watch->stats.errors++;
		watch->stopped = true;
		give_reason(watch, "", "the streamed list has no end that tells its version", "");
		return -ECANCELED;
	default:
		return 0;
	}
}

static int on_line(void *user, const char *line, size_t len)
{
	struct kube_watch *watch = user;
	struct json_object *frame = NULL, *object = NULL;
	struct decode_error error = { "" };
	enum kube_frame_type type = KUBE_FRAME_OTHER;
	struct kube_status status;
	int r;

	r = kube_object_parse(line, len, KUBE_FRAME_MAX, &frame, &error);
	if (r == -E2BIG) {
		kube_watch_refuse(watch, NULL, error.text);
		return 0;
	}
	if (r == 0)
		r = kube_frame_decode(frame, &type, &object, &error);
	if (r == -ENOMEM) {
		r = no_memory(watch);
	} else if (r < 0) {
		r = protocol_error(watch, "an event of the watch cannot be read", error.text);
	} else if (type == KUBE_FRAME_ERROR) {
		kube_status_decode(object, &status);
		note_status(watch, &status, 0);
		r = -ECANCELED;
	} else if (type == KUBE_FRAME_OTHER) {
		kube_watch_refuse(watch, NULL, "an event of an unknown type");
	} else {
		r = take_event(watch, type, object);
	}
	json_object_put(frame);
	return r;
}

/* Pages */

static int on_item(void *user, const char *text, size_t len)
{
	struct kube_watch *watch = user;
	struct json_object *object = NULL;
	struct decode_error error = { "" };
	struct kube_meta meta;
	int r = -E2BIG;

	if (text)
		r = kube_object_parse(text, len, KUBE_FRAME_MAX, &object, &error);
	else
		decode_fail(&error, "an item of %zu bytes", len);
	if (r == -ENOMEM)
		return no_memory(watch);
	if (r == -EINVAL)
		return protocol_error(watch, "an item of the list cannot be read", error.text);
	if (r < 0) {
		kube_watch_refuse(watch, NULL, error.text);
		return 0;
	}

	kube_object_meta(object, &meta);
	if (is_of_kind(watch, &meta) && kube_watch_put(watch, object, &meta) < 0)
		r = no_memory(watch);
	json_object_put(object);
	return r;
}

static bool is_list(const char *kind)
{
	size_t n = kind ? strlen(kind) : 0;

	return !kind || (n > 4 && strcmp(kind + n - 4, "List") == 0);
}

/* What stands beside the items is complete. */
static void finish_page(struct kube_watch *watch, const char *content_type)
{
	struct json_object *rest = NULL;
	struct decode_error error = { "" };
	struct kube_meta meta = { 0 };
	const char *text = NULL;
	size_t len = 0;
	int r = kube_list_items_end(&watch->list, &text, &len);

	if (!content_type || strncasecmp(content_type, "application/json", 16) != 0)
		r = decode_fail(&error, "not application/json but %.64s",
		                content_type ? content_type : "nothing said");
	else if (r < 0)
		decode_fail(&error, "%s", watch->list.reason);
	else
		r = kube_object_parse(text, len, KUBE_LIST_REST_MAX, &rest, &error);
	if (r == 0) {
		kube_object_meta(rest, &meta);
		if (!is_list(meta.kind))
			r = decode_fail(&error, "a %.64s", meta.kind);
	}

	if (r == -ENOMEM) {
		no_memory(watch);
	} else if (r < 0) {
		protocol_error(watch, "the answer is no list", error.text);
	} else {
		switch (kube_reflector_page(&watch->reflector, clock_now().mono_ns,
		                            kube_watch_random(), meta.version, meta.token)) {
		case KUBE_ACT_COMMIT:
			kube_watch_commit(watch);
			break;
		case KUBE_ACT_STOP:
			watch->stats.errors++;
			give_reason(watch, "", "the list has no version, or no end", "");
			break;
		default:
			break;
		}
	}
	json_object_put(rest);
}

/* Answers */

void kube_watch_on_opened(void *user)
{
	struct kube_watch *watch = user;
	uint64_t now_ns = clock_now().mono_ns;

	if (watch->stopped)
		return;
	watch->heard_ns = now_ns;
	if (watch->reflector.ask == KUBE_ASK_WATCH && !watch->reflector.opened)
		watch->stats.watches++;
	kube_reflector_opened(&watch->reflector, now_ns);
}

int kube_watch_on_data(void *user, const char *data, size_t len)
{
	struct kube_watch *watch = user;
	int r;

	if (watch->stopped)
		return -ECANCELED;
	kube_watch_on_opened(watch);
	if (watch->reflector.ask == KUBE_ASK_PAGE)
		r = kube_list_items_feed(&watch->list, data, len, on_item, watch);
	else
		r = kube_frames_feed(&watch->frames, data, len, on_line, watch);
	if (r == 0 || watch->stopped)
		return r;

	if (r == -ENOMEM)
		return no_memory(watch);
	if (r == -EOVERFLOW)
		return protocol_error(watch, "an event of the watch is too large", "");
	return protocol_error(watch, "the answer is no list", watch->list.reason);
}

/* No answer, or not all of one. */
static void note_broken(struct kube_watch *watch, const struct http_response *response)
{
	const struct kube_server *server = kube_client_server(watch->client);
	bool v6 = strchr(server->host, ':') != NULL;
	const char *detail = response->detail ? response->detail : "";
	char where[300];

	snprintf(where, sizeof(where), "%s%s%.253s%s:%u",
	         response->connected                      ? ""
	         : response->error == HTTP_RESOLVE_FAILED ? "resolve "
	                                                  : "connect ",
	         v6 ? "[" : "", server->host, v6 ? "]" : "", server->port);
	/* What refused is said already; the rest is better told in the library's words, too. */
	if (response->error == HTTP_CONNECT_REFUSED || response->error == HTTP_RESET)
		detail = "";
	give_reason(watch, where, http_error_text(response->error), detail);
	note(watch, &(struct kube_failure){ .kind = response->error == HTTP_PROTOCOL
	                                                    ? KUBE_FAILURE_PROTOCOL
	                                                    : KUBE_FAILURE_BROKEN });
}

static void finish_stream(struct kube_watch *watch)
{
	if (watch->frames.part.len > 0) {
		give_reason(watch, "", "the watch ended inside an event", "");
		note(watch, &(struct kube_failure){ .kind = KUBE_FAILURE_BROKEN });
		return;
	}
	kube_reflector_ended(&watch->reflector, clock_now().mono_ns, kube_watch_random());
	if (watch->reflector.state != KUBE_WATCH_SYNCED) {
		watch->stats.errors++;
		give_reason(watch, "", "the watch ended before anything came", "");
	}
}

void kube_watch_on_answer(struct kube_watch *watch, const struct http_response *response)
{
	struct kube_status status;
	uint16_t code = response->status;

	if (watch->stopped)
		return;
	if (response->error != HTTP_OK && (response->error != HTTP_TOO_LARGE || code < 300)) {
		note_broken(watch, response);
	} else if (code < 200 || code >= 300) {
		kube_status_of_answer(code, response->body, response->body_len, &status);
		note_status(watch, &status, response->retry_after_s);
	} else {
		kube_watch_on_opened(watch);
		watch->heard_ns = clock_now().mono_ns;
		if (watch->reflector.ask == KUBE_ASK_PAGE)
			finish_page(watch, response->content_type);
		else
			finish_stream(watch);
	}
}
