/*
 * Asks echoes and brings results.
 *
 * Each request accepted brings exactly one result, in the loop and never from
 * within a call here, unless it is cancelled. At most `in_flight` run at once; the others
 * wait in order. What is due when is the schedule's affair.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "io/probe_socket.h"
#include "limits.h"
#include "probe/result.h"
#include "probe/target.h"

struct prober;

/* Everything is copied. */
#define PROBER_RESOLV_CONF "/etc/resolv.conf" /* unless the options say otherwise */

struct prober_options {
	const struct prober_echo *echoes;
	size_t n_echoes;
	uint64_t timeout_ns;
	unsigned int in_flight;  /* 0: PROBES_IN_FLIGHT_MAX */
	const char *resolv_conf; /* NULL: /etc/resolv.conf; read again when it changes */
	const char *ca_bundle;   /* NULL: $SSL_CERT_FILE, else Debian's */
	bool resume_tls;         /* keep TLS sessions, per subject */
};

struct prober_request {
	uint32_t subject; /* or PROBE_SUBJECT_NODE */
	uint64_t generation;
	uint32_t round;
	uint16_t echo;
	struct socket_opener
		opener; /* open NULL: the agent's own namespace; user outlives the probe */
};

struct prober_counts {
	uint64_t attempts[ECHOES_MAX]; /* by echo */
	uint64_t failures[ECHOES_MAX][_PROBE_OUTCOME_MAX];
	uint64_t refused; /* the queue was full */
	uint64_t cancelled;
};

/* The result is borrowed for the call, which may start and cancel. */
typedef void (*prober_fn)(void *user, const struct probe_result *result);

/* -EINVAL with *reason (constant) and *which echo when one cannot be asked; both may be NULL. */
int prober_new(struct loop *loop, const struct prober_options *options, prober_fn fn, void *user,
               const char **reason, size_t *which, struct prober **out);
struct prober *prober_free(struct prober *prober);

/* -EBUSY: PROBES_QUEUED_MAX wait already. No result follows a failure: probe_result_skipped(). */
int prober_start(struct prober *prober, const struct prober_request *request);
/* Drops what runs and waits for this subject, and its TLS sessions; no result follows. */
void prober_cancel(struct prober *prober, uint32_t subject);

size_t prober_pending(const struct prober *prober); /* running and waiting */
const struct prober_counts *prober_counts(const struct prober *prober);
/* For a request that was not asked. */
void probe_result_skipped(const struct prober *prober, const struct prober_request *request,
                          const char *why, struct probe_result *out);
