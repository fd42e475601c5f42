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
#include "policy/path.h"

struct subject {
	uint32_t number;     /* dense, < SUBJECTS_MAX; stable for the pod's life; names it in BPF maps */
	uint64_t generation; /* unique over the agent's life: tells a reborn pod from the old one */
	char *namespace, *pod, *uid; /* owned */
	struct ip ip;
	bool has_ip;
	bool host_network;
	int64_t created_us, started_us; /* of the pod */
	struct moment since;            /* when the agent first knew it */

	bool required;       /* policy.requireGateway selects it */
	char *gateway_name;  /* owned; the annotation; NULL: none */
	const struct kube_gateway *gateway; /* borrowed; NULL: no such object */
	int64_t gateway_changed_us;         /* when the agent saw the object (or its absence) change last */

	/* How its packets should leave; filled from gateway, CNI configuration and cluster CIDRs. */
	struct path_policy policy;
	struct cidr *exceptions; /* owned; backs policy.exceptions */
	bool cni_known;          /* the node's CNI configuration was readable: exceptions are complete */

	int netns_fd;        /* owned; -1: not found (yet) */
	uint64_t netns_inode;
	char *netns_path;    /* owned; NULL: not found */
	char *cgroup_path;   /* owned; absolute; NULL: not found */
	struct live live;
};
