#include "test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fake.h"
#include "io/udp_server.h"
#include "limits.h"
#include "probe/echo.h"
#include "probe/prober.h"

#define RESULTS_MAX 64
#define OK "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

struct setup {
	struct loop *loop;
	struct prober *prober;
	struct prober *hasty; /* for those that never answer */
	struct fake_http http;
	struct probe_result results[RESULTS_MAX];
	size_t n, wanted;
	bool again; /* each result cancels its subject and asks once more */
	int sockets;
};

#define RESOLV_CONF_TEXT "nameserver 127.0.0.53\nnameserver 192.0.2.1\n"

/* What is to be answered has the time that a loaded machine takes. */
#define PATIENT_NS (30 * NSEC_PER_SEC)
#define HASTY_NS NSEC_PER_SEC

static char folder[] = "/tmp/eva-prober-XXXXXX";

static void on_result(void *user, const struct probe_result *result)
{
	struct setup *setup = user;

	assert_true(setup->n < RESULTS_MAX);
	setup->results[setup->n++] = *result;
	if (setup->again) {
		prober_cancel(setup->prober, result->subject);
		setup->again = false;
	}
	if (setup->n == setup->wanted)
		loop_stop(setup->loop);
}

static int open_counted(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	(*(int *)user)++;
	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int open_nothing(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	(void)user;
	(void)family;
	(void)type;
	(void)protocol;
	return -ESRCH; /* the namespace is gone */
}

static const char *in_folder(const char *name)
{
	static char path[4][64];
	static unsigned int next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
	return path[next];
}

static void start_prober(struct setup *setup, const struct prober_echo *echoes, size_t n,
                         unsigned int in_flight, bool resume)
{
	struct prober_options options = {
		.echoes = echoes,
		.n_echoes = n,
		.timeout_ns = PATIENT_NS,
		.in_flight = in_flight,
		.resolv_conf = in_folder("resolv.conf"),
		.ca_bundle = in_folder("cert.pem"),
		.resume_tls = resume,
	};

	*setup = (struct setup){ 0 };
	assert_int_equal(loop_new(&setup->loop), 0);
	assert_int_equal(
		prober_new(setup->loop, &options, on_result, setup, NULL, NULL, &setup->prober), 0);
	options.timeout_ns = HASTY_NS;
	assert_int_equal(
		prober_new(setup->loop, &options, on_result, setup, NULL, NULL, &setup->hasty), 0);
}

static void stop_prober(struct setup *setup)
{
	assert_null(prober_free(setup->prober));
	assert_null(prober_free(setup->hasty));
	if (setup->http.source.loop)
		fake_http_stop(&setup->http);
	assert_null(loop_free(setup->loop));
}

static void start(struct setup *setup, uint32_t subject, uint16_t echo)
{
	struct prober_request request = {
		.subject = subject,
		.generation = subject + 100,
		.round = 5,
		.echo = echo,
		.opener = { open_counted, &setup->sockets },
	};

	assert_int_equal(prober_start(setup->prober, &request), 0);
}

static const struct probe_result *ask(struct setup *setup, uint16_t echo)
{
	setup->n = 0;
	setup->wanted = 1;
	start(setup, 1, echo);
	assert_int_equal(setup->n, 0); /* only from the loop */
	fake_loop_run(setup->loop);
	assert_int_equal(setup->n, 1);
	assert_int_equal(prober_pending(setup->prober), 0);
	return &setup->results[0];
}

static const struct probe_result *ask_hastily(struct setup *setup, uint16_t echo)
{
	struct prober *patient = setup->prober;
	const struct probe_result *result;

	setup->prober = setup->hasty;
	result = ask(setup, echo);
	setup->prober = patient;
	return result;
}

static void expect(const struct probe_result *result, enum probe_outcome outcome,
                   enum probe_phase phase)
{
	if (result->outcome != outcome || result->phase != phase)
		fail_msg("%s in %s, not %s in %s: %s", probe_outcome_name(result->outcome),
		         probe_phase_name(result->phase), probe_outcome_name(outcome),
		         probe_phase_name(phase), result->detail);
	assert_int_equal(result->subject, 1);
	assert_int_equal(result->generation, 101);
	assert_int_equal(result->round, 5);
	assert_true(result->finished.mono_ns > result->started.mono_ns);
	for (int i = phase + 1; i < PROBE_TOTAL; i++)
		assert_int_equal(result->phase_us[i], 0);
	for (const char *c = result->detail; *c; c++)
		assert_in_range(*c, ' ', '~');
}

/* Each way in which an echo was seen to lie, stall or break. */
static void names_each_misbehaviour(void **state)
{
	static char long_body[8192];
	const struct {
		enum fake_manner manner;
		const char *reply;
		enum probe_outcome outcome;
		enum probe_phase phase;
	} rows[] = {
		{ FAKE_REPLY, OK "\r\n203.0.113.7\n", PROBE_ANSWERED, PROBE_TOTAL },
		{ FAKE_REPLY, OK "\r\n10.0.1.8\n", PROBE_ANSWERED, PROBE_TOTAL },
		{ FAKE_SILENT, NULL, PROBE_TIMEOUT, PROBE_FIRST_BYTE },
		{ FAKE_HALF, OK "Content-Length: 20\r\n\r\n203.0.113.7\n", PROBE_TIMEOUT,
		  PROBE_TOTAL },
		{ FAKE_REPLY, OK "Content-Length: 20\r\n\r\n203.0.113.7\n", PROBE_RESET,
		  PROBE_TOTAL },
		{ FAKE_REPLY, "HTTP/1.1 500 Oops\r\n\r\n203.0.113.7\n", PROBE_HTTP_STATUS,
		  PROBE_TOTAL },
		{ FAKE_REPLY, "HTTP/1.1 204 No\r\n\r\n", PROBE_HTTP_STATUS, PROBE_TOTAL },
		{ FAKE_REPLY, "HTTP/1.1 404 No\r\n\r\n", PROBE_HTTP_STATUS, PROBE_TOTAL },
		{ FAKE_REPLY, "HTTP/1.1 429 Slow\r\nRetry-After: 9\r\n\r\n", PROBE_RATE_LIMITED,
		  PROBE_TOTAL },
		{ FAKE_REPLY, "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n203.0.113.7",
		  PROBE_REDIRECT, PROBE_TOTAL },
		{ FAKE_REPLY, OK "\r\n<html>\x1b[31m203.0.113.7</html>", PROBE_UNPARSEABLE,
		  PROBE_TOTAL },
		{ FAKE_REPLY, OK "\r\n203.0.113.7\n203.0.113.8\n", PROBE_UNPARSEABLE, PROBE_TOTAL },
		{ FAKE_REPLY, OK "\r\n", PROBE_UNPARSEABLE, PROBE_TOTAL },
		{ FAKE_REPLY, OK "\r\n127.0.0.1\n", PROBE_IMPLAUSIBLE, PROBE_TOTAL },
		{ FAKE_REPLY, "203.0.113.7\n", PROBE_UNPARSEABLE, PROBE_FIRST_BYTE },
		{ FAKE_REPLY, long_body, PROBE_TOO_LARGE, PROBE_TOTAL },
		{ FAKE_ENDLESS, OK "Content-Length: 10485760\r\n\r\n", PROBE_TOO_LARGE,
		  PROBE_TOTAL },
		{ FAKE_ENDLESS, "HTTP/1.1 503 Busy\r\n\r\n", PROBE_HTTP_STATUS, PROBE_TOTAL },
		{ FAKE_RESET, NULL, PROBE_RESET, PROBE_FIRST_BYTE },
	};
	const struct prober_echo echo = { .name = "e",
		                          .url = "http://echo.example.net:8080/",
		                          .has_resolve = true,
		                          .resolve = fake_ip("192.0.2.1") };
	const struct prober_counts *counts;
	struct ip observed = fake_ip("203.0.113.7");
	struct setup setup;

	(void)state;
	snprintf(long_body, sizeof(long_body), OK "\r\n%05000d", 0);
	start_prober(&setup, &echo, 1, 0, false);
	setup.http.port = 8080;
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct probe_result *result;

		setup.http.manner = rows[i].manner;
		setup.http.reply = rows[i].reply;
		result = rows[i].outcome == PROBE_TIMEOUT ? ask_hastily(&setup, 0) : ask(&setup, 0);
		expect(result, rows[i].outcome, rows[i].phase);
		assert_int_equal(result->peer_port, 8080);
		assert_memory_equal(&result->peer, &echo.resolve, sizeof(result->peer));
		assert_int_equal(result->retry_after_s,
		                 rows[i].outcome == PROBE_RATE_LIMITED ? 9 : 0);
		if (i == 0)
			assert_memory_equal(&result->observed, &observed, sizeof(observed));
	}
	counts = prober_counts(setup.prober);
	assert_int_equal(counts->attempts[0] + prober_counts(setup.hasty)->attempts[0],
	                 sizeof(rows) / sizeof(rows[0]));
	assert_int_equal(counts->failures[0][PROBE_HTTP_STATUS], 4);
	assert_int_equal(counts->failures[0][PROBE_ANSWERED], 0);
	stop_prober(&setup);
}

