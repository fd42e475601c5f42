/*
 * The metrics as OTLP: the same names and labels as in Prometheus' formats, so that rules and dashboards
 * work with both. Counters and histograms are cumulative since the agent's start.
 */
#include <stdio.h>
#include <string.h>

#include "export/otlp_value.h"
#include "report/metrics_parts.h"
#include "report/report_parts.h"

/* metrics.proto, AggregationTemporality */
#define CUMULATIVE 2

struct span {
	int64_t start_us, now_us;
};

/* UCUM; what is only counted has none. */
static const char *unit_of(const struct metric_table *entry)
{
	const char *unit = entry->unit ? entry->unit : "";

	if (strcmp(unit, "seconds") == 0)
		return "s";
	return strcmp(unit, "bytes") == 0 ? "By" : "1";
}

/* An empty label is none, as in Prometheus. */
static void write_labels(struct encode *e, const struct metric_series *series)
{
	const struct metric_table *entry = metric_table(series->metric);

	encode_array(e, "attributes");
	for (size_t i = 0; i < METRIC_LABELS_MAX && entry->labels[i]; i++)
		otlp_value_text(e, entry->labels[i], series->labels[i]);
	encode_array_end(e);
}

/* Exact as long as whoever counts did it in integers; asInt is signed. */
static uint64_t count_of(const struct metric_series *series)
{
	uint64_t count = series->count;

	if (series->value >= 0x1p63)
		return INT64_MAX;
	if (series->value > 0)
		count += (uint64_t)series->value;
	return count > INT64_MAX ? INT64_MAX : count;
}

static void write_histogram(struct encode *e, const struct metric_series *series)
{
	const struct metric_table *entry = metric_table(series->metric);
	uint64_t above = series->count;

	otlp_value_u64(e, "count", series->count);
	otlp_value_number(e, "sum", series->value);
	encode_array(e, "bucketCounts");
	for (size_t i = 0; i < entry->n_bounds; i++) {
		otlp_value_u64(e, NULL, series->buckets[i]);
		above -= series->buckets[i];
	}
	otlp_value_u64(e, NULL, above);
	encode_array_end(e);
	encode_array(e, "explicitBounds");
	for (size_t i = 0; i < entry->n_bounds; i++)
		encode_double(e, NULL, entry->bounds[i]);
	encode_array_end(e);
}

static void write_point(struct encode *e, const struct metric_series *series,
                        const struct span *span)
{
	const struct metric_table *entry = metric_table(series->metric);
	bool seconds = strcmp(unit_of(entry), "s") == 0;

	encode_object(e, NULL);
	write_labels(e, series);
	if (entry->type == METRIC_COUNTER || entry->type == METRIC_HISTOGRAM)
		otlp_value_unix(e, "startTimeUnixNano", span->start_us);
	otlp_value_unix(e, "timeUnixNano", span->now_us);
	/* Of one metric always the same type; a time is no integer. */
	if (entry->type == METRIC_HISTOGRAM)
		write_histogram(e, series);
	else if (entry->type == METRIC_COUNTER && !seconds)
		otlp_value_u64(e, "asInt", count_of(series));
	else
		otlp_value_number(e, "asDouble", (double)series->count + series->value);
	encode_object_end(e);
}

static void write_metric(struct encode *e, const struct metric_table *entry,
                         const struct metric_series *first, const struct span *span)
{
	static const char *const suffixes[] = { "_total", "", "_info", "" };
	static const char *const kinds[] = { "sum", "gauge", "gauge", "histogram" };
	char name[128];

	snprintf(name, sizeof(name), "%s%s", entry->family, suffixes[entry->type]);
	encode_object(e, NULL);
	encode_text(e, "name", name);
	encode_text(e, "description", entry->help);
	encode_text(e, "unit", unit_of(entry));
	encode_object(e, kinds[entry->type]);
	if (entry->type == METRIC_COUNTER || entry->type == METRIC_HISTOGRAM)
		encode_u64(e, "aggregationTemporality", CUMULATIVE);
	if (entry->type == METRIC_COUNTER)
		encode_bool(e, "isMonotonic", true);
	encode_array(e, "dataPoints");
	for (const struct metric_series *series = first; series; series = series->next)
		write_point(e, series, span);
	encode_array_end(e);
	encode_object_end(e);
	encode_object_end(e);
}

void metrics_render_otlp(const struct metrics *metrics, int64_t start_us, int64_t now_us,
                         struct encode *e)
{
	/* A clock that was set back: a start after the end is refused as a whole. */
	const struct span span = { start_us < now_us ? start_us : now_us, now_us };

	for (size_t i = 0; i < _METRIC_MAX; i++)
		if (metrics->lists[i].first)
			write_metric(e, metric_table((enum metric)i), metrics->lists[i].first,
			             &span);
}

void report_metrics_otlp(void *user, struct encode *e)
{
	struct report *report = user;
	const struct report_sources *sources = &report->sources;

	collect(report);
	metrics_render_otlp(report->metrics, sources->started.wall_us,
	                    sources->now(sources->user).wall_us, e);
}
