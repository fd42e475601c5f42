/*
 * The judge's frame: the order of the parts, what they share, and the state.
 */
#include "verdict/judge.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "verdict/judge_parts.h"
#include "verdict/sentence.h"

#define QUIET_MIN_NS NSEC_PER_SEC
#define QUIET_MAX_NS (30 * NSEC_PER_SEC)
#define FRESH_INTERVALS 3 /* a proof older than this is none */

static const judge_part_fn parts[] = {
	[WRONG_SOURCE_ADDRESS] = judge_wrong_source,
	[GATEWAY_BYPASS] = judge_bypass,
	[UNGOVERNED_EGRESS] = judge_ungoverned,
	[UNEXPECTED_GATEWAY] = judge_unexpected,
	[UNPROGRAMMED_POD] = judge_unprogrammed,
	[STALE_ROUTES] = judge_stale_routes,
	[TUNNEL_BROKEN] = judge_tunnel,
	[EGRESS_UNREACHABLE] = judge_unreachable,
	[UNASSIGNED_PREFIX] = judge_unassigned,
	[MISSING_CONFIGURATION] = judge_missing,
};
static_assert(sizeof(parts) / sizeof(parts[0]) == _VIOLATION_KIND_MAX, "a kind has no part");

uint64_t judge_quiet_ns(const struct judge_settings *settings)
{
	if (settings->interval_ns < QUIET_MIN_NS)
		return QUIET_MIN_NS;
	return settings->interval_ns < QUIET_MAX_NS ? settings->interval_ns : QUIET_MAX_NS;
}

uint64_t judge_age(const struct moment *now, const struct moment *then)
{
	return now->mono_ns > then->mono_ns ? now->mono_ns - then->mono_ns : 0;
}

uint64_t judge_wall_age(const struct moment *now, int64_t wall_us)
{
	return now->wall_us > wall_us ? (uint64_t)(now->wall_us - wall_us) * NSEC_PER_USEC : 0;
}

struct moment judge_at_wall(const struct moment *now, int64_t wall_us)
{
	uint64_t age = judge_wall_age(now, wall_us);

	return (struct moment){ .mono_ns = now->mono_ns > age ? now->mono_ns - age : 0,
		                .wall_us = wall_us < now->wall_us ? wall_us : now->wall_us };
}

const char *judge_echo_name(const struct judge_settings *settings, uint16_t echo)
{
	return echo < settings->n_echoes && settings->echo_name[echo] ? settings->echo_name[echo]
	                                                              : "?";
}

const struct live_link *judge_link(const struct subject *subject, uint32_t ifindex)
{
	const struct live *live = &subject->live;

	for (size_t i = 0; live->readable && i < live->n_links; i++)
		if (live->links[i].ifindex == ifindex)
			return &live->links[i];
	return NULL;
}

bool judge_live_complete(const struct subject *subject)
{
	return subject->live.readable && !subject->live.truncated;
}

bool judge_comparable(const struct subject *subject)
{
	return subject->gateway && !subject->gateway->deleted_us && !subject->gateway->prefix_bad &&
	       subject->gateway->prefix.n > 0;
}

uint64_t judge_settle_ns(const struct judge_settings *settings)
{
	return settings->pending_grace_ns < JUDGE_SETTLE_NS ? settings->pending_grace_ns
	                                                    : JUDGE_SETTLE_NS;
}

bool judge_settling(const struct judge_input *input, const struct moment *now)
{
	uint64_t settle = judge_settle_ns(input->settings);
	int64_t started_us = judge_pod_started_us(input->subject);

	if (input->settings->once && started_us)
		return judge_wall_age(now, started_us) < settle;
	if (input->subject->netns_since.wall_us &&
	    judge_age(now, &input->subject->netns_since) < settle)
		return true;
	return judge_age(now, &input->subject->since) < settle;
}

bool judge_gateway_edited(const struct subject *subject)
{
	return subject->gateway_changed_us > subject->since.wall_us;
}

int64_t judge_pod_started_us(const struct subject *subject)
{
	return subject->started_us ? subject->started_us : subject->created_us;
}