static void names_why_there_is_no_connection(void **state)
{
	static const struct prober_echo echoes[] = {
		{ .name = "a", .url = "http://192.0.2.1:9/" },
		{ .name = "b", .url = "http://198.51.100.1/" },
		{ .name = "c", .url = "http://203.0.113.1/" },
		{ .name = "d", .stun = "192.0.2.1:9" },
		{ .name = "e", .stun = "198.51.100.1" },
	};
	struct prober_request nowhere = {
		.subject = 1, .generation = 101, .round = 5, .opener = { open_nothing, NULL }
	};
	struct setup setup;

	(void)state;
	start_prober(&setup, echoes, 5, 0, false);
	expect(ask(&setup, 0), PROBE_CONNECT_REFUSED, PROBE_CONNECT);
	expect(ask(&setup, 1), PROBE_UNREACHABLE, PROBE_CONNECT);
	expect(ask(&setup, 2), PROBE_UNREACHABLE, PROBE_CONNECT);
	expect(ask(&setup, 3), PROBE_CONNECT_REFUSED, PROBE_CONNECT);
	assert_true(setup.results[0].udp);
	expect(ask(&setup, 4), PROBE_UNREACHABLE, PROBE_CONNECT);

	for (uint16_t i = 0; i < 5; i += 3) {
		nowhere.echo = i;
		setup.n = 0;
		assert_int_equal(prober_start(setup.prober, &nowhere), 0);
		fake_loop_run(setup.loop);
		expect(&setup.results[0], PROBE_LOCAL_ERROR, PROBE_CONNECT);
		assert_string_equal(setup.results[0].detail, strerror(ESRCH));
	}
	stop_prober(&setup);
}

