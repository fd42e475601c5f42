/*
 * SIGHUP: a new configuration takes effect without losing flows, violations or
 * subjects. What cannot change in a running agent is named, and then nothing
 * changes: half of a configuration is one that nobody wrote.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "broker/client.h"
#include "verdict/judge_echoes.h"

DEFINE_FREEP(struct config, config)

static bool same_list(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

/* The first key that differs and must not; NULL: none. */
static const char *fixed_key(const struct config *a, const struct config *b)
{
	const struct {
		const char *key;
		bool same;
	} fixed[] = {
		{ "node", strcmp(a->node, b->node) == 0 },
		{ "inventory.source", a->source_file == b->source_file },
		{ "inventory.kubeconfig", strcmp(a->kubeconfig, b->kubeconfig) == 0 },
		{ "inventory.file", strcmp(a->inventory_file, b->inventory_file) == 0 },
		{ "inventory.netnsDir", strcmp(a->netns_dir, b->netns_dir) == 0 },
		{ "inventory.cgroupRoot", strcmp(a->cgroup_root, b->cgroup_root) == 0 },
		{ "collector.spool.directory",
		  strcmp(a->spool_directory, b->spool_directory) == 0 },
		{ "collector.spool.maxBytes", a->spool_max_bytes == b->spool_max_bytes },
		{ "http.listen", same_list(a->listen, a->n_listen, b->listen, b->n_listen) },
		{ "http.metrics", same_list(a->metrics, a->n_metrics, b->metrics, b->n_metrics) },
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (!fixed[i].same)
			return fixed[i].key;
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* The broker lets no other files be read than it was told of at the start. */
static bool same_certificates(const struct export_settings *a, const struct export_settings *b)
{
	for (int i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		if (!same_text(a->target[i].ca, b->target[i].ca) ||
		    !same_text(a->target[i].certificate, b->target[i].certificate) ||
		    !same_text(a->target[i].key, b->target[i].key))
			return false;
	return true;
}

static bool same_echo(const struct config_echo *a, const struct config_echo *b)
{
	return strcmp(a->name, b->name) == 0 && same_text(a->url, b->url) &&
	       same_text(a->stun, b->stun) && same_text(a->json, b->json) &&
	       same_text(a->key, b->key) && a->has_resolve == b->has_resolve &&
	       (!a->has_resolve || memcmp(&a->resolve, &b->resolve, sizeof(a->resolve)) == 0);
}

/* Where the results of each echo belong now. */
static struct judge_echo_map map_echoes(const struct config *from, const struct config *to)
{
	struct judge_echo_map map;

	for (size_t i = 0; i < ECHOES_MAX; i++) {
		map.to[i] = JUDGE_ECHO_GONE;
		for (size_t k = 0; i < from->n_echoes && k < to->n_echoes; k++)
			if (same_echo(&from->echoes[i], &to->echoes[k]))
				map.to[i] = (uint16_t)k;
	}
	return map;
}

/* Others borrow the node's name for the agent's life; it is the same in both. */
static void replace_config(struct agent *agent, struct config *next)
{
	struct judge_echo_map map = map_echoes(agent->config, next);
	char *node = agent->config->node;

	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i])
			judge_map_echoes(&agent->watched[i]->record, &map);
	agent->config->node = next->node;
	next->node = node;
	config_free(agent->config);
	agent->config = next;
	agent_judge_settings(agent);
	report_echoes(agent->report);
}

/* The new configuration, granted by the broker; else why not, and nothing has changed. */
static int load(const struct agent *agent, struct config **out, struct export_settings *settings,
                char error[static 512])
{
	cleanup(config_freep) struct config *next = NULL;
	const char *fixed;
	int r;

	r = config_load(agent->options.config_path, &next, error);
	r = r ?: agent_export_read(next, settings, error);
	if (r < 0)
		return r;
	fixed = fixed_key(agent->config, next);
	if (fixed) {
		snprintf(error, 512, "%s changes only with a restart", fixed);
		return -EINVAL;
	}
	if (!same_certificates(&agent->export.settings, settings)) {
		snprintf(error, 512,
		         "collector.endpoint: whether OTEL_EXPORTER_OTLP_CERTIFICATE, "
		         "_CLIENT_CERTIFICATE and _CLIENT_KEY are needed changes only with a "
		         "restart");
		return -EINVAL;
	}
	/* A certificate that is just being replaced is no reason to end. */
	r = exporter_check(agent->loop, settings, error);
	if (r < 0)
		return r;
	r = agent_setup(next, settings, agent_source_server(agent));
	if (r < 0) {
		/* A signal to both processes comes here twice: the broker forwards its own. */
		snprintf(error, 512, "%s",
		         r == -EPERM ? "no SIGHUP to the broker, its parent, precedes this one"
		                     : strerror(-r));
		return r;
	}
	*out = take_ptr(next);
	return 0;
}

static int apply(struct agent *agent, char error[static 512])
{
	struct inventory_options options = agent_inventory_options(agent->config);
	int r;

	r = agent_export_start(agent, error);
	if (r < 0)
		return r;
	/* Probes first: a pod that the new policy selects is scheduled as soon as it is a subject. */
	r = agent_probes_start(agent, error);
	if (r == 0)
		r = inventory_reconfigure(agent->inventory, &options);
	for (size_t i = 0; r == 0 && i < SUBJECTS_MAX; i++)
		if (agent->watched[i])
			agent_probes_follow(agent, agent->watched[i]);
	return r;
}

static void give_up(struct agent *agent, const char *what, const char *why)
{
	log_error(what, "error", why, NULL);
	loop_stop(agent->loop);
}

void agent_reload(struct agent *agent)
{
	cleanup(export_settings_clear) struct export_settings settings = { 0 };
	cleanup(config_freep) struct config *next = NULL;
	char error[512] = "";
	int loaded, r;

	loaded = load(agent, &next, &settings, error);
	/* Whatever came of it: what the broker opened for this is shut again. */
	r = broker_client_seal();
	if (r < 0) {
		give_up(agent, "the broker does not shut what a reload opened; stopping",
		        strerror(-r));
		return;
	}
	if (loaded < 0) {
		log_error("configuration not reloaded", "error", error, NULL);
		return;
	}

	agent_probes_stop(agent);
	agent_export_stop(agent);
	replace_config(agent, take_ptr(next));
	agent->export.settings = settings;
	settings = (struct export_settings){ 0 };
	error[0] = '\0';
	r = apply(agent, error);
	if (r < 0) {
		give_up(agent, "configuration cannot be used; stopping",
		        error[0] ? error : strerror(-r));
		return;
	}
	agent_source_reload(agent);
	log_info("configuration reloaded", NULL);
}
