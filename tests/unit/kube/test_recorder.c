/* ldflags: -Wl,--wrap=clock_now,--wrap=timer_set,--wrap=timer_init,--wrap=timer_clear,--wrap=calloc,--wrap=realloc,--wrap=strdup */
/*
 * The recorder against an API server that answers as each test says. Time is the
 * test's own, and so is the client: its timers and answers come when they are called.
 */
#include "test.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/timer.h"
#include "kube/recorder.h"
#include "limits.h"

#define MINUTE (60 * NSEC_PER_SEC)
#define START_US 1795190400000000

static struct {
	uint64_t ns; /* now */
	struct timer *timer;
	uint64_t expires_ns; /* 0: stopped */
	bool pending;        /* a request is under way */
	struct kube_request request;
	char method[8], path[1024], content_type[64], body[KUBE_EVENT_BYTES_MAX];
	unsigned int requests, cancelled;
	int start_error;
	long left; /* allocations until one fails; -1: none does */
} world;

struct moment __wrap_clock_now(void);
int __wrap_timer_init(struct timer *timer, struct loop *loop, timer_fn fn);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
void __wrap_timer_clear(struct timer *timer);

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static bool memory_fails(void)
{
	return world.left >= 0 && world.left-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return memory_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return memory_fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return memory_fails() ? NULL : __real_strdup(text);
}

struct moment __wrap_clock_now(void)
{
	return (struct moment){ world.ns, START_US + (int64_t)(world.ns / NSEC_PER_USEC) };
}

int __wrap_timer_init(struct timer *timer, struct loop *loop, timer_fn fn)
{
	(void)loop;
	timer->fn = fn;
	world.timer = timer;
	return 0;
}

int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	assert_ptr_equal(timer, world.timer);
	assert_int_equal(period_ns, 0);
	world.expires_ns = world.ns + delay_ns;
	return 0;
}

void __wrap_timer_clear(struct timer *timer)
{
	if (!timer->fn) /* of one that was never initialised */
		return;
	assert_ptr_equal(timer, world.timer);
	world.timer = NULL;
	world.expires_ns = 0;
}

int kube_client_start(struct kube_client *client, const struct kube_request *request,
                      struct kube_call **out)
{
	(void)client;
	assert_false(world.pending); /* one at a time */
	world.requests++;
	if (world.start_error)
		return world.start_error;
	world.pending = true;
	world.request = *request;
	snprintf(world.method, sizeof(world.method), "%s", request->method);
	snprintf(world.path, sizeof(world.path), "%s", request->path);
	snprintf(world.content_type, sizeof(world.content_type), "%s",
	         request->content_type ? request->content_type : "application/json");
	assert_true(request->body_len < sizeof(world.body));
	memcpy(world.body, request->body, request->body_len);
	world.body[request->body_len] = '\0';
	*out = (struct kube_call *)&world;
	return 0;
}

void kube_call_cancel(struct kube_call *call)
{
	assert_ptr_equal(call, &world);
	assert_true(world.pending);
	world.pending = false;
	world.cancelled++;
}

static int setup(void **state)
{
	struct kube_recorder *recorder;

	memset(&world, 0, sizeof(world));
	world.left = -1;
	world.ns = 1000 * NSEC_PER_SEC;
	assert_int_equal(kube_recorder_new(NULL, NULL, "egress-verifier", "worker-1", &recorder),
	                 0);
	*state = recorder;
	return 0;
}

static int teardown(void **state)
{
	kube_recorder_free(*state);
	return 0;
}

static void add(struct kube_recorder *recorder, const char *pod, const char *reason)
{
	const struct kube_event event = {
		.regarding = { "v1", "Pod", "team", pod, "u-1" },
		.warning = true,
		.reason = reason,
		.action = "Verify",
		.note = "left by eth0",
		.id = "id-1",
	};
	struct moment now = __wrap_clock_now();

	kube_recorder_add(recorder, &event, &now);
}

static void respond(const struct http_response *response)
{
	assert_true(world.pending);
	world.pending = false;
	world.request.done(world.request.user, response);
}

