/*
 * StaticGatewayConfiguration: the fields we use.
 *
 * Source: kube-egress-gateway 0a7dd20, api/v1alpha1/staticgatewayconfiguration_types.go.
 * The API server does not validate excludeCidrs; an entry that is not an IPv4
 * CIDR makes every later CNI ADD fail, so it is kept as a fact, not an error.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/decode.h"
#include "base/ip.h"
#include "policy/prefix.h"

struct kube_gateway {
	char *namespace, *name, *uid; /* owned */
	bool default_to_gateway;      /* spec.defaultRoute is staticEgressGateway */
	bool provision_public_ips;    /* false: private mode */
	char *nodepool;               /* spec.gatewayNodepoolName; NULL with a VMSS profile */
	struct cidr *exceptions;      /* owned; spec.excludeCidrs, IPv4 ones that parse */
	size_t n_exceptions;
	char *bad_exception; /* owned; the first that does not; NULL: none */
	char *egress_prefix; /* owned; status.egressIpPrefix as written; NULL or "": not assigned */
	bool prefix_bad;     /* egress_prefix does not parse */
	struct prefix_set prefix; /* parsed; empty while not assigned */
	bool has_server;
	struct ip server_ip; /* status.gatewayServerProfile */
	uint16_t server_port;
	bool has_server_key;
	uint8_t server_key[32];         /* WireGuard public key */
	int64_t created_us, deleted_us; /* 0: not */
};

int kube_gateway_decode(struct json_object *object, struct kube_gateway *gateway,
                        struct decode_error *error);
void kube_gateway_clear(struct kube_gateway *gateway);
