#include "inventory/inventory_parts.h"

#include <errno.h>
#include <string.h>

static int put(struct inventory *inventory, struct objects *objects, void *content,
               struct object **object)
{
	int r = objects_put(objects, content, object);

	if (r < 0)
		inventory->refused++;
	return r;
}

static void remove_pod(struct inventory *inventory, struct object *object)
{
	inventory_pod_swept(inventory, object);
	objects_remove(&inventory->pods, object);
	inventory_bury(inventory);
}

/* A list of the whole cluster costs one comparison per pod of another node. */
static int pod_elsewhere(struct inventory *inventory, struct kube_pod *pod)
{
	inventory->pods_elsewhere++;
	if (!inventory->pods.replacing && pod->namespace && pod->name)
		inventory_remove_pod(inventory, pod->namespace, pod->name);
	kube_pod_clear(pod);
	return 0;
}

int inventory_put_pod(struct inventory *inventory, struct kube_pod *pod)
{
	struct object *object;
	int r;

	if (!pod->node || strcmp(pod->node, inventory->node) != 0)
		return pod_elsewhere(inventory, pod);

	r = put(inventory, &inventory->pods, pod, &object);
	if (r < 0 || inventory->pods.replacing)
		return r;

	inventory->now = clock_now();
	object_apply(&inventory->pods, object, inventory_pod_applied, inventory);
	if (object->now && !object->user)
		inventory_reconsider(inventory, object, &inventory->now);
	return 0;
}

int inventory_put_gateway(struct inventory *inventory, struct kube_gateway *gateway)
{
	struct object *object;
	int r;

	r = put(inventory, &inventory->gateways, gateway, &object);
	if (r < 0 || inventory->gateways.replacing)
		return r;

	inventory->now = clock_now();
	if (object_apply(&inventory->gateways, object, inventory_gateway_applied, inventory))
		inventory_gateways_changed(inventory, &inventory->now);
	return 0;
}

static int put_plain(struct inventory *inventory, struct objects *objects, void *content)
{
	struct object *object;
	int r;

	r = put(inventory, objects, content, &object);
	if (r < 0 || objects->replacing)
		return r;

	inventory->now = clock_now();
	if (object_apply(objects, object, NULL, NULL))
		inventory_gateways_changed(inventory, &inventory->now);
	return 0;
}

int inventory_put_gateway_vm(struct inventory *inventory, struct kube_gateway_vm *vm)
{
	return put_plain(inventory, &inventory->vms, vm);
}

int inventory_put_node(struct inventory *inventory, struct kube_node *node)
{
	return put_plain(inventory, &inventory->nodes, node);
}

void inventory_remove_pod(struct inventory *inventory, const char *namespace, const char *name)
{
	struct object *object = objects_look_up(&inventory->pods, namespace, name);
	struct moment now = clock_now();

	if (!object)
		return;
	remove_pod(inventory, object);
	/* Its number may be what another one waits for. */
	inventory_retry_pods(inventory, &now);
}

static void remove_plain(struct inventory *inventory, struct objects *objects,
                         const char *namespace, const char *name)
{
	struct object *object = objects_look_up(objects, namespace, name);
	struct moment now = clock_now();

	if (!object)
		return;
	objects_remove(objects, object);
	inventory_gateways_changed(inventory, &now);
	inventory_bury(inventory);
}

void inventory_remove_gateway(struct inventory *inventory, const char *namespace, const char *name)
{
	remove_plain(inventory, &inventory->gateways, namespace, name);
}

void inventory_remove_gateway_vm(struct inventory *inventory, const char *namespace,
                                 const char *name)
{
	remove_plain(inventory, &inventory->vms, namespace, name);
}

void inventory_remove_node(struct inventory *inventory, const char *name)
{
	remove_plain(inventory, &inventory->nodes, NULL, name);
}