static void answer(uint16_t status, uint32_t retry_after_s, const char *body)
{
	struct http_response response = {
		.error = HTTP_OK,
		.status = status,
		.retry_after_s = retry_after_s,
		.body = body,
		.body_len = strlen(body),
		.detail = "",
	};

	respond(&response);
}

static void break_off(enum http_error error)
{
	struct http_response response = { .error = error, .body = "", .detail = "no route" };

	respond(&response);
}

/* Runs the timer at its time; how long that was. */
static uint64_t wait(void)
{
	uint64_t waited;

	assert_true(world.expires_ns > world.ns);
	waited = world.expires_ns - world.ns;
	world.ns = world.expires_ns;
	world.expires_ns = 0;
	assert_int_equal(world.timer->fn(world.timer), 0);
	return waited;
}

static void expect_request(const char *method, const char *path, const char *in_body)
{
	assert_true(world.pending);
	assert_string_equal(world.method, method);
	assert_int_equal(strncmp(world.path, path, strlen(path)), 0);
	if (!strstr(world.body, in_body))
		fail_msg("%s: not in %s", in_body, world.body);
}

#define EVENTS "/apis/events.k8s.io/v1/namespaces/team/events"

static void one_is_created_and_its_repeats_are_a_series(void **state)
{
	struct kube_recorder *recorder = *state;
	const struct kube_recorder_stats *stats = kube_recorder_stats(recorder);

	add(recorder, "app", "GatewayBypass");
	expect_request("POST", EVENTS "?fieldManager=egress-verifier", "\"note\":\"left by eth0\"");
	assert_string_equal(world.content_type, "application/json");
	assert_null(strstr(world.body, "series"));
	add(recorder, "app", "GatewayBypass"); /* while that is under way */
	assert_int_equal(stats->coalesced, 1);
	answer(201, 0, "{}");
	expect_request("PATCH", EVENTS "/app.", "{\"series\":{\"count\":2,");
	assert_non_null(strstr(world.path, "?fieldManager=egress-verifier"));
	assert_string_equal(world.content_type, "application/merge-patch+json");
	answer(200, 0, "{}");

	world.ns += MINUTE;
	add(recorder, "app", "GatewayBypass");
	assert_false(world.pending);
	assert_int_equal(wait(), 6 * MINUTE); /* its end */
	expect_request("PATCH", EVENTS "/app.",
	               "\"count\":3,\"lastObservedTime\":\"2026-11-20T16:1");
	answer(200, 0, "{}");
	assert_false(world.pending);
	assert_int_equal(stats->added, 3);
	assert_int_equal(stats->sent, 1);
	assert_int_equal(stats->series, 2);
	assert_int_equal(stats->coalesced, 2);
	assert_int_equal(stats->rejected + stats->dropped + stats->throttled, 0);
	assert_string_equal(stats->last_error, "");
}

static void they_go_one_by_one_in_order(void **state)
{
	struct kube_recorder *recorder = *state;

	add(recorder, "a", "GatewayBypass");
	add(recorder, "b", "GatewayBypass");
	add(recorder, "c", "GatewayBypass");
	assert_int_equal(world.requests, 1);
	expect_request("POST", EVENTS, "\"name\":\"a.");
	answer(201, 0, "{}");
	expect_request("POST", EVENTS, "\"name\":\"b.");
	answer(201, 0, "{}");
	expect_request("POST", EVENTS, "\"name\":\"c.");
	answer(201, 0, "{}");
	assert_int_equal(world.requests, 3);
	assert_int_equal(kube_recorder_stats(recorder)->sent, 3);
}

