/* ldflags: -Wl,--wrap=clock_now */
#include "test.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "confined.h"
#include "fake.h"
#include "kube/client.h"
#include "limits.h"

static char folder[64];
static uint64_t later_ns; /* added to the clock */

struct moment __real_clock_now(void);
struct moment __wrap_clock_now(void);
struct moment __wrap_clock_now(void)
{
	struct moment now = __real_clock_now();

	now.mono_ns += later_ns;
	return now;
}

/* Files */

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fake_write(path, text);
}

static void copy(const char *from, const char *to)
{
	char command[512];

	snprintf(command, sizeof(command), "cp %s/%s %s/%s.new && mv %s/%s.new %s/%s", folder, from,
	         folder, to, folder, to, folder, to);
	fake_run(command);
}

/* Two authorities; of each a server's certificate, of the first a client's. */
static int make_files(void **state)
{
	char command[2048];

	fake_namespace(state);
	fake_folder(folder, sizeof(folder), "test_kube_client");
	snprintf(
		command, sizeof(command),
		"cd %s && exec 2>/dev/null; k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';"
		"for i in 1 2; do openssl req -x509 $k -days 2 -subj /CN=ca$i -keyout ca$i.key "
		"-out "
		"ca$i.pem && echo subjectAltName=DNS:kubernetes.default,IP:127.0.0.1 > ext &&"
		"openssl req $k -subj /CN=server$i -keyout s.key -out s.csr && openssl x509 -req "
		"-in "
		"s.csr -days 2 -CA ca$i.pem -CAkey ca$i.key -CAcreateserial -extfile ext -out "
		"s.crt &&"
		"cat s.crt s.key > server$i.pem || exit 1; done; for n in one two; do "
		"openssl req $k -subj /CN=$n -keyout $n.key -out c.csr && openssl x509 -req -in "
		"c.csr -days 2 -CA ca1.pem -CAkey ca1.key -CAcreateserial -out $n.crt || exit 1; "
		"done",
		folder);
	fake_run(command);
	return 0;
}

static int remove_files(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	fake_run(command);
	return 0;
}

/* The server */

struct setup {
	struct loop *loop;
	struct kube_client *client;
	pid_t pid;
	int stdin_fd;
	unsigned int port;
	/* the newest answer */
	struct kube_call *call;
	uint16_t status;
	enum http_error error;
	uint32_t retry_after_s;
	char body[8192], detail[256], streamed[8192];
	size_t streamed_len, stop_at, refuse_at;
	int done;
};

static void start_server(struct setup *setup)
{
	int in[2], out[2];
	char port[16] = "";

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	setup->pid = fork();
	assert_true(setup->pid >= 0);
	if (setup->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execlp("python3", "python3", "-B", "tests/unit/kube/https_server.py", folder,
		       (char *)NULL);
		_exit(127);
	}
	close(in[0]), close(out[1]);
	setup->stdin_fd = in[1];
	assert_true(read(out[0], port, sizeof(port) - 1) > 0);
	close(out[0]);
	setup->port = (unsigned int)strtoul(port, NULL, 10);
	assert_true(setup->port > 0);
}

static int set_up(void **state)
{
	struct setup *setup = calloc(1, sizeof(*setup));

	assert_non_null(setup);
	later_ns = 0;
	copy("server1.pem", "server.pem");
	copy("ca1.pem", "ca.crt");
	copy("one.crt", "tls.crt");
	copy("one.key", "tls.key");
	put("token", "first\n");
	put("accepted", "first");
	start_server(setup);
	assert_int_equal(loop_new(&setup->loop), 0);
	*state = setup;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *setup = *state;

	assert_null(kube_client_free(setup->client));
	assert_null(loop_free(setup->loop));
	close(setup->stdin_fd);
	kill(setup->pid, SIGKILL);
	assert_int_equal(waitpid(setup->pid, NULL, 0), setup->pid);
	free(setup);
	return 0;
}

