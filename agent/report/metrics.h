/*
 * Metrics: one table of names, and the series that exist.
 *
 * Series appear when they are first set or added to; counters stay, gauges of
 * what is gone are swept. Past METRIC_SERIES_MAX of one metric a new series is
 * refused and counted. Rendering is exact in both formats of Prometheus.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/encode.h"

enum metric {
	METRIC_BUILD_INFO,
	METRIC_SUBJECTS,
	METRIC_SUBJECT_VERIFIED,
	METRIC_SUBJECT_LAST_VERIFIED,
	METRIC_VIOLATIONS_OPEN,
	METRIC_VIOLATIONS,
	METRIC_PROBE_ATTEMPTS,
	METRIC_PROBE_FAILURES,
	METRIC_PROBE_DURATION,
	METRIC_FLOWS,
	METRIC_FLOW_BYTES,
	METRIC_FLOW_PACKETS,
	METRIC_FLOW_EVENTS_LOST,
	METRIC_DETECTION,
	METRIC_CONDITION,
	METRIC_LOST,
	METRIC_EVENT_READERS,
	METRIC_KUBE_SYNCED,
	METRIC_KUBE_HEARD,
	METRIC_KUBE_LISTS,
	METRIC_KUBE_WATCHES,
	METRIC_KUBE_EVENTS_RECEIVED,
	METRIC_KUBE_BOOKMARKS,
	METRIC_KUBE_WATCH_ERRORS,
	METRIC_KUBE_REFUSED,
	METRIC_KUBE_REQUESTS,
	METRIC_KUBE_RECEIVED,
	METRIC_KUBE_WARNINGS,
	METRIC_KUBE_RENEWED,
	METRIC_KUBE_CREDENTIAL_ERRORS,
	METRIC_KUBE_EVENTS,
	METRIC_EXPORT_CONFIGURED,
	METRIC_EXPORT_QUEUE,
	METRIC_EXPORT_OLDEST,
	METRIC_EXPORT_SPOOLED,
	METRIC_EXPORT_DEGRADED,
	METRIC_EXPORT_SPOOL_ERRORS,
	METRIC_EXPORT_TOLD_EARLY,
	METRIC_EXPORT_UNREAD,
	METRIC_EXPORT_SENT,
	METRIC_EXPORT_REJECTED,
	METRIC_EXPORT_DROPPED,
	METRIC_EXPORT_REQUESTS,
	METRIC_EXPORT_SENT_BYTES,
	METRIC_EXPORT_LAST_SUCCESS,
	METRIC_PROCESS_CPU,
	METRIC_PROCESS_MEMORY,
	METRIC_PROCESS_FDS,
	METRIC_PROCESS_START,
	_METRIC_MAX,
};

enum { METRIC_LABELS_MAX = 3 };

struct metrics;

int metrics_new(struct metrics **out);
struct metrics *metrics_free(struct metrics *metrics);

/* Label values in the order of the table: METRIC_LABELS("default", "web"). A NULL is "". */
#define METRIC_LABELS(...) ((const char *const[METRIC_LABELS_MAX]){ __VA_ARGS__ })

/* The series exists from now on, with 0. */
void metrics_declare(struct metrics *metrics, enum metric metric, const char *const *labels);
void metrics_add(struct metrics *metrics, enum metric metric, const char *const *labels,
                 uint64_t n);
/* Of a gauge; of a counter that somebody else counts: its value now, never less than before. */
void metrics_set(struct metrics *metrics, enum metric metric, const char *const *labels,
                 double value);
void metrics_observe(struct metrics *metrics, enum metric metric, const char *const *labels,
                     double value);
/* Between these, the gauges of `metric` that are not set again disappear. */
void metrics_sweep_begin(struct metrics *metrics, enum metric metric);
void metrics_sweep_end(struct metrics *metrics, enum metric metric);

uint64_t metrics_refused(const struct metrics *metrics);
/* 0 and *out, or -ENOENT: of counters and gauges. */
int metrics_value(const struct metrics *metrics, enum metric metric, const char *const *labels,
                  double *out);

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

/* By the Accept header (NULL: none): the highest q of what we have, else the text format 0.0.4. */
enum metrics_format metrics_negotiate(const char *accept);
const char *metrics_content_type(enum metrics_format format);
/* The same as OTLP's Metric objects, into an open array: cumulative sums and histograms since `start_us`, gauges. */
void metrics_render_otlp(const struct metrics *metrics, int64_t start_us, int64_t now_us,
                         struct encode *e);
void metrics_render(const struct metrics *metrics, enum metrics_format format, struct buf *out);
