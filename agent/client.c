#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/timer.h"
#include "io/http_client.h"
#include "io/listener.h"
#include "limits.h"

#define TIMEOUT_NS (10 * NSEC_PER_SEC)
#define SETTLE_NS (200 * NSEC_PER_MSEC)
#define JSON_DEPTH_MAX 32
/* A list continues behind them: what was filtered out, or is in memory and the spool. */
#define EMPTY_PAGES_MAX 1000

struct client {
	struct loop *loop;
	struct http_client *http;
	char *address, *base;           /* owned; as given; what targets are appended to */
	struct listener_address socket; /* .local with unix: */
	struct timer settle;
	struct http_transfer *stream; /* NULL: none runs */
	bool done, greeted, settling, changed, stream_ended;
	/* Of the request that ran last. */
	enum http_error http_error;
	uint16_t status;
	char detail[256];
	struct json_object *answer; /* owned */
};

static int complain(char error[static CLIENT_ERROR_MAX], int r, const char *address,
                    const char *what)
{
	snprintf(error, CLIENT_ERROR_MAX, "%.200s: %.290s", address, what);
	return r;
}

static int on_settled(struct timer *timer)
{
	struct client *client = container_of(timer, struct client, settle);

	client->settling = false;
	client->changed = true;
	loop_stop(client->loop);
	return 0;
}

static int parse_address(struct client *client, const char *address)
{
	static const char scheme[] = "http://";
	size_t len = strlen(address);

	if (strncmp(address, "unix:", 5) == 0) {
		if (listener_parse(address, &client->socket) < 0)
			return -EINVAL;
		address = "http://localhost";
		len = strlen(address);
	} else if (strncmp(address, scheme, strlen(scheme)) != 0 ||
	           address[strlen(scheme)] == '\0') {
		return -EINVAL;
	}
	while (address[len - 1] == '/')
		len--;
	client->base = strndup(address, len);
	return client->base ? 0 : -ENOMEM;
}

DEFINE_FREEP(struct client, client)

int client_new(const char *address, struct client **out, char error[static CLIENT_ERROR_MAX])
{
	cleanup(client_freep) struct client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return complain(error, -ENOMEM, address, strerror(ENOMEM));
	client->settle = (struct timer)TIMER_INIT;
	r = parse_address(client, address);
	if (r == -EINVAL)
		return complain(error, r, address, "expected http://HOST:PORT or unix:/PATH");
	if (r == 0)
		r = (client->address = strdup(address)) ? loop_new(&client->loop) : -ENOMEM;
	if (r == 0)
		r = timer_init(&client->settle, client->loop, on_settled);
	if (r == 0)
		r = http_client_new(client->loop, NULL, &client->http);
	if (r < 0)
		return complain(error, r, address, strerror(-r));

	*out = take_ptr(client);
	return 0;
}

struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;

	client->http = http_client_free(client->http);
	timer_clear(&client->settle);
	client->loop = loop_free(client->loop);
	json_object_put(client->answer);
	free(client->address);
	free(client->base);
	free(client);
	return NULL;
}

/* Strict: one value, valid UTF-8, nothing behind it. */
static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	struct json_object *object;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its NUL: a number at the top would else wait for more. */
	object = json_tokener_parse_ex(tokener, text, (int)len + 1);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

static void on_done(void *user, const struct http_response *response)
{
	struct client *client = user;

	client->done = true;
	client->http_error = response->error;
	client->status = response->status;
	snprintf(client->detail, sizeof(client->detail), "%s",
	         response->detail ? response->detail : "");
	if (response->error == HTTP_OK)
		client->answer = parse(response->body, response->body_len);
	loop_stop(client->loop);
}

/* libcurl speaks of a host and a port even when there is only a path. */
static void describe(const struct client *client, char text[static 300])
{
	const char *why = http_error_text(client->http_error);

	if (!client->socket.local)
		snprintf(text, 300, "no agent answers there: %s (%.200s)", why, client->detail);
	else if (access(client->socket.path, R_OK | W_OK) < 0)
		snprintf(text, 300, "no agent answers there: %s", strerror(errno));
	else
		snprintf(text, 300, "no agent answers there: %s", why);
}

