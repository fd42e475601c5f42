/* sources: agent/config.c agent/config_echo.c agent/config_value.c agent/io/yaml.c agent/io/yaml_value.c agent/io/listener.c agent/probe/url.c agent/probe/target.c */
/*
 * An error is one line that begins with the file; what is accepted keeps the
 * promises of config.h and is accepted again, the same.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "io/listener.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_echo(const struct config *config, size_t index)
{
	const struct config_echo *echo = &config->echoes[index];

	assert(echo->name && *echo->name && strlen(echo->name) <= 32);
	assert(!echo->url != !echo->stun);
	assert(!(echo->json && echo->key) && !(echo->stun && (echo->json || echo->key)));
	assert(!echo->has_resolve || ip_is_v4(&echo->resolve));
	for (size_t i = 0; i < index; i++)
		assert(strcmp(config->echoes[i].name, echo->name) != 0);
}

static void check(const struct config *config)
{
	struct listener_address address;

	assert(config->node && *config->node && config->kubeconfig);
	assert(config->inventory_file && *config->inventory_file);
	assert(config->netns_dir[0] == '/' && config->cgroup_root[0] == '/');
	assert(config->spool_directory[0] == '/' && config->collector_endpoint);
	assert(config->interval_ns >= 200000000ULL && config->interval_ns <= 3600000000000ULL);
	assert(config->timeout_ns >= 100000000ULL && config->timeout_ns <= 3 * config->interval_ns);
	assert(config->quorum >= 1 && config->quorum <= ECHOES_MAX);
	assert(config->n_cluster <= CLUSTER_CIDRS_MAX && config->n_require <= REQUIRE_RULES_MAX);
	assert(config->n_echoes >= 1 && config->n_echoes <= ECHOES_MAX);
	for (size_t i = 0; i < config->n_echoes; i++)
		check_echo(config, i);
	for (size_t i = 0; i < config->n_require; i++)
		assert(config->require[i].namespace);
	assert(config->n_listen <= LISTENERS_MAX && config->n_metrics <= LISTENERS_MAX);
	for (size_t i = 0; i < config->n_listen; i++)
		assert(listener_parse(config->listen[i], &address) == 0 &&
		       listener_is_loopback(&address));
	for (size_t i = 0; i < config->n_metrics; i++)
		assert(listener_parse(config->metrics[i], &address) == 0);
}

static void check_same(const struct config *a, const struct config *b)
{
	assert(same(a->node, b->node) && same(a->inventory_file, b->inventory_file));
	assert(a->source_file == b->source_file && a->quorum == b->quorum);
	assert(a->interval_ns == b->interval_ns && a->timeout_ns == b->timeout_ns);
	assert(a->n_echoes == b->n_echoes && a->n_require == b->n_require);
	assert(memcmp(a->cluster, b->cluster, sizeof(a->cluster)) == 0);
	for (size_t i = 0; i < a->n_echoes; i++)
		assert(same(a->echoes[i].url, b->echoes[i].url) &&
		       same(a->echoes[i].stun, b->echoes[i].stun));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL, *again = NULL;
	char error[512];
	int r;

	setenv("NODE_NAME", "worker-1", 1);
	r = config_parse((const char *)data, size, "/etc/f.yaml", &config, error);
	if (r < 0) {
		assert(r == -EINVAL && !config);
		assert(strncmp(error, "/etc/f.yaml:", 12) == 0 && strlen(error) < sizeof(error));
		assert(!strpbrk(error, "\n\r\x1b"));
		return 0;
	}

	check(config);
	assert(config_parse((const char *)data, size, "/etc/f.yaml", &again, error) == 0);
	check_same(config, again);
	config_free(config);
	config_free(again);
	return 0;
}
