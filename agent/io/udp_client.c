#include "io/udp_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/timer.h"
#include "limits.h"

/* Datagrams passed over before one wake-up ends: a flood must not hold the loop. */
#define BATCH_MAX 16

struct udp_exchange {
	struct loop_source source;
	int fd;             /* owned; -1: refused while it was opened */
	struct timer retry; /* the next copy */
	struct timer deadline;
	uint8_t data[UDP_REQUEST_MAX];
	size_t len;
	unsigned int copies_left;
	int failed; /* errno of connecting or of the first send; told from the loop */
	udp_accept_fn accept;
	udp_done_fn done;
	void *user;
};

DEFINE_FREEP(struct udp_exchange, udp_exchange)

static enum udp_outcome outcome_of(int error)
{
	switch (error) {
	case 0:
		return UDP_ANSWERED;
	case ETIMEDOUT:
		return UDP_TIMEOUT;
	case ECONNREFUSED:
		return UDP_REFUSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case EADDRNOTAVAIL: /* no source address: the namespace has no way there */
	case EPERM:         /* dropped by a rule in OUTPUT */
	case EACCES:        /* a prohibit route */
	case EINVAL:        /* a blackhole route */
		return UDP_UNREACHABLE;
	default:
		return UDP_LOCAL_ERROR;
	}
}

static void finish(struct udp_exchange *exchange, int error)
{
	loop_remove(&exchange->source);
	timer_stop(&exchange->retry);
	timer_stop(&exchange->deadline);
	exchange->done(exchange->user, outcome_of(error), error); /* may free the exchange */
}

/* 0, or the errno that ends the exchange. A full socket buffer is a lost packet like another. */
static int send_copy(struct udp_exchange *exchange)
{
	if (send(exchange->fd, exchange->data, exchange->len, MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EAGAIN || errno == ENOBUFS || errno == EINTR ? 0 : errno;
}

static int on_readable(struct loop_source *source, uint32_t events)
{
	struct udp_exchange *exchange = container_of(source, struct udp_exchange, source);
	uint8_t answer[UDP_ANSWER_MAX];

	(void)events;
	for (int i = 0; i < BATCH_MAX; i++) {
		ssize_t n = recv(exchange->fd, answer, sizeof(answer), MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0) {
			finish(exchange, errno);
			return 0;
		}
		if ((size_t)n <= sizeof(answer) &&
		    exchange->accept(exchange->user, answer, (size_t)n)) {
			finish(exchange, 0);
			return 0;
		}
	}
	return 0;
}

static int on_retry(struct timer *timer)
{
	struct udp_exchange *exchange = container_of(timer, struct udp_exchange, retry);
	int error;

	if (--exchange->copies_left == 0)
		timer_stop(timer);
	error = send_copy(exchange);
	if (error)
		finish(exchange, error);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	struct udp_exchange *exchange = container_of(timer, struct udp_exchange, deadline);

	finish(exchange, exchange->failed ? exchange->failed : ETIMEDOUT);
	return 0;
}

/* 0, or the errno that ends the exchange; -errno when there is nothing to connect. */
static int connect_to(struct udp_exchange *exchange, const struct udp_request *request)
{
	struct sockaddr_storage storage;
	const struct sockaddr *peer = (const struct sockaddr *)&storage;
	socklen_t len = probe_socket_address(&request->peer, request->port, &storage);
	int fd;

	fd = probe_socket_open(request->opener, peer->sa_family, SOCK_DGRAM, IPPROTO_UDP, peer);
	if (fd < 0)
		return probe_socket_refused(-fd) ? -fd : fd;
	exchange->fd = fd;
	if (connect(fd, peer, len) == 0)
		return 0;
	/* Of one that was connected by whoever opened it. */
	return errno == EINPROGRESS || errno == EALREADY || errno == EISCONN ? 0 : errno;
}

static int set_timers(struct udp_exchange *exchange, const struct udp_request *request)
{
	uint64_t timeout_ns = exchange->failed ? 0 : request->timeout_ns;
	int r;

	r = timer_set(&exchange->deadline, timeout_ns, 0);
	if (r == 0 && !exchange->failed && request->retransmit_ns && request->retransmits)
		r = timer_set(&exchange->retry, request->retransmit_ns, request->retransmit_ns);
	return r;
}

int udp_exchange_new(struct loop *loop, const struct udp_request *request,
                     struct udp_exchange **out)
{
	cleanup(udp_exchange_freep) struct udp_exchange *exchange = NULL;
	int r;

	if (request->len > UDP_REQUEST_MAX)
		return -EMSGSIZE;

	exchange = calloc(1, sizeof(*exchange));
	if (!exchange)
		return -ENOMEM;
	exchange->fd = -1;
	exchange->retry = exchange->deadline = (struct timer)TIMER_INIT;
	exchange->len = request->len;
	exchange->copies_left = request->retransmits;
	exchange->accept = request->accept;
	exchange->done = request->done;
	exchange->user = request->user;
	memcpy(exchange->data, request->data, request->len);

	r = connect_to(exchange, request);
	if (r < 0)
		return r;
	exchange->failed = r;
	if (exchange->fd >= 0)
		r = loop_add(loop, &exchange->source, exchange->fd, EPOLLIN, on_readable);
	else
		r = 0;
	if (r == 0)
		r = timer_init(&exchange->retry, loop, on_retry);
	if (r == 0)
		r = timer_init(&exchange->deadline, loop, on_deadline);
	if (r < 0)
		return r;

	if (!exchange->failed)
		exchange->failed = send_copy(exchange);
	r = set_timers(exchange, request);
	if (r < 0)
		return r;

	*out = take_ptr(exchange);
	return 0;
}

struct udp_exchange *udp_exchange_free(struct udp_exchange *exchange)
{
	if (!exchange)
		return NULL;

	loop_remove(&exchange->source);
	timer_clear(&exchange->retry);
	timer_clear(&exchange->deadline);
	fd_closep(&exchange->fd);
	free(exchange);
	return NULL;
}