/* An agent's problem (RFC 9457) says more than its status. */
static int judge_answer(struct client *client, struct json_object **out,
                        char error[static CLIENT_ERROR_MAX])
{
	struct json_object *detail = NULL;
	char text[300];

	if (client->http_error != HTTP_OK) {
		describe(client, text);
		return complain(error, -EHOSTUNREACH, client->address, text);
	}
	if (!client->answer)
		return complain(
			error, -EPROTO, client->address,
			"the answer is not a JSON object: is this an egress-verifier agent?");
	if (client->status != 200) {
		json_object_object_get_ex(client->answer, "detail", &detail);
		snprintf(text, sizeof(text), "%.250s",
		         json_object_is_type(detail, json_type_string)
		                 ? json_object_get_string(detail)
		                 : "the agent refused the request");
		return complain(error,
		                client->status == 404   ? -ENOENT
		                : client->status == 400 ? -EINVAL
		                                        : -EPROTO,
		                client->address, text);
	}

	*out = take_ptr(client->answer);
	return 0;
}

static int start(struct client *client, struct http_request *request, const char *target,
                 struct http_transfer **transfer)
{
	cleanup(buf_clearp) struct buf url = BUF_INIT(HTTP_TARGET_MAX + 512);

	buf_text(&url, client->base);
	buf_text(&url, target);
	if (url.error)
		return url.error;
	request->url = url.data;
	request->unix_path = client->socket.local ? client->socket.path : NULL;
	request->connect_timeout_ns = TIMEOUT_NS;
	request->user = client;
	return http_client_start(client->http, request, transfer);
}

int client_get(struct client *client, const char *target, struct json_object **out,
               char error[static CLIENT_ERROR_MAX])
{
	struct http_request request = {
		.timeout_ns = TIMEOUT_NS,
		.header_max = 16384,
		.body_max = CLIENT_ANSWER_MAX,
		.done = on_done,
	};
	struct http_transfer *transfer;
	int r;

	json_object_put(take_ptr(client->answer));
	client->done = false;
	r = start(client, &request, target, &transfer);
	while (r == 0 && !client->done)
		r = loop_run(client->loop);
	if (r < 0)
		return complain(error, r, client->address, strerror(-r));
	return judge_answer(client, out, error);
}

/* Moves the items of a page to the list. A page may be empty, and yet not the last. */
static int gather(struct json_object *list, struct json_object *page, size_t *n_empty)
{
	struct json_object *from, *to, *count;
	uint64_t n_unreadable = 0;

	if (!json_object_object_get_ex(page, "items", &from) ||
	    !json_object_is_type(from, json_type_array))
		return -EPROTO;
	if (json_object_object_get_ex(page, "unreadable", &count))
		n_unreadable = json_object_get_uint64(count);
	if (n_unreadable && json_object_object_get_ex(list, "unreadable", &count))
		n_unreadable += json_object_get_uint64(count);
	if (n_unreadable)
		json_object_object_add(list, "unreadable", json_object_new_uint64(n_unreadable));
	*n_empty += json_object_array_length(from) == 0;
	json_object_object_get_ex(list, "items", &to);
	for (size_t i = 0; i < json_object_array_length(from); i++)
		if (json_object_array_add(to, json_object_get(json_object_array_get_idx(from, i))) <
		    0)
			return -ENOMEM;
	return 0;
}

static const char *token_of(struct json_object *page)
{
	struct json_object *token;

	if (!json_object_object_get_ex(page, "continue", &token) ||
	    !json_object_is_type(token, json_type_string))
		return "";
	return json_object_get_string(token);
}

static size_t length_of(struct json_object *list)
{
	struct json_object *items;

	json_object_object_get_ex(list, "items", &items);
	return json_object_array_length(items);
}

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
}

