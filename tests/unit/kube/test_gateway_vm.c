#include "test.h"

#include "kube/gateway_vm.h"
#include "kube/objects.h"
#include "limits.h"

#define PROFILES(text) OBJECT("", ",'status':{'gatewayVMProfiles':[" text "]}")

static void good(const char *text, struct kube_gateway_vm *vm)
{
	struct json_object *object = object_of(text);
	struct decode_error error = { "" };

	if (kube_gateway_vm_decode(object, vm, &error) < 0)
		fail_msg("refused: %s: %.200s", error.text, text);
	json_object_put(object);
}

static void reads_what_the_controller_writes(void **state)
{
	struct kube_gateway_vm vm;
	char text[IP_TEXT_MAX];

	(void)state;
	good("{'metadata':{'name':'blue','namespace':'payments','generation':1},"
	     "'spec':{'gatewayNodepoolName':'gwpool','provisionPublicIps':true},"
	     "'status':{'egressIpPrefix':'203.0.113.68/31','gatewayVMProfiles':["
	     "{'nodeName':'gw1','primaryIP':'10.50.0.10','secondaryIP':'10.50.1.20'},"
	     "{'nodeName':'aks-gatewaypool-38077839-vmsnic-1','primaryIP':'10.50.0.11'}]}}",
	     &vm);
	assert_string_equal(vm.namespace, "payments");
	assert_string_equal(vm.name, "blue");
	assert_int_equal(vm.n_profiles, 2);
	assert_string_equal(vm.profiles[0].node, "gw1");
	assert_string_equal(ip_format(&vm.profiles[0].primary, text), "10.50.0.10");
	assert_true(vm.profiles[0].has_secondary);
	assert_string_equal(ip_format(&vm.profiles[0].secondary, text), "10.50.1.20");
	assert_false(vm.profiles[1].has_secondary);
	kube_gateway_vm_clear(&vm);
	kube_gateway_vm_clear(&vm);
}

/* One that Azure has not told everything of must not take the others with it. */
static void addresses_may_be_missing(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		bool has_secondary;
		const char *primary; /* of the last */
	} rows[] = {
		{ OBJECT("", ""), 0, false, NULL },
		{ OBJECT("", ",'status':null"), 0, false, NULL },
		{ OBJECT("", ",'status':{'gatewayVMProfiles':null}"), 0, false, NULL },
		{ PROFILES(""), 0, false, NULL },
		{ PROFILES("{}"), 1, false, "::" },
		{ PROFILES("null"), 1, false, "::" },
		{ PROFILES("{'primaryIP':'','secondaryIP':'10.0.0.5'}"), 1, true, "::" },
		{ PROFILES("{},{'primaryIP':'10.0.0.4','secondaryIP':''}"), 2, false, "10.0.0.4" },
		{ PROFILES("{'primaryIP':'10.0.0.4'},{'primaryIP':'10.0.0.4'}"), 2, false,
		  "10.0.0.4" },
	};
	char text[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_gateway_vm vm;

		good(rows[i].text, &vm);
		assert_int_equal(vm.n_profiles, rows[i].n);
		if (rows[i].n) {
			const struct kube_gateway_profile *last = &vm.profiles[vm.n_profiles - 1];

			assert_int_equal(last->has_secondary, rows[i].has_secondary);
			assert_string_equal(ip_format(&last->primary, text), rows[i].primary);
		}
		kube_gateway_vm_clear(&vm);
	}
}

static void says_what_is_wrong(void **state)
{
#define LIST "status.gatewayVMProfiles"
	static const struct bad_row rows[] = {
		{ "{}", "metadata.namespace: missing" },
		{ "'x'", "not an object" },
		{ OBJECT("", ",'status':[]"), "status: not an object" },
		{ OBJECT("", ",'status':{'gatewayVMProfiles':{}}"), LIST ": not an array" },
		{ PROFILES("7"), LIST "[0]: not an object" },
		{ PROFILES("[]"), LIST "[0]: not an object" },
		{ PROFILES("{'nodeName':'a'},{'nodeName':7}"), LIST "[1].nodeName: not a string" },
		{ PROFILES("{'nodeName':'a\\u0000'}"), LIST "[0].nodeName: contains NUL" },
		{ PROFILES("{'nodeName':'a','primaryIP':7}"),
		  LIST "[0].primaryIP: not an IP address" },
		{ PROFILES("{'nodeName':'a','primaryIP':'x'}"),
		  LIST "[0].primaryIP: not an IP address" },
		{ PROFILES("{'secondaryIP':'10.0.0.1/32'}"),
		  LIST "[0].secondaryIP: not an IP address" },
		{ PROFILES("{'secondaryIP':'\\u0000'}"),
		  LIST "[0].secondaryIP: not an IP address" },
	};

	(void)state;
	CHECK_BAD(rows, kube_gateway_vm_decode, struct kube_gateway_vm);
}

static void lists_are_bounded(void **state)
{
	static const struct {
		size_t n;
		int r;
	} rows[] = { { GATEWAY_PROFILES_MAX, 0 }, { GATEWAY_PROFILES_MAX + 1, -EINVAL } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = repeat("{'metadata':{'namespace':'a','name':'b'},"
		                    "'status':{'gatewayVMProfiles':[",
		                    "{'nodeName':'n'}", ",", rows[i].n, "]}}");
		struct json_object *object = object_of(text);
		struct decode_error error;
		struct kube_gateway_vm vm;

		assert_int_equal(kube_gateway_vm_decode(object, &vm, &error), rows[i].r);
		assert_int_equal(vm.n_profiles, rows[i].r ? 0 : rows[i].n);
		kube_gateway_vm_clear(&vm);
		json_object_put(object);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_the_controller_writes),
		cmocka_unit_test(addresses_may_be_missing),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(lists_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
