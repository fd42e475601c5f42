#include "flow/interface.h"

#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if_arp.h>
#include <linux/if_ether.h>

#include "base/cleanup.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int interface_socket(int *out, uint64_t *cookie)
{
	cleanup(fd_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(*cookie);
	uint64_t value;

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &size) < 0)
		return -errno;
	*cookie = value;
	*out = take_fd(&fd);
	return 0;
}

int interface_l2_bytes(int socket_fd, uint32_t ifindex, uint32_t *out)
{
	struct ifreq request = { .ifr_ifindex = (int)ifindex };

	if (ioctl(socket_fd, SIOCGIFNAME, &request) < 0 ||
	    ioctl(socket_fd, SIOCGIFHWADDR, &request) < 0)
		return -errno;

	switch (request.ifr_hwaddr.sa_family) {
	case ARPHRD_ETHER:
		*out = ETH_HLEN;
		return 0;
	case ARPHRD_NONE: /* WireGuard, tun */
	case ARPHRD_RAWIP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
		*out = 0;
		return 0;
	default:
		return -EPROTONOSUPPORT;
	}
}
