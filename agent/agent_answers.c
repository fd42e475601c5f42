#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commit.h"

static struct moment now_of(void *user)
{
	(void)user;
	return clock_now();
}

static const struct judge_settings *settings_of(void *user)
{
	return &((struct agent *)user)->settings;
}

static const struct subject *subject_of(void *user, uint32_t number)
{
	struct agent *agent = user;

	return agent->watched[number] ? agent->watched[number]->subject : NULL;
}

static const struct judge_record *record_of(void *user, uint32_t number)
{
	struct agent *agent = user;

	return agent->watched[number] ? &agent->watched[number]->record : NULL;
}

static bool observing_of(void *user, uint32_t number)
{
	struct agent *agent = user;

	return agent->watched[number] && agent->watched[number]->observing;
}

static size_t gateway_count_of(void *user)
{
	return inventory_gateway_count(((struct agent *)user)->inventory);
}

static const struct kube_gateway *gateway_of(void *user, size_t index)
{
	return inventory_gateway(((struct agent *)user)->inventory, index);
}

static const struct kube_gateway_vm *gateway_vm_of(void *user, const char *namespace,
                                                   const char *name)
{
	return inventory_gateway_vm_find(((struct agent *)user)->inventory, namespace, name);
}

static const struct violation *violation_of(void *user, size_t index)
{
	return violations_at(((struct agent *)user)->violations, index);
}

static const struct probe_result *node_results_of(void *user)
{
	struct agent *agent = user;

	return agent->config->node_control ? agent->control : NULL;
}

static int flows_of(void *user, uint32_t subject, flow_table_fn fn, void *arg)
{
	struct agent *agent = user;

	if (agent->reader)
		(void)flow_reader_flush(agent->reader);
	return subject == UINT32_MAX ? flow_table_each(agent->flows, fn, arg)
	                             : flow_table_each_of(agent->flows, subject, fn, arg);
}

static void say(struct report_condition_state *out, bool ok, const char *reason)
{
	out->ok = ok;
	snprintf(out->reason, sizeof(out->reason), "%.*s", (int)sizeof(out->reason) - 1, reason);
}

/*
 * Not ready until every pod that was there at the start is observed. Later one
 * pod that cannot be is said, here and in its subject, but does not make the
 * agent unready: whoever makes a pod must not be able to stop a rollout.
 */
static void bpf_condition(const struct agent *agent, struct report_condition_state *out)
{
	if (!agent->packets) {
		say(out, false, agent->bpf_error);
		return;
	}
	if (!agent->claimed && agent_flows_attaching(agent)) {
		say(out, false, "pods are being attached");
		return;
	}
	say(out, true, "");
	for (size_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct watched *watched = agent->watched[i];

		if (watched && watched->attach_error[0]) {
			snprintf(out->reason, sizeof(out->reason), "not observed: %s/%s: %.100s",
			         watched->subject->namespace, watched->subject->pod,
			         watched->attach_error);
			return;
		}
	}
}

/* What the lists have to say may be of anybody's object: it does not hide that a folder is missing. */
static void inventory_condition(const struct agent *agent, struct report_condition_state *out)
{
	char lists[sizeof(out->reason)];
	size_t len = 0;

	out->reason[0] = '\0';
	out->ok = agent_source_ready(agent, lists, sizeof(lists));
	if (out->ok)
		out->ok = agent_places_ready(agent, out->reason, sizeof(out->reason));
	len = strlen(out->reason);
	snprintf(out->reason + len, sizeof(out->reason) - len, "%s%s", len && *lists ? "; " : "",
	         lists);
}

/* Probes run when a round was completed within three intervals, or nobody is to be probed. */
static void probes_condition(const struct agent *agent, struct report_condition_state *out)
{
	uint64_t bound = 3 * agent->config->interval_ns + agent->config->timeout_ns;
	struct moment now = clock_now();
	bool any = false;

	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		any = any || (agent->watched[i] && agent->watched[i]->scheduled_inode);
	if (!any)
		say(out, true, "no pod to probe");
	else if (!agent->last_round.mono_ns)
		say(out, now.mono_ns - agent->started.mono_ns < bound, "no round is complete yet");
	else if (now.mono_ns - agent->last_round.mono_ns > bound)
		say(out, false, "no round was completed in three intervals");
	else
		say(out, true, "");
}

static void condition_of(void *user, enum report_condition condition,
                         struct report_condition_state *out)
{
	const struct agent *agent = user;

	*out = (struct report_condition_state){ 0 };
	switch (condition) {
	case CONDITION_BPF:
		bpf_condition(agent, out);
		break;
	case CONDITION_INVENTORY:
		inventory_condition(agent, out);
		break;
	case CONDITION_PROBES:
		probes_condition(agent, out);
		break;
	case CONDITION_EXPORT:
		agent_export_condition(agent, out);
		break;
	case _CONDITION_MAX:
		break;
	}
}

