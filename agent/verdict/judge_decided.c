/*
 * After a restart: of which kinds of violation the judge knows by now that there is none.
 */
#include "verdict/judge_parts.h"

#define ROUNDS_ENOUGH 3                       /* one more than any kind needs to be found */
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

static bool are_echoes_known(const struct judge_record *record, const struct judge_input *input)
{
	return record->rounds >= ROUNDS_ENOUGH || input->settings->n_echoes == 0;
}

/* Proofs came through it, or it had the time in which a silent peer is found out. */
static bool is_tunnel_known(const struct judge_record *record, const struct judge_input *input,
                            const struct moment *now)
{
	const struct subject *subject = input->subject;

	if (!is_live_known(subject))
		return false;
	return subject->host_network || !subject->live.tunnel_ifindex ||
	       record->good_rounds >= ROUNDS_ENOUGH ||
	       judge_age(now, &record->begun) >= TUNNEL_WINDOW_NS;
}

static bool is_decided(const struct judge_record *record, const struct judge_input *input,
                       enum violation_kind kind, const struct moment *now)
{
	switch (kind) {
	case WRONG_SOURCE_ADDRESS:
		return is_source_known(record, input);
	case GATEWAY_BYPASS:
	case UNGOVERNED_EGRESS:
		return input->observing;
	case UNEXPECTED_GATEWAY:
		return input->observing && are_echoes_known(record, input);
	case UNPROGRAMMED_POD:
	case STALE_ROUTES:
		return is_live_known(input->subject);
	case TUNNEL_BROKEN:
		return is_tunnel_known(record, input, now);
	case EGRESS_UNREACHABLE:
		return input->settings->n_echoes == 0 ||
		       (record->rounds > 0 && record->silent_rounds == 0);
	case UNASSIGNED_PREFIX:
	case MISSING_CONFIGURATION:
		return !input->subject->gateway_unknown;
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
	for (unsigned int kind = 0; kind < _VIOLATION_KIND_MAX; kind++)
		if (is_decided(record, input, (enum violation_kind)kind, now))
			kinds |= 1u << kind;
	return kinds;
}
