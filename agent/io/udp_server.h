/*
 * Datagrams in, at most one datagram each back.
 *
 * An answer leaves from the address that was asked, also when the socket
 * listens on all: a client that connected its socket takes no other.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "limits.h"

struct udp_server;

struct udp_server_stats {
	uint64_t received, answered;
	uint64_t
		ignored; /* the function had no answer, or the datagram was longer than UDP_ANSWER_MAX */
	uint64_t dropped; /* the answer could not be sent */
};

/* Writes the answer and returns its length; 0: none. */
typedef size_t (*udp_server_fn)(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                                uint16_t port, uint8_t out[static UDP_ANSWER_MAX]);

/* [::] takes IPv4 as well. */
int udp_server_new(struct loop *loop, const struct ip *address, uint16_t port, udp_server_fn fn,
                   void *user, struct udp_server **out);
struct udp_server *udp_server_free(struct udp_server *server);

struct udp_server_stats udp_server_stats(const struct udp_server *server);
