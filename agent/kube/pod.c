#include "kube/pod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

/*
 * The API server takes any text. What is too long is cut, and a NUL becomes a
 * `?`: the result names no gateway and no file that exists, and that is reported.
 */
static int decode_annotation(struct json_object *value, void *dest, struct decode_error *error)
{
	size_t len;
	char *copy;

	if (!json_object_is_type(value, json_type_string))
		return decode_fail(error, ": not a string");
	len = (size_t)json_object_get_string_len(value);
	if (len > ANNOTATION_MAX)
		len = ANNOTATION_MAX;

	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, json_object_get_string(value), len);
	copy[len] = '\0';
	for (char *nul = copy; (nul = memchr(nul, '\0', (size_t)(copy + len - nul)));)
		*nul = '?';
	*(char **)dest = copy;
	return 0;
}

static int add_label(struct kube_pod *pod, const char *key, const char *value)
{
	struct kube_label *label = &pod->labels[pod->n_labels++];

	label->key = strdup(key);
	label->value = strdup(value);
	return label->key && label->value ? 0 : -ENOMEM;
}

static int decode_labels(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_pod *pod = dest;
	size_t n;

	if (!json_object_is_type(value, json_type_object))
		return decode_fail(error, ": not an object");
	n = (size_t)json_object_object_length(value);
	pod->labels = calloc(n < POD_LABELS_MAX ? n + 1 : POD_LABELS_MAX, sizeof(*pod->labels));
	if (!pod->labels)
		return -ENOMEM;

	json_object_object_foreach(value, key, text)
	{
		struct decode_error inner;
		const char *plain = decode_plain(text, &inner);
		int r;

		if (!plain)
			return decode_fail(error, "[%.60s]%.60s", key, inner.text);
		pod->labels_cut = pod->n_labels == POD_LABELS_MAX;
		if (pod->labels_cut)
			break;
		r = add_label(pod, key, plain);
		if (r < 0)
			return r;
	}
	return 0;
}

static int decode_phase(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_pod *pod = dest;
	const char *phase = decode_plain(value, error);

	if (!phase)
		return -EINVAL;
	pod->running = strcmp(phase, "Running") == 0;
	pod->finished = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
	return 0;
}

static int decode_pod_ip(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_pod *pod = dest;
	int r;

	if (json_object_is_type(value, json_type_string) && json_object_get_string_len(value) == 0)
		return 0;
	r = decode_ip(value, &pod->ip, error);
	pod->has_ip = r == 0;
	return r;
}

static int decode_annotations(struct json_object *object, struct kube_pod *pod,
                              struct decode_error *error)
{
	const struct {
		const char *key;
		char **dest;
	} wanted[] = {
		{ "kubernetes.azure.com/static-gateway-configuration", &pod->gateway },
		{ "egress-verifier.io/netns", &pod->netns },
		{ "egress-verifier.io/cgroup", &pod->cgroup },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		int r = decode_member(object, "metadata.annotations", wanted[i].key,
		                      decode_annotation, wanted[i].dest, error);

		if (r < 0)
			return r;
	}
	return 0;
}

int kube_pod_decode(struct json_object *object, struct kube_pod *pod, struct decode_error *error)
{
#define FIELD(member) offsetof(struct kube_pod, member)
	static const struct decode_field fields[] = {
		{ "metadata.namespace", decode_name, FIELD(namespace), true },
		{ "metadata.name", decode_name, FIELD(name), true },
		{ "metadata.uid", decode_name, FIELD(uid), true },
		{ "metadata.creationTimestamp", decode_time, FIELD(created_us), false },
		{ "metadata.deletionTimestamp", decode_time, FIELD(deleted_us), false },
		{ "metadata.labels", decode_labels, 0, false },
		{ "spec.nodeName", decode_text, FIELD(node), false },
		{ "spec.hostNetwork", decode_bool, FIELD(host_network), false },
		{ "status.phase", decode_phase, 0, false },
		{ "status.podIP", decode_pod_ip, 0, false },
		{ "status.startTime", decode_time, FIELD(started_us), false },
		{ 0 },
	};
#undef FIELD
	int r;

	*pod = (struct kube_pod){ 0 };
	r = decode_object(object, fields, pod, error);
	if (r == 0)
		r = decode_annotations(object, pod, error);
	if (r < 0)
		kube_pod_clear(pod);
	return r;
}

void kube_pod_clear(struct kube_pod *pod)
{
	free(pod->namespace);
	free(pod->name);
	free(pod->uid);
	free(pod->node);
	free(pod->gateway);
	free(pod->netns);
	free(pod->cgroup);
	for (size_t i = 0; i < pod->n_labels; i++) {
		free(pod->labels[i].key);
		free(pod->labels[i].value);
	}
	free(pod->labels);
	*pod = (struct kube_pod){ 0 };
}
