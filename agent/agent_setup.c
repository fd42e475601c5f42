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

int agent_setup(const struct config *config)
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
	/* What is no plain path from the root the worker must be able to read by itself. */
	if (!strstr(inventory, "/.."))
		r = r ?: COPY(setup.inventory_file, inventory);
	/* Without it names cannot be asked for, which each probe says. */
	if (dns_servers_load(PROBER_RESOLV_CONF, &servers) == 0)
		add_servers(&setup, &servers);
	for (size_t i = 0; r == 0 && i < config->n_echoes; i++)
		r = add_echo(&setup, &config->echoes[i]);
	memcpy(setup.cluster, config->cluster, sizeof(setup.cluster));
	setup.n_cluster = (uint32_t)config->n_cluster;
	return r ?: broker_client_setup(&setup);
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
