/* sources: agent/io/yaml.c agent/io/yaml_value.c */
/*
 * Bytes as a file of objects, each given to every decoder: what decodes is
 * complete and bounded, what does not leaves nothing behind and says why.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "io/yaml.h"
#include "kube/gateway.h"
#include "kube/gateway_vm.h"
#include "kube/node.h"
#include "kube/pod.h"
#include "limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void said_why(int r, const struct decode_error *error)
{
	assert(r == -EINVAL);
	assert(error->text[0] && memchr(error->text, '\0', sizeof(error->text)));
}

static void pod(struct json_object *object)
{
	struct decode_error error = { "" };
	struct kube_pod pod;
	int r = kube_pod_decode(object, &pod, &error);

	if (r < 0)
		said_why(r, &error);
	else
		assert(pod.namespace && pod.name && pod.uid && pod.n_labels <= POD_LABELS_MAX &&
		       (!pod.gateway || strlen(pod.gateway) <= ANNOTATION_MAX) &&
		       !(pod.running && pod.finished));
	kube_pod_clear(&pod);
}

static void node(struct json_object *object)
{
	struct decode_error error = { "" };
	struct kube_node node;
	int r = kube_node_decode(object, &node, &error);

	if (r < 0)
		said_why(r, &error);
	else
		assert(node.name);
	kube_node_clear(&node);
}

static void gateway(struct json_object *object)
{
	struct decode_error error = { "" };
	struct kube_gateway gateway;
	int r = kube_gateway_decode(object, &gateway, &error);

	if (r < 0) {
		said_why(r, &error);
	} else {
		assert(gateway.namespace && gateway.name);
		assert(gateway.n_exceptions <= GATEWAY_EXCEPTIONS_MAX);
		for (size_t i = 0; i < gateway.n_exceptions; i++)
			assert(gateway.exceptions[i].len >= 96 && gateway.exceptions[i].len <= 128);
		assert(!gateway.prefix_bad || (gateway.egress_prefix && gateway.prefix.n == 0));
	}
	kube_gateway_clear(&gateway);
}

static void gateway_vm(struct json_object *object)
{
	struct decode_error error = { "" };
	struct kube_gateway_vm vm;
	int r = kube_gateway_vm_decode(object, &vm, &error);

	if (r < 0)
		said_why(r, &error);
	else
		assert(vm.namespace && vm.name && vm.n_profiles <= GATEWAY_PROFILES_MAX);
	kube_gateway_vm_clear(&vm);
}

static int take(void *user, struct json_object *object, size_t line)
{
	(void)user;
	assert(line > 0);
	pod(object);
	node(object);
	gateway(object);
	gateway_vm(object);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yaml_error error = { 0 };
	int r = yaml_objects((const char *)data, size, take, NULL, &error);

	assert(r == 0 || (r == -EINVAL && error.line > 0 && error.text[0]));
	return 0;
}
