/*
 * One question and one answer over UDP, with retransmission.
 *
 * The socket is connected, so the kernel drops datagrams from elsewhere and
 * reports ICMP errors. What counts as the answer the caller says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "io/probe_socket.h"

enum udp_outcome {
	UDP_ANSWERED,
	UDP_TIMEOUT,
	UDP_REFUSED,     /* ICMP port unreachable */
	UDP_UNREACHABLE, /* ICMP or no route */
	UDP_LOCAL_ERROR, /* no socket, not permitted */
};

struct udp_exchange;

/* True takes the datagram as the answer; anything else is passed over. */
typedef bool (*udp_accept_fn)(void *user, const uint8_t *data, size_t len);
/* The exchange may be freed from here. `error` is 0 or the errno behind the outcome. */
typedef void (*udp_done_fn)(void *user, enum udp_outcome outcome, int error);

struct udp_request {
	struct ip peer;
	uint16_t port;
	const void *data; /* copied; at most UDP_REQUEST_MAX */
	size_t len;
	uint64_t timeout_ns;
	uint64_t retransmit_ns; /* after the first and again after the second; 0: never */
	unsigned int retransmits;
	const struct socket_opener *opener; /* copied; NULL: the agent's own namespace */
	udp_accept_fn accept;
	udp_done_fn done; /* once, from the loop, never from udp_exchange_new() */
	void *user;
};

int udp_exchange_new(struct loop *loop, const struct udp_request *request,
                     struct udp_exchange **out);
/* Cancels when it is not done yet. */
struct udp_exchange *udp_exchange_free(struct udp_exchange *exchange);