/* What each answer to a create, and to a patch, means. */
static void every_answer_has_its_consequence(void **state)
{
	enum what { SENT, AGAIN, REJECTED, ANEW };
	static const struct {
		uint16_t status;
		const char *body;
		enum what create, patch;
		const char *error; /* of the create */
	} rows[] = {
		{ 200, "{}", SENT, SENT, "" },
		{ 201, "", SENT, SENT, "" },
		{ 409, "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\"}", SENT, AGAIN, "" },
		{ 400, "", REJECTED, REJECTED, "400" },
		{ 401, "", AGAIN, AGAIN, "401" },
		{ 403,
		  "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"events is "
		  "forbidden\"}",
		  REJECTED, REJECTED, "403 Forbidden: events is forbidden" },
		{ 403,
		  "{\"kind\":\"Status\",\"message\":\"unable to create new content in namespace "
		  "team because it is being terminated\"}",
		  REJECTED, REJECTED,
		  "403: unable to create new content in namespace team because it is being "
		  "terminated" },
		{ 404, "{\"kind\":\"Status\",\"message\":\"namespaces \\\"team\\\" not found\"}",
		  REJECTED, ANEW, "404: namespaces \"team\" not found" },
		{ 404, "404 page not found", REJECTED, ANEW, "404: 404 page not found" },
		{ 413, "", REJECTED, REJECTED, "413" },
		{ 422, "{\"kind\":\"Status\",\"message\":[1]}", REJECTED, REJECTED, "422" },
		{ 429, "", AGAIN, AGAIN, "429" },
		{ 500, "<html>", AGAIN, AGAIN, "500" },
		{ 503, "{", AGAIN, AGAIN, "503" },
		{ 504, "\x1b[2J", AGAIN, AGAIN, "504" },
		{ 302, "", REJECTED, REJECTED, "302" },
	};

	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		bool patch = i % 2;
		enum what what = patch ? rows[i / 2].patch : rows[i / 2].create;
		const struct kube_recorder_stats *stats;
		struct kube_recorder *recorder;

		teardown(state);
		setup(state);
		recorder = *state;
		stats = kube_recorder_stats(recorder);
		add(recorder, "app", "GatewayBypass");
		if (patch) {
			answer(201, 0, "{}");
			add(recorder, "app", "GatewayBypass");
		}
		answer(rows[i / 2].status, 0, rows[i / 2].body);
		assert_int_equal(stats->rejected, what == REJECTED);
		assert_int_equal(stats->sent, what == SENT || patch);
		assert_int_equal(stats->series, patch && what == SENT);
		assert_int_equal(stats->dropped, 0);
		if (!patch &&
		    strncmp(stats->last_error, rows[i / 2].error, strlen(rows[i / 2].error)) != 0)
			fail_msg("status %u: %s", rows[i / 2].status, stats->last_error);
		if (what == AGAIN) {
			assert_false(world.pending);
			wait();
			expect_request(patch ? "PATCH" : "POST", EVENTS, "");
		} else if (what == ANEW) {
			expect_request("POST", EVENTS, "\"series\":{\"count\":2,");
		} else {
			assert_false(world.pending);
			assert_int_equal(world.expires_ns, 0);
		}
		if (what == REJECTED) { /* the next is a first one again */
			add(recorder, "app", "GatewayBypass");
			expect_request("POST", EVENTS, "");
		}
	}
}

static void an_outage_of_five_minutes_loses_nothing(void **state)
{
	struct kube_recorder *recorder = *state;
	const struct kube_recorder_stats *stats = kube_recorder_stats(recorder);
	uint64_t end = world.ns + 5 * MINUTE, waited = 0;

	add(recorder, "app", "GatewayBypass");
	add(recorder, "web", "GatewayBypass");
	while (world.ns < end) {
		uint64_t last = waited;

		break_off(world.requests % 2 ? HTTP_CONNECT_REFUSED : HTTP_TIMEOUT);
		add(recorder, "app", "GatewayBypass"); /* it goes on, and hurries nothing */
		assert_false(world.pending);
		waited = wait();
		assert_in_range(waited, NSEC_PER_SEC, 75 * NSEC_PER_SEC);
		/* Doubled, up to the most; both with a quarter of jitter. */
		assert_true(waited >= (last < 60 * NSEC_PER_SEC ? last * 8 / 5 : last * 4 / 5) ||
		            waited >= 60 * NSEC_PER_SEC);
	}
	assert_in_range(world.requests, 8, 12);
	assert_non_null(strstr(stats->last_error, "no route"));
	expect_request("POST", EVENTS, "\"name\":\"app.");
	assert_non_null(strstr(world.body, "\"series\":{\"count\":"));
	answer(201, 0, "{}");
	expect_request("POST", EVENTS, "\"name\":\"web.");
	answer(201, 0, "{}");
	assert_int_equal(stats->sent, 2);
	assert_int_equal(stats->dropped, 0);
	assert_false(world.pending);
}

