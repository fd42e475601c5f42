/*
 * Flows against the policy: what each one did, and what the offending ones
 * together say.
 */
#include "verdict/judge_parts.h"

#include <string.h>

#include "verdict/remedy.h"
#include "verdict/sentence.h"

#define MAIN_TABLE 254
#define LOOPBACK_IFINDEX 1 /* in every network namespace, register_pernet_device() in loopback.c */
#define LEN_HOST 128
/* Passes over a pod's flows in search of an incident's beginning; a pod could make it one per flow. */
#define JOINS_MAX 32

/*
 * kube-egress-cni is not run for hostNetwork pods, so a WireGuard link there
 * is somebody else's. While the live links are unknown nothing is a tunnel.
 */
static bool is_tunnel(const struct subject *subject, uint32_t ifindex)
{
	return !subject->host_network && subject->live.readable && subject->live.tunnel_ifindex &&
	       subject->live.tunnel_ifindex == ifindex;
}

/*
 * A way out that is certainly not the tunnel. An interface that the live links
 * do not name (yet, or no more) accuses nobody: the caller classifies again
 * when the live configuration has been read again.
 */
static bool is_other_way(const struct subject *subject, uint32_t ifindex)
{
	const struct live_link *link = judge_link(subject, ifindex);

	if (subject->host_network)
		return ifindex != LOOPBACK_IFINDEX;
	return link && !link->loopback && !is_tunnel(subject, ifindex);
}

/*
 * The next hop itself: kube-egress-cni keeps `<gateway>/32 dev eth0 scope link`
 * beside the tunnel's default route. What is addressed to it stays on the node.
 */
static bool is_next_hop(const struct subject *subject, const struct ip *dst)
{
	const struct live *live = &subject->live;
	bool host_route = false, is_gateway = false;

	if (!live->readable || !prefix_private(dst))
		return false;
	for (size_t i = 0; i < live->n_routes; i++) {
		const struct live_route *route = &live->routes[i];

		if (is_tunnel(subject, route->ifindex))
			continue;
		if (route->table == MAIN_TABLE && !route->has_gateway &&
		    route->dst.len == LEN_HOST && memcmp(&route->dst.net, dst, sizeof(*dst)) == 0)
			host_route = true;
		if (route->has_gateway && memcmp(&route->gateway, dst, sizeof(*dst)) == 0)
			is_gateway = true;
	}
	return host_route && is_gateway;
}

static bool stays_inside(const struct subject *subject, const struct ip *dst)
{
	return path_expect(&subject->policy, dst, false).path == PATH_CLUSTER ||
	       is_next_hop(subject, dst);
}

static enum path path_taken(const struct subject *subject, const struct flow *flow)
{
	if (is_tunnel(subject, flow->key.ifindex))
		return PATH_GATEWAY;
	if (flow->key.origin == FLOW_REMOTE)
		return PATH_REPLY;
	if (stays_inside(subject, &flow->key.remote))
		return PATH_CLUSTER;
	return is_other_way(subject, flow->key.ifindex) ? PATH_DIRECT : PATH_UNKNOWN;
}

/*
 * An annotation that names no object says that the pod must not leave
 * directly, but not where the exceptions are: nothing is accused by its flows
 * then; missing-configuration says what is wrong.
 */
static bool violates_annotation(const struct subject *subject, const struct flow *flow,
                                enum violation_kind *kind)
{
	enum path expected = path_expect(&subject->policy, &flow->key.remote, false).path;

	if (!subject->gateway)
		return false;
	if (flow->path == PATH_DIRECT && expected == PATH_GATEWAY) {
		*kind = GATEWAY_BYPASS;
		return true;
	}
	/* With staticEgressGateway it is an exception whose route is missing: stale-routes. */
	if (flow->path == PATH_GATEWAY && expected == PATH_DIRECT &&
	    !subject->gateway->default_to_gateway) {
		*kind = UNEXPECTED_GATEWAY;
		return true;
	}
	return false;
}

static bool violates_absence(const struct subject *subject, const struct flow *flow,
                             enum violation_kind *kind)
{
	if (flow->path == PATH_GATEWAY && !stays_inside(subject, &flow->key.remote)) {
		*kind = UNEXPECTED_GATEWAY;
		return true;
	}
	if (flow->path == PATH_DIRECT && subject->required) {
		*kind = UNGOVERNED_EGRESS;
		return true;
	}
	return false;
}

void judge_flow(const struct subject *subject, struct flow *flow, enum violation_kind *kind)
{
	enum path path = path_taken(subject, flow);
	enum violation_kind found;

	/*
	 * The interface is gone, or cannot be read now: what was known of the flow
	 * while it could be still holds. Else a pod could end its violation by hiding.
	 */
	if (path != PATH_UNKNOWN || !flow->offending)
		flow->path = (uint8_t)path;
	flow->offending = false;
	if (flow->key.origin == FLOW_REMOTE)
		return;

	flow->offending = subject->gateway_name ? violates_annotation(subject, flow, &found)
	                                        : violates_absence(subject, flow, &found);
	if (flow->offending)
		*kind = found;
}

