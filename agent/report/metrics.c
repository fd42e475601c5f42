#include "report/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "report/metrics_parts.h"

#define PREFIX "egress_verifier_"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A phase takes from a loopback's tenths of milliseconds to the timeout, 5 s by default. */
static const double probe_bounds[] = {
	.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10
};
/* The promise is 100 ms for packets; rounds take until 2 x interval. */
static const double detection_bounds[] = { .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120 };

static const struct metric_table table[] = {
	[METRIC_BUILD_INFO] = { PREFIX "build",
	                        METRIC_INFO,
	                        NULL,
	                        "Version of the program.",
	                        { "version", "commit" } },
	[METRIC_SUBJECTS] = { PREFIX "subjects",
	                      METRIC_GAUGE,
	                      NULL,
	                      "Pods of this node that should use a gateway, by state.",
	                      { "state" } },
	[METRIC_SUBJECT_VERIFIED] = { PREFIX "subject_verified",
	                              METRIC_GAUGE,
	                              NULL,
	                              "1 while the pod's egress is verified, else 0.",
	                              { "namespace", "pod", "gateway" } },
	[METRIC_SUBJECT_LAST_VERIFIED] = { PREFIX "subject_last_verified_timestamp_seconds",
	                                   METRIC_GAUGE,
	                                   "seconds",
	                                   "When a quorum last saw an allowed address; 0: never.",
	                                   { "namespace", "pod", "gateway" } },
	[METRIC_VIOLATIONS_OPEN] = { PREFIX "violations_open",
	                             METRIC_GAUGE,
	                             NULL,
	                             "Violations that are open now.",
	                             { "kind", "namespace", "gateway" } },
	[METRIC_VIOLATIONS] = { PREFIX "violations",
	                        METRIC_COUNTER,
	                        NULL,
	                        "Violations that were opened.",
	                        { "kind", "namespace", "gateway" } },
	[METRIC_PROBE_ATTEMPTS] = { PREFIX "probe_attempts",
	                            METRIC_COUNTER,
	                            NULL,
	                            "Questions to an echo that were asked.",
	                            { "echo" } },
	[METRIC_PROBE_FAILURES] = { PREFIX "probe_failures",
	                            METRIC_COUNTER,
	                            NULL,
	                            "Questions that brought no address, by reason.",
	                            { "echo", "reason" } },
	[METRIC_PROBE_DURATION] = { PREFIX "probe_duration_seconds",
	                            METRIC_HISTOGRAM,
	                            "seconds",
	                            "Time that a phase of a probe took, of phases that were "
	                            "reached.",
	                            { "phase" },
	                            probe_bounds,
	                            COUNT(probe_bounds) },
	[METRIC_FLOWS] = { PREFIX "flows",
	                   METRIC_COUNTER,
	                   NULL,
	                   "Flows of subjects that were seen, by the way they took.",
	                   { "path" } },
	[METRIC_FLOW_BYTES] = { PREFIX "flow_bytes",
	                        METRIC_COUNTER,
	                        "bytes",
	                        "IP bytes that subjects sent, by the way they took.",
	                        { "path" } },
	[METRIC_FLOW_PACKETS] = { PREFIX "flow_packets",
	                          METRIC_COUNTER,
	                          NULL,
	                          "Packets that subjects sent, by the way they took.",
	                          { "path" } },
	[METRIC_FLOW_EVENTS_LOST] = { PREFIX "flow_events_lost",
	                              METRIC_COUNTER,
	                              NULL,
	                              "Flow events that the kernel's ring buffer refused.",
	                              { NULL } },
	[METRIC_DETECTION] = { PREFIX "detection_seconds",
	                       METRIC_HISTOGRAM,
	                       "seconds",
	                       "From the first offending packet to the open violation.",
	                       { NULL },
	                       detection_bounds,
	                       COUNT(detection_bounds) },
	[METRIC_CONDITION] = { PREFIX "condition",
	                       METRIC_GAUGE,
	                       NULL,
	                       "1 while the condition holds, as in /readyz.",
	                       { "condition" } },
	[METRIC_LOST] = { PREFIX "lost",
	                  METRIC_COUNTER,
	                  NULL,
	                  "What was lost or dropped because a bound was reached.",
	                  { "what" } },
	[METRIC_EVENT_READERS] = { PREFIX "event_readers",
	                           METRIC_GAUGE,
	                           NULL,
	                           "Readers of /v1/events that are connected.",
	                           { NULL } },
	[METRIC_KUBE_SYNCED] = { PREFIX "kube_watch_synced",
	                         METRIC_GAUGE,
	                         NULL,
	                         "1 while the API server's list is complete and followed.",
	                         { "resource" } },
	[METRIC_KUBE_HEARD] = { PREFIX "kube_watch_last_heard_timestamp_seconds",
	                        METRIC_GAUGE,
	                        "seconds",
	                        "When the API server last said something on the list; 0: never.",
	                        { "resource" } },
	[METRIC_KUBE_LISTS] = { PREFIX "kube_watch_lists",
	                        METRIC_COUNTER,
	                        NULL,
	                        "Complete lists that were asked for.",
	                        { "resource" } },
	[METRIC_KUBE_WATCHES] = { PREFIX "kube_watch_watches",
	                          METRIC_COUNTER,
	                          NULL,
	                          "Watches that were opened.",
	                          { "resource" } },
	[METRIC_KUBE_EVENTS_RECEIVED] = { PREFIX "kube_watch_events",
	                                  METRIC_COUNTER,
	                                  NULL,
	                                  "Objects and deletions that came.",
	                                  { "resource" } },
	[METRIC_KUBE_BOOKMARKS] = { PREFIX "kube_watch_bookmarks",
	                            METRIC_COUNTER,
	                            NULL,
	                            "Bookmarks that came.",
	                            { "resource" } },
	[METRIC_KUBE_WATCH_ERRORS] = { PREFIX "kube_watch_errors",
	                               METRIC_COUNTER,
	                               NULL,
	                               "Lists and watches that ended before their time, by reason.",
	                               { "resource", "reason" } },
	[METRIC_KUBE_REFUSED] = { PREFIX "kube_watch_refused",
	                          METRIC_COUNTER,
	                          NULL,
	                          "Objects that could not be taken.",
	                          { "resource" } },
	[METRIC_KUBE_REQUESTS] = { PREFIX "kube_requests",
	                           METRIC_COUNTER,
	                           NULL,
	                           "Requests to the API server.",
	                           { NULL } },
	[METRIC_KUBE_RECEIVED] = { PREFIX "kube_received_bytes",
	                           METRIC_COUNTER,
	                           "bytes",
	                           "Bytes of the API server's answers, decompressed.",
	                           { NULL } },
	[METRIC_KUBE_WARNINGS] = { PREFIX "kube_warnings",
	                           METRIC_COUNTER,
	                           NULL,
	                           "Answers of the API server with a warning.",
	                           { NULL } },
	[METRIC_KUBE_RENEWED] = { PREFIX "kube_credentials_renewed",
	                          METRIC_COUNTER,
	                          NULL,
	                          "Tokens, certificates and authorities that were renewed.",
	                          { NULL } },
	[METRIC_KUBE_CREDENTIAL_ERRORS] = { PREFIX "kube_credential_errors",
	                                    METRIC_COUNTER,
	                                    NULL,
	                                    "Readings of credentials that brought nothing to use.",
	                                    { NULL } },
	[METRIC_KUBE_EVENTS] = { PREFIX "kube_events",
	                         METRIC_COUNTER,
	                         NULL,
	                         "Kubernetes Events about violations, by what became of them.",
	                         { "result" } },
	[METRIC_EXPORT_CONFIGURED] = { PREFIX "export_configured",
	                               METRIC_GAUGE,
	                               NULL,
	                               "1 while there is a collector to send to.",
	                               { NULL } },
	[METRIC_EXPORT_QUEUE] = { PREFIX "export_queue_records",
	                          METRIC_GAUGE,
	                          NULL,
	                          "Reports that wait for the collector.",
	                          { NULL } },
	[METRIC_EXPORT_OLDEST] = { PREFIX "export_oldest_record_timestamp_seconds",
	                           METRIC_GAUGE,
	                           "seconds",
	                           "When the oldest report that waits was made; 0: none waits.",
	                           { NULL } },
	[METRIC_EXPORT_SPOOLED] = { PREFIX "export_spooled_bytes",
	                            METRIC_GAUGE,
	                            "bytes",
	                            "Size of the spool: what waits, open violations, history.",
	                            { NULL } },
	[METRIC_EXPORT_DEGRADED] = { PREFIX "export_spool_degraded",
	                             METRIC_GAUGE,
	                             NULL,
	                             "1 while the spool is in memory, because the disk refuses.",
	                             { NULL } },
	[METRIC_EXPORT_SPOOL_ERRORS] = { PREFIX "export_spool_errors",
	                                 METRIC_COUNTER,
	                                 NULL,
	                                 "Errors of the spool's disk.",
	                                 { NULL } },
	[METRIC_EXPORT_TOLD_EARLY] = { PREFIX "export_told_early",
	                               METRIC_COUNTER,
	                               NULL,
	                               "Changes that were told before the spool kept them.",
	                               { NULL } },
	[METRIC_EXPORT_UNREAD] = { PREFIX "export_unread_rows",
	                           METRIC_COUNTER,
	                           NULL,
	                           "Rows of an earlier run that the spool held and made no sense.",
	                           { NULL } },
	[METRIC_EXPORT_SENT] = { PREFIX "export_sent",
	                         METRIC_COUNTER,
	                         NULL,
	                         "Reports that the collector took.",
	                         { NULL } },
	[METRIC_EXPORT_REJECTED] = { PREFIX "export_rejected",
	                             METRIC_COUNTER,
	                             NULL,
	                             "Reports that the collector refused for good.",
	                             { NULL } },
	[METRIC_EXPORT_DROPPED] = { PREFIX "export_dropped",
	                            METRIC_COUNTER,
	                            NULL,
	                            "Reports that will not reach the collector, by reason.",
	                            { "reason" } },
	[METRIC_EXPORT_REQUESTS] = { PREFIX "export_requests",
	                             METRIC_COUNTER,
	                             NULL,
	                             "Requests to the collector, by what came of them.",
	                             { "signal", "result" } },
	[METRIC_EXPORT_SENT_BYTES] = { PREFIX "export_sent_bytes",
	                               METRIC_COUNTER,
	                               "bytes",
	                               "Bytes of the requests' bodies, as sent.",
	                               { NULL } },
	[METRIC_EXPORT_LAST_SUCCESS] = { PREFIX "export_last_success_timestamp_seconds",
	                                 METRIC_GAUGE,
	                                 "seconds",
	                                 "When the collector last took reports; 0: never.",
	                                 { NULL } },
	[METRIC_PROCESS_CPU] = { "process_cpu_seconds",
	                         METRIC_COUNTER,
	                         "seconds",
	                         "User and system CPU time of the process.",
	                         { NULL } },
	[METRIC_PROCESS_MEMORY] = { "process_resident_memory_bytes",
	                            METRIC_GAUGE,
	                            "bytes",
	                            "Resident memory of the process.",
	                            { NULL } },
	[METRIC_PROCESS_FDS] = { "process_open_fds",
	                         METRIC_GAUGE,
	                         NULL,
	                         "Open file descriptors of the process.",
	                         { NULL } },
	[METRIC_PROCESS_START] = { "process_start_time_seconds",
	                           METRIC_GAUGE,
	                           "seconds",
	                           "When the process started.",
	                           { NULL } },
};
static_assert(COUNT(table) == _METRIC_MAX, "a metric is not in the table");
static_assert(COUNT(probe_bounds) <= METRIC_BOUNDS_MAX, "too many buckets");
static_assert(COUNT(detection_bounds) <= METRIC_BOUNDS_MAX, "too many buckets");

