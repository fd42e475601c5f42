/*
 * What the objects alone say, and whether the pod was ever programmed.
 */
#include "verdict/judge_parts.h"

#include "verdict/remedy.h"
#include "verdict/sentence.h"

static void add_bad_exception(const struct subject *subject, char reason[static REASON_MAX])
{
	if (subject->gateway && subject->gateway->bad_exception)
		sentence_add(reason, REASON_MAX,
		             "; its excludeCidrs entry \"%s\" makes every start of a pod fail",
		             subject->gateway->bad_exception);
}

static void write_live(const struct evidence *evidence)
{
	const struct live *live = &evidence->input->subject->live;
	struct encode *e = evidence->e;
	size_t shown = live->n_links < evidence->limit ? live->n_links : evidence->limit;

	if (!live->readable) {
		encode_null(e, "live");
		return;
	}
	encode_time(e, "liveReadAt", live->read_at.wall_us);
	encode_array(e, "interfaces");
	for (size_t i = 0; i < shown; i++) {
		encode_object(e, NULL);
		encode_text(e, "name", live->links[i].name);
		encode_text(e, "kind", live->links[i].kind);
		encode_u64(e, "ifindex", live->links[i].ifindex);
		encode_object_end(e);
	}
	encode_array_end(e);
	evidence_left_out(evidence, "interfaces", live->n_links - shown);
	encode_u64(e, "tunnelIfindex", live->tunnel_ifindex);
}

static void write_unprogrammed(const struct evidence *evidence)
{
	write_live(evidence);
	if (evidence->input->subject->gateway->bad_exception)
		encode_text(evidence->e, "badException",
		            evidence->input->subject->gateway->bad_exception);
	evidence_seconds(evidence, "settleSeconds", JUDGE_SETTLE_NS);
}

/*
 * hostNetwork needs no look at the links: the CNI plugin is not run for such a
 * pod. Otherwise a tunnel that is missing right after the agent met the pod
 * may still come, because the namespace exists before ADD has ended; and DEL
 * takes the tunnel of a pod that ends a moment before its namespace goes.
 */
static bool is_unprogrammed(const struct judge_record *record, const struct judge_input *input,
                            const struct moment *now)
{
	const struct subject *subject = input->subject;

	if (!subject->gateway_name || !subject->gateway)
		return false;
	if (subject->host_network)
		return true;
	if (record->tunnel_seen &&
	    judge_age(now, &record->tunnel_missing_since) < judge_settle_ns(input->settings))
		return false;
	return judge_live_complete(subject) && !subject->live.tunnel_ifindex &&
	       !judge_settling(input, now);
}

int judge_unprogrammed(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out)
{
	const struct subject *subject = input->subject;
	int64_t started_us = judge_pod_started_us(subject);

	if (!is_unprogrammed(record, input, now))
		return 0;

	out->count = 1;
	out->last = subject->host_network ? *now : subject->live.read_at;
	if (record->tunnel_seen && !subject->host_network)
		out->first = record->tunnel_missing_since;
	else
		out->first = started_us ? judge_at_wall(now, started_us) : subject->since;
	if (subject->host_network)
		sentence_set(out->reason, REASON_MAX,
		             "the pod uses the host's network, which gateway %s does not serve",
		             subject->gateway->name);
	else
		sentence_set(out->reason, REASON_MAX,
		             "the pod is annotated for gateway %s but has no tunnel interface%s",
		             subject->gateway->name, record->tunnel_seen ? " any more" : "");
	add_bad_exception(subject, out->reason);
	remedy_of_object(subject, UNPROGRAMMED_POD, out->remedy);
	return judge_found(record, input, now, out, write_unprogrammed, NULL);
}

/*
 * Since when the prefix is awaited. When the agent saw the object first says
 * nothing about it, so only a change under its eyes starts the time again.
 */
