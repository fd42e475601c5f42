#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "config.h"

#define ECHO "{name: a, url: \"http://echo.test/\"}"
#define ECHOES "probe: {echoes: [" ECHO "]}\n"

static char folder[] = "/tmp/eva-config-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/c.yaml", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static void write_file(const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static struct config *load(const char *text)
{
	struct config *config = NULL;
	char error[512];

	write_file(text, strlen(text));
	if (config_load(path, &config, error) < 0)
		fail_msg("%s", error);
	return config;
}

static void has_defaults(void **state)
{
	struct config *config;

	(void)state;
	setenv("NODE_NAME", "worker-7", 1);
	config = load(ECHOES);
	assert_string_equal(config->node, "worker-7");
	assert_false(config->source_file);
	assert_string_equal(config->kubeconfig, "");
	assert_string_equal(config->netns_dir, "/run/netns");
	assert_string_equal(config->cgroup_root, "/sys/fs/cgroup");
	assert_int_equal(config->n_cluster, 0);
	assert_int_equal(config->n_require, 0);
	assert_int_equal(config->pending_grace_ns, 300 * NSEC_PER_SEC);
	assert_int_equal(config->interval_ns, 30 * NSEC_PER_SEC);
	assert_int_equal(config->timeout_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(config->quorum, 2);
	assert_true(config->node_control);
	assert_string_equal(config->collector_endpoint, "");
	assert_string_equal(config->spool_directory, "/var/lib/egress-verifier");
	assert_int_equal(config->spool_max_bytes, 256ULL << 20);
	assert_int_equal(config->n_listen, 1);
	assert_string_equal(config->listen[0], "127.0.0.1:9466");
	assert_int_equal(config->n_metrics, 0);
	config_free(config);
}

static void reads_every_key(void **state)
{
	struct config *config;
	char inventory[96];

	(void)state;
	config = load(
		"node: worker-1\n"
		"inventory:\n"
		"  {source: file, kubeconfig: /etc/k, file: sub/objects.yaml,\n"
		"   netnsDir: /n, cgroupRoot: /c}\n"
		"policy:\n"
		"  clusterCidrs: [10.0.0.0/16, '2001:db8::/32']\n"
		"  requireGateway:\n"
		"  - {namespace: pay, podSelector: {app.example/x: web, tier: \"1\"}}\n"
		"  - {namespace: other}\n"
		"  pendingGrace: 1m30s\n"
		"probe:\n"
		"  interval: 1s\n"
		"  timeout: 800ms\n"
		"  quorum: 3\n"
		"  nodeControl: false\n"
		"  echoes:\n"
		"  - {name: ipify, url: \"https://api.test?format=json\", json: ip}\n"
		"  - {name: trace, url: \"https://www.test/trace\", key: ip}\n"
		"  - {name: private, url: \"http://p.test:8080/\", resolve: 10.1.2.3}\n"
		"  - {name: udp, stun: \"echo.test:3478\"}\n"
		"collector:\n"
		"  {endpoint: \"http://collector:4318\", spool: {directory: /s, maxBytes: 64Mi}}\n"
		"http: {listen: [\"unix:/run/a.sock\", \"[::1]:1\"], metrics: [\"0.0.0.0:2\"]}\n");
	snprintf(inventory, sizeof(inventory), "%s/sub/objects.yaml", folder);

	assert_string_equal(config->node, "worker-1");
	assert_true(config->source_file);
	assert_string_equal(config->kubeconfig, "/etc/k");
	assert_string_equal(config->inventory_file, inventory);
	assert_string_equal(config->netns_dir, "/n");
	assert_string_equal(config->cgroup_root, "/c");
	assert_int_equal(config->n_cluster, 2);
	assert_int_equal(config->cluster[0].len, 96 + 16);
	assert_int_equal(config->cluster[1].len, 32);
	assert_int_equal(config->n_require, 2);
	assert_string_equal(config->require[0].namespace, "pay");
	assert_int_equal(config->require[0].n_labels, 2);
	assert_string_equal(config->require[0].labels[0].key, "app.example/x");
	assert_string_equal(config->require[0].labels[1].value, "1");
	assert_int_equal(config->require[1].n_labels, 0);
	assert_int_equal(config->pending_grace_ns, 90 * NSEC_PER_SEC);
	assert_int_equal(config->interval_ns, NSEC_PER_SEC);
	assert_int_equal(config->timeout_ns, 800 * NSEC_PER_MSEC);
	assert_int_equal(config->quorum, 3);
	assert_false(config->node_control);
	assert_int_equal(config->n_echoes, 4);
	assert_string_equal(config->echoes[0].json, "ip");
	assert_string_equal(config->echoes[1].key, "ip");
	assert_true(config->echoes[2].has_resolve);
	assert_string_equal(config->echoes[3].stun, "echo.test:3478");
	assert_null(config->echoes[3].url);
	assert_string_equal(config->collector_endpoint, "http://collector:4318");
	assert_string_equal(config->spool_directory, "/s");
	assert_int_equal(config->spool_max_bytes, 64ULL << 20);
	assert_int_equal(config->n_listen, 2);
	assert_string_equal(config->metrics[0], "0.0.0.0:2");
	config_free(config);
}

static void accepts(void **state)
{
	static const char *const good[] = {
		"{\"probe\": {\"echoes\": [{\"name\": \"a\", \"url\": \"http://x/\"}]}}", /* JSON */
		"policy:\nhttp:\n" ECHOES, /* sections with nothing in them */
		"inventory: {file: /absolute.yaml}\n" ECHOES,
		"collector: {spool: {maxBytes: 1048576}}\n" ECHOES, /* a size without a unit */
		"http: {listen: []}\n" ECHOES,
		"probe: {interval: 200ms, timeout: 600ms, quorum: 1, echoes: [" ECHO "]}",
		"probe: {interval: 1h, timeout: 1m, quorum: 16, echoes: [" ECHO "]}",
		"policy: {pendingGrace: 0s}\n" ECHOES,
		"# only a comment before\n---\n" ECHOES "...\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		config_free(load(good[i]));
}

static void bounds_the_timeout_by_the_interval(void **state)
{
	struct config *config;

	(void)state;
	config = load("probe: {interval: 1s, echoes: [" ECHO "]}"); /* the default is 5 s */
	assert_int_equal(config->timeout_ns, 3 * NSEC_PER_SEC);
	config_free(config);
	config = load("probe: {interval: 2s, timeout: 10s, echoes: [" ECHO "]}");
	assert_int_equal(config->timeout_ns, 6 * NSEC_PER_SEC);
	config_free(config);
}

static void names_the_node_as_the_kubelet_would(void **state)
{
	char host[256] = "";
	struct config *config;

	(void)state;
	unsetenv("NODE_NAME");
	assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
	config = load(ECHOES);
	assert_int_equal(strcasecmp(config->node, host), 0);
	for (const char *c = config->node; *c; c++)
		assert_false(*c >= 'A' && *c <= 'Z');
	config_free(config);
}

static const struct {
	const char *text, *error; /* after "FILE:" */
} faults[] = {
	/* the whole */
	{ "", "1:1: probe.echoes: expected a value, it has no default, got none" },
	{ "- a\n",
	  "1:1: the file: expected a map of node, inventory, policy, probe, collector, http"
	  ", got a list" },
	{ "a: [1\n", "2:1: did not find expected ',' or ']'" },
	{ ECHOES "---\n" ECHOES, "2:1: a second document; one is expected" },
	{ "\xff\xfe", "1:1: invalid leading UTF-8 octet" },
	{ "probe:\n\t- x", "2:1: found character that cannot start any token" },
	/* what lets one text mean another */
	{ "node: &x a\n", "1:7: anchors are not accepted" },
	{ "node: *x\n", "1:7: aliases are not accepted" },
	{ "node: !!str a\n", "1:7: tags are not accepted" },
	{ "node: a\nnode: b\n", "2:1: duplicate key node, first on line 1" },
	{ "probe:\n  quorum: 1\n  quorum: 2\n", "3:3: duplicate key quorum, first on line 2" },
	/* keys */
	{ "nod: a\n", "1:1: nod: unknown key, expected one of node, inventory, policy, probe, "
	              "collector, http" },
	{ "probe:\n  intervall: 3s\n",
	  "2:3: probe.intervall: unknown key, expected one of interval, "
	  "timeout, quorum, nodeControl, echoes" },
	{ "probe.interval: 3s\n",
	  "1:1: probe.interval: unknown key, expected one of node, inventory, "
	  "policy, probe, collector, http" },
	{ "collector: {spool: {size: 1}}",
	  "1:21: collector.spool.size: unknown key, expected one of "
	  "directory, maxBytes" },
	{ "inventory: {\"a\\nb\": x}", "1:13: inventory.a?b: unknown key, expected one of source, "
	                               "kubeconfig, file, netnsDir, cgroupRoot" },
	/* types and ranges */
	{ "probe: 3\n",
	  "1:8: probe: expected a map of interval, timeout, quorum, nodeControl, echoes"
	  ", got 3" },
	{ "node: 7\n", "1:7: node: expected text, got 7" },
	{ "node: a b\n", "1:7: node: expected the name of a node, got \"a b\"" },
	{ "node:\n", "1:6: node: expected text, got nothing" },
	{ "inventory: {source: api}", "1:21: inventory.source: expected kubernetes or file"
	                              ", got \"api\"" },
	{ "inventory: {file: \"\"}", "1:19: inventory.file: expected a path, got \"\"" },
	{ "inventory: {netnsDir: netns}", "1:23: inventory.netnsDir: expected an absolute path"
	                                  ", got \"netns\"" },
	{ "policy: {clusterCidrs: 10.0.0.0/8}", "1:24: policy.clusterCidrs: expected a list"
	                                        ", got \"10.0.0.0/8\"" },
	{ "policy: {clusterCidrs: [10.0.0.0/8, 10.0.0.0/33]}",
	  "1:37: policy.clusterCidrs[1]: expected a CIDR such as 10.0.0.0/16, got "
	  "\"10.0.0.0/33\"" },
	{ "policy: {requireGateway: [{podSelector: {a: b}}]}",
	  "1:27: policy.requireGateway[0].namespace: expected a value, it has no default, got "
	  "none" },
	{ "policy: {requireGateway: [{namespace: A}]}",
	  "1:39: policy.requireGateway[0].namespace: expected the name of a namespace, got "
	  "\"A\"" },
	{ "policy: {requireGateway: [{namespace: a, podSelector: {app: true}}]}",
	  "1:61: policy.requireGateway[0].podSelector.app: expected text, got true" },
	{ "policy: {requireGateway: [x]}", "1:27: policy.requireGateway[0]: expected a map of "
	                                   "namespace, podSelector, got \"x\"" },
	{ "policy: {pendingGrace: 25h}",
	  "1:24: policy.pendingGrace: expected a duration of 0s to 24h"
	  ", got \"25h\"" },
	{ "probe: {interval: 30}",
	  "1:19: probe.interval: expected a duration such as 500ms, 30s or "
	  "1m30s, got 30" },
	{ "probe: {interval: 199ms}",
	  "1:19: probe.interval: expected a duration of 200ms to 1h (below "
	  "1s only for echoes of your own), got \"199ms\"" },
	{ "probe: {interval: 61m}",
	  "1:19: probe.interval: expected a duration of 200ms to 1h (below "
	  "1s only for echoes of your own), got \"61m\"" },
	{ "probe: {timeout: 99ms}",
	  "1:18: probe.timeout: expected a duration of 100ms to 1m, got \"99ms\"" },
	{ "probe: {timeout: 61s}",
	  "1:18: probe.timeout: expected a duration of 100ms to 1m, got \"61s\"" },
	{ "probe: {quorum: 0}", "1:17: probe.quorum: expected an integer from 1 to 16, got 0" },
	{ "probe: {quorum: 17}", "1:17: probe.quorum: expected an integer from 1 to 16, got 17" },
	{ "probe: {quorum: 0x2}", "1:17: probe.quorum: expected an integer from 1 to 16, got 0x2" },
	{ "probe: {quorum: \"2\"}", "1:17: probe.quorum: expected an integer from 1 to 16"
	                            ", got \"2\"" },
	{ "probe: {nodeControl: yes}", "1:22: probe.nodeControl: expected true or false"
	                               ", got \"yes\"" },
	/* echoes */
	{ "probe: {echoes: []}",
	  "1:17: probe.echoes: expected at least one echo, got an empty list" },
	{ "probe: {echoes: }", "1:17: probe.echoes: expected a list, got nothing" },
	{ "probe: {echoes: [{url: \"http://x/\"}]}",
	  "1:18: probe.echoes[0].name: expected a value, it "
	  "has no default, got none" },
	{ "probe: {echoes: [{name: a}]}",
	  "1:18: probe.echoes[0]: expected exactly one of url and stun"
	  ", got none" },
	{ "probe: {echoes: [{name: a, url: \"http://x\", stun: \"x:1\"}]}",
	  "1:18: probe.echoes[0]: expected exactly one of url and stun, got both" },
	{ "probe: {echoes: [{name: a, url: \"http://x\", json: i, key: i}]}",
	  "1:18: probe.echoes[0]: expected at most one of json and key, got both" },
	{ "probe: {echoes: [{name: a, stun: x, json: i}]}",
	  "1:18: probe.echoes[0]: expected json and key only with url, got stun" },
	{ "probe: {echoes: [" ECHO ",\n " ECHO "]}",
	  "2:9: probe.echoes[1].name: expected a name of its own, got \"a\" again" },
	{ "probe: {echoes: [{name: A_1, url: \"http://x\"}]}",
	  "1:25: probe.echoes[0].name: expected a name of lower-case letters, digits and -, at "
	  "most 32 "
	  "bytes, got \"A_1\"" },
	{ "probe: {echoes: [{name: a, url: \"ftp://x\"}]}",
	  "1:33: probe.echoes[0].url: does not begin with http:// or https://, got \"ftp://x\"" },
	{ "probe: {echoes: [{name: a, stun: \"x:99999\"}]}",
	  "1:34: probe.echoes[0].stun: the port is not a number from 1 to 65535, got "
	  "\"x:99999\"" },
	{ "probe: {echoes: [{name: a, url: \"http://x\", resolve: x}]}",
	  "1:54: probe.echoes[0].resolve: expected an IPv4 address, got \"x\"" },
	{ "probe: {echoes: [{name: a, uri: x}]}",
	  "1:28: probe.echoes[0].uri: unknown key, expected "
	  "one of name, url, stun, json, key, resolve" },
	/* collector and http */
	{ "collector: {endpoint: collector:4318}",
	  "1:23: collector.endpoint: expected an OTLP/HTTP base URL, or \"\" for none: does not "
	  "begin "
	  "with http:// or https://, got \"collector:4318\"" },
	/* A password is not repeated. */
	{ "collector: {endpoint: \"http://me:secret@collector:4318\"}",
	  "1:23: collector.endpoint: expected an OTLP/HTTP base URL, or \"\" for none: a user or "
	  "password is not taken" },
	{ "collector: {spool: {maxBytes: 1023Ki}}",
	  "1:31: collector.spool.maxBytes: expected a size "
	  "from 1Mi to 64Gi, such as 256Mi, got \"1023Ki\"" },
	{ "http: {listen: [\"0.0.0.0:9466\"]}", "1:17: http.listen[0]: expected a loopback address "
	                                        "or unix:/PATH; beyond it only http.metrics"
	                                        ", got \"0.0.0.0:9466\"" },
	{ "http: {listen: [\"localhost:1\"]}", "1:17: http.listen[0]: expected ADDRESS:PORT, "
	                                       "[IPV6]:PORT or unix:/PATH, got \"localhost:1\"" },
	{ "http: {metrics: [9467]}", "1:18: http.metrics[0]: expected ADDRESS:PORT, [IPV6]:PORT or "
	                             "unix:/PATH, got 9467" },
};

static void names_the_place_of_a_fault(void **state)
{
	struct config *untouched = (struct config *)&folder, *config = untouched;
	char error[512], expected[600];

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		write_file(faults[i].text, strlen(faults[i].text));
		assert_int_equal(config_load(path, &config, error), -EINVAL);
		snprintf(expected, sizeof(expected), "%s:%s", path, faults[i].error);
		assert_string_equal(error, expected);
		assert_ptr_equal(config, untouched);
	}
}

/* As many entries of a list as `n`, into a file. */
static void write_list(const char *before, const char *item, size_t n, const char *after)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(before, file);
	for (size_t i = 0; i < n; i++)
		fprintf(file, "%s,", item);
	fputs(after, file);
	assert_int_equal(fclose(file), 0);
}

static void bounds_every_list(void **state)
{
	static const struct {
		const char *before, *item, *error;
		size_t max;
	} lists[] = {
		{ "policy: {clusterCidrs: [", "10.0.0.0/8",
		  ":1:24: policy.clusterCidrs: expected at "
		  "most 256 entries, got 257",
		  CLUSTER_CIDRS_MAX },
		{ "policy: {requireGateway: [", "{namespace: a}",
		  ":1:26: policy.requireGateway: expected "
		  "at most 64 entries, got 65",
		  REQUIRE_RULES_MAX },
		{ "probe: {echoes: [", ECHO,
		  ":1:17: probe.echoes: expected at most 16 entries, got 17", ECHOES_MAX },
		{ "http: {listen: [", "\"127.0.0.1:1\"",
		  ":1:16: http.listen: expected at most 8 entries"
		  ", got 9",
		  LISTENERS_MAX },
		{ "http: {metrics: [", "\"0.0.0.0:1\"",
		  ":1:17: http.metrics: expected at most 8 entries"
		  ", got 9",
		  LISTENERS_MAX },
	};
	struct config *config = NULL;
	char error[512], expected[600];

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		write_list(lists[i].before, lists[i].item, lists[i].max + 1, "]}\n");
		assert_int_equal(config_load(path, &config, error), -EINVAL);
		snprintf(expected, sizeof(expected), "%s%s", path, lists[i].error);
		assert_string_equal(error, expected);
	}
}

