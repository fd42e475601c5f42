/*
 * From what happens and what is, to metrics.
 */
#include <string.h>

#include "report/process.h"
#include "report/report_parts.h"

static const char *gateway_label(const struct subject *subject)
{
	return subject->gateway_name ? subject->gateway_name : "";
}

static void declare_violations(struct metrics *metrics, const char *namespace, const char *gateway)
{
	for (size_t i = 0; i < _VIOLATION_KIND_MAX; i++) {
		const char *const *labels = METRIC_LABELS(
			violation_kind_name((enum violation_kind)i), namespace, gateway);

		metrics_declare(metrics, METRIC_VIOLATIONS, labels);
		metrics_set(metrics, METRIC_VIOLATIONS_OPEN, labels, 0);
	}
}

static bool is_failure(enum probe_outcome outcome)
{
	return outcome != PROBE_ANSWERED && outcome != PROBE_SKIPPED;
}

void report_echoes(struct report *report)
{
	const struct judge_settings *settings = report->sources.settings(report->sources.user);

	for (size_t i = 0; i < settings->n_echoes; i++) {
		const char *echo = settings->echo_name[i];

		metrics_declare(report->metrics, METRIC_PROBE_ATTEMPTS, METRIC_LABELS(echo));
		for (size_t k = 0; k < _PROBE_OUTCOME_MAX; k++)
			if (is_failure((enum probe_outcome)k))
				metrics_declare(report->metrics, METRIC_PROBE_FAILURES,
				                METRIC_LABELS(echo, probe_outcome_name((
									    enum probe_outcome)k)));
	}
}

void collect_declare(struct report *report)
{
	const struct report_sources *s = &report->sources;
	struct metrics *metrics = report->metrics;

	metrics_set(metrics, METRIC_BUILD_INFO, METRIC_LABELS(s->version, s->commit), 1);
	for (size_t i = 0; i < _PATH_MAX; i++) {
		const char *const *labels = METRIC_LABELS(path_name((enum path)i));

		metrics_declare(metrics, METRIC_FLOWS, labels);
		metrics_declare(metrics, METRIC_FLOW_BYTES, labels);
		metrics_declare(metrics, METRIC_FLOW_PACKETS, labels);
	}
	for (size_t i = 0; i < _PROBE_PHASE_MAX; i++)
		metrics_declare(metrics, METRIC_PROBE_DURATION,
		                METRIC_LABELS(probe_phase_name((enum probe_phase)i)));
	metrics_declare(metrics, METRIC_DETECTION, NULL);
	metrics_set(metrics, METRIC_PROCESS_START, NULL, (double)s->started.wall_us / 1e6);
	report_echoes(report);
}

static void collect_subjects(struct report *report)
{
	const struct report_sources *s = &report->sources;
	struct metrics *metrics = report->metrics;
	uint64_t states[_STATE_MAX] = { 0 };

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct subject *subject = s->subject(s->user, i);
		const struct judge_record *record;
		const char *const *labels;

		if (!subject)
			continue;
		record = s->record(s->user, i);
		labels = METRIC_LABELS(subject->namespace, subject->pod, gateway_label(subject));
		states[record->state]++;
		metrics_set(metrics, METRIC_SUBJECT_VERIFIED, labels,
		            record->state == STATE_VERIFIED);
		metrics_set(metrics, METRIC_SUBJECT_LAST_VERIFIED, labels,
		            (double)record->last_proof.wall_us / 1e6);
		declare_violations(metrics, subject->namespace, gateway_label(subject));
	}
	for (size_t i = 0; i < _STATE_MAX; i++)
		metrics_set(metrics, METRIC_SUBJECTS,
		            METRIC_LABELS(state_name((enum subject_state)i)), (double)states[i]);
}

static void collect_violations(struct report *report)
{
	const struct report_sources *s = &report->sources;
	const struct violation *violation;

	for (size_t i = 0; (violation = s->violation(s->user, i)) && violation->open; i++) {
		const char *const *labels = METRIC_LABELS(violation_kind_name(violation->kind),
		                                          violation->namespace, violation->gateway);
		double value = 0;

		(void)metrics_value(report->metrics, METRIC_VIOLATIONS_OPEN, labels, &value);
		metrics_set(report->metrics, METRIC_VIOLATIONS_OPEN, labels, value + 1);
	}
}

