#include "test.h"

#include <ctype.h>
#include <signal.h>
#include <sys/mman.h>

#include "confined.h"
#include "io/dns_client.h"
#include "io/http_client.h"
#include "io/udp_client.h"
#include "io/udp_server.h"

/* What a client made of its question: the same, whoever opened its sockets. */
struct result {
	int outcome, error;
	uint16_t status;
	bool connected, secured;
	struct ip peer;
	char text[256];
};

struct servers {
	struct fake_http http;
	struct fake_dns dns;
	struct udp_server *udp;
	uint16_t udp_port;
};

struct question {
	struct loop *loop;
	const struct servers *servers;
	void (*ask)(struct question *question);
	const char *peer;
	uint16_t port;
	const struct socket_opener *opener;
	struct result result;
	struct result *shared;
};

static char folder[] = "/tmp/eva-confined.XXXXXX", bundle[64];

/* The number of milliseconds in libcurl's words is not the same each time. */
static void set_text(struct result *result, const char *text)
{
	size_t n = 0;

	for (; *text && n < sizeof(result->text) - 1; text++)
		if (!isdigit((unsigned char)*text))
			result->text[n++] = *text;
	result->text[n] = '\0';
}

/* HTTP */

static void on_http(void *user, const struct http_response *response)
{
	struct question *question = user;

	question->result = (struct result){
		.outcome = (int)response->error,
		.status = response->status,
		.connected = response->connected,
		.secured = response->secured,
		.peer = response->peer,
	};
	set_text(&question->result, response->error == HTTP_OK ? response->body : response->detail);
	loop_stop(question->loop);
}

static void ask_url(struct question *question, const char *scheme, uint16_t port)
{
	struct ip pin = fake_ip(question->peer);
	struct http_transfer *transfer;
	struct http_client *client;
	char url[64];
	struct http_request request = {
		.url = url,
		.pin = &pin,
		.timeout_ns = 30 * NSEC_PER_SEC,
		.body_max = 4096,
		.fresh = true,
		.opener = question->opener,
		.done = on_http,
		.user = question,
	};

	snprintf(url, sizeof(url), "%s://echo.example.net:%u/", scheme, port);
	check(http_client_new(question->loop, bundle, &client) == 0);
	check(http_client_start(client, &request, &transfer) == 0);
	fake_loop_run(question->loop);
	http_client_free(client);
}

static void ask_http(struct question *question)
{
	ask_url(question, "http", question->port ? question->port : question->servers->http.port);
}

static void ask_https(struct question *question)
{
	ask_url(question, "https", 8443);
}

/* DNS */

static void on_dns(void *user, const struct dns_answer *answer)
{
	struct question *question = user;

	question->result = (struct result){ .outcome = (int)answer->outcome };
	if (answer->n)
		question->result.peer = answer->address[0];
	loop_stop(question->loop);
}

static void ask_dns(struct question *question)
{
	struct dns_servers servers = {
		.address = { fake_ip(question->peer) },
		.port = { question->port ? question->port : question->servers->dns.port },
		.n = 1,
	};
	struct dns_request request = {
		.name = "echo.example.net",
		.servers = &servers,
		.opener = question->opener,
		.timeout_ns = 30 * NSEC_PER_SEC,
		.fn = on_dns,
		.user = question,
	};
	struct dns_query *query;

	check(dns_query_new(question->loop, &request, &query) == 0);
	fake_loop_run(question->loop);
	dns_query_free(query);
}

/* UDP */

static size_t on_datagram(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                          uint16_t port, uint8_t out[static UDP_ANSWER_MAX])
{
	(void)user;
	(void)peer;
	(void)port;
	memcpy(out, data, len);
	return len;
}

static bool on_accept(void *user, const uint8_t *data, size_t len)
{
	(void)user;
	return len == 5 && memcmp(data, "hello", 5) == 0;
}

static void on_udp(void *user, enum udp_outcome outcome, int error)
{
	struct question *question = user;

	question->result = (struct result){ .outcome = (int)outcome, .error = error };
	loop_stop(question->loop);
}

static void ask_udp(struct question *question)
{
	struct udp_request request = {
		.peer = fake_ip(question->peer),
		.port = question->port ? question->port : question->servers->udp_port,
		.data = "hello",
		.len = 5,
		.timeout_ns = 30 * NSEC_PER_SEC,
		.opener = question->opener,
		.accept = on_accept,
		.done = on_udp,
		.user = question,
	};
	struct udp_exchange *exchange;
	int r = udp_exchange_new(question->loop, &request, &exchange);

	if (r < 0) {
		question->result = (struct result){ .outcome = -1, .error = r };
		return;
	}
	fake_loop_run(question->loop);
	udp_exchange_free(exchange);
}