static char *path_of(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

static void connect_to(struct setup *setup, const char *host, const char *tls_name, bool as_client)
{
	struct kube_server server = { 0 };
	char url[128], error[512] = "";

	snprintf(url, sizeof(url), "https://%s:%u", host, setup->port);
	assert_int_equal(kube_server_set_url(&server, url), 0);
	server.tls_name = tls_name ? strdup(tls_name) : NULL;
	server.file[KUBE_FILE_CA] = path_of("ca.crt");
	if (as_client) {
		server.file[KUBE_FILE_CERTIFICATE] = path_of("tls.crt");
		server.file[KUBE_FILE_KEY] = path_of("tls.key");
	} else {
		server.file[KUBE_FILE_TOKEN] = path_of("token");
	}
	if (kube_client_new(setup->loop, &server, &setup->client, error) != 0)
		fail_msg("%s", error);
	assert_null(server.url);
}

/* Asking */

static void on_done(void *user, const struct http_response *response)
{
	struct setup *setup = user;

	setup->call = NULL;
	setup->status = response->status;
	setup->error = response->error;
	setup->retry_after_s = response->retry_after_s;
	snprintf(setup->body, sizeof(setup->body), "%s", response->body);
	snprintf(setup->detail, sizeof(setup->detail), "%s", response->detail);
	setup->done++;
	loop_stop(setup->loop);
}

static int on_write(void *user, const char *data, size_t len)
{
	struct setup *setup = user;

	if (setup->refuse_at && setup->streamed_len + len > setup->refuse_at)
		return -1;
	assert_true(setup->streamed_len + len < sizeof(setup->streamed));
	memcpy(setup->streamed + setup->streamed_len, data, len);
	setup->streamed_len += len;
	if (setup->stop_at && setup->streamed_len >= setup->stop_at)
		loop_stop(setup->loop);
	return 0;
}

static void ask_for(struct setup *setup, struct kube_request request)
{
	request.done = on_done;
	request.user = setup;
	setup->done = 0;
	assert_int_equal(kube_client_start(setup->client, &request, &setup->call), 0);
	assert_int_equal(setup->done, 0);
	fake_loop_run(setup->loop);
}

static void ask(struct setup *setup, const char *path)
{
	ask_for(setup, (struct kube_request){ .path = path });
	assert_int_equal(setup->done, 1);
}

static void expect(struct setup *setup, uint16_t status)
{
	if (setup->error != HTTP_OK || setup->status != status)
		fail_msg("%d, %s: %s", setup->status, http_error_text(setup->error), setup->detail);
}

static void has(const struct setup *setup, const char *text)
{
	if (!strstr(setup->body, text))
		fail_msg("no %s in %s", text, setup->body);
}

static void sends_who_it_is(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	ask(setup, "/api/v1/pods?fieldSelector=a%3Db");
	expect(setup, 200);
	has(setup, "\"line\": \"GET /api/v1/pods?fieldSelector=a%3Db HTTP/1.1\"");
	has(setup, "\"authorization\": \"Bearer first\"");
	has(setup, "\"accept\": \"application/json\"");
	has(setup, "\"accept-encoding\": \"gzip\"");
	has(setup, "\"user-agent\": \"egress-verifier/");
	has(setup, "\"host\": \"127.0.0.1:");
	has(setup, "\"peer\": []");

	ask_for(setup, (struct kube_request){ .method = "PATCH",
	                                      .path = "/x",
	                                      .accept = "application/json;as=Table",
	                                      .content_type = "application/merge-patch+json",
	                                      .body = "{}x",
	                                      .body_len = 2 });
	expect(setup, 200);
	has(setup, "\"line\": \"PATCH /x HTTP/1.1\"");
	has(setup, "\"accept\": \"application/json;as=Table\"");
	has(setup, "\"content-type\": \"application/merge-patch+json\"");
	has(setup, "\"body\": \"{}\"");
	/* One connection for both. */
	has(setup, "\"connections\": 1");
	assert_int_equal(kube_client_stats(setup->client).requests, 2);
}

static void sends_more_headers(void **state)
{
	char text[] = "X-Scope-OrgID: tenant-1", other[] = "User-Agent: another/1";
	const char *const lines[] = { text, other }, *many[KUBE_HEADERS_MAX + 1];
	struct kube_request request = {
		.path = "/", .headers = lines, .n_headers = 2, .done = on_done, .user = *state
	};
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	assert_int_equal(kube_client_start(setup->client, &request, &setup->call), 0);
	memset(text, 'x', sizeof(text) - 1); /* they were copied */
	memset(other, 'x', sizeof(other) - 1);
	fake_loop_run(setup->loop);
	expect(setup, 200);
	has(setup, "\"x-scope-orgid\": \"tenant-1\"");
	has(setup, "\"user-agent\": \"another/1\"");
	assert_null(strstr(setup->body, "egress-verifier"));

	for (size_t i = 0; i <= KUBE_HEADERS_MAX; i++)
		many[i] = "X: y";
	request.headers = many;
	request.n_headers = KUBE_HEADERS_MAX;
	assert_int_equal(kube_client_start(setup->client, &request, &setup->call), 0);
	fake_loop_run(setup->loop);
	expect(setup, 200);
	request.n_headers++;
	assert_int_equal(kube_client_start(setup->client, &request, &setup->call), -EINVAL);
}

static void takes_a_new_token(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	ask(setup, "/");
	put("token", " second \n");
	ask(setup, "/");
	has(setup, "\"Bearer first\"");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	has(setup, "\"Bearer second\"");
	has(setup, "\"connections\": 1"); /* a token is no reason to connect anew */
	assert_int_equal(kube_client_stats(setup->client).renewed, 1);

	/* What cannot be used changes nothing. */
	put("token", "a\r\nX-Evil: b");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	has(setup, "\"Bearer second\"");
	assert_int_equal(kube_client_stats(setup->client).credential_errors, 1);
	assert_non_null(strstr(kube_client_stats(setup->client).last_error, "/token: expected a"));
	put("token", "third");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	has(setup, "\"Bearer third\"");
	assert_string_equal(kube_client_stats(setup->client).last_error, "");
}

static void repeats_once_with_a_new_token(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	put("accepted", "second");
	ask(setup, "/need");
	expect(setup, 401);
	has(setup, "\"asked\": 1"); /* the token is the same: asked once */

	put("token", "second");
	ask(setup, "/need");
	expect(setup, 200);
	has(setup, "\"asked\": 3");

	put("token", "third");
	put("accepted", "fourth");
	ask(setup, "/need");
	expect(setup, 401);
	has(setup, "\"asked\": 5"); /* a new one that is not good either */
	assert_int_equal(kube_client_stats(setup->client).requests, 5);
}

static void takes_a_new_authority(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	ask(setup, "/");
	expect(setup, 200);
	copy("server2.pem", "server.pem");
	copy("ca2.pem", "ca.crt");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	expect(setup, 200);
	has(setup, "\"connections\": 2"); /* the old one was not used again */

	/* Half a file: the old one stays. */
	put("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	expect(setup, 200);
	has(setup, "\"connections\": 2");
	assert_int_equal(kube_client_stats(setup->client).credential_errors, 1);
}

/* The server has its new certificate within the minute. */
static void reads_again_whom_to_believe(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	copy("server2.pem", "server.pem");
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_TLS_VERIFY);
	assert_int_equal(kube_client_stats(setup->client).requests, 1); /* nothing is new */
	copy("ca2.pem", "ca.crt");
	ask(setup, "/");
	expect(setup, 200);
	assert_int_equal(kube_client_stats(setup->client).requests, 3);
	assert_int_equal(kube_client_stats(setup->client).renewed, 1);
}

static void shows_its_certificate(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, true);
	ask(setup, "/");
	expect(setup, 200);
	has(setup, "\"peer\": [\"one\"]");
	assert_null(strstr(setup->body, "authorization"));
	copy("two.crt", "tls.crt");
	copy("two.key", "tls.key");
	later_ns += KUBE_CREDENTIALS_NS;
	ask(setup, "/");
	has(setup, "\"peer\": [\"two\"]");
	has(setup, "\"connections\": 2");
}

