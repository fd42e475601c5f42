#include "io/probe_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "io/privileged.h"
#include "limits.h"

/*
 * A probe ends with a reset: by then the whole answer was read. A socket in
 * TIME_WAIT would keep a port of the pod, and what it acknowledges has no
 * priority any more (seen with Linux 6.18), so that the answer to a server's
 * late FIN would count as the pod's and accuse it.
 */
static void end_with_reset(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static int plain_type(int type)
{
	return type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void probe_socket_mark(int fd, int type)
{
	int priority = PROBE_PRIORITY;

	/*
	 * A priority above 6 takes CAP_NET_ADMIN over the namespace. Without it the
	 * probe works all the same; its packets then count as the pod's, unless a
	 * privileged opener set it beforehand.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	if (plain_type(type) == SOCK_STREAM)
		end_with_reset(fd);
}

static int open_privileged(int type, const struct sockaddr *peer)
{
	struct ip ip;
	uint16_t port;
	int fd, r;

	r = probe_socket_peer(peer, &ip, &port);
	if (r < 0)
		return r;
	r = privileged()->connect(-1, plain_type(type), &ip, port, &fd);
	return r < 0 ? r : fd;
}

int probe_socket_open(const struct socket_opener *opener, int family, int type, int protocol,
                      const struct sockaddr *peer)
{
	int fd;

	if (opener && opener->open) {
		fd = opener->open(opener->user, family, type, protocol, peer);
	} else if (privileged()) {
		fd = open_privileged(type, peer);
	} else {
		fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
		if (fd < 0)
			return -errno;
	}
	if (fd >= 0 && !privileged()) /* else it was, by who opened it */
		probe_socket_mark(fd, type);
	return fd;
}

bool probe_socket_refused(int error)
{
	if (!privileged())
		return false;
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case EADDRNOTAVAIL: /* no source address: the namespace has no way there */
	case EPERM:         /* dropped by a rule in OUTPUT */
	case EACCES:        /* a prohibit route */
	case EINVAL:        /* a blackhole route */
		return true;
	default:
		return false;
	}
}

socklen_t probe_socket_address(const struct ip *ip, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(out, 0, sizeof(*out));
	if (ip_is_v4(ip)) {
		memcpy(&in.sin_addr, ip->b + 12, 4);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, ip->b, 16);
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

int probe_socket_peer(const struct sockaddr *address, struct ip *ip, uint16_t *port)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (address->sa_family == AF_INET) {
		memcpy(&in, address, sizeof(in));
		*ip = (struct ip){ .b = { [10] = 0xff, [11] = 0xff } };
		memcpy(ip->b + 12, &in.sin_addr, 4);
		*port = ntohs(in.sin_port);
		return 0;
	}
	if (address->sa_family != AF_INET6)
		return -EAFNOSUPPORT;
	memcpy(&in6, address, sizeof(in6));
	memcpy(ip->b, &in6.sin6_addr, 16);
	*port = ntohs(in6.sin6_port);
	return 0;
}

bool probe_socket_is_to(const struct sockaddr *address, const struct ip *ip)
{
	struct ip other;
	uint16_t port;

	return probe_socket_peer(address, &other, &port) == 0 &&
	       memcmp(&other, ip, sizeof(other)) == 0;
}