int judge_found(const struct judge_record *record, const struct judge_input *input,
                const struct moment *now, struct finding *out, evidence_fn write, const void *user)
{
	const struct evidence evidence = {
		.kind = out->kind, .record = record, .input = input, .now = now, .user = user
	};
	int r = evidence_build(&evidence, write, &out->evidence);

	return r < 0 ? r : 1;
}

void judge_record_init(struct judge_record *record, const struct moment *now)
{
	*record = (struct judge_record){ .begun = *now,
		                         .state = STATE_UNVERIFIED,
		                         .state_since = *now };
	sentence_set(record->reason, sizeof(record->reason), "not probed yet");
}

static void clear_all(struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		finding_clear(&findings[i]);
}

static int run_parts(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *found, size_t *n)
{
	for (unsigned int kind = 0; kind < _VIOLATION_KIND_MAX; kind++) {
		struct finding finding = { .kind = (enum violation_kind)kind };
		int r = parts[kind](record, input, now, &finding);

		if (r < 0)
			return r;
		if (r > 0)
			found[(*n)++] = finding;
	}
	return 0;
}

int judge(struct judge_record *record, const struct judge_input *input, const struct moment *now,
          struct finding *findings, size_t *n_findings)
{
	struct finding found[JUDGE_FINDINGS_MAX];
	size_t n = 0;
	int r;

	judge_track_faults(record, input);
	judge_track_flows(record, input, now);
	judge_track_routes(record, input, now);
	judge_track_tunnel(record, input, now);

	r = run_parts(record, input, now, found, &n);
	if (r < 0) {
		clear_all(found, n);
		return r;
	}

	record->n_findings = n;
	if (n > 0)
		memcpy(record->finding_reason, found[0].reason, sizeof(record->finding_reason));
	memcpy(findings, found, n * sizeof(found[0]));
	*n_findings = n;
	return 0;
}

static bool is_proven(const struct judge_record *record, const struct judge_input *input,
                      const struct moment *now)
{
	return judge_comparable(input->subject) && record->last_proof.wall_us &&
	       prefix_contains(&input->subject->gateway->prefix, &record->observed) &&
	       judge_age(now, &record->last_proof) <=
	               FRESH_INTERVALS * input->settings->interval_ns;
}

static bool within_grace(const struct judge_input *input, const struct moment *now, int64_t wall_us)
{
	return wall_us && judge_wall_age(now, wall_us) < input->settings->pending_grace_ns;
}

/*
 * What explains that there is no proof yet; NULL: nothing does. A start
 * explains that nothing answers, but not that what answers proves nothing, and
 * it explains nothing any more once there was a proof.
 */
static const char *pending_reason(const struct judge_record *record,
                                  const struct judge_input *input, const struct moment *now)
{
	const struct subject *subject = input->subject;
	const struct kube_gateway *gateway = subject->gateway;
	bool edited = judge_gateway_edited(subject);

	if (!gateway)
		return judge_settling(input, now)
		               ? "waiting for the gateway that the annotation names"
		               : NULL;
	if (gateway->deleted_us)
		return NULL;
	if (!judge_comparable(subject))
		return ""; /* the prefix has a sentence of its own */
	if (edited && within_grace(input, now, subject->gateway_changed_us) &&
	    record->last_proof.wall_us < subject->gateway_changed_us && !record->answered)
		return "the gateway changed moments ago";
	if (record->last_proof.wall_us || record->answered)
		return NULL;
	if (within_grace(input, now, judge_pod_started_us(subject)) ||
	    (judge_settling(input, now) && !record->remembered))
		return "the pod started moments ago";
	if (within_grace(input, now, gateway->created_us))
		return "the gateway was created moments ago";
	return NULL;
}

static void describe_awaited(const struct subject *subject, char reason[static REASON_MAX])
{
	char since[CLOCK_TEXT_MAX];

	if (subject->gateway->prefix_bad)
		judge_describe_bad_prefix(subject->gateway, reason);
	else
		sentence_set(reason, REASON_MAX, "the gateway has no egressIpPrefix yet");
	sentence_add(reason, REASON_MAX, ", since %s",
	             clock_format(judge_awaited_since_us(subject), since));
}

