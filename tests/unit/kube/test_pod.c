#include "test.h"

#include "kube/objects.h"
#include "kube/pod.h"
#include "limits.h"

#define GATEWAY "'kubernetes.azure.com/static-gateway-configuration'"
#define ANNOTATIONS(text) OBJECT(",'annotations':{" text "}", "")
#define LABELS(text) OBJECT(",'labels':{" text "}", "")
#define STATUS(text) OBJECT("", ",'status':{" text "}")

static void good(const char *text, struct kube_pod *pod)
{
	struct json_object *object = object_of(text);
	struct decode_error error = { "" };

	if (kube_pod_decode(object, pod, &error) < 0)
		fail_msg("refused: %s: %.200s", error.text, text);
	json_object_put(object);
}

static void reads_a_pod(void **state)
{
	struct kube_pod pod;
	char text[IP_TEXT_MAX];

	(void)state;
	good("{'apiVersion':'v1','kind':'Pod','metadata':{'annotations':{" GATEWAY ":'blue',"
	     "'egress-verifier.io/netns':'/run/netns/pa','egress-verifier.io/cgroup':'lab/pa'},"
	     "'creationTimestamp':'2026-11-20T15:49:45Z','generation':1,"
	     "'deletionTimestamp':'2026-11-20T15:50:45Z','labels':{'app':'pa','tier':''},"
	     "'name':'pa','namespace':'payments','uid':'fbc353e0-c22a-4034-b9f3-7c5fe1831e57'},"
	     "'spec':{'containers':[{'image':'x','name':'main','resources':{}}],"
	     "'hostNetwork':true,'nodeName':'w1','priority':0,'securityContext':{}},"
	     "'status':{'conditions':[{'lastProbeTime':null,'status':'True','type':'Ready'}],"
	     "'hostIP':'10.50.0.4','phase':'Running','podIP':'10.60.1.2',"
	     "'podIPs':[{'ip':'10.60.1.2'}],'startTime':'2026-11-20T15:49:48Z'}}",
	     &pod);
	assert_string_equal(pod.namespace, "payments");
	assert_string_equal(pod.name, "pa");
	assert_string_equal(pod.uid, "fbc353e0-c22a-4034-b9f3-7c5fe1831e57");
	assert_string_equal(pod.node, "w1");
	assert_string_equal(pod.gateway, "blue");
	assert_string_equal(pod.netns, "/run/netns/pa");
	assert_string_equal(pod.cgroup, "lab/pa");
	assert_int_equal(pod.n_labels, 2);
	assert_string_equal(pod.labels[0].key, "app");
	assert_string_equal(pod.labels[0].value, "pa");
	assert_string_equal(pod.labels[1].value, "");
	assert_false(pod.labels_cut);
	assert_true(pod.has_ip && pod.host_network && pod.running && !pod.finished);
	assert_string_equal(ip_format(&pod.ip, text), "10.60.1.2");
	assert_int_equal(pod.created_us, 1795189785000000);
	assert_int_equal(pod.started_us, 1795189788000000);
	assert_int_equal(pod.deleted_us, 1795189845000000);
	kube_pod_clear(&pod);
	kube_pod_clear(&pod);
}

