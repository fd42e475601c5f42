#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timer.h"
#include "io/http_server.h"
#include "io/kick.h"

#define CLIENT_BYTES (1 << 20)

struct fixture {
	struct loop *loop;
	struct http_server *server;
	struct http_server_options options;
	struct timer deadline, drip;
	struct client *dripping;
	uint16_t port;
	struct http_stream *streams[HTTP_EVENT_CLIENTS_MAX + 1];
	size_t n_streams, n_closed;
	int last_stream_error;
	char last[256]; /* method, path, parameters of the last request */
	size_t handled;
	struct kick other_work;
	uint64_t accepted_before;
};

struct client {
	struct loop_source source;
	struct loop *loop;
	int fd;
	bool closed;
	size_t len;
	char data[CLIENT_BYTES + 1];
};

static void on_stream_closed(void *user, struct http_stream *stream)
{
	struct fixture *f = user;

	(void)stream;
	f->n_closed++;
	loop_stop(f->loop);
}

static int handler(void *user, const struct http_server_request *request,
                   struct http_server_response *response)
{
	struct fixture *f = user;
	int n;

	f->handled++;
	n = snprintf(f->last, sizeof(f->last), "%s %s", request->method, request->path);
	for (size_t i = 0; i < request->n_params; i++)
		n += snprintf(f->last + n, sizeof(f->last) - (size_t)n, " %s=%s",
		              request->params[i].name, request->params[i].value);
	if (strcmp(request->path, "/fail") == 0)
		return -ENOMEM;
	if (strcmp(request->path, "/stream") == 0) {
		f->last_stream_error = http_server_stream(request, ":\n\n", on_stream_closed, f,
		                                          &f->streams[f->n_streams]);
		if (f->last_stream_error == 0)
			f->n_streams++;
		else
			response->status = 503;
		response->content_type = "text/event-stream";
		loop_stop(f->loop);
		return 0;
	}
	response->content_type = "text/plain";
	http_server_header(response, "X-Test", "yes");
	buf_text(&response->body, "hello ");
	buf_text(&response->body, request->path);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static void start(struct fixture *f)
{
	const char *address;

	assert_int_equal(loop_new(&f->loop), 0);
	f->options.handler = handler;
	f->options.user = f;
	assert_int_equal(http_server_new(f->loop, &f->options, &f->server), 0);
	assert_int_equal(http_server_listen(f->server, "127.0.0.1:0", 7), 0);
	address = http_server_address(f->server, 0);
	f->port = (uint16_t)atoi(strrchr(address, ':') + 1);
	f->deadline = f->drip = (struct timer)TIMER_INIT;
	assert_int_equal(timer_init(&f->deadline, f->loop, on_deadline), 0);
	assert_int_equal(timer_set(&f->deadline, 60 * NSEC_PER_SEC, 0), 0);
}

static void stop(struct fixture *f)
{
	assert_null(http_server_free(f->server));
	timer_clear(&f->deadline);
	timer_clear(&f->drip);
	assert_null(loop_free(f->loop));
}

static int on_client(struct loop_source *source, uint32_t events)
{
	struct client *client = container_of(source, struct client, source);
	ssize_t n = read(client->fd, client->data + client->len, CLIENT_BYTES - client->len);

	(void)events;
	if (n > 0)
		client->len += (size_t)n;
	client->data[client->len] = '\0';
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		client->closed = true;
		loop_remove(source);
	}
	loop_stop(client->loop);
	return 0;
}

