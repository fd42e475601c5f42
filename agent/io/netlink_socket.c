#include "io/netlink_socket.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "io/netns.h"
#include "io/privileged.h"
#include "limits.h"

/* One for all requests: the program is single-threaded and no request is nested in another. */
static _Alignas(struct nlmsghdr) char answer[NETLINK_BUFFER_SIZE];

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int netlink_open(struct netlink *netlink, int netns_fd, int protocol)
{
	int fd, r;

	if (privileged() && protocol == NETLINK_ROUTE)
		r = privileged()->netlink(netns_fd, 0, &fd);
	else
		r = netns_socket(netns_fd, AF_NETLINK, SOCK_RAW, protocol, &fd);
	if (r < 0)
		return r;

	*netlink = (struct netlink){ .netns_fd = netns_fd, .protocol = protocol, .fd = fd };
	return 0;
}

void netlink_close(struct netlink *netlink)
{
	fd_closep(&netlink->fd);
}

/* A dump that nobody reads to its end blocks its socket for the next one. */
static int renew(struct netlink *netlink)
{
	uint32_t seq = netlink->seq;
	int r;

	if (!netlink->unfinished)
		return 0;

	netlink_close(netlink);
	r = netlink_open(netlink, netlink->netns_fd, netlink->protocol);
	if (r < 0)
		return r;
	netlink->seq = seq;
	return 0;
}

/* One datagram from the kernel; those of anybody else are dropped. */
static int receive(struct netlink *netlink, uint64_t deadline_ms, size_t *len)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t from_len = sizeof(from);
		struct pollfd pollfd = { .fd = netlink->fd, .events = POLLIN };
		uint64_t now;
		ssize_t n;

		n = recvfrom(netlink->fd, answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC,
		             (struct sockaddr *)&from, &from_len);
		if (n >= 0 && from.nl_pid != 0) {
			/* Who has CAP_NET_ADMIN in a pod can send us any number of them. */
			if (now_ms() >= deadline_ms)
				return -ETIMEDOUT;
			continue;
		}
		if (n > (ssize_t)sizeof(answer))
			return -EMSGSIZE;
		if (n >= 0) {
			*len = (size_t)n;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;

		now = now_ms();
		if (now >= deadline_ms)
			return -ETIMEDOUT;
		(void)poll(&pollfd, 1, (int)(deadline_ms - now));
	}
}

/* 0: more to come; 1: that was the last. Both may carry an error. */
static int end_of(const struct nlmsghdr *message, bool *end)
{
	int error = 0;

	*end = message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE;
	if (!*end)
		return 0;

	/* Before NLMSG_DONE had a status its payload could be empty. */
	if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(error)))
		memcpy(&error, NLMSG_DATA(message), sizeof(error));
	return error < 0 ? error : 0;
}

static int take_messages(struct netlink *netlink, size_t len, netlink_message_fn fn, void *user,
                         bool *inconsistent, bool *end)
{
	size_t at = 0;
	int r;

	while (len - at >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)(answer + at);

		if (message->nlmsg_len < sizeof(*message) || message->nlmsg_len > len - at)
			return -EBADMSG;
		at += NLMSG_ALIGN(message->nlmsg_len);
		at = at < len ? at : len;
		if (message->nlmsg_seq != netlink->seq)
			continue;
		*inconsistent = *inconsistent || (message->nlmsg_flags & NLM_F_DUMP_INTR);
		r = end_of(message, end);
		if (r < 0 || *end)
			return r;
		r = fn(user, message);
		if (r != 0)
			return r;
	}
	return 0;
}

int netlink_request(struct netlink *netlink, struct nlmsghdr *request, netlink_message_fn fn,
                    void *user, bool *inconsistent)
{
	uint64_t deadline_ms = now_ms() + NETLINK_TIMEOUT_MS;
	bool torn = false, end = false;
	size_t len = 0;
	int r;

	r = renew(netlink);
	if (r < 0)
		return r;

	request->nlmsg_seq = ++netlink->seq;
	if (send(netlink->fd, request, request->nlmsg_len, MSG_DONTWAIT) < 0)
		return -errno;

	do {
		r = receive(netlink, deadline_ms, &len);
		if (r == 0)
			r = take_messages(netlink, len, fn, user, &torn, &end);
	} while (r == 0 && !end);

	netlink->unfinished = !end;
	if (inconsistent)
		*inconsistent = torn;
	return r;
}

void netlink_wipe(void)
{
	explicit_bzero(answer, sizeof(answer));
}

/* Watches */

static int on_change(struct loop_source *source, uint32_t events)
{
	struct netlink_watch *watch = container_of(source, struct netlink_watch, source);

	(void)events; /* an overrun or any other error is a change too */
	loop_remove(&watch->source);
	watch->fn(watch);
	return 0;
}

static uint32_t groups_of(enum netlink_topic topic)
{
	uint32_t groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;

	if (topic == NETLINK_TOPIC_ALL)
		groups |= RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE |
		          1u << (RTNLGRP_IPV6_RULE - 1);
	return groups;
}

static void keep_small(int fd)
{
	int small = 1, on = 1;

	/*
	 * One queued message says all that a watch says, so the queue may be as
	 * small as the kernel lets it, and an overrun need not be an error.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
}

static int open_bound(int netns_fd, uint32_t groups, int *out)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = groups };
	cleanup(fd_closep) int fd = -1;
	int r;

	if (privileged()) {
		r = privileged()->netlink(netns_fd, groups, out);
		if (r == 0)
			keep_small(*out);
		return r;
	}
	r = netns_socket(netns_fd, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &fd);
	if (r < 0)
		return r;
	keep_small(fd);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*out = take_fd(&fd);
	return 0;
}

int netlink_watch_open(struct netlink_watch *watch, struct loop *loop, int netns_fd,
                       enum netlink_topic topic, netlink_watch_fn fn)
{
	cleanup(fd_closep) int fd = -1;
	struct netlink_watch opened = { .loop = loop, .fn = fn, .fd = -1 };
	int r;

	r = open_bound(netns_fd, groups_of(topic), &fd);
	if (r < 0)
		return r;

	*watch = opened;
	r = loop_add(loop, &watch->source, fd, EPOLLIN, on_change);
	if (r < 0)
		return r;
	watch->fd = take_fd(&fd);
	return 0;
}

int netlink_watch_rearm(struct netlink_watch *watch)
{
	char byte;

	if (watch->fd < 0 || watch->source.loop)
		return 0;

	/* The queue is small, so this ends; a message that comes later wakes us. */
	for (int i = 0; i < 64; i++)
		if (recv(watch->fd, &byte, sizeof(byte), MSG_DONTWAIT) < 0 && errno == EAGAIN)
			break;
	return loop_add(watch->loop, &watch->source, watch->fd, EPOLLIN, on_change);
}

void netlink_watch_close(struct netlink_watch *watch)
{
	loop_remove(&watch->source);
	fd_closep(&watch->fd);
}
