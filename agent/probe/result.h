/*
 * What one question to one echo brought.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/ip.h"

enum probe_phase {
	PROBE_RESOLVE,
	PROBE_CONNECT,
	PROBE_TLS,
	PROBE_FIRST_BYTE,
	PROBE_TOTAL,
	_PROBE_PHASE_MAX,
};

/* A closed set: it is the `reason` label of probe_failures_total. */
enum probe_outcome {
	PROBE_ANSWERED,       /* `observed` holds one address */
	PROBE_RESOLVE_FAILED, /* NXDOMAIN, no address, bad name */
	PROBE_RESOLVE_TIMEOUT,
	PROBE_CONNECT_REFUSED,
	PROBE_CONNECT_TIMEOUT,
	PROBE_UNREACHABLE, /* no route, host or network unreachable */
	PROBE_TLS_FAILED,  /* handshake */
	PROBE_TLS_VERIFY,  /* certificate or name */
	PROBE_HTTP_STATUS, /* not 200 */
	PROBE_REDIRECT,    /* 3xx: not followed */
	PROBE_TOO_LARGE,
	PROBE_UNPARSEABLE, /* not exactly one address */
	PROBE_IMPLAUSIBLE, /* an address nobody can have as source: loopback, unspecified, multicast … */
	PROBE_TIMEOUT,      /* after connect: TLS, first byte or body */
	PROBE_RESET,        /* connection closed or reset early */
	PROBE_LOCAL_ERROR,  /* no socket, no namespace, no memory: says nothing about the egress */
	PROBE_RATE_LIMITED, /* 429: the echo asks us to back off */
	PROBE_SKIPPED,      /* budget or concurrency; not asked */
	_PROBE_OUTCOME_MAX,
};

#define PROBE_SUBJECT_NODE UINT32_MAX /* the node's control probe */

struct probe_result {
	uint32_t subject;    /* subject.number or PROBE_SUBJECT_NODE */
	uint64_t generation; /* subject.generation at the start: a reborn pod does not inherit it */
	uint32_t round;
	uint16_t echo; /* index into the configured echoes */
	bool udp;      /* STUN; else TCP */
	enum probe_outcome outcome;
	enum probe_phase phase;              /* where it ended */
	uint32_t phase_us[_PROBE_PHASE_MAX]; /* duration of each phase reached; TOTAL always */
	struct ip peer; /* address that was asked; all zero when none was found */
	uint16_t peer_port;
	struct ip observed;     /* with PROBE_ANSWERED */
	uint16_t http_status;   /* 0: none; of one that was skipped: the answer that it waits for */
	uint32_t retry_after_s; /* with PROBE_RATE_LIMITED */
	struct moment started, finished;
	char detail[96]; /* one printable line for people; "" when there is nothing to add */
};

const char *probe_outcome_name(enum probe_outcome outcome); /* "connect-timeout": label and API */
const char *probe_phase_name(enum probe_phase phase); /* "firstByte": API; metrics use it too */
/* What to tell people: until the pause that it asked for is over, an echo has nothing else to say. */
enum probe_outcome probe_result_shown(const struct probe_result *result);
/* Cut to one printable line. */
void probe_result_set_detail(struct probe_result *result, const char *text);
