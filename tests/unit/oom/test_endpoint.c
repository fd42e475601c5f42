/*
 * The HTTP endpoint and a violation's life when memory runs out: an answer is
 * whole, or says that it could not be made; what is recorded is whole as well.
 */
#include "test.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "base/timer.h"
#include "netns_help.h"
#include "oom/oom.h"
#include "report/fixture.h"
#include "report/report_parts.h"
#include "verdict/snapshot.h"
#include "verdict/world.h"

#define BYTES_MAX (1 << 20)

/* Whatever waits a second to try again waits 2 ms here. */
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	struct itimerspec soon = *new;
	struct timespec *times[] = { &soon.it_value, &soon.it_interval };

	for (size_t i = 0; i < 2; i++) {
		int64_t ns = (times[i]->tv_sec * 1000000000LL + times[i]->tv_nsec + 499) / 500;

		*times[i] = (struct timespec){ ns / 1000000000, ns % 1000000000 };
	}
	return (int)syscall(SYS_timerfd_settime, fd, flags, &soon, old);
}

/* The endpoint */

struct client {
	struct loop_source source;
	int fd;
	size_t len;
	bool closed;
	const char *until; /* seen: it is enough */
	char data[BYTES_MAX];
};

static struct fixture fixture;
static struct client client;
static struct loop *loop;
static struct http_server *server;
static const char *target, *accepts;
static bool exact; /* the same bytes each time */
static char *reference;

static int on_client(struct loop_source *source, uint32_t events)
{
	ssize_t n = read(client.fd, client.data + client.len, BYTES_MAX - 1 - client.len);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		client.closed = true;
		loop_remove(source);
		return 0;
	}
	client.len += (size_t)n;
	client.data[client.len] = '\0';
	return 0;
}

static bool is_done(void *arg)
{
	(void)arg;
	return client.closed || (client.until && strstr(client.data, client.until));
}

static void open_client(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char request[512];
	int len;

	in.sin_port = htons((uint16_t)atoi(strrchr(http_server_address(server, 0), ':') + 1));
	client.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client.fd, (struct sockaddr *)&in, sizeof(in)), 0);
	len = snprintf(request, sizeof(request),
	               "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n"
	               "Connection: close\r\n\r\n",
	               target, accepts);
	assert_int_equal(write(client.fd, request, (size_t)len), len);
	client.len = 0;
	client.closed = false;
	client.data[0] = '\0';
	assert_int_equal(loop_add(loop, &client.source, client.fd, EPOLLIN, on_client), 0);
}

static bool is_gone(void *arg)
{
	(void)arg;
	return http_server_stats(server).connections == 0;
}

static void close_client(void)
{
	loop_remove(&client.source);
	close(client.fd);
	if (!wait_until(loop, is_gone, NULL, WAIT_MS))
		fail_msg("%s: the server keeps the connection", target);
}

/* A spool with one row, which answers from the loop. */
static struct {
	struct timer timer;
	struct buf body;
	struct spool_row row;
	spool_row_fn fn;
	spool_end_fn end;
	void *arg;
} history;

static int on_history(struct timer *timer)
{
	(void)timer;
	history.fn(history.arg, &history.row);
	history.end(history.arg, 0, false);
	return 0;
}

static int ask_history(struct fixture *f, int64_t since_us, int64_t until_us, uint32_t max_rows,
                       spool_row_fn row, spool_end_fn end, void *arg)
{
	(void)f;
	(void)since_us;
	(void)until_us;
	(void)max_rows;
	history.fn = row;
	history.end = end;
	history.arg = arg;
	return timer_set(&history.timer, 0, 0);
}

static void start_history(void)
{
	struct violation was = fixture.violations[2];

	snprintf(was.id, sizeof(was.id), "%032d", 7);
	history.body = (struct buf)BUF_INIT(SPOOL_BODY_MAX);
	snapshot_violation_write(&was, "another boot", &history.body);
	history.row = (struct spool_row){ .table = SPOOL_VIOLATION,
		                          .wall_us = was.resolved.wall_us,
		                          .body = history.body.data,
		                          .len = history.body.len };
	snprintf(history.row.key, sizeof(history.row.key), "%s", was.id);
	history.timer = (struct timer)TIMER_INIT;
	assert_int_equal(timer_init(&history.timer, loop, on_history), 0);
	fixture.history = ask_history;
}