/*
 * The kind of a flow that judge_flow() marked. The caller classifies again
 * whenever the subject changes, so the mark is that of what holds now; asking
 * the policy again for each of 100,000 flows would cost a hostile pod nothing
 * and us everything.
 */
static bool is_of_kind(const struct subject *subject, const struct flow *flow,
                       enum violation_kind kind)
{
	if (!flow->offending)
		return false;
	if (flow->path == PATH_GATEWAY)
		return kind == UNEXPECTED_GATEWAY;
	return kind == (subject->gateway_name ? GATEWAY_BYPASS : UNGOVERNED_EGRESS);
}

static const struct moment *later(const struct moment *a, const struct moment *b)
{
	return a->mono_ns >= b->mono_ns ? a : b;
}

/*
 * When the flow's part in the present time of bad traffic began: not before
 * the time before ended. Then the packet that was noticed is all that is known.
 */
static struct moment flow_begin(const struct judge_streak *streak, const struct flow *flow)
{
	if (streak->ended.wall_us && flow->first.mono_ns <= streak->ended.mono_ns)
		return flow->last;
	return flow->first;
}

static bool is_recent(const struct judge_streak *streak, const struct flow *flow)
{
	return !streak->ended.wall_us || flow->last.mono_ns > streak->ended.mono_ns;
}

/*
 * Flows that follow each other within the quiet time are one incident. Its
 * beginning is the same whichever of them still sends, so that an agent that
 * starts in the middle of it finds the same one.
 */
static bool join_earlier(const struct judge_input *input, enum violation_kind kind,
                         struct judge_streak *streak)
{
	uint64_t quiet = judge_quiet_ns(input->settings);
	bool joined = false;

	for (size_t i = 0; i < input->n_offending; i++) {
		const struct flow *flow = input->offending[i];
		struct moment begin = flow_begin(streak, flow);

		if (is_recent(streak, flow) && begin.mono_ns < streak->since.mono_ns &&
		    flow->last.mono_ns + quiet >= streak->since.mono_ns &&
		    is_of_kind(input->subject, flow, kind)) {
			streak->since = begin;
			joined = true;
		}
	}
	return joined;
}

/* `past`: it ended before this agent began, and what went before it has been told. */
static void begin_streak(struct judge_streak *streak, const struct judge_input *input,
                         enum violation_kind kind, const struct moment *newest, bool past)
{
	streak->since = *newest;
	for (unsigned int i = 0; i < JOINS_MAX && join_earlier(input, kind, streak); i++)
		;
	if (past && streak->since.mono_ns) {
		streak->ended = streak->since;
		streak->ended.mono_ns--;
	}
}

static void track_kind(struct judge_streak *streak, const struct judge_input *input,
                       enum violation_kind kind, const struct moment *now)
{
	const struct moment *newest = NULL;
	bool unjudged = false, quiet;

	for (size_t i = 0; i < input->n_offending; i++) {
		const struct flow *flow = input->offending[i];

		if (!is_recent(streak, flow) || !is_of_kind(input->subject, flow, kind))
			continue;
		newest = newest ? later(newest, &flow->last) : &flow->last;
		unjudged = unjudged || flow->unjudged;
	}

	/* What ended while no agent was here is told all the same, and is over with the next judgement. */
	quiet = newest && judge_age(now, newest) > judge_quiet_ns(input->settings);
	if (!newest || (quiet && !unjudged)) {
		if (streak->since.wall_us)
			streak->ended = newest ? *newest : *now;
		streak->since = (struct moment){ 0 };
		return;
	}
	if (!streak->since.wall_us)
		begin_streak(streak, input, kind, newest, quiet);
}

void judge_track_flows(struct judge_record *record, const struct judge_input *input,
                       const struct moment *now)
{
	static const enum violation_kind kinds[] = { GATEWAY_BYPASS, UNGOVERNED_EGRESS,
		                                     UNEXPECTED_GATEWAY };

	if (!input->observing)
		record->observing_since = (struct moment){ 0 };
	else if (!record->observing_since.wall_us)
		record->observing_since = *now;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		track_kind(&record->streak[kinds[i]], input, kinds[i], now);
}

/* What the flows of one kind add up to. */
struct sum {
	uint64_t flows, packets, bytes, connections;
	const struct flow *newest;
};

static bool belongs(const struct evidence *evidence, const struct flow *flow)
{
	return is_recent(&evidence->record->streak[evidence->kind], flow) &&
	       is_of_kind(evidence->input->subject, flow, evidence->kind);
}

static struct sum add_up(const struct evidence *evidence)
{
	struct sum sum = { 0 };

	for (size_t i = 0; i < evidence->input->n_offending; i++) {
		const struct flow *flow = evidence->input->offending[i];

		if (!belongs(evidence, flow))
			continue;
		sum.flows++;
		sum.packets += flow->packets;
		sum.bytes += flow->bytes;
		/* A connection that began elsewhere and was moved here has none of its own. */
		sum.connections += flow->connections ? flow->connections : 1;
		if (!sum.newest || flow->last.mono_ns > sum.newest->last.mono_ns)
			sum.newest = flow;
	}
	return sum;
}

