/*
 * To the collector: what the spool holds, and the metrics.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

static const char *environment(const char *name)
{
	return getenv(name);
}

/* RFC 9562, version 4: of this run and no other. */
static int write_instance(char out[static 37])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -errno;
	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	for (size_t i = 0, n = 0; i < sizeof(bytes); i++)
		n += (size_t)snprintf(out + n, 37 - n, "%s%02x",
		                      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
	return 0;
}

int agent_export_read(const struct config *config, struct export_settings *out,
                      char error[static 512])
{
	int r = export_settings_load(config->collector_endpoint, environment, out, error);

	if (r == 0 && out->warning[0])
		log_warn("collector", "reason", out->warning, NULL);
	return r;
}

int agent_export_load(struct agent *agent, char error[static 512])
{
	int r;

	if (agent->options.once)
		return 0;
	r = write_instance(agent->export.instance);
	if (r < 0) {
		snprintf(error, 512, "random numbers: %s", strerror(-r));
		return r;
	}
	return agent_export_read(agent->config, &agent->export.settings, error);
}

static void write_resource(struct agent *agent)
{
	const struct export_settings *settings = &agent->export.settings;

	agent->export.resource = (struct otlp_resource){
		.service_name = settings->service_name,
		.version = VERSION,
		.instance = agent->export.instance,
		.node = agent->config->node,
		.node_uid = agent->export.node_uid,
		.namespace = getenv("POD_NAMESPACE"),
		.pod = getenv("POD_NAME"),
		.pod_uid = getenv("POD_UID"),
		.attributes = settings->attributes,
		.n_attributes = settings->n_attributes,
	};
}

static int on_witness(void *user, struct buf *out)
{
	struct moment now = clock_now();
	char uid[OTLP_UID_MAX];

	return agent_export_report(user, &now, out, uid);
}

static void on_metrics(void *user, struct encode *e)
{
	struct agent *agent = user;

	report_metrics_otlp(agent->report, e);
}

int agent_export_start(struct agent *agent, char error[static 512])
{
	const struct exporter_events events = { agent, on_witness, on_metrics };

	if (!agent->spool.client || !export_settings_on(&agent->export.settings))
		return 0;
	write_resource(agent);
	return exporter_new(agent->loop, &agent->export.settings, &agent->export.resource,
	                    agent->spool.client, &events, &agent->export.exporter, error);
}

/* `more` is of a later one. What a collector said last is its own exporter's to tell. */
static void add(struct exporter_stats *sum, const struct exporter_stats *more)
{
	for (size_t i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		for (size_t k = 0; k < _EXPORT_RESULT_MAX; k++)
			sum->requests[i][k] += more->requests[i][k];
	sum->sent += more->sent;
	sum->rejected += more->rejected;
	sum->sent_bytes += more->sent_bytes;
	if (more->last_success_us)
		sum->last_success_us = more->last_success_us;
}

void agent_export_stop(struct agent *agent)
{
	if (agent->export.exporter)
		add(&agent->export.before, exporter_stats(agent->export.exporter));
	agent->export.exporter = exporter_free(agent->export.exporter);
	export_settings_clear(&agent->export.settings);
}

void agent_export_kick(struct agent *agent)
{
	const struct kube_node *node;

	/* While the spool is loaded there is no inventory either. */
	if (!agent->export.exporter)
		return;
	node = inventory_node(agent->inventory);
	/* A copy: the object is replaced whenever the API server tells of another version. */
	if (node && node->uid)
		snprintf(agent->export.node_uid, sizeof(agent->export.node_uid), "%s", node->uid);
	exporter_kick(agent->export.exporter);
}

bool agent_export_done(const struct agent *agent)
{
	return !agent->export.exporter || exporter_idle(agent->export.exporter);
}

struct exporter_stats agent_export_stats(const struct agent *agent)
{
	struct exporter_stats stats = agent->export.before;
	const struct exporter_stats *now;

	if (!agent->export.exporter)
		return stats;
	now = exporter_stats(agent->export.exporter);
	add(&stats, now);
	stats.refusing = now->refusing;
	memcpy(stats.last_error, now->last_error, sizeof(stats.last_error));
	return stats;
}

static void count_subjects(const struct agent *agent, struct otlp_report *report)
{
	const struct violation *violation;

	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i])
			report->subjects[agent->watched[i]->record.state]++;
	for (size_t i = 0; (violation = violations_at(agent->violations, i)) && violation->open;
	     i++)
		report->violations[violation->kind]++;
}

int agent_export_report(struct agent *agent, const struct moment *now, struct buf *out,
                        char uid[static OTLP_UID_MAX])
{
	const struct spool_client_stats *spool = spool_client_stats(agent->spool.client);
	struct otlp_report report = {
		.waiting = spool->state.waiting,
		.dropped = spool->refused,
		.rejected = agent_export_stats(agent).rejected,
		.spool_degraded = spool->state.degraded,
		.ready = report_ready(agent->report),
		.lost = report_lost_total(agent->report),
		.started_us = agent->started.wall_us,
	};

	for (size_t i = 0; i < _SPOOL_DROP_MAX; i++)
		report.dropped += spool->state.dropped[i];
	count_subjects(agent, &report);
	otlp_node_report(agent->config->node, &report, now, out, uid);
	return out->error;
}

/* What the spool cannot tell, because it waits for its disk; NULL: it does not. */
static const char *stuck(const struct spool_client_stats *spool)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (spool->waits_ns && now_ns - spool->waits_ns >= SPOOL_STUCK_NS)
		return "the disk does not answer: nothing is kept";
	if (spool->refused_ns && now_ns - spool->refused_ns < SPOOL_FULL_NS)
		return "reports were dropped: the disk did not take them in time";
	return NULL;
}

/* Waiting is what the spool is for; what is lost, or would be at the next crash, is not ready. */
void agent_export_condition(const struct agent *agent, struct report_condition_state *out)
{
	const struct spool_client_stats *spool;
	struct exporter_stats exporter;
	const char *why;

	*out = (struct report_condition_state){ .ok = true };
	if (!agent->spool.client)
		return;
	spool = spool_client_stats(agent->spool.client);
	exporter = agent_export_stats(agent);
	why = stuck(spool);
	out->ok = !why && !spool->state.degraded && !spool->state.full;
	if (why)
		snprintf(out->reason, sizeof(out->reason), "spool %s: %s",
		         agent->config->spool_directory, why);
	else if (spool->state.reason[0])
		snprintf(out->reason, sizeof(out->reason), "spool %s: %s",
		         agent->config->spool_directory, spool->state.reason);
	else if (spool->state.full)
		snprintf(out->reason, sizeof(out->reason),
		         "spool %s: collector.spool.maxBytes is used up, the oldest reports gave "
		         "way",
		         agent->config->spool_directory);
	else if (!agent->export.exporter)
		snprintf(out->reason, sizeof(out->reason), "no collector is configured");
	else if (exporter.last_error[0])
		snprintf(out->reason, sizeof(out->reason),
		         "%llu reports wait for the collector: %s",
		         (unsigned long long)spool->state.waiting, exporter.last_error);
}
