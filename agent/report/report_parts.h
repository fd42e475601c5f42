/*
 * Inside of the reports: one call of a route, lists in pages, and the routes.
 */
#pragma once

#include "base/encode.h"
#include "report/events.h"
#include "report/metrics.h"
#include "report/report.h"

struct history;

struct report {
	struct report_sources sources;
	struct metrics *metrics;
	struct events *events;
	const struct http_server *server; /* borrowed; NULL: none */
	struct history *history;          /* questions to the spool: the first was asked */
};

/* A path element: names of Kubernetes have at most 253 bytes. */
#define CALL_NAME_MAX 256

struct call {
	struct report *report;
	const struct report_sources *sources; /* of the report */
	const struct http_server_request *request;
	struct http_server_response *response;
	struct encode e; /* into the response's body */
	struct moment now;
	char path[2][CALL_NAME_MAX]; /* {namespace}/{name} of the route */
};

/*
 * Answers with RFC 9457's problem instead; always 0, so that a route may end
 * with it.
 */
int call_problem(struct call *call, uint16_t status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* "NAMESPACE/POD" of a parameter; NULL and a problem (400, 404) when it is none. */
const struct subject *call_subject(struct call *call, const char *name);
const struct subject *source_subject(const struct report_sources *sources, const char *namespace,
                                     const char *pod);

/* Subjects in order of namespace and pod; returns how many. */
size_t source_subjects(const struct report_sources *sources,
                       const struct subject *out[static SUBJECTS_MAX]);
size_t source_open(const struct report_sources *sources);        /* open violations */
struct report_export report_export(const struct report *report); /* zeros: nothing is */
uint64_t report_lost(const struct report *report, enum report_loss loss);

/*
 * One page of a list. Items come in the order of their keys, which are texts;
 * the token names the last key shown, so that a page continues where the last
 * one ended, whatever came or went meanwhile.
 */
#define LIST_KEY_MAX 1024

struct list {
	size_t limit, n;
	uint64_t unreadable; /* items that should be on the page, and cannot be read */
	bool more;
	char after[LIST_KEY_MAX]; /* "": from the start */
	char last[LIST_KEY_MAX];
};

/* Reads ?limit= and ?continue=; false and a problem when they are wrong. */
bool list_begin(struct call *call, struct list *list);
/* The item with this key belongs on the page. */
bool list_takes(struct list *list, const char *key);
/* "items" is open between these two. */
void list_open(struct call *call);
void list_close(struct call *call, const struct list *list);

/* Key of two names: sorts as the pair does. */
void list_key(char key[static LIST_KEY_MAX], const char *first, const char *second);

/* Tokens: base64url without padding (RFC 4648, section 5). */
void token_write(const char *key, struct buf *out);
int token_read(const char *token, char key[static LIST_KEY_MAX]);

/* Which violations are wanted. */
struct violation_filter {
	bool open, resolved, any_kind;
	enum violation_kind kind;
	const char *namespace; /* NULL: any; borrowed */
};

bool violation_passes(const struct violation_filter *filter, const struct violation *violation);

#define VIOLATION_KEY_MAX 64 /* a digit, 16 digits, the id */

/* Open ones first, newest first. */
void violation_key(bool open, int64_t wall_us, const char *id, char key[static VIOLATION_KEY_MAX]);

struct violation_item {
	const struct violation *violation;
	char key[VIOLATION_KEY_MAX];
};
int violation_by_key(const void *a, const void *b); /* of items, for qsort(3) */

/* With ?since=: also from the spool, and then later. */
int history_answer(struct call *call, const struct list *list,
                   const struct violation_filter *filter, const char *since);
/* Nobody is answered any more. */
void history_clear(struct report *report);

/* Pieces that several answers share. */
void write_subject_name(struct encode *e, const char *key, const char *namespace, const char *pod,
                        const char *uid);
/* null without a name. */
void write_gateway_name(struct encode *e, const char *key, const char *namespace, const char *name);
void write_gateway_of(struct encode *e, const char *key, const struct subject *subject);
/* A prefix of one address is written as the address. */
void write_prefix(struct encode *e, const char *key, const struct prefix_set *set);
void write_probe(struct encode *e, const struct judge_settings *settings,
                 const struct probe_result *result);
void write_subject(struct call *call, const char *key, const struct subject *subject);
void write_violation(struct encode *e, const char *key, const struct violation *violation);
void write_status(struct call *call, const char *key);
void write_conditions(struct call *call, const char *key);

/* Routes */
int route_health(struct call *call);
int route_ready(struct call *call);
int route_metrics(struct call *call);
int route_status(struct call *call);
int route_subjects(struct call *call);
int route_subject(struct call *call);
int route_gateways(struct call *call);
int route_gateway(struct call *call);
int route_violations(struct call *call);
int route_flows(struct call *call);
int route_probes(struct call *call);
int route_explain(struct call *call);
int route_probe_now(struct call *call);
int route_events(struct call *call);
int route_page(struct call *call);

/* Brings gauges up to now, for a scrape. */
void collect(struct report *report);
/* Series that exist from the start. */
void collect_declare(struct report *report);