/* The fake server's port is the resolver's own: 53, in the namespace of the test. */
static void resolves_in_the_namespace(void **state)
{
	static const struct {
		int manner;
		const char *addresses[3];
		enum probe_outcome outcome;
		enum probe_phase phase;
	} rows[] = {
		{ FAKE_DNS_ANSWER, { "192.0.2.1" }, PROBE_ANSWERED, PROBE_TOTAL },
		{ FAKE_DNS_ANSWER, { "127.0.0.1", "192.0.2.1" }, PROBE_ANSWERED, PROBE_TOTAL },
		/* a resolver that would lead us to what only this namespace can reach */
		{ FAKE_DNS_ANSWER, { "127.0.0.1" }, PROBE_RESOLVE_FAILED, PROBE_RESOLVE },
		{ FAKE_DNS_ANSWER, { "169.254.169.254" }, PROBE_RESOLVE_FAILED, PROBE_RESOLVE },
		{ FAKE_DNS_RCODE + 3, { NULL }, PROBE_RESOLVE_FAILED, PROBE_RESOLVE },
		{ FAKE_DNS_RCODE + 5, { NULL }, PROBE_RESOLVE_FAILED, PROBE_RESOLVE },
		{ FAKE_DNS_EMPTY, { NULL }, PROBE_RESOLVE_FAILED, PROBE_RESOLVE },
		{ FAKE_DNS_SILENT, { NULL }, PROBE_RESOLVE_TIMEOUT, PROBE_RESOLVE },
	};
	static const struct prober_echo echo = { .name = "e",
		                                 .url = "http://echo.example.net:8080/" };
	struct fake_dns dns = { .port = 53 };
	struct setup setup;

	(void)state;
	start_prober(&setup, &echo, 1, 0, false);
	setup.http.port = 8080;
	setup.http.reply = OK "\r\n203.0.113.7\n";
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");
	fake_dns_start(&dns, setup.loop, "192.0.2.1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct probe_result *result;

		dns.manner = rows[i].manner;
		memcpy(dns.addresses, rows[i].addresses, sizeof(rows[i].addresses));
		setup.sockets = 0;
		result = rows[i].outcome == PROBE_RESOLVE_TIMEOUT ? ask_hastily(&setup, 0)
		                                                  : ask(&setup, 0);
		expect(result, rows[i].outcome, rows[i].phase);
		assert_true(result->phase_us[PROBE_RESOLVE] > 0);
		assert_true(setup.sockets >= (rows[i].outcome == PROBE_ANSWERED ? 2 : 1));
	}
	fake_dns_stop(&dns);
	expect(ask(&setup, 0), PROBE_RESOLVE_FAILED, PROBE_RESOLVE); /* nobody there */
	stop_prober(&setup);
}

