/*
 * Facts of a WireGuard tunnel: peers, traffic, last handshake.
 *
 * The kernel module answers over generic netlink inside the namespace. A
 * userspace implementation (wireguard-go, boringtun) answers on a socket in the
 * file system, named as the link was when it was made: the cross-platform
 * interface of wireguard.com/xplatform. Private and preshared keys come with
 * both answers; they are never copied, and the buffers they came in are wiped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "base/timer.h"
#include "limits.h"

struct wireguard_peer {
	uint8_t key[32];
	bool has_endpoint;
	struct ip endpoint;
	uint16_t endpoint_port;
	struct cidr allowed[LIVE_ALLOWED_IPS_MAX];
	size_t n_allowed;
	int64_t handshake_us; /* wall; 0: never */
	uint64_t rx_bytes, tx_bytes;
};

struct wireguard_device {
	bool has_key; /* the userspace answer holds the private key only: its public one is unknown */
	uint8_t key[32];
	uint16_t listen_port;
	struct wireguard_peer peers[LIVE_PEERS_MAX];
	size_t n_peers;
	bool truncated; /* peers or allowed addresses past the limits are not here */
};

/*
 * Asks the kernel. -ENOENT: it has no WireGuard; -EOPNOTSUPP: the link is no
 * WireGuard of the kernel's; -EPERM: CAP_NET_ADMIN is missing.
 */
int wireguard_read(int netns_fd, uint32_t ifindex, struct wireguard_device *out);

/* Adds what one message of the kernel's answer says; a peer may be spread over several. */
struct nlmsghdr;
int wireguard_decode(const struct nlmsghdr *message, struct wireguard_device *device);

/*
 * A whole answer to "get=1": lines of key=value, then errno=0 and an empty
 * line. Keys that we do not know are passed over. -EBADMSG for anything else
 * and *out untouched; the implementation's own error as -errno. Writes into
 * `text` while it reads.
 */
int wireguard_uapi_parse(char *text, size_t len, struct wireguard_device *out);
/* The text ends as a whole answer does: no more will come. */
bool wireguard_uapi_complete(const char *text, size_t len);

/*
 * Asks at DIRECTORY/NAME.sock; *fd is non-blocking and the answer comes there.
 * -EINVAL for a name that is no interface's; -ENOENT, -ECONNREFUSED: nobody is there.
 */
int wireguard_ask(const char *directory, const char *name, int *fd);

/* One question to a userspace implementation; embedded in whoever asks. */
struct wireguard_query;
/* Called once, unless cancelled first. error 0: *device holds the answer, borrowed. */
typedef void (*wireguard_query_fn)(struct wireguard_query *query, int error,
                                   const struct wireguard_device *device);

struct wireguard_query {
	struct loop_source source;
	struct timer timer;
	char *answer; /* owned; never grown, so that no copy of a key stays behind */
	size_t len;
	wireguard_query_fn fn;
	int fd; /* owned; -1: not asking */
};

#define WIREGUARD_QUERY_INIT                  \
	{                                     \
		.timer = TIMER_INIT, .fd = -1 \
	}

/*
 * As wireguard_ask(); -EBUSY while an earlier question is open. Where others ask
 * for us (io/privileged.h), they know the directory.
 */
int wireguard_query_start(struct wireguard_query *query, struct loop *loop, const char *directory,
                          const char *name, wireguard_query_fn fn);
void wireguard_query_cancel(
	struct wireguard_query *query); /* safe twice and on WIREGUARD_QUERY_INIT */