static void start_server(void)
{
	struct http_server_options options = {
		.handler = report_handle, .user = fixture.report, .post = true, .check_host = true
	};

	if (loop)
		return;
	fixture_start(&fixture);
	options.user = fixture.report;
	assert_int_equal(loop_new(&loop), 0);
	/* Nothing of the fixture's own is to be missing. */
	assert_int_equal(http_server_new(loop, &options, &server), 0);
	report_server(fixture.report, server);
	assert_int_equal(http_server_listen(server, "127.0.0.1:0", REPORT_ALL), 0);
	start_history();
}

/* As many as are kept: what is kept is the same after each repetition. */
static void fill_events(void)
{
	for (size_t i = 0; i < EVENTS_KEPT_MAX; i++)
		report_violation(fixture.report, &fixture.violations[0], VIOLATION_OPENED);
}

static const char *body_of(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

/* All that was announced came. */
static void check_length(void)
{
	const char *length = strstr(client.data, "Content-Length: ");

	assert_non_null(length);
	assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body_of(client.data)));
}

static void expect_answer(bool whole)
{
	bool ok = strncmp(client.data, "HTTP/1.1 200 ", 13) == 0;

	if (!whole && client.len == 0)
		return; /* closed without a word: the client knows that it has no answer */
	if (!ok && (whole || (strncmp(client.data, "HTTP/1.1 500 ", 13) != 0 &&
	                      strncmp(client.data, "HTTP/1.1 503 ", 13) != 0)))
		fail_msg("%s: %.200s", target, client.data);
	check_length();
	/* What only the spool has. */
	if (whole && strstr(target, "since"))
		assert_non_null(strstr(client.data, history.row.key));
	if (!ok || !exact || (!whole && strstr(client.data, "\"unreadable\":1,")))
		return;
	if (!reference)
		reference = strdup(body_of(client.data));
	assert_string_equal(body_of(client.data), reference);
}

static void ask(void)
{
	start_server();
	for (int again = 0; again < 2; again++) {
		open_client();
		if (!again)
			oom_begin();
		if (!wait_until(loop, is_done, NULL, WAIT_MS))
			fail_msg("%s: no answer and no end", target);
		oom_end();
		expect_answer(again || !oom.fired);
		close_client();
	}
}

static void run_target(const char *path, const char *accept, bool same, long least)
{
	target = path;
	accepts = accept;
	exact = same;
	reference = NULL;
	oom_run(path, ask, least, OOM_ALL);
}

static void endpoint(void **state)
{
	(void)state;
	run_target("/v1/status", "*/*", false, 10);
	run_target("/v1/subjects", "*/*", true, 10);
	run_target("/v1/subjects/shop/payments-0", "*/*", true, 10);
	run_target("/v1/violations?state=open", "*/*", true, 10);
	run_target("/v1/violations?since=1h", "*/*", true, 30);
	run_target("/v1/flows?limit=2", "*/*", true, 10);
	run_target("/v1/gateways", "*/*", true, 10);
	run_target("/v1/explain?pod=shop/payments-0&to=198.51.100.7", "*/*", true, 10);
	run_target("/metrics", "application/openmetrics-text", false, 10);
	run_target("/", "text/html", false, 10);
}

/* The reader has it, or it is known that it will not: `arg` was lost before. */
static bool is_told_or_lost(void *arg)
{
	return is_done(NULL) || report_lost(fixture.report, LOSS_EVENTS) > *(uint64_t *)arg;
}

/* A reader of events: greeted, told of a violation, gone. */
static void read_events(void)
{
	start_server();
	for (int again = 0; again < 2; again++) {
		uint64_t lost_before = report_lost(fixture.report, LOSS_EVENTS);
		bool told;

		client.until = "\n\n";
		open_client();
		if (!again)
			oom_begin();
		told = wait_until(loop, is_done, NULL, WAIT_MS);
		assert_true(told);
		client.until = "event: violation.opened";
		report_violation(fixture.report, &fixture.violations[0], VIOLATION_OPENED);
		told = wait_until(loop, is_told_or_lost, &lost_before, WAIT_MS);
		oom_end();
		if (again || !oom.fired)
			assert_non_null(strstr(client.data, client.until));
		assert_true(told);
		client.until = NULL;
		close_client();
	}
	fill_events();
}

