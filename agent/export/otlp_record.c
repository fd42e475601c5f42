/*
 * Log records: what changed, and the heartbeat.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "export/otlp.h"
#include "export/otlp_flow.h"
#include "export/otlp_value.h"
#include "limits.h"
#include "verdict/sentence.h"

#define PREFIX "egress_verifier."

/* logs.proto, SeverityNumber */
enum severity { INFO = 9, WARN = 13, ERROR = 17 };

/*
 * A record fits a row of the spool, whatever it is about: a byte becomes at most six ("\u0001"), names and
 * sentences are bounded, and evidence, whose own JSON has been escaped before, so that a byte
 * of it becomes two, is left out when it needs more than its share.
 */
#define ESCAPED 6
#define EVIDENCE_SHARE (24u << 10)
#define NAMES_MAX 6     /* namespace, pod, uid, gateway's namespace and name, whose address */
#define SENTENCES_MAX 3 /* body, reason, remedy */
#define REST_MAX 4096   /* keys, numbers, times */
static_assert(EVIDENCE_SHARE >= 2 * EVIDENCE_MAX + 2, "evidence would be left out");
static_assert(REASON_MAX == REMEDY_MAX, "a sentence");
static_assert(EVIDENCE_SHARE + ESCAPED * (NAMES_MAX * OTLP_NAME_MAX + SENTENCES_MAX * REASON_MAX) +
                              REST_MAX <=
                      SPOOL_BODY_MAX,
              "a record is larger than a row of the spool");

/*
 * Two hashes of 64 bits that begin differently, of what the API server and clocks say, and of a
 * violation's id. Names, which anybody chooses, are in none but that.
 */
struct uid {
	uint64_t half[2];
};

static void uid_text(struct uid *uid, const char *text)
{
	for (size_t i = 0; i < 2; i++)
		uid->half[i] = hash_text(uid->half[i], text);
}

static void uid_time(struct uid *uid, int64_t wall_us)
{
	for (size_t i = 0; i < 2; i++)
		uid->half[i] = hash_bytes(uid->half[i], &wall_us, sizeof(wall_us));
}

static struct uid uid_begin(const char *node, const char *event)
{
	struct uid uid = { { HASH_SEED, 0x84222325cbf29ce4ULL } };

	uid_text(&uid, node);
	uid_text(&uid, event);
	return uid;
}

static void uid_end(const struct uid *uid, char out[static OTLP_UID_MAX])
{
	snprintf(out, OTLP_UID_MAX, "%016llx%016llx", (unsigned long long)uid->half[0],
	         (unsigned long long)uid->half[1]);
}

struct record {
	const char *event;
	enum severity severity;
	int64_t wall_us; /* when it happened */
	const char *body;
	const char *uid;
};

/* The attributes are open after it. */
static void open_record(struct encode *e, const struct record *record, const struct moment *now)
{
	static const char *const names[] = { [INFO] = "INFO", [WARN] = "WARN", [ERROR] = "ERROR" };

	encode_object(e, NULL);
	otlp_value_unix(e, "timeUnixNano", record->wall_us > 0 ? record->wall_us : now->wall_us);
	otlp_value_unix(e, "observedTimeUnixNano", now->wall_us);
	encode_u64(e, "severityNumber", record->severity);
	encode_text(e, "severityText", names[record->severity]);
	encode_text(e, "eventName", record->event);
	if (record->body && *record->body) {
		encode_object(e, "body");
		encode_text(e, "stringValue", record->body);
		encode_object_end(e);
	}
	encode_array(e, "attributes");
	otlp_value_text(e, "log.record.uid", record->uid);
}

static void close_record(struct encode *e)
{
	encode_array_end(e);
	encode_object_end(e);
}

static void write_pod(struct encode *e, const char *namespace, const char *pod, const char *uid)
{
	otlp_value_name(e, "k8s.namespace.name", namespace);
	otlp_value_name(e, "k8s.pod.name", pod);
	otlp_value_name(e, "k8s.pod.uid", uid);
}

static void write_gateway(struct encode *e, const char *namespace, const char *name)
{
	if (!name || !*name)
		return;
	otlp_value_name(e, PREFIX "gateway.namespace", namespace);
	otlp_value_name(e, PREFIX "gateway.name", name);
}

