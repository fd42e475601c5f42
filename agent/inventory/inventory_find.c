#include "inventory/inventory_parts.h"

#include <assert.h>
#include <string.h>

struct subject *inventory_subject(struct inventory *inventory, uint32_t number)
{
	if (number >= SUBJECTS_MAX || !inventory->members[number])
		return NULL;
	return &inventory->members[number]->subject;
}

struct subject *inventory_find(struct inventory *inventory, const char *namespace, const char *pod)
{
	struct object *object = objects_look_up(&inventory->pods, namespace, pod);
	struct member *member = object ? object->user : NULL;

	return member ? &member->subject : NULL;
}

size_t inventory_count(const struct inventory *inventory)
{
	return inventory->n_members;
}

size_t inventory_gateway_count(const struct inventory *inventory)
{
	return inventory->n_sorted;
}

const struct kube_gateway *inventory_gateway(const struct inventory *inventory, size_t index)
{
	assert(index < inventory->n_sorted);
	return inventory->sorted[index];
}

const struct kube_gateway *inventory_gateway_find(const struct inventory *inventory,
                                                  const char *namespace, const char *name)
{
	return objects_now(&inventory->gateways, namespace, name);
}

const struct kube_gateway_vm *inventory_gateway_vm_find(const struct inventory *inventory,
                                                        const char *namespace, const char *name)
{
	return objects_now(&inventory->vms, namespace, name);
}

const struct kube_node *inventory_node(const struct inventory *inventory)
{
	return objects_now(&inventory->nodes, NULL, inventory->node);
}

const struct kube_node *inventory_node_by_ip(const struct inventory *inventory, const struct ip *ip)
{
	struct object *object, *next;

	HASH_ITER(hh, inventory->nodes.table, object, next)
	{
		const struct kube_node *node = object->now;

		if (node && node->has_ip && memcmp(&node->internal_ip, ip, sizeof(*ip)) == 0)
			return node;
	}
	return NULL;
}

bool inventory_lists_pod(const struct inventory *inventory, const char *namespace, const char *name)
{
	return objects_now(&inventory->pods, namespace, name) != NULL;
}

struct inventory_stats inventory_stats(const struct inventory *inventory)
{
	const struct member_context *context = &inventory->context;
	struct inventory_stats stats = {
		.refused = inventory->refused + netns_watch_refused(inventory->netns),
		.netns_ambiguous = context->ambiguous,
		.live_errors = context->live.errors + context->errors +
		               netns_watch_errors(inventory->netns),
		.live_readings = context->live.readings,
		.pods_elsewhere = inventory->pods_elsewhere,
	};

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct member *member = inventory->members[i];

		if (member && !member->subject.host_network && member->subject.netns_fd < 0)
			stats.netns_unknown++;
	}
	return stats;
}

const char *inventory_cni_state(const struct inventory *inventory)
{
	return conflist_watch_get(inventory->conflist)->state;
}
