#include "test.h"

#include "fake.h"
#include "io/http_client.h"

struct outcome {
	struct loop *loop;
	struct http_response response;
	char body[8192], detail[256], warning[512], streamed[8192];
	size_t streamed_len, refuse_after;
	int calls, sockets;
};

static void on_done(void *user, const struct http_response *response)
{
	struct outcome *outcome = user;

	outcome->response = *response;
	snprintf(outcome->body, sizeof(outcome->body), "%s", response->body);
	snprintf(outcome->detail, sizeof(outcome->detail), "%s", response->detail);
	snprintf(outcome->warning, sizeof(outcome->warning), "%s", response->warning);
	outcome->calls++;
	loop_stop(outcome->loop);
}

static int on_write(void *user, const char *data, size_t len)
{
	struct outcome *outcome = user;

	if (outcome->refuse_after && outcome->streamed_len + len > outcome->refuse_after)
		return -1;
	assert_true(outcome->streamed_len + len < sizeof(outcome->streamed));
	memcpy(outcome->streamed + outcome->streamed_len, data, len);
	outcome->streamed_len += len;
	return 0;
}

static int open_counted(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	struct outcome *outcome = user;

	outcome->sockets++;
	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int open_nothing(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	(void)user;
	(void)family;
	(void)type;
	(void)protocol;
	return -EMFILE;
}

struct setup {
	struct loop *loop;
	struct http_client *client;
	struct fake_http server;
	struct outcome outcome;
};

static int set_up(void **state)
{
	struct setup *setup = calloc(1, sizeof(*setup));

	assert_non_null(setup);
	assert_int_equal(loop_new(&setup->loop), 0);
	assert_int_equal(http_client_new(setup->loop, NULL, &setup->client), 0);
	fake_http_start(&setup->server, setup->loop, "192.0.2.1");
	*state = setup;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *setup = *state;

	fake_http_stop(&setup->server);
	assert_null(http_client_free(setup->client));
	assert_null(loop_free(setup->loop));
	free(setup);
	return 0;
}

static struct http_request probe_request(struct setup *setup, const struct ip *pin)
{
	return (struct http_request){
		.url = "http://echo.example.net/",
		.pin = pin,
		.timeout_ns = 30 * NSEC_PER_SEC,
		.body_max = 4096,
		.header_max = 2048,
		.fresh = true,
		.done = on_done,
		.user = &setup->outcome,
	};
}

static const struct http_response *run(struct setup *setup, const struct http_request *request)
{
	struct http_transfer *transfer;

	setup->outcome = (struct outcome){ .loop = setup->loop,
		                           .refuse_after = setup->outcome.refuse_after };
	assert_int_equal(http_client_start(setup->client, request, &transfer), 0);
	assert_int_equal(setup->outcome.calls, 0);
	fake_loop_run(setup->loop);
	assert_int_equal(setup->outcome.calls, 1);
	return &setup->outcome.response;
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

static void tells_outcomes_apart(void **state)
{
	static char long_header[4096], many_bytes[8192];
	const struct {
		enum fake_manner manner;
		const char *reply;
		enum http_error error;
		uint16_t status;
		const char *body;
	} rows[] = {
		{ FAKE_REPLY, OK_HEAD "Content-Length: 3\r\n\r\nabc", HTTP_OK, 200, "abc" },
		{ FAKE_REPLY, OK_HEAD "\r\nabc", HTTP_OK, 200, "abc" }, /* until it closes */
		{ FAKE_REPLY, "HTTP/1.0 200 OK\r\n\r\nabc", HTTP_OK, 200, "abc" },
		{ FAKE_REPLY, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		  HTTP_OK, 200, "abc" },
		{ FAKE_REPLY, "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", HTTP_OK, 500,
		  "no" },
		{ FAKE_REPLY, "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.2/\r\n\r\n", HTTP_OK,
		  302, "" },
		{ FAKE_SILENT, NULL, HTTP_TIMEOUT, 0, "" },
		{ FAKE_HALF, OK_HEAD "Content-Length: 3\r\n\r\nab", HTTP_TIMEOUT, 200, "ab" },
		{ FAKE_HALF, "HTTP/1.1 2", HTTP_TIMEOUT, 0, "" },
		{ FAKE_REPLY, OK_HEAD "Content-Length: 3\r\n\r\nab", HTTP_RESET, 200, "ab" },
		{ FAKE_REPLY, "", HTTP_RESET, 0, "" },
		{ FAKE_RESET, NULL, HTTP_RESET, 0, "" },
		{ FAKE_REPLY, "abc\n", HTTP_PROTOCOL, 0, "" }, /* HTTP/0.9 */
		{ FAKE_REPLY, "SSH-2.0-OpenSSH_9.2\r\n\r\n", HTTP_PROTOCOL, 0, "" },
		{ FAKE_REPLY, long_header, HTTP_TOO_LARGE, 200, "" },
		{ FAKE_REPLY, many_bytes, HTTP_TOO_LARGE, 200, "" },
		/* no length, and never an end: what curl before 8.4 would take in whole */
		{ FAKE_ENDLESS, OK_HEAD "\r\n", HTTP_TOO_LARGE, 200, NULL },
		{ FAKE_ENDLESS, OK_HEAD "Content-Length: 10485760\r\n\r\n", HTTP_TOO_LARGE, 200,
		  NULL },
	};
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	char url[64];

	snprintf(long_header, sizeof(long_header), OK_HEAD "X: %02500d\r\n\r\nabc", 0);
	snprintf(many_bytes, sizeof(many_bytes), OK_HEAD "\r\n%05000d", 0);
	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_request request = probe_request(setup, &pin);
		const struct http_response *response;

		request.url = url;
		if (rows[i].error == HTTP_TIMEOUT)
			request.timeout_ns = NSEC_PER_SEC;
		setup->server.manner = rows[i].manner;
		setup->server.reply = rows[i].reply;
		response = run(setup, &request);
		if (response->error != rows[i].error)
			fail_msg("row %zu: %s: %s", i, http_error_text(response->error),
			         setup->outcome.detail);
		assert_int_equal(response->status, rows[i].status);
		if (rows[i].body)
			assert_string_equal(setup->outcome.body, rows[i].body);
		assert_true(response->connected);
		assert_int_equal(response->first_byte, rows[i].status != 0);
		assert_true(response->total_us >= response->connect_us);
		assert_memory_equal(&response->peer, &pin, sizeof(pin));
	}
	/* The endless ones were cut off, not read to the end. */
	assert_true(setup->server.sent < 8u << 20);
}

static void tells_why_no_connection(void **state)
{
	static const struct {
		const char *address;
		enum http_error error;
	} rows[] = {
		{ "192.0.2.2", HTTP_CONNECT_REFUSED }, { "198.51.100.1", HTTP_UNREACHABLE },
		{ "198.51.100.2", HTTP_UNREACHABLE },  { "198.51.100.3", HTTP_UNREACHABLE },
		{ "203.0.113.1", HTTP_UNREACHABLE },
	};
	struct setup *setup = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip pin = fake_ip(rows[i].address);
		struct http_request request = probe_request(setup, &pin);
		struct socket_opener opener = { open_counted, &setup->outcome };

		request.opener = &opener;
		if (run(setup, &request)->error != rows[i].error)
			fail_msg("%s: %s", rows[i].address,
			         http_error_text(setup->outcome.response.error));
		assert_false(setup->outcome.response.connected);
		assert_int_equal(setup->outcome.sockets, 1);
	}
}

