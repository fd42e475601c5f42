/*
 * `echo`: answers with the address a request came from, over HTTP, UDP and STUN
 * on one port. Headers that name another address are not believed: what is
 * wanted is the address that the network shows.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "commands.h"
#include "io/http_server.h"
#include "io/listener.h"
#include "io/udp_server.h"
#include "limits.h"
#include "probe/echo.h"

#define DEFAULT_PORT "8080"
#define TOO_MANY "more addresses than can be served"

struct echo {
	struct loop *loop;
	struct http_server *http;
	struct udp_server *udp[LISTENERS_MAX];
	size_t n_udp;
	struct loop_source signals;
	int signal_fd;
};

static void help(FILE *out)
{
	fprintf(out,
	        "usage: egress-verifier echo --listen ADDR[:PORT]…\n\n"
	        "Answers every request with the address it came from.\n\n"
	        "  --listen ADDR[:PORT]  an address of this machine, 0.0.0.0 or [::] "
	        "(port " DEFAULT_PORT ");\n"
	        "                        up to %d of them, TCP and UDP on each\n\n"
	        "  HTTP  any path: the address as a line; /json or ?format=json: {\"ip\":\"…\"};\n"
	        "        /trace: lines ip=…, port=…\n"
	        "  UDP   the address as a line to any datagram of 2 bytes (IPv6: 11) or more,\n"
	        "        so that no answer is larger than 1.5 times its question\n"
	        "  STUN  a binding response (RFC 8489) to a binding request, on the UDP port\n"
	        "  UDP and STUN answer nobody who asks from a port below 1024.\n\n"
	        "SIGTERM and SIGINT end it.\n",
	        LISTENERS_MAX);
}

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "egress-verifier echo: %s%s%s\n", what, value ? ": " : "",
	        value ? value : "");
	return EXIT_USAGE;
}

static int fail(const char *what, const char *value, int error)
{
	fprintf(stderr, "egress-verifier echo: %s%s: %s\n", what, value, strerror(-error));
	return EXIT_UNDECIDED;
}

/* HTTP and UDP */

static int on_request(void *user, const struct http_server_request *request,
                      struct http_server_response *response)
{
	int r;

	(void)user;
	http_server_header(response, "Cache-Control", "no-store");
	r = echo_page(request->path, http_server_param(request, "format"), &request->peer.ip,
	              request->peer.port, &response->body, &response->content_type);
	if (r != -EINVAL)
		return r;

	response->status = 400;
	response->content_type = "text/plain; charset=utf-8";
	buf_text(&response->body, "format: expected text or json\n");
	return 0;
}

static size_t on_datagram(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                          uint16_t port, uint8_t out[static UDP_ANSWER_MAX])
{
	(void)user;
	return echo_datagram(data, len, peer, port, out);
}

/* ADDR without a port: an IPv6 address has its brackets, so that a colon is a port's. */
static const char *with_port(const char *text, char *buf, size_t size)
{
	const char *bracket = strchr(text, ']');

	if (strchr(bracket ? bracket : text, ':'))
		return text;
	snprintf(buf, size, "%s:" DEFAULT_PORT, text);
	return buf;
}

/* TCP first: with port 0 the kernel chooses there, and UDP takes the same. */
static int listen_on(struct echo *echo, const char *text)
{
	char buf[LISTENER_TEXT_MAX];
	struct listener_address address;
	const char *bound;
	int r;

	r = listener_parse(with_port(text, buf, sizeof(buf)), &address);
	if (r < 0 || address.local)
		return -EINVAL;
	r = http_server_listen(echo->http, with_port(text, buf, sizeof(buf)), 0);
	if (r < 0)
		return r;

	bound = http_server_address(echo->http, echo->n_udp);
	r = listener_parse(bound, &address);
	if (r < 0)
		return r;
	r = udp_server_new(echo->loop, &address.ip, address.port, on_datagram, echo,
	                   &echo->udp[echo->n_udp]);
	if (r < 0)
		return r;

	echo->n_udp++;
	printf("listening on %s\n", bound);
	return 0;
}

/* The program */

static int on_signal(struct loop_source *source, uint32_t events)
{
	(void)events;
	loop_stop(source->loop);
	return 0;
}

static int watch_signals(struct echo *echo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);

	echo->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (echo->signal_fd < 0)
		return -errno;
	return loop_add(echo->loop, &echo->signals, echo->signal_fd, EPOLLIN, on_signal);
}

static int echo_open(struct echo *echo)
{
	const struct http_server_options options = {
		.handler = on_request,
		.user = echo,
		.connections_max = ECHO_CONNECTIONS_MAX,
		.per_peer_max = ECHO_PER_PEER_MAX,
		.request_s = ECHO_IDLE_S,
		.answer_s = ECHO_IDLE_S,
	};
	int r;

	r = loop_new(&echo->loop);
	if (r == 0)
		r = watch_signals(echo);
	if (r == 0)
		r = http_server_new(echo->loop, &options, &echo->http);
	return r;
}

static void echo_close(struct echo *echo)
{
	for (size_t i = 0; i < echo->n_udp; i++)
		udp_server_free(echo->udp[i]);
	http_server_free(echo->http);
	loop_remove(&echo->signals);
	fd_closep(&echo->signal_fd);
	loop_free(echo->loop);
}

static int run(struct echo *echo, const char *const *listen, size_t n)
{
	int r;

	r = echo_open(echo);
	if (r < 0)
		return fail("cannot start", "", r);

	for (size_t i = 0; i < n; i++) {
		r = listen_on(echo, listen[i]);
		if (r == -EINVAL)
			return usage_error("--listen: expected ADDR[:PORT] or [V6][:PORT]",
			                   listen[i]);
		if (r < 0)
			return fail("--listen ", listen[i], r);
	}
	fflush(stdout);

	r = loop_run(echo->loop);
	if (r < 0)
		log_error("the echo stopped", "error", strerror(-r), NULL);
	return r < 0 ? EXIT_UNDECIDED : 0;
}

int cmd_echo(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct echo echo = { .signal_fd = -1 };
	const char *listen[LISTENERS_MAX];
	size_t n = 0;
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h') {
			help(stdout);
			return 0;
		}
		if (option != 'l')
			return EXIT_USAGE; /* getopt named the option */
		if (n == LISTENERS_MAX)
			return usage_error(TOO_MANY, optarg);
		listen[n++] = optarg;
	}
	if (n == 0)
		return usage_error("--listen ADDR[:PORT] is missing", NULL);
	for (; optind < argc; optind++) {
		if (n == LISTENERS_MAX)
			return usage_error(TOO_MANY, argv[optind]);
		listen[n++] = argv[optind];
	}

	status = run(&echo, listen, n);
	echo_close(&echo);
	return status;
}