static void believes_nobody_else(void **state)
{
	struct setup *setup = *state;

	copy("server2.pem", "server.pem");
	connect_to(setup, "127.0.0.1", NULL, false);
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_TLS_VERIFY);
	setup->client = kube_client_free(setup->client);

	/* The right authority, another name. */
	copy("server1.pem", "server.pem");
	connect_to(setup, "127.0.0.1", "kubernetes.example", false);
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_TLS_VERIFY);
	setup->client = kube_client_free(setup->client);
	connect_to(setup, "192.0.2.1", NULL, false);
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_TLS_VERIFY);
	setup->client = kube_client_free(setup->client);

	/* An address that the certificate does not have, by a name that it has. */
	connect_to(setup, "192.0.2.1", "kubernetes.default", false);
	ask(setup, "/");
	expect(setup, 200);
	has(setup, "\"host\": \"192.0.2.1:");
}

static void unpacks_within_bounds(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	ask(setup, "/gzip");
	expect(setup, 200);
	assert_string_equal(setup->body, "unpacked");
	assert_int_equal(kube_client_stats(setup->client).bytes, 8);

	ask_for(setup, (struct kube_request){ .path = "/bomb", .body_max = 4096 });
	assert_int_equal(setup->error, HTTP_TOO_LARGE);
	assert_true(kube_client_stats(setup->client).bytes <= 8 + 4096);

	setup->refuse_at = 4000;
	ask_for(setup, (struct kube_request){ .path = "/bomb", .write = on_write });
	assert_int_equal(setup->error, HTTP_ABORTED);
	ask(setup, "/broken");
	assert_int_equal(setup->error, HTTP_PROTOCOL);
	/* And none of them takes anything from the next. */
	ask(setup, "/gzip");
	assert_string_equal(setup->body, "unpacked");
}