const struct metric_table *metric_table(enum metric metric)
{
	return &table[metric];
}

int metrics_new(struct metrics **out)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (!metrics)
		return -ENOMEM;
	for (size_t i = 0; i < _METRIC_MAX; i++)
		metrics->lists[i].last = &metrics->lists[i].first;
	*out = metrics;
	return 0;
}

static void series_free(struct metric_series *series)
{
	for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
		free(series->labels[i]);
	free(series);
}

struct metrics *metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return NULL;

	for (size_t i = 0; i < _METRIC_MAX; i++) {
		struct metric_series *series = metrics->lists[i].first;

		while (series) {
			struct metric_series *next = series->next;

			series_free(series);
			series = next;
		}
	}
	free(metrics);
	return NULL;
}

static const char *label(const char *const *labels, size_t index)
{
	return labels && labels[index] ? labels[index] : "";
}

/* The metric and every value with its end; of longer values what is kept. */
static size_t hash_of(enum metric metric, const char *const *labels)
{
	uint64_t hash = HASH_SEED ^ metric;

	for (size_t i = 0; i < METRIC_LABELS_MAX && table[metric].labels[i]; i++) {
		const char *text = label(labels, i);

		hash = hash_bytes(hash, text, strnlen(text, METRIC_LABEL_MAX));
		hash = hash_text(hash, NULL);
	}
	return hash % METRIC_HASH;
}

