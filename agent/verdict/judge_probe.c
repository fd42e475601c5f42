/*
 * Rounds over time: what a run of them proves or accuses.
 */
#include "verdict/judge_parts.h"

#include <string.h>

#include "verdict/attribute.h"
#include "verdict/remedy.h"
#include "verdict/round.h"
#include "verdict/sentence.h"

#define SILENT_ROUNDS 2     /* egress-unreachable opens: one lost round is a packet loss */
#define GOOD_ROUNDS 2       /* wrong-source-address ends: gateway nodes may take turns */
#define CONTROL_INTERVALS 2 /* how long the node's answer vouches for an echo */

static struct moment earliest_start(const struct probe_result *results, size_t n,
                                    const struct moment *now)
{
	struct moment first = *now;

	for (size_t i = 0; i < n; i++)
		if (results[i].started.wall_us && results[i].started.mono_ns < first.mono_ns)
			first = results[i].started;
	return first;
}

static void fault_seen(struct judge_fault *fault, const struct round *round,
                       const struct ip *address, const struct moment *first,
                       const struct moment *now)
{
	if (!fault->holds) {
		fault->first = *first;
		fault->count = 0;
	}
	fault->holds = true;
	fault->count++;
	fault->last = *now;
	fault->address = *address;
	memcpy(fault->witness, round->witness, sizeof(fault->witness));
	fault->n_witness = round->n;
}

static void apply_wrong(struct judge_record *record, const struct judge_input *input,
                        const struct round *round, const struct moment *first,
                        const struct moment *now)
{
	const struct round_group *group =
		&round->group[round->group[ROUND_TCP].wrong ? ROUND_TCP : ROUND_UDP];

	record->bad_rounds++;
	record->good_rounds = 0;
	record->observed = group->agreed;
	record->attribution =
		attribute(input->subject, input->context, &group->agreed, record->attributed_to);
	fault_seen(&record->wrong, round, &group->agreed, first, now);
}

static void apply_good(struct judge_record *record, const struct round *round,
                       const struct moment *now)
{
	const struct round_group *group =
		&round->group[round->group[ROUND_TCP].good ? ROUND_TCP : ROUND_UDP];

	record->good_rounds++;
	record->bad_rounds = 0;
	record->last_proof = *now;
	record->observed = group->proof;
	record->attribution = ATTRIBUTION_EXPECTED;
	record->attributed_to[0] = '\0';
	if (record->good_rounds >= GOOD_ROUNDS)
		record->wrong.holds = false;
}

/*
 * Silent echoes that answered a question which the node asked after the silence
 * began, lately. Echoes that cannot prove anything vouch for nothing.
 */
static uint32_t alive_echoes(const struct judge_record *record, const struct judge_input *input,
                             const struct round *round, const struct moment *now)
{
	const struct judge_context *context = input->context;
	uint32_t alive = 0;

	for (size_t i = 0; context->node_control && context->node_results && i < round->n; i++) {
		uint16_t echo = round->witness[i].echo;
		const struct probe_result *control = &context->node_results[echo];

		if (round->witness[i].standing == WITNESS_SILENT && control->finished.wall_us &&
		    control->outcome == PROBE_ANSWERED &&
		    control->started.mono_ns >= record->silent_since.mono_ns &&
		    judge_age(now, &control->finished) <=
		            CONTROL_INTERVALS * input->settings->interval_ns)
			alive |= 1u << echo;
	}
	return alive;
}

/*
 * An echo that lives was asked by the pod in vain: it answered the node before
 * this round began. One that answers after it may just have come back.
 */
static bool asked_in_vain(const struct judge_record *record, const struct judge_input *input,
                          uint32_t alive, const struct moment *first)
{
	if (alive & record->alive)
		return true;
	for (uint16_t echo = 0; echo < ECHOES_MAX; echo++)
		if (alive & 1u << echo &&
		    input->context->node_results[echo].finished.mono_ns <= first->mono_ns)
			return true;
	return false;
}

