/*
 * What the loader must know of a network namespace and its interfaces. To be
 * called inside the namespace.
 */
#pragma once

#include <stdint.h>

/* A socket to ask with, and the namespace's cookie (5.14), by which the kernel's own records name it. */
int interface_socket(int *fd, uint64_t *cookie);

/*
 * Bytes before the IP header where packets leave: 14 with Ethernet, 0 on
 * tunnels. -EPROTONOSUPPORT: neither; -ENODEV: no such interface.
 */
int interface_l2_bytes(int socket_fd, uint32_t ifindex, uint32_t *out);
