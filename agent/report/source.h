/*
 * What reports are made of: borrowed values and questions to their owners.
 *
 * Nothing is copied and nothing kept: every answer is made from what the
 * sources say at that moment. Pointers they return stay valid until the loop
 * runs again.
 */
#pragma once

#include "export/exporter.h"
#include "flow/table.h"
#include "inventory/subject.h"
#include "kube/gateway_vm.h"
#include "kube/recorder.h"
#include "kube/watch.h"
#include "spool/client.h"
#include "verdict/judge.h"
#include "verdict/violations.h"

enum report_condition {
	CONDITION_BPF,
	CONDITION_INVENTORY,
	CONDITION_PROBES,
	CONDITION_EXPORT,
	_CONDITION_MAX,
};

struct report_condition_state {
	bool ok;          /* false: /readyz says 503 */
	bool stuck;       /* only a restart mends it: /healthz says 503 */
	char reason[512]; /* one sentence; "" when there is nothing to say */
};

/* What was lost or dropped, each by its owner. Names: report_loss_name(). */
enum report_loss {
	LOSS_FLOW_EVENTS,    /* the ring was full */
	LOSS_FLOW_RECORDS,   /* no memory, or they made no sense */
	LOSS_FLOW_EVICTIONS, /* flows that gave way to newer ones */
	LOSS_FLOW_UNPARSED,  /* packets whose headers could not be read */
	LOSS_VIOLATIONS,     /* opened past the limit */
	LOSS_OBJECTS,        /* Kubernetes objects past a limit, or refused as wrong */
	LOSS_PROBES,         /* not asked: queue full, budget or concurrency */
	LOSS_MEMORY,         /* work given up for want of memory */
	_LOSS_SOURCE_MAX,
	/* Known to the report itself. */
	LOSS_SERIES = _LOSS_SOURCE_MAX, /* series of metrics past the limit */
	LOSS_EVENTS,                    /* events that could not be kept or sent */
	LOSS_READERS,                   /* readers of events that were cut off or turned away */
	LOSS_CONNECTIONS,               /* HTTP connections refused or cut off */
	LOSS_REPORTS, /* that do not reach the collector: dropped, or rejected by it */
	_LOSS_MAX,
};

/* The lists that are followed of the API server. */
enum report_resource {
	REPORT_PODS,
	REPORT_NODES,
	REPORT_GATEWAYS,
	REPORT_GATEWAY_VMS,
	_REPORT_RESOURCE_MAX,
};
const char *report_resource_name(enum report_resource resource); /* "pods" …, as in its URL */

struct report_kube {
	struct kube_client_stats client;
	struct kube_recorder_stats recorder;
	struct report_kube_watch {
		bool synced;
		int64_t heard_us; /* wall clock; 0: never */
		struct kube_watch_stats stats;
	} watches[_REPORT_RESOURCE_MAX];
};

/* What is on its way to the collector. */
struct report_export {
	bool spooling;       /* there is a spool */
	bool exporting;      /* a collector is configured */
	uint64_t told_early; /* changes that were told before they were kept */
	uint64_t unread;     /* rows of an earlier run that made no sense */
	struct spool_client_stats spool;
	struct exporter_stats exporter;
};

const char *report_condition_name(enum report_condition condition); /* "bpf" … as in the contract */
const char *report_loss_name(enum report_loss loss);                /* "flowEvents" …: API */
const char *report_loss_label(enum report_loss loss);               /* "flow-events" …: metrics */

struct report_sources {
	void *user; /* first argument of all */
	const char *node, *version, *commit;
	struct moment started;
	struct moment (*now)(void *user);
	const struct judge_settings *(*settings)(void *user);
	/* number < SUBJECTS_MAX; NULL: none. A subject always has a record. */
	const struct subject *(*subject)(void *user, uint32_t number);
	const struct judge_record *(*record)(void *user, uint32_t number);
	/* Its packets are observed now. */
	bool (*observing)(void *user, uint32_t number);
	/* In order of namespace, then name. */
	size_t (*gateway_count)(void *user);
	const struct kube_gateway *(*gateway)(void *user, size_t index);
	/* NULL: none. */
	const struct kube_gateway_vm *(*gateway_vm)(void *user, const char *namespace,
	                                            const char *name);
	/* As violations_at(). */
	const struct violation *(*violation)(void *user, size_t index);
	/* One per echo; finished.wall_us 0: none; NULL: no control probes. */
	const struct probe_result *(*node_results)(void *user);
	/* As flow_table_each_of(), with UINT32_MAX for all. Counters are brought up to date first. */
	int (*flows)(void *user, uint32_t subject, flow_table_fn fn, void *arg);
	void (*condition)(void *user, enum report_condition condition,
	                  struct report_condition_state *out);
	uint64_t (*lost)(void *user, enum report_loss loss); /* loss < _LOSS_SOURCE_MAX */
	/* Fills what there is of zeroed *out. NULL: nothing comes from an API server. */
	void (*kube)(void *user, struct report_kube *out);
	/* Fills zeroed *out. NULL: neither spool nor collector. */
	void (*export)(void *user, struct report_export *out);
	/* As spool_client_history(), -ENODEV without a spool; NULL as that. */
	int (*history)(void *user, int64_t since_us, int64_t until_us, uint32_t max_rows,
	               spool_row_fn row, spool_end_fn end, void *arg);
	void (*history_forget)(void *user);
	/* For snapshot_violation_read(). */
	const char *boot;
	/* As schedule_request(). */
	uint64_t (*probe_now)(void *user, const struct subject *subject);
};