/* Both ways */

static const struct privileged broker = { .connect = confined_connect };

static void in_child(void *arg)
{
	struct question *question = arg;

	/* The loop that was inherited is the parent's. */
	check(loop_new(&question->loop) == 0);
	question->ask(question);
	*question->shared = question->result;
}

/* By itself first, with a result of `question`; then confined, with the one returned. */
static struct result ask_both(struct question *question)
{
	static struct result *shared;
	struct loop *loop = question->loop;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	memset(shared, 0, sizeof(*shared));
	question->shared = shared;

	question->ask(question);
	run_confined(loop, &broker, in_child, question);
	return *shared;
}

static void start_servers(struct servers *servers, struct loop *loop)
{
	struct ip any = fake_ip("0.0.0.0");

	servers->http.manner = FAKE_REPLY;
	servers->http.reply = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
	fake_http_start(&servers->http, loop, "192.0.2.1");
	servers->dns.addresses[0] = "192.0.2.77";
	fake_dns_start(&servers->dns, loop, "192.0.2.1");
	servers->udp_port = 4321;
	assert_int_equal(
		udp_server_new(loop, &any, servers->udp_port, on_datagram, NULL, &servers->udp), 0);
}

static void stop_servers(struct servers *servers)
{
	fake_http_stop(&servers->http);
	fake_dns_stop(&servers->dns);
	servers->udp = udp_server_free(servers->udp);
}

#define CLOSED_PORT 9

static void a_confined_client_sees_the_same(void **state)
{
	static const struct {
		void (*ask)(struct question *question);
		const char *peer;
		uint16_t port; /* 0: the server's */
		int manner;    /* of the name server */
		int outcome, error;
		bool connected;
	} rows[] = {
		{ ask_http, "192.0.2.1", 0, 0, HTTP_OK, 0, true },
		{ ask_http, "192.0.2.1", CLOSED_PORT, 0, HTTP_CONNECT_REFUSED, 0, false },
		{ ask_http, "198.51.100.1", 80, 0, HTTP_UNREACHABLE, 0, false }, /* unreachable */
		{ ask_http, "198.51.100.2", 80, 0, HTTP_UNREACHABLE, 0, false }, /* prohibit */
		{ ask_http, "198.51.100.3", 80, 0, HTTP_UNREACHABLE, 0, false }, /* blackhole */
		{ ask_http, "203.0.113.1", 80, 0, HTTP_UNREACHABLE, 0, false },  /* no route */
		{ ask_dns, "192.0.2.1", 0, FAKE_DNS_ANSWER, DNS_FOUND, 0, false },
		{ ask_dns, "192.0.2.1", 0, FAKE_DNS_TRUNCATED, DNS_FOUND, 0, false }, /* TCP */
		{ ask_dns, "192.0.2.1", 0, FAKE_DNS_RCODE + 5, DNS_REFUSED, 0, false },
		{ ask_dns, "192.0.2.1", CLOSED_PORT, 0, DNS_UNREACHABLE, 0, false },
		{ ask_dns, "198.51.100.1", 53, 0, DNS_UNREACHABLE, 0, false },
		{ ask_dns, "198.51.100.2", 53, 0, DNS_UNREACHABLE, 0, false },
		{ ask_dns, "198.51.100.3", 53, 0, DNS_UNREACHABLE, 0, false },
		{ ask_dns, "203.0.113.1", 53, 0, DNS_UNREACHABLE, 0, false },
		{ ask_udp, "192.0.2.1", 0, 0, UDP_ANSWERED, 0, false },
		{ ask_udp, "192.0.2.1", CLOSED_PORT, 0, UDP_REFUSED, ECONNREFUSED, false },
		{ ask_udp, "198.51.100.1", 80, 0, UDP_UNREACHABLE, EHOSTUNREACH, false },
		{ ask_udp, "198.51.100.2", 80, 0, UDP_UNREACHABLE, EACCES, false },
		{ ask_udp, "198.51.100.3", 80, 0, UDP_UNREACHABLE, EINVAL, false },
		{ ask_udp, "203.0.113.1", 80, 0, UDP_UNREACHABLE, ENETUNREACH, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct servers servers = { .dns.manner = rows[i].manner };
		struct question question = {
			.servers = &servers,
			.ask = rows[i].ask,
			.peer = rows[i].peer,
			.port = rows[i].port,
		};
		struct result confined;

		assert_int_equal(loop_new(&question.loop), 0);
		start_servers(&servers, question.loop);
		confined = ask_both(&question);
		if (question.result.outcome != rows[i].outcome ||
		    question.result.error != rows[i].error ||
		    question.result.connected != rows[i].connected)
			fail_msg("row %zu: outcome %d error %d: %s", i, question.result.outcome,
			         question.result.error, question.result.text);
		if (memcmp(&confined, &question.result, sizeof(confined)) != 0)
			fail_msg("row %zu: confined outcome %d error %d \"%s\", by itself \"%s\"",
			         i, confined.outcome, confined.error, confined.text,
			         question.result.text);
		stop_servers(&servers);
		assert_null(loop_free(question.loop));
	}
}

static int fail_opening(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)family;
	(void)type;
	(void)protocol;
	(void)peer;
	return *(int *)user;
}

