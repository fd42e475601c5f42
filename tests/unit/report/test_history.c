/* /v1/violations?since=: what is in memory and what the spool has, as one list. */
#include "test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/timer.h"
#include "fixture.h"
#include "io/kick.h"
#include "verdict/snapshot.h"

#define ROWS_MAX 3000

/* The spool made up: rows in its order, and the question that is under way. */
struct made_up {
	struct fixture f; /* first: what the hook gets */
	struct loop *loop;
	struct http_server *server;
	struct timer deadline, tick;
	struct kick deliver;
	uint16_t port;
	struct spool_row rows[ROWS_MAX]; /* bodies owned */
	size_t n_rows;
	bool held;   /* questions are not answered */
	int refusal; /* of a question */
	int end;     /* of an answer */
	size_t n_asked;
	uint32_t most_rows; /* that were asked for */
	int64_t since_us, until_us;
	uint32_t max_rows;
	spool_row_fn row;
	spool_end_fn on_end; /* NULL: nothing is asked */
	void *arg;
};

static int order(const void *a, const void *b)
{
	const struct spool_row *x = a, *y = b;

	if (x->wall_us != y->wall_us)
		return x->wall_us < y->wall_us ? 1 : -1;
	return strcmp(x->key, y->key);
}

static int on_deliver(struct kick *kick)
{
	struct made_up *m = container_of(kick, struct made_up, deliver);
	spool_end_fn end = take_ptr(m->on_end);
	bool more = false;
	uint32_t n = 0;

	for (size_t i = 0; end && i < m->n_rows && m->end == 0; i++) {
		const struct spool_row *row = &m->rows[i];

		if (row->wall_us < m->since_us || row->wall_us > m->until_us)
			continue;
		more = n == m->max_rows;
		if (more)
			break;
		m->row(m->arg, row);
		n++;
	}
	if (end)
		end(m->arg, m->end, more);
	return 0;
}

static int history(struct fixture *f, int64_t since_us, int64_t until_us, uint32_t max_rows,
                   spool_row_fn row, spool_end_fn end, void *arg)
{
	struct made_up *m = container_of(f, struct made_up, f);

	assert_null(m->on_end); /* one question at a time */
	m->n_asked++;
	if (m->refusal)
		return m->refusal;
	m->since_us = since_us;
	m->until_us = until_us;
	m->max_rows = max_rows;
	if (max_rows > m->most_rows)
		m->most_rows = max_rows;
	m->row = row;
	m->on_end = end;
	m->arg = arg;
	if (!m->held)
		kick_now(&m->deliver);
	loop_stop(m->loop);
	return 0;
}

static const char *evidence; /* of the rows */

/* Resolved so many seconds ago. */
static void add_row(struct made_up *m, size_t number, enum violation_kind kind, int64_t seconds_ago)
{
	struct buf body = BUF_INIT(SPOOL_BODY_MAX);
	struct spool_row *row = &m->rows[m->n_rows++];
	struct violation v = {
		.kind = kind,
		.namespace = (char *)"shop",
		.pod = (char *)"gone-0",
		.uid = (char *)"uid-gone",
		.first = fixture_at(seconds_ago + 20),
		.last = fixture_at(seconds_ago + 10),
		.opened = fixture_at(seconds_ago + 20),
		.resolved = fixture_at(seconds_ago),
		.count = number + 1,
		.reason = "made up",
		.remedy = "none",
		.evidence = (char *)evidence,
	};

	snprintf(v.id, sizeof(v.id), "%032zx", number);
	snapshot_violation_write(&v, "another boot", &body);
	assert_int_equal(body.error, 0);
	*row = (struct spool_row){ .table = SPOOL_VIOLATION,
		                   .wall_us = v.resolved.wall_us,
		                   .body = body.data,
		                   .len = body.len };
	snprintf(row->key, sizeof(row->key), "%s", v.id);
	qsort(m->rows, m->n_rows, sizeof(*m->rows), order);
}

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

/* What no event of the test tells is looked at anew. */
static int on_tick(struct timer *timer)
{
	loop_stop(container_of(timer, struct made_up, tick)->loop);
	return 0;
}