int client_list(struct client *client, const char *target, size_t max, struct json_object **out,
                char error[static CLIENT_ERROR_MAX])
{
	cleanup(json_putp) struct json_object *list = NULL;
	size_t n_empty = 0;
	int r;

	do {
		cleanup(buf_clearp) struct buf page_target = BUF_INIT(HTTP_TARGET_MAX);
		struct json_object *page, *first;

		buf_format(&page_target, "%s%slimit=%zu", target, strchr(target, '?') ? "&" : "?",
		           max < HTTP_PAGE_ITEMS_MAX ? max : (size_t)HTTP_PAGE_ITEMS_MAX);
		if (list && *token_of(list))
			buf_format(&page_target, "&continue=%s", token_of(list));
		if (page_target.error)
			return complain(error, page_target.error, client->address,
			                "the request is too long");
		r = client_get(client, page_target.data, &page, error);
		if (r < 0)
			return r;
		first = list;
		if (!first) {
			list = page;
			if (!json_object_object_get_ex(list, "items", &first) ||
			    !json_object_is_type(first, json_type_array))
				return complain(error, -EPROTO, client->address,
				                "the answer is not a list");
			continue;
		}
		r = gather(list, page, &n_empty);
		if (r == 0 && *token_of(page) && n_empty > EMPTY_PAGES_MAX)
			r = -EPROTO; /* it would go on like that forever */
		if (r == 0)
			json_object_object_add(list, "continue",
			                       json_object_new_string(token_of(page)));
		json_object_put(page);
		if (r < 0)
			return complain(error, r, client->address, "the answer is not a list");
	} while (*token_of(list) && length_of(list) < max);

	*out = take_ptr(list);
	return 0;
}

/* Events are only looked at as a sign that something changed. */
static int on_event_bytes(void *user, const char *data, size_t len)
{
	struct client *client = user;

	if (!client->greeted) {
		client->greeted = true;
		loop_stop(client->loop);
	}
	/* Of all that comes only data has a brace, and one byte is never torn apart. */
	if (client->settling || !memchr(data, '{', len))
		return 0;
	client->settling = true; /* not set anew, or events that never stop would never be shown */
	return timer_set(&client->settle, SETTLE_NS, 0);
}

static void on_stream_end(void *user, const struct http_response *response)
{
	struct client *client = user;

	client->stream = NULL;
	client->stream_ended = true;
	client->http_error = response->error;
	client->status = response->status;
	loop_stop(client->loop);
}

static int watch_failed(struct client *client, char error[static CLIENT_ERROR_MAX])
{
	return complain(error, -EPIPE, client->address,
	                client->status == 503     ? "the agent has too many watchers already"
	                : client->status == 0     ? "no agent answers there"
	                : client->http_error == 0 ? "the agent ended the stream of events"
	                                          : http_error_text(client->http_error));
}

int client_watch(struct client *client, char error[static CLIENT_ERROR_MAX])
{
	struct http_request request = {
		.header_max = 16384,
		.body_max = CLIENT_EVENT_MAX,
		.idle_ns = 60 * NSEC_PER_SEC, /* the agent says something every 15 s */
		.write = on_event_bytes,
		.done = on_stream_end,
	};
	int r = start(client, &request, "/v1/events", &client->stream);

	/* What changes before it runs would be missed. */
	while (r == 0 && !client->greeted && !client->stream_ended)
		r = loop_run(client->loop);
	if (r == 0 && client->stream_ended)
		return watch_failed(client, error);
	return r < 0 ? complain(error, r, client->address, strerror(-r)) : 0;
}

int client_wait(struct client *client, char error[static CLIENT_ERROR_MAX])
{
	int r = 0;

	while (r == 0 && !client->changed && !client->stream_ended)
		r = loop_run(client->loop);
	if (r < 0)
		return complain(error, r, client->address, strerror(-r));
	if (!client->changed)
		return watch_failed(client, error);
	client->changed = false;
	return 0;
}

char *client_escape(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = malloc(3 * strlen(text) + 1), *p = out;

	if (!out)
		return NULL;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~/:", c)) {
			*p++ = *text;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	*p = '\0';
	return out;
}