static void describe_pending(const struct judge_record *record, const struct subject *subject,
                             const char *because, char reason[static REASON_MAX])
{
	if (*because)
		sentence_set(reason, REASON_MAX, "%s%s%s", because, record->rounds ? "; " : "",
		             record->rounds ? record->round_reason : "");
	else
		describe_awaited(subject, reason);
}

/* A mount that does not follow the host's looks like this as well: who reads it should know where to look. */
static const char *why_not_probed(const struct subject *subject)
{
	return subject->host_network || subject->netns_path
	               ? "not probed yet"
	               : "not probed yet: its network namespace is not found in inventory.netnsDir";
}

static enum subject_state unproven(const struct judge_record *record,
                                   const struct judge_input *input, const struct moment *now,
                                   char *reason)
{
	const struct subject *subject = input->subject;
	const char *because = record->rounds ? record->round_reason : why_not_probed(subject);
	char when[CLOCK_TEXT_MAX];

	/*
	 * A pod that only the policy names has no gateway to verify, so it is never
	 * verified: that it has not left the cluster so far proves nothing.
	 */
	if (!subject->gateway_name) {
		sentence_set(reason, REASON_MAX,
		             input->observing
		                     ? "no gateway is assigned; nothing left the cluster so far"
		                     : "no gateway is assigned, and its flows are not observed");
		return STATE_UNVERIFIED;
	}
	if (subject->gateway_unknown) {
		sentence_set(reason, REASON_MAX,
		             "gateway %s of the annotation is not known: the API server's list of "
		             "StaticGatewayConfigurations cannot be read, or not whole",
		             subject->gateway_name);
		return STATE_UNVERIFIED;
	}
	if (pending_reason(record, input, now)) {
		describe_pending(record, subject, pending_reason(record, input, now), reason);
		return STATE_PENDING;
	}
	if (input->settings->n_echoes == 0)
		because = "no echo is configured";
	reason[0] = '\0';
	if (record->last_proof.wall_us)
		sentence_set(reason, REASON_MAX, "the last proof is of %s; ",
		             clock_format(record->last_proof.wall_us, when));
	sentence_add(reason, REASON_MAX, "%s", because);
	return STATE_UNVERIFIED;
}

/*
 * An annotation may name any namespace, and whoever makes a pod writes its
 * annotations: proofs from a namespace without the pod's address are another's.
 */
static bool is_elsewhere(const struct subject *subject)
{
	return subject->has_ip && !subject->host_network && judge_live_complete(subject) &&
	       subject->live.n_addresses > 0 && !live_has_address(&subject->live, &subject->ip);
}

void judge_state(struct judge_record *record, const struct judge_input *input, size_t open,
                 const struct moment *now)
{
	char address[IP_TEXT_MAX];
	enum subject_state state;
	char reason[REASON_MAX];

	if (open > 0 || record->n_findings > 0) {
		state = STATE_VIOLATED;
		sentence_set(reason, sizeof(reason), "%s%s",
		             record->n_findings ? "" : "not seen again so far: ",
		             record->finding_reason[0] ? record->finding_reason
		                                       : "what an earlier run of the agent found");
	} else if (is_elsewhere(input->subject)) {
		state = STATE_UNVERIFIED;
		sentence_set(reason, sizeof(reason),
		             "the network namespace that was found or annotated does not have the "
		             "pod's address %s",
		             ip_format(&input->subject->ip, address));
	} else if (is_proven(record, input, now)) {
		state = STATE_VERIFIED;
		sentence_set(reason, sizeof(reason), "%s%s", record->round_reason,
		             input->observing ? "" : "; its flows are not observed");
	} else {
		state = unproven(record, input, now, reason);
	}

	if (state != record->state)
		record->state_since = *now;
	record->state = state;
	memcpy(record->reason, reason, sizeof(record->reason));
}
