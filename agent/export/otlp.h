/*
 * OTLP/HTTP JSON: log records of what changed, and the request that carries them. Pure.
 *
 * The mapping is opentelemetry-proto, docs/specification.md ("JSON Protobuf Encoding"): keys in
 * lowerCamelCase, enums as numbers, 64-bit integers as decimal strings. A record is written once, when the
 * change happens, and kept as text: every retry sends the same bytes with the same log.record.uid.
 */
#pragma once

#include "base/encode.h"
#include "inventory/subject.h"
#include "verdict/judge.h"
#include "verdict/violations.h"

#define OTLP_UID_MAX 33 /* 32 hexadecimal digits and NUL */

struct otlp_attribute {
	const char *key, *value;
};

/* Who tells; borrowed. NULL and "": not known, left out. */
struct otlp_resource {
	const char *service_name;       /* NULL: "egress-verifier" */
	const char *version, *instance; /* instance: unique per run of an agent */
	const char *node, *node_uid;
	const char *namespace, *pod, *pod_uid; /* the agent's own */
	const struct otlp_attribute
		*attributes; /* more: OTEL_RESOURCE_ATTRIBUTES; those above win */
	size_t n_attributes;
};

/*
 * One LogRecord each, appended to `out` as a JSON object, with its log.record.uid in `uid`. `node`
 * goes into the uid, so that two nodes' reports differ. The same arguments give the same bytes.
 * out->error is the caller's to check.
 */
void otlp_violation(const char *node, const struct violation *violation,
                    enum violation_change change, const struct moment *now, struct buf *out,
                    char uid[static OTLP_UID_MAX]);
/* `from` _STATE_MAX: it was not known before. */
void otlp_state(const char *node, const struct subject *subject, const struct judge_record *record,
                enum subject_state from, const struct moment *now, struct buf *out,
                char uid[static OTLP_UID_MAX]);

/* The heartbeat: counts, so that silence is visible. */
struct otlp_report {
	uint64_t subjects[_STATE_MAX];
	uint64_t violations[_VIOLATION_KIND_MAX]; /* open */
	uint64_t waiting, dropped, rejected;      /* records on their way to the collector */
	bool spool_degraded, ready;               /* ready: /readyz says 200 */
	uint64_t lost; /* everything the agent lost or dropped, all reasons */
	int64_t started_us;
};
void otlp_node_report(const char *node, const struct otlp_report *report, const struct moment *now,
                      struct buf *out, char uid[static OTLP_UID_MAX]);

/* An ExportLogsServiceRequest around records: begin, each record, end. */
void otlp_logs_begin(const struct otlp_resource *resource, struct buf *out);
void otlp_logs_add(struct buf *out, const char *record, size_t len);
void otlp_logs_end(struct buf *out);

/*
 * An ExportMetricsServiceRequest; its metrics are written by `fn` into an open array
 * (report/metrics.h, metrics_render_otlp()).
 */
typedef void (*otlp_metrics_fn)(void *user, struct encode *e);
void otlp_metrics(const struct otlp_resource *resource, otlp_metrics_fn fn, void *user,
                  struct buf *out);
