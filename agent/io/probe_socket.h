/*
 * Sockets of probes.
 *
 * A probe's socket lives in another network namespace, and who may open one
 * there is not the probe's affair: it is handed a function that does. Every
 * such socket carries PROBE_PRIORITY, by which the packet programs know the
 * agent's own probes from the pod's traffic.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "base/ip.h"

/*
 * A new socket, SOCK_NONBLOCK and SOCK_CLOEXEC, or -errno. Called while a
 * probe runs: `user` must outlive it.
 */
typedef int (*socket_fn)(void *user, int family, int type, int protocol);

struct socket_opener {
	socket_fn open; /* NULL: a socket in the agent's own namespace */
	void *user;     /* borrowed */
};

/* The descriptor, marked as a probe's, or -errno. `opener` may be NULL. */
int probe_socket_open(const struct socket_opener *opener, int family, int type, int protocol);

bool probe_socket_is_to(const struct sockaddr *address, const struct ip *ip);
