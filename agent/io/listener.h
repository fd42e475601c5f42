/*
 * Listening stream sockets from text: "ADDR:PORT", "[V6]:PORT", "unix:/PATH".
 *
 * Accepts; what is spoken on a connection is the caller's affair.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"

#define LISTENER_TEXT_MAX 120 /* "unix:" and sun_path, or an address and a port */

struct listener_address {
	bool local; /* a unix socket */
	char path[108];
	struct ip ip;
	uint16_t port;
};

/* The whole text, or -EINVAL and *out untouched. No names: an address says what it opens. */
int listener_parse(const char *text, struct listener_address *out);
/* Nobody but this machine can connect: loopback or a unix socket. */
bool listener_is_loopback(const struct listener_address *address);

/*
 * Non-blocking, close-on-exec, listening; port 0 lets the kernel choose. A unix
 * socket gets mode 0660; a socket file that is there already is replaced only
 * when nobody answers behind it (-EADDRINUSE otherwise), and any other file
 * never (-EEXIST). [::] also takes IPv4.
 */
int listener_open(const struct listener_address *address, int *fd);
/*
 * Closes it; the file of a unix socket goes too, unless somebody else answers
 * there by now, or another process opened it for us (io/privileged.h).
 */
void listener_close(const struct listener_address *address, int *fd);
/* What it is bound to, in the form that listener_parse() reads; returns buf. */
const char *listener_format(const struct listener_address *address,
                            char buf[static LISTENER_TEXT_MAX]);
/* The address with the port that the kernel chose. */
int listener_bound(int fd, const struct listener_address *asked, struct listener_address *out);

struct listener_peer {
	bool local; /* over a unix socket: ip and port are zero */
	struct ip ip;
	uint16_t port;
};

/* -EAGAIN when nobody waits. *fd is non-blocking, close-on-exec and without delay. */
int listener_accept(int listen_fd, int *fd, struct listener_peer *peer);
