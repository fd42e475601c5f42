#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/report_parts.h"

static void write_phases(struct encode *e, const struct probe_result *result)
{
	encode_object(e, "phases");
	for (size_t i = 0; i < _PROBE_PHASE_MAX; i++) {
		const char *name = probe_phase_name((enum probe_phase)i);

		if (result->phase_us[i])
			encode_double(e, name, result->phase_us[i] / 1e6);
		else
			encode_null(e, name);
	}
	encode_object_end(e);
}

/* The members of a result, inside of an open object. */
void write_probe(struct encode *e, const struct judge_settings *settings,
                 const struct probe_result *result)
{
	static const struct ip none;
	bool asked = memcmp(&result->peer, &none, sizeof(none)) != 0;

	encode_text(e, "echo", settings->echo_name[result->echo]);
	encode_text(e, "transport", result->udp ? "udp" : "tcp");
	encode_text(e, "outcome", probe_outcome_name(result->outcome));
	encode_text(e, "phase", probe_phase_name(result->phase));
	write_phases(e, result);
	if (asked)
		encode_ip(e, "peer", &result->peer);
	else
		encode_null(e, "peer");
	encode_u64(e, "port", result->peer_port);
	if (result->outcome == PROBE_ANSWERED)
		encode_ip(e, "address", &result->observed);
	else
		encode_null(e, "address");
	if (result->http_status)
		encode_u64(e, "httpStatus", result->http_status);
	else
		encode_null(e, "httpStatus");
	encode_text(e, "detail", result->detail);
	encode_time(e, "started", result->started.wall_us);
	encode_time(e, "finished", result->finished.wall_us);
}

/* `subject` NULL: the node's control probes, whose key sorts before every name. */
static void write_results(struct call *call, struct list *list, const struct subject *subject,
                          const struct probe_result *results)
{
	const struct judge_settings *settings = call->sources->settings(call->sources->user);
	char key[LIST_KEY_MAX], pair[LIST_KEY_MAX];

	for (size_t i = 0; i < settings->n_echoes; i++) {
		char number[24];

		if (!results[i].finished.wall_us)
			continue;
		snprintf(number, sizeof(number), "%04zu", i);
		list_key(pair, subject ? subject->namespace : "", subject ? subject->pod : "");
		list_key(key, pair, number);
		if (!list_takes(list, key))
			continue;
		encode_object(&call->e, NULL);
		if (subject)
			write_subject_name(&call->e, "subject", subject->namespace, subject->pod,
			                   subject->uid);
		else
			encode_null(&call->e, "subject");
		write_probe(&call->e, settings, &results[i]);
		encode_object_end(&call->e);
	}
}

int route_probes(struct call *call)
{
	const struct report_sources *s = call->sources;
	const struct probe_result *control = s->node_results(s->user);
	const struct subject *subjects[SUBJECTS_MAX];
	struct list list;
	size_t n;

	if (!list_begin(call, &list))
		return 0;
	n = source_subjects(s, subjects);
	list_open(call);
	if (control)
		write_results(call, &list, NULL, control);
	for (size_t i = 0; i < n; i++)
		write_results(call, &list, subjects[i],
		              s->record(s->user, subjects[i]->number)->last);
	list_close(call, &list);
	return 0;
}

int route_probe_now(struct call *call)
{
	const struct report_sources *s = call->sources;
	const struct subject *subject = call_subject(call, "pod");
	uint64_t wait_ns, wait_s;

	if (!subject)
		return 0;
	wait_ns = s->probe_now(s->user, subject);
	if (wait_ns == UINT64_MAX)
		return call_problem(call, 409,
		                    "%s/%s cannot be probed now: its network namespace"
		                    " is not known",
		                    subject->namespace, subject->pod);
	if (wait_ns > 0) {
		wait_s = (wait_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
		snprintf(call->response->scratch, sizeof(call->response->scratch), "%" PRIu64,
		         wait_s);
		http_server_header(call->response, "Retry-After", call->response->scratch);
		return call_problem(call, 429,
		                    "%s/%s was probed just now: try again in %" PRIu64 " s",
		                    subject->namespace, subject->pod, wait_s);
	}
	call->response->status = 202;
	encode_object(&call->e, NULL);
	write_subject_name(&call->e, "subject", subject->namespace, subject->pod, subject->uid);
	encode_time(&call->e, "requested", call->now.wall_us);
	encode_object_end(&call->e);
	return 0;
}
