#include "inventory/kinds.h"

#include <string.h>

#include "kube/gateway.h"
#include "kube/gateway_vm.h"
#include "kube/node.h"
#include "kube/pod.h"
#include "limits.h"

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool ip_equal(bool has_a, const struct ip *a, bool has_b, const struct ip *b)
{
	return has_a == has_b && (!has_a || memcmp(a, b, sizeof(*a)) == 0);
}

/* A plain structure: its pointers move with it. */
#define DEFINE_MOVE(name, type)                        \
	static void move_##name(void *to, void *from)  \
	{                                              \
		memcpy(to, from, sizeof(struct type)); \
		memset(from, 0, sizeof(struct type));  \
	}

#define DEFINE_KIND(name, type, limit)           \
	static void clear_##name(void *object)   \
	{                                        \
		type##_clear(object);            \
	}                                        \
	const struct object_kind kind_##name = { \
		.size = sizeof(struct type),     \
		.max = (limit),                  \
		.key = key_of_##name,            \
		.equal = name##_equal,           \
		.move = move_##name,             \
		.clear = clear_##name,           \
	}

/* Pod */

static char *key_of_pod(const void *object)
{
	const struct kube_pod *pod = object;

	return pod->namespace && pod->name && pod->uid ? objects_key(pod->namespace, pod->name)
	                                               : NULL;
}

static bool labels_equal(const struct kube_pod *a, const struct kube_pod *b)
{
	if (a->n_labels != b->n_labels || a->labels_cut != b->labels_cut)
		return false;
	for (size_t i = 0; i < a->n_labels; i++)
		if (!text_equal(a->labels[i].key, b->labels[i].key) ||
		    !text_equal(a->labels[i].value, b->labels[i].value))
			return false;
	return true;
}

static bool pod_equal(const void *va, const void *vb)
{
	const struct kube_pod *a = va, *b = vb;

	return text_equal(a->uid, b->uid) && text_equal(a->node, b->node) &&
	       text_equal(a->gateway, b->gateway) && text_equal(a->netns, b->netns) &&
	       text_equal(a->cgroup, b->cgroup) && labels_equal(a, b) &&
	       ip_equal(a->has_ip, &a->ip, b->has_ip, &b->ip) &&
	       a->host_network == b->host_network && a->running == b->running &&
	       a->finished == b->finished && a->created_us == b->created_us &&
	       a->started_us == b->started_us && a->deleted_us == b->deleted_us;
}

DEFINE_MOVE(pod, kube_pod)
DEFINE_KIND(pod, kube_pod, PODS_MAX);

/* Gateway */

static char *key_of_gateway(const void *object)
{
	const struct kube_gateway *gateway = object;

	return gateway->namespace && gateway->name ? objects_key(gateway->namespace, gateway->name)
	                                           : NULL;
}

static bool spec_equal(const struct kube_gateway *a, const struct kube_gateway *b)
{
	return a->default_to_gateway == b->default_to_gateway &&
	       a->provision_public_ips == b->provision_public_ips &&
	       text_equal(a->nodepool, b->nodepool) && a->n_exceptions == b->n_exceptions &&
	       (a->n_exceptions == 0 || memcmp(a->exceptions, b->exceptions,
	                                       a->n_exceptions * sizeof(a->exceptions[0])) == 0) &&
	       text_equal(a->bad_exception, b->bad_exception);
}

/* The parsed prefix follows from its text. */
static bool gateway_equal(const void *va, const void *vb)
{
	const struct kube_gateway *a = va, *b = vb;

	return text_equal(a->uid, b->uid) && spec_equal(a, b) &&
	       text_equal(a->egress_prefix, b->egress_prefix) &&
	       ip_equal(a->has_server, &a->server_ip, b->has_server, &b->server_ip) &&
	       a->server_port == b->server_port && a->has_server_key == b->has_server_key &&
	       memcmp(a->server_key, b->server_key, sizeof(a->server_key)) == 0 &&
	       a->created_us == b->created_us && a->deleted_us == b->deleted_us;
}

/*
 * The set has room for a thousand addresses and mostly holds one: only what is
 * in use is written, so that 500 gateways do not take 9 MB of touched memory.
 */
static void move_gateway(void *vto, void *vfrom)
{
	struct kube_gateway *to = vto, *from = vfrom;
	size_t before = offsetof(struct kube_gateway, prefix),
	       after = before + sizeof(from->prefix);

	memcpy(to, from, before);
	to->prefix.n = from->prefix.n;
	memcpy(to->prefix.items, from->prefix.items,
	       from->prefix.n * sizeof(from->prefix.items[0]));
	memcpy((char *)to + after, (char *)from + after, sizeof(*to) - after);
	*from = (struct kube_gateway){ 0 };
}

DEFINE_KIND(gateway, kube_gateway, GATEWAYS_MAX);

/* Gateway VM configuration */

static char *key_of_gateway_vm(const void *object)
{
	const struct kube_gateway_vm *vm = object;

	return vm->namespace && vm->name ? objects_key(vm->namespace, vm->name) : NULL;
}

static bool gateway_vm_equal(const void *va, const void *vb)
{
	const struct kube_gateway_vm *a = va, *b = vb;

	if (a->n_profiles != b->n_profiles)
		return false;
	for (size_t i = 0; i < a->n_profiles; i++) {
		const struct kube_gateway_profile *p = &a->profiles[i], *q = &b->profiles[i];

		if (!text_equal(p->node, q->node) ||
		    !ip_equal(true, &p->primary, true, &q->primary) ||
		    !ip_equal(p->has_secondary, &p->secondary, q->has_secondary, &q->secondary))
			return false;
	}
	return true;
}

DEFINE_MOVE(gateway_vm, kube_gateway_vm)
DEFINE_KIND(gateway_vm, kube_gateway_vm, GATEWAYS_MAX);

/* Node */

static char *key_of_node(const void *object)
{
	const struct kube_node *node = object;

	return node->name ? objects_key(NULL, node->name) : NULL;
}

static bool node_equal(const void *va, const void *vb)
{
	const struct kube_node *a = va, *b = vb;

	return ip_equal(a->has_ip, &a->internal_ip, b->has_ip, &b->internal_ip) &&
	       text_equal(a->agentpool, b->agentpool) && a->gateway == b->gateway &&
	       text_equal(a->gateway_netns, b->gateway_netns);
}

DEFINE_MOVE(node, kube_node)
DEFINE_KIND(node, kube_node, NODES_MAX);
