/*
 * Sockets to a network namespace's kernel: one request with its answer, and
 * the news that something changed.
 *
 * The kernel answers while we ask, so a request is synchronous; a deadline
 * bounds waiting for a lock. A watch says only that something changed: what,
 * the next dump tells.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

struct nlmsghdr;

/* One socket of one namespace, for any number of requests. */
struct netlink {
	int netns_fd; /* borrowed; -1: our own */
	int protocol; /* NETLINK_ROUTE, NETLINK_GENERIC */
	int fd;       /* owned; -1: none */
	uint32_t seq;
	bool unfinished; /* an answer was left unread: the next request takes a new socket */
};

#define NETLINK_INIT                     \
	{                                \
		.netns_fd = -1, .fd = -1 \
	}

int netlink_open(struct netlink *netlink, int netns_fd, int protocol);
void netlink_close(struct netlink *netlink); /* safe twice and on NETLINK_INIT */

/*
 * One request of any kind and every message of its answer. The request's
 * sequence number is set here. *inconsistent may be NULL.
 */
typedef int (*netlink_message_fn)(void *user, const struct nlmsghdr *message);
int netlink_request(struct netlink *netlink, struct nlmsghdr *request, netlink_message_fn fn,
                    void *user, bool *inconsistent);
/* Overwrites what the last answer left in our memory: it held a secret. */
void netlink_wipe(void);

/*
 * Tells once that something changed; then it is silent, whatever happens, until
 * netlink_watch_rearm(), which also forgets everything that came meanwhile. So
 * rearm first, then dump: nothing is missed and a storm costs one wake-up.
 */
struct netlink_watch;
typedef void (*netlink_watch_fn)(struct netlink_watch *watch);

struct netlink_watch {
	struct loop_source source;
	struct loop *loop; /* borrowed */
	netlink_watch_fn fn;
	int fd; /* owned; -1: closed */
};

#define NETLINK_WATCH_INIT \
	{                  \
		.fd = -1   \
	}

enum netlink_topic {
	NETLINK_TOPIC_ADDRESSES, /* of both families */
	NETLINK_TOPIC_ALL,       /* and links, routes, rules */
};

int netlink_watch_open(struct netlink_watch *watch, struct loop *loop, int netns_fd,
                       enum netlink_topic topic, netlink_watch_fn fn);
int netlink_watch_rearm(struct netlink_watch *watch);
void netlink_watch_close(struct netlink_watch *watch); /* safe twice and on NETLINK_WATCH_INIT */