static void apply_silence(struct judge_record *record, const struct judge_input *input,
                          const struct round *round, const struct moment *first,
                          const struct moment *now)
{
	uint32_t alive;

	if (round->responded) {
		record->silent_rounds = 0;
		record->unreachable = false;
		record->alive = 0;
		return;
	}
	if (!round->silent)
		return; /* nobody was asked: it says nothing either way */

	if (record->silent_rounds++ == 0)
		record->silent_since = *first;
	record->silent_last = *now;
	alive = alive_echoes(record, input, round, now);
	if (!alive)
		sentence_add(record->round_reason, REASON_MAX, "; %s",
		             input->context->node_control
		                     ? "no echo answered the node since then either"
		                     : "the node's control probe is off");
	if (record->silent_rounds >= SILENT_ROUNDS && !judge_settling(input, now) &&
	    asked_in_vain(record, input, alive, first))
		record->unreachable = true;
	record->alive = alive;
}

static void apply_unexpected(struct judge_record *record, const struct round *round,
                             const struct moment *first, const struct moment *now)
{
	if (round->unexpected) {
		record->unexpected_clean = 0;
		fault_seen(&record->unexpected, round, &round->unexpected_address, first, now);
	} else if (round->clean && ++record->unexpected_clean >= GOOD_ROUNDS) {
		record->unexpected.holds = false;
	}
}

static void keep_results(struct judge_record *record, const struct judge_input *input,
                         const struct probe_result *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct probe_result *result = &results[i];

		if (result->echo >= ECHOES_MAX || result->generation != input->subject->generation)
			continue;
		record->last[result->echo] = *result;
		if (witness_has_peer(&result->peer))
			record->peer[result->echo] = result->peer;
	}
}

/* New flows take a changed address 5 s after the objects (seen on the real daemon). */
static bool gateway_settling(const struct judge_input *input, const struct moment *now)
{
	return judge_gateway_edited(input->subject) &&
	       judge_wall_age(now, input->subject->gateway_changed_us) < JUDGE_SETTLE_NS;
}

static void weigh(struct judge_record *record, const struct judge_input *input,
                  const struct probe_result *results, size_t n, const struct moment *first,
                  struct round *out)
{
	const struct round_input round = {
		.subject = input->subject,
		.settings = input->settings,
		.controls = input->context->node_control ? input->context->node_results : NULL,
		.alone_since = record->alone_since.wall_us ? &record->alone_since : NULL,
		.began = first,
		.peers = record->peer,
		.results = results,
		.n_results = n,
	};
	bool alone;

	round_weigh(&round, out);
	alone = out->group[ROUND_TCP].lone || out->group[ROUND_UDP].lone;
	record->alone_new = alone && !record->alone_since.wall_us;
	if (record->alone_new)
		record->alone_since = *first;
	else if (!alone)
		record->alone_since = (struct moment){ 0 };
}

/*
 * The namespace exists before CNI ADD has made tunnel and routes: a question
 * asked in between leaves past the gateway, and that is not the pod's state.
 */
static bool coming_up(const struct judge_record *record, const struct judge_input *input,
                      const struct moment *now)
{
	return record->untunneled.wall_us && judge_settling(input, now);
}

