/*
 * GatewayVMConfiguration: which gateway node has which addresses.
 *
 * nodeName is the NIC's name in VM pools: match nodes by primary address.
 */
#pragma once

#include "base/decode.h"
#include "base/ip.h"

struct kube_gateway_profile {
	char *node;         /* owned */
	struct ip primary;  /* all zero, which no node has, while not known */
	bool has_secondary; /* empty while Azure has not assigned it */
	struct ip secondary;
};

struct kube_gateway_vm {
	char *namespace, *name;                /* owned; those of the StaticGatewayConfiguration */
	struct kube_gateway_profile *profiles; /* owned */
	size_t n_profiles;
};

int kube_gateway_vm_decode(struct json_object *object, struct kube_gateway_vm *vm,
                           struct decode_error *error);
void kube_gateway_vm_clear(struct kube_gateway_vm *vm);