static void a_new_pod_has_little(void **state)
{
	static const char *const texts[] = {
		OBJECT("", ""),
		OBJECT(",'annotations':null,'labels':null", ",'spec':{},'status':{}"),
		OBJECT(",'annotations':{},'labels':{}", ",'spec':{'nodeName':null}"),
		STATUS("'phase':'Pending','podIP':'','startTime':null"),
		ANNOTATIONS(GATEWAY ":null"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct kube_pod pod;

		good(texts[i], &pod);
		assert_null(pod.node);
		assert_null(pod.gateway);
		assert_null(pod.netns);
		assert_int_equal(pod.n_labels, 0);
		assert_false(pod.has_ip || pod.host_network || pod.running || pod.finished);
		assert_int_equal(pod.created_us | pod.started_us | pod.deleted_us, 0);
		kube_pod_clear(&pod);
	}
}

static void phases(void **state)
{
	static const struct {
		const char *text;
		bool running, finished;
	} rows[] = {
		{ STATUS("'phase':'Running'"), true, false },
		{ STATUS("'phase':'Succeeded'"), false, true },
		{ STATUS("'phase':'Failed'"), false, true },
		{ STATUS("'phase':'Unknown'"), false, false },
		{ STATUS("'phase':'running'"), false, false },
		{ STATUS("'phase':''"), false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_pod pod;

		good(rows[i].text, &pod);
		assert_int_equal(pod.running, rows[i].running);
		assert_int_equal(pod.finished, rows[i].finished);
		kube_pod_clear(&pod);
	}
}

/* Whoever deploys a pod must not get it out of sight by what he writes on it. */
static void odd_annotations_do_not_hide_a_pod(void **state)
{
	struct kube_pod pod;
	char *text;

	(void)state;
	good(ANNOTATIONS(GATEWAY ":'blue\\u0000x','egress-verifier.io/netns':'\\u0000\\u0000'"),
	     &pod);
	assert_string_equal(pod.gateway, "blue?x");
	assert_string_equal(pod.netns, "??");
	kube_pod_clear(&pod);

	text = repeat("{'metadata':{'namespace':'a','name':'b','uid':'c','annotations':{" GATEWAY
	              ":'",
	              "x", "", 100000, "','egress-verifier.io/cgroup':''}}}");
	good(text, &pod);
	assert_int_equal(strlen(pod.gateway), ANNOTATION_MAX);
	assert_string_equal(pod.cgroup, "");
	kube_pod_clear(&pod);
	free(text);
}

static void more_labels_than_we_keep_are_admitted(void **state)
{
	static const struct {
		size_t n;
		bool cut;
	} rows[] = {
		{ POD_LABELS_MAX - 1, false },
		{ POD_LABELS_MAX, false },
		{ POD_LABELS_MAX + 1, true },
		{ 20000, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf buf = BUF_INIT(64u << 20);
		struct kube_pod pod;

		buf_text(&buf, "{'metadata':{'namespace':'a','name':'b','uid':'c','labels':{");
		for (size_t k = 0; k < rows[i].n; k++)
			buf_format(&buf, "%s'l%zu':'v'", k ? "," : "", k);
		buf_text(&buf, "}}}");
		good(buf.data, &pod);
		assert_int_equal(pod.n_labels, rows[i].cut ? POD_LABELS_MAX : rows[i].n);
		assert_int_equal(pod.labels_cut, rows[i].cut);
		kube_pod_clear(&pod);
		buf_clear(&buf);
	}
}

static void says_what_is_wrong(void **state)
{
	static const struct bad_row rows[] = {
		{ "{}", "metadata.namespace: missing" },
		{ "{'metadata':{'namespace':'a','name':'b'}}", "metadata.uid: missing" },
		{ "{'metadata':{'namespace':'a','name':'b','uid':'../../x'}}",
		  "metadata.uid: not a name of lower-case letters, digits, - and ." },
		{ OBJECT(",'annotations':[]", ""), "metadata.annotations: not an object" },
		{ ANNOTATIONS(GATEWAY ":7"), "metadata.annotations[kubernetes.azure.com/"
		                             "static-gateway-configuration]: not a string" },
		{ OBJECT(",'labels':[]", ""), "metadata.labels: not an object" },
		{ LABELS("'a':'b','c':7"), "metadata.labels[c]: not a string" },
		{ LABELS("'a':null"), "metadata.labels[a]: not a string" },
		{ LABELS("'a':'b\\u0000'"), "metadata.labels[a]: contains NUL" },
		{ OBJECT("", ",'spec':{'nodeName':{}}"), "spec.nodeName: not a string" },
		{ OBJECT("", ",'spec':{'hostNetwork':'true'}"), "spec.hostNetwork: not a boolean" },
		{ STATUS("'phase':7"), "status.phase: not a string" },
		{ STATUS("'phase':{'a':1}"), "status.phase: not a string" },
		{ STATUS("'podIP':'10.60.1.2/32'"), "status.podIP: not an IP address" },
		{ STATUS("'podIP':['10.60.1.2']"), "status.podIP: not an IP address" },
		{ STATUS("'startTime':'now'"), "status.startTime: not an RFC 3339 time" },
	};

	(void)state;
	CHECK_BAD(rows, kube_pod_decode, struct kube_pod);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_pod),
		cmocka_unit_test(a_new_pod_has_little),
		cmocka_unit_test(phases),
		cmocka_unit_test(odd_annotations_do_not_hide_a_pod),
		cmocka_unit_test(more_labels_than_we_keep_are_admitted),
		cmocka_unit_test(says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