int64_t judge_awaited_since_us(const struct subject *subject)
{
	int64_t since_us = subject->gateway->created_us;

	if (judge_gateway_edited(subject) && subject->gateway_changed_us > since_us)
		since_us = subject->gateway_changed_us;
	return since_us ? since_us : subject->since.wall_us;
}

void judge_describe_bad_prefix(const struct kube_gateway *gateway, char reason[static REASON_MAX])
{
	sentence_set(reason, REASON_MAX,
	             "egressIpPrefix of gateway %s is neither a CIDR nor a list of addresses: "
	             "\"%.80s\"",
	             gateway->name, gateway->egress_prefix ? gateway->egress_prefix : "");
}

static void write_unassigned(const struct evidence *evidence)
{
	const struct kube_gateway *gateway = evidence->input->subject->gateway;
	char prefix[256] = ""; /* whatever somebody wrote there */

	sentence_set(prefix, sizeof(prefix), "%s",
	             gateway->egress_prefix ? gateway->egress_prefix : "");
	encode_text(evidence->e, "egressIpPrefix", prefix);
	encode_time(evidence->e, "awaitedSince", judge_awaited_since_us(evidence->input->subject));
	evidence_seconds(evidence, "pendingGraceSeconds",
	                 evidence->input->settings->pending_grace_ns);
	if (gateway->bad_exception)
		encode_text(evidence->e, "badException", gateway->bad_exception);
}

int judge_unassigned(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out)
{
	const struct subject *subject = input->subject;
	const struct kube_gateway *gateway = subject->gateway;

	if (!gateway || gateway->deleted_us || (gateway->prefix.n > 0 && !gateway->prefix_bad))
		return 0;
	if (judge_wall_age(now, judge_awaited_since_us(subject)) <
	    input->settings->pending_grace_ns)
		return 0;

	out->count = 1;
	out->first = judge_at_wall(now, judge_awaited_since_us(subject));
	out->last = *now;
	if (gateway->prefix_bad)
		judge_describe_bad_prefix(gateway, out->reason);
	else
		sentence_set(
			out->reason, REASON_MAX, "gateway %s has no egressIpPrefix after %llu s",
			gateway->name,
			(unsigned long long)(judge_wall_age(now, judge_awaited_since_us(subject)) /
		                             NSEC_PER_SEC));
	add_bad_exception(subject, out->reason);
	remedy_of_object(subject, UNASSIGNED_PREFIX, out->remedy);
	return judge_found(record, input, now, out, write_unassigned, NULL);
}

static void write_missing(const struct evidence *evidence)
{
	encode_text(evidence->e, "wanted", evidence->input->subject->gateway_name);
	encode_time(evidence->e, "absentSince", evidence->input->subject->gateway_changed_us);
	evidence_seconds(evidence, "settleSeconds", JUDGE_SETTLE_NS);
}

/* The list of gateways may arrive after the pod's object: hence the short wait. */
int judge_missing(const struct judge_record *record, const struct judge_input *input,
                  const struct moment *now, struct finding *out)
{
	const struct subject *subject = input->subject;
	int64_t since_us = subject->gateway_changed_us;

	if (!subject->gateway_name || (subject->gateway && !subject->gateway->deleted_us))
		return 0;
	if (!subject->gateway && (subject->gateway_unknown || judge_settling(input, now)))
		return 0;

	if (subject->gateway)
		since_us = subject->gateway->deleted_us;
	out->count = 1;
	out->first = since_us ? judge_at_wall(now, since_us) : subject->since;
	out->last = *now;
	sentence_set(out->reason, REASON_MAX,
	             subject->gateway ? "gateway %s of the annotation is being deleted from "
	                                "namespace %s"
	                              : "the annotation names gateway %s, which does not exist in "
	                                "namespace %s",
	             subject->gateway_name, subject->namespace);
	remedy_of_object(subject, MISSING_CONFIGURATION, out->remedy);
	return judge_found(record, input, now, out, write_missing, NULL);
}