static struct made_up *start(void)
{
	struct made_up *m = calloc(1, sizeof(*m));
	struct http_server_options options = { .handler = report_handle };

	assert_non_null(m);
	fixture_start(&m->f);
	m->f.history = history;
	options.user = m->f.report;
	m->deadline = m->tick = (struct timer)TIMER_INIT;
	m->deliver = (struct kick)KICK_INIT;
	assert_int_equal(loop_new(&m->loop), 0);
	assert_int_equal(kick_init(&m->deliver, m->loop, on_deliver), 0);
	assert_int_equal(timer_init(&m->deadline, m->loop, on_deadline), 0);
	assert_int_equal(timer_set(&m->deadline, 60 * NSEC_PER_SEC, 0), 0);
	assert_int_equal(timer_init(&m->tick, m->loop, on_tick), 0);
	assert_int_equal(timer_set(&m->tick, 2 * NSEC_PER_MSEC, 2 * NSEC_PER_MSEC), 0);
	assert_int_equal(http_server_new(m->loop, &options, &m->server), 0);
	assert_int_equal(http_server_listen(m->server, "127.0.0.1:0", REPORT_ALL), 0);
	m->port = (uint16_t)atoi(strrchr(http_server_address(m->server, 0), ':') + 1);
	return m;
}

static void stop(struct made_up *m)
{
	m->server = http_server_free(m->server);
	fixture_stop(&m->f);
	kick_clear(&m->deliver);
	timer_clear(&m->deadline);
	timer_clear(&m->tick);
	m->loop = loop_free(m->loop);
	for (size_t i = 0; i < m->n_rows; i++)
		free((char *)m->rows[i].body);
	free(m);
}

struct client {
	struct loop_source source;
	struct loop *loop;
	int fd;
	bool closed;
	size_t len;
	char data[16 << 20];
};

static int on_client(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);
	ssize_t n = read(client->fd, client->data + client->len,
	                 sizeof(client->data) - 1 - client->len);

	(void)events;
	if (n > 0)
		client->len += (size_t)n;
	client->data[client->len] = '\0';
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		client->closed = true;
		loop_remove(source);
		loop_stop(client->loop);
	}
	return 0;
}

