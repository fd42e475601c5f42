#include "io/probe_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
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

int probe_socket_open(const struct socket_opener *opener, int family, int type, int protocol)
{
	int priority = PROBE_PRIORITY;
	int fd;

	if (opener && opener->open) {
		fd = opener->open(opener->user, family, type, protocol);
		if (fd < 0)
			return fd;
	} else {
		fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
		if (fd < 0)
			return -errno;
	}

	/*
	 * A priority above 6 takes CAP_NET_ADMIN over the namespace. Without it the
	 * probe works all the same; its packets then count as the pod's, which is
	 * what a privileged opener that sets it beforehand is for.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM)
		end_with_reset(fd);
	return fd;
}

bool probe_socket_is_to(const struct sockaddr *address, const struct ip *ip)
{
	if (address->sa_family == AF_INET)
		return ip_is_v4(ip) &&
		       memcmp(&((const struct sockaddr_in *)address)->sin_addr, ip->b + 12, 4) == 0;
	return address->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)address)->sin6_addr, ip->b, 16) == 0;
}
