#include "report/source.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "report/report_parts.h"

static const char *const condition_names[] = {
	[CONDITION_BPF] = "bpf",
	[CONDITION_INVENTORY] = "inventory",
	[CONDITION_PROBES] = "probes",
	[CONDITION_EXPORT] = "export",
};
static_assert(sizeof(condition_names) / sizeof(condition_names[0]) == _CONDITION_MAX,
              "a condition has no name");

static const struct {
	const char *name, *label;
} losses[] = {
	[LOSS_FLOW_EVENTS] = { "flowEvents", "flow-events" },
	[LOSS_FLOW_RECORDS] = { "flowRecords", "flow-records" },
	[LOSS_FLOW_EVICTIONS] = { "flowEvictions", "flow-evictions" },
	[LOSS_FLOW_UNPARSED] = { "unparsedPackets", "unparsed-packets" },
	[LOSS_VIOLATIONS] = { "violations", "violations" },
	[LOSS_OBJECTS] = { "objects", "objects" },
	[LOSS_PROBES] = { "probes", "probes" },
	[LOSS_MEMORY] = { "memory", "memory" },
	[LOSS_SERIES] = { "series", "series" },
	[LOSS_EVENTS] = { "events", "events" },
	[LOSS_READERS] = { "eventReaders", "event-readers" },
	[LOSS_CONNECTIONS] = { "connections", "connections" },
	[LOSS_REPORTS] = { "reports", "reports" },
};
static_assert(sizeof(losses) / sizeof(losses[0]) == _LOSS_MAX, "a loss has no name");

static const char *const resource_names[] = {
	[REPORT_PODS] = "pods",
	[REPORT_NODES] = "nodes",
	[REPORT_GATEWAYS] = "staticgatewayconfigurations",
	[REPORT_GATEWAY_VMS] = "gatewayvmconfigurations",
};
static_assert(sizeof(resource_names) / sizeof(resource_names[0]) == _REPORT_RESOURCE_MAX,
              "a resource has no name");

const char *report_resource_name(enum report_resource resource)
{
	return resource_names[resource];
}

const char *report_condition_name(enum report_condition condition)
{
	return condition_names[condition];
}

const char *report_loss_name(enum report_loss loss)
{
	return losses[loss].name;
}

const char *report_loss_label(enum report_loss loss)
{
	return losses[loss].label;
}

uint64_t report_lost_total(const struct report *report)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < _LOSS_MAX; i++)
		total += report_lost(report, (enum report_loss)i);
	return total;
}

struct report_export report_export(const struct report *report)
{
	struct report_export state = { 0 };

	if (report->sources.export)
		report->sources.export(report->sources.user, &state);
	return state;
}

static uint64_t lost_reports(const struct report *report)
{
	struct report_export state = report_export(report);
	uint64_t lost = state.spool.refused + state.exporter.rejected;

	for (size_t i = 0; i < _SPOOL_DROP_MAX; i++)
		lost += state.spool.state.dropped[i];
	return lost;
}

uint64_t report_lost(const struct report *report, enum report_loss loss)
{
	const struct http_server_stats none = { 0 };
	struct http_server_stats stats = report->server ? http_server_stats(report->server) : none;

	switch (loss) {
	case LOSS_SERIES:
		return metrics_refused(report->metrics);
	case LOSS_EVENTS:
		return events_stats(report->events).lost;
	case LOSS_READERS:
		return stats.streams_dropped + stats.streams_refused;
	case LOSS_CONNECTIONS:
		return stats.refused_peer + stats.timed_out + stats.paused + stats.deferred_refused;
	case LOSS_REPORTS:
		return lost_reports(report);
	default:
		return report->sources.lost(report->sources.user, loss);
	}
}

static int by_name(const void *a, const void *b)
{
	const struct subject *const *x = a, *const *y = b;
	int r = strcmp((*x)->namespace, (*y)->namespace);

	return r ? r : strcmp((*x)->pod, (*y)->pod);
}

size_t source_subjects(const struct report_sources *sources,
                       const struct subject *out[static SUBJECTS_MAX])
{
	size_t n = 0;

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct subject *subject = sources->subject(sources->user, i);

		if (subject)
			out[n++] = subject;
	}
	qsort(out, n, sizeof(*out), by_name);
	return n;
}

const struct subject *source_subject(const struct report_sources *sources, const char *namespace,
                                     const char *pod)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct subject *subject = sources->subject(sources->user, i);

		if (subject && strcmp(subject->pod, pod) == 0 &&
		    strcmp(subject->namespace, namespace) == 0)
			return subject;
	}
	return NULL;
}

size_t source_open(const struct report_sources *sources)
{
	const struct violation *violation;
	size_t n = 0;

	while ((violation = sources->violation(sources->user, n)) && violation->open)
		n++;
	return n;
}