/* Violations */

/* Whole, or not at all: half of it proves nothing. */
static void write_evidence(struct encode *e, const char *evidence)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(EVIDENCE_SHARE);
	struct encode inner = ENCODE_INIT(&text);

	if (!evidence || !*evidence)
		return;
	encode_text(&inner, NULL, evidence);
	if (text.error == -EOVERFLOW)
		otlp_value_int(e, PREFIX "violation.evidence_omitted_bytes", strlen(evidence));
	else if (text.error)
		e->out->error = text.error;
	else
		otlp_value_raw(e, PREFIX "violation.evidence", text.data);
}

static void write_flow(struct encode *e, const char *evidence)
{
	struct otlp_flow flow;
	int r;

	r = evidence ? otlp_flow_read(evidence, &flow) : -ENOENT;
	if (r == -ENOMEM)
		e->out->error = r;
	if (r < 0)
		return;

	otlp_value_ip(e, "destination.address", &flow.destination);
	if (flow.port)
		otlp_value_int(e, "destination.port", flow.port);
	otlp_value_text(e, "network.transport", flow.transport);
	otlp_value_text(e, "network.type", ip_is_v4(&flow.destination) ? "ipv4" : "ipv6");
}

/* By the wall clock, which goes on while the machine is off; not when it was set back. */
static void write_duration(struct encode *e, const struct violation *violation)
{
	int64_t opened = violation->opened.wall_us, resolved = violation->resolved.wall_us;

	if (opened > 0 && resolved >= opened)
		otlp_value_double(e, PREFIX "violation.duration",
		                  (double)(resolved - opened) / 1e6);
}

static void write_violation(struct encode *e, const struct violation *violation)
{
	write_pod(e, violation->namespace, violation->pod, violation->uid);
	write_gateway(e, violation->gateway_namespace, violation->gateway);
	write_flow(e, violation->evidence);
	otlp_value_name(e, PREFIX "violation.id", violation->id);
	otlp_value_text(e, PREFIX "violation.kind", violation_kind_name(violation->kind));
	otlp_value_time(e, PREFIX "violation.first", violation->first.wall_us);
	otlp_value_time(e, PREFIX "violation.last", violation->last.wall_us);
	otlp_value_int(e, PREFIX "violation.count", violation->count);
	otlp_value_text(e, PREFIX "violation.reason", violation->reason);
	otlp_value_text(e, PREFIX "violation.remedy", violation->remedy);
	write_evidence(e, violation->evidence);
}

void otlp_violation(const char *node, const struct violation *violation,
                    enum violation_change change, const struct moment *now, struct buf *out,
                    char uid[static OTLP_UID_MAX])
{
	const bool opened = change == VIOLATION_OPENED;
	char body[REASON_MAX];
	const struct record record = {
		.event = opened ? PREFIX "violation.opened" : PREFIX "violation.resolved",
		.severity = opened ? ERROR : INFO,
		.wall_us = opened ? violation->opened.wall_us : violation->resolved.wall_us,
		.body = body,
		.uid = uid,
	};
	struct encode e = ENCODE_INIT(out);
	struct uid hash = uid_begin(node, record.event);

	/* One that came back has its id again, and was opened again. */
	uid_text(&hash, violation->id);
	uid_time(&hash, violation->opened.wall_us);
	if (!opened)
		uid_time(&hash, violation->resolved.wall_us);
	uid_end(&hash, uid);
	/* Who reads bodies only must not take the end for another beginning. */
	sentence_set(body, sizeof(body), opened ? "%s" : "Resolved: %s", violation->reason);
	open_record(&e, &record, now);
	write_violation(&e, violation);
	if (opened)
		otlp_value_text(&e, "error.type", violation_kind_name(violation->kind));
	else
		write_duration(&e, violation);
	close_record(&e);
}

/* States */

static void write_observed(struct encode *e, const struct judge_record *record)
{
	if (record->attribution == ATTRIBUTION_NONE)
		return;
	otlp_value_ip(e, PREFIX "observed.address", &record->observed);
	otlp_value_text(e, PREFIX "observed.attribution", attribution_name(record->attribution));
	otlp_value_name(e, PREFIX "observed.attributed_to", record->attributed_to);
}

