/*
 * The watch against a client that the test plays: what it asks is looked at, what it
 * gets is written here. What comes out is kept as a text, in order. Pauses are the
 * reflector's, whose tests look at their length; here they are over at once.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fake.h"
#include "kube/objects.h"
#include "kube/watch_parts.h"

struct kube_client {
	struct kube_server server;
};

struct kube_call {
	struct kube_request request;
	char path[2048];
};

static struct kube_client client;
static struct kube_call *out; /* the request that is out */
static unsigned int asked, cancelled;
static int start_error;
static struct loop *loop;
static struct kube_watch *watch;
static char story[65536]; /* what the watch told */
static unsigned int states;
static const char *no_room_for; /* name of the object that put has no memory for, once */

int kube_client_start(struct kube_client *c, const struct kube_request *request,
                      struct kube_call **call)
{
	assert_ptr_equal(c, &client);
	assert_null(out);
	if (start_error) {
		int r = start_error;

		start_error = 0;
		loop_stop(loop);
		return r;
	}
	asked++;
	out = calloc(1, sizeof(*out));
	assert_non_null(out);
	out->request = *request;
	assert_true(strlen(request->path) < sizeof(out->path));
	memcpy(out->path, request->path, strlen(request->path) + 1);
	*call = out;
	loop_stop(loop);
	return 0;
}

void kube_call_cancel(struct kube_call *call)
{
	assert_ptr_equal(call, out);
	cancelled++;
	free(take_ptr(out));
}

const struct kube_server *kube_client_server(const struct kube_client *c)
{
	return &c->server;
}

static void tell(const char *format, const char *a, const char *b)
{
	size_t n = strlen(story);

	assert_true(n < sizeof(story) - 600);
	/* A constant of this file. */
	if (b)
		snprintf(story + n, sizeof(story) - n, "%s%s/%s ", format, a, b);
	else
		snprintf(story + n, sizeof(story) - n, "%s%s ", format, a);
}

static void on_begin(void *user)
{
	(void)user;
	tell("begin", "", NULL);
}

static int on_put(void *user, struct json_object *object, struct decode_error *error)
{
	struct json_object *metadata, *name;

	(void)user;
	if (!json_object_object_get_ex(object, "metadata", &metadata) ||
	    !json_object_object_get_ex(metadata, "name", &name))
		return decode_fail(error, "metadata.name: missing");
	if (strcmp(json_object_get_string(name), "one-too-many") == 0)
		return -ENOSPC; /* without a word */
	if (no_room_for && strcmp(json_object_get_string(name), no_room_for) == 0) {
		no_room_for = NULL;
		return -ENOMEM;
	}
	tell("+", json_object_get_string(name), NULL);
	return 0;
}

static void on_remove(void *user, const char *namespace, const char *name)
{
	(void)user;
	tell("-", namespace, name);
}

static void on_commit(void *user)
{
	(void)user;
	tell("commit", "", NULL);
}

static void on_abort(void *user)
{
	(void)user;
	tell("abort", "", NULL);
}

static void on_state(void *user)
{
	(void)user;
	states++;
}

static const struct kube_resource pods = { .group = "",
	                                   .version = "v1",
	                                   .plural = "pods",
	                                   .kind = "Pod",
	                                   .field_selector = "spec.nodeName=n 1" };

static int start_watch(uint64_t delay_ns)
{
	static const struct kube_watch_events events = {
		.begin = on_begin,
		.put = on_put,
		.remove = on_remove,
		.commit = on_commit,
		.abort = on_abort,
		.state = on_state,
	};

	return kube_watch_new(loop, &client, &pods, &events, delay_ns, &watch);
}

