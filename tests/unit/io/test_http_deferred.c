/* Answers of the HTTP server that are not ready at once. */
#include "test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timer.h"
#include "io/http_server.h"

struct fixture {
	struct loop *loop;
	struct http_server *server;
	struct timer deadline;
	uint16_t port;
	struct http_deferred *deferred[HTTP_DEFERRED_MAX + 1];
	size_t n_deferred, n_gone, n_handled;
	int last_error;
};

struct client {
	struct loop_source source;
	struct loop *loop;
	int fd;
	bool closed;
	size_t len;
	char data[16384];
};

static void on_gone(void *user)
{
	struct fixture *f = user;

	f->n_gone++;
	loop_stop(f->loop);
}

static void answer(struct http_deferred *deferred, const char *text)
{
	char type[] = "text/later", value[] = "borrowed";
	struct http_server_response response = { .status = 200,
		                                 .content_type = type,
		                                 .body = BUF_INIT(64) };

	http_server_header(&response, "X-Later", value);
	buf_text(&response.body, text);
	http_deferred_answer(deferred, &response);
	assert_null(response.body.data);
	/* What was borrowed for the call is not looked at any more. */
	memset(type, 'x', sizeof(type) - 1);
	memset(value, 'x', sizeof(value) - 1);
}

static int handler(void *user, const struct http_server_request *request,
                   struct http_server_response *response)
{
	struct fixture *f = user;

	f->n_handled++;
	if (strncmp(request->path, "/later", 6) != 0) {
		buf_text(&response->body, "now");
		return 0;
	}
	f->last_error = http_server_defer(request, on_gone, f, &f->deferred[f->n_deferred]);
	loop_stop(f->loop);
	if (f->last_error < 0) {
		response->status = 503;
		return 0;
	}
	buf_text(&response->body, "dropped");
	if (strcmp(request->path, "/later/fails") == 0)
		return -EIO;
	if (strcmp(request->path, "/later/at-once") == 0)
		answer(f->deferred[f->n_deferred], "at once");
	f->n_deferred++;
	return 0;
}

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static void start(struct fixture *f, unsigned int answer_s)
{
	const struct http_server_options options = { .handler = handler,
		                                     .user = f,
		                                     .answer_s = answer_s };

	*f = (struct fixture){ .deadline = TIMER_INIT };
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(http_server_new(f->loop, &options, &f->server), 0);
	assert_int_equal(http_server_listen(f->server, "127.0.0.1:0", 0), 0);
	f->port = (uint16_t)atoi(strrchr(http_server_address(f->server, 0), ':') + 1);
	assert_int_equal(timer_init(&f->deadline, f->loop, on_deadline), 0);
	assert_int_equal(timer_set(&f->deadline, 60 * NSEC_PER_SEC, 0), 0);
}

static void stop(struct fixture *f)
{
	assert_null(http_server_free(f->server));
	timer_clear(&f->deadline);
	assert_null(loop_free(f->loop));
}

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
	}
	loop_stop(client->loop);
	return 0;
}