void judge_round(struct judge_record *record, const struct judge_input *input,
                 const struct probe_result *results, size_t n, const struct moment *now)
{
	struct moment first = earliest_start(results, n, now);
	struct round round;

	record->rounds++;
	if (!judge_comparable(input->subject)) {
		sentence_set(record->round_reason, REASON_MAX,
		             "the gateway has no address to compare answers with");
		record->answered = record->alone_new = false;
		keep_results(record, input, results, n);
		return;
	}

	weigh(record, input, results, n, &first, &round);
	keep_results(record, input, results, n);
	round_describe(&round, input->settings, record->round_reason);
	record->answered = round.responded > 0 || (round.group[ROUND_TCP].capable == 0 &&
	                                           round.group[ROUND_UDP].capable == 0);

	apply_silence(record, input, &round, &first, now);
	apply_unexpected(record, &round, &first, now);
	if (round.good)
		apply_good(record, &round, now);
	else if (round.wrong && gateway_settling(input, now))
		sentence_add(record->round_reason, REASON_MAX, "; the gateway has just changed");
	else if (round.wrong && coming_up(record, input, now))
		sentence_add(record->round_reason, REASON_MAX, "; the pod is being set up");
	else if (round.wrong)
		apply_wrong(record, input, &round, &first, now);
}

/* A fault is one only against the objects of now. */
void judge_track_faults(struct judge_record *record, const struct judge_input *input)
{
	const struct subject *subject = input->subject;

	if (!judge_comparable(subject)) {
		record->alone_since = (struct moment){ 0 };
		record->wrong.holds = record->unexpected.holds = record->unreachable = false;
		record->silent_rounds = record->alive = 0;
		return;
	}
	if (record->wrong.holds &&
	    prefix_contains(&subject->gateway->prefix, &record->wrong.address))
		record->wrong.holds = false;
	/* Whose address it is may come out later than the address: from a control probe, or a gateway. */
	if (record->wrong.holds && record->attribution != ATTRIBUTION_EXPECTED)
		record->attribution = attribute(subject, input->context, &record->observed,
		                                record->attributed_to);
	if (record->unexpected.holds &&
	    (subject->gateway->default_to_gateway ||
	     !prefix_contains(&subject->gateway->prefix, &record->unexpected.address)))
		record->unexpected.holds = false;
}

static void write_controls(const struct evidence *evidence)
{
	const struct judge_context *context = evidence->input->context;

	encode_bool(evidence->e, "nodeControl", context->node_control);
	if (context->has_node_ip)
		encode_ip(evidence->e, "nodeAddress", &context->node_ip);
	evidence_results(evidence, "nodeResults", context->node_results,
	                 context->node_results ? ECHOES_MAX : 0);
}

static void write_wrong_source(const struct evidence *evidence)
{
	const struct judge_record *record = evidence->record;
	char name[160];
	enum attribution attribution = attribute(evidence->input->subject, evidence->input->context,
	                                         &record->wrong.address, name);

	encode_ip(evidence->e, "observed", &record->wrong.address);
	encode_text(evidence->e, "attribution", attribution_name(attribution));
	encode_text(evidence->e, "attributedTo", name[0] ? name : NULL);
	encode_u64(evidence->e, "quorum", evidence->input->settings->quorum);
	encode_u64(evidence->e, "rounds", record->wrong.count);
	encode_time(evidence->e, "lastProof", record->last_proof.wall_us);
	evidence_witnesses(evidence, "echoes", record->wrong.witness, record->wrong.n_witness);
	write_controls(evidence);
}

/* Per transport how many saw the address, and of how many that could. */
static void describe_wrong(const struct judge_fault *fault, char reason[static REASON_MAX])
{
	static const char *const names[] = { "TCP", "UDP" };
	size_t saw[2] = { 0 }, capable[2] = { 0 };
	char address[IP_TEXT_MAX];

	for (size_t i = 0; i < fault->n_witness; i++) {
		const struct witness *witness = &fault->witness[i];

		capable[witness->udp] += witness_capable(witness);
		saw[witness->udp] +=
			witness->standing == WITNESS_OUTSIDE &&
			memcmp(&witness->observed, &fault->address, sizeof(fault->address)) == 0;
	}
	reason[0] = '\0';
	for (size_t i = 0; i < 2; i++)
		if (saw[i])
			sentence_add(reason, REASON_MAX, "%s%zu of %zu %s echo%s",
			             reason[0] ? " and " : "", saw[i], capable[i], names[i],
			             capable[i] == 1 ? "" : "es");
	sentence_add(reason, REASON_MAX, " saw %s, ", ip_format(&fault->address, address));
}