static int set_up(void **state)
{
	(void)state;
	client.server = (struct kube_server){ .host = (char *)"10.0.0.1", .port = 443 };
	asked = cancelled = states = 0;
	story[0] = '\0';
	start_error = 0;
	no_room_for = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(start_watch(0), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	watch = kube_watch_free(watch);
	assert_null(out);
	loop = loop_free(loop);
	return 0;
}

static void hurry(void)
{
	assert_false(watch->reflector.busy);
	if (watch->reflector.state == KUBE_WATCH_WAITING && asked == 0)
		return;
	watch->reflector.due_ns = clock_now().mono_ns;
	assert_int_equal(timer_set(&watch->timer, 0, 0), 0);
}

/* The next request, which has to be for this: what it begins with and what it contains. */
static void asks(const char *begins, const char *contains)
{
	if (!out) {
		hurry();
		fake_loop_run(loop);
	}
	assert_non_null(out);
	if (strncmp(out->path, begins, strlen(begins)) != 0 || !strstr(out->path, contains))
		fail_msg("asked for %s, not %s…%s", out->path, begins, contains);
	assert_int_equal(out->request.stream, strstr(out->path, "watch=1") != NULL);
}

static void opens(void)
{
	out->request.opened(out->request.user);
}

/* As JSON of the tests' way to write it; 0, or what the watch said. */
static int writes(const char *text)
{
	char *json = strdup(text);
	int r = 0;

	for (char *p = json; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	opens();
	/* In pieces that nothing keeps to. */
	for (size_t at = 0, len = strlen(json); at < len && r == 0; at += 7)
		r = out->request.write(out->request.user, json + at, len - at < 7 ? len - at : 7);
	free(json);
	return r;
}

static void done(const struct http_response *response)
{
	struct kube_call *call = take_ptr(out);

	call->request.done(call->request.user, response);
	free(call);
}

static void answers(uint16_t status, const char *body)
{
	done(&(struct http_response){ .status = status,
	                              .connected = true,
	                              .body = body,
	                              .body_len = strlen(body),
	                              .content_type = "application/json",
	                              .detail = "" });
}

static void breaks(enum http_error error, bool connected, const char *detail)
{
	done(&(struct http_response){
		.error = error, .connected = connected, .body = "", .detail = detail });
}

static void told(const char *text)
{
	assert_string_equal(story, text);
	story[0] = '\0';
}

static void is(enum kube_watch_state state, const char *reason)
{
	assert_int_equal(kube_watch_state(watch), state);
	assert_string_equal(kube_watch_reason(watch), reason);
}

#define LIST                                                                                 \
	"/api/v1/"                                                                           \
	"pods?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=" \
	"NotOlderThan"
#define WATCH "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion="
#define PAGE "/api/v1/pods?"
#define POD(name, version)                                                          \
	"{'kind':'Pod','apiVersion':'v1','metadata':{'namespace':'a','name':'" name \
	"','resourceVersion':'" version "'}}"
#define EVENT(type, name, version) "{'type':'" type "','object':" POD(name, version) "}\n"
#define END(version)                                                                        \
	"{'type':'BOOKMARK','object':{'kind':'Pod','metadata':{'resourceVersion':'" version \
	"','annotations':{'k8s.io/initial-events-end':'true'}}}}\n"
#define ITEM(name) "{'metadata':{'namespace':'a','name':'" name "'}}"

/* In step with a list of two objects at version 50. */
static void synced(void)
{
	asks(LIST, "");
	assert_int_equal(writes(EVENT("ADDED", "x", "30") EVENT("ADDED", "y", "20") END("50")), 0);
	told("begin +x +y commit ");
	is(KUBE_WATCH_SYNCED, "");
}

static void a_streamed_list_goes_on_as_a_watch(void **state)
{
	const struct kube_watch_stats *stats = kube_watch_stats(watch);

	(void)state;
	asks(LIST, "&fieldSelector=spec.nodeName%3Dn%201&timeoutSeconds=");
	assert_null(strstr(out->path, "resourceVersion="));
	is(KUBE_WATCH_WAITING, "");
	synced();
	assert_int_equal(states, 1);
	assert_int_equal(writes(EVENT("ADDED", "z", "51") EVENT("MODIFIED", "x", "52")
	                                EVENT("DELETED", "y", "53")),
	                 0);
	told("+z +x -a/y ");
	assert_int_equal(writes("{'type':'BOOKMARK','object':{'kind':'Pod','metadata':{'"
	                        "resourceVersion':'60'}}}\n"),
	                 0);
	told("");
	answers(200, "");
	asks(WATCH "60&", "");
	assert_int_equal(states, 1);
	assert_int_equal(stats->lists, 1);
	assert_int_equal(stats->events, 5);
	assert_int_equal(stats->bookmarks, 2);
	assert_int_equal(stats->errors + stats->refused + stats->expired, 0);
	assert_int_equal(stats->watches, 0);
	opens();
	assert_int_equal(stats->watches, 1);
	assert_true(kube_watch_heard_ns(watch) > 0);
}

static void pages_are_one_list(void **state)
{
	(void)state;
	asks(LIST, "");
	answers(422, "{\"kind\":\"Status\",\"code\":422,\"reason\":\"Invalid\",\"message\":"
	             "\"sendInitialEvents is forbidden\"}");
	asks(PAGE "resourceVersion=0&fieldSelector=spec.nodeName%3Dn%201&limit=500", "");
	assert_int_equal(out->request.timeout_ns, KUBE_LIST_TIMEOUT_NS);
	assert_int_equal(writes("{'kind':'PodList','metadata':{'resourceVersion':'50','continue':'"
	                        "a+/='},'items':[" ITEM("x") "," ITEM("y") "]}"),
	                 0);
	told("begin +x +y ");
	answers(200, "");
	told("");
	asks(PAGE "fieldSelector=spec.nodeName%3Dn%201&limit=500&continue=a%2B%2F%3D", "");
	assert_int_equal(writes("{'metadata':{'resourceVersion':'57'},'items':[" ITEM("z") "]}"),
	                 0);
	told("+z ");
	is(KUBE_WATCH_WAITING, "");
	answers(200, "");
	told("commit ");
	is(KUBE_WATCH_SYNCED, "");
	asks(WATCH "50&", "");
	/* A list of nothing is a list. */
	assert_int_equal(kube_watch_stats(watch)->lists, 2); /* the refused one, too */
}

static void an_empty_list_is_told(void **state)
{
	(void)state;
	asks(LIST, "");
	assert_int_equal(writes(END("7")), 0);
	told("begin commit ");
	is(KUBE_WATCH_SYNCED, "");
}

/* Bodies of a page that is no list: nothing of it may count. */
static void what_is_no_list_is_none(void **state)
{
	static const struct {
		const char *body, *told, *reason;
	} rows[] = {
		{ "", "", "the answer is no list: the list ends early" },
		{ "{'metadata':{'resourceVersion':'1'},'items':[" ITEM("x"), "begin +x abort ",
		  "the answer is no list: the list ends early" },
		{ "{'metadata':{'resourceVersion':'1'},'items':[" ITEM("x") "]} 7",
		  "begin +x abort ", "the answer is no list: more after the list" },
		{ "{'items':[" ITEM("x") "]}", "begin +x abort ",
		  "the list has no version, or no end" },
		{ "{'metadata':{'resourceVersion':7},'items':[]}", "",
		  "the list has no version, or no end" },
		{ "<html>Sign in</html>", "", "the answer is no list: not an object" },
		{ "{'kind':'Table','metadata':{'resourceVersion':'1'},'items':[]}", "",
		  "the answer is no list: a Table" },
		{ "{'kind':'Pod','metadata':{'resourceVersion':'1'}}", "",
		  "the answer is no list: no items" },
		{ "{'metadata':{'resourceVersion':'1'},'items':[{'a':tru}]}", "",
		  "an item of the list cannot be read: not JSON at byte " },
		{ "{'metadata':{'resourceVersion':'1'},'items':[{'a':'\xff'}]}", "",
		  "an item of the list cannot be read: not JSON at byte " },
		{ "{'metadata':{'resourceVersion':'1'},,'items':[]}", "",
		  "the answer is no list: not JSON at byte " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tear_down(NULL);
		set_up(NULL);
		asks(LIST, "");
		answers(400, "");
		asks(PAGE "resourceVersion=0", "");
		if (writes(rows[i].body) == 0)
			answers(200, "");
		else
			breaks(HTTP_ABORTED, true, "");
		told(rows[i].told);
		assert_int_equal(kube_watch_state(watch), KUBE_WATCH_FAILING);
		/* What follows is the library's. */
		if (strncmp(kube_watch_reason(watch), rows[i].reason, strlen(rows[i].reason)) != 0)
			fail_msg("%s: %s", kube_watch_reason(watch), rows[i].body);
		assert_int_equal(kube_watch_stats(watch)->errors, 2);
	}
}

static void a_list_of_another_content_type_is_none(void **state)
{
	(void)state;
	asks(LIST, "");
	answers(400, "");
	asks(PAGE, "");
	assert_int_equal(writes("{'metadata':{'resourceVersion':'1'},'items':[" ITEM("x") "]}"), 0);
	done(&(struct http_response){ .status = 200, .body = "", .content_type = "text/html; x" });
	told("begin +x abort ");
	is(KUBE_WATCH_FAILING, "the answer is no list: not application/json but text/html; x");
}

static void objects_that_cannot_be_taken_are_left_out(void **state)
{
	const struct kube_watch_stats *stats = kube_watch_stats(watch);
	char *deep = repeat("{'type':'ADDED','object':{'a':", "[", "", 70, "");
	char *text = repeat(deep, "]", "", 70, "}}\n");

	(void)state;
	asks(LIST, "");
	assert_int_equal(writes("{'type':'ADDED','object':{'kind':'Pod','metadata':{}}}\n"), 0);
	assert_int_equal(stats->refused, 1);
	assert_string_equal(stats->last_refusal, "metadata.name: missing");
	assert_int_equal(writes("{'type':'ADDED','object':{'kind':'Secret','metadata':{'namespace':"
	                        "'n','name':'s'}}}\n"),
	                 0);
	assert_int_equal(stats->refused, 2);
	assert_string_equal(stats->last_refusal, "n/s: of kind Secret");
	assert_int_equal(writes(text), 0);
	assert_int_equal(stats->refused, 3);
	assert_string_equal(stats->last_refusal, "nested deeper than 64");
	assert_int_equal(writes("{'type':'NOVEL','object':{}}\n"), 0);
	assert_int_equal(stats->refused, 4);
	assert_int_equal(writes(EVENT("ADDED", "x", "1") END("2")), 0);
	assert_int_equal(
		writes("{'type':'DELETED','object':{'kind':'Pod','metadata':{'name':7}}}\n"), 0);
	assert_int_equal(stats->refused, 5);
	assert_int_equal(writes(EVENT("ADDED", "one-too-many", "3")), 0);
	assert_int_equal(stats->refused, 6);
	assert_string_equal(stats->last_refusal, "a/one-too-many: No space left on device");
	told("begin +x commit ");
	is(KUBE_WATCH_SYNCED, "");
	free(deep);
	free(text);
}

/* What is said of an object ends when it is taken, is gone, or is in no list any more. */
static void what_was_left_out_is_said_as_long_as_it_is_so(void **state)
{
	const char *said = kube_watch_stats(watch)->last_refusal;

	(void)state;
	asks(LIST, "");
	assert_int_equal(writes(EVENT("ADDED", "x", "1") END("2")), 0);
	assert_int_equal(writes("{'type':'ADDED','object':{'kind':'Secret','metadata':{'namespace':"
	                        "'a','name':'x'}}}\n"),
	                 0);
	assert_string_equal(said, "a/x: of kind Secret");
	assert_int_equal(writes(EVENT("ADDED", "xy", "3") EVENT("DELETED", "z", "4")), 0);
	assert_string_equal(said, "a/x: of kind Secret");
	assert_int_equal(writes(EVENT("MODIFIED", "x", "5")), 0);
	assert_string_equal(said, "");

	assert_int_equal(writes(EVENT("ADDED", "one-too-many", "6")), 0);
	assert_string_equal(said, "a/one-too-many: No space left on device");
	assert_int_equal(writes(EVENT("DELETED", "one-too-many", "7")), 0);
	assert_string_equal(said, "");

	assert_int_equal(writes(EVENT("ADDED", "one-too-many", "8")), 0);
	assert_string_equal(said, "a/one-too-many: No space left on device");
	assert_true(writes("{'type':'ERROR','object':{'kind':'Status','code':410}}\n") != 0);
	breaks(HTTP_ABORTED, true, "");
	asks(LIST, "");
	assert_string_equal(said, "");
	assert_int_equal(kube_watch_stats(watch)->refused, 3);
}

static void a_huge_item_is_left_out_of_its_list(void **state)
{
	char *huge = repeat("{'metadata':{'resourceVersion':'1'},'items':[" ITEM("x") ",{'a':'",
	                    "0123456789abcdef", "", KUBE_FRAME_MAX / 16, "'}," ITEM("y") "]}");

	(void)state;
	asks(LIST, "");
	answers(400, "");
	asks(PAGE, "");
	assert_int_equal(writes(huge), 0);
	answers(200, "");
	told("begin +x +y commit ");
	assert_int_equal(kube_watch_stats(watch)->refused, 1);
	assert_string_equal(kube_watch_stats(watch)->last_refusal, "an item of 8388616 bytes");
	free(huge);
}

static void a_huge_event_ends_the_watch(void **state)
{
	char *huge = repeat("{'type':'ADDED','object':{'a':'", "0123456789abcdef", "",
	                    KUBE_FRAME_MAX / 16, "");

	(void)state;
	synced();
	assert_true(writes(huge) < 0);
	breaks(HTTP_ABORTED, true, "");
	is(KUBE_WATCH_STALE, "an event of the watch is too large");
	asks(LIST "&resourceVersion=50&", "");
	free(huge);
}

static void what_there_is_no_memory_for_is_asked_for_again(void **state)
{
	(void)state;
	no_room_for = "y";
	asks(LIST, "");
	assert_true(writes(EVENT("ADDED", "x", "1") EVENT("ADDED", "y", "2")) < 0);
	assert_true(writes(EVENT("ADDED", "z", "3")) < 0);
	breaks(HTTP_ABORTED, true, "");
	told("begin +x abort ");
	is(KUBE_WATCH_FAILING, "no memory for what the server sent");
	synced();
	no_room_for = "z";
	assert_true(writes(EVENT("ADDED", "z", "51")) < 0);
	breaks(HTTP_ABORTED, true, "");
	is(KUBE_WATCH_STALE, "no memory for what the server sent");
	asks(LIST "&resourceVersion=", "");
	/* Nor for the request. */
	start_error = -ENOMEM;
	breaks(HTTP_RESET, true, "");
	hurry();
	fake_loop_run(loop);
	is(KUBE_WATCH_STALE, "the request could not be made: Cannot allocate memory");
	asks(LIST "&resourceVersion=", "");
	assert_int_equal(kube_watch_stats(watch)->errors, 4);
}

static void an_error_event_is_an_answer(void **state)
{
	const struct kube_watch_stats *stats = kube_watch_stats(watch);

	(void)state;
	synced();
	assert_true(writes("{'type':'ERROR','object':{'kind':'Status','code':429,'reason':'"
	                   "TooManyRequests','message':'slow down'}}\n" EVENT("ADDED", "z", "60")) <
	            0);
	breaks(HTTP_ABORTED, true, "");
	is(KUBE_WATCH_STALE, "429 TooManyRequests: slow down");
	assert_int_equal(stats->throttled, 1);
	asks(WATCH "50&", "");
	opens();
	is(KUBE_WATCH_SYNCED, "");
	assert_true(writes("{'type':'ERROR','object':{'kind':'Status','code':410,'reason':'Expired'"
	                   ",'message':'too old resource version: 50 (90)'}}\n") < 0);
	breaks(HTTP_ABORTED, true, "");
	is(KUBE_WATCH_STALE, "410 Expired: too old resource version: 50 (90)");
	assert_int_equal(stats->expired, 1);
	asks(LIST, "");
	assert_null(strstr(out->path, "resourceVersion="));
	synced();
	assert_int_equal(stats->lists, 2);
	assert_int_equal(stats->errors, 0);
}

/* What was listed stays until a list is complete. */
static void a_list_that_breaks_changes_nothing(void **state)
{
	(void)state;
	asks(LIST, "");
	assert_int_equal(writes(EVENT("ADDED", "x", "30")), 0);
	told("begin +x ");
	breaks(HTTP_RESET, true, "");
	told("abort ");
	is(KUBE_WATCH_FAILING, "10.0.0.1:443: the connection ended early");
	synced();
}

static void a_broken_frame_is_an_error(void **state)
{
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{ "{'type':'ADDED'\n",
		  "an event of the watch cannot be read: the JSON ends early" },
		{ "[]\n", "an event of the watch cannot be read: not an object" },
		{ "{'type':'ADDED','object':7}\n",
		  "an event of the watch cannot be read: object: not an object" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tear_down(NULL);
		set_up(NULL);
		synced();
		assert_true(writes(rows[i].text) < 0);
		breaks(HTTP_ABORTED, true, "");
		is(KUBE_WATCH_STALE, rows[i].reason);
		told("");
	}
	/* Cut inside: the event is not told, and comes with the next watch. */
	tear_down(NULL);
	set_up(NULL);
	synced();
	assert_int_equal(writes("{'type':'DELETED','object':{'kind':'Pod','meta"), 0);
	answers(200, "");
	is(KUBE_WATCH_SYNCED, "");
	assert_int_equal(kube_watch_stats(watch)->errors, 1);
	told("");
	asks(WATCH "50&", "");
	assert_int_equal(writes("{'type':'DELETED','object':{'kind':'Pod','meta"), 0);
	answers(200, "");
	is(KUBE_WATCH_STALE, "the watch ended inside an event");
	asks(WATCH "50&", "");
}

static void says_what_went_wrong(void **state)
{
	static const struct {
		enum http_error error;
		bool connected;
		const char *detail, *host, *reason;
	} rows[] = {
		{ HTTP_CONNECT_REFUSED, false, "Failed to connect", "10.0.0.1",
		  "connect 10.0.0.1:443: connection refused" },
		{ HTTP_CONNECT_TIMEOUT, false, "", "fd00::1",
		  "connect [fd00::1]:443: no connection in time" },
		{ HTTP_RESOLVE_FAILED, false, "no such name", "api.example",
		  "resolve api.example:443: the host has no address: no such name" },
		{ HTTP_TLS_VERIFY, true, "self-signed\ncertificate", "10.0.0.1",
		  "10.0.0.1:443: the certificate does not verify: self-signed certificate" },
		{ HTTP_PROTOCOL, true, "", "10.0.0.1", "10.0.0.1:443: the answer is not HTTP" },
		{ HTTP_LOCAL_ERROR, false, "Too many open files", "10.0.0.1",
		  "connect 10.0.0.1:443: the request could not be made: Too many open files" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tear_down(NULL);
		set_up(NULL);
		client.server.host = (char *)rows[i].host;
		asks(LIST, "");
		breaks(rows[i].error, rows[i].connected, rows[i].detail);
		is(KUBE_WATCH_FAILING, rows[i].reason);
		assert_int_equal(kube_watch_stats(watch)->errors, 1);
		assert_int_equal(states, 1);
	}
}

static void refusals_are_states(void **state)
{
	(void)state;
	asks(LIST, "");
	answers(403, "{\"kind\":\"Status\",\"code\":403,\"reason\":\"Forbidden\",\"message\":"
	             "\"pods is forbidden: User \\\"x\\\" cannot watch\"}");
	is(KUBE_WATCH_FORBIDDEN, "403 Forbidden: pods is forbidden: User \"x\" cannot watch");

	tear_down(NULL);
	set_up(NULL);
	asks(LIST, "");
	answers(404, "404 page not found\n");
	asks(PAGE "resourceVersion=0", "");
	answers(404, "404 page not found\n");
	is(KUBE_WATCH_ABSENT, "404: 404 page not found");
	told("");

	tear_down(NULL);
	set_up(NULL);
	asks(LIST, "");
	answers(302, "");
	is(KUBE_WATCH_FAILING, "302");
}

static void the_first_question_waits(void **state)
{
	uint64_t before_ns = clock_now().mono_ns;

	(void)state;
	watch = kube_watch_free(watch);
	assert_int_equal(start_watch(50 * NSEC_PER_MSEC), 0);
	asks(LIST, "");
	assert_true(clock_now().mono_ns - before_ns >= 50 * NSEC_PER_MSEC);
	/* Without a word to anybody. */
	writes(EVENT("ADDED", "x", "1"));
	story[0] = '\0';
	watch = kube_watch_free(watch);
	assert_int_equal(cancelled, 1);
	told("");
	assert_null(kube_watch_free(NULL));
}

static void states_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < _KUBE_WATCH_STATE_MAX; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(kube_watch_state_name(i), kube_watch_state_name(j));
	assert_string_equal(kube_watch_state_name(KUBE_WATCH_SYNCED), "synced");
	assert_string_equal(kube_watch_state_name(_KUBE_WATCH_STATE_MAX), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(a_streamed_list_goes_on_as_a_watch),
		T(pages_are_one_list),
		T(an_empty_list_is_told),
		T(what_is_no_list_is_none),
		T(a_list_of_another_content_type_is_none),
		T(objects_that_cannot_be_taken_are_left_out),
		T(what_was_left_out_is_said_as_long_as_it_is_so),
		T(a_huge_item_is_left_out_of_its_list),
		T(a_huge_event_ends_the_watch),
		T(what_there_is_no_memory_for_is_asked_for_again),
		T(an_error_event_is_an_answer),
		T(a_list_that_breaks_changes_nothing),
		T(a_broken_frame_is_an_error),
		T(says_what_went_wrong),
		T(refusals_are_states),
		T(the_first_question_waits),
		T(states_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
