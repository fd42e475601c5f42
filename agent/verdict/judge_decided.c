/*
 * After a restart: of which kinds of violation the judge knows by now that there is none.
 */
#include "verdict/judge_parts.h"
#include "verdict/witness.h"

#define ROUNDS_ENOUGH 3                       /* one more than any kind needs to be found */
#define CLEAN_ROUNDS 2                        /* as during a run */
#define TUNNEL_WINDOW_NS (200 * NSEC_PER_SEC) /* a handshake's 180 s, and some readings */

/* Long enough for what an agent that has just started leaves out on purpose (judge_settling()). */
static bool is_settled(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now)
{
	return judge_age(now, &record->begun) >=
	               judge_settle_ns(input->settings) + judge_quiet_ns(input->settings) &&
	       !judge_settling(input, now);
}

static bool is_live_known(const struct subject *subject)
{
	return subject->host_network || judge_live_complete(subject);
}

/* Silence is no news of an address: as during a run, only good rounds end that. */
static bool is_source_known(const struct judge_record *record, const struct judge_input *input)
{
	return record->good_rounds >= ROUNDS_ENOUGH || !judge_comparable(input->subject);
}

/*
 * A way is that of an interface, so flows say nothing before the interfaces are known; then for as
 * long as a violation stays without one.
 */
static bool are_flows_known(const struct judge_record *record, const struct judge_input *input,
                            const struct moment *now)
{
	const struct subject *subject = input->subject;

	return input->observing && record->observing_since.wall_us &&
	       judge_age(now, &record->observing_since) >= judge_quiet_ns(input->settings) &&
	       (subject->host_network || subject->live.readable);
}

/* An echo that is to be reached past the gateway and was not heard may show the fault any time. */
static bool are_echoes_known(const struct judge_record *record, const struct judge_input *input)
{
	const struct subject *subject = input->subject;

	if (!judge_comparable(subject) || subject->gateway->default_to_gateway ||
	    input->settings->n_echoes == 0 || record->unexpected_clean >= CLEAN_ROUNDS)
		return true;
	if (record->rounds < ROUNDS_ENOUGH || !record->answered)
		return false;
	for (uint16_t echo = 0; echo < input->settings->n_echoes && echo < ECHOES_MAX; echo++)
		if (witness_absent(subject, &record->peer[echo], echo, false).standing ==
		    WITNESS_EXEMPT)
			return false;
	return true;
}

static bool are_rounds_enough(const struct judge_record *record, const struct judge_input *input)
{
	return record->rounds >= ROUNDS_ENOUGH || input->settings->n_echoes == 0;
}

/* An answer ends it; that nobody was asked does not. */
static bool is_reach_known(const struct judge_record *record, const struct judge_input *input)
{
	if (input->settings->n_echoes == 0 || !judge_comparable(input->subject))
		return true;
	return record->rounds > 0 && record->silent_rounds == 0 && record->answered;
}

/* Proofs came through it, or it was asked and had the time in which a silent peer is found out. */
static bool is_tunnel_known(const struct judge_record *record, const struct judge_input *input,
                            const struct moment *now)
{
	const struct subject *subject = input->subject;

	if (!is_live_known(subject))
		return false;
	return subject->host_network || !subject->live.tunnel_ifindex ||
	       record->good_rounds >= ROUNDS_ENOUGH ||
	       (subject->live.tunnel.readable && are_rounds_enough(record, input) &&
	        judge_age(now, &record->begun) >= TUNNEL_WINDOW_NS);
}

/* Without addresses the gateway may just be given its time again (judge_awaited_since_us()). */
static bool is_prefix_known(const struct subject *subject)
{
	return !subject->gateway || subject->gateway->deleted_us || judge_comparable(subject);
}

static bool is_decided(const struct judge_record *record, const struct judge_input *input,
                       enum violation_kind kind, const struct moment *now)
{
	switch (kind) {
	case WRONG_SOURCE_ADDRESS:
		return is_source_known(record, input);
	case GATEWAY_BYPASS:
	case UNGOVERNED_EGRESS:
		return are_flows_known(record, input, now);
	case UNEXPECTED_GATEWAY:
		return are_flows_known(record, input, now) && are_echoes_known(record, input);
	case UNPROGRAMMED_POD:
	case STALE_ROUTES:
		return is_live_known(input->subject);
	case TUNNEL_BROKEN:
		return is_tunnel_known(record, input, now);
	case EGRESS_UNREACHABLE:
		return is_reach_known(record, input);
	case UNASSIGNED_PREFIX:
		return is_prefix_known(input->subject);
	case MISSING_CONFIGURATION:
		return true;
	case _VIOLATION_KIND_MAX:
		break;
	}
	return false;
}

uint32_t judge_decided(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now)
{
	uint32_t kinds = 0;

	if (!is_settled(record, input, now))
		return 0;
	/* Of a pod that names a gateway every kind is judged by what, or whether, that is. */
	if (input->subject->gateway_name && input->subject->gateway_unknown)
		return 0;
	for (unsigned int kind = 0; kind < _VIOLATION_KIND_MAX; kind++)
		if (is_decided(record, input, (enum violation_kind)kind, now))
			kinds |= 1u << kind;
	return kinds;
}