/* An event is delivered when it comes, not when the stream ends. */
static void streams_packed_events(void **state)
{
	struct setup *setup = *state;
	struct kube_call *watch;
	int done;

	connect_to(setup, "127.0.0.1", NULL, false);
	setup->stop_at = 6;
	ask_for(setup,
	        (struct kube_request){ .path = "/stream", .stream = true, .write = on_write });
	assert_int_equal(setup->done, 0);
	assert_memory_equal(setup->streamed, "first\n", 6);
	assert_int_equal(setup->streamed_len, 6);

	watch = setup->call;
	setup->stop_at = 0;
	ask(setup, "/release");
	done = setup->done;
	if (done == 1 && setup->streamed_len < 13)
		fake_loop_run(setup->loop);
	assert_memory_equal(setup->streamed, "first\nsecond\n", 13);
	(void)watch;
}

static void tells_refusals(void **state)
{
	struct setup *setup = *state;
	siginfo_t info;

	connect_to(setup, "127.0.0.1", NULL, false);
	/* Gathered, although there is who would take a body. */
	ask_for(setup, (struct kube_request){ .path = "/refused", .write = on_write });
	expect(setup, 403);
	has(setup, "{\"kind\":\"Status\"}");
	assert_int_equal(setup->streamed_len, 0);
	ask(setup, "/slow-down");
	expect(setup, 429);
	assert_int_equal(setup->retry_after_s, 7);

	ask_for(setup,
	        (struct kube_request){ .path = "/silent", .timeout_ns = 100 * NSEC_PER_MSEC });
	assert_int_equal(setup->error, HTTP_TIMEOUT);
	kill(setup->pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)setup->pid, &info, WEXITED | WNOWAIT), 0);
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_CONNECT_REFUSED);
}

/* Standard error is a pipe meanwhile: what was logged is counted. */
static size_t logged(struct setup *setup, const char *path, int times, const char *text)
{
	char lines[8192] = "";
	int pipe_fd[2], kept = dup(2);
	size_t n = 0;

	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(dup2(pipe_fd[1], 2), 2);
	for (int i = 0; i < times; i++)
		ask(setup, path);
	dup2(kept, 2);
	(void)!read(pipe_fd[0], lines, sizeof(lines) - 1);
	close(kept), close(pipe_fd[0]), close(pipe_fd[1]);
	for (const char *at = lines; (at = strstr(at, text)); at++)
		n++;
	return n;
}

static void tells_of_a_warning_once(void **state)
{
	struct setup *setup = *state;

	connect_to(setup, "127.0.0.1", NULL, false);
	assert_int_equal(logged(setup, "/warn", 3, "v1beta1 is deprecated"), 1);
	assert_int_equal(kube_client_stats(setup->client).warnings, 3);
	assert_int_equal(logged(setup, "/gzip", 1, "warns"), 0);
	assert_int_equal(kube_client_stats(setup->client).warnings, 3);
}

/* Of the node's name servers, at every request. */
static void finds_a_name(void **state)
{
	static struct fake_dns dns = { .addresses = { "192.0.2.1" } };
	struct setup *setup = *state;
	cleanup(mem_freep) char *conf = path_of("resolv.conf");

	dns = (struct fake_dns){ .port = 53, .addresses = { "192.0.2.1" } };
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	put("resolv.conf", "nameserver 192.0.2.2\n");
	assert_int_equal(mount(conf, "/etc/resolv.conf", NULL, MS_BIND, NULL), 0);
	fake_dns_start(&dns, setup->loop, "192.0.2.2");

	connect_to(setup, "kubernetes.default", NULL, false);
	ask(setup, "/");
	expect(setup, 200);
	has(setup, "\"host\": \"kubernetes.default:");
	ask(setup, "/");
	has(setup, "\"connections\": 1");
	fake_dns_stop(&dns);
	/* No name server: it is where it was. */
	ask(setup, "/");
	expect(setup, 200);
	setup->client = kube_client_free(setup->client);

	connect_to(setup, "kubernetes.default", NULL, false);
	ask(setup, "/");
	assert_int_equal(setup->error, HTTP_RESOLVE_FAILED);
	assert_int_equal(umount2("/etc/resolv.conf", MNT_DETACH), 0);
}

