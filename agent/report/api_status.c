#include <string.h>

#include "report/report_parts.h"

void write_conditions(struct call *call, const char *key)
{
	const struct report_sources *s = call->sources;
	struct encode *e = &call->e;

	encode_object(e, key);
	for (size_t i = 0; i < _CONDITION_MAX; i++) {
		struct report_condition_state state = { 0 };

		s->condition(s->user, (enum report_condition)i, &state);
		encode_object(e, report_condition_name((enum report_condition)i));
		encode_bool(e, "ok", state.ok);
		encode_text(e, "reason", state.reason);
		encode_object_end(e);
	}
	encode_object_end(e);
}

/* Health asks whether a restart would help, readiness whether answers can be relied on. */
static int health(struct call *call, bool ready)
{
	const struct report_sources *s = call->sources;

	for (size_t i = 0; i < _CONDITION_MAX; i++) {
		struct report_condition_state state = { 0 };

		s->condition(s->user, (enum report_condition)i, &state);
		if (ready ? !state.ok : state.stuck)
			call->response->status = 503;
	}
	write_conditions(call, NULL);
	return 0;
}

int route_health(struct call *call)
{
	return health(call, false);
}

int route_ready(struct call *call)
{
	return health(call, true);
}

bool report_ready(const struct report *report)
{
	const struct report_sources *s = &report->sources;

	for (size_t i = 0; i < _CONDITION_MAX; i++) {
		struct report_condition_state state = { 0 };

		s->condition(s->user, (enum report_condition)i, &state);
		if (!state.ok)
			return false;
	}
	return true;
}

struct sums {
	uint64_t states[_STATE_MAX], total;
	int64_t last_round_us;
};

static void add_record(struct sums *sums, const struct judge_record *record, size_t n_echoes)
{
	sums->total++;
	sums->states[record->state]++;
	for (size_t i = 0; i < n_echoes; i++)
		if (record->last[i].finished.wall_us > sums->last_round_us)
			sums->last_round_us = record->last[i].finished.wall_us;
}

static void write_subjects(struct encode *e, const struct sums *sums)
{
	encode_object(e, "subjects");
	encode_u64(e, "total", sums->total);
	for (size_t i = 0; i < _STATE_MAX; i++)
		encode_u64(e, state_name((enum subject_state)i), sums->states[i]);
	encode_object_end(e);
}

static void write_violations(struct encode *e, const struct report_sources *s)
{
	uint64_t kinds[_VIOLATION_KIND_MAX] = { 0 }, total = 0;
	const struct violation *violation;

	for (size_t i = 0; (violation = s->violation(s->user, i)) && violation->open; i++) {
		kinds[violation->kind]++;
		total++;
	}
	encode_object(e, "violations");
	encode_u64(e, "open", total);
	encode_object(e, "openByKind");
	for (size_t i = 0; i < _VIOLATION_KIND_MAX; i++)
		encode_u64(e, violation_kind_name((enum violation_kind)i), kinds[i]);
	encode_object_end(e);
	encode_object_end(e);
}

static void write_flows(struct encode *e, const struct metrics *metrics)
{
	static const struct {
		const char *key;
		enum metric metric;
	} fields[] = {
		{ "flows", METRIC_FLOWS },
		{ "packets", METRIC_FLOW_PACKETS },
		{ "bytes", METRIC_FLOW_BYTES },
	};

	encode_object(e, "flows");
	for (size_t i = PATH_UNKNOWN + 1; i < _PATH_MAX; i++) {
		const char *path = path_name((enum path)i);

		encode_object(e, path);
		for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
			double value = 0;

			(void)metrics_value(metrics, fields[k].metric, METRIC_LABELS(path), &value);
			encode_u64(e, fields[k].key, (uint64_t)value);
		}
		encode_object_end(e);
	}
	encode_object_end(e);
}

static void write_lost(struct encode *e, const struct report *report)
{
	encode_object(e, "lost");
	for (size_t i = 0; i < _LOSS_MAX; i++)
		encode_u64(e, report_loss_name((enum report_loss)i),
		           report_lost(report, (enum report_loss)i));
	encode_object_end(e);
}

static void write_export(struct encode *e, const struct report *report)
{
	struct report_export state = report_export(report);
	const struct spool_state *spool = &state.spool.state;
	const struct exporter_stats *exporter = &state.exporter;

	encode_object(e, "export");
	encode_bool(e, "configured", state.exporting);
	encode_u64(e, "queued", spool->waiting);
	encode_time(e, "oldestQueued", spool->oldest_us);
	encode_u64(e, "sent", exporter->sent);
	encode_u64(e, "rejected", exporter->rejected);
	encode_time(e, "lastSuccess", exporter->last_success_us);
	encode_text(e, "lastError", exporter->last_error);
	encode_object(e, "dropped");
	for (size_t i = 0; i < _SPOOL_DROP_MAX; i++)
		encode_u64(e, spool_drop_name((enum spool_drop)i), spool->dropped[i]);
	encode_u64(e, "queue", state.spool.refused);
	encode_object_end(e);
	encode_object(e, "spool");
	encode_bool(e, "present", state.spooling);
	encode_u64(e, "bytes", spool->bytes);
	encode_bool(e, "degraded", spool->degraded);
	encode_text(e, "reason", spool->reason);
	encode_u64(e, "errors", spool->errors);
	encode_object_end(e);
	encode_object_end(e);
}

void write_status(struct call *call, const char *key)
{
	const struct report_sources *s = call->sources;
	const struct judge_settings *settings = s->settings(s->user);
	struct encode *e = &call->e;
	struct sums sums = { 0 };

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++)
		if (s->subject(s->user, i))
			add_record(&sums, s->record(s->user, i), settings->n_echoes);

	encode_object(e, key);
	encode_text(e, "node", s->node);
	encode_text(e, "version", s->version);
	encode_text(e, "commit", s->commit);
	encode_time(e, "time", call->now.wall_us);
	encode_time(e, "started", s->started.wall_us);
	encode_time(e, "lastRound", sums.last_round_us);
	encode_double(e, "intervalSeconds", (double)settings->interval_ns / (double)NSEC_PER_SEC);
	encode_u64(e, "quorum", settings->quorum);
	encode_array(e, "echoes");
	for (size_t i = 0; i < settings->n_echoes; i++)
		encode_text(e, NULL, settings->echo_name[i]);
	encode_array_end(e);
	write_subjects(e, &sums);
	write_violations(e, s);
	write_flows(e, call->report->metrics);
	write_conditions(call, "conditions");
	write_export(e, call->report);
	write_lost(e, call->report);
	encode_object_end(e);
}

int route_status(struct call *call)
{
	write_status(call, NULL);
	return 0;
}
