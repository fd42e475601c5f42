/*
 * Explain: which way a packet of a subject must take, which rule says so, what
 * the pod's live routes would do with it, and what was seen.
 *
 * Pure; used by the API and by `explain --pod NS/POD --to ADDRESS`.
 */
#pragma once

#include "flow/flow.h"
#include "inventory/subject.h"

enum explain_live {
	EXPLAIN_LIVE_UNKNOWN, /* live configuration not readable, or a rule that is not modelled */
	EXPLAIN_LIVE_NONE,    /* no route: the packet does not leave */
	EXPLAIN_LIVE_TUNNEL,
	EXPLAIN_LIVE_OTHER, /* an interface that is not the tunnel */
	_EXPLAIN_LIVE_MAX,
};

enum explain_agreement {
	EXPLAIN_UNKNOWN,
	EXPLAIN_AGREES,
	EXPLAIN_DIFFERS,
	_EXPLAIN_AGREEMENT_MAX,
};

#define EXPLAIN_TEXT_MAX 256

struct explain {
	struct ip dst;
	struct path_answer expected; /* match borrowed from the subject's policy */
	bool governed; /* false: no policy for it, `expected` says nothing but cluster or not */
	char match[CIDR_TEXT_MAX];        /* "" when no prefix decided */
	char rule[EXPLAIN_TEXT_MAX];      /* a sentence: which rule says so */
	char must_interface[IF_NAMESIZE]; /* tunnel's name when it must take it, else "" */

	enum explain_live live;
	char interface[IF_NAMESIZE];  /* "" without route */
	char route[EXPLAIN_TEXT_MAX]; /* as `ip route` would show it; "" without */

	enum explain_agreement agreement;
	char verdict[EXPLAIN_TEXT_MAX]; /* a sentence */

	/* Flows to exactly that address; the borrowed one is the newest, NULL: none. */
	size_t n_flows;
	uint64_t packets, bytes;
	const struct flow *newest;
};

/* `flows`: any flows of the subject. */
void explain(const struct subject *subject, const struct ip *dst, const struct flow *const *flows,
             size_t n_flows, struct explain *out);

const char *explain_live_name(enum explain_live live);                /* "unknown", "none" … */
const char *explain_agreement_name(enum explain_agreement agreement); /* "unknown", "agrees" … */