static void collect_own(struct report *report)
{
	const struct report_sources *s = &report->sources;
	struct metrics *metrics = report->metrics;
	struct process process = process_read();

	for (size_t i = 0; i < _CONDITION_MAX; i++) {
		struct report_condition_state state = { 0 };

		s->condition(s->user, (enum report_condition)i, &state);
		metrics_set(metrics, METRIC_CONDITION,
		            METRIC_LABELS(report_condition_name((enum report_condition)i)),
		            state.ok);
	}
	metrics_set(metrics, METRIC_EVENT_READERS, NULL, events_stats(report->events).readers);
	metrics_set(metrics, METRIC_PROCESS_CPU, NULL, process.cpu_seconds);
	metrics_set(metrics, METRIC_PROCESS_MEMORY, NULL, (double)process.resident_bytes);
	metrics_set(metrics, METRIC_PROCESS_FDS, NULL, (double)process.open_fds);
	metrics_set(metrics, METRIC_FLOW_EVENTS_LOST, NULL,
	            (double)report_lost(report, LOSS_FLOW_EVENTS));
	/* Last: what the lines above had refused belongs to it. */
	for (size_t i = 0; i < _LOSS_MAX; i++)
		metrics_set(metrics, METRIC_LOST,
		            METRIC_LABELS(report_loss_label((enum report_loss)i)),
		            (double)report_lost(report, (enum report_loss)i));
}

static void collect_watch(struct metrics *metrics, const char *resource,
                          const struct report_kube_watch *watch)
{
	const struct kube_watch_stats *stats = &watch->stats;
	const struct {
		const char *reason;
		uint64_t n;
	} errors[] = {
		{ "expired", stats->expired },
		{ "throttled", stats->throttled },
		{ "failed", stats->errors },
		{ "silent", stats->silences },
	};
	const char *const *labels = METRIC_LABELS(resource);

	metrics_set(metrics, METRIC_KUBE_SYNCED, labels, watch->synced);
	metrics_set(metrics, METRIC_KUBE_HEARD, labels, (double)watch->heard_us / 1e6);
	metrics_set(metrics, METRIC_KUBE_LISTS, labels, (double)stats->lists);
	metrics_set(metrics, METRIC_KUBE_WATCHES, labels, (double)stats->watches);
	metrics_set(metrics, METRIC_KUBE_EVENTS_RECEIVED, labels, (double)stats->events);
	metrics_set(metrics, METRIC_KUBE_BOOKMARKS, labels, (double)stats->bookmarks);
	metrics_set(metrics, METRIC_KUBE_REFUSED, labels, (double)stats->refused);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		metrics_set(metrics, METRIC_KUBE_WATCH_ERRORS,
		            METRIC_LABELS(resource, errors[i].reason), (double)errors[i].n);
}

/* With a file as inventory too: the series are there, with 0. */
static void collect_kube(struct report *report)
{
	const struct report_sources *s = &report->sources;
	struct metrics *metrics = report->metrics;
	struct report_kube kube = { 0 };
	const struct {
		const char *result;
		const uint64_t *n;
	} events[] = {
		{ "sent", &kube.recorder.sent },
		{ "series", &kube.recorder.series },
		{ "coalesced", &kube.recorder.coalesced },
		{ "throttled", &kube.recorder.throttled },
		{ "dropped", &kube.recorder.dropped },
		{ "rejected", &kube.recorder.rejected },
	};

	if (s->kube)
		s->kube(s->user, &kube);
	for (size_t i = 0; i < _REPORT_RESOURCE_MAX; i++)
		collect_watch(metrics, report_resource_name((enum report_resource)i),
		              &kube.watches[i]);
	metrics_set(metrics, METRIC_KUBE_REQUESTS, NULL, (double)kube.client.requests);
	metrics_set(metrics, METRIC_KUBE_RECEIVED, NULL, (double)kube.client.bytes);
	metrics_set(metrics, METRIC_KUBE_WARNINGS, NULL, (double)kube.client.warnings);
	metrics_set(metrics, METRIC_KUBE_RENEWED, NULL, (double)kube.client.renewed);
	metrics_set(metrics, METRIC_KUBE_CREDENTIAL_ERRORS, NULL,
	            (double)kube.client.credential_errors);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		metrics_set(metrics, METRIC_KUBE_EVENTS, METRIC_LABELS(events[i].result),
		            (double)*events[i].n);
}

static void collect_spool(struct metrics *metrics, const struct spool_client_stats *stats)
{
	const struct spool_state *state = &stats->state;

	metrics_set(metrics, METRIC_EXPORT_QUEUE, NULL, (double)state->waiting);
	metrics_set(metrics, METRIC_EXPORT_OLDEST, NULL, (double)state->oldest_us / 1e6);
	metrics_set(metrics, METRIC_EXPORT_SPOOLED, NULL, (double)state->bytes);
	metrics_set(metrics, METRIC_EXPORT_DEGRADED, NULL, state->degraded);
	metrics_set(metrics, METRIC_EXPORT_SPOOL_ERRORS, NULL, (double)state->errors);
	for (size_t i = 0; i < _SPOOL_DROP_MAX; i++)
		metrics_set(metrics, METRIC_EXPORT_DROPPED,
		            METRIC_LABELS(spool_drop_name((enum spool_drop)i)),
		            (double)state->dropped[i]);
	metrics_set(metrics, METRIC_EXPORT_DROPPED, METRIC_LABELS("queue"), (double)stats->refused);
}