static bool is_series(const struct metric_series *series, enum metric metric,
                      const char *const *labels)
{
	if (series->metric != metric)
		return false;
	for (size_t i = 0; i < METRIC_LABELS_MAX && table[metric].labels[i]; i++)
		if (strncmp(series->labels[i], label(labels, i), METRIC_LABEL_MAX) != 0)
			return false;
	return true;
}

static struct metric_series *series_find(const struct metrics *metrics, enum metric metric,
                                         const char *const *labels)
{
	struct metric_series *series = metrics->hash[hash_of(metric, labels)];

	while (series && !is_series(series, metric, labels))
		series = series->next_hash;
	return series;
}

static struct metric_series *series_new(struct metrics *metrics, enum metric metric,
                                        const char *const *labels)
{
	struct metric_list *list = &metrics->lists[metric];
	struct metric_series *series, **bucket;

	series = calloc(1, sizeof(*series));
	if (!series)
		return NULL;
	series->metric = metric;
	for (size_t i = 0; i < METRIC_LABELS_MAX && table[metric].labels[i]; i++) {
		series->labels[i] = strndup(label(labels, i), METRIC_LABEL_MAX);
		if (!series->labels[i]) {
			series_free(series);
			return NULL;
		}
	}
	bucket = &metrics->hash[hash_of(metric, labels)];
	series->next_hash = *bucket;
	*bucket = series;
	*list->last = series;
	list->last = &series->next;
	list->n++;
	return series;
}

