/*
 * A subject: a pod on this node that should use a gateway, or must not leave without one.
 *
 * Everything others need to know about it, as one value owned by the inventory.
 * Pointers into it are borrowed until the inventory's next change notification.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "inventory/live.h"
#include "kube/gateway.h"
#include "kube/pod.h"
#include "policy/path.h"

struct subject {
	uint32_t number;     /* < SUBJECTS_MAX, for the pod's life; names it in BPF maps */
	uint64_t generation; /* unique over the agent's life: tells a reborn pod from the old one */
	char *namespace, *pod, *uid; /* owned */
	struct ip ip;
	bool has_ip;
	bool host_network;
	int64_t created_us, started_us; /* of the pod */
	struct moment since;            /* when the agent first knew it */

	bool required;                      /* policy.requireGateway selects it */
	char *gateway_name;                 /* owned; the annotation; NULL: none */
	const struct kube_gateway *gateway; /* borrowed; NULL: no such object */
	bool gateway_unknown;       /* gateways cannot be read: whether there is one is not known */
	int64_t gateway_changed_us; /* when the agent saw the object (or its absence) change last */

	/* How its packets should leave; filled from gateway, CNI configuration and cluster CIDRs. */
	struct path_policy policy;
	struct cidr *exceptions; /* owned; backs policy.exceptions */
	bool cni_known; /* the node's CNI configuration was readable: exceptions are complete */

	int netns_fd;              /* owned; -1: not found (yet) */
	struct moment netns_since; /* when this one was found; wall_us 0: never yet */
	uint64_t netns_inode;
	char *netns_path;  /* owned; NULL: not found */
	char *cgroup_path; /* owned; absolute; NULL: not found */
	struct live live;
};

struct inventory_selector;

/*
 * Whether the pod is a subject on that node: it runs or will run there, and it
 * names a gateway or a selector demands one (*required).
 */
bool subject_wanted(const struct kube_pod *pod, const char *node,
                    const struct inventory_selector *require, size_t n_require, bool *required);

/*
 * Bringing one up to date; each returns whether something changed, or -ENOMEM,
 * and then the old values stay (but for policy.cluster, which is borrowed). subject_set_policy() computes the policy from
 * subject->gateway; without an object the last one stays, because the pod's
 * routes do too: they are written once.
 */
struct conflist;
int subject_set_pod(struct subject *subject, const struct kube_pod *pod, bool required);
int subject_set_policy(struct subject *subject, const struct conflist *conflist,
                       const struct cidr *cluster, size_t n_cluster);

/* Frees what it owns but for netns_fd and live, which their keeper closes. */
void subject_clear(struct subject *subject);