static void refuses_what_is_no_configuration(void **state)
{
	struct config *config = NULL;
	char error[512], expected[600];
	FILE *file;

	(void)state;
	file = fopen(path, "w");
	assert_non_null(file);
	for (size_t i = 0; i < 10 << 20; i++)
		fputc('a', file);
	fclose(file);
	assert_int_equal(config_load(path, &config, error), -EINVAL);
	snprintf(expected, sizeof(expected),
	         "%s:1:1: the file: expected at most 1048576 bytes, got more", path);
	assert_string_equal(error, expected);

	write_list("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "[", 50000,
	           "");
	assert_int_equal(config_load(path, &config, error), -EINVAL);
	assert_non_null(strstr(error, "nested too deeply"));

	write_list("[", "1", 20000, "]");
	assert_int_equal(config_load(path, &config, error), -EINVAL);
	assert_non_null(strstr(error, "too many values"));

	assert_int_equal(config_load(folder, &config, error), -EISDIR);
	snprintf(expected, sizeof(expected), "%s: Is a directory", folder);
	assert_string_equal(error, expected);
	assert_int_equal(config_load("/nonexistent/c.yaml", &config, error), -ENOENT);
	assert_string_equal(error, "/nonexistent/c.yaml: No such file or directory");
	assert_null(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(reads_every_key),
		cmocka_unit_test(accepts),
		cmocka_unit_test(bounds_the_timeout_by_the_interval),
		cmocka_unit_test(names_the_node_as_the_kubelet_would),
		cmocka_unit_test(names_the_place_of_a_fault),
		cmocka_unit_test(bounds_every_list),
		cmocka_unit_test(refuses_what_is_no_configuration),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
