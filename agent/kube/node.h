/*
 * Node: address and role.
 */
#pragma once

#include "base/decode.h"
#include "base/ip.h"

struct kube_node {
	char *name; /* owned */
	char *uid;  /* owned; NULL: not told */
	bool has_ip;
	struct ip internal_ip;
	char *agentpool;     /* owned; label kubernetes.azure.com/agentpool; NULL: none */
	bool gateway;        /* gateway mode, by AKS's or upstream's label */
	char *gateway_netns; /* owned; annotation egress-verifier.io/gateway-netns; NULL: default */
};

int kube_node_decode(struct json_object *object, struct kube_node *node,
                     struct decode_error *error);
void kube_node_clear(struct kube_node *node);