void otlp_state(const char *node, const struct subject *subject, const struct judge_record *record,
                enum subject_state from, const struct moment *now, struct buf *out,
                char uid[static OTLP_UID_MAX])
{
	const bool bad = record->state == STATE_VIOLATED || record->state == STATE_UNVERIFIED;
	const struct record log = {
		.event = PREFIX "subject.state_changed",
		.severity = bad ? WARN : INFO,
		.wall_us = record->state_since.wall_us,
		.body = record->reason,
		.uid = uid,
	};
	const char *previous = from < _STATE_MAX ? state_name(from) : NULL;
	struct encode e = ENCODE_INIT(out);
	struct uid hash = uid_begin(node, log.event);

	uid_text(&hash, subject->uid);
	uid_text(&hash, previous);
	uid_text(&hash, state_name(record->state));
	uid_time(&hash, record->state_since.wall_us);
	uid_end(&hash, uid);
	open_record(&e, &log, now);
	write_pod(&e, subject->namespace, subject->pod, subject->uid);
	write_gateway(&e, subject->namespace, subject->gateway_name);
	otlp_value_text(&e, PREFIX "subject.state", state_name(record->state));
	otlp_value_text(&e, PREFIX "subject.previous_state", previous);
	otlp_value_text(&e, PREFIX "subject.reason", record->reason);
	write_observed(&e, record);
	otlp_value_time(&e, PREFIX "last_verified", record->last_proof.wall_us);
	close_record(&e);
}

/* Heartbeat */

/* Attributes have no '-' in their names (docs/general/naming.md of the semantic conventions). */
static void write_count(struct encode *e, const char *group, const char *name, uint64_t n)
{
	char key[96];

	snprintf(key, sizeof(key), PREFIX "%s.%s", group, name);
	for (char *p = key; *p; p++)
		if (*p == '-')
			*p = '_';
	otlp_value_int(e, key, n);
}

static void describe(const struct otlp_report *report, char out[static REASON_MAX])
{
	uint64_t subjects = 0, violations = 0;

	for (size_t i = 0; i < _STATE_MAX; i++)
		subjects += report->subjects[i];
	for (size_t i = 0; i < _VIOLATION_KIND_MAX; i++)
		violations += report->violations[i];
	sentence_set(out, REASON_MAX, "%llu of %llu pods verified, %llu violations open%s",
	             (unsigned long long)report->subjects[STATE_VERIFIED],
	             (unsigned long long)subjects, (unsigned long long)violations,
	             report->ready ? "" : "; the agent is not ready");
}

void otlp_node_report(const char *node, const struct otlp_report *report, const struct moment *now,
                      struct buf *out, char uid[static OTLP_UID_MAX])
{
	char text[REASON_MAX];
	const struct record record = {
		.event = PREFIX "node.report",
		.severity = INFO,
		.wall_us = now->wall_us,
		.body = text,
		.uid = uid,
	};
	struct encode e = ENCODE_INIT(out);
	struct uid hash = uid_begin(node, record.event);

	uid_time(&hash, report->started_us);
	uid_time(&hash, now->wall_us);
	uid_end(&hash, uid);
	describe(report, text);
	open_record(&e, &record, now);
	for (size_t i = 0; i < _STATE_MAX; i++)
		write_count(&e, "subjects", state_name((enum subject_state)i), report->subjects[i]);
	for (size_t i = 0; i < _VIOLATION_KIND_MAX; i++)
		write_count(&e, "violations", violation_kind_name((enum violation_kind)i),
		            report->violations[i]);
	write_count(&e, "export", "waiting", report->waiting);
	write_count(&e, "export", "dropped", report->dropped);
	write_count(&e, "export", "rejected", report->rejected);
	otlp_value_bool(&e, PREFIX "export.spool_degraded", report->spool_degraded);
	otlp_value_bool(&e, PREFIX "ready", report->ready);
	otlp_value_int(&e, PREFIX "lost", report->lost);
	otlp_value_time(&e, PREFIX "started", report->started_us);
	close_record(&e);
}
