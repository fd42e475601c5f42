#include "verdict/round.h"

#include <string.h>

#include "verdict/judge_parts.h"
#include "verdict/sentence.h"

static bool same_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static size_t at_most(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The newest of this pod's results of the echo in the round; NULL: not asked. */
static const struct probe_result *find_result(const struct subject *subject, uint16_t echo,
                                              const struct probe_result *results, size_t n)
{
	for (size_t i = n; i-- > 0;)
		if (results[i].echo == echo && results[i].generation == subject->generation)
			return &results[i];
	return NULL;
}

/*
 * When a name did not resolve this time, the address known from before still
 * says whether the echo could have proved anything.
 */
static struct witness witness_of_echo(const struct subject *subject, uint16_t echo, bool udp,
                                      const struct ip *peer, const struct probe_result *result)
{
	struct witness absent = witness_absent(subject, peer, echo, udp), witness;

	if (!result)
		return absent;
	witness = witness_of(subject, result);
	witness.udp = udp;
	if (!witness_has_peer(&result->peer) && !witness_capable(&absent))
		witness.standing = absent.standing;
	return witness;
}

static void collect(const struct subject *subject, const struct judge_settings *settings,
                    const struct ip *peers, const struct probe_result *results, size_t n,
                    struct round *out)
{
	for (uint16_t echo = 0; echo < settings->n_echoes && echo < ECHOES_MAX; echo++)
		out->witness[out->n++] =
			witness_of_echo(subject, echo, settings->echo_udp[echo], &peers[echo],
		                        find_result(subject, echo, results, n));
}

static void count_witness(const struct witness *witness, struct round_group *group,
                          struct round *round)
{
	group->configured++;
	group->capable += witness_capable(witness);
	switch ((enum witness_standing)witness->standing) {
	case WITNESS_ALLOWED:
		if (group->allowed++ == 0)
			group->proof = witness->observed;
		round->responded++;
		break;
	case WITNESS_OUTSIDE:
		group->outside++;
		round->responded++;
		break;
	case WITNESS_UNUSABLE:
	case WITNESS_IMPLAUSIBLE:
		round->responded++;
		break;
	case WITNESS_SILENT:
		round->silent++;
		break;
	case WITNESS_UNEXPECTED:
		group->unexpected++;
		group->exempt++;
		round->unexpected_address = witness->observed;
		break;
	case WITNESS_EXEMPT:
		group->exempt++;
		round->clean |= witness->outcome == PROBE_ANSWERED;
		break;
	case WITNESS_NOT_ASKED:
	case WITNESS_PUBLIC:
	case WITNESS_INSIDE:
	case _WITNESS_MAX:
		break;
	}
}

/* Lying echoes seldom lie alike: an accusation needs one and the same address. */
static void find_agreement(const struct round *round, bool udp, struct round_group *group)
{
	for (size_t i = 0; i < round->n; i++) {
		const struct witness *a = &round->witness[i];
		size_t agree = 0;

		if (a->udp != udp || a->standing != WITNESS_OUTSIDE)
			continue;
		for (size_t j = 0; j < round->n; j++) {
			const struct witness *b = &round->witness[j];

			agree += b->udp == udp && b->standing == WITNESS_OUTSIDE &&
			         same_ip(&a->observed, &b->observed);
		}
		if (agree > group->agree) {
			group->agree = agree;
			group->agreed = a->observed;
		}
	}
}

static bool answered(const struct probe_result *control)
{
	return control->finished.wall_us && control->outcome == PROBE_ANSWERED;
}

/* Addresses of one family that are both public or both private: of the same way out. */
static bool comparable(const struct ip *a, const struct ip *b)
{
	return ip_is_v4(a) == ip_is_v4(b) && prefix_private(a) == prefix_private(b);
}

/*
 * An echo that says the same to the node as to the pod, while others tell the
 * node otherwise, may say it to everybody. What it told the node counts only
 * between two of its answers to the pod: else it may have begun, or ended, to
 * lie in between.
 */
static bool is_doubtful(const struct witness *witness, const struct round_input *input)
{
	const struct moment *since = input->alone_since ? input->alone_since : input->began;
	const struct probe_result *own = &input->controls[witness->echo];

	if (!own->finished.wall_us || own->started.mono_ns < since->mono_ns ||
	    own->finished.mono_ns > input->began->mono_ns)
		return true;
	if (!answered(own) || !same_ip(&own->observed, &witness->observed))
		return false;
	for (size_t i = 0; i < input->settings->n_echoes && i < ECHOES_MAX; i++) {
		const struct probe_result *other = &input->controls[i];

		if (answered(other) && comparable(&other->observed, &own->observed) &&
		    !same_ip(&other->observed, &own->observed))
			return true;
	}
	return false;
}

/*
 * Where fewer echoes can prove something than have to agree, the quorum is
 * lowered: then one liar is a quorum, and what the node was told has to bear it out.
 */
static void doubt(const struct round_input *input, const struct round *round, bool udp,
                  struct round_group *group)
{
	group->lone = group->agree < input->settings->quorum;
	for (size_t i = 0; group->lone && input->controls && i < round->n; i++) {
		const struct witness *witness = &round->witness[i];

		if (witness->udp == udp && witness->standing == WITNESS_OUTSIDE &&
		    same_ip(&witness->observed, &group->agreed))
			group->doubted |= is_doubtful(witness, input);
	}
	group->wrong = !group->doubted;
}

static void weigh_group(const struct round_input *input, bool udp, struct round *round)
{
	struct round_group *group = &round->group[udp ? ROUND_UDP : ROUND_TCP];
	size_t quorum = input->settings->quorum ? input->settings->quorum : 1;

	find_agreement(round, udp, group);
	group->quorum = at_most(quorum, group->capable);
	/* As many that agree on another address as have to agree: neither side has proved anything. */
	group->good = group->quorum && group->allowed >= group->quorum &&
	              (group->quorum == 1 || group->agree < group->quorum);
	if (group->quorum && group->agree >= group->quorum && group->allowed == 0)
		doubt(input, round, udp, group);
	round->good |= group->good;
	round->wrong |= group->wrong;
	round->unexpected |=
		group->unexpected && group->unexpected >= at_most(quorum, group->exempt);
}

void round_weigh(const struct round_input *input, struct round *out)
{
	const struct subject *subject = input->subject;

	*out = (struct round){ 0 };
	collect(subject, input->settings, input->peers, input->results, input->n_results, out);
	for (size_t i = 0; i < out->n; i++)
		count_witness(&out->witness[i],
		              &out->group[out->witness[i].udp ? ROUND_UDP : ROUND_TCP], out);
	weigh_group(input, false, out);
	weigh_group(input, true, out);
	out->good &= !out->wrong;
	out->clean &= !out->group[ROUND_TCP].unexpected && !out->group[ROUND_UDP].unexpected;

	/* An exception's echo that shows the gateway is the route's fault, and stale-routes'. */
	if (!subject->gateway || subject->gateway->default_to_gateway)
		out->unexpected = false;
}

enum members {
	ALL,
	DISSENT,
	INCAPABLE
}; /* those that do not agree with the proof; that prove nothing */

static bool is_member(const struct witness *witness, enum members which)
{
	if (which == DISSENT)
		return witness_capable(witness) && witness->standing != WITNESS_ALLOWED;
	return which == ALL || !witness_capable(witness);
}

static void describe_members(const struct round *round, const struct judge_settings *settings,
                             bool udp, enum members which, char *reason)
{
	const char *before = which == DISSENT ? "; but " : which == INCAPABLE ? "; " : "";

	for (size_t i = 0; i < round->n; i++) {
		const struct witness *witness = &round->witness[i];

		if (witness->udp != udp || !is_member(witness, which))
			continue;
		sentence_add(reason, REASON_MAX, "%s", before);
		witness_describe(witness, judge_echo_name(settings, witness->echo), reason,
		                 REASON_MAX);
		before = ", ";
	}
}

static void describe_group(const struct round *round, const struct judge_settings *settings,
                           bool udp, char *reason)
{
	const struct round_group *group = &round->group[udp ? ROUND_UDP : ROUND_TCP];
	const char *name = udp ? "UDP" : "TCP";
	char address[IP_TEXT_MAX];

	if (group->configured == 0)
		return;
	if (reason[0])
		sentence_add(reason, REASON_MAX, "; ");
	if (group->good || group->wrong) {
		sentence_add(reason, REASON_MAX, "%zu of %zu %s echoes saw %s%s",
		             group->good ? group->allowed : group->agree, group->capable, name,
		             group->good ? "an allowed address, " : "",
		             ip_format(group->good ? &group->proof : &group->agreed, address));
		if (group->good) {
			describe_members(round, settings, udp, DISSENT, reason);
			describe_members(round, settings, udp, INCAPABLE, reason);
		}
		return;
	}
	if (group->capable == 0)
		sentence_add(reason, REASON_MAX, "no %s echo can prove the gateway: ", name);
	else
		sentence_add(reason, REASON_MAX, "no quorum of %zu %s echo%s: ", group->quorum,
		             name, group->quorum == 1 ? "" : "es");
	describe_members(round, settings, udp, ALL, reason);
	if (group->doubted)
		sentence_add(reason, REASON_MAX, "; what the node is told does not bear it out");
}

void round_describe(const struct round *round, const struct judge_settings *settings,
                    char reason[static REASON_MAX])
{
	bool udp_first = round->group[ROUND_UDP].wrong && !round->group[ROUND_TCP].wrong;

	reason[0] = '\0';
	if (round->n == 0) {
		sentence_set(reason, REASON_MAX, "no echo is configured");
		return;
	}
	describe_group(round, settings, udp_first, reason);
	describe_group(round, settings, !udp_first, reason);
}
