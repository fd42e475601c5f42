/*
 * Records from the spool to the collector, in order, one request at a time; and the metrics.
 *
 * A record leaves the spool when the collector has answered for it. What may be retried (429, 502, 503, 504, no answer)
 * is, with backoff and as Retry-After says, for as long as it takes. What is refused (any other status) is
 * sent in halves, down to a single record. A single one that is refused is given up only after the
 * collector took another, a heartbeat made for that, EXPORT_REFUSALS_MAX times: a proxy's 404 or a wrong
 * token must not empty an audit trail, and one record that nobody takes must not stop it. This is where we keep more than
 * the specification asks ("must be dropped").
 */
#pragma once

#include "base/loop.h"
#include "export/settings.h"
#include "spool/client.h"

struct exporter;

struct exporter_events {
	void *user;
	/* A heartbeat's LogRecord, as a witness that the collector takes something. 0 or -errno. */
	int (*witness)(void *user, struct buf *out);
	/* The metrics of now, into an open array. */
	otlp_metrics_fn metrics;
};

/* What waits in the `spool` is sent at once. Settings and `resource`, which is read for each request, are borrowed. */
int exporter_new(struct loop *loop, const struct export_settings *settings,
                 const struct otlp_resource *resource, struct spool_client *spool,
                 const struct exporter_events *events, struct exporter **out,
                 char error[static 512]);
struct exporter *exporter_free(struct exporter *exporter);
/* Whether exporter_new() would find URLs and certificates of `settings` good, now; nothing is sent. */
int exporter_check(struct loop *loop, const struct export_settings *settings,
                   char error[static 512]);

/* The spool keeps something new. */
void exporter_kick(struct exporter *exporter);
/* Nothing waits and nothing is under way: a removal may go on. */
bool exporter_idle(const struct exporter *exporter);

enum export_result {
	EXPORT_OK,
	EXPORT_RETRY,   /* 429, 502, 503, 504 */
	EXPORT_REFUSED, /* other statuses */
	EXPORT_FAILED,  /* no answer: name, connection, TLS, time */
	_EXPORT_RESULT_MAX,
};
const char *export_result_name(enum export_result result);

struct exporter_stats {
	uint64_t requests[_EXPORT_SIGNAL_MAX][_EXPORT_RESULT_MAX];
	uint64_t sent;       /* records of the spool that the collector took and did not reject */
	uint64_t rejected;   /* by partialSuccess, or given up after refusals */
	uint64_t sent_bytes; /* bodies, as sent */
	int64_t last_success_us; /* of logs; 0: never */
	bool refusing;        /* the newest answer for logs was a refusal: last_error says which */
	char last_error[192]; /* of logs; "" after records were taken; for people */
};
const struct exporter_stats *exporter_stats(const struct exporter *exporter);
