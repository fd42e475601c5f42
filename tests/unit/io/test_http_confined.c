#include "test.h"

#include <signal.h>

#include "base/clock.h"
#include "base/timer.h"
#include "confined.h"
#include "io/http_server.h"

#define BIG 3000000
#define ANSWER_MAX (4u << 20)

/* The server, in a child that may not listen, send messages or name a peer */

static int listening = -1;

static int give_listener(const struct listener_address *address, int *fd)
{
	(void)address;
	*fd = take_fd(&listening);
	return 0;
}

static void on_closed(void *user, struct http_stream *stream)
{
	(void)user;
	(void)stream;
}

static struct timer later = TIMER_INIT;
static struct http_deferred *deferred;

static int on_later(struct timer *timer)
{
	struct http_server_response response = { .status = 200, .body = BUF_INIT(16) };

	(void)timer;
	buf_text(&response.body, "at last");
	http_deferred_answer(deferred, &response);
	return 0;
}

static void on_gone(void *user)
{
	(void)user;
	check(timer_stop(&later) == 0);
}

static int handler(void *user, const struct http_server_request *request,
                   struct http_server_response *response)
{
	static char big[BIG];
	struct http_stream *stream;

	(void)user;
	response->content_type = "text/plain";
	if (strcmp(request->path, "/fail") == 0)
		return -EIO;
	if (strcmp(request->path, "/stream") == 0) {
		check(http_server_stream(request, ":\n\n", on_closed, NULL, &stream) == 0);
		return http_stream_send(stream, "event\n\n", 7);
	}
	if (strcmp(request->path, "/later") == 0) {
		check(http_server_defer(request, on_gone, NULL, &deferred) == 0);
		return timer_set(&later, NSEC_PER_MSEC, 0);
	}
	if (strcmp(request->path, "/unchanged") == 0) {
		response->status = 304;
		return 0;
	}
	if (strcmp(request->path, "/big") == 0) {
		memset(big, 'x', sizeof(big));
		buf_append(&response->body, big, sizeof(big));
		return 0;
	}
	buf_text(&response->body, "hello");
	return 0;
}

static void try_sendmsg(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct iovec data = { (void *)"x", 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_name = &to,
		.msg_namelen = sizeof(to),
	};
	struct ip peer = fake_ip("127.0.0.1");
	int fd = -1;

	check(syscall(SYS_sendmsg, 0, &message, 0) < 0 && errno == EPERM);
	check(confined_connect(-1, SOCK_DGRAM, &peer, 4321, &fd) == 0);
	check(sendmsg(fd, &message, 0) < 0 && errno == EPERM);
	close(fd);
}

static void serve(int fd, bool confined)
{
	static const struct privileged broker = {
		.connect = confined_connect,
		.listen = give_listener,
	};
	const struct http_server_options options = { .handler = handler };
	struct http_server *server;
	struct loop *loop;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	listening = fd;
	privileged_set(&broker);
	if (confined) {
		confine();
		try_sendmsg();
	}
	check(loop_new(&loop) == 0);
	check(timer_init(&later, loop, on_later) == 0);
	check(http_server_new(loop, &options, &server) == 0);
	check(http_server_listen(server, "127.0.0.1:0", 0) == 0);
	if (!confined)
		privileged_set(NULL);
	check(loop_run(loop) == 0);
}

static pid_t start(bool confined, uint16_t *port)
{
	int fd;
	pid_t pid;

	*port = 0;
	fd = fake_bind(SOCK_STREAM, "127.0.0.1", port);
	assert_int_equal(listen(fd, 16), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		serve(fd, confined);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void stop(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it serves still */
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* The client */

/* Times differ from one answer to the next. */
static void drop_date(char *text)
{
	char *date = strstr(text, "\r\nDate: "), *end = date ? strstr(date + 2, "\r\n") : NULL;

	if (end)
		memmove(date, end, strlen(end) + 1);
}

/* The whole answer, or until `end` comes. */
static char *ask(uint16_t port, const char *request, const char *end)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *answer = calloc(1, ANSWER_MAX);
	size_t len = 0;
	ssize_t n;

	assert_non_null(answer);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while ((n = read(fd, answer + len, ANSWER_MAX - 1 - len)) > 0) {
		len += (size_t)n;
		if (end && strstr(answer, end))
			break;
	}
	if (n < 0 && errno != ECONNRESET) /* closed before it read all of a long request */
		fail_msg("no end: %.200s", answer);
	close(fd);
	drop_date(answer);
	return answer;
}

#define HOST "Host: localhost\r\nConnection: close\r\n\r\n"

static void a_confined_server_says_the_same(void **state)
{
	static char long_target[6000], long_header[40000];
	const struct {
		const char *request, *status, *end;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "HEAD / HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "GET / HTTP/1.0\r\n\r\n", "HTTP/1.", NULL },
		{ "GET /big HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "HEAD /big HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "GET /unchanged HTTP/1.1\r\n" HOST, "HTTP/1.1 304", NULL },
		{ "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200", "event\n\n" },
		{ "GET /later HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "HEAD /later HTTP/1.1\r\n" HOST, "HTTP/1.1 200", NULL },
		{ "GET /fail HTTP/1.1\r\n" HOST, "HTTP/1.1 500", NULL },
		{ "POST / HTTP/1.1\r\n" HOST, "HTTP/1.1 405", NULL },
		/* libmicrohttpd's own words */
		{ "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400",
		  NULL },
		{ long_target, "HTTP/1.1 414", NULL },
		{ long_header, "HTTP/1.1 431", NULL },
	};
	uint16_t free_port, confined_port;
	pid_t free_server, confined_server;

	(void)state;
#ifdef __SANITIZE_ADDRESS__
	print_message("AddressSanitizer's sendmsg keeps ours from the libraries\n");
	skip();
#endif
	free_server = start(false, &free_port);
	confined_server = start(true, &confined_port);
	memset(long_target, 'a', sizeof(long_target) - 1);
	memcpy(long_target, "GET /", 5);
	strcpy(long_target + 5900, " HTTP/1.1\r\n" HOST);
	memset(long_header, 'a', sizeof(long_header) - 1);
	memcpy(long_header, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 36);
	strcpy(long_header + 39000, "\r\n\r\n");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *expected = ask(free_port, rows[i].request, rows[i].end);
		char *answer = ask(confined_port, rows[i].request, rows[i].end);

		if (strncmp(answer, rows[i].status, strlen(rows[i].status)) != 0)
			fail_msg("row %zu: %.200s", i, answer);
		if (strcmp(answer, expected) != 0)
			fail_msg("row %zu: %.300s instead of %.300s", i, answer, expected);
		free(answer);
		free(expected);
	}
	stop(free_server);
	stop(confined_server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_confined_server_says_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
