/*
 * One question to one target: resolve, connect, ask, read the answer.
 *
 * Embedded in whoever starts it. It ends in exactly one call of `done`, which
 * may come from within attempt_begin(); attempt_clear() ends it without.
 */
#pragma once

#include <stdint.h>

#include "base/loop.h"
#include "io/dns_client.h"
#include "io/http_client.h"
#include "io/probe_socket.h"
#include "io/udp_client.h"
#include "probe/result.h"
#include "probe/stun.h"
#include "probe/target.h"

/* What all attempts share. */
struct attempt_env {
	struct loop *loop;        /* borrowed */
	struct http_client *http; /* owned by the prober */
	char *resolv_conf;        /* owned by the prober */
	/* Where that names loopback only; NULL: nowhere else. */
	const char *resolv_conf_behind;
	uint64_t timeout_ns; /* of the whole attempt */
};

struct attempt;

/* attempt->result is complete; the attempt may be cleared and freed. */
typedef void (*attempt_fn)(struct attempt *attempt);

struct attempt {
	const struct attempt_env *env; /* borrowed */
	const struct target *target;   /* borrowed */
	struct socket_opener opener;
	struct http_sessions *sessions; /* borrowed; NULL: a full TLS handshake */
	attempt_fn done;
	uint64_t heap_failures;     /* before it began */
	struct probe_result result; /* the caller fills in what names it */

	struct dns_query *query;        /* owned */
	struct http_transfer *transfer; /* owned */
	struct udp_exchange *exchange;  /* owned */
	struct stun_id id;
};

void attempt_begin(struct attempt *attempt);
/* Cancels what runs. Safe on a zeroed attempt and twice. */
void attempt_clear(struct attempt *attempt);
