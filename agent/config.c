#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"
#include "config_echo.h"
#include "config_value.h"
#include "io/listener.h"
#include "probe/url.h"

/* As schedulers of seconds count; faster rounds only serve tests, which cannot wait. */
#define INTERVAL_MIN_NS (200 * NSEC_PER_MSEC)
#define INTERVAL_MAX_NS (3600 * NSEC_PER_SEC)
#define TIMEOUT_MIN_NS (100 * NSEC_PER_MSEC)
#define TIMEOUT_MAX_NS (60 * NSEC_PER_SEC)
/* Azure takes up to five minutes for a prefix; after a day nobody waits for one any more. */
#define GRACE_MAX_NS (86400 * NSEC_PER_SEC)
#define QUORUM_MAX ECHOES_MAX
/* Below, the spool would hold less than one answer; above, it is no longer a spool. */
#define SPOOL_MIN (1ULL << 20)
#define SPOOL_MAX (64ULL << 30)
#define NAME_MAX_LEN 253  /* RFC 1123, as Kubernetes' names */
#define LABEL_MAX_LEN 317 /* prefix, '/' and name of a label */

DEFINE_FREEP(struct config, config)
DEFINE_FREEP(struct yaml_node, yaml_node)

static int decode_node(struct config_reading *in, const struct yaml_node *value, const char *path,
                       void *dest)
{
	if (value->type == YAML_TEXT &&
	    !config_consists_of(value->text, CONFIG_LOWER CONFIG_UPPER "._", NAME_MAX_LEN))
		return config_refuse(in, value, path, "the name of a node");
	return config_text(in, value, path, dest);
}

static int decode_source(struct config_reading *in, const struct yaml_node *value, const char *path,
                         void *dest)
{
	bool file = value->type == YAML_TEXT && strcmp(value->text, "file") == 0;

	if (!file && (value->type != YAML_TEXT || strcmp(value->text, "kubernetes") != 0))
		return config_refuse(in, value, path, "kubernetes or file");
	*(bool *)dest = file;
	return 0;
}

static int decode_file(struct config_reading *in, const struct yaml_node *value, const char *path,
                       void *dest)
{
	if (value->type != YAML_TEXT || !*value->text)
		return config_refuse(in, value, path, "a path");
	return config_text(in, value, path, dest);
}

static int decode_absolute(struct config_reading *in, const struct yaml_node *value,
                           const char *path, void *dest)
{
	if (value->type != YAML_TEXT || *value->text != '/')
		return config_refuse(in, value, path, "an absolute path");
	return config_text(in, value, path, dest);
}

static int decode_cluster_item(struct config_reading *in, const struct yaml_node *item,
                               const char *path, size_t index, void *dest)
{
	struct config *config = dest;

	if (item->type != YAML_TEXT || cidr_parse(item->text, &config->cluster[index]) < 0)
		return config_refuse(in, item, path, "a CIDR such as 10.0.0.0/16");
	return 0;
}

static int decode_cluster(struct config_reading *in, const struct yaml_node *value,
                          const char *path, void *dest)
{
	struct config *config = dest;

	return config_list(in, value, path, CLUSTER_CIDRS_MAX, decode_cluster_item, config,
	                   &config->n_cluster);
}

static int decode_namespace(struct config_reading *in, const struct yaml_node *value,
                            const char *path, void *dest)
{
	/* A namespace is an RFC 1123 label. */
	if (value->type != YAML_TEXT || !config_consists_of(value->text, CONFIG_LOWER, 63))
		return config_refuse(in, value, path, "the name of a namespace");
	return config_text(in, value, path, dest);
}

static int decode_label(struct config_reading *in, const struct yaml_node *key,
                        const struct yaml_node *value, const char *path, struct kube_label *label)
{
	char at[CONFIG_PATH_MAX];
	int r;

	snprintf(at, sizeof(at), "%.90s.%.60s", path, key->text);
	if (!*key->text || strlen(key->text) > LABEL_MAX_LEN)
		return config_refuse(in, key, path, "keys of labels");
	if (value->type == YAML_TEXT && strlen(value->text) > 63)
		return config_refuse(in, value, at, "a label's value, at most 63 bytes");
	r = config_text(in, value, at, &label->value);
	if (r < 0)
		return r;
	label->key = strdup(key->text);
	return label->key ? 0 : -ENOMEM;
}

