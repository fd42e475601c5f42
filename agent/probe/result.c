#include "probe/result.h"

#include <assert.h>
#include <stddef.h>

static const char *const outcome_names[] = {
	[PROBE_ANSWERED] = "answered",
	[PROBE_RESOLVE_FAILED] = "resolve-failed",
	[PROBE_RESOLVE_TIMEOUT] = "resolve-timeout",
	[PROBE_CONNECT_REFUSED] = "connect-refused",
	[PROBE_CONNECT_TIMEOUT] = "connect-timeout",
	[PROBE_UNREACHABLE] = "unreachable",
	[PROBE_TLS_FAILED] = "tls-failed",
	[PROBE_TLS_VERIFY] = "tls-verify",
	[PROBE_HTTP_STATUS] = "http-status",
	[PROBE_REDIRECT] = "redirect",
	[PROBE_TOO_LARGE] = "too-large",
	[PROBE_UNPARSEABLE] = "unparseable",
	[PROBE_IMPLAUSIBLE] = "implausible",
	[PROBE_TIMEOUT] = "timeout",
	[PROBE_RESET] = "reset",
	[PROBE_LOCAL_ERROR] = "local-error",
	[PROBE_RATE_LIMITED] = "rate-limited",
	[PROBE_SKIPPED] = "skipped",
};
static_assert(sizeof(outcome_names) / sizeof(outcome_names[0]) == _PROBE_OUTCOME_MAX);

static const char *const phase_names[] = {
	[PROBE_RESOLVE] = "resolve",      [PROBE_CONNECT] = "connect", [PROBE_TLS] = "tls",
	[PROBE_FIRST_BYTE] = "firstByte", [PROBE_TOTAL] = "total",
};
static_assert(sizeof(phase_names) / sizeof(phase_names[0]) == _PROBE_PHASE_MAX);

const char *probe_outcome_name(enum probe_outcome outcome)
{
	return outcome < _PROBE_OUTCOME_MAX ? outcome_names[outcome] : "unknown";
}

const char *probe_phase_name(enum probe_phase phase)
{
	return phase < _PROBE_PHASE_MAX ? phase_names[phase] : "unknown";
}

enum probe_outcome probe_result_shown(const struct probe_result *result)
{
	return result->outcome == PROBE_SKIPPED && result->http_status ? PROBE_RATE_LIMITED
	                                                               : result->outcome;
}

void probe_result_set_detail(struct probe_result *result, const char *text)
{
	size_t n = 0;

	for (; *text && n < sizeof(result->detail) - 1; text++)
		result->detail[n++] = *text >= ' ' && *text <= '~' ? *text : '?';
	result->detail[n] = '\0';
}
