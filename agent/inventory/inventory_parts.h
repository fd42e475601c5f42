/*
 * What the files of the inventory share: its insides. inventory.c holds the
 * life of subjects and the replacing of everything, inventory_put.c single
 * objects, inventory_options.c making and settings, inventory_find.c questions.
 */
#pragma once

#include "base/timer.h"
#include "inventory/conflist.h"
#include "inventory/inventory.h"
#include "inventory/member.h"
#include "inventory/numbers.h"
#include "inventory/objects.h"

/* kubelet makes a pod's cgroup without telling anybody: those not found are looked for again. */
#define LOCATE_INTERVAL_NS (10 * NSEC_PER_SEC)
/* Until what memory was wanting for is done again. */
#define COMPLETE_DELAY_NS NSEC_PER_SEC

struct inventory {
	struct inventory_events events;
	char *node, *netns_dir, *cgroup_root, *cni_dir, *wireguard_dir; /* owned */
	struct cidr *cluster;                                           /* owned */
	size_t n_cluster;
	struct inventory_selector *require; /* owned, its texts too */
	size_t n_require;

	struct objects pods, gateways, vms, nodes;
	bool gateways_unknown;                           /* the lack of one says nothing */
	struct moment now;                               /* of the commit or put that is going on */
	const struct kube_gateway *sorted[GATEWAYS_MAX]; /* borrowed */
	size_t n_sorted;

	struct numbers numbers;
	struct member *members[SUBJECTS_MAX]; /* owned; by subject.number */
	const struct kube_gateway
		*replaced[SUBJECTS_MAX]; /* whose content is new, for that member */
	size_t n_members;
	uint64_t generation;

	struct member_context context;
	struct netns_watch *netns;       /* owned */
	struct conflist_watch *conflist; /* owned */
	struct timer locate_timer;
	bool incomplete; /* memory was wanting for what the objects say: the timer does it again */
	uint64_t refused, pods_elsewhere;
};

/* inventory.c */
void inventory_reconsider(struct inventory *inventory, struct object *object,
                          const struct moment *now);
void inventory_retry_pods(struct inventory *inventory, const struct moment *now);
void inventory_relink_all(struct inventory *inventory, const struct kube_gateway *replaced,
                          const struct moment *now);
void inventory_gateways_changed(struct inventory *inventory, const struct moment *now);
void inventory_gateway_applied(void *user, struct object *object, const void *old);
void inventory_pod_applied(void *user, struct object *object, const void *old);
void inventory_pod_swept(void *user, struct object *object);
void inventory_bury(struct inventory *inventory);

/* News of the node; `user` is the inventory. */
void inventory_on_netns(void *user);
void inventory_on_conflist(void *user);
void inventory_on_live(struct member *member);
int inventory_on_locate_due(struct timer *timer);
