/*
 * The two text formats of Prometheus, exactly: one group per metric, nothing
 * but comments and samples, OpenMetrics with "# EOF" at its end. Numbers of
 * buckets are written alike in both, so that a server that changes the format
 * keeps its series.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "report/metrics_parts.h"

static bool is_plain(char c)
{
	return c >= ' ' && c < 0x7f && c != '\\' && c != '"';
}

static void write_escaped(struct buf *out, const char *text, bool quoted)
{
	while (*text && !out->error) {
		uint32_t unused;
		size_t len = 0;

		while (is_plain(text[len]))
			len++;
		if (len == 0)
			len = utf8_read(text, &unused);

		if (*text == '\\')
			buf_text(out, "\\\\");
		else if (*text == '\n')
			buf_text(out, "\\n");
		else if (*text == '"' && quoted)
			buf_text(out, "\\\"");
		else if (len == 0)
			buf_text(out, "\xef\xbf\xbd");
		else
			buf_append(out, text, len);
		text += len ? len : 1;
	}
}

#define NUMBER_TEXT_MAX 40 /* sign, 17 digits, point, exponent, and room */

/* The shortest of the usual precisions that reads back as the same number. */
static void format_double(double value, char text[static NUMBER_TEXT_MAX])
{
	if (isinf(value) || isnan(value)) {
		snprintf(text, NUMBER_TEXT_MAX, "%s",
		         isnan(value) ? "NaN"
		         : value > 0  ? "+Inf"
		                      : "-Inf");
		return;
	}
	for (int precision = 15; precision <= 17; precision++) {
		snprintf(text, NUMBER_TEXT_MAX, "%.*g", precision, value);
		if (strtod(text, NULL) == value)
			return;
	}
}

/* OpenMetrics: a bound is a canonical float, "1.0" and not "1". */
static void format_bound(double value, char text[static NUMBER_TEXT_MAX])
{
	size_t len;

	format_double(value, text);
	len = strlen(text);
	if (!strpbrk(text, ".eIN"))
		snprintf(text + len, NUMBER_TEXT_MAX - len, ".0");
}

static void write_labels(struct buf *out, const struct metric_series *series, const char *le)
{
	const struct metric_table *entry = metric_table(series->metric);
	const char *separator = "{";

	for (size_t i = 0; i < METRIC_LABELS_MAX && entry->labels[i]; i++) {
		buf_text(out, separator);
		buf_text(out, entry->labels[i]);
		buf_text(out, "=\"");
		write_escaped(out, series->labels[i], true);
		buf_text(out, "\"");
		separator = ",";
	}
	if (le) {
		buf_format(out, "%sle=\"%s\"", separator, le);
		separator = ",";
	}
	if (*separator == ',')
		buf_text(out, "}");
}

static void write_histogram(struct buf *out, const struct metric_series *series)
{
	const struct metric_table *entry = metric_table(series->metric);
	uint64_t below = 0;
	char text[NUMBER_TEXT_MAX];

	for (size_t i = 0; i <= entry->n_bounds; i++) {
		bool last = i == entry->n_bounds;

		if (last)
			snprintf(text, sizeof(text), "+Inf");
		else
			format_bound(entry->bounds[i], text);
		below = last ? series->count : below + series->buckets[i];
		buf_format(out, "%s_bucket", entry->family);
		write_labels(out, series, text);
		buf_format(out, " %" PRIu64 "\n", below);
	}
	format_double(series->value, text);
	buf_format(out, "%s_sum", entry->family);
	write_labels(out, series, NULL);
	buf_format(out, " %s\n%s_count", text, entry->family);
	write_labels(out, series, NULL);
	buf_format(out, " %" PRIu64 "\n", series->count);
}

static const char *const suffixes[] = {
	[METRIC_COUNTER] = "_total",
	[METRIC_GAUGE] = "",
	[METRIC_INFO] = "_info",
	[METRIC_HISTOGRAM] = "",
};

static void write_sample(struct buf *out, const struct metric_series *series)
{
	const struct metric_table *entry = metric_table(series->metric);
	char text[NUMBER_TEXT_MAX];

	if (entry->type == METRIC_HISTOGRAM) {
		write_histogram(out, series);
		return;
	}
	buf_text(out, entry->family);
	buf_text(out, suffixes[entry->type]);
	write_labels(out, series, NULL);
	if (series->value == 0) {
		buf_format(out, " %" PRIu64 "\n", series->count);
		return;
	}
	format_double((double)series->count + series->value, text);
	buf_format(out, " %s\n", text);
}

static void write_head(struct buf *out, const struct metric_table *entry,
                       enum metrics_format format)
{
	static const char *const open_types[] = { "counter", "gauge", "info", "histogram" };
	static const char *const text_types[] = { "counter", "gauge", "gauge", "histogram" };
	bool open = format == METRICS_OPENMETRICS;
	const char *suffix = open ? "" : suffixes[entry->type];

	if (open) {
		buf_format(out, "# TYPE %s %s\n", entry->family, open_types[entry->type]);
		if (entry->unit)
			buf_format(out, "# UNIT %s %s\n", entry->family, entry->unit);
	}
	buf_format(out, "# HELP %s%s ", entry->family, suffix);
	write_escaped(out, entry->help, open);
	buf_text(out, "\n");
	if (!open)
		buf_format(out, "# TYPE %s%s %s\n", entry->family, suffix, text_types[entry->type]);
}

void metrics_render(const struct metrics *metrics, enum metrics_format format, struct buf *out)
{
	for (size_t i = 0; i < _METRIC_MAX; i++) {
		if (!metrics->lists[i].first)
			continue;
		write_head(out, metric_table((enum metric)i), format);
		for (const struct metric_series *s = metrics->lists[i].first; s; s = s->next)
			write_sample(out, s);
	}
	if (format == METRICS_OPENMETRICS)
		buf_text(out, "# EOF\n");
}

const char *metrics_content_type(enum metrics_format format)
{
	/* Prometheus 3 fails a scrape without an exact content type. */
	return format == METRICS_OPENMETRICS
	               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	               : "text/plain; version=0.0.4; charset=utf-8";
}
