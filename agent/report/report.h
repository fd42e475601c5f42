/*
 * Reports: the HTTP endpoint's answers, its metrics and its events, in one
 * object. The agent feeds it what happens; everything else is asked of the
 * sources when somebody wants to know.
 */
#pragma once

#include "io/http_server.h"
#include "report/events.h"
#include "report/source.h"

struct report;

enum report_scope {
	REPORT_ALL,
	REPORT_METRICS, /* only /metrics, /healthz and /readyz */
};

/* The table of sources is copied, what it points to is borrowed. */
int report_new(const struct report_sources *sources, struct report **out);
/* After the server's end: its streams are cut off. */
struct report *report_free(struct report *report);

/* An http_server_fn: `user` is the report, the request's scope an enum report_scope. */
int report_handle(void *user, const struct http_server_request *request,
                  struct http_server_response *response);
/* Its refusals become losses; borrowed; NULL when it goes. */
void report_server(struct report *report, const struct http_server *server);

/* The settings name other echoes now: series of the new ones. */
void report_echoes(struct report *report);

/* What happened. */
void report_violation(struct report *report, const struct violation *violation,
                      enum violation_change change);
/* As events_state_write() wrote it, of the new state; the first one of a subject counts too. */
void report_state(struct report *report, const struct buf *json);
void report_probe(struct report *report, const struct probe_result *result);
void report_flow_opened(struct report *report, enum path path);
void report_flow_updated(struct report *report, enum path path, const struct flow_delta *delta);

/*
 * One JSON object with status, subjects and violations: what `check` prints.
 * `pods` are "NAMESPACE/POD"; n_pods 0: all. -ENOENT and *missing (an index)
 * when one is no subject.
 */
int report_check(struct report *report, const char *const *pods, size_t n_pods, size_t *missing,
                 struct buf *out);

/* Every metric of now as OTLP, into an open array: an otlp_metrics_fn, `user` is the report. */
void report_metrics_otlp(void *user, struct encode *e);
/* What /readyz says. */
bool report_ready(const struct report *report);
/* Everything lost or dropped, of all reasons. */
uint64_t report_lost_total(const struct report *report);
