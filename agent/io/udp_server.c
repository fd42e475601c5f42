#include "io/udp_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"

/* Datagrams per wake-up: a flood of them must not starve the HTTP side. */
#define BATCH_MAX 64

struct udp_server {
	struct loop_source source;
	int fd; /* owned */
	udp_server_fn fn;
	void *user;
	struct udp_server_stats stats;
};

DEFINE_FREEP(struct udp_server, udp_server)

union socket_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* One control message: to which of our addresses it came; sent back, it chooses the source. */
union control {
	struct cmsghdr align;
	char in[CMSG_SPACE(sizeof(struct in_pktinfo))];
	char in6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static void read_peer(const union socket_address *from, struct ip *ip, uint16_t *port)
{
	*ip = (struct ip){ .b = { [10] = 0xff, [11] = 0xff } };
	if (from->any.sa_family == AF_INET) {
		memcpy(ip->b + 12, &from->in.sin_addr, 4);
		*port = ntohs(from->in.sin_port);
	} else {
		memcpy(ip->b, &from->in6.sin6_addr, 16);
		*port = ntohs(from->in6.sin6_port);
	}
}

/* The source address of the answer, without the interface: the routes choose that. */
static void keep_address_only(struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	if (!control) {
		message->msg_control = NULL;
	} else if (control->cmsg_level == IPPROTO_IP) {
		struct in_pktinfo info;

		memcpy(&info, CMSG_DATA(control), sizeof(info));
		info.ipi_ifindex = 0;
		memcpy(CMSG_DATA(control), &info, sizeof(info));
	} else {
		struct in6_pktinfo info;

		/* A link-local address means nothing without its interface. */
		memcpy(&info, CMSG_DATA(control), sizeof(info));
		if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
			info.ipi6_ifindex = 0;
		memcpy(CMSG_DATA(control), &info, sizeof(info));
	}
}

/* False when nothing waits. */
static bool serve_one(struct udp_server *server)
{
	uint8_t in[UDP_ANSWER_MAX], out[UDP_ANSWER_MAX];
	union socket_address from;
	union control control;
	struct iovec data = { .iov_base = in, .iov_len = sizeof(in) };
	struct msghdr message = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct ip peer;
	uint16_t port;
	ssize_t n;

	n = recvmsg(server->fd, &message, 0);
	if (n < 0)
		return errno != EAGAIN;
	server->stats.received++;

	read_peer(&from, &peer, &port);
	data.iov_base = out;
	data.iov_len = 0;
	if (!(message.msg_flags & MSG_TRUNC) && port != 0)
		data.iov_len = server->fn(server->user, in, (size_t)n, &peer, port, out);
	if (data.iov_len == 0) {
		server->stats.ignored++;
		return true;
	}

	keep_address_only(&message);
	if (sendmsg(server->fd, &message, MSG_NOSIGNAL) < 0)
		server->stats.dropped++;
	else
		server->stats.answered++;
	return true;
}

static int on_readable(struct loop_source *source, uint32_t events)
{
	struct udp_server *server = container_of(source, struct udp_server, source);

	(void)events;
	for (int i = 0; i < BATCH_MAX; i++)
		if (!serve_one(server))
			break;
	return 0;
}

static int set_options(int fd, bool v4)
{
	int on = 1, off = 0;

	if (v4)
		return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		return -1;
	return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
}

static int bind_to(int fd, const struct ip *address, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (ip_is_v4(address)) {
		memcpy(&in.sin_addr, address->b + 12, 4);
		return bind(fd, (struct sockaddr *)&in, sizeof(in));
	}
	memcpy(&in6.sin6_addr, address->b, 16);
	return bind(fd, (struct sockaddr *)&in6, sizeof(in6));
}

int udp_server_new(struct loop *loop, const struct ip *address, uint16_t port, udp_server_fn fn,
                   void *user, struct udp_server **out)
{
	cleanup(udp_server_freep) struct udp_server *server = calloc(1, sizeof(*server));
	bool v4 = ip_is_v4(address);
	int r;

	if (!server)
		return -ENOMEM;
	server->fn = fn;
	server->user = user;
	server->fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->fd < 0 || set_options(server->fd, v4) < 0 ||
	    bind_to(server->fd, address, port) < 0)
		return -errno;

	r = loop_add(loop, &server->source, server->fd, EPOLLIN, on_readable);
	if (r < 0)
		return r;
	*out = take_ptr(server);
	return 0;
}

struct udp_server *udp_server_free(struct udp_server *server)
{
	if (!server)
		return NULL;

	loop_remove(&server->source);
	fd_closep(&server->fd);
	free(server);
	return NULL;
}

struct udp_server_stats udp_server_stats(const struct udp_server *server)
{
	return server->stats;
}
