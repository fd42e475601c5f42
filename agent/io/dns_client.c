#include "io/dns_client.h"

/* c-ares 1.34 marks the socket and getsock functions deprecated; 1.18 has no others. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timer.h"
#include "io/heap.h"

/* All servers in turn, then all again: two tries of a quarter of the time leave room. */
#define TRIES 2
#define TRY_MS_MIN 100
#define DNS_HEADER_LEN 12
#define RCODE_REFUSED 5

struct dns_socket {
	struct loop_source source;
	struct dns_query *query; /* borrowed */
	struct dns_socket *next;
};

DEFINE_FREEP(struct dns_query, dns_query)

struct dns_query {
	struct loop *loop; /* borrowed */
	ares_channel channel;
	struct dns_socket *sockets; /* owned */
	struct socket_opener opener;
	int type;              /* of the socket that c-ares is about to connect */
	struct timer retry;    /* c-ares' own timeouts */
	struct timer deadline; /* ours; at once when the answer came without waiting */
	struct dns_answer answer;
	bool answered;
	int socket_error;       /* of the last socket that could not be had */
	uint64_t heap_failures; /* before it began */
	int last_rcode;         /* of the last datagram, believed for the reason only; -1: none */
	dns_fn fn;
	void *user;
};

const char *dns_outcome_text(enum dns_outcome outcome)
{
	static const char *const texts[] = {
		[DNS_FOUND] = "found",
		[DNS_NO_NAME] = "no such name",
		[DNS_NO_ADDRESS] = "no IPv4 address for the name",
		[DNS_BAD_NAME] = "not a name that can be asked for",
		[DNS_REFUSED] = "the name server refused",
		[DNS_SERVER_FAILED] = "the name server failed",
		[DNS_UNREACHABLE] = "no name server can be reached",
		[DNS_TIMEOUT] = "no name server answered in time",
		[DNS_LOCAL_ERROR] = "the name could not be asked for",
	};

	return outcome < _DNS_OUTCOME_MAX ? texts[outcome] : "unknown";
}

/* Sockets: c-ares opens them through us and tells which it waits for. */

/*
 * The number of a socket to be: who opens it has to know its peer, which c-ares
 * tells in its next step. It sets no options on sockets that others open.
 */
static ares_socket_t open_socket(int family, int type, int protocol, void *user)
{
	struct dns_query *query = user;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)family;
	(void)protocol;
	query->type = type;
	if (fd < 0)
		query->socket_error = errno;
	return fd < 0 ? ARES_SOCKET_BAD : fd;
}

static int close_socket(ares_socket_t fd, void *user)
{
	(void)user;
	return close(fd);
}

