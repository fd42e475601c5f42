/*
 * What the broker must know of the configuration, before the network is heard:
 * where namespaces and cgroups lie, and whom the node's own probes may ask.
 */
#include "agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/path.h"
#include "broker/client.h"
#include "broker/confine.h"
#include "io/dns_client.h"
#include "probe/target.h"

static void add(struct broker_setup *setup, const struct broker_destination *destination)
{
	/* There is room for what a configuration may hold. */
	if (setup->n_destinations < BROKER_DESTINATIONS_MAX)
		setup->destinations[setup->n_destinations++] = *destination;
}

static void add_servers(struct broker_setup *setup, const struct dns_servers *servers)
{
	for (size_t i = 0; i < servers->n; i++) {
		struct broker_destination server = { .ip = servers->address[i],
			                             .port = servers->port[i] ?: 53 };

		add(setup, &server);
		server.stream = true;
		add(setup, &server);
	}
}

/* Its address may be one of the cluster's, of its services or of the node's network. */
static void add_api_server(struct broker_setup *setup, const struct kube_server *server)
{
	add(setup, &(struct broker_destination){ .ip = server->address,
	                                         .port = server->port,
	                                         .stream = true,
	                                         .any = !server->has_address,
	                                         .cluster = true });
}

static int add_echo(struct broker_setup *setup, const struct config_echo *echo)
{
	const struct prober_echo as_probed = {
		.name = echo->name,
		.url = echo->url,
		.stun = echo->stun,
		.has_resolve = echo->has_resolve,
		.resolve = echo->resolve,
	};
	struct target target = { 0 };
	const char *reason;
	int r = target_init(&target, &as_probed, &reason);

	if (r == 0)
		add(setup, &(struct broker_destination){ .ip = target.address,
		                                         .port = target.url.port,
		                                         .stream = !target.udp,
		                                         .any = !target.fixed });
	target_clear(&target);
	/* An echo that cannot be asked is said so where it is made ready to be asked. */
	return r == -EINVAL ? 0 : r;
}

static int copy(char *to, size_t size, const char *from)
{
	int n = snprintf(to, size, "%s", from);

	return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

#define COPY(to, from) copy(to, sizeof(to), from)

/* A path from the root without steps back: others the worker must be able to read by itself. */
static bool is_plain(const char *path)
{
	size_t len = strlen(path);

	return path[0] == '/' && !strstr(path, "/../") &&
	       (len < 3 || strcmp(path + len - 3, "/..") != 0);
}

static int add_file(struct broker_setup *setup, const char *path)
{
	if (!path || !is_plain(path) || setup->n_files == BROKER_FILES_MAX)
		return 0;
	return COPY(setup->files[setup->n_files++], path);
}

/* An address, or any at the port of its name: of the cluster too, where collectors are services. */
static int add_collector(struct broker_setup *setup, const struct export_target *target)
{
	struct broker_destination to = { .stream = true, .cluster = true };
	const char *const files[] = { target->ca, target->certificate, target->key };
	bool literal;
	int r;

	if (!target->url)
		return 0;
	r = export_target_address(target, &to.ip, &literal, &to.port);
	if (r < 0)
		return r;
	to.any = !literal;
	add(setup, &to);
	for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++)
		r = add_file(setup, files[i]);
	return r;
}

/* Before the kubeconfig was read, it alone. */
static int add_credentials(struct broker_setup *setup, const struct config *config,
                           const struct kube_server *server)
{
	cleanup(mem_freep) char *kubeconfig = NULL;
	int r = 0;

	if (config->source_file)
		return 0;
	if (config->kubeconfig[0]) {
		kubeconfig = path_absolute(config->kubeconfig);
		r = kubeconfig ? add_file(setup, kubeconfig) : -errno;
	}
	if (!server)
		return r;
	add_api_server(setup, server);
	for (int i = 0; r == 0 && i < _KUBE_FILE_MAX; i++)
		r = add_file(setup, server->file[i]);
	return r;
}

int agent_setup(const struct config *config, const struct export_settings *collector,
                const struct kube_server *server)
{
	static struct broker_setup setup; /* some kB */
	cleanup(mem_freep) char *inventory = path_absolute(config->inventory_file);
	struct dns_servers servers;
	int r;

	if (!inventory)
		return -errno;
	memset(&setup, 0, sizeof(setup));
	r = COPY(setup.node, config->node);
	r = r ?: COPY(setup.netns_dir, config->netns_dir);
	r = r ?: COPY(setup.cgroup_root, config->cgroup_root);
	if (is_plain(inventory))
		r = r ?: COPY(setup.inventory_file, inventory);
	/* Without it names cannot be asked for, which each probe says. */
	if (dns_servers_load(PROBER_RESOLV_CONF, &servers) == 0)
		add_servers(&setup, &servers);
	r = r ?: add_credentials(&setup, config, server);
	for (size_t i = 0; r == 0 && i < config->n_echoes; i++)
		r = add_echo(&setup, &config->echoes[i]);
	for (size_t i = 0; r == 0 && collector && i < _EXPORT_SIGNAL_MAX; i++)
		r = add_collector(&setup, &collector->target[i]);
	memcpy(setup.cluster, config->cluster, sizeof(setup.cluster));
	setup.n_cluster = (uint32_t)config->n_cluster;
	return r ?: broker_client_setup(&setup);
}

int agent_api_server(const struct config *config, struct kube_server *out, char error[static 512])
{
	cleanup(mem_freep) char *path = NULL;
	int r = 0;

	if (!config->kubeconfig[0])
		return kube_server_in_cluster(out, error);
	path = path_absolute(config->kubeconfig);
	if (!path)
		r = -errno;
	else if (broker_client_started())
		r = agent_setup(config, NULL, NULL);
	if (r < 0) {
		snprintf(error, 512, "%s: %s", config->kubeconfig, strerror(-r));
		return r;
	}
	return kube_server_load(path, out, error);
}

int agent_seal(const struct agent *agent, char error[static 512])
{
	const struct config *config = agent->config;
	const char *const paths[] = { agent->options.config_path, config->inventory_file,
		                      config->netns_dir, config->cgroup_root };
	char warning[CONFINE_TEXT_MAX] = "";
	int r = confine_files(paths, sizeof(paths) / sizeof(paths[0]), warning, error);

	if (warning[0])
		log_warn("the worker is less confined than it should be", "reason", warning, NULL);
	return r ?: broker_client_seal();
}
