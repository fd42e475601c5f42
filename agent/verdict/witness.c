#include "verdict/witness.h"

#include <assert.h>
#include <string.h>

#include "verdict/sentence.h"

static const char *const standing_names[] = {
	[WITNESS_NOT_ASKED] = "not-asked", [WITNESS_ALLOWED] = "allowed",
	[WITNESS_OUTSIDE] = "outside",     [WITNESS_SILENT] = "silent",
	[WITNESS_UNUSABLE] = "unusable",   [WITNESS_IMPLAUSIBLE] = "implausible",
	[WITNESS_EXEMPT] = "exempt",       [WITNESS_UNEXPECTED] = "unexpected",
	[WITNESS_PUBLIC] = "public-echo",  [WITNESS_INSIDE] = "inside-echo",
};
static_assert(sizeof(standing_names) / sizeof(standing_names[0]) == _WITNESS_MAX,
              "a standing has no name");

const char *witness_standing_name(enum witness_standing standing)
{
	return standing_names[standing];
}

bool witness_capable(const struct witness *witness)
{
	return witness->standing < WITNESS_EXEMPT;
}

bool witness_has_peer(const struct ip *peer)
{
	static const struct ip none;

	return memcmp(peer, &none, sizeof(none)) != 0;
}

/* What the echo's address alone decides; WITNESS_NOT_ASKED: it can prove something. */
static enum witness_standing standing_of_peer(const struct subject *subject, const struct ip *peer)
{
	struct path_answer expected;

	if (!witness_has_peer(peer))
		return WITNESS_NOT_ASKED;

	expected = path_expect(&subject->policy, peer, false);
	if (expected.path != PATH_GATEWAY)
		return WITNESS_EXEMPT;
	if (!subject->gateway->provision_public_ips && !prefix_private(peer))
		return WITNESS_PUBLIC;
	return WITNESS_NOT_ASKED;
}

/* How an echo that answered stands: its address was seen and must be able to be the source. */
static enum witness_standing standing_of_address(const struct subject *subject,
                                                 const struct probe_result *result)
{
	const struct ip *seen = &result->observed;

	if (prefix_contains(&subject->gateway->prefix, seen))
		return WITNESS_ALLOWED;
	/* A translator or a proxy answered: the question had no source of that family. */
	if (ip_is_v4(seen) != ip_is_v4(&result->peer))
		return WITNESS_IMPLAUSIBLE;
	if (!subject->gateway->provision_public_ips || !prefix_private(seen))
		return WITNESS_OUTSIDE;
	return prefix_private(&result->peer) ? WITNESS_INSIDE : WITNESS_IMPLAUSIBLE;
}

static enum witness_standing standing_of_outcome(const struct probe_result *result)
{
	switch (result->outcome) {
	case PROBE_RESOLVE_FAILED:
	case PROBE_RESOLVE_TIMEOUT:
	case PROBE_CONNECT_REFUSED:
	case PROBE_CONNECT_TIMEOUT:
	case PROBE_UNREACHABLE:
	case PROBE_TLS_FAILED:
	case PROBE_TIMEOUT:
	case PROBE_RESET:
		return WITNESS_SILENT;
	case PROBE_ANSWERED:
	case PROBE_TLS_VERIFY:
	case PROBE_HTTP_STATUS:
	case PROBE_REDIRECT:
	case PROBE_TOO_LARGE:
	case PROBE_UNPARSEABLE:
	case PROBE_IMPLAUSIBLE:
		return WITNESS_UNUSABLE;
	case PROBE_RATE_LIMITED: /* an answer, unless it is our own backing off */
		return result->http_status ? WITNESS_UNUSABLE : WITNESS_NOT_ASKED;
	case PROBE_LOCAL_ERROR:
	case PROBE_SKIPPED:
	case _PROBE_OUTCOME_MAX:
		break;
	}
	return WITNESS_NOT_ASKED;
}

struct witness witness_of(const struct subject *subject, const struct probe_result *result)
{
	struct witness witness = {
		.echo = result->echo,
		.peer_port = result->peer_port,
		.udp = result->udp,
		.outcome = (uint8_t)probe_result_shown(result),
		.phase = (uint8_t)result->phase,
		.peer = result->peer,
		.started_us = result->started.wall_us,
		.finished_us = result->finished.wall_us,
	};
	bool answered = result->outcome == PROBE_ANSWERED;
	enum witness_standing standing = standing_of_peer(subject, &result->peer);

	if (answered)
		witness.observed = result->observed;
	if (standing == WITNESS_EXEMPT && answered &&
	    prefix_contains(&subject->gateway->prefix, &result->observed))
		standing = WITNESS_UNEXPECTED;
	else if (standing == WITNESS_NOT_ASKED)
		standing = answered ? standing_of_address(subject, result)
		                    : standing_of_outcome(result);
	witness.standing = (uint8_t)standing;
	return witness;
}

struct witness witness_absent(const struct subject *subject, const struct ip *peer, uint16_t echo,
                              bool udp)
{
	return (struct witness){
		.echo = echo,
		.udp = udp,
		.outcome = PROBE_SKIPPED,
		.peer = *peer,
		.standing = (uint8_t)standing_of_peer(subject, peer),
	};
}

void witness_describe(const struct witness *witness, const char *echo, char *out, size_t size)
{
	char seen[IP_TEXT_MAX];

	ip_format(&witness->observed, seen);
	switch ((enum witness_standing)witness->standing) {
	case WITNESS_ALLOWED:
	case WITNESS_OUTSIDE:
		sentence_add(out, size, "%s saw %s", echo, seen);
		return;
	case WITNESS_IMPLAUSIBLE:
		sentence_add(out, size, "%s saw %s, which cannot be the source (a proxy answered?)",
		             echo, seen);
		return;
	case WITNESS_EXEMPT:
		sentence_add(out, size, "%s is not reached through the gateway", echo);
		return;
	case WITNESS_UNEXPECTED:
		sentence_add(out, size, "%s must not be reached through the gateway but saw %s",
		             echo, seen);
		return;
	case WITNESS_PUBLIC:
		sentence_add(out, size, "%s is public and cannot see private addresses", echo);
		return;
	case WITNESS_INSIDE:
		sentence_add(out, size, "%s is inside the network and saw %s", echo, seen);
		return;
	case WITNESS_NOT_ASKED:
	case WITNESS_SILENT:
	case WITNESS_UNUSABLE:
	case _WITNESS_MAX:
		break;
	}
	sentence_add(out, size, "%s %s", echo,
	             probe_outcome_name((enum probe_outcome)witness->outcome));
}
