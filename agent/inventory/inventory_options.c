#include "inventory/inventory_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "inventory/kinds.h"

#define WIREGUARD_DIRECTORY "/var/run/wireguard"

DEFINE_FREEP(struct inventory, inventory)

/* Settings that may change */

struct settings {
	struct cidr *cluster;
	size_t n_cluster;
	struct inventory_selector *require;
	size_t n_require;
};

static void settings_clear(struct settings *settings)
{
	for (size_t i = 0; i < settings->n_require; i++) {
		struct inventory_selector *selector = &settings->require[i];

		free((char *)selector->namespace);
		for (size_t j = 0; j < selector->n_labels; j++) {
			free(selector->labels[j].key);
			free(selector->labels[j].value);
		}
	}
	free(settings->require);
	free(settings->cluster);
	*settings = (struct settings){ 0 };
}

static int copy_selector(const struct inventory_selector *from, struct inventory_selector *to)
{
	to->namespace = strdup(from->namespace);
	if (!to->namespace)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_labels; i++) {
		struct kube_label *label = &to->labels[to->n_labels++];

		label->key = strdup(from->labels[i].key);
		label->value = strdup(from->labels[i].value);
		if (!label->key || !label->value)
			return -ENOMEM;
	}
	return 0;
}

static int settings_copy(const struct inventory_options *options, struct settings *out)
{
	cleanup(settings_clear) struct settings settings = { 0 };

	settings.cluster = calloc(options->n_cluster + 1, sizeof(*settings.cluster));
	settings.require = calloc(options->n_require + 1, sizeof(*settings.require));
	if (!settings.cluster || !settings.require)
		return -ENOMEM;

	if (options->n_cluster)
		memcpy(settings.cluster, options->cluster,
		       options->n_cluster * sizeof(*settings.cluster));
	settings.n_cluster = options->n_cluster;
	for (size_t i = 0; i < options->n_require; i++) {
		settings.n_require++;
		if (copy_selector(&options->require[i], &settings.require[i]) < 0)
			return -ENOMEM;
	}

	*out = settings;
	settings = (struct settings){ 0 };
	return 0;
}

/* The inventory's present ones come out in *settings. */
static void settings_swap(struct inventory *inventory, struct settings *settings)
{
	struct settings old = { inventory->cluster, inventory->n_cluster, inventory->require,
		                inventory->n_require };

	inventory->cluster = settings->cluster;
	inventory->n_cluster = settings->n_cluster;
	inventory->require = settings->require;
	inventory->n_require = settings->n_require;
	*settings = old;
}

static bool same(const char *mine, const char *given, const char *usual)
{
	return strcmp(mine, given ? given : usual) == 0;
}

static bool same_node(const struct inventory *inventory, const struct inventory_options *options)
{
	return same(inventory->node, options->node, "") &&
	       same(inventory->netns_dir, options->netns_dir, "") &&
	       same(inventory->cgroup_root, options->cgroup_root, "") &&
	       same(inventory->cni_dir, options->cni_dir, INVENTORY_CNI_DIRECTORY) &&
	       same(inventory->wireguard_dir, options->wireguard_dir, WIREGUARD_DIRECTORY);
}

int inventory_reconfigure(struct inventory *inventory, const struct inventory_options *options)
{
	cleanup(settings_clear) struct settings settings = { 0 };
	struct object *object, *next;
	struct moment now = clock_now();
	int r;

	if (!same_node(inventory, options))
		return -EINVAL;
	r = settings_copy(options, &settings);
	if (r < 0)
		return r;

	settings_swap(inventory, &settings);
	/* Pods that are no subjects any more first: they give up their numbers. */
	HASH_ITER(hh, inventory->pods.table, object, next)
	if (object->now && object->user)
		inventory_reconsider(inventory, object, &now);
	inventory_relink_all(inventory, NULL, &now);
	inventory_retry_pods(inventory, &now);
	return 0;
}

/* Making */

static int copy_names(struct inventory *inventory, const struct inventory_options *options)
{
	const struct {
		char **to;
		const char *text;
	} names[] = {
		{ &inventory->node, options->node },
		{ &inventory->netns_dir, options->netns_dir },
		{ &inventory->cgroup_root, options->cgroup_root },
		{ &inventory->cni_dir,
		  options->cni_dir ? options->cni_dir : INVENTORY_CNI_DIRECTORY },
		{ &inventory->wireguard_dir,
		  options->wireguard_dir ? options->wireguard_dir : WIREGUARD_DIRECTORY },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		*names[i].to = strdup(names[i].text);
		if (!*names[i].to)
			return -ENOMEM;
	}
	return 0;
}

static int start(struct inventory *inventory, struct loop *loop)
{
	int r;

	r = netns_watch_new(loop, inventory->netns_dir, inventory_on_netns, inventory,
	                    &inventory->netns);
	if (r == 0)
		r = conflist_watch_new(loop, inventory->cni_dir, inventory_on_conflist, inventory,
		                       &inventory->conflist);
	if (r == 0)
		r = timer_init(&inventory->locate_timer, loop, inventory_on_locate_due);
	if (r == 0)
		r = timer_set(&inventory->locate_timer, LOCATE_INTERVAL_NS, LOCATE_INTERVAL_NS);
	if (r < 0)
		return r;

	inventory->context = (struct member_context){
		.loop = loop,
		.netns = inventory->netns,
		.cgroup_root = inventory->cgroup_root,
		.wireguard_dir = inventory->wireguard_dir,
		.user = inventory,
		.live_changed = inventory_on_live,
	};
	return 0;
}

int inventory_new(struct loop *loop, const struct inventory_options *options,
                  const struct inventory_events *events, struct inventory **out)
{
	cleanup(inventory_freep) struct inventory *inventory = calloc(1, sizeof(*inventory));
	struct settings settings;
	int r;

	if (!inventory)
		return -ENOMEM;
	inventory->events = *events;
	inventory->pods.kind = &kind_pod;
	inventory->gateways.kind = &kind_gateway;
	inventory->vms.kind = &kind_gateway_vm;
	inventory->nodes.kind = &kind_node;
	inventory->locate_timer = (struct timer)TIMER_INIT;

	r = copy_names(inventory, options);
	if (r == 0)
		r = settings_copy(options, &settings);
	if (r < 0)
		return r;
	settings_swap(inventory, &settings);
	r = start(inventory, loop);
	if (r < 0)
		return r;

	*out = take_ptr(inventory);
	return 0;
}

struct inventory *inventory_free(struct inventory *inventory)
{
	struct settings settings = { 0 };

	if (!inventory)
		return NULL;

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++)
		member_free(inventory->members[i]);
	timer_clear(&inventory->locate_timer);
	netns_watch_free(inventory->netns);
	conflist_watch_free(inventory->conflist);
	objects_clear(&inventory->pods);
	objects_clear(&inventory->gateways);
	objects_clear(&inventory->vms);
	objects_clear(&inventory->nodes);
	numbers_forget_reserved(&inventory->numbers);
	settings_swap(inventory, &settings);
	settings_clear(&settings);
	free(inventory->node);
	free(inventory->netns_dir);
	free(inventory->cgroup_root);
	free(inventory->cni_dir);
	free(inventory->wireguard_dir);
	free(inventory);
	return NULL;
}

int inventory_reserve(struct inventory *inventory, uint32_t number, const char *uid)
{
	return numbers_reserve(&inventory->numbers, number, uid);
}