static struct client *connect_to(struct fixture *f, uint32_t ip, bool reading)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(f->port) };
	struct client *client = calloc(1, sizeof(*client));

	assert_non_null(client);
	to.sin_addr.s_addr = htonl(ip);
	client->loop = f->loop;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(client->fd >= 0);
	/* The kernel completes the handshake without anybody accepting. */
	assert_int_equal(connect(client->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
	if (reading)
		assert_int_equal(loop_add(f->loop, &client->source, client->fd, EPOLLIN, on_client),
		                 0);
	return client;
}

static struct client *connect_client(struct fixture *f)
{
	return connect_to(f, INADDR_LOOPBACK, true);
}

static void client_close(struct client *client)
{
	loop_remove(&client->source);
	close(client->fd);
	free(client);
}

static void say(struct client *client, const char *text)
{
	assert_int_equal(send(client->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Runs the loop until it holds; the fixture's deadline fails the test. */
#define wait_until(f, condition)                                  \
	do {                                                      \
		while (!(condition))                              \
			assert_int_equal(loop_run((f)->loop), 0); \
	} while (0)

static void expect_status(struct fixture *f, struct client *client, const char *status)
{
	wait_until(f, client->closed || strstr(client->data, "\r\n\r\n"));
	if (strncmp(client->data, status, strlen(status)) != 0)
		fail_msg("expected %s, got %.120s", status, client->data);
}

static void answers_get_head_and_post(void **state)
{
	struct fixture f = { .options = { .post = true, .check_host = true } };
	struct client *c;

	(void)state;
	start(&f);
	c = connect_client(&f);
	say(c, "GET /a%20b?x=1&y=%41+b&z&n=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_until(&f, strstr(c->data, "hello /a b"));
	assert_non_null(strstr(c->data, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(c->data, "Content-Type: text/plain\r\n"));
	assert_non_null(strstr(c->data, "X-Test: yes\r\n"));
	assert_non_null(strstr(c->data, "X-Content-Type-Options: nosniff\r\n"));
	assert_string_equal(f.last, "GET /a b x=1 y=A b z= n=%00");

	c->len = 0;
	say(c, "HEAD /a HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n");
	wait_until(&f, c->closed);
	assert_non_null(strstr(c->data, "Content-Length: 8\r\n"));
	assert_non_null(strstr(c->data, "\r\n\r\n"));
	assert_string_equal(strstr(c->data, "\r\n\r\n"), "\r\n\r\n");
	client_close(c);

	c = connect_client(&f);
	say(c, "POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd");
	wait_until(&f, strstr(c->data, "hello /p"));
	client_close(c);
	stop(&f);
}

static void refuses_what_it_should(void **state)
{
	static const struct {
		const char *request, *status;
	} rows[] = {
		{ "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 405" },
		{ "BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 405" },
		{ "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421" },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400" },
		{ "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400" },
		{ "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400" },
		{ "GET /?a&b&c&d&e&f&g&h&i HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 400" },
		{ "GET /fail HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 500" },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\r\n",
		  "HTTP/1.1 413" },
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
		  "HTTP/1.1 411" },
	};
	struct fixture f = { .options = { .check_host = true } };

	(void)state;
	start(&f);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct client *c = connect_client(&f);

		say(c, rows[i].request);
		expect_status(&f, c, rows[i].status);
		client_close(c);
	}
	assert_int_equal(f.handled, 1); /* /fail */
	stop(&f);
}

/* From the request line to the header that is too long, nothing hangs and nothing is handled. */
static void bounds_bytes_of_a_request(void **state)
{
	struct fixture f = { 0 };
	struct client *c;
	char *text;

	(void)state;
	start(&f);
	text = malloc(40000);
	assert_non_null(text);

	strcpy(text, "GET /");
	memset(text + 5, 'a', 3000);
	strcpy(text + 3005, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
	c = connect_client(&f);
	say(c, text);
	expect_status(&f, c, "HTTP/1.1 414");
	client_close(c);

	strcpy(text, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
	memset(text + strlen(text), 'a', 30000);
	strcpy(text + 30000, "\r\n\r\n");
	c = connect_client(&f);
	say(c, text);
	expect_status(&f, c, "HTTP/1.1 431");
	client_close(c);
	assert_int_equal(f.handled, 0);

	strcpy(text, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
	memset(text + strlen(text), 'a', 6000);
	strcpy(text + 6000, "\r\n\r\n");
	c = connect_client(&f);
	say(c, text);
	expect_status(&f, c, "HTTP/1.1 200");
	client_close(c);
	free(text);
	stop(&f);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct fixture f = { 0 };
	struct client *c;
	const char *one, *two, *three;

	(void)state;
	start(&f);
	c = connect_client(&f);
	say(c, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
	       "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&f, strstr(c->data, "hello /3"));
	one = strstr(c->data, "hello /1");
	two = strstr(c->data, "hello /2");
	three = strstr(c->data, "hello /3");
	assert_true(one && two && one < two && two < three);
	client_close(c);
	stop(&f);
}

static int on_drip(struct timer *timer)
{
	struct fixture *f = container_of(timer, struct fixture, drip);

	(void)send(f->dripping->fd, "x", 1, MSG_NOSIGNAL);
	return 0;
}

/* Bytes come all the time, the request never ends. */
static void a_dripping_request_is_cut_off(void **state)
{
	struct fixture f = { .options = { .request_s = 1 } };
	struct client *dripping, *idle;

	(void)state;
	start(&f);
	idle = connect_client(&f);
	dripping = connect_client(&f);
	say(dripping, "GET /");
	f.dripping = dripping;
	assert_int_equal(timer_init(&f.drip, f.loop, on_drip), 0);
	assert_int_equal(timer_set(&f.drip, 50 * NSEC_PER_MSEC, 50 * NSEC_PER_MSEC), 0);
	wait_until(&f, dripping->closed && idle->closed);
	assert_int_equal(http_server_stats(f.server).timed_out, 2);
	assert_int_equal(f.handled, 0);
	client_close(dripping);
	client_close(idle);
	stop(&f);
}

static void more_connections_wait_their_turn(void **state)
{
	struct fixture f = { .options = { .connections_max = 2 } };
	struct client *c[4];

	(void)state;
	start(&f);
	for (size_t i = 0; i < 4; i++) {
		c[i] = connect_client(&f);
		say(c[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	wait_until(&f, c[0]->len && c[1]->len);
	assert_int_equal(http_server_stats(f.server).connections, 2);
	assert_int_equal(c[2]->len + c[3]->len, 0);
	assert_int_equal(http_server_stats(f.server).paused, 1);
	client_close(c[0]);
	client_close(c[1]);
	wait_until(&f, c[2]->len && c[3]->len);
	assert_int_equal(http_server_stats(f.server).accepted, 4);
	client_close(c[2]);
	client_close(c[3]);
	stop(&f);
}

static void many_connections_come_and_go(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	start(&f);
	for (size_t round = 0; round < 5; round++) {
		struct client *c[HTTP_CONNECTIONS_MAX];

		for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
			c[i] = connect_client(&f);
			say(c[i], i % 2 ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n" : "GET / HT");
		}
		for (size_t i = 1; i < HTTP_CONNECTIONS_MAX; i += 2)
			wait_until(&f, strstr(c[i]->data, "hello"));
		for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
			client_close(c[i]);
	}
	assert_int_equal(f.handled, 5 * HTTP_CONNECTIONS_MAX / 2);
	stop(&f);
}

static int on_other_work(struct kick *kick)
{
	struct fixture *f = container_of(kick, struct fixture, other_work);

	f->accepted_before = http_server_stats(f->server).accepted;
	loop_stop(f->loop);
	return 0;
}

/* Who connects all the time leaves other work its turn. */
static void many_at_once_do_not_hold_the_loop(void **state)
{
	struct fixture f = { .options = { .connections_max = 200 } };
	struct client *clients[100];

	(void)state;
	start(&f);
	assert_int_equal(kick_init(&f.other_work, f.loop, on_other_work), 0);
	for (size_t i = 0; i < 100; i++)
		clients[i] = connect_client(&f);
	kick_now(&f.other_work);
	assert_int_equal(loop_run(f.loop), 0);
	assert_in_range(f.accepted_before, 1, 99);
	for (size_t i = 0; i < 100; i++)
		client_close(clients[i]);
	kick_clear(&f.other_work);
	stop(&f);
}

static void one_peer_does_not_take_all(void **state)
{
	struct fixture f = { .options = { .per_peer_max = 2 } };
	struct client *c[3];
	const char *address;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0) {
		print_message("needs root: no network namespace of its own\n");
		skip();
	}
	assert_int_equal(system("ip link set lo up && ip address add 192.0.2.1/32 dev lo"), 0);
	start(&f);
	assert_int_equal(http_server_listen(f.server, "192.0.2.1:0", 0), 0);
	address = http_server_address(f.server, 1);
	f.port = (uint16_t)atoi(strrchr(address, ':') + 1);
	for (size_t i = 0; i < 3; i++)
		c[i] = connect_to(&f, 0xc0000201, true);
	wait_until(&f, c[2]->closed);
	assert_false(c[0]->closed || c[1]->closed);
	assert_int_equal(http_server_stats(f.server).refused_peer, 1);
	for (size_t i = 0; i < 3; i++)
		client_close(c[i]);
	stop(&f);
}

static void streams_deliver_and_notice_that_the_client_left(void **state)
{
	struct fixture f = { 0 };
	struct client *c;

	(void)state;
	start(&f);
	c = connect_client(&f);
	say(c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&f, f.n_streams == 1 && strstr(c->data, "\r\n\r\n"));
	assert_int_equal(http_stream_send(f.streams[0], "data: 1\n\n", 9), 0);
	wait_until(&f, strstr(c->data, "data: 1"));
	assert_int_equal(http_stream_send(f.streams[0], "data: 2\n\n", 9), 0);
	assert_int_equal(http_stream_send(f.streams[0], "data: 3\n\n", 9), 0);
	wait_until(&f, strstr(c->data, "data: 3"));
	assert_non_null(strstr(c->data, "data: 2"));
	client_close(c);
	wait_until(&f, f.n_closed == 1);
	assert_int_equal(http_server_stats(f.server).streams, 0);
	stop(&f);
}

static void a_slow_reader_is_dropped_alone(void **state)
{
	struct fixture f = { 0 };
	struct client *slow, *fast;
	char event[8192];
	int r = 0;

	(void)state;
	memset(event, 'e', sizeof(event));
	start(&f);
	slow = connect_to(&f, INADDR_LOOPBACK, false);
	say(slow, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&f, f.n_streams == 1);
	fast = connect_client(&f);
	say(fast, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&f, f.n_streams == 2);

	for (size_t sent = 0; r == 0 && sent < 64u << 20; sent += sizeof(event)) {
		size_t before = fast->len;

		r = http_stream_send(f.streams[0], event, sizeof(event));
		if (r < 0)
			assert_int_equal(http_stream_send(f.streams[0], "x", 1), -EPIPE);
		assert_int_equal(http_stream_send(f.streams[1], event, sizeof(event)), 0);
		if (fast->len > CLIENT_BYTES / 2)
			before = fast->len = 0;
		wait_until(&f, fast->len > before);
	}
	assert_int_equal(r, -ENOBUFS);
	wait_until(&f, f.n_closed == 1);
	assert_int_equal(http_server_stats(f.server).streams_dropped, 1);
	assert_int_equal(http_server_stats(f.server).streams, 1);
	client_close(slow);
	client_close(fast);
	stop(&f);
	assert_int_equal(f.n_closed, 2);
}

static void streams_are_bounded_and_end_with_the_server(void **state)
{
	struct client *c[HTTP_EVENT_CLIENTS_MAX + 1];
	struct fixture f = { 0 };

	(void)state;
	start(&f);
	for (size_t i = 0; i <= HTTP_EVENT_CLIENTS_MAX; i++) {
		c[i] = connect_client(&f);
		say(c[i], "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
		wait_until(&f, strstr(c[i]->data, "\r\n\r\n"));
	}
	assert_int_equal(f.n_streams, HTTP_EVENT_CLIENTS_MAX);
	assert_int_equal(f.last_stream_error, -EBUSY);
	assert_non_null(strstr(c[HTTP_EVENT_CLIENTS_MAX]->data, "HTTP/1.1 503"));
	assert_int_equal(http_server_stats(f.server).streams_refused, 1);

	http_stream_abandon(f.streams[0]);
	wait_until(&f, c[0]->closed);
	for (size_t i = 0; i <= HTTP_EVENT_CLIENTS_MAX; i++)
		loop_remove(&c[i]->source);
	stop(&f);
	assert_int_equal(f.n_closed,
	                 HTTP_EVENT_CLIENTS_MAX - 1); /* an abandoned one says nothing */
	for (size_t i = 0; i <= HTTP_EVENT_CLIENTS_MAX; i++) {
		close(c[i]->fd);
		free(c[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_get_head_and_post),
		cmocka_unit_test(refuses_what_it_should),
		cmocka_unit_test(bounds_bytes_of_a_request),
		cmocka_unit_test(pipelined_requests_are_answered_in_order),
		cmocka_unit_test(a_dripping_request_is_cut_off),
		cmocka_unit_test(more_connections_wait_their_turn),
		cmocka_unit_test(many_connections_come_and_go),
		cmocka_unit_test(streams_deliver_and_notice_that_the_client_left),
		cmocka_unit_test(a_slow_reader_is_dropped_alone),
		cmocka_unit_test(streams_are_bounded_and_end_with_the_server),
		cmocka_unit_test(many_at_once_do_not_hold_the_loop),
		cmocka_unit_test(one_peer_does_not_take_all), /* last: changes the namespace */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