/* A listener whose backlog is full answers no SYN. */
static void times_the_connection_out(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.3");
	struct http_request request = probe_request(setup, &pin);
	struct sockaddr_in in = { .sin_family = AF_INET };
	uint16_t port = 0;
	int fd = fake_bind(SOCK_STREAM, "192.0.2.3", &port), other[2];
	char url[64];

	assert_int_equal(listen(fd, 0), 0);
	in.sin_port = htons(port);
	inet_pton(AF_INET, "192.0.2.3", &in.sin_addr);
	for (int i = 0; i < 2; i++) {
		other[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(other[i], (struct sockaddr *)&in, sizeof(in));
	}
	snprintf(url, sizeof(url), "http://echo.example.net:%u/", port);
	request.url = url;
	request.timeout_ns = 300 * NSEC_PER_MSEC;
	assert_int_equal(run(setup, &request)->error, HTTP_CONNECT_TIMEOUT);
	assert_true(setup->outcome.response.total_us >= 290000);
	close(fd), close(other[0]), close(other[1]);
}

static void fails_locally_without_a_socket(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	struct socket_opener opener = { open_nothing, NULL };

	request.opener = &opener;
	assert_int_equal(run(setup, &request)->error, HTTP_LOCAL_ERROR);
	assert_string_equal(setup->outcome.detail, strerror(EMFILE));
}

/* A proxy named in the environment, a second probe of the same host: each connects by itself. */
static void every_probe_connects_afresh(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	char url[64];

	setenv("http_proxy", "http://203.0.113.9:3128", 1);
	snprintf(url, sizeof(url), "http://echo.example.net:%u/ip?x", setup->server.port);
	request.url = url;
	setup->server.manner = FAKE_HALF;
	setup->server.reply = OK_HEAD "Content-Length: 3\r\n\r\nabc";
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(run(setup, &request)->error, HTTP_OK);
		assert_int_equal(setup->server.accepted, i);
	}
	unsetenv("http_proxy");
	snprintf(url, sizeof(url), "Host: echo.example.net:%u\r\n", setup->server.port);
	assert_non_null(strstr(setup->server.request, "GET /ip?x HTTP/1.1\r\n"));
	assert_non_null(strstr(setup->server.request, url));
	assert_non_null(strstr(setup->server.request, "User-Agent: egress-verifier/"));
	assert_null(strstr(setup->server.request, "Accept-Encoding"));
}