/* The peer is not to blame when there was nothing to try it with. */
static void what_fails_before_is_local(void **state)
{
	static const struct {
		void (*ask)(struct question *question);
		int outcome;
		bool result; /* the error is returned at once */
	} rows[] = {
		{ ask_http, HTTP_LOCAL_ERROR, false },
		{ ask_dns, DNS_LOCAL_ERROR, false },
		{ ask_udp, -1, true },
	};
	static const int errors[] = { EMFILE, ENOMEM, ESTALE, ENOENT, EAGAIN, EPIPE, ETIMEDOUT };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
			int error = -errors[k];
			struct socket_opener opener = { fail_opening, &error };
			struct servers servers = { 0 };
			struct question question = {
				.servers = &servers,
				.ask = rows[i].ask,
				.peer = "192.0.2.1",
				.port = 80,
				.opener = &opener,
			};
			struct result confined;

			assert_int_equal(loop_new(&question.loop), 0);
			confined = ask_both(&question);
			assert_int_equal(confined.outcome, rows[i].outcome);
			assert_int_equal(confined.error, rows[i].result ? error : 0);
			assert_memory_equal(&confined, &question.result, sizeof(confined));
			assert_null(loop_free(question.loop));
		}
}

/* TLS */

static const char tls_server[] =
	"import os, socket, ssl, sys\n"
	"c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"c.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')\n"
	"l = socket.create_server(('192.0.2.1', 8443))\n"
	"os.write(1, b'ready')\n"
	"while True:\n"
	"    s, _ = l.accept()\n"
	"    try:\n"
	"        t = c.wrap_socket(s, server_side=True)\n"
	"        t.recv(4096)\n"
	"        t.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello')\n"
	"        t.close()\n"
	"    except OSError:\n"
	"        s.close()\n";

static void tls_goes_on_as_well(void **state)
{
	struct question question = { .ask = ask_https, .peer = "192.0.2.1" };
	struct result confined;
	char line[8] = "";
	int ends[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		execlp("python3", "python3", "-c", tls_server, folder, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
	close(ends[0]);

	assert_int_equal(loop_new(&question.loop), 0);
	confined = ask_both(&question);
	assert_int_equal(question.result.outcome, HTTP_OK);
	assert_true(question.result.secured);
	assert_string_equal(question.result.text, "hello");
	assert_memory_equal(&confined, &question.result, sizeof(confined));
	assert_null(loop_free(question.loop));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* What the filter of this test is worth */

static void try_by_itself(void *arg)
{
	struct sockaddr_storage to;
	struct ip peer = fake_ip("192.0.2.1");
	socklen_t len = probe_socket_address(&peer, 4321, &to);
	int fd = -1;

	(void)arg;
	check(socket(AF_INET, SOCK_DGRAM, 0) < 0 && errno == EPERM);
	check(confined_connect(-1, SOCK_DGRAM, &peer, 4321, &fd) == 0);
	check(connect(fd, (struct sockaddr *)&to, len) < 0 && errno == EINPROGRESS);
	check(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, len) < 0 && errno == EPERM);
	check(sendto(fd, "x", 1, MSG_FASTOPEN, NULL, 0) < 0 && errno == EPERM);
	check(send(fd, "x", 1, 0) == 1);
}

static void the_filter_bites(void **state)
{
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	run_confined(loop, &broker, try_by_itself, NULL);
	assert_null(loop_free(loop));
}

static int set_up(void **state)
{
	static const char certificate[] =
		"cd %s && openssl req -x509 -newkey ec -nodes -days 2 -pkeyopt "
		"ec_paramgen_curve:P-256 -subj /CN=echo -keyout key.pem -out cert.pem "
		"-addext subjectAltName=DNS:echo.example.net 2>/dev/null";
	char command[512];

	assert_non_null(mkdtemp(folder));
	snprintf(bundle, sizeof(bundle), "%s/cert.pem", folder);
	snprintf(command, sizeof(command), certificate, folder);
	fake_run(command);
	return fake_namespace(state);
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	fake_run(command);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_filter_bites),
		cmocka_unit_test(a_confined_client_sees_the_same),
		cmocka_unit_test(what_fails_before_is_local),
		cmocka_unit_test(tls_goes_on_as_well),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
