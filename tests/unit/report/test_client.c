/* The client against a real server, and against servers that mean it ill. Not in any archive. */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.c"
#include "fixture.h"

static struct fixture served;

static int change(struct timer *timer)
{
	(void)timer;
	report_violation(served.report, &served.violations[1], VIOLATION_RESOLVED);
	return 0;
}

/* Serves the fixture in a process of its own, a change every 50 ms; ends with the test. */
static pid_t serve(char address[static 128], const char *listen)
{
	struct http_server_options options = { .handler = report_handle, .check_host = true };
	struct timer timer = TIMER_INIT;
	struct http_server *server;
	struct loop *loop;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0) {
		close(fds[1]);
		assert_true(read(fds[0], address, 128) > 0);
		close(fds[0]);
		return pid;
	}
	alarm(120);
	fixture_start(&served);
	options.user = served.report;
	if (loop_new(&loop) < 0 || http_server_new(loop, &options, &server) < 0 ||
	    http_server_listen(server, listen, REPORT_ALL) < 0 ||
	    timer_init(&timer, loop, change) < 0 ||
	    timer_set(&timer, 50 * NSEC_PER_MSEC, 50 * NSEC_PER_MSEC) < 0)
		_exit(1);
	snprintf(address, 128, "%s%s", strncmp(listen, "unix:", 5) ? "http://" : "",
	         http_server_address(server, 0));
	if (write(fds[1], address, 128) != 128)
		_exit(1);
	_exit(loop_run(loop) < 0);
}

/* Answers every connection with the same bytes. */
static pid_t serve_bytes(char address[static 128], const char *head, size_t filler)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char bytes[4096], drop[4096];
	pid_t pid;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(address, 128, "http://127.0.0.1:%u", ntohs(at.sin_port));
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0) {
		close(fd);
		return pid;
	}
	alarm(120);
	signal(SIGPIPE, SIG_IGN);
	memset(bytes, ' ', sizeof(bytes));
	for (;;) {
		int connection = accept(fd, NULL, NULL);
		ssize_t n = read(connection, drop, sizeof(drop));

		if (n > 0)
			n = write(connection, head, strlen(head));
		for (size_t i = 0; i < filler && n > 0; i += sizeof(bytes))
			n = write(connection, bytes, sizeof(bytes));
		close(connection);
	}
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static size_t list_length(struct json_object *list)
{
	struct json_object *items;

	assert_true(json_object_object_get_ex(list, "items", &items));
	return json_object_array_length(items);
}

static void asks_lists_and_watches(const char *listen)
{
	char address[128], error[CLIENT_ERROR_MAX] = "";
	struct json_object *answer;
	struct client *client;
	pid_t pid = serve(address, listen);

	assert_int_equal(client_new(address, &client, error), 0);
	assert_int_equal(client_get(client, "/v1/status", &answer, error), 0);
	json_object_put(answer);
	assert_int_equal(client_get(client, "/v1/nope", &answer, error), -ENOENT);
	assert_non_null(strstr(error, "nothing is at /v1/nope"));
	assert_int_equal(client_get(client, "/v1/flows?path=x", &answer, error), -EINVAL);

	assert_int_equal(client_list(client, "/v1/flows", 100, &answer, error), 0);
	assert_int_equal(list_length(answer), 4);
	json_object_put(answer);
	/* In pages of one. */
	assert_int_equal(client_list(client, "/v1/flows", 1, &answer, error), 0);
	assert_int_equal(list_length(answer), 1);
	json_object_put(answer);

	if (client_watch(client, error) < 0)
		fail_msg("%s", error);
	assert_int_equal(client_get(client, "/v1/status", &answer, error), 0);
	json_object_put(answer);
	assert_int_equal(client_wait(client, error), 0);
	assert_int_equal(client_wait(client, error), 0);
	end(pid);
	while (client_wait(client, error) == 0)
		;
	assert_non_null(strstr(error, address));
	assert_int_equal(client_get(client, "/v1/status", &answer, error), -EHOSTUNREACH);
	client_free(client);
}

static void over_tcp(void **state)
{
	(void)state;
	asks_lists_and_watches("127.0.0.1:0");
}

static void over_a_unix_socket(void **state)
{
	char dir[] = "/tmp/eva-client-XXXXXX", listen[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(listen, sizeof(listen), "unix:%s/s", dir);
	asks_lists_and_watches(listen);
	assert_int_equal(unlink(listen + 5), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void answers_are_not_trusted(void **state)
{
	static const struct {
		const char *head;
		size_t filler;
		int error;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\n\r\n{} x", 0, -EPROTO },
		{ "HTTP/1.1 200 OK\r\n\r\n[1]", 0, -EPROTO },
		{ "HTTP/1.1 200 OK\r\n\r\n{\"a\":", 0, -EPROTO },
		{ "HTTP/1.1 200 OK\r\n\r\n{\"a\":\"\xff\"}", 0, -EPROTO },
		{ "HTTP/1.1 200 OK\r\n\r\n<html>", 0, -EPROTO },
		{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: "
		  "2\r\n\r\n{}",
		  0, -EPROTO },
		{ "HTTP/1.1 500 No\r\n\r\n{\"detail\":[]}", 0, -EPROTO },
		{ "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}", CLIENT_ANSWER_MAX + 4096, -EHOSTUNREACH },
		{ "HTTP/1.1 200 OK\r\nX: ", 65536, -EPROTO },
		{ "nonsense\r\n\r\n", 0, -EHOSTUNREACH },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *answer = (void *)0x5a;
		char address[128], error[CLIENT_ERROR_MAX] = "";
		struct client *client;
		pid_t pid = serve_bytes(address, rows[i].head, rows[i].filler);
		int r;

		assert_int_equal(client_new(address, &client, error), 0);
		r = client_get(client, "/", &answer, error);
		if (r != rows[i].error)
			fail_msg("row %zu: %d: %s", i, r, error);
		assert_ptr_equal(answer, (void *)0x5a);
		assert_non_null(strstr(error, address));
		client_free(client);
		end(pid);
	}
}

static void a_list_without_end(void **state)
{
	char address[128], error[CLIENT_ERROR_MAX] = "";
	struct json_object *answer = (void *)0x5a;
	struct client *client;
	pid_t pid =
		serve_bytes(address, "HTTP/1.1 200 OK\r\n\r\n{\"items\":[],\"continue\":\"x\"}", 0);

	(void)state;
	assert_int_equal(client_new(address, &client, error), 0);
	assert_int_equal(client_list(client, "/v1/subjects", 10, &answer, error), -EPROTO);
	assert_ptr_equal(answer, (void *)0x5a);
	client_free(client);
	end(pid);
}

static void bad_addresses(void **state)
{
	static const char *const rows[] = { "",      "127.0.0.1:1", "https://x", "http://",
		                            "unix:", "unix:x",      "ftp://x" };
	char error[CLIENT_ERROR_MAX];
	struct client *client = (void *)0x5a;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(client_new(rows[i], &client, error), -EINVAL);
		assert_non_null(strstr(error, "expected http://HOST:PORT or unix:/PATH"));
		assert_ptr_equal(client, (void *)0x5a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_tcp),
		cmocka_unit_test(over_a_unix_socket),
		cmocka_unit_test(answers_are_not_trusted),
		cmocka_unit_test(a_list_without_end),
		cmocka_unit_test(bad_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