/* Handles are used again; with the leak checker of SAN=1 this says whether by their own kind. */
static void shared_sessions_come_and_go(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	struct http_sessions *sessions = NULL;
	char url[64];

	assert_int_equal(http_sessions_new(&sessions), 0);
	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	request.url = url;
	setup->server.manner = FAKE_HALF;
	setup->server.reply = OK_HEAD "Content-Length: 3\r\n\r\nabc";
	for (unsigned int i = 1; i <= 6; i++) {
		request.sessions = i % 2 ? NULL : sessions;
		assert_int_equal(run(setup, &request)->error, HTTP_OK);
		assert_string_equal(setup->outcome.body, "abc");
	}
	assert_null(http_sessions_free(sessions));
}

static void says_when_to_come_again(void **state)
{
	static const struct {
		const char *value;
		uint32_t low, high;
	} rows[] = {
		{ "17", 17, 17 },
		{ "Fri, 01 Jan 2100 00:00:00 GMT", 2000000000, UINT32_MAX },
		{ "Thu, 01 Jan 1970 00:00:01 GMT", 0, 0 },
		{ "-3", 0, 0 },
		{ "soon", 0, 0 },
	};
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	static char reply[256];
	char url[64];

	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	request.url = url;
	setup->server.reply = reply;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(reply, sizeof(reply),
		         "HTTP/1.1 429 No\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
		         rows[i].value);
		assert_int_equal(run(setup, &request)->status, 429);
		assert_in_range(setup->outcome.response.retry_after_s, rows[i].low, rows[i].high);
	}
}

static void streams_until_refused(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	char url[64];

	snprintf(url, sizeof(url), "http://echo.example.net:%u/v1/events", setup->server.port);
	request.url = url;
	request.write = on_write;
	setup->server.reply = OK_HEAD "\r\ndata: 1\n\ndata: 2\n\n";
	assert_int_equal(run(setup, &request)->error, HTTP_OK);
	assert_int_equal(setup->outcome.streamed_len, 18);
	assert_memory_equal(setup->outcome.streamed, "data: 1\n\ndata: 2\n\n", 18);

	/* The body of a refusal is gathered, not streamed. */
	setup->server.reply = "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}";
	assert_int_equal(run(setup, &request)->status, 404);
	assert_string_equal(setup->outcome.body, "{}");
	assert_int_equal(setup->outcome.streamed_len, 0);

	setup->outcome.refuse_after = 5;
	setup->server.reply = OK_HEAD "\r\ndata: 1\n\n";
	assert_int_equal(run(setup, &request)->error, HTTP_ABORTED);
	setup->outcome.refuse_after = 0;

	/* An idle stream ends although it has no bound in all. */
	request.timeout_ns = 0;
	request.idle_ns = NSEC_PER_SEC;
	setup->server.manner = FAKE_HALF;
	assert_int_equal(run(setup, &request)->error, HTTP_TIMEOUT);
	assert_int_equal(setup->outcome.streamed_len, 9);
}

