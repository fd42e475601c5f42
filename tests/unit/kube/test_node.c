#include "test.h"

#include "kube/node.h"
#include "kube/objects.h"

#define LABELS(text) "{'metadata':{'name':'w1','labels':{" text "}}}"
#define ADDRESSES(text) "{'metadata':{'name':'w1'},'status':{'addresses':[" text "]}}"

static void good(const char *text, struct kube_node *node)
{
	struct json_object *object = object_of(text);
	struct decode_error error = { "" };

	if (kube_node_decode(object, node, &error) < 0)
		fail_msg("refused: %s: %.200s", error.text, text);
	json_object_put(object);
}

static void reads_a_node(void **state)
{
	struct kube_node node;
	char text[IP_TEXT_MAX];

	(void)state;
	good("{'apiVersion':'v1','kind':'Node','metadata':{'name':'aks-gw-1','uid':'x',"
	     "'labels':{'kubernetes.azure.com/mode':'gateway',"
	     "'kubernetes.azure.com/agentpool':'gwpool','kubernetes.io/os':'linux'},"
	     "'annotations':{'egress-verifier.io/gateway-netns':'/run/netns/gw'}},"
	     "'spec':{'podCIDR':'10.60.1.0/24'},"
	     "'status':{'addresses':[{'type':'Hostname','address':'aks-gw-1'},"
	     "{'type':'InternalIP','address':'10.50.0.10'},"
	     "{'type':'InternalIP','address':'10.50.0.11'},"
	     "{'type':'ExternalIP','address':'203.0.113.9'}]}}",
	     &node);
	assert_string_equal(node.name, "aks-gw-1");
	assert_string_equal(node.agentpool, "gwpool");
	assert_string_equal(node.gateway_netns, "/run/netns/gw");
	assert_true(node.gateway);
	assert_true(node.has_ip);
	assert_string_equal(ip_format(&node.internal_ip, text), "10.50.0.10");
	kube_node_clear(&node);
	kube_node_clear(&node);
}

static void gateway_nodes_are_known_by_their_label(void **state)
{
	static const struct {
		const char *text;
		bool gateway;
	} rows[] = {
		{ "{'metadata':{'name':'w1'}}", false },
		{ LABELS(""), false },
		{ LABELS("'kubernetes.azure.com/mode':'gateway'"), true },
		{ LABELS("'kubernetes.azure.com/mode':'system'"), false },
		{ LABELS("'kubernetes.azure.com/mode':'true'"), false },
		{ LABELS("'kubernetes.azure.com/mode':7"), false },
		{ LABELS("'kubeegressgateway.azure.com/mode':'true'"), true },
		{ LABELS("'kubeegressgateway.azure.com/mode':'gateway'"), false },
		{ LABELS("'kubeegressgateway.azure.com/mode':true"), false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_node node;

		good(rows[i].text, &node);
		assert_int_equal(node.gateway, rows[i].gateway);
		assert_null(node.agentpool);
		kube_node_clear(&node);
	}
}

static void the_first_internal_address_counts(void **state)
{
	static const struct {
		const char *text, *ip; /* NULL: none */
	} rows[] = {
		{ ADDRESSES(""), NULL },
		{ ADDRESSES("{}"), NULL },
		{ ADDRESSES("{'type':'Hostname','address':'w1'}"), NULL },
		{ ADDRESSES("{'type':'InternalIP'}"), NULL },
		{ ADDRESSES("{'type':7,'address':'10.0.0.1'}"), NULL },
		{ ADDRESSES("{'type':'ExternalIP','address':'no address'}"), NULL },
		{ ADDRESSES("{'type':'InternalIP','address':'2001:db8::1'}"), "2001:db8::1" },
		{ ADDRESSES("{'type':'InternalIP','address':'10.0.0.1'},7"), "10.0.0.1" },
	};
	char text[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_node node;

		good(rows[i].text, &node);
		assert_int_equal(node.has_ip, rows[i].ip != NULL);
		if (rows[i].ip)
			assert_string_equal(ip_format(&node.internal_ip, text), rows[i].ip);
		kube_node_clear(&node);
	}
}

static void says_what_is_wrong(void **state)
{
	static const struct bad_row rows[] = {
		{ "{}", "metadata.name: missing" },
		{ "[1]", "not an object" },
		{ "{'metadata':{'name':''}}",
		  "metadata.name: not a name of lower-case letters, digits, - and ." },
		{ "{'metadata':{'name':'w1','labels':[]}}", "metadata.labels: not an object" },
		{ "{'metadata':{'name':'w1','annotations':7}}",
		  "metadata.annotations: not an object" },
		{ LABELS("'kubernetes.azure.com/agentpool':7"),
		  "metadata.labels[kubernetes.azure.com/agentpool]: not a string" },
		{ "{'metadata':{'name':'w1','annotations':{'egress-verifier.io/"
		  "gateway-netns':[]}}}",
		  "metadata.annotations[egress-verifier.io/gateway-netns]: not a string" },
		{ "{'metadata':{'name':'w1'},'status':{'addresses':{}}}",
		  "status.addresses: not an array" },
		{ ADDRESSES("null"), "status.addresses[0]: not an object" },
		{ ADDRESSES("{},7"), "status.addresses[1]: not an object" },
		{ ADDRESSES("{'type':'InternalIP','address':null}"),
		  "status.addresses[0].address: not an IP address" },
		{ ADDRESSES("{'type':'InternalIP','address':'10.0.0.1\\u0000'}"),
		  "status.addresses[0].address: not an IP address" },
	};

	(void)state;
	CHECK_BAD(rows, kube_node_decode, struct kube_node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_node),
		cmocka_unit_test(gateway_nodes_are_known_by_their_label),
		cmocka_unit_test(the_first_internal_address_counts),
		cmocka_unit_test(says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
