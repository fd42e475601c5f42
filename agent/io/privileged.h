/*
 * What takes privilege, for those who have none.
 *
 * The worker has no capability: what needs one it asks of the broker, which
 * looks at each request and does it, or does not (broker/). A process that has
 * what it takes (a test, a bench) sets nothing, and every module does these
 * things itself. Set once, before any module is made.
 */
#pragma once

#include <stdint.h>

#include "base/ip.h"
#include "io/listener.h"
#include "io/wireguard.h"

/* Each returns 0 or -errno; *fd is the caller's then, SOCK_NONBLOCK and close-on-exec. -1: no namespace but our own. */
struct privileged {
	/* As netns_open(). */
	int (*netns_open)(const char *path, int *fd, uint64_t *inode);
	/*
	 * A socket on its way to the peer, marked as a probe's: connect(2) was called
	 * on it already, and does nothing (EINPROGRESS) in the process that asks.
	 * What it answered, if it failed, comes as it is; -EOPNOTSUPP: it was not
	 * called, because the peer is not granted or the namespace not entered.
	 * type is SOCK_STREAM or SOCK_DGRAM.
	 */
	int (*connect)(int netns_fd, int type, const struct ip *peer, uint16_t port, int *fd);
	/* A NETLINK_ROUTE socket, bound to these RTMGRP_* groups; 0: to none. */
	int (*netlink)(int netns_fd, uint32_t groups, int *fd);
	/* As wireguard_read(): the broker has no use for keys and passes none on. */
	int (*tunnel)(int netns_fd, uint32_t ifindex, struct wireguard_device *out);
	/* Where the answer of a userspace WireGuard to "get=1" can be read, without its private lines. */
	int (*tunnel_answer)(const char *name, int *fd);
	/* A file or folder that the configuration names, for reading. Asked only when open(2) was refused. */
	int (*file)(const char *path, int *fd);
	int (*listen)(const struct listener_address *address, int *fd);
};

/* Borrowed for the life of the process. NULL: we have what it takes. */
void privileged_set(const struct privileged *privileged);
const struct privileged *privileged(void);