/* On loopback of its own namespace a pod could tell where the echo is. */
static void asks_no_loopback_of_a_pod(void **state)
{
	static const struct prober_echo echo = { .name = "e",
		                                 .url = "http://echo.example.net:8080/" };
	struct prober_request request = { .subject = PROBE_SUBJECT_NODE };
	struct fake_dns dns = { .port = 53, .addresses = { "192.0.2.1" } };
	struct setup setup;

	(void)state;
	fake_write(in_folder("resolv.conf"), "nameserver 127.0.0.1\nnameserver ::1\n");
	start_prober(&setup, &echo, 1, 0, false);
	setup.http.port = 8080;
	setup.http.reply = OK "\r\n203.0.113.7\n";
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");
	fake_dns_start(&dns, setup.loop, "127.0.0.1");

	expect(ask(&setup, 0), PROBE_LOCAL_ERROR, PROBE_RESOLVE);
	assert_int_equal(setup.sockets, 0);
	/* The node's own is asked there. */
	setup.n = 0;
	assert_int_equal(prober_start(setup.prober, &request), 0);
	fake_loop_run(setup.loop);
	assert_int_equal(setup.results[0].outcome, PROBE_ANSWERED);

	fake_dns_stop(&dns);
	stop_prober(&setup);
	fake_write(in_folder("resolv.conf"), RESOLV_CONF_TEXT);
}

static size_t answer_stun(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                          uint16_t port, uint8_t out[static UDP_ANSWER_MAX])
{
	(void)user;
	return echo_datagram(data, len, peer, port, out);
}

static void asks_over_udp(void **state)
{
	static const struct prober_echo echoes[] = { { .name = "a", .stun = "192.0.2.2:3478" },
		                                     { .name = "b", .stun = "192.0.2.3:3479" } };
	struct ip any = fake_ip("0.0.0.0"), self = fake_ip("192.0.2.2");
	struct udp_server *server;
	struct setup setup;
	uint16_t port = 3479;
	int silent;

	(void)state;
	start_prober(&setup, echoes, 2, 0, false);
	silent = fake_bind(SOCK_DGRAM, "192.0.2.3", &port);
	assert_int_equal(udp_server_new(setup.loop, &any, 3478, answer_stun, NULL, &server), 0);
	expect(ask(&setup, 0), PROBE_ANSWERED, PROBE_TOTAL);
	assert_memory_equal(&setup.results[0].observed, &self, sizeof(self));
	assert_true(setup.results[0].phase_us[PROBE_FIRST_BYTE] > 0);
	expect(ask_hastily(&setup, 1), PROBE_TIMEOUT, PROBE_FIRST_BYTE);
	assert_null(udp_server_free(server));
	close(silent);
	stop_prober(&setup);
}

static void one_result_each_in_bounds(void **state)
{
	static const struct prober_echo echo = { .name = "e", .url = "http://192.0.2.1:8080/" };
	struct setup setup;

	(void)state;
	start_prober(&setup, &echo, 1, 4, false);
	setup.http.port = 8080;
	setup.http.reply = OK "\r\n203.0.113.7\n";
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");
	setup.wanted = 40;
	for (uint32_t i = 0; i < 40; i++)
		start(&setup, i, 0);
	assert_int_equal(prober_pending(setup.prober), 40);
	fake_loop_run(setup.loop);
	assert_int_equal(prober_pending(setup.prober), 0);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(setup.results[i].outcome, PROBE_ANSWERED);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(setup.results[i].subject, setup.results[j].subject);
	}
	stop_prober(&setup);
}