static void after_twelve_tries_it_is_given_up(void **state)
{
	struct kube_recorder *recorder = *state;

	add(recorder, "app", "GatewayBypass");
	add(recorder, "web", "GatewayBypass");
	for (int i = 0; i < KUBE_EVENT_TRIES; i++) {
		expect_request("POST", EVENTS, "\"name\":\"app.");
		break_off(HTTP_CONNECT_REFUSED);
		wait();
	}
	assert_int_equal(kube_recorder_stats(recorder)->dropped, 1);
	expect_request("POST", EVENTS, "\"name\":\"web.");
	answer(201, 0, "{}");
	assert_int_equal(kube_recorder_stats(recorder)->sent, 1);
}

static void retry_after_is_kept_within_bounds(void **state)
{
	static const struct {
		uint32_t asked_s, least_s;
	} rows[] = { { 0, 1 }, { 7, 7 }, { 200, 200 }, { UINT32_MAX, 300 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		teardown(state);
		setup(state);
		add(*state, "app", "GatewayBypass");
		answer(429, rows[i].asked_s, "");
		assert_in_range(wait(), rows[i].least_s * NSEC_PER_SEC,
		                rows[i].least_s * NSEC_PER_SEC * 5 / 4);
		expect_request("POST", EVENTS, "");
	}
}

static void add_each(struct kube_recorder *recorder, size_t from, size_t to)
{
	char name[32];

	for (size_t i = from; i < to; i++) {
		snprintf(name, sizeof(name), "pod-%zu", i);
		add(recorder, name, "GatewayBypass");
		if (world.pending)
			answer(201, 0, "{}");
	}
}

/* What is not told of a series is not lost without a trace. */
static void a_series_that_makes_place_is_counted(void **state)
{
	const size_t burst = KUBE_EVENT_AGENT_BURST, all = KUBE_EVENT_SERIES_MAX;
	struct kube_recorder *recorder = *state;
	const struct kube_recorder_stats *stats = kube_recorder_stats(recorder);

	add_each(recorder, 0, burst);
	add_each(recorder, 0, burst);
	for (size_t i = burst; i < all; i++) {
		world.ns += NSEC_PER_SEC;
		if (i == burst + 300) { /* repeats; of the first ones those that are told later */
			add_each(recorder, 0, burst);
			world.ns++;
			add_each(recorder, burst, i);
		}
		add_each(recorder, i, i + 1);
	}
	assert_int_equal(stats->sent, all);
	assert_int_equal(stats->dropped, 0);
	world.ns += NSEC_PER_SEC;
	add_each(recorder, all, all + 1);
	assert_int_equal(stats->sent, all + 1);
	assert_int_equal(stats->dropped, 1);
}

static void what_cannot_begin_is_tried_again(void **state)
{
	struct kube_recorder *recorder = *state;

	world.start_error = -ENOMEM;
	add(recorder, "app", "GatewayBypass");
	assert_false(world.pending);
	for (int i = 1; i < KUBE_EVENT_TRIES; i++)
		wait();
	assert_int_equal(kube_recorder_stats(recorder)->dropped, 1);
	assert_int_equal(world.requests, KUBE_EVENT_TRIES);
	world.start_error = 0;
	add(recorder, "app", "GatewayBypass");
	wait(); /* the server is still left in peace */
	expect_request("POST", EVENTS, "\"name\":\"app.");
	answer(201, 0, "{}");
	assert_int_equal(kube_recorder_stats(recorder)->sent, 1);
}

/* 404 to the patch, 409 to the create: no loop without a pause comes of it. */
static void a_server_that_contradicts_itself_is_left(void **state)
{
	struct kube_recorder *recorder = *state;

	add(recorder, "app", "GatewayBypass");
	answer(201, 0, "{}");
	add(recorder, "app", "GatewayBypass");
	answer(404, 0, "");
	expect_request("POST", EVENTS, "");
	answer(409, 0, "");
	assert_false(world.pending);
	assert_int_equal(kube_recorder_stats(recorder)->rejected, 1);
}

static void what_the_server_had_before_is_counted_on(void **state)
{
	struct kube_recorder *recorder = *state;

	add(recorder, "app", "GatewayBypass");
	break_off(HTTP_RESET); /* after it was done, before the answer */
	add(recorder, "app", "GatewayBypass");
	wait();
	expect_request("POST", EVENTS, "\"count\":2,");
	answer(409, 0, "");
	expect_request("PATCH", EVENTS "/app.", "\"count\":2,");
	answer(200, 0, "{}");
	assert_int_equal(kube_recorder_stats(recorder)->sent, 1);
	assert_int_equal(kube_recorder_stats(recorder)->series, 1);
}

static void what_no_server_takes_is_not_asked(void **state)
{
	struct kube_recorder *recorder = *state, *none = NULL;

	add(recorder, "app", "");
	assert_int_equal(world.requests, 0);
	assert_int_equal(kube_recorder_stats(recorder)->rejected, 1);
	assert_int_equal(kube_recorder_new(NULL, NULL, "a b", "worker-1", &none), -EINVAL);
	assert_int_equal(kube_recorder_new(NULL, NULL, "agent", "", &none), -EINVAL);
	assert_null(none);
	kube_recorder_free(NULL);
}

static void budgets_and_the_end_are_kept(void **state)
{
	struct kube_recorder *recorder = *state;
	char reason[32];

	for (int i = 0; i < 2 * KUBE_EVENT_OBJECT_BURST; i++) {
		snprintf(reason, sizeof(reason), "Reason%d", i);
		add(recorder, "app", reason);
	}
	assert_int_equal(kube_recorder_stats(recorder)->throttled, KUBE_EVENT_OBJECT_BURST);
	*state = kube_recorder_free(recorder);
	assert_int_equal(world.cancelled, 1);
	assert_int_equal(world.requests, 1);
	assert_int_equal(world.expires_ns, 0);
}

static void a_manager_with_a_domain_is_encoded(void **state)
{
	struct kube_recorder *recorder = NULL;

	teardown(state);
	assert_int_equal(kube_recorder_new(NULL, NULL, "example.com/agent", "worker-1", &recorder),
	                 0);
	*state = recorder;
	add(recorder, "app", "GatewayBypass");
	expect_request("POST", EVENTS "?fieldManager=example.com%2Fagent",
	               "\"reportingController\":\"example.com/agent\"");
}

/* The n-th allocation fails, for every n until none is missing: it is counted, and the next goes well. */
static void want_of_memory_is_survived(void **state)
{
	unsigned int refused = 0, lost = 0, delayed = 0;

	*state = kube_recorder_free(*state);
	for (long n = 0;; n++) {
		struct kube_recorder *recorder = NULL;
		const struct kube_recorder_stats *stats;
		bool waited = false;

		world.left = n;
		if (kube_recorder_new(NULL, NULL, "agent", "worker-1", &recorder) < 0) {
			assert_null(recorder);
			refused++;
			continue;
		}
		stats = kube_recorder_stats(recorder);
		add(recorder, "app", "GatewayBypass");
		while (!world.pending && stats->dropped == 0) {
			wait();
			waited = true;
		}
		if (stats->dropped == 1) {
			lost++;
			add(recorder, "app", "GatewayBypass");
		}
		delayed += waited;
		answer(201, 0, "{}");
		assert_int_equal(stats->sent, 1);
		kube_recorder_free(recorder);
		if (world.left >= 0)
			break;
	}
	assert_true(refused >= 4 && lost == 1 && delayed >= 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_is_created_and_its_repeats_are_a_series),
		TEST(they_go_one_by_one_in_order),
		TEST(every_answer_has_its_consequence),
		TEST(an_outage_of_five_minutes_loses_nothing),
		TEST(after_twelve_tries_it_is_given_up),
		TEST(retry_after_is_kept_within_bounds),
		TEST(a_series_that_makes_place_is_counted),
		TEST(what_cannot_begin_is_tried_again),
		TEST(a_server_that_contradicts_itself_is_left),
		TEST(what_the_server_had_before_is_counted_on),
		TEST(what_no_server_takes_is_not_asked),
		TEST(budgets_and_the_end_are_kept),
		TEST(a_manager_with_a_domain_is_encoded),
		TEST(want_of_memory_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
