#include "kube/gateway_vm.h"

#include <errno.h>
#include <stdlib.h>

#include "limits.h"

static bool is_empty(struct json_object *value)
{
	return json_object_is_type(value, json_type_string) &&
	       json_object_get_string_len(value) == 0;
}

/* Either address is empty or absent while Azure has not told it: the others still count. */
static int decode_primary(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_gateway_profile *profile = dest;

	return is_empty(value) ? 0 : decode_ip(value, &profile->primary, error);
}

static int decode_secondary(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_gateway_profile *profile = dest;
	int r;

	if (is_empty(value))
		return 0;
	r = decode_ip(value, &profile->secondary, error);
	profile->has_secondary = r == 0;
	return r;
}

static int decode_profile(struct json_object *item, struct kube_gateway_profile *profile,
                          struct decode_error *error)
{
#define FIELD(member) offsetof(struct kube_gateway_profile, member)
	static const struct decode_field fields[] = {
		{ "nodeName", decode_text, FIELD(node), false },
		{ "primaryIP", decode_primary, 0, false },
		{ "secondaryIP", decode_secondary, 0, false },
		{ 0 },
	};
#undef FIELD

	return decode_object(item, fields, profile, error);
}

static int decode_profiles(struct json_object *value, void *dest, struct decode_error *error)
{
	struct kube_gateway_vm *vm = dest;
	size_t n;

	if (!json_object_is_type(value, json_type_array))
		return decode_fail(error, ": not an array");
	n = json_object_array_length(value);
	if (n > GATEWAY_PROFILES_MAX)
		return decode_fail(error, ": more than %d entries", GATEWAY_PROFILES_MAX);

	vm->profiles = calloc(n + 1, sizeof(*vm->profiles));
	if (!vm->profiles)
		return -ENOMEM;

	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(value, i);
		struct decode_error inner;
		int r;

		if (item && !json_object_is_type(item, json_type_object))
			return decode_fail(error, "[%zu]: not an object", i);
		vm->n_profiles++; /* half-filled ones are cleared too */
		r = decode_profile(item, &vm->profiles[i], &inner);
		if (r == -EINVAL)
			return decode_fail(error, "[%zu].%.100s", i, inner.text);
		if (r < 0)
			return r;
	}
	return 0;
}

int kube_gateway_vm_decode(struct json_object *object, struct kube_gateway_vm *vm,
                           struct decode_error *error)
{
#define FIELD(member) offsetof(struct kube_gateway_vm, member)
	static const struct decode_field fields[] = {
		{ "metadata.namespace", decode_name, FIELD(namespace), true },
		{ "metadata.name", decode_name, FIELD(name), true },
		{ "status.gatewayVMProfiles", decode_profiles, 0, false },
		{ 0 },
	};
#undef FIELD
	int r;

	*vm = (struct kube_gateway_vm){ 0 };
	r = decode_object(object, fields, vm, error);
	if (r < 0)
		kube_gateway_vm_clear(vm);
	return r;
}

void kube_gateway_vm_clear(struct kube_gateway_vm *vm)
{
	free(vm->namespace);
	free(vm->name);
	for (size_t i = 0; i < vm->n_profiles; i++)
		free(vm->profiles[i].node);
	free(vm->profiles);
	*vm = (struct kube_gateway_vm){ 0 };
}