static void cancelled_ones_bring_nothing(void **state)
{
	static const struct prober_echo echo = { .name = "e", .url = "http://192.0.2.1:8080/" };
	struct setup setup;

	(void)state;
	start_prober(&setup, &echo, 1, 2, false);
	setup.http.port = 8080;
	setup.http.reply = OK "\r\n203.0.113.7\n";
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");

	/* Subject 1 runs and waits; the first result, whosever, cancels its own subject. */
	for (int i = 0; i < 3; i++)
		start(&setup, 1, 0);
	start(&setup, 2, 0);
	start(&setup, PROBE_SUBJECT_NODE, 0);
	setup.wanted = 3;
	setup.again = true;
	fake_loop_run(setup.loop);
	assert_int_equal(setup.results[0].subject, 1);
	assert_int_equal(prober_counts(setup.prober)->cancelled, 2);
	assert_int_equal(prober_pending(setup.prober), 0);

	/* Those that run or wait when it ends are dropped. */
	for (int i = 0; i < 5; i++)
		start(&setup, 1, 0);
	stop_prober(&setup);
	assert_int_equal(setup.n, 3);
}

static void refuses_past_the_queue(void **state)
{
	static const struct prober_echo echo = { .name = "e", .url = "http://192.0.2.1:8080/" };
	struct prober_request request = { .subject = 1, .round = 3 };
	struct probe_result result;
	struct setup setup;

	(void)state;
	start_prober(&setup, &echo, 1, 2, false);
	for (int i = 0; i < PROBES_QUEUED_MAX; i++)
		assert_int_equal(prober_start(setup.prober, &request), 0);
	assert_int_equal(prober_start(setup.prober, &request), -EBUSY);
	assert_int_equal(prober_counts(setup.prober)->refused, 1);
	probe_result_skipped(setup.prober, &request, "the queue is\nfull", &result);
	assert_int_equal(result.outcome, PROBE_SKIPPED);
	assert_int_equal(result.round, 3);
	assert_string_equal(result.detail, "the queue is?full");
	stop_prober(&setup);
}

static void refuses_bad_echoes(void **state)
{
	static const struct prober_echo echoes[] = {
		{ .name = "a", .url = "http://192.0.2.1/" },
		{ .name = "b", .url = "ftp://192.0.2.1/" },
	};
	struct prober_options options = { .echoes = echoes, .n_echoes = 2 };
	const char *reason = NULL;
	struct prober *prober = NULL;
	struct loop *loop;
	size_t which = 9;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(prober_new(loop, &options, on_result, NULL, &reason, &which, &prober),
	                 -EINVAL);
	assert_int_equal(which, 1);
	assert_non_null(reason);
	assert_null(prober);
	assert_null(loop_free(loop));
}

/* TLS, against OpenSSL's own server side */

static const char tls_server[] =
	"import os, socket, ssl, sys\n"
	"c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"c.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')\n"
	"l = socket.create_server(('192.0.2.1', 8443))\n"
	"os.write(1, b'ready')\n" /* once: nobody reads after it */
	"while True:\n"
	"    s, _ = l.accept()\n"
	"    try:\n"
	"        t = c.wrap_socket(s, server_side=True)\n"
	"        t.recv(4096)\n"
	"        body = '203.0.113.%d\\n' % (2 if t.session_reused else 1)\n"
	"        t.sendall(('HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s' %\n"
	"                   (len(body), body)).encode())\n"
	"        t.close()\n"
	"    except OSError:\n"
	"        s.close()\n";

