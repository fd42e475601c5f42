#include "io/probe_socket.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "limits.h"

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
	return fd;
}
