/*
 * Verdicts: the words of the contract, and the values that carry them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/ip.h"

/* From worst to best. */
enum subject_state {
	STATE_VIOLATED,
	STATE_UNVERIFIED,
	STATE_PENDING,
	STATE_VERIFIED,
	_STATE_MAX,
};

enum violation_kind {
	WRONG_SOURCE_ADDRESS,
	GATEWAY_BYPASS,
	UNGOVERNED_EGRESS,
	UNEXPECTED_GATEWAY,
	UNPROGRAMMED_POD,
	STALE_ROUTES,
	TUNNEL_BROKEN,
	EGRESS_UNREACHABLE,
	UNASSIGNED_PREFIX,
	MISSING_CONFIGURATION,
	_VIOLATION_KIND_MAX,
};

/* Whose address was seen. */
enum attribution {
	ATTRIBUTION_NONE,     /* nothing was seen */
	ATTRIBUTION_EXPECTED, /* the gateway's own prefix */
	ATTRIBUTION_GATEWAY,  /* another StaticGatewayConfiguration: attribution_name says which */
	ATTRIBUTION_NODE,     /* this node's own address */
	ATTRIBUTION_OUTBOUND, /* what the node's control probe sees: the cluster's outbound address */
	ATTRIBUTION_UNKNOWN,
	_ATTRIBUTION_MAX,
};

const char *state_name(enum subject_state state);          /* "violated" … */
const char *violation_kind_name(enum violation_kind kind); /* "wrong-source-address" … */
const char *attribution_name(enum attribution attribution);
bool violation_kind_parse(const char *text, enum violation_kind *out);

#define REASON_MAX 512 /* a sentence that names five echoes, each with what is wrong with it */
#define REMEDY_MAX 512

/* One fault that holds now, as the judge found it. */
struct finding {
	enum violation_kind kind;
	uint64_t count;          /* how often it was seen since it began: rounds, or connections */
	struct moment first;     /* when the fault began, from the evidence itself */
	struct moment last;      /* newest evidence of it */
	char reason[REASON_MAX]; /* one sentence */
	char remedy[REMEDY_MAX]; /* what to do, with the command */
	char *evidence;          /* owned; JSON object; an auditor recomputes the finding from it */
};

void finding_clear(struct finding *finding);
