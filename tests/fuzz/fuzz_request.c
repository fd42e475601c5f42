/* sources: agent/io/http_accept.c agent/io/http_answer.c agent/io/http_check.c agent/io/http_deferred.c agent/io/http_server.c agent/io/http_stream.c agent/io/listener.c agent/report/api_explain.c agent/report/api_flows.c agent/report/api_gateways.c agent/report/api_probes.c agent/report/api_status.c agent/report/api_subjects.c agent/report/api_violations.c agent/report/check.c agent/report/collect.c agent/report/events.c agent/report/exposition.c agent/report/exposition_otlp.c agent/report/history.c agent/report/html.c agent/report/list.c agent/report/metrics.c agent/report/negotiate.c agent/report/page.c agent/report/process.c agent/report/report.c agent/report/source.c agent/export/answer.c agent/export/otlp_value.c agent/export/pairs.c agent/export/headers.c agent/export/settings.c agent/spool/message.c agent/kube/object.c agent/kube/status.c agent/io/http_response.c agent/probe/url.c agent/verdict/snapshot.c agent/flow/flow.c agent/flow/table.c agent/inventory/live.c agent/probe/result.c agent/verdict/attribute.c agent/verdict/evidence.c agent/verdict/explain.c agent/verdict/judge.c agent/verdict/judge_echoes.c agent/verdict/judge_flow.c agent/verdict/judge_objects.c agent/verdict/judge_probe.c agent/verdict/judge_routes.c agent/verdict/judge_tunnel.c agent/verdict/remedy.c agent/verdict/round.c agent/verdict/sentence.c agent/verdict/verdict.c agent/verdict/violations.c agent/verdict/witness.c */
/*
 * Bytes as a client's, through the real server to the routes: the connection
 * ends, the next client is served, and what is said to a page of another host
 * is a refusal.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/timer.h"
#include "tests/unit/report/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TURNS_MAX 2000
#define BYTES_MAX (1 << 20)

static struct fixture fixture;
static struct loop *loop;
static struct http_server *server;
static struct timer turn;
static unsigned int turns;
static int client;
static char answer[BYTES_MAX];
static size_t len;

/* The client reads in turn with the server, until the server has nothing more of it. */
static int on_turn(struct timer *timer)
{
	ssize_t n = recv(client, answer + len, BYTES_MAX - 1 - len, MSG_DONTWAIT);

	(void)timer;
	if (n > 0)
		len += (size_t)n;
	/* A stream has no end of its own: the client goes. */
	if (++turns == TURNS_MAX / 2 || (len > 0 && http_server_stats(server).streams > 0))
		shutdown(client, SHUT_RDWR);
	assert(turns < TURNS_MAX);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		loop_stop(loop);
	return 0;
}

static void start(void)
{
	struct http_server_options options = {
		.handler = report_handle,
		.post = true,
		.check_host = true,
	};

	fixture_start(&fixture);
	options.user = fixture.report;
	turn = (struct timer)TIMER_INIT;
	assert(loop_new(&loop) == 0);
	assert(timer_init(&turn, loop, on_turn) == 0);
	assert(http_server_new(loop, &options, &server) == 0);
	report_server(fixture.report, server);
	assert(http_server_listen(server, "127.0.0.1:0", REPORT_ALL) == 0);
}

static void serve(const void *request, size_t size)
{
	const char *port = strrchr(http_server_address(server, 0), ':') + 1;
	struct sockaddr_in in = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                  .sin_port = htons((uint16_t)atoi(port)) };
	struct linger reset = { .l_onoff = 1 }; /* no TIME_WAIT: there are many */

	len = turns = 0;
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(connect(client, (struct sockaddr *)&in, sizeof(in)) == 0);
	assert(send(client, request, size, MSG_NOSIGNAL) == (ssize_t)size);
	shutdown(client, SHUT_WR);
	assert(timer_set(&turn, 20000, 20000) == 0);
	assert(loop_run(loop) == 0);
	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(client);
	answer[len] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char good[] =
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

	if (!loop)
		start();
	if (size > 16384)
		return 0;
	serve(data, size);
	assert(len == 0 || strncmp(answer, "HTTP/1.", 7) == 0);
	serve(good, sizeof(good) - 1);
	assert(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
	return 0;
}