/* The socket, in the place of its number. Nobody waits for that yet. */
static int take_number(struct dns_query *query, int fd, const struct sockaddr *peer)
{
	cleanup(fd_closep) int opened = -1;

	opened = probe_socket_open(&query->opener, peer->sa_family, query->type, 0, peer);
	if (opened < 0)
		return opened;
	return dup3(opened, fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *address, ares_socklen_t len,
                          void *user)
{
	struct dns_query *query = user;
	int r;

	r = take_number(query, fd, address);
	if (r < 0) {
		if (!probe_socket_refused(-r))
			query->socket_error = -r;
		errno = ECONNREFUSED; /* never one that c-ares would wait after */
		return -1;
	}
	if (connect(fd, address, len) == 0 || errno == EISCONN)
		return 0;
	if (errno == EALREADY)
		errno = EINPROGRESS;
	return -1;
}

static ares_ssize_t receive(ares_socket_t fd, void *data, size_t size, int flags,
                            struct sockaddr *from, ares_socklen_t *from_len, void *user)
{
	struct dns_query *query = user;
	ares_ssize_t n = recvfrom(fd, data, size, flags, from, from_len);

	/*
	 * c-ares turns REFUSED and SERVFAIL of the last server into "connection
	 * refused", the same as ICMP. A TCP answer has its length first and is
	 * not looked at.
	 */
	if (n >= DNS_HEADER_LEN && from)
		query->last_rcode = ((const uint8_t *)data)[3] & 15;
	return n;
}

/*
 * Without sendmsg(2), which could name another peer where no filter of system
 * calls sees it. A datagram is one piece; of a stream c-ares sends the rest later.
 */
static ares_ssize_t send_vector(ares_socket_t fd, const struct iovec *data, int n, void *user)
{
	int i = 0;

	(void)user;
	while (i < n - 1 && data[i].iov_len == 0)
		i++;
	return send(fd, data[i].iov_base, data[i].iov_len, MSG_NOSIGNAL);
}

static const struct ares_socket_functions socket_functions = {
	.asocket = open_socket,
	.aclose = close_socket,
	.aconnect = connect_socket,
	.arecvfrom = receive,
	.asendv = send_vector,
};

static void deliver(struct dns_query *query);

static int arm_retry(struct dns_query *query)
{
	struct timeval wait;

	if (!ares_timeout(query->channel, NULL, &wait))
		return timer_stop(&query->retry);
	return timer_set(
		&query->retry,
		(uint64_t)wait.tv_sec * NSEC_PER_SEC + (uint64_t)wait.tv_usec * NSEC_PER_USEC, 0);
}

/* After c-ares ran: the answer, which may free the query, or the next wait. */
static int proceed(struct dns_query *query)
{
	if (query->answered) {
		deliver(query);
		return 0;
	}
	return arm_retry(query);
}

static int on_socket(struct loop_source *source, uint32_t events)
{
	struct dns_socket *socket = container_of(source, struct dns_socket, source);
	struct dns_query *query = socket->query;
	bool failed = events & (EPOLLERR | EPOLLHUP);
	int fd = source->fd;

	ares_process_fd(query->channel, events & EPOLLIN || failed ? fd : ARES_SOCKET_BAD,
	                events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	return proceed(query);
}

static int on_retry(struct timer *timer)
{
	struct dns_query *query = container_of(timer, struct dns_query, retry);

	ares_process_fd(query->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	return proceed(query);
}

static void forget_socket(struct dns_socket **at)
{
	struct dns_socket *socket = *at;

	loop_remove(&socket->source);
	*at = socket->next;
	free(socket);
}

static void add_socket(struct dns_query *query, int fd, uint32_t events)
{
	struct dns_socket *socket = heap_calloc(1, sizeof(*socket));

	if (!socket || loop_add(query->loop, &socket->source, fd, events, on_socket) < 0) {
		/* Not watched, so it can only time out; say why. */
		query->socket_error = ENOMEM;
		free(socket);
		return;
	}
	socket->query = query;
	socket->next = query->sockets;
	query->sockets = socket;
}

static void on_state(void *user, ares_socket_t fd, int readable, int writable)
{
	struct dns_query *query = user;
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	struct dns_socket **at = &query->sockets;

	while (*at && (*at)->source.fd != fd)
		at = &(*at)->next;

	if (!*at && events)
		add_socket(query, fd, events);
	else if (*at && events)
		(void)loop_modify(&(*at)->source, events);
	else if (*at)
		forget_socket(at);
}

/* Answers */

static enum dns_outcome failure(const struct dns_query *query, int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
		return DNS_NO_NAME;
	case ARES_ENODATA:
		return DNS_NO_ADDRESS;
	case ARES_EBADNAME:
	case ARES_EBADSTR:
	case ARES_EBADFAMILY:
		return DNS_BAD_NAME;
	case ARES_EREFUSED:
		return DNS_REFUSED;
	case ARES_ECONNREFUSED:
		if (query->last_rcode == RCODE_REFUSED)
			return DNS_REFUSED;
		if (query->last_rcode > 0)
			return DNS_SERVER_FAILED;
		return query->socket_error ? DNS_LOCAL_ERROR : DNS_UNREACHABLE;
	case ARES_ETIMEOUT:
		return query->socket_error ? DNS_LOCAL_ERROR : DNS_TIMEOUT;
	case ARES_ENOMEM:
	case ARES_EDESTRUCTION:
	case ARES_ECANCELLED:
		return DNS_LOCAL_ERROR;
	default:
		return DNS_SERVER_FAILED;
	}
}

static void take_addresses(struct dns_answer *answer, const struct ares_addrinfo *info)
{
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)node->ai_addr;
		struct ip ip = { .b = { [10] = 0xff, [11] = 0xff } };

		if (node->ai_family != AF_INET || answer->n == DNS_ADDRESSES_MAX)
			continue;
		memcpy(ip.b + 12, &in->sin_addr, 4);
		answer->address[answer->n++] = ip;
	}
}

/*
 * c-ares may call this from within any of its functions, where nothing may be
 * freed: the answer is only noted, and delivered when c-ares has returned.
 */
static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_query *query = user;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		take_addresses(&query->answer, info);
	if (info)
		ares_freeaddrinfo(info);

	if (status == ARES_SUCCESS)
		query->answer.outcome = query->answer.n > 0 ? DNS_FOUND : DNS_NO_ADDRESS;
	else
		query->answer.outcome = failure(query, status);
	query->answered = true;
}

