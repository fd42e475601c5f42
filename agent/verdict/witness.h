/*
 * Witness: what one echo's answer is worth as proof.
 *
 * An answer proves something only when the question had to take the gateway
 * and the echo can see the address the gateway shows. Everything else is kept
 * and named, but neither proves nor accuses.
 */
#pragma once

#include "inventory/subject.h"
#include "probe/result.h"

enum witness_standing {
	WITNESS_NOT_ASKED,   /* skipped, or a fault of our own: says nothing */
	WITNESS_ALLOWED,     /* saw an address of the gateway's prefix */
	WITNESS_OUTSIDE,     /* saw another address */
	WITNESS_SILENT,      /* no answer: resolve, connect, TLS, timeout, reset */
	WITNESS_UNUSABLE,    /* answered, but not with one address */
	WITNESS_IMPLAUSIBLE, /* an address its question cannot have had as source */
	/* From here on an echo that can prove nothing about the gateway. */
	WITNESS_EXEMPT,     /* its address must not take the gateway */
	WITNESS_UNEXPECTED, /* likewise, and yet it saw the gateway's address */
	WITNESS_PUBLIC,     /* private mode: a public echo sees a firewall's or NAT's address */
	WITNESS_INSIDE, /* public mode: an echo inside the network sees the node's secondary address */
	_WITNESS_MAX,
};

struct witness {
	uint16_t echo, peer_port;
	bool udp;
	uint8_t outcome, phase; /* enum probe_outcome, enum probe_phase */
	uint8_t standing;       /* enum witness_standing */
	struct ip peer, observed;
	int64_t started_us, finished_us;
};

/* `subject->gateway` must have a prefix. */
struct witness witness_of(const struct subject *subject, const struct probe_result *result);
/* An echo that was not asked; `peer` is its newest known address, all zero: none. */
struct witness witness_absent(const struct subject *subject, const struct ip *peer, uint16_t echo,
                              bool udp);

bool witness_capable(const struct witness *witness); /* could prove something */
bool witness_has_peer(const struct ip *peer);        /* not all zero */
const char *witness_standing_name(enum witness_standing standing);

/* "ifconfig connect-timeout", "trace saw 198.51.100.7" … appended to out. */
void witness_describe(const struct witness *witness, const char *echo, char *out, size_t size);