static void write_flows(const struct evidence *evidence)
{
	struct encode *e = evidence->e;
	const struct subject *subject = evidence->input->subject;
	struct sum sum = add_up(evidence);
	size_t shown = 0;

	encode_object(e, "totals");
	encode_u64(e, "flows", sum.flows);
	encode_u64(e, "packets", sum.packets);
	encode_u64(e, "bytes", sum.bytes);
	encode_u64(e, "connections", sum.connections);
	encode_object_end(e);
	encode_array(e, "flows");
	for (size_t i = 0; i < evidence->input->n_offending && shown < evidence->limit; i++) {
		if (!belongs(evidence, evidence->input->offending[i]))
			continue;
		evidence_flow(evidence, NULL, evidence->input->offending[i]);
		shown++;
	}
	encode_array_end(e);
	evidence_left_out(evidence, "flows", sum.flows - shown);
	encode_u64(e, "tunnelIfindex", subject->live.readable ? subject->live.tunnel_ifindex : 0);
	evidence_cidrs(evidence, "exceptions", subject->policy.exceptions,
	               subject->policy.n_exceptions);
	evidence_cidrs(evidence, "cluster", subject->policy.cluster, subject->policy.n_cluster);
	evidence_seconds(evidence, "quietSeconds", judge_quiet_ns(evidence->input->settings));
	/* The same traffic, seen by echoes. */
	if (evidence->kind == UNEXPECTED_GATEWAY && evidence->record->unexpected.holds)
		evidence_witnesses(evidence, "echoes", evidence->record->unexpected.witness,
		                   evidence->record->unexpected.n_witness);
}

static void describe(const struct evidence *evidence, const struct sum *sum, const char *what,
                     char reason[static REASON_MAX])
{
	const struct live_link *link =
		judge_link(evidence->input->subject, sum->newest->key.ifindex);
	char address[IP_TEXT_MAX], protocol[8];

	sentence_set(reason, REASON_MAX, "%s %s port %u left by %s, %s",
	             flow_protocol_name(sum->newest->key.protocol, protocol),
	             ip_format(&sum->newest->key.remote, address), sum->newest->key.remote_port,
	             link ? link->name : "another interface", what);
	if (sum->flows > 1)
		sentence_add(reason, REASON_MAX, "; %llu destinations in all",
		             (unsigned long long)sum->flows);
}

static int found_flows(const struct evidence *evidence, const char *what, struct finding *out)
{
	const struct judge_streak *streak = &evidence->record->streak[evidence->kind];
	struct sum sum;

	if (!streak->since.wall_us)
		return 0;
	sum = add_up(evidence);
	if (!sum.newest)
		return 0;

	out->count = sum.connections;
	out->first = streak->since;
	out->last = sum.newest->last;
	describe(evidence, &sum, what, out->reason);
	remedy_of_flow(evidence->input->subject, evidence->kind, out->remedy);
	return judge_found(evidence->record, evidence->input, evidence->now, out, write_flows,
	                   NULL);
}

#define EVIDENCE(k)                                                       \
	{                                                                 \
		.kind = (k), .record = record, .input = input, .now = now \
	}

int judge_bypass(const struct judge_record *record, const struct judge_input *input,
                 const struct moment *now, struct finding *out)
{
	const struct evidence evidence = EVIDENCE(GATEWAY_BYPASS);

	return found_flows(&evidence, "not through the gateway", out);
}

int judge_ungoverned(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out)
{
	const struct evidence evidence = EVIDENCE(UNGOVERNED_EGRESS);

	return found_flows(&evidence, "and the pod has no gateway although the policy requires one",
	                   out);
}

static int unexpected_by_echo(const struct evidence *evidence, struct finding *out)
{
	const struct judge_fault *fault = &evidence->record->unexpected;
	char address[IP_TEXT_MAX];

	if (!fault->holds)
		return 0;
	out->count = fault->count;
	out->first = fault->first;
	out->last = fault->last;
	sentence_set(out->reason, REASON_MAX,
	             "echoes outside excludeCidrs saw the gateway's address %s; with "
	             "azureNetworking only the listed CIDRs use the gateway",
	             ip_format(&fault->address, address));
	remedy_of_flow(evidence->input->subject, UNEXPECTED_GATEWAY, out->remedy);
	return judge_found(evidence->record, evidence->input, evidence->now, out, write_flows,
	                   NULL);
}

int judge_unexpected(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out)
{
	const struct evidence evidence = EVIDENCE(UNEXPECTED_GATEWAY);
	int r = found_flows(&evidence,
	                    input->subject->gateway_name
	                            ? "the gateway's tunnel, outside the listed CIDRs"
	                            : "a gateway's tunnel, and the pod has no gateway annotation",
	                    out);

	return r ? r : unexpected_by_echo(&evidence, out);
}