static void events(void **state)
{
	(void)state;
	target = "/v1/events";
	accepts = "text/event-stream";
	oom_run(target, read_events, 10, OOM_ALL);
}

/* A violation: found, counted on, resolved; evidence, event and metrics with it. */

struct life {
	struct world world;
	size_t opened, resolved;
	bool retries;
};

static void on_violation(void *user, const struct violation *violation, enum violation_change what)
{
	struct life *life = user;

	life->opened += what == VIOLATION_OPENED;
	life->resolved += what == VIOLATION_RESOLVED;
	report_violation(fixture.report, violation, what);
}

/* As the agent does. */
static int judge_once(struct world *w, double seconds)
{
	const struct violation_subject subject = { "team", "app", w->subject.uid, "team", "blue" };
	struct moment now = at(seconds);
	struct finding findings[JUDGE_FINDINGS_MAX];
	size_t n = 0;
	int r;

	r = judge(&w->record, &w->input, &now, findings, &n);
	if (r == 0)
		r = violations_update(w->violations, &subject, findings, n,
		                      judge_quiet_ns(&w->settings), &now);
	assert_true(r == 0 || r == -ENOMEM);
	judge_state(&w->record, &w->input, violations_open(w->violations, w->subject.uid), &now);
	return r;
}

/* What no memory was found for is judged again at the next tick. */
static void judge_at(struct life *life, double seconds, bool healthy)
{
	struct world *w = &life->world;
	int r = judge_once(w, seconds);

	if (r < 0 && life->retries)
		r = judge_once(w, seconds + 0.5);
	assert_true(r == 0 || !life->retries);
	assert_true(healthy || w->record.state != STATE_VERIFIED);
	for (size_t i = 0; violations_at(w->violations, i); i++)
		assert_non_null(violations_at(w->violations, i)->evidence);
}

static void live(struct life *life)
{
	struct world *w = &life->world;
	struct flow *flow = &w->flows[0];
	enum violation_kind kind;

	ROUND(w, 10, GOOD, GOOD, GOOD, GOOD2);
	judge_at(life, 10.1, true);
	world_flow(w, "192.0.2.200", WORLD_ETH0, 19, 20);
	judge_flow(&w->subject, flow, &kind);
	w->offending[w->input.n_offending++] = flow;
	for (int i = 2; i < 6; i++) {
		ROUND(w, 10 * i, OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND);
		flow->last = at(10 * i);
		flow->packets++;
		judge_at(life, 10 * i + 0.1, false);
	}
	w->input.n_offending = 0;
	for (int i = 6; i < 12; i++) {
		ROUND(w, 10 * i, GOOD, GOOD, GOOD, GOOD2);
		judge_at(life, 10 * i + 0.1, true);
	}
}

static void begin_life(struct life *life, bool retries)
{
	memset(life, 0, sizeof(*life));
	world_init(&life->world);
	violations_free(life->world.violations);
	assert_int_equal(violations_new(on_violation, life, &life->world.violations), 0);
	life->world.n_flows = 0;
	life->retries = retries;
}

static void expect_whole(const struct life *life)
{
	assert_int_equal(life->opened, 2);
	assert_int_equal(life->resolved, 2);
	assert_int_equal(life->world.record.state, STATE_VERIFIED);
}

static void live_and_again(void)
{
	static struct life life;

	start_server();
	begin_life(&life, !oom.sticky);
	oom_begin();
	live(&life);
	oom_end();
	if (!oom.fired || !oom.sticky)
		expect_whole(&life);
	world_clear(&life.world);

	begin_life(&life, true);
	live(&life);
	expect_whole(&life);
	world_clear(&life.world);
	fill_events();
}

static void violation(void **state)
{
	(void)state;
	oom_run("a violation's life", live_and_again, 50, OOM_ALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoint),
		cmocka_unit_test(events),
		cmocka_unit_test(violation),
	};

	return cmocka_run_group_tests(tests, oom_set_up, NULL);
}
