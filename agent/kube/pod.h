/*
 * Pod: identity, gateway, address, where its namespace and cgroup are if annotated.
 *
 * Labels and annotations are written by whoever deploys the pod. However odd,
 * they do not make it undecodable: a pod that is left out is not watched.
 */
#pragma once

#include "base/decode.h"
#include "base/ip.h"

struct kube_label {
	char *key, *value; /* owned */
};

struct kube_pod {
	char *namespace, *name, *uid, *node; /* owned; node is NULL until scheduled */
	char *gateway; /* owned; annotation kubernetes.azure.com/static-gateway-configuration; NULL or "": none */
	char *netns; /* owned; annotation egress-verifier.io/netns; NULL: none */
	char *cgroup; /* owned; annotation egress-verifier.io/cgroup, relative to inventory.cgroupRoot or absolute */
	struct kube_label *labels; /* owned; the first POD_LABELS_MAX */
	size_t n_labels;
	bool labels_cut; /* it has more: those that are not here may have any value */
	bool has_ip;
	struct ip ip; /* status.podIP */
	bool host_network;
	bool running;                               /* status.phase is Running */
	bool finished;                              /* Succeeded or Failed */
	int64_t created_us, started_us, deleted_us; /* 0: not */
};

int kube_pod_decode(struct json_object *object, struct kube_pod *pod, struct decode_error *error);
void kube_pod_clear(struct kube_pod *pod);