/* Without a right to connect: as the worker, whose sockets are handed to it on their way. */

static int handed = -1;

static int hand_over(int netns_fd, int type, const struct ip *peer, uint16_t port, int *fd)
{
	int r = confined_connect(netns_fd, type, peer, port, fd);

	if (r == 0) {
		probe_socket_mark(*fd, type);
		handed = *fd;
	}
	return r;
}

static int option(int level, int name)
{
	int value = -1;

	check(getsockopt(handed, level, name, &value, &(socklen_t){ sizeof(value) }) == 0);
	return value;
}

static void ask_confined(void *arg)
{
	struct setup *setup = arg;
	struct kube_request request = { .path = "/", .done = on_done, .user = setup };
	struct linger linger = { .l_onoff = 1 };

	check(loop_new(&setup->loop) == 0);
	connect_to(setup, "127.0.0.1", NULL, false);
	check(kube_client_start(setup->client, &request, &setup->call) == 0);
	check(loop_run(setup->loop) == 0);
	check(setup->status == 200);
	check(strstr(setup->body, "Bearer first"));

	/* A dead peer is found out within a minute, and a living one is left in order. */
	check(option(SOL_SOCKET, SO_KEEPALIVE) == 1);
	check(option(IPPROTO_TCP, TCP_KEEPIDLE) == 30);
	check(option(IPPROTO_TCP, TCP_KEEPINTVL) == 10);
	check(option(IPPROTO_TCP, TCP_KEEPCNT) == 3);
	check(option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 60000);
	check(getsockopt(handed, SOL_SOCKET, SO_LINGER, &linger, &(socklen_t){ sizeof(linger) }) ==
	      0);
	check(linger.l_onoff == 0);
	kube_client_free(setup->client);
	loop_free(setup->loop);
}

static void asks_for_its_sockets(void **state)
{
	static const struct privileged broker = { .connect = hand_over };
	struct setup *setup = *state;
	struct setup *mine = calloc(1, sizeof(*mine));

	assert_non_null(mine);
	mine->port = setup->port;
	run_confined(setup->loop, &broker, ask_confined, mine);
	free(mine);
}

static void ends_without_a_word(void **state)
{
	struct setup *setup = *state;
	struct kube_request request = { .path = "/silent", .done = on_done, .user = setup };
	struct kube_call *calls[3];

	connect_to(setup, "127.0.0.1", NULL, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kube_client_start(setup->client, &request, &calls[i]), 0);
	kube_call_cancel(calls[1]);
	ask(setup, "/");
	expect(setup, 200);
	kube_call_cancel(calls[0]);
	setup->done = 0;
	setup->client = kube_client_free(setup->client); /* one still runs */
	assert_int_equal(setup->done, 0);
}

static void needs_good_credentials(void **state)
{
	struct setup *setup = *state;
	static const struct {
		const char *file, *text, *error;
	} rows[] = {
		{ "token", "", "/token: expected a token: it is empty" },
		{ "ca.crt", "x", "/ca.crt: expected a certificate authority: no such block" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_server server = { 0 };
		char error[512] = "";

		put("token", "t");
		copy("ca1.pem", "ca.crt");
		put(rows[i].file, rows[i].text);
		assert_int_equal(kube_server_set_url(&server, "https://127.0.0.1:1"), 0);
		server.file[KUBE_FILE_CA] = path_of("ca.crt");
		server.file[KUBE_FILE_TOKEN] = path_of("token");
		assert_int_equal(kube_client_new(setup->loop, &server, &setup->client, error),
		                 -EINVAL);
		assert_null(server.url);
		if (!strstr(error, rows[i].error))
			fail_msg("%s", error);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(sends_who_it_is),       TEST(sends_more_headers),
		TEST(takes_a_new_token),     TEST(repeats_once_with_a_new_token),
		TEST(takes_a_new_authority), TEST(reads_again_whom_to_believe),
		TEST(shows_its_certificate), TEST(believes_nobody_else),
		TEST(unpacks_within_bounds), TEST(streams_packed_events),
		TEST(tells_refusals),        TEST(tells_of_a_warning_once),
		TEST(finds_a_name),          TEST(asks_for_its_sockets),
		TEST(ends_without_a_word),   TEST(needs_good_credentials),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
