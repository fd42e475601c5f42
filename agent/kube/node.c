#include "kube/node.h"

#include <stdlib.h>
#include <string.h>

static bool member_is(struct json_object *object, const char *key, const char *wanted)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(object, key, &value) &&
	       json_object_is_type(value, json_type_string) &&
	       strcmp(json_object_get_string(value), wanted) == 0;
}

/* The first InternalIP; Kubernetes lists the primary one first. */
static int decode_addresses(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_node *node = dest;

	if (!json_object_is_type(value, json_type_array))
		return decode_fail(error, ": not an array");

	for (size_t i = 0; i < json_object_array_length(value) && !node->has_ip; i++) {
		struct json_object *item = json_object_array_get_idx(value, i), *address = NULL;
		int r;

		if (!json_object_is_type(item, json_type_object))
			return decode_fail(error, "[%zu]: not an object", i);
		if (!member_is(item, "type", "InternalIP") ||
		    !json_object_object_get_ex(item, "address", &address))
			continue;
		r = decode_ip(address, &node->internal_ip, error);
		if (r < 0)
			return decode_fail(error, "[%zu].address: not an IP address", i);
		node->has_ip = true;
	}
	return 0;
}

/* AKS labels its gateway nodes one way, the upstream project another. */
static int decode_labels(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_node *node = dest;

	if (!json_object_is_type(value, json_type_object))
		return decode_fail(error, ": not an object");
	node->gateway = member_is(value, "kubernetes.azure.com/mode", "gateway") ||
	                member_is(value, "kubeegressgateway.azure.com/mode", "true");
	return 0;
}

int kube_node_decode(struct json_object *object, struct kube_node *node, struct decode_error *error)
{
	static const struct decode_field fields[] = {
		{ "metadata.name", decode_name, offsetof(struct kube_node, name), true },
		{ "metadata.uid", decode_text, offsetof(struct kube_node, uid), false },
		{ "metadata.labels", decode_labels, 0, false },
		{ "status.addresses", decode_addresses, 0, false },
		{ 0 },
	};
	int r;

	*node = (struct kube_node){ 0 };
	r = decode_object(object, fields, node, error);
	if (r == 0)
		r = decode_member(object, "metadata.labels", "kubernetes.azure.com/agentpool",
		                  decode_text, &node->agentpool, error);
	if (r == 0)
		r = decode_member(object, "metadata.annotations",
		                  "egress-verifier.io/gateway-netns", decode_text,
		                  &node->gateway_netns, error);
	if (r < 0)
		kube_node_clear(node);
	return r;
}

void kube_node_clear(struct kube_node *node)
{
	free(node->name);
	free(node->uid);
	free(node->agentpool);
	free(node->gateway_netns);
	*node = (struct kube_node){ 0 };
}