static struct client *send_request(struct made_up *m, const char *method, const char *target)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(m->port) };
	struct client *client = calloc(1, sizeof(*client));
	char request[2048];

	assert_non_null(client);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->loop = m->loop;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(loop_add(m->loop, &client->source, client->fd, EPOLLIN, on_client), 0);
	snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	         method, target);
	assert_int_equal(send(client->fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	return client;
}

static void client_close(struct client *client)
{
	loop_remove(&client->source);
	close(client->fd);
	free(client);
}

/* Runs the loop until it holds; the deadline fails the test. */
#define wait_until(m, condition)                                  \
	do {                                                      \
		while (!(condition))                              \
			assert_int_equal(loop_run((m)->loop), 0); \
	} while (0)

static struct json_object *body_of(struct made_up *m, struct client *client, unsigned int status)
{
	struct json_object *object;
	char line[32];

	wait_until(m, client->closed);
	snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
	if (strncmp(client->data, line, strlen(line)) != 0)
		fail_msg("expected %u, got %.600s", status, client->data);
	assert_non_null(strstr(client->data, status < 400 ? "Content-Type: application/json\r\n"
	                                                  : "application/problem+json"));
	assert_non_null(strstr(client->data, "Cache-Control: no-store\r\n"));
	object = json_tokener_parse(strstr(client->data, "\r\n\r\n") + 4);
	assert_non_null(object);
	return object;
}

static struct json_object *ask(struct made_up *m, const char *target, unsigned int status)
{
	struct client *client = send_request(m, "GET", target);
	struct json_object *object = body_of(m, client, status);

	client_close(client);
	return object;
}

static const char *text_at(struct json_object *object, const char *path)
{
	struct json_object *found;

	if (json_pointer_get(object, path, &found) < 0)
		fail_msg("no %s in %s", path, json_object_to_json_string(object));
	return json_object_get_string(found);
}

static size_t n_items(struct json_object *list)
{
	struct json_object *items;

	assert_true(json_object_object_get_ex(list, "items", &items));
	return json_object_array_length(items);
}

/* The numbers of the ids, between blanks; of all pages. */
static void walk(struct made_up *m, const char *target, size_t *n_pages, char *ids, size_t size)
{
	char page[1024], token[512] = "";
	size_t len = 0;

	ids[0] = '\0';
	*n_pages = 0;
	do {
		struct json_object *list;

		snprintf(page, sizeof(page), "%s&continue=%s", target, token);
		list = ask(m, page, 200);
		for (size_t i = 0; i < n_items(list); i++) {
			char path[32];

			snprintf(path, sizeof(path), "/items/%zu/id", i);
			len += (size_t)snprintf(ids + len, size - len, "%lu ",
			                        strtoul(text_at(list, path), NULL, 16));
			assert_true(len < size);
		}
		snprintf(token, sizeof(token), "%s", text_at(list, "/continue"));
		json_object_put(list);
		(*n_pages)++;
		assert_true(*n_pages < 1000);
	} while (token[0]);
}

/* Open ones of memory, then the resolved ones of both, newest first, each once. */
static void memory_and_spool_are_one_list(void **state)
{
	struct made_up *m = start();
	struct json_object *o;
	char ids[512];
	size_t pages;

	(void)state;
	add_row(m, 0xabc2, TUNNEL_BROKEN, 100); /* in memory too */
	add_row(m, 0xabc0, GATEWAY_BYPASS, 80); /* open again since */
	add_row(m, 1, STALE_ROUTES, 50);
	add_row(m, 2, STALE_ROUTES, 150);
	add_row(m, 3, STALE_ROUTES, 7200);
	walk(m, "/v1/violations?since=1h", &pages, ids, sizeof(ids));
	/* 0xabc0 and 0xabc1 are open. */
	assert_string_equal(ids, "43968 43969 1 43970 2 ");
	assert_int_equal(pages, 1);

	o = ask(m, "/v1/violations?since=1h&state=resolved", 200);
	assert_int_equal(n_items(o), 3);
	assert_string_equal(text_at(o, "/items/0/state"), "resolved");
	assert_string_equal(text_at(o, "/items/0/kind"), "stale-routes");
	assert_string_equal(text_at(o, "/items/0/resolved"), "2026-11-20T15:59:10.000000Z");
	assert_string_equal(text_at(o, "/items/0/subject/pod"), "gone-0");
	assert_string_equal(text_at(o, "/items/1/reason"), "packets went out and none returned");
	json_object_put(o);

	/* What cannot be resolved needs no history. */
	m->n_asked = 0;
	o = ask(m, "/v1/violations?since=1h&state=open", 200);
	assert_int_equal(n_items(o), 2);
	assert_int_equal(m->n_asked, 0);
	json_object_put(o);
	stop(m);
}

/* Expected in `ids`: the two open ones of memory, all rows, and the one that memory saw resolved before them. */
static void expect_all(const struct made_up *m, const char *ids, size_t n)
{
	char *expected = malloc(16 * ROWS_MAX);
	size_t len = (size_t)sprintf(expected, "43968 43969 ");

	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(expected + len, "%lu ", strtoul(m->rows[i].key, NULL, 16));
	sprintf(expected + len, "43970 ");
	assert_string_equal(ids, expected);
	free(expected);
}

static void pages_ask_for_little_and_miss_nothing(void **state)
{
	static const struct {
		const char *target;
		size_t n;
		int64_t apart_us; /* how far rows are apart */
		size_t pages, most_rows;
	} rows[] = {
		{ "/v1/violations?since=1h&limit=100", 1000, 1000, 11,
		  100 + 1 + HISTORY_ROWS_SPARE },
		{ "/v1/violations?since=1h&limit=1", 30, 1000, 33, 1 + 1 + HISTORY_ROWS_SPARE },
		/* All of one moment, and more than the spare ones. */
		{ "/v1/violations?since=1h&limit=100", 1000, 0, 11, HISTORY_ROWS_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made_up *m = start();
		char *ids = malloc(16 * ROWS_MAX);
		size_t pages;

		for (size_t k = 0; k < rows[i].n; k++)
			add_row(m, k, STALE_ROUTES, 0);
		for (size_t k = 0; k < rows[i].n; k++)
			m->rows[k].wall_us = FIXTURE_US - (int64_t)k * rows[i].apart_us;
		walk(m, rows[i].target, &pages, ids, 16 * ROWS_MAX);
		expect_all(m, ids, rows[i].n);
		assert_int_equal(pages, rows[i].pages);
		assert_int_equal(m->most_rows, rows[i].most_rows);
		free(ids);
		stop(m);
	}
}

static void a_page_is_bounded_in_bytes(void **state)
{
	struct made_up *m = start();
	char *ids = malloc(16 * ROWS_MAX), *text = calloc(1, EVIDENCE_MAX + 1);
	size_t pages;

	(void)state;
	/* Fewer than `limit`, and more than HISTORY_BYTES_MAX. */
	memset(text, 'x', EVIDENCE_MAX);
	memcpy(text, "{\"kind\":\"", 9);
	memcpy(text + EVIDENCE_MAX - 2, "\"}", 2);
	evidence = text;
	for (size_t i = 0; i < 990; i++)
		add_row(m, i, STALE_ROUTES, 0);
	evidence = NULL;
	assert_true(990 * m->rows[0].len > HISTORY_BYTES_MAX);
	walk(m, "/v1/violations?since=1h&limit=1000", &pages, ids, 16 * ROWS_MAX);
	expect_all(m, ids, 990);
	assert_int_equal(pages, 2);
	free(text);
	free(ids);
	stop(m);
}

/* Few of many belong to the list: a page may be short, the list is whole. */
static void filters_hold_for_the_history(void **state)
{
	struct made_up *m = start();
	char ids[4096];
	size_t pages;

	(void)state;
	for (size_t i = 0; i < 300; i++)
		add_row(m, i, i % 100 == 7 ? EGRESS_UNREACHABLE : STALE_ROUTES, (int64_t)i);
	walk(m, "/v1/violations?since=1h&limit=2&kind=egress-unreachable", &pages, ids,
	     sizeof(ids));
	assert_string_equal(ids, "7 107 207 ");
	walk(m, "/v1/violations?since=1h&namespace=nowhere", &pages, ids, sizeof(ids));
	assert_string_equal(ids, "");
	walk(m, "/v1/violations?since=1h&namespace=shop&kind=egress-unreachable&state=resolved",
	     &pages, ids, sizeof(ids));
	assert_string_equal(ids, "7 107 207 ");
	stop(m);
}

static void since_is_a_time_or_a_duration(void **state)
{
	static const struct {
		const char *since;
		int64_t seconds_ago; /* -1: refused */
	} rows[] = {
		{ "90m", 5400 },
		{ "24h", 86400 },
		{ "7d", 7 * 86400 },
		{ "1d12h", 129600 },
		{ "0s", 0 },
		{ "2026-11-20T15:00:00Z", 3600 },
		{ "2026-11-20T15:00:00.000000Z", 3600 },
		{ "100000h", 360000000 },
		{ "", -1 },
		{ "7", -1 },
		{ "d", -1 },
		{ "-1h", -1 },
		{ "7d7d", -1 },
		{ "1h7d", -1 },
		{ "36501d", -1 },
		{ "99999999999999999999d", -1 },
		{ "99999999999h", -1 },
		{ "1.5h", -1 },
		{ "yesterday", -1 },
		{ "2026-11-20", -1 },
		{ "2026-02-30T00:00:00Z", -1 },
		{ "2026-11-20T15:00:00+01:00", -1 },
		{ "24h%20", -1 },
	};
	struct made_up *m = start();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *o;
		char target[128];

		m->since_us = 0;
		snprintf(target, sizeof(target), "/v1/violations?since=%s", rows[i].since);
		o = ask(m, target, rows[i].seconds_ago < 0 ? 400 : 200);
		if (rows[i].seconds_ago < 0)
			assert_memory_equal(text_at(o, "/detail"), "since: expected ", 16);
		else
			assert_int_equal(m->since_us, FIXTURE_US - rows[i].seconds_ago * 1000000);
		json_object_put(o);
	}
	/* Never the time of those that are open. */
	json_object_put(ask(m, "/v1/violations?since=36500d", 200));
	assert_int_equal(m->since_us, 1);
	json_object_put(ask(m, "/v1/violations?since=1969-12-31T00:00:00Z", 200));
	assert_int_equal(m->since_us, 1);
	/* Tokens of nobody: "1x", "1000…", "1ggg…"; "1800…" is the end of all time. */
	json_object_put(ask(m, "/v1/violations?since=1h&continue=MXg", 400));
	json_object_put(ask(m, "/v1/violations?since=1h&continue=MTAwMDAwMDAwMDAwMDAwMDA", 400));
	json_object_put(ask(m, "/v1/violations?since=1h&continue=MWdnZ2dnZ2dnZ2dnZ2dnZ2c", 400));
	json_object_put(ask(m, "/v1/violations?since=1h&continue=MTgwMDAwMDAwMDAwMDAwMDA", 200));
	assert_int_equal(m->until_us, INT64_MAX);
	stop(m);
}

static void without_a_spool_memory_answers(void **state)
{
	struct made_up *m = start();
	struct json_object *o;

	(void)state;
	m->refusal = -ENODEV;
	o = ask(m, "/v1/violations?since=1h", 200);
	assert_int_equal(n_items(o), 3);
	json_object_put(o);
	o = ask(m, "/v1/violations?since=30s", 200);
	assert_int_equal(n_items(o), 2);
	json_object_put(o);
	stop(m);
}

static void a_spool_that_does_not_answer_is_a_503(void **state)
{
	struct made_up *m = start();
	struct client *c;

	(void)state;
	m->refusal = -EBUSY;
	c = send_request(m, "GET", "/v1/violations?since=1h");
	json_object_put(body_of(m, c, 503));
	assert_non_null(strstr(c->data, "Retry-After: 1\r\n"));
	client_close(c);

	m->refusal = 0;
	m->end = -EPIPE;
	c = send_request(m, "GET", "/v1/violations?since=1h");
	json_object_put(body_of(m, c, 503));
	assert_non_null(strstr(c->data, "the spool is gone"));
	client_close(c);

	m->end = 0;
	json_object_put(ask(m, "/v1/violations?since=1h", 200));
	stop(m);
}

static void questions_wait_for_each_other(void **state)
{
	struct made_up *m = start();
	struct client *c[HTTP_DEFERRED_MAX + 1];

	(void)state;
	m->held = true;
	add_row(m, 1, STALE_ROUTES, 50);
	for (size_t i = 0; i < HTTP_DEFERRED_MAX; i++) {
		c[i] = send_request(m, "GET", "/v1/violations?since=1h&state=resolved&limit=1000");
		wait_until(m, !(http_server_stats(m->server).deferred <= i));
	}
	assert_int_equal(m->n_asked, 1);
	c[HTTP_DEFERRED_MAX] = send_request(m, "GET", "/v1/violations?since=1h");
	json_object_put(body_of(m, c[HTTP_DEFERRED_MAX], 503));
	assert_non_null(strstr(c[HTTP_DEFERRED_MAX]->data, "Retry-After: 1\r\n"));
	client_close(c[HTTP_DEFERRED_MAX]);

	/* The one that was asked leaves, and one that waits: neither holds up the others. */
	client_close(c[0]);
	client_close(c[2]);
	wait_until(m, !(http_server_stats(m->server).deferred > HTTP_DEFERRED_MAX - 2));
	assert_int_equal(m->n_asked, 1);
	m->held = false;
	kick_now(&m->deliver);
	for (size_t i = 1; i < HTTP_DEFERRED_MAX; i++) {
		struct json_object *o;

		if (i == 2)
			continue;
		o = body_of(m, c[i], 200);
		assert_int_equal(n_items(o), 2);
		json_object_put(o);
		client_close(c[i]);
	}
	assert_int_equal(m->n_asked, HTTP_DEFERRED_MAX - 1);
	assert_int_equal(m->f.n_forgotten, 0);
	stop(m);
}

static void nobody_is_answered_after_the_end(void **state)
{
	struct made_up *m = start();
	struct client *c[2];

	(void)state;
	m->held = true;
	for (size_t i = 0; i < 2; i++)
		c[i] = send_request(m, "GET", "/v1/violations?since=1h");
	wait_until(m, !(http_server_stats(m->server).deferred < 2));
	for (size_t i = 0; i < 2; i++)
		client_close(c[i]);
	m->server = http_server_free(m->server);
	fixture_stop(&m->f);
	assert_int_equal(m->f.n_forgotten, 1);
	m->f.report = NULL;
	stop(m);
}

/* While the spool reads its disk, things go on. */
static void what_happens_meanwhile_is_there(void **state)
{
	struct made_up *m = start();
	struct violation *v = &m->f.violations[2];
	struct json_object *o;
	struct client *c;

	(void)state;
	add_row(m, 0xabc2, TUNNEL_BROKEN, 100);
	add_row(m, 5, TUNNEL_BROKEN, 90);
	m->held = true;
	c = send_request(m, "GET", "/v1/violations?since=1h");
	wait_until(m, m->on_end);
	v->open = true;
	v->resolved = (struct moment){ 0 };
	kick_now(&m->deliver);
	o = body_of(m, c, 200);
	assert_int_equal(n_items(o), 4);
	assert_string_equal(text_at(o, "/items/2/id"), v->id);
	assert_string_equal(text_at(o, "/items/2/state"), "open");
	json_object_put(o);
	client_close(c);
	stop(m);
}

static void rows_that_make_no_sense_are_left_out(void **state)
{
	struct made_up *m = start();
	struct json_object *o;
	char ids[256];
	size_t pages;

	(void)state;
	m->f.n_violations = 0;
	for (size_t i = 0; i < 6; i++)
		add_row(m, i, STALE_ROUTES, (int64_t)i);
	m->rows[0].table = SPOOL_SUBJECT;
	m->rows[1].len--;
	m->rows[2].len = 0;
	snprintf(m->rows[3].key, SPOOL_KEY_MAX, "%032d", 9);
	walk(m, "/v1/violations?since=1h&limit=1", &pages, ids, sizeof(ids));
	assert_string_equal(ids, "4 5 ");
	o = ask(m, "/v1/violations?since=1h", 200);
	assert_int_equal(n_items(o), 2);
	assert_string_equal(text_at(o, "/unreadable"), "3");
	json_object_put(o);
	o = ask(m, "/v1/violations?since=1h&state=open", 200);
	assert_false(json_object_object_get_ex(o, "unreadable", NULL));
	json_object_put(o);
	stop(m);
}

static void head_waits_too(void **state)
{
	struct made_up *m = start();
	struct client *c = send_request(m, "HEAD", "/v1/violations?since=1h");

	(void)state;
	wait_until(m, c->closed);
	assert_memory_equal(c->data, "HTTP/1.1 200 ", 13);
	assert_string_equal(strstr(c->data, "\r\n\r\n"), "\r\n\r\n");
	assert_int_equal(m->n_asked, 1);
	client_close(c);
	stop(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_and_spool_are_one_list),
		cmocka_unit_test(pages_ask_for_little_and_miss_nothing),
		cmocka_unit_test(a_page_is_bounded_in_bytes),
		cmocka_unit_test(filters_hold_for_the_history),
		cmocka_unit_test(since_is_a_time_or_a_duration),
		cmocka_unit_test(without_a_spool_memory_answers),
		cmocka_unit_test(a_spool_that_does_not_answer_is_a_503),
		cmocka_unit_test(questions_wait_for_each_other),
		cmocka_unit_test(nobody_is_answered_after_the_end),
		cmocka_unit_test(what_happens_meanwhile_is_there),
		cmocka_unit_test(rows_that_make_no_sense_are_left_out),
		cmocka_unit_test(head_waits_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
