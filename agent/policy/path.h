/*
 * Expected path: how a pod's packet to a destination should leave it.
 *
 * kube-egress-cni decides this once, when it writes the pod's routes. This
 * module states the same decision as a function of the gateway's settings and
 * reads nothing from the kernel: what the routes say now is an observation,
 * and comparing the two is verdict/'s work.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"

enum path {
	PATH_UNKNOWN,
	PATH_GATEWAY, /* through the tunnel */
	PATH_DIRECT,  /* over eth0, outside the cluster */
	PATH_CLUSTER, /* the cluster and its platform: never judged as egress */
	PATH_REPLY,   /* answers leave the way the request came in */
	_PATH_MAX,
};

enum path_reason {
	PATH_BY_DEFAULT,   /* no exception matched */
	PATH_BY_EXCEPTION, /* excludeCidrs of the gateway or of the CNI configuration */
	PATH_BY_CLUSTER,   /* policy.clusterCidrs */
	PATH_BY_PLATFORM,  /* link-local, loopback, multicast, 168.63.129.16 */
	PATH_BY_ORIGIN,    /* the connection was opened from outside the pod */
	_PATH_REASON_MAX,
};

/* What a path and reason are computed from; all pointers borrowed. */
struct path_policy {
	enum path default_path; /* PATH_GATEWAY or PATH_DIRECT */
	/*
	 * Take the other path. With PATH_GATEWAY: spec.excludeCidrs and the CNI
	 * configuration's excludedCIDRs; with PATH_DIRECT (azureNetworking):
	 * spec.excludeCidrs only (kube-egress-gateway PR 1128).
	 */
	const struct cidr *exceptions;
	size_t n_exceptions;
	const struct cidr *cluster; /* policy.clusterCidrs */
	size_t n_cluster;
};

struct path_answer {
	enum path path;
	enum path_reason reason;
	/* Borrowed from the policy or static; NULL by default and origin. */
	const struct cidr *match;
};

/* `reply`: the connection was opened from outside the pod. */
struct path_answer path_expect(const struct path_policy *policy, const struct ip *dst, bool reply);

/* The platform's ranges, those of PATH_BY_PLATFORM; static. */
const struct cidr *path_platform(size_t *n);

const char *path_name(enum path path); /* "gateway" … as in the contract */
const char *path_reason_name(enum path_reason reason);