static pid_t start_tls_server(void)
{
	char line[16] = "";
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
		dup2(ends[1], STDOUT_FILENO);
		execlp("python3", "python3", "-c", tls_server, folder, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_true(read(ends[0], line, sizeof(line)) > 0);
	assert_memory_equal(line, "ready", 5);
	close(ends[0]);
	return pid;
}

static void last_byte(const struct probe_result *result, uint8_t expected)
{
	expect(result, PROBE_ANSWERED, PROBE_TOTAL);
	assert_int_equal(result->observed.b[15], expected);
	assert_true(result->phase_us[PROBE_TLS] > 0);
	assert_true(result->phase_us[PROBE_CONNECT] + result->phase_us[PROBE_TLS] +
	                    result->phase_us[PROBE_FIRST_BYTE] <=
	            result->phase_us[PROBE_TOTAL]);
}

/* The echo answers .1 to a full handshake and .2 to a resumed one. */
static void verifies_and_resumes_tls(void **state)
{
	struct prober_echo echoes[] = {
		{ .name = "good", .url = "https://echo.example.net:8443/" },
		{ .name = "wrong name", .url = "https://other.example.net:8443/" },
		{ .name = "no TLS", .url = "https://echo.example.net:8080/" },
		{ .name = "silent", .url = "https://echo.example.net:8081/" },
	};
	struct fake_http silent = { .port = 8081, .manner = FAKE_SILENT };
	struct setup setup;
	pid_t pid = start_tls_server();

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		echoes[i].has_resolve = true;
		echoes[i].resolve = fake_ip("192.0.2.1");
	}
	start_prober(&setup, echoes, 4, 0, false);
	setup.http.port = 8080;
	setup.http.reply = "220 mail ESMTP\r\n\r\n";
	fake_http_start(&setup.http, setup.loop, "192.0.2.1");
	fake_http_start(&silent, setup.loop, "192.0.2.1");
	last_byte(ask(&setup, 0), 1);
	last_byte(ask(&setup, 0), 1);
	expect(ask(&setup, 1), PROBE_TLS_VERIFY, PROBE_TLS);
	assert_non_null(strstr(setup.results[0].detail, "other.example.net"));
	expect(ask_hastily(&setup, 3), PROBE_TIMEOUT, PROBE_TLS);
	fake_http_stop(&silent);
	stop_prober(&setup);

	start_prober(&setup, echoes, 4, 0, true);
	last_byte(ask(&setup, 0), 1);
	last_byte(ask(&setup, 0), 2);
	expect(ask(&setup, 1), PROBE_TLS_VERIFY, PROBE_TLS); /* not under another name */
	setup.wanted = 2;
	start(&setup, 2, 0);
	fake_loop_run(setup.loop);
	assert_int_equal(setup.results[1].observed.b[15], 1); /* nor for another subject */
	prober_cancel(setup.prober, 1);
	last_byte(ask(&setup, 0), 1); /* nor after its namespace went */
	stop_prober(&setup);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void distrusts_a_stranger_and_no_bundle(void **state)
{
	const struct prober_echo echo = { .name = "e",
		                          .url = "https://echo.example.net:8443/",
		                          .has_resolve = true,
		                          .resolve = fake_ip("192.0.2.1") };
	static const struct {
		const char *bundle;
		enum probe_outcome outcome;
	} rows[] = {
		{ "other.pem", PROBE_TLS_VERIFY },
		{ "missing.pem", PROBE_LOCAL_ERROR },
	};
	pid_t pid = start_tls_server();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct prober_options options = {
			.echoes = &echo,
			.n_echoes = 1,
			.timeout_ns = PATIENT_NS,
			.ca_bundle = in_folder(rows[i].bundle),
		};
		struct setup setup = { 0 };

		assert_int_equal(loop_new(&setup.loop), 0);
		assert_int_equal(prober_new(setup.loop, &options, on_result, &setup, NULL, NULL,
		                            &setup.prober),
		                 0);
		expect(ask(&setup, 0), rows[i].outcome, PROBE_TLS);
		stop_prober(&setup);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int set_up(void **state)
{
	static const char certificate[] =
		"cd %s && for n in cert other; do openssl req -x509 -newkey ec -nodes -days 2"
		" -pkeyopt ec_paramgen_curve:P-256 -subj /CN=echo -keyout $n.key -out $n.pem"
		" -addext subjectAltName=DNS:echo.example.net 2>/dev/null || exit 1; done;"
		" mv cert.key key.pem";
	char command[512];

	assert_non_null(mkdtemp(folder));
	snprintf(command, sizeof(command), certificate, folder);
	fake_run(command);
	fake_write(in_folder("resolv.conf"), RESOLV_CONF_TEXT);
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
		cmocka_unit_test(names_each_misbehaviour),
		cmocka_unit_test(names_why_there_is_no_connection),
		cmocka_unit_test(resolves_in_the_namespace),
		cmocka_unit_test(asks_no_loopback_of_a_pod),
		cmocka_unit_test(asks_over_udp),
		cmocka_unit_test(one_result_each_in_bounds),
		cmocka_unit_test(cancelled_ones_bring_nothing),
		cmocka_unit_test(refuses_past_the_queue),
		cmocka_unit_test(refuses_bad_echoes),
		cmocka_unit_test(verifies_and_resumes_tls),
		cmocka_unit_test(distrusts_a_stranger_and_no_bundle),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