/* NULL: refused and counted. */
static struct metric_series *series_get(struct metrics *metrics, enum metric metric,
                                        const char *const *labels)
{
	struct metric_series *series = series_find(metrics, metric, labels);

	if (!series && metrics->lists[metric].n < METRIC_SERIES_MAX)
		series = series_new(metrics, metric, labels);
	if (!series)
		metrics->refused++;
	else
		series->swept = false;
	return series;
}

void metrics_add(struct metrics *metrics, enum metric metric, const char *const *labels, uint64_t n)
{
	struct metric_series *series = series_get(metrics, metric, labels);

	assert(table[metric].type == METRIC_COUNTER);
	if (series)
		series->count += n;
}

void metrics_set(struct metrics *metrics, enum metric metric, const char *const *labels,
                 double value)
{
	struct metric_series *series = series_get(metrics, metric, labels);

	assert(table[metric].type != METRIC_HISTOGRAM);
	if (series)
		series->value = value;
}

void metrics_observe(struct metrics *metrics, enum metric metric, const char *const *labels,
                     double value)
{
	const struct metric_table *entry = &table[metric];
	struct metric_series *series = series_get(metrics, metric, labels);

	assert(entry->type == METRIC_HISTOGRAM);
	if (!series)
		return;
	series->count++;
	series->value += value;
	for (size_t i = 0; i < entry->n_bounds; i++) {
		if (value <= entry->bounds[i]) {
			series->buckets[i]++;
			break;
		}
	}
}

void metrics_declare(struct metrics *metrics, enum metric metric, const char *const *labels)
{
	(void)series_get(metrics, metric, labels);
}

void metrics_sweep_begin(struct metrics *metrics, enum metric metric)
{
	for (struct metric_series *s = metrics->lists[metric].first; s; s = s->next)
		s->swept = true;
}

static void unhash(struct metrics *metrics, struct metric_series *series)
{
	struct metric_series **link =
		&metrics->hash[hash_of(series->metric, (const char *const *)series->labels)];

	while (*link != series)
		link = &(*link)->next_hash;
	*link = series->next_hash;
}

void metrics_sweep_end(struct metrics *metrics, enum metric metric)
{
	struct metric_list *list = &metrics->lists[metric];
	struct metric_series **link = &list->first;

	while (*link) {
		struct metric_series *series = *link;

		/* What counted stays: a counter that goes would count anew. */
		if (!series->swept || series->count > 0) {
			link = &series->next;
			continue;
		}
		*link = series->next;
		unhash(metrics, series);
		series_free(series);
		list->n--;
	}
	list->last = link;
}

uint64_t metrics_refused(const struct metrics *metrics)
{
	return metrics->refused;
}

int metrics_value(const struct metrics *metrics, enum metric metric, const char *const *labels,
                  double *out)
{
	const struct metric_series *series = series_find(metrics, metric, labels);

	if (!series)
		return -ENOENT;
	*out = (double)series->count + series->value;
	return 0;
}