static void sends_what_it_is_told(void **state)
{
	static const struct {
		const char *method, *body, *line, *tail;
	} rows[] = {
		{ NULL, NULL, "GET / HTTP/1.1\r\n", "\r\n\r\n" },
		{ "HEAD", NULL, "HEAD / HTTP/1.1\r\n", "\r\n\r\n" },
		{ "POST", NULL, "POST / HTTP/1.1\r\n", "\r\n\r\n" },
		{ "POST", "{}", "POST / HTTP/1.1\r\n", "\r\n\r\n{}" },
		{ "PATCH", "{}", "PATCH / HTTP/1.1\r\n", "\r\n\r\n{}" },
		{ "DELETE", NULL, "DELETE / HTTP/1.1\r\n", "\r\n\r\n" },
	};
	static const char *const headers[] = { "Content-Type: application/json", "X-A: b" };
	static const char *const bad[] = { "X-A: b\r\nX-C: d" };
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_transfer *transfer;
	struct http_request request;
	char url[64];

	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	setup->server.reply = OK_HEAD "Content-Length: 0\r\n\r\n";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *seen = setup->server.request;

		request = probe_request(setup, &pin);
		request.url = url;
		request.method = rows[i].method;
		request.body = rows[i].body;
		request.body_len = rows[i].body ? strlen(rows[i].body) : 0;
		request.headers = headers;
		request.n_headers = 2;
		assert_int_equal(run(setup, &request)->error, HTTP_OK);
		assert_memory_equal(seen, rows[i].line, strlen(rows[i].line));
		assert_non_null(strstr(seen, "Content-Type: application/json\r\nX-A: b\r\n"));
		assert_null(strstr(seen, "Expect"));
		assert_string_equal(seen + strlen(seen) - strlen(rows[i].tail), rows[i].tail);
	}

	request.headers = bad;
	request.n_headers = 1;
	assert_int_equal(http_client_start(setup->client, &request, &transfer), -EINVAL);
}

static void tells_the_first_warning(void **state)
{
	static char long_one[512];
	static const struct {
		const char *headers, *warning;
		size_t len; /* 0: of the warning */
	} rows[] = {
		{ "", "", 0 },
		{ "Warning: 299 - \"v1 is old\"\r\n", "299 - \"v1 is old\"", 0 },
		{ "warning:\t 299 a\r\nWarning: 299 b\r\n", "299 a", 0 },
		{ "X-Warning: no\r\nWarnings: no\r\n", "", 0 },
		{ "Warning: a\x1b[2Jb\xc3\xa9\tc\r\n", "a?[2Jb???c", 0 },
		{ long_one, NULL, 255 },
	};
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	static char reply[1024];
	char url[64];

	snprintf(long_one, sizeof(long_one), "Warning: %0400d\r\n", 0);
	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	request.url = url;
	setup->server.reply = reply;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(reply, sizeof(reply), OK_HEAD "%sContent-Length: 0\r\n\r\n",
		         rows[i].headers);
		assert_int_equal(run(setup, &request)->error, HTTP_OK);
		if (rows[i].warning)
			assert_string_equal(setup->outcome.warning, rows[i].warning);
		else
			assert_int_equal(strlen(setup->outcome.warning), rows[i].len);
	}
}

