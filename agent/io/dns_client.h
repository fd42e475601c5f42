/*
 * Names to IPv4 addresses, asked from a given network namespace.
 *
 * One query is one resolver of its own: nothing is cached and no socket is
 * shared, because an answer is only true in the namespace that asked. Names are
 * absolute: a search list would multiply the queries (ndots:5 in a pod) and
 * make it depend on the pod which host is asked. The gateway carries IPv4
 * only, so AAAA is never asked. No hosts file: the pod's is out of reach.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "io/dns_servers.h"
#include "io/probe_socket.h"
#include "limits.h"

enum dns_outcome {
	DNS_FOUND,
	DNS_NO_NAME,       /* NXDOMAIN */
	DNS_NO_ADDRESS,    /* the name exists, without an A record */
	DNS_BAD_NAME,      /* cannot be asked for */
	DNS_REFUSED,       /* the server said REFUSED */
	DNS_SERVER_FAILED, /* SERVFAIL, NOTIMP or a broken answer */
	DNS_UNREACHABLE,   /* no server could be reached: ICMP, no route, no socket in time */
	DNS_TIMEOUT,
	DNS_LOCAL_ERROR, /* no socket, no memory */
	_DNS_OUTCOME_MAX,
};

struct dns_answer {
	enum dns_outcome outcome;
	struct ip address[DNS_ADDRESSES_MAX]; /* what is beyond the bound is not told */
	size_t n;
	const char *detail; /* constant text */
};

struct dns_query;

/* The query may be freed from here; the answer is borrowed for the call. */
typedef void (*dns_fn)(void *user, const struct dns_answer *answer);

struct dns_request {
	const char *name;                   /* copied; a literal address answers itself */
	const struct dns_servers *servers;  /* copied */
	const struct socket_opener *opener; /* copied; NULL: the agent's own namespace */
	uint64_t timeout_ns;
	dns_fn fn; /* once, from the loop, never from dns_query_new() */
	void *user;
};

int dns_query_new(struct loop *loop, const struct dns_request *request, struct dns_query **out);
/* Cancels when the answer is not there yet. */
struct dns_query *dns_query_free(struct dns_query *query);

const char *dns_outcome_text(enum dns_outcome outcome); /* for people */
const char *dns_client_version(void);                   /* of c-ares */
