/*
 * The configuration file (README, "Configuration").
 *
 * Strict: the first fault is reported as "FILE:LINE:COLUMN: what was expected".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/ip.h"
#include "inventory/inventory.h"
#include "limits.h"

struct config_echo {
	char *name, *url, *json, *key, *stun; /* owned; exactly one of url and stun */
	bool has_resolve;
	struct ip resolve;
};

struct config {
	char *node;       /* owned, as every pointer here */
	bool source_file; /* inventory.source */
	char *kubeconfig, *inventory_file, *netns_dir, *cgroup_root;
	struct cidr cluster[CLUSTER_CIDRS_MAX];
	size_t n_cluster;
	struct inventory_selector require[REQUIRE_RULES_MAX]; /* owns its texts */
	size_t n_require;
	uint64_t pending_grace_ns;
	uint64_t interval_ns, timeout_ns;
	unsigned int quorum;
	bool node_control;
	struct config_echo echoes[ECHOES_MAX];
	size_t n_echoes;
	char *collector_endpoint, *spool_directory;
	uint64_t spool_max_bytes;
	char *listen[LISTENERS_MAX],
		*metrics[LISTENERS_MAX]; /* "ADDR:PORT", "[V6]:PORT" or "unix:/PATH" */
	size_t n_listen, n_metrics;
};

/*
 * On failure *error holds one line without newline that names file, line and
 * column. inventory.file is resolved against the configuration file's folder.
 */
int config_load(const char *path, struct config **out, char error[static 512]);
/* The same of bytes; `path` names them in messages and gives the folder. */
int config_parse(const char *data, size_t len, const char *path, struct config **out,
                 char error[static 512]);
struct config *config_free(struct config *config);

/* Every key in order, for documentation; *fallback is its default as YAML, or NULL. */
bool config_keys(size_t index, const char **key, const char **fallback, const char **help);

/* Two lines per key: its default as YAML, and what it means. */
void config_describe(FILE *out);
