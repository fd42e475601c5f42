/*
 * Inventory: which subjects are on this node, right now.
 *
 * Takes decoded objects from a source (a file, later the API), finds each
 * pod's network namespace and cgroup, reads its live configuration and keeps
 * it fresh from netlink notifications. Knows nothing of verdicts.
 */
#pragma once

#include "base/loop.h"
#include "inventory/subject.h"
#include "kube/gateway.h"
#include "kube/gateway_vm.h"
#include "kube/node.h"
#include "kube/pod.h"

#define INVENTORY_CNI_DIRECTORY "/etc/cni/net.d"

struct inventory;

struct inventory_selector { /* one entry of policy.requireGateway */
	const char *namespace;
	struct kube_label labels[16];
	size_t n_labels;
};

struct inventory_options { /* copied */
	const char *node;
	const char *netns_dir;
	const char *cgroup_root;
	const char *cni_dir;       /* conflists; NULL: /etc/cni/net.d */
	const char *wireguard_dir; /* sockets of userspace WireGuard; NULL: /var/run/wireguard */
	const struct cidr *cluster;
	size_t n_cluster;
	const struct inventory_selector *require;
	size_t n_require;
};

enum inventory_change {
	INVENTORY_POD = 1 << 0,     /* labels, address, annotation … */
	INVENTORY_GATEWAY = 1 << 1, /* its gateway object or policy */
	INVENTORY_NETNS = 1 << 2,   /* namespace or cgroup found, or lost */
	INVENTORY_LIVE = 1 << 3,    /* live configuration read again */
};

struct inventory_events { /* any may be NULL */
	void *user;
	void (*added)(void *user, struct subject *subject);
	void (*changed)(void *user, struct subject *subject, unsigned int what);
	void (*removed)(void *user, struct subject *subject); /* last call with it */
	void (*gateways)(void *user); /* any gateway, VM configuration or node changed */
};

int inventory_new(struct loop *loop, const struct inventory_options *options,
                  const struct inventory_events *events, struct inventory **out);
struct inventory *inventory_free(struct inventory *inventory);

/*
 * Keeps `number` for the pod with that uid, as an earlier run numbered it (its
 * packet programs count under it). To be called before the first object is
 * put. What no subject took by the end of the first commit is given up.
 * -ERANGE past SUBJECTS_MAX, -EEXIST when the number or the uid has one.
 */
int inventory_reserve(struct inventory *inventory, uint32_t number, const char *uid);

/*
 * Replacing everything: begin, put each object, commit; what was not put is
 * gone. inventory_abort() forgets what was put since begin. Outside of that, a
 * put is an upsert. The object's memory moves to the inventory (also on error)
 * and *object is cleared.
 */
void inventory_begin(struct inventory *inventory);
int inventory_put_pod(struct inventory *inventory, struct kube_pod *pod);
int inventory_put_gateway(struct inventory *inventory, struct kube_gateway *gateway);
int inventory_put_gateway_vm(struct inventory *inventory, struct kube_gateway_vm *vm);
int inventory_put_node(struct inventory *inventory, struct kube_node *node);
void inventory_commit(struct inventory *inventory, const struct moment *now);
void inventory_abort(struct inventory *inventory);

/*
 * The same of one kind, for a source whose kinds come each by itself. Gateways
 * should be there before pods: a pod is judged as soon as it comes.
 */
enum inventory_kind {
	INVENTORY_PODS,
	INVENTORY_GATEWAYS,
	INVENTORY_GATEWAY_VMS,
	INVENTORY_NODES,
	_INVENTORY_KIND_MAX,
};
void inventory_begin_kind(struct inventory *inventory, enum inventory_kind kind);
void inventory_commit_kind(struct inventory *inventory, enum inventory_kind kind,
                           const struct moment *now);
void inventory_abort_kind(struct inventory *inventory, enum inventory_kind kind);

/*
 * Whether gateways are known at all (they are unless told otherwise): while they
 * are not, that one is not listed says nothing about it. Tells the subjects.
 */
void inventory_gateways_known(struct inventory *inventory, bool known);

/* Deleting one; unknown ones are ignored. Not between begin and commit of its kind. */
void inventory_remove_pod(struct inventory *inventory, const char *namespace, const char *name);
void inventory_remove_gateway(struct inventory *inventory, const char *namespace, const char *name);
void inventory_remove_gateway_vm(struct inventory *inventory, const char *namespace,
                                 const char *name);
void inventory_remove_node(struct inventory *inventory, const char *name);

/*
 * New cluster CIDRs or selectors after a configuration reload. Another node,
 * folder or hierarchy is -EINVAL, and nothing changes: that takes a restart.
 */
int inventory_reconfigure(struct inventory *inventory, const struct inventory_options *options);

/* Numbers run from 0 to SUBJECTS_MAX - 1; NULL where there is none. */
struct subject *inventory_subject(struct inventory *inventory, uint32_t number);
struct subject *inventory_find(struct inventory *inventory, const char *namespace, const char *pod);
size_t inventory_count(const struct inventory *inventory);

/* In order of namespace, then name; index < inventory_gateway_count(). */
size_t inventory_gateway_count(const struct inventory *inventory);
const struct kube_gateway *inventory_gateway(const struct inventory *inventory, size_t index);
const struct kube_gateway *inventory_gateway_find(const struct inventory *inventory,
                                                  const char *namespace, const char *name);
const struct kube_gateway_vm *inventory_gateway_vm_find(const struct inventory *inventory,
                                                        const char *namespace, const char *name);
/* The node's own object; NULL while not listed. */
const struct kube_node *inventory_node(const struct inventory *inventory);
const struct kube_node *inventory_node_by_ip(const struct inventory *inventory,
                                             const struct ip *ip);

/* Any pod of the node, subject or not, is listed now. */
bool inventory_lists_pod(const struct inventory *inventory, const char *namespace,
                         const char *name);

struct inventory_stats {
	uint64_t refused;         /* objects and namespaces past a limit, so far */
	uint64_t netns_unknown;   /* subjects whose namespace is not found, now */
	uint64_t netns_ambiguous; /* matches where another namespace had the address too, so far */
	uint64_t live_errors;     /* failed readings, so far */
	uint64_t live_readings;   /* all of them, so far */
	uint64_t pods_elsewhere;  /* pods of other nodes that were put, so far; none is kept */
};
struct inventory_stats inventory_stats(const struct inventory *inventory);

/* What is known of the node's CNI configuration, as one sentence; static until the next change. */
const char *inventory_cni_state(const struct inventory *inventory);
