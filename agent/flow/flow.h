/*
 * A flow: what a subject sent to one destination, by one interface.
 *
 * The only form of a packet observation outside this directory. Connections
 * that the pod opened are aggregated over their source ports; answers to
 * connections from outside are aggregated over the client's ports and kept per
 * local port.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/ip.h"

enum flow_origin {
	FLOW_LOCAL,  /* opened by the pod */
	FLOW_REMOTE, /* opened from outside: what leaves is an answer */
	_FLOW_ORIGIN_MAX,
};

struct flow_key {
	struct ip remote;
	uint32_t subject;     /* subject.number */
	uint32_t ifindex;     /* in the pod's network namespace */
	uint16_t remote_port; /* host order; only with FLOW_LOCAL; 0 where the protocol has none */
	uint16_t local_port;  /* host order; only with FLOW_REMOTE, else 0 */
	uint8_t protocol;     /* IPPROTO_* */
	uint8_t origin;       /* enum flow_origin */
	uint8_t pad[2];       /* zero: keys are compared as bytes */
};

struct flow {
	struct flow_key key;
	uint64_t packets, bytes; /* IP bytes */
	uint32_t connections;    /* TCP: SYNs that were no retransmission; others: 1 */
	uint32_t failed;         /* TCP: ended in SYN_SENT */
	struct moment first, last;
	uint8_t path;   /* enum path: the way it took, set by the owner of the policy */
	bool offending; /* took another way than it must; set by the owner of the policy */
	bool unjudged; /* sent while no agent was here; until the owner of the policy has judged it */
};

/* What a flow gained since it was looked at last. */
struct flow_delta {
	uint64_t packets, bytes;
	uint32_t connections;
};

const char *flow_protocol_name(uint8_t protocol,
                               char buf[static 8]);    /* "tcp", "udp", "icmp" or the number */
const char *flow_origin_name(enum flow_origin origin); /* "local", "remote" */