/* Without a collector too: the series are there, with 0. */
static void collect_export(struct report *report)
{
	struct report_export state = report_export(report);
	const struct exporter_stats *stats = &state.exporter;
	struct metrics *metrics = report->metrics;

	collect_spool(metrics, &state.spool);
	metrics_set(metrics, METRIC_EXPORT_CONFIGURED, NULL, state.exporting);
	metrics_set(metrics, METRIC_EXPORT_TOLD_EARLY, NULL, (double)state.told_early);
	metrics_set(metrics, METRIC_EXPORT_UNREAD, NULL, (double)state.unread);
	metrics_set(metrics, METRIC_EXPORT_SENT, NULL, (double)stats->sent);
	metrics_set(metrics, METRIC_EXPORT_REJECTED, NULL, (double)stats->rejected);
	metrics_set(metrics, METRIC_EXPORT_SENT_BYTES, NULL, (double)stats->sent_bytes);
	metrics_set(metrics, METRIC_EXPORT_LAST_SUCCESS, NULL,
	            (double)stats->last_success_us / 1e6);
	for (size_t i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		for (size_t k = 0; k < _EXPORT_RESULT_MAX; k++)
			metrics_set(metrics, METRIC_EXPORT_REQUESTS,
			            METRIC_LABELS(export_signal_name((enum export_signal)i),
			                          export_result_name((enum export_result)k)),
			            (double)stats->requests[i][k]);
}

void collect(struct report *report)
{
	static const enum metric swept[] = {
		METRIC_SUBJECT_VERIFIED,
		METRIC_SUBJECT_LAST_VERIFIED,
		METRIC_VIOLATIONS_OPEN,
		/* Pods may name any gateway: names that are gone must not use the series up. */
		METRIC_VIOLATIONS,
	};

	for (size_t i = 0; i < sizeof(swept) / sizeof(swept[0]); i++)
		metrics_sweep_begin(report->metrics, swept[i]);
	/* Without a subject too: an alert must find its series. */
	declare_violations(report->metrics, "", "");
	collect_subjects(report);
	collect_violations(report);
	for (size_t i = 0; i < sizeof(swept) / sizeof(swept[0]); i++)
		metrics_sweep_end(report->metrics, swept[i]);
	report_echoes(report);
	collect_kube(report);
	collect_export(report);
	collect_own(report);
}

/* What happens */

static bool from_packets(enum violation_kind kind)
{
	return kind == GATEWAY_BYPASS || kind == UNGOVERNED_EGRESS || kind == UNEXPECTED_GATEWAY;
}

void report_violation(struct report *report, const struct violation *violation,
                      enum violation_change change)
{
	events_violation(report->events, violation, change);
	if (change != VIOLATION_OPENED)
		return;

	metrics_add(report->metrics, METRIC_VIOLATIONS,
	            METRIC_LABELS(violation_kind_name(violation->kind), violation->namespace,
	                          violation->gateway),
	            1);
	if (from_packets(violation->kind) && violation->opened.mono_ns >= violation->first.mono_ns)
		metrics_observe(report->metrics, METRIC_DETECTION, NULL,
		                (double)(violation->opened.mono_ns - violation->first.mono_ns) /
		                        (double)NSEC_PER_SEC);
}

void report_probe(struct report *report, const struct probe_result *result)
{
	const struct judge_settings *settings = report->sources.settings(report->sources.user);
	const char *echo;

	if (result->outcome == PROBE_SKIPPED || result->echo >= settings->n_echoes)
		return;
	echo = settings->echo_name[result->echo];
	metrics_add(report->metrics, METRIC_PROBE_ATTEMPTS, METRIC_LABELS(echo), 1);
	if (is_failure(result->outcome))
		metrics_add(report->metrics, METRIC_PROBE_FAILURES,
		            METRIC_LABELS(echo, probe_outcome_name(result->outcome)), 1);
	for (size_t i = 0; i < _PROBE_PHASE_MAX; i++)
		if (result->phase_us[i])
			metrics_observe(report->metrics, METRIC_PROBE_DURATION,
			                METRIC_LABELS(probe_phase_name((enum probe_phase)i)),
			                result->phase_us[i] / 1e6);
}

void report_flow_opened(struct report *report, enum path path)
{
	metrics_add(report->metrics, METRIC_FLOWS, METRIC_LABELS(path_name(path)), 1);
}

void report_flow_updated(struct report *report, enum path path, const struct flow_delta *delta)
{
	metrics_add(report->metrics, METRIC_FLOW_BYTES, METRIC_LABELS(path_name(path)),
	            delta->bytes);
	metrics_add(report->metrics, METRIC_FLOW_PACKETS, METRIC_LABELS(path_name(path)),
	            delta->packets);
}
