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
#include <stdint.h>
#include <sys/socket.h>

#include "base/ip.h"

/*
 * A new socket for one peer, SOCK_NONBLOCK and SOCK_CLOEXEC: not connected, or
 * on its way there already, where connect(2) does nothing (io/privileged.h).
 * Or -errno. Called while a probe runs: `user` must outlive it.
 */
typedef int (*socket_fn)(void *user, int family, int type, int protocol,
                         const struct sockaddr *peer);

struct socket_opener {
	socket_fn open; /* NULL: a socket in the agent's own namespace */
	void *user;     /* borrowed */
};

/*
 * The descriptor, marked as a probe's, or -errno: probe_socket_refused() tells
 * whose fault. `opener` may be NULL. The caller connects it all the same.
 */
int probe_socket_open(const struct socket_opener *opener, int family, int type, int protocol,
                      const struct sockaddr *peer);
/*
 * The error (positive) is connect(2)'s word on the way to the peer. Else there
 * was no socket to try it with: no descriptor, no memory, the namespace is
 * gone; or nobody but the caller connects.
 */
bool probe_socket_refused(int error);

/* As every probe's socket is, before it is connected; what takes privilege is left out without. */
void probe_socket_mark(int fd, int type);

/* To and from the form that sockets take; -EAFNOSUPPORT when it is neither IPv4 nor IPv6. */
socklen_t probe_socket_address(const struct ip *ip, uint16_t port, struct sockaddr_storage *out);
int probe_socket_peer(const struct sockaddr *address, struct ip *ip, uint16_t *port);

bool probe_socket_is_to(const struct sockaddr *address, const struct ip *ip);
