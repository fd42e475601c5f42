#include <string.h>

#include "report/report_parts.h"

static void write_subjects(struct call *call, const struct kube_gateway *gateway)
{
	const struct report_sources *s = call->sources;
	const struct subject *subjects[SUBJECTS_MAX];
	size_t n = source_subjects(s, subjects);

	encode_array(&call->e, "subjects");
	for (size_t i = 0; i < n; i++) {
		const struct judge_record *record;

		if (subjects[i]->gateway != gateway)
			continue;
		record = s->record(s->user, subjects[i]->number);
		encode_object(&call->e, NULL);
		encode_text(&call->e, "namespace", subjects[i]->namespace);
		encode_text(&call->e, "pod", subjects[i]->pod);
		encode_text(&call->e, "state", state_name(record->state));
		encode_object_end(&call->e);
	}
	encode_array_end(&call->e);
}

static void write_nodes(struct call *call, const struct kube_gateway *gateway)
{
	const struct report_sources *s = call->sources;
	const struct kube_gateway_vm *vm =
		s->gateway_vm(s->user, gateway->namespace, gateway->name);
	struct encode *e = &call->e;

	encode_array(e, "nodes");
	for (size_t i = 0; vm && i < vm->n_profiles; i++) {
		const struct kube_gateway_profile *profile = &vm->profiles[i];

		encode_object(e, NULL);
		encode_text(e, "name", profile->node);
		encode_ip(e, "primaryIP", &profile->primary);
		if (profile->has_secondary)
			encode_ip(e, "secondaryIP", &profile->secondary);
		else
			encode_null(e, "secondaryIP");
		encode_object_end(e);
	}
	encode_array_end(e);
}

static uint64_t open_of(const struct report_sources *s, const struct kube_gateway *gateway)
{
	const struct violation *violation;
	uint64_t n = 0;

	for (size_t i = 0; (violation = s->violation(s->user, i)) && violation->open; i++)
		n += violation->gateway && strcmp(violation->gateway, gateway->name) == 0 &&
		     strcmp(violation->gateway_namespace, gateway->namespace) == 0;
	return n;
}

static void write_exceptions(struct encode *e, const struct kube_gateway *gateway)
{
	encode_array(e, "excludeCidrs");
	for (size_t i = 0; i < gateway->n_exceptions; i++)
		encode_cidr(e, NULL, &gateway->exceptions[i]);
	if (gateway->bad_exception)
		encode_text(e, NULL, gateway->bad_exception);
	encode_array_end(e);
}

static void write_gateway(struct call *call, const struct kube_gateway *gateway)
{
	struct encode *e = &call->e;

	encode_object(e, NULL);
	encode_text(e, "namespace", gateway->namespace);
	encode_text(e, "name", gateway->name);
	encode_text(e, "nodepool", gateway->nodepool);
	encode_text(e, "defaultRoute",
	            gateway->default_to_gateway ? "staticEgressGateway" : "azureNetworking");
	encode_bool(e, "provisionPublicIps", gateway->provision_public_ips);
	encode_text(e, "egressIpPrefix", gateway->egress_prefix);
	write_prefix(e, "allowed", &gateway->prefix);
	write_exceptions(e, gateway);
	if (gateway->has_server) {
		encode_object(e, "server");
		encode_ip(e, "ip", &gateway->server_ip);
		encode_u64(e, "port", gateway->server_port);
		encode_object_end(e);
	} else {
		encode_null(e, "server");
	}
	write_nodes(call, gateway);
	encode_time(e, "created", gateway->created_us);
	encode_time(e, "deleted", gateway->deleted_us);
	write_subjects(call, gateway);
	encode_u64(e, "violationsOpen", open_of(call->sources, gateway));
	encode_object_end(e);
}

int route_gateways(struct call *call)
{
	const struct report_sources *s = call->sources;
	char key[LIST_KEY_MAX];
	struct list list;

	if (!list_begin(call, &list))
		return 0;
	list_open(call);
	for (size_t i = 0; i < s->gateway_count(s->user); i++) {
		const struct kube_gateway *gateway = s->gateway(s->user, i);

		list_key(key, gateway->namespace, gateway->name);
		if (list_takes(&list, key))
			write_gateway(call, gateway);
	}
	list_close(call, &list);
	return 0;
}

int route_gateway(struct call *call)
{
	const struct report_sources *s = call->sources;

	for (size_t i = 0; i < s->gateway_count(s->user); i++) {
		const struct kube_gateway *gateway = s->gateway(s->user, i);

		if (strcmp(gateway->namespace, call->path[0]) != 0 ||
		    strcmp(gateway->name, call->path[1]) != 0)
			continue;
		write_gateway(call, gateway);
		return 0;
	}
	return call_problem(call, 404, "no StaticGatewayConfiguration %s/%s is known",
	                    call->path[0], call->path[1]);
}