static struct client *ask(struct fixture *f, const char *request)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(f->port) };
	struct client *client = calloc(1, sizeof(*client));

	assert_non_null(client);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->loop = f->loop;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(client->fd >= 0);
	assert_int_equal(connect(client->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(loop_add(f->loop, &client->source, client->fd, EPOLLIN, on_client), 0);
	assert_int_equal(send(client->fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	return client;
}

static void client_close(struct client *client)
{
	loop_remove(&client->source);
	close(client->fd);
	free(client);
}

/* Runs the loop until it holds; the fixture's deadline fails the test. */
#define wait_until(f, condition)                                  \
	do {                                                      \
		while (!(condition))                              \
			assert_int_equal(loop_run((f)->loop), 0); \
	} while (0)

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static unsigned int deferred_now(const struct fixture *f)
{
	return http_server_stats(f->server).deferred;
}

static void others_are_answered_meanwhile(void **state)
{
	struct client *waiting, *other;
	struct fixture f;

	(void)state;
	start(&f, 0);
	waiting = ask(&f, GET("/later") GET("/now"));
	wait_until(&f, f.n_deferred == 1);
	other = ask(&f, GET("/now"));
	wait_until(&f, strstr(other->data, "now"));
	assert_int_equal(waiting->len, 0);
	assert_int_equal(deferred_now(&f), 1);

	answer(f.deferred[0], "at last");
	wait_until(&f, strstr(waiting->data, "now"));
	assert_non_null(strstr(waiting->data, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(waiting->data, "Content-Type: text/later\r\n"));
	assert_non_null(strstr(waiting->data, "X-Later: borrowed\r\n"));
	assert_non_null(strstr(waiting->data, "Content-Length: 7\r\n"));
	assert_non_null(strstr(waiting->data, "\r\n\r\nat last"));
	assert_true(strstr(waiting->data, "at last") < strstr(waiting->data, "now"));
	assert_null(strstr(waiting->data, "dropped"));
	assert_int_equal(deferred_now(&f), 0);
	assert_int_equal(f.n_gone, 0);
	assert_int_equal(f.n_handled, 3); /* nobody is asked twice for what comes later */
	client_close(waiting);
	client_close(other);
	stop(&f);
}

static void head_has_the_same_head(void **state)
{
	struct fixture f;
	struct client *c;

	(void)state;
	start(&f, 0);
	c = ask(&f, "HEAD /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	wait_until(&f, f.n_deferred == 1);
	answer(f.deferred[0], "at last");
	wait_until(&f, c->closed);
	assert_non_null(strstr(c->data, "Content-Length: 7\r\n"));
	assert_string_equal(strstr(c->data, "\r\n\r\n"), "\r\n\r\n");
	client_close(c);
	stop(&f);
}

static void from_within_the_handler_too(void **state)
{
	struct fixture f;
	struct client *c;

	(void)state;
	start(&f, 0);
	c = ask(&f, GET("/later/at-once"));
	wait_until(&f, strstr(c->data, "at once"));
	assert_int_equal(deferred_now(&f), 0);
	client_close(c);
	c = ask(&f, GET("/later/fails") GET("/now"));
	wait_until(&f, strstr(c->data, "now"));
	assert_non_null(strstr(c->data, "HTTP/1.1 500"));
	assert_int_equal(deferred_now(&f), 0);
	assert_int_equal(f.n_gone, 0);
	client_close(c);
	stop(&f);
}

static void who_left_is_not_waited_for(void **state)
{
	struct client *c, *other;
	struct fixture f;

	(void)state;
	start(&f, 0);
	c = ask(&f, GET("/later"));
	wait_until(&f, f.n_deferred == 1);
	client_close(c);
	wait_until(&f, f.n_gone == 1);
	other = ask(&f, GET("/now"));
	wait_until(&f, strstr(other->data, "now"));
	assert_int_equal(deferred_now(&f), 0);
	assert_int_equal(http_server_stats(f.server).connections, 1);
	client_close(other);
	stop(&f);
	assert_int_equal(f.n_gone, 1);
}

/* Who left before the answer was sent: nobody is told, and nothing is left. */
static void an_answer_to_nobody(void **state)
{
	struct client *c, *other;
	struct fixture f;

	(void)state;
	start(&f, 0);
	c = ask(&f, GET("/later"));
	wait_until(&f, f.n_deferred == 1);
	client_close(c);
	answer(f.deferred[0], "at last");
	other = ask(&f, GET("/now"));
	wait_until(&f, strstr(other->data, "now"));
	assert_int_equal(deferred_now(&f), 0);
	assert_int_equal(f.n_gone, 0);
	client_close(other);
	stop(&f);
}

static void what_takes_too_long_is_a_503(void **state)
{
	struct fixture f;
	struct client *c;

	(void)state;
	start(&f, 1);
	c = ask(&f, GET("/later") GET("/now"));
	wait_until(&f, strstr(c->data, "\r\n\r\nnow"));
	assert_int_equal(strncmp(c->data, "HTTP/1.1 503 ", 13), 0);
	assert_non_null(strstr(c->data, "application/problem+json"));
	assert_int_equal(f.n_gone, 1);
	assert_int_equal(http_server_stats(f.server).timed_out, 1);
	assert_int_equal(deferred_now(&f), 0);
	client_close(c);
	stop(&f);
}

static void an_answer_that_cannot_be_made_is_a_500(void **state)
{
	struct http_server_response response = { .status = 200, .body = BUF_INIT(4) };
	struct fixture f;
	struct client *c;

	(void)state;
	start(&f, 0);
	c = ask(&f, GET("/later"));
	wait_until(&f, f.n_deferred == 1);
	buf_text(&response.body, "longer than four");
	http_deferred_answer(f.deferred[0], &response);
	wait_until(&f, strstr(c->data, "\r\n\r\n"));
	assert_int_equal(strncmp(c->data, "HTTP/1.1 500 ", 13), 0);
	client_close(c);
	stop(&f);
}

static void bounded_and_silent_when_the_server_goes(void **state)
{
	struct client *c[HTTP_DEFERRED_MAX + 1];
	struct fixture f;

	(void)state;
	start(&f, 0);
	for (size_t i = 0; i < HTTP_DEFERRED_MAX; i++) {
		c[i] = ask(&f, GET("/later"));
		wait_until(&f, f.n_deferred == i + 1);
	}
	c[HTTP_DEFERRED_MAX] = ask(&f, GET("/later"));
	wait_until(&f, strstr(c[HTTP_DEFERRED_MAX]->data, "HTTP/1.1 503"));
	assert_int_equal(f.last_error, -EBUSY);
	assert_int_equal(http_server_stats(f.server).deferred_refused, 1);
	answer(f.deferred[0], "at last"); /* not sent yet when the server goes */
	for (size_t i = 0; i <= HTTP_DEFERRED_MAX; i++)
		loop_remove(&c[i]->source);
	stop(&f);
	assert_int_equal(f.n_gone, 0);
	for (size_t i = 0; i <= HTTP_DEFERRED_MAX; i++) {
		close(c[i]->fd);
		free(c[i]);
	}
}

/* Without a connection there is nobody to answer. */
static void only_of_a_connection(void **state)
{
	const struct http_server_request request = { .method = "GET", .path = "/" };
	struct http_deferred *deferred = NULL;

	(void)state;
	assert_int_equal(http_server_defer(&request, on_gone, NULL, &deferred), -EINVAL);
	assert_null(deferred);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_are_answered_meanwhile),
		cmocka_unit_test(head_has_the_same_head),
		cmocka_unit_test(from_within_the_handler_too),
		cmocka_unit_test(who_left_is_not_waited_for),
		cmocka_unit_test(an_answer_to_nobody),
		cmocka_unit_test(what_takes_too_long_is_a_503),
		cmocka_unit_test(an_answer_that_cannot_be_made_is_a_500),
		cmocka_unit_test(bounded_and_silent_when_the_server_goes),
		cmocka_unit_test(only_of_a_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
