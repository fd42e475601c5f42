#include "inventory/subject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "inventory/conflist.h"
#include "inventory/inventory.h"

static bool given(const char *text)
{
	return text && text[0] != '\0';
}

/*
 * Of a pod with more labels than we keep any may be the one: whoever makes the
 * pod must not slip past the policy by adding labels.
 */
static bool has_label(const struct kube_pod *pod, const struct kube_label *label)
{
	for (size_t i = 0; i < pod->n_labels; i++)
		if (strcmp(pod->labels[i].key, label->key) == 0)
			return strcmp(pod->labels[i].value, label->value) == 0;
	return pod->labels_cut;
}

/* Without labels it selects every pod of its namespace, as Kubernetes' selectors do. */
static bool selects(const struct inventory_selector *selector, const struct kube_pod *pod)
{
	if (strcmp(selector->namespace, pod->namespace) != 0)
		return false;
	for (size_t i = 0; i < selector->n_labels; i++)
		if (!has_label(pod, &selector->labels[i]))
			return false;
	return true;
}

bool subject_wanted(const struct kube_pod *pod, const char *node,
                    const struct inventory_selector *require, size_t n_require, bool *required)
{
	*required = false;
	if (!pod->node || strcmp(pod->node, node) != 0 || pod->finished)
		return false;

	for (size_t i = 0; i < n_require && !*required; i++)
		*required = selects(&require[i], pod);
	return *required || given(pod->gateway);
}

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* All of them, or none when memory is wanting: half a name would be another pod's. */
static int set_names(struct subject *subject, const struct kube_pod *pod)
{
	struct {
		char **to;
		const char *text;
		char *copy;
	} names[] = {
		{ &subject->namespace, pod->namespace, NULL },
		{ &subject->pod, pod->name, NULL },
		{ &subject->uid, pod->uid, NULL },
		{ &subject->gateway_name, given(pod->gateway) ? pod->gateway : NULL, NULL },
	};
	const size_t n = sizeof(names) / sizeof(names[0]);
	int changed = 0;

	for (size_t i = 0; i < n; i++) {
		if (!names[i].text || text_equal(*names[i].to, names[i].text))
			continue;
		names[i].copy = strdup(names[i].text);
		if (names[i].copy)
			continue;
		while (i-- > 0)
			free(names[i].copy);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		if (text_equal(*names[i].to, names[i].text))
			continue;
		free(*names[i].to);
		*names[i].to = names[i].copy;
		changed = 1;
	}
	return changed;
}

int subject_set_pod(struct subject *subject, const struct kube_pod *pod, bool required)
{
	int changed = set_names(subject, pod);

	if (changed < 0)
		return changed;
	changed |= subject->has_ip != pod->has_ip ||
	           (pod->has_ip && memcmp(&subject->ip, &pod->ip, sizeof(pod->ip)) != 0) ||
	           subject->host_network != pod->host_network || subject->required != required ||
	           subject->created_us != pod->created_us || subject->started_us != pod->started_us;

	subject->has_ip = pod->has_ip;
	subject->ip = pod->ip;
	subject->host_network = pod->host_network;
	subject->required = required;
	subject->created_us = pod->created_us;
	subject->started_us = pod->started_us;
	return changed;
}

/*
 * What kube-egress-cni makes routes for: the gateway's exceptions, and the
 * configuration's unless azureNetworking (PR 1128). It makes IPv4 routes only.
 */
static int build_exceptions(const struct kube_gateway *gateway, const struct conflist *conflist,
                            struct cidr **out, size_t *n)
{
	size_t n_cni = gateway->default_to_gateway ? conflist->n_excluded : 0;
	struct cidr *list = calloc(gateway->n_exceptions + n_cni + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	if (gateway->n_exceptions)
		memcpy(list, gateway->exceptions, gateway->n_exceptions * sizeof(*list));
	memcpy(list + gateway->n_exceptions, conflist->excluded, n_cni * sizeof(*list));

	*out = list;
	*n = gateway->n_exceptions + n_cni;
	return 0;
}

static bool lists_equal(const struct cidr *a, size_t n_a, const struct cidr *b, size_t n_b)
{
	return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

/* Takes the list. True when it is another policy than before. */
static bool set_exceptions(struct subject *subject, enum path path, struct cidr *list, size_t n)
{
	struct path_policy *policy = &subject->policy;
	bool changed = policy->default_path != path ||
	               !lists_equal(policy->exceptions, policy->n_exceptions, list, n);

	free(subject->exceptions);
	subject->exceptions = list;
	policy->default_path = path;
	policy->exceptions = list;
	policy->n_exceptions = n;
	return changed;
}

int subject_set_policy(struct subject *subject, const struct conflist *conflist,
                       const struct cidr *cluster, size_t n_cluster)
{
	struct path_policy *policy = &subject->policy;
	const struct kube_gateway *gateway = subject->gateway;
	bool changed = subject->cni_known != conflist->known ||
	               !lists_equal(policy->cluster, policy->n_cluster, cluster, n_cluster);
	struct cidr *list = NULL;
	size_t n = 0;
	int r;

	/* Borrowed from a list that may be about to go: never left behind, also without memory. */
	policy->cluster = cluster;
	policy->n_cluster = n_cluster;
	if (gateway) {
		r = build_exceptions(gateway, conflist, &list, &n);
		if (r < 0)
			return r;
		changed = set_exceptions(subject,
		                         gateway->default_to_gateway ? PATH_GATEWAY : PATH_DIRECT,
		                         list, n) ||
		          changed;
	} else if (!subject->gateway_name) {
		changed = set_exceptions(subject, PATH_DIRECT, NULL, 0) || changed;
	}

	subject->cni_known = conflist->known;
	return changed;
}

void subject_clear(struct subject *subject)
{
	free(subject->namespace);
	free(subject->pod);
	free(subject->uid);
	free(subject->gateway_name);
	free(subject->exceptions);
	free(subject->netns_path);
	free(subject->cgroup_path);
	*subject = (struct subject){ .netns_fd = -1 };
}