/* Whether the kernel sends the questions that showed the fault past the tunnel. */
static bool leaves_past_tunnel(const struct subject *subject, const struct judge_fault *fault)
{
	const struct live *live = &subject->live;

	if (!judge_live_complete(subject))
		return false;
	for (size_t i = 0; i < fault->n_witness; i++) {
		const struct live_route *route;
		bool certain;

		if (fault->witness[i].standing != WITNESS_OUTSIDE)
			continue;
		route = live_route_lookup(live, &fault->witness[i].peer, 0, &certain);
		if (route && certain && route->ifindex != live->tunnel_ifindex)
			return true;
	}
	return false;
}

int judge_wrong_source(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out)
{
	const struct judge_fault *fault = &record->wrong;
	const struct subject *subject = input->subject;
	enum attribution attribution;
	char name[160];

	if (!fault->holds)
		return 0;
	out->count = fault->count;
	out->first = fault->first;
	out->last = fault->last;
	attribution = attribute(subject, input->context, &fault->address, name);
	describe_wrong(fault, out->reason);
	if (subject->has_ip && memcmp(&subject->ip, &fault->address, sizeof(subject->ip)) == 0)
		sentence_add(out->reason, REASON_MAX, "the pod's own address, untranslated");
	else
		attribute_describe(attribution, name, out->reason, REASON_MAX);
	sentence_add(out->reason, REASON_MAX, ", not one of gateway %s", subject->gateway->name);
	remedy_of_source(subject, attribution, leaves_past_tunnel(subject, fault), out->remedy);
	return judge_found(record, input, now, out, write_wrong_source, NULL);
}

/* The phase that the furthest of the silent questions reached: where the way ends. */
static enum probe_phase last_phase(const struct judge_record *record)
{
	enum probe_phase phase = PROBE_RESOLVE;

	for (size_t i = 0; i < ECHOES_MAX; i++)
		if (record->last[i].finished.wall_us && record->last[i].phase > phase &&
		    record->last[i].outcome != PROBE_ANSWERED &&
		    record->last[i].phase < PROBE_TOTAL)
			phase = record->last[i].phase;
	return phase;
}

static const struct moment *outage_begin(const struct judge_record *record)
{
	return record->last_proof.wall_us ? &record->last_proof : &record->silent_since;
}

static void write_unreachable(const struct evidence *evidence)
{
	const struct judge_record *record = evidence->record;

	encode_text(evidence->e, "phase", probe_phase_name(last_phase(record)));
	encode_u64(evidence->e, "silentRounds", record->silent_rounds);
	encode_time(evidence->e, "silentSince", record->silent_since.wall_us);
	encode_time(evidence->e, "lastProof", record->last_proof.wall_us);
	evidence_seconds(evidence, "outageSeconds", judge_age(evidence->now, outage_begin(record)));
	evidence_seconds(evidence, "intervalSeconds", evidence->input->settings->interval_ns);
	evidence_results(evidence, "echoes", record->last, ECHOES_MAX);
	write_controls(evidence);
}

int judge_unreachable(const struct judge_record *record, const struct judge_input *input,
                      const struct moment *now, struct finding *out)
{
	enum probe_phase phase = last_phase(record);

	if (!record->unreachable)
		return 0;
	out->count = record->silent_rounds;
	out->first = record->silent_since;
	out->last = record->silent_last;
	sentence_set(out->reason, REASON_MAX,
	             "no echo answers the pod for %llu s (it ends in phase %s), while the node "
	             "gets answers",
	             (unsigned long long)(judge_age(now, outage_begin(record)) / NSEC_PER_SEC),
	             probe_phase_name(phase));
	remedy_of_silence(input->subject, phase == PROBE_RESOLVE, out->remedy);
	return judge_found(record, input, now, out, write_unreachable, NULL);
}
