#include "verdict/verdict.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const state_names[] = {
	[STATE_VIOLATED] = "violated",
	[STATE_UNVERIFIED] = "unverified",
	[STATE_PENDING] = "pending",
	[STATE_VERIFIED] = "verified",
};
static_assert(COUNT(state_names) == _STATE_MAX, "a state has no name");

static const char *const kind_names[] = {
	[WRONG_SOURCE_ADDRESS] = "wrong-source-address",
	[GATEWAY_BYPASS] = "gateway-bypass",
	[UNGOVERNED_EGRESS] = "ungoverned-egress",
	[UNEXPECTED_GATEWAY] = "unexpected-gateway",
	[UNPROGRAMMED_POD] = "unprogrammed-pod",
	[STALE_ROUTES] = "stale-routes",
	[TUNNEL_BROKEN] = "tunnel-broken",
	[EGRESS_UNREACHABLE] = "egress-unreachable",
	[UNASSIGNED_PREFIX] = "unassigned-prefix",
	[MISSING_CONFIGURATION] = "missing-configuration",
};
static_assert(COUNT(kind_names) == _VIOLATION_KIND_MAX, "a kind has no name");

static const char *const attribution_names[] = {
	[ATTRIBUTION_NONE] = "none",         [ATTRIBUTION_EXPECTED] = "expected",
	[ATTRIBUTION_GATEWAY] = "gateway",   [ATTRIBUTION_NODE] = "node",
	[ATTRIBUTION_OUTBOUND] = "outbound", [ATTRIBUTION_UNKNOWN] = "unknown",
};
static_assert(COUNT(attribution_names) == _ATTRIBUTION_MAX, "an attribution has no name");

const char *state_name(enum subject_state state)
{
	return state_names[state];
}

const char *violation_kind_name(enum violation_kind kind)
{
	return kind_names[kind];
}

const char *attribution_name(enum attribution attribution)
{
	return attribution_names[attribution];
}

bool violation_kind_parse(const char *text, enum violation_kind *out)
{
	for (size_t i = 0; i < COUNT(kind_names); i++) {
		if (strcmp(text, kind_names[i]) == 0) {
			*out = (enum violation_kind)i;
			return true;
		}
	}
	return false;
}

void finding_clear(struct finding *finding)
{
	free(finding->evidence);
	*finding = (struct finding){ 0 };
}
