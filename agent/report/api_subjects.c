#include <string.h>

#include "report/report_parts.h"

void write_subject_name(struct encode *e, const char *key, const char *namespace, const char *pod,
                        const char *uid)
{
	encode_object(e, key);
	encode_text(e, "namespace", namespace);
	encode_text(e, "pod", pod);
	encode_text(e, "uid", uid);
	encode_object_end(e);
}

void write_gateway_name(struct encode *e, const char *key, const char *namespace, const char *name)
{
	if (!name) {
		encode_null(e, key);
		return;
	}
	encode_object(e, key);
	encode_text(e, "namespace", namespace);
	encode_text(e, "name", name);
	encode_object_end(e);
}

/* The annotation names a gateway of the pod's own namespace, whether it exists or not. */
void write_gateway_of(struct encode *e, const char *key, const struct subject *subject)
{
	write_gateway_name(e, key, subject->namespace, subject->gateway_name);
}

void write_prefix(struct encode *e, const char *key, const struct prefix_set *set)
{
	encode_array(e, key);
	for (size_t i = 0; set && i < set->n; i++) {
		if (set->items[i].len == 128)
			encode_ip(e, NULL, &set->items[i].net);
		else
			encode_cidr(e, NULL, &set->items[i]);
	}
	encode_array_end(e);
}

/* What the default path leaves by; the names that the CNI plugin gives when live links are unknown. */
static const char *expected_interface(const struct subject *subject)
{
	const struct live_link *link = live_tunnel_link(&subject->live);

	if (subject->policy.default_path == PATH_GATEWAY)
		return link ? link->name : "wg0";
	for (size_t i = 0; i < subject->live.n_links; i++) {
		const struct live_link *other = &subject->live.links[i];

		if (!other->loopback && (!link || other->ifindex != link->ifindex))
			return other->name;
	}
	return "eth0";
}

static void write_expected(struct encode *e, const struct subject *subject)
{
	encode_object(e, "expected");
	write_prefix(e, "addresses", subject->gateway ? &subject->gateway->prefix : NULL);
	encode_text(e, "interface", subject->gateway ? expected_interface(subject) : NULL);
	encode_object_end(e);
}

static void write_echo(struct encode *e, const struct judge_settings *settings,
                       const struct probe_result *result)
{
	encode_object(e, NULL);
	encode_text(e, "echo", settings->echo_name[result->echo]);
	encode_text(e, "transport", result->udp ? "udp" : "tcp");
	encode_text(e, "outcome", probe_outcome_name(probe_result_shown(result)));
	if (result->outcome == PROBE_ANSWERED)
		encode_ip(e, "address", &result->observed);
	else
		encode_null(e, "address");
	encode_time(e, "finished", result->finished.wall_us);
	encode_object_end(e);
}

static void write_observed(struct encode *e, const struct judge_settings *settings,
                           const struct judge_record *record)
{
	encode_object(e, "observed");
	if (record->attribution == ATTRIBUTION_NONE)
		encode_null(e, "address");
	else
		encode_ip(e, "address", &record->observed);
	encode_text(e, "attribution", attribution_name(record->attribution));
	encode_text(e, "attributedTo", record->attributed_to[0] ? record->attributed_to : NULL);
	encode_array(e, "echoes");
	for (size_t i = 0; i < settings->n_echoes; i++)
		if (record->last[i].finished.wall_us)
			write_echo(e, settings, &record->last[i]);
	encode_array_end(e);
	encode_object_end(e);
}

static void write_open(struct call *call, const struct subject *subject)
{
	const struct report_sources *s = call->sources;
	const struct violation *violation;
	struct encode *e = &call->e;

	encode_array(e, "violations");
	for (size_t i = 0; (violation = s->violation(s->user, i)) && violation->open; i++) {
		if (strcmp(violation->uid, subject->uid) != 0)
			continue;
		encode_object(e, NULL);
		encode_text(e, "id", violation->id);
		encode_text(e, "kind", violation_kind_name(violation->kind));
		encode_time(e, "firstSeen", violation->first.wall_us);
		encode_text(e, "reason", violation->reason);
		encode_object_end(e);
	}
	encode_array_end(e);
}

void write_subject(struct call *call, const char *key, const struct subject *subject)
{
	const struct report_sources *s = call->sources;
	const struct judge_record *record = s->record(s->user, subject->number);
	struct encode *e = &call->e;

	encode_object(e, key);
	encode_text(e, "namespace", subject->namespace);
	encode_text(e, "pod", subject->pod);
	encode_text(e, "uid", subject->uid);
	if (subject->has_ip)
		encode_ip(e, "ip", &subject->ip);
	else
		encode_null(e, "ip");
	write_gateway_of(e, "gateway", subject);
	encode_text(e, "state", state_name(record->state));
	encode_text(e, "reason", record->reason);
	encode_time(e, "since", record->state_since.wall_us);
	write_expected(e, subject);
	write_observed(e, s->settings(s->user), record);
	encode_time(e, "lastVerified", record->last_proof.wall_us);
	encode_bool(e, "flowsObserved", s->observing(s->user, subject->number));
	write_open(call, subject);
	encode_object_end(e);
}

int route_subjects(struct call *call)
{
	const struct subject *subjects[SUBJECTS_MAX];
	char key[LIST_KEY_MAX];
	struct list list;
	size_t n;

	if (!list_begin(call, &list))
		return 0;
	n = source_subjects(call->sources, subjects);
	list_open(call);
	for (size_t i = 0; i < n; i++) {
		list_key(key, subjects[i]->namespace, subjects[i]->pod);
		if (list_takes(&list, key))
			write_subject(call, NULL, subjects[i]);
	}
	list_close(call, &list);
	return 0;
}

int route_subject(struct call *call)
{
	const struct subject *subject = source_subject(call->sources, call->path[0], call->path[1]);

	if (!subject)
		return call_problem(call, 404, "no subject %s/%s on this node", call->path[0],
		                    call->path[1]);
	write_subject(call, NULL, subject);
	return 0;
}