static int decode_pod_selector(struct config_reading *in, const struct yaml_node *value,
                               const char *path, void *dest)
{
	struct inventory_selector *selector = dest;

	if (value->type != YAML_MAP)
		return config_refuse(in, value, path, "a map of labels");
	if (value->n > SELECTOR_LABELS_MAX)
		return config_fail(in, value->line, value->column,
		                   "%s: expected at most %d labels, got %zu", path,
		                   SELECTOR_LABELS_MAX, value->n);
	for (size_t i = 0; i < value->n; i++) {
		int r;

		selector->n_labels = i + 1;
		r = decode_label(in, &value->keys[i], &value->items[i], path, &selector->labels[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_require_item(struct config_reading *in, const struct yaml_node *item,
                               const char *path, size_t index, void *dest)
{
	static const struct config_field fields[] = {
		{ "namespace", decode_namespace, offsetof(struct inventory_selector, namespace),
		  NULL, true, NULL },
		{ "podSelector", decode_pod_selector, 0, NULL, false, NULL },
		{ 0 },
	};
	struct config *config = dest;

	return config_map(in, item, path, fields, &config->require[index]);
}

static int decode_require(struct config_reading *in, const struct yaml_node *value,
                          const char *path, void *dest)
{
	struct config *config = dest;

	return config_list(in, value, path, REQUIRE_RULES_MAX, decode_require_item, config,
	                   &config->n_require);
}

static int decode_grace(struct config_reading *in, const struct yaml_node *value, const char *path,
                        void *dest)
{
	return config_duration(in, value, path, 0, GRACE_MAX_NS, "0s to 24h", dest);
}

static int decode_interval(struct config_reading *in, const struct yaml_node *value,
                           const char *path, void *dest)
{
	return config_duration(in, value, path, INTERVAL_MIN_NS, INTERVAL_MAX_NS,
	                       "200ms to 1h (below 1s only for echoes of your own)", dest);
}

static int decode_timeout(struct config_reading *in, const struct yaml_node *value,
                          const char *path, void *dest)
{
	return config_duration(in, value, path, TIMEOUT_MIN_NS, TIMEOUT_MAX_NS, "100ms to 1m",
	                       dest);
}

static int decode_quorum(struct config_reading *in, const struct yaml_node *value, const char *path,
                         void *dest)
{
	uint64_t number;

	if (value->type != YAML_INT || parse_u64(value->text, QUORUM_MAX, &number) < 0 ||
	    number == 0)
		return config_refuse(in, value, path, "an integer from 1 to %d", QUORUM_MAX);
	*(unsigned int *)dest = (unsigned int)number;
	return 0;
}

static int decode_endpoint(struct config_reading *in, const struct yaml_node *value,
                           const char *path, void *dest)
{
	const char *reason = NULL;
	struct url url;

	if (value->type != YAML_TEXT || !*value->text || url_parse(value->text, &url, &reason) == 0)
		return config_text(in, value, path, dest);
	/* Perhaps with a password, which is nothing for a log. */
	if (strchr(value->text, '@'))
		return config_fail(in, value->line, value->column,
		                   "%s: expected an OTLP/HTTP base URL, or \"\" for none: %s", path,
		                   reason ? reason : "this is none");
	return config_refuse(in, value, path, "an OTLP/HTTP base URL, or \"\" for none: %s",
	                     reason ? reason : "this is none");
}

static int decode_size(struct config_reading *in, const struct yaml_node *value, const char *path,
                       void *dest)
{
	uint64_t bytes;

	if ((value->type != YAML_TEXT && value->type != YAML_INT) ||
	    parse_size(value->text, &bytes) < 0 || bytes < SPOOL_MIN || bytes > SPOOL_MAX)
		return config_refuse(in, value, path, "a size from 1Mi to 64Gi, such as 256Mi");
	*(uint64_t *)dest = bytes;
	return 0;
}

static int take_listener(struct config_reading *in, const struct yaml_node *item, const char *path,
                         bool public, char **dest)
{
	struct listener_address address;

	if (item->type != YAML_TEXT || listener_parse(item->text, &address) < 0)
		return config_refuse(in, item, path, "ADDRESS:PORT, [IPV6]:PORT or unix:/PATH");
	if (!public && !listener_is_loopback(&address))
		return config_refuse(
			in, item, path,
			"a loopback address or unix:/PATH; beyond it only http.metrics");
	return config_text(in, item, path, dest);
}

static int decode_listen_item(struct config_reading *in, const struct yaml_node *item,
                              const char *path, size_t index, void *dest)
{
	return take_listener(in, item, path, false, &((struct config *)dest)->listen[index]);
}

static int decode_listen(struct config_reading *in, const struct yaml_node *value, const char *path,
                         void *dest)
{
	return config_list(in, value, path, LISTENERS_MAX, decode_listen_item, dest,
	                   &((struct config *)dest)->n_listen);
}

static int decode_metrics_item(struct config_reading *in, const struct yaml_node *item,
                               const char *path, size_t index, void *dest)
{
	return take_listener(in, item, path, true, &((struct config *)dest)->metrics[index]);
}

static int decode_metrics(struct config_reading *in, const struct yaml_node *value,
                          const char *path, void *dest)
{
	return config_list(in, value, path, LISTENERS_MAX, decode_metrics_item, dest,
	                   &((struct config *)dest)->n_metrics);
}

#define FIELD(member) offsetof(struct config, member)
static const struct config_field fields[] = {
	{ "node", decode_node, FIELD(node), NULL, false,
	  "this node's name; default $NODE_NAME, then the host name" },
	{ "inventory.source", decode_source, FIELD(source_file), "kubernetes", false,
	  "kubernetes or file" },
	{ "inventory.kubeconfig", config_text, FIELD(kubeconfig), "\"\"", false,
	  "relative to the configuration file; empty: the in-cluster service account" },
	{ "inventory.file", decode_file, FIELD(inventory_file), "inventory.yaml", false,
	  "objects as kubectl prints them; relative to the configuration file" },
	{ "inventory.netnsDir", decode_absolute, FIELD(netns_dir), "/run/netns", false,
	  "where the runtime mounts the pods' network namespaces" },
	{ "inventory.cgroupRoot", decode_absolute, FIELD(cgroup_root), "/sys/fs/cgroup", false,
	  "where the cgroup hierarchy is mounted" },
	{ "policy.clusterCidrs", decode_cluster, 0, "[]", false,
	  "destinations inside the cluster and the platform: never judged as egress" },
	{ "policy.requireGateway", decode_require, 0, "[]", false,
	  "namespace and podSelector of pods that must not leave directly" },
	{ "policy.pendingGrace", decode_grace, FIELD(pending_grace_ns), "5m", false,
	  "how long a new pod or gateway is pending and not failed" },
	{ "probe.interval", decode_interval, FIELD(interval_ns), "30s", false,
	  "between two rounds of a pod; below 1s only for echoes of your own" },
	{ "probe.timeout", decode_timeout, FIELD(timeout_ns), "5s", false,
	  "of one question to one echo; never more than 3 × interval" },
	{ "probe.quorum", decode_quorum, FIELD(quorum), "2", false,
	  "echoes that must agree; lowered to the number configured" },
	{ "probe.nodeControl", config_bool, FIELD(node_control), "true", false,
	  "ask from the node too, to tell a dead echo from a dead gateway" },
	{ "probe.echoes", config_echoes, 0, NULL, true,
	  "name, url or stun, json or key, resolve of each echo; no default" },
	{ "collector.endpoint", decode_endpoint, FIELD(collector_endpoint), "\"\"", false,
	  "OTLP/HTTP base URL; empty: no export" },
	{ "collector.spool.directory", decode_absolute, FIELD(spool_directory),
	  "/var/lib/egress-verifier", false, "where reports wait for the collector" },
	{ "collector.spool.maxBytes", decode_size, FIELD(spool_max_bytes), "256Mi", false,
	  "how much may wait" },
	{ "http.listen", decode_listen, 0, "[\"127.0.0.1:9466\"]", false,
	  "the whole API: loopback addresses or unix:/PATH" },
	{ "http.metrics", decode_metrics, 0, "[]", false,
	  "only /metrics, /healthz and /readyz: any address" },
	{ 0 },
};
#undef FIELD

bool config_keys(size_t index, const char **key, const char **fallback, const char **help)
{
	if (index >= sizeof(fields) / sizeof(fields[0]) - 1)
		return false;
	*key = fields[index].key;
	*fallback = fields[index].fallback;
	*help = fields[index].help;
	return true;
}

void config_describe(FILE *out)
{
	for (const struct config_field *field = fields; field->key; field++)
		fprintf(out, "  %s%s%s\n      %s\n", field->key, field->fallback ? ": " : "",
		        field->fallback ? field->fallback : "", field->help);
}

/*
 * A proof is fresh for three intervals: an answer that may take longer proves
 * nothing, and questions would pile up behind it.
 */
static void bound_timeout(struct config *config)
{
	if (config->timeout_ns > 3 * config->interval_ns)
		config->timeout_ns = 3 * config->interval_ns;
}

/* As the kubelet names a node that nobody named: the host name in lower case. */
static int find_node_name(struct config_reading *in, struct config *config)
{
	const char *given = getenv("NODE_NAME");
	char name[NAME_MAX_LEN + 1] = "";

	if (config->node)
		return 0;
	if (!given || !*given) {
		if (gethostname(name, sizeof(name) - 1) < 0)
			return -errno;
		for (char *c = name; *c; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
		given = name;
	}
	if (!config_consists_of(given, CONFIG_LOWER CONFIG_UPPER "._", NAME_MAX_LEN))
		return config_fail(in, 1, 1,
		                   "node: expected the name of a node in $NODE_NAME, got \"%.60s\"",
		                   given);
	config->node = strdup(given);
	return config->node ? 0 : -ENOMEM;
}

/* Files lie beside the configuration unless it says otherwise. */
static int resolve_file(const char *path, char **file)
{
	const char *slash = strrchr(path, '/');
	char *resolved;

	if (**file == '/' || **file == '\0' || !slash)
		return 0;
	if (asprintf(&resolved, "%.*s/%s", (int)(slash - path), path, *file) < 0)
		return -ENOMEM;
	free(*file);
	*file = resolved;
	return 0;
}

static int read_config(struct config_reading *in, const char *data, size_t len,
                       struct config *config)
{
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;
	struct yaml_error error = { 0 };
	int r;

	r = yaml_document(data, len, &root, &error);
	if (r == -EINVAL)
		return config_fail(in, error.line, error.column, "%s", error.text);
	if (r == 0)
		r = config_map(in, root, "", fields, config);
	if (r == 0)
		r = find_node_name(in, config);
	bound_timeout(config);
	r = r ?: resolve_file(in->file, &config->inventory_file);
	return r ?: resolve_file(in->file, &config->kubeconfig);
}

int config_parse(const char *data, size_t len, const char *path, struct config **out,
                 char error[static 512])
{
	cleanup(config_freep) struct config *config = NULL;
	struct config_reading in = { .file = path, .error = error };
	int r;

	error[0] = '\0';
	config = calloc(1, sizeof(*config));
	r = config ? read_config(&in, data, len, config) : -ENOMEM;
	if (r < 0 && !error[0])
		config_fail_whole(&in, strerror(-r));
	if (r < 0)
		return r;
	*out = take_ptr(config);
	return 0;
}

int config_load(const char *path, struct config **out, char error[static 512])
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(CONFIG_FILE_MAX);
	struct config_reading in = { .file = path, .error = error };
	int r;

	r = file_read(AT_FDCWD, path, &text);
	if (r == -EFBIG)
		return config_fail(&in, 1, 1, "the file: expected at most %u bytes, got more",
		                   CONFIG_FILE_MAX);
	if (r < 0) {
		config_fail_whole(&in, file_why(r));
		return r;
	}
	return config_parse(text.data ? text.data : "", text.len, path, out, error);
}

static void free_selector(struct inventory_selector *selector)
{
	free((char *)selector->namespace);
	for (size_t i = 0; i < selector->n_labels; i++) {
		free(selector->labels[i].key);
		free(selector->labels[i].value);
	}
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	free(config->node);
	free(config->kubeconfig);
	free(config->inventory_file);
	free(config->netns_dir);
	free(config->cgroup_root);
	for (size_t i = 0; i < config->n_require; i++)
		free_selector(&config->require[i]);
	for (size_t i = 0; i < config->n_echoes; i++)
		config_echo_clear(&config->echoes[i]);
	free(config->collector_endpoint);
	free(config->spool_directory);
	for (size_t i = 0; i < config->n_listen; i++)
		free(config->listen[i]);
	for (size_t i = 0; i < config->n_metrics; i++)
		free(config->metrics[i]);
	free(config);
	return NULL;
}