static uint64_t lost_of(void *user, enum report_loss loss)
{
	const struct agent *agent = user;
	struct flow_reader_stats flows = { 0 };

	if (agent->reader)
		flows = flow_reader_stats(agent->reader);

	switch (loss) {
	case LOSS_FLOW_EVENTS:
		return flows.lost;
	case LOSS_FLOW_RECORDS:
		return flows.refused;
	case LOSS_FLOW_EVICTIONS:
		return flows.evictions;
	case LOSS_FLOW_UNPARSED:
		return flows.unparsed;
	case LOSS_VIOLATIONS:
		return violations_refused(agent->violations);
	case LOSS_OBJECTS:
		return inventory_stats(agent->inventory).refused + agent_source_refused(agent);
	case LOSS_PROBES:
		return agent->probes_skipped;
	case LOSS_MEMORY:
		return agent->out_of_memory;
	default:
		return 0;
	}
}

static void watch_of(const struct kube_watch *watch, struct report_kube_watch *out)
{
	uint64_t heard_ns = kube_watch_heard_ns(watch);
	struct moment now = clock_now();

	out->synced = kube_watch_state(watch) == KUBE_WATCH_SYNCED;
	out->heard_us = heard_ns ? clock_at(&now, heard_ns).wall_us : 0;
	out->stats = *kube_watch_stats(watch);
}

static void kube_of(void *user, struct report_kube *out)
{
	static const enum report_resource resources[SOURCE_KUBE_LISTS] = {
		[INVENTORY_PODS] = REPORT_PODS,
		[INVENTORY_GATEWAYS] = REPORT_GATEWAYS,
		[INVENTORY_GATEWAY_VMS] = REPORT_GATEWAY_VMS,
		[INVENTORY_NODES] = REPORT_NODES,
	};
	const struct agent *agent = user;

	if (agent->kube)
		out->client = kube_client_stats(agent->kube);
	if (agent->recorder)
		out->recorder = *kube_recorder_stats(agent->recorder);
	for (size_t i = 0; agent->source_kube && i < SOURCE_KUBE_LISTS; i++) {
		const struct kube_watch *watch = source_kube_list(agent->source_kube, i);

		if (watch)
			watch_of(watch, &out->watches[resources[i]]);
	}
}

static void export_of(void *user, struct report_export *out)
{
	const struct agent *agent = user;

	if (!agent->spool.client)
		return;
	out->spooling = true;
	out->exporting = agent->export.exporter != NULL;
	out->told_early = agent->spool.told_early;
	out->unread = agent->spool.unread;
	out->spool = *spool_client_stats(agent->spool.client);
	out->exporter = agent_export_stats(agent);
}

static int history_of(void *user, int64_t since_us, int64_t until_us, uint32_t max_rows,
                      spool_row_fn row, spool_end_fn end, void *arg)
{
	struct agent *agent = user;

	if (!agent->spool.client)
		return -ENODEV;
	return spool_client_history(agent->spool.client, since_us, until_us, max_rows, row, end,
	                            arg);
}

static void history_forget_of(void *user)
{
	struct agent *agent = user;

	if (agent->spool.client)
		spool_client_forget_history(agent->spool.client);
}

static uint64_t probe_now_of(void *user, const struct subject *subject)
{
	struct agent *agent = user;
	uint64_t wait;

	wait = schedule_request(agent->schedule, subject->number, clock_now().mono_ns);
	if (wait == 0)
		(void)timer_set(&agent->probe_timer, 0, 0);
	return wait;
}

int agent_answers_start(struct agent *agent)
{
	struct report_sources sources = {
		.user = agent,
		.node = agent->config->node,
		.version = VERSION,
		.commit = COMMIT,
		.started = agent->started,
		.now = now_of,
		.settings = settings_of,
		.subject = subject_of,
		.record = record_of,
		.observing = observing_of,
		.gateway_count = gateway_count_of,
		.gateway = gateway_of,
		.gateway_vm = gateway_vm_of,
		.violation = violation_of,
		.node_results = node_results_of,
		.flows = flows_of,
		.condition = condition_of,
		.lost = lost_of,
		.probe_now = probe_now_of,
		.kube = kube_of,
		.export = export_of,
		.history = history_of,
		.history_forget = history_forget_of,
		.boot = agent->spool.boot,
	};

	return report_new(&sources, &agent->report);
}

static int listen_on(struct agent *agent, char *const *addresses, size_t n, enum report_scope scope,
                     char error[static 512])
{
	for (size_t i = 0; i < n; i++) {
		int r = http_server_listen(agent->server, addresses[i], (int)scope);

		if (r < 0) {
			snprintf(error, 512, "%s: http.%s: cannot listen on %s: %s",
			         agent->options.config_path,
			         scope == REPORT_ALL ? "listen" : "metrics", addresses[i],
			         strerror(-r));
			return r;
		}
	}
	return 0;
}

int agent_answers_listen(struct agent *agent, char error[static 512])
{
	struct http_server_options options = {
		.handler = report_handle,
		.user = agent->report,
		.post = true,
		.check_host = true,
		.per_peer_max = HTTP_PER_PEER_MAX,
	};
	int r;

	if (agent->options.once)
		return 0;
	r = http_server_new(agent->loop, &options, &agent->server);
	if (r < 0)
		return r;
	report_server(agent->report, agent->server);
	r = listen_on(agent, agent->config->listen, agent->config->n_listen, REPORT_ALL, error);
	if (r < 0)
		return r;
	return listen_on(agent, agent->config->metrics, agent->config->n_metrics, REPORT_METRICS,
	                 error);
}

void agent_answers_stop(struct agent *agent)
{
	if (agent->report)
		report_server(agent->report, NULL);
	agent->server = http_server_free(agent->server);
}