/* What is gzip indeed is unpacked in kube/test_client.c, by a server that can make it. */
static void unpacks_what_it_asked_for(void **state)
{
	static const struct {
		bool gzip;
		const char *encoding, *body;
		enum http_error error;
		const char *unpacked;
	} rows[] = {
		/* Never asked for: as it came. */
		{ false, "gzip", "hello", HTTP_OK, "hello" },
		{ true, "identity", "hello", HTTP_OK, "hello" },
		{ true, "gzip", "hello", HTTP_PROTOCOL, NULL },
		{ true, "zstd-of-nobody", "hello", HTTP_PROTOCOL, NULL },
	};
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	static char reply[256];
	char url[64];

	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	request.url = url;
	setup->server.reply = reply;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		request.gzip = rows[i].gzip;
		snprintf(reply, sizeof(reply),
		         OK_HEAD "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n%s",
		         rows[i].encoding, strlen(rows[i].body), rows[i].body);
		if (run(setup, &request)->error != rows[i].error)
			fail_msg("row %zu: %s: %s", i,
			         http_error_text(setup->outcome.response.error),
			         setup->outcome.detail);
		if (rows[i].unpacked)
			assert_string_equal(setup->outcome.body, rows[i].unpacked);
		assert_int_equal(strstr(setup->server.request, "Accept-Encoding: gzip\r\n") != NULL,
		                 rows[i].gzip);
	}
}

static void talks_over_a_unix_socket(void **state)
{
	struct setup *setup = *state;
	struct http_request request = probe_request(setup, NULL);
	struct sockaddr_un_like {
		sa_family_t family;
		char path[108];
	} un = { .family = AF_UNIX };

	snprintf(un.path, sizeof(un.path), "/tmp/eva-http-client-%d", (int)getpid());
	unlink(un.path);
	loop_remove(&setup->server.source);
	close(setup->server.fd);
	setup->server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(setup->server.fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(setup->server.fd, 4), 0);
	assert_int_equal(loop_add(setup->loop, &setup->server.source, setup->server.fd, EPOLLIN,
	                          fake_on_connect),
	                 0);
	setup->server.reply = OK_HEAD "Content-Length: 3\r\n\r\nabc";
	request.url = "http://localhost/v1/status";
	request.unix_path = un.path;
	assert_int_equal(run(setup, &request)->error, HTTP_OK);
	assert_string_equal(setup->outcome.body, "abc");
	unlink(un.path);

	assert_int_equal(run(setup, &request)->error, HTTP_LOCAL_ERROR);
}

static void refuses_what_is_no_url(void **state)
{
	static const char *const urls[] = { "file:///etc/passwd", "gopher://a/", "http://", "x y" };
	struct setup *setup = *state;

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct http_request request = probe_request(setup, NULL);

		request.url = urls[i];
		if (run(setup, &request)->error != HTTP_BAD_URL)
			fail_msg("%s: %s", urls[i], setup->outcome.detail);
	}
}

static void cancels(void **state)
{
	struct setup *setup = *state;
	struct ip pin = fake_ip("192.0.2.1");
	struct http_request request = probe_request(setup, &pin);
	struct http_transfer *transfers[3];
	char url[64];

	snprintf(url, sizeof(url), "http://echo.example.net:%u/", setup->server.port);
	request.url = url;
	setup->server.reply = OK_HEAD "Content-Length: 3\r\n\r\nabc";
	setup->outcome = (struct outcome){ .loop = setup->loop };
	for (int i = 0; i < 3; i++)
		assert_int_equal(http_client_start(setup->client, &request, &transfers[i]), 0);
	http_transfer_cancel(transfers[0]);
	http_transfer_cancel(transfers[2]);
	fake_loop_run(setup->loop);
	assert_int_equal(setup->outcome.calls, 1);

	/* And those that still run when the client goes. */
	assert_int_equal(http_client_start(setup->client, &request, &transfers[0]), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(tells_outcomes_apart),        TEST(tells_why_no_connection),
		TEST(times_the_connection_out),    TEST(fails_locally_without_a_socket),
		TEST(every_probe_connects_afresh), TEST(shared_sessions_come_and_go),
		TEST(says_when_to_come_again),     TEST(streams_until_refused),
		TEST(sends_what_it_is_told),       TEST(talks_over_a_unix_socket),
		TEST(refuses_what_is_no_url),      TEST(cancels),
		TEST(tells_the_first_warning),     TEST(unpacks_what_it_asked_for),
	};

	return cmocka_run_group_tests(tests, fake_namespace, NULL);
}