static void deliver(struct dns_query *query)
{
	struct dns_answer answer = query->answer;

	/* Whatever it led to, no server need be to blame. */
	if (answer.outcome != DNS_FOUND && query->heap_failures != heap_failures())
		answer.outcome = DNS_LOCAL_ERROR;
	timer_stop(&query->retry);
	timer_stop(&query->deadline);
	answer.detail = dns_outcome_text(answer.outcome);
	query->fn(query->user, &answer); /* may free the query */
}

static int on_deadline(struct timer *timer)
{
	struct dns_query *query = container_of(timer, struct dns_query, deadline);

	if (!query->answered) {
		query->answer.outcome = failure(query, ARES_ETIMEOUT);
		query->answered = true;
	}
	deliver(query);
	return 0;
}

/* Set-up */

/* Every option that c-ares would otherwise look up in files of the agent's own mount namespace. */
static int open_channel(struct dns_query *query, const struct dns_request *request)
{
	char lookups[] = "b";
	uint64_t try_ms = request->timeout_ns / NSEC_PER_MSEC / 4;
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = try_ms < TRY_MS_MIN ? TRY_MS_MIN : (int)try_ms,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = on_state,
		.sock_state_cb_data = query,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
	           ARES_OPT_SOCK_STATE_CB | ARES_OPT_NDOTS | ARES_OPT_DOMAINS | ARES_OPT_SERVERS |
	           ARES_OPT_SORTLIST;

	return ares_init_options(&query->channel, &options, mask) == ARES_SUCCESS ? 0 : -ENOMEM;
}

static int set_servers(struct dns_query *query, const struct dns_servers *servers)
{
	struct ares_addr_port_node nodes[DNS_SERVERS_MAX] = { 0 };

	for (size_t i = 0; i < servers->n; i++) {
		const struct ip *ip = &servers->address[i];
		bool v4 = ip_is_v4(ip);

		nodes[i].family = v4 ? AF_INET : AF_INET6;
		memcpy(&nodes[i].addr, ip->b + (v4 ? 12 : 0), v4 ? 4 : 16);
		nodes[i].udp_port = nodes[i].tcp_port = servers->port[i];
		nodes[i].next = i + 1 < servers->n ? &nodes[i + 1] : NULL;
	}
	return ares_set_servers_ports(query->channel, nodes) == ARES_SUCCESS ? 0 : -ENOMEM;
}

static int ask(struct dns_query *query, const char *name, uint64_t timeout_ns)
{
	static const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = AF_INET,
		.ai_socktype = SOCK_STREAM,
	};
	int r;

	ares_set_socket_functions(query->channel, &socket_functions, query);
	ares_getaddrinfo(query->channel, name, NULL, &hints, on_answer, query);

	/* Answered without a packet: delivered from the loop like any other. */
	r = timer_set(&query->deadline, query->answered ? 0 : timeout_ns, 0);
	if (r < 0 || query->answered)
		return r;
	return arm_retry(query);
}

/* For the life of the process, so that c-ares counts what it found no memory for. */
static int init_library(void)
{
	static bool done;

	if (!done)
		done = ares_library_init_mem(ARES_LIB_INIT_ALL, heap_malloc, heap_free,
		                             heap_realloc) == ARES_SUCCESS;
	return done ? 0 : -ENOMEM;
}

int dns_query_new(struct loop *loop, const struct dns_request *request, struct dns_query **out)
{
	cleanup(dns_query_freep) struct dns_query *query = NULL;
	int r;

	if (init_library() < 0)
		return -ENOMEM;
	query = calloc(1, sizeof(*query));
	if (!query)
		return -ENOMEM;
	query->loop = loop;
	query->retry = query->deadline = (struct timer)TIMER_INIT;
	query->heap_failures = heap_failures();
	query->last_rcode = -1;
	query->fn = request->fn;
	query->user = request->user;
	if (request->opener)
		query->opener = *request->opener;

	r = timer_init(&query->retry, loop, on_retry);
	if (r == 0)
		r = timer_init(&query->deadline, loop, on_deadline);
	if (r == 0)
		r = open_channel(query, request);
	if (r == 0)
		r = set_servers(query, request->servers);
	if (r == 0)
		r = ask(query, request->name, request->timeout_ns);
	if (r < 0)
		return r;

	*out = take_ptr(query);
	return 0;
}

struct dns_query *dns_query_free(struct dns_query *query)
{
	if (!query)
		return NULL;

	if (query->channel)
		ares_destroy(query->channel);
	while (query->sockets)
		forget_socket(&query->sockets);
	timer_clear(&query->retry);
	timer_clear(&query->deadline);
	free(query);
	return NULL;
}

const char *dns_client_version(void)
{
	return ares_version(NULL);
}
