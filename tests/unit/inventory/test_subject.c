#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inventory/conflist.h"
#include "inventory/inventory.h"

static void fill(const char *const *texts, struct cidr *list, size_t *n)
{
	for (*n = 0; texts[*n]; (*n)++)
		assert_int_equal(cidr_parse(texts[*n], &list[*n]), 0);
}

static struct ip ip(const char *text)
{
	struct ip parsed;

	assert_int_equal(ip_parse(text, &parsed), 0);
	return parsed;
}

/* Gateway × CNI configuration × cluster: where a destination should go. */
static void policy(void **state)
{
	static const struct {
		const char *what;
		bool annotated, exists, default_to_gateway;
		const char *spec[4], *cni[4], *cluster[4];
		const char *dst;
		enum path path;
		enum path_reason reason;
	} cases[] = {
		{ "default",
		  true,
		  true,
		  true,
		  { NULL },
		  { NULL },
		  { NULL },
		  "8.8.8.8",
		  PATH_GATEWAY,
		  PATH_BY_DEFAULT },
		{ "spec excludes",
		  true,
		  true,
		  true,
		  { "10.50.0.0/16" },
		  { NULL },
		  { NULL },
		  "10.50.1.1",
		  PATH_DIRECT,
		  PATH_BY_EXCEPTION },
		{ "CNI excludes",
		  true,
		  true,
		  true,
		  { "10.50.0.0/16" },
		  { "10.0.0.0/16" },
		  { NULL },
		  "10.0.1.1",
		  PATH_DIRECT,
		  PATH_BY_EXCEPTION },
		{ "cluster",
		  true,
		  true,
		  true,
		  { NULL },
		  { NULL },
		  { "10.0.0.0/8" },
		  "10.0.1.1",
		  PATH_CLUSTER,
		  PATH_BY_CLUSTER },
		{ "azureNetworking",
		  true,
		  true,
		  false,
		  { NULL },
		  { NULL },
		  { NULL },
		  "8.8.8.8",
		  PATH_DIRECT,
		  PATH_BY_DEFAULT },
		{ "azureNetworking lists",
		  true,
		  true,
		  false,
		  { "192.0.2.11/32" },
		  { NULL },
		  { NULL },
		  "192.0.2.11",
		  PATH_GATEWAY,
		  PATH_BY_EXCEPTION },
		{ "azureNetworking ignores the CNI's",
		  true,
		  true,
		  false,
		  { NULL },
		  { "10.0.0.0/16" },
		  { NULL },
		  "10.0.1.1",
		  PATH_DIRECT,
		  PATH_BY_DEFAULT },
		{ "required only",
		  false,
		  false,
		  false,
		  { NULL },
		  { "10.0.0.0/16" },
		  { NULL },
		  "10.0.1.1",
		  PATH_DIRECT,
		  PATH_BY_DEFAULT },
		{ "no such gateway",
		  true,
		  false,
		  false,
		  { NULL },
		  { NULL },
		  { NULL },
		  "8.8.8.8",
		  PATH_UNKNOWN,
		  PATH_BY_DEFAULT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct subject subject = { .netns_fd = -1 };
		struct conflist conflist = { .known = true };
		struct cidr spec[4], cluster[4];
		struct kube_gateway gateway = { .default_to_gateway = cases[i].default_to_gateway,
			                        .exceptions = spec };
		struct path_answer answer;
		struct ip dst = ip(cases[i].dst);
		size_t n_cluster;

		fill(cases[i].spec, spec, &gateway.n_exceptions);
		fill(cases[i].cni, conflist.excluded, &conflist.n_excluded);
		fill(cases[i].cluster, cluster, &n_cluster);
		subject.gateway_name = cases[i].annotated ? strdup("blue") : NULL;
		subject.gateway = cases[i].exists ? &gateway : NULL;
		assert_int_equal(subject_set_policy(&subject, &conflist, cluster, n_cluster), 1);
		assert_int_equal(subject_set_policy(&subject, &conflist, cluster, n_cluster), 0);
		assert_true(subject.cni_known);
		answer = path_expect(&subject.policy, &dst, false);
		if (answer.path != cases[i].path || answer.reason != cases[i].reason)
			fail_msg("%s: %s, %s", cases[i].what, path_name(answer.path),
			         path_reason_name(answer.reason));
		subject_clear(&subject);
	}
}

/* The pod's routes were written when it started: they outlive the object. */
static void policy_outlives_the_gateway(void **state)
{
	struct subject subject = { .netns_fd = -1, .gateway_name = strdup("blue") };
	struct cidr spec[1];
	struct kube_gateway gateway = { .default_to_gateway = true,
		                        .exceptions = spec,
		                        .n_exceptions = 1 };
	struct conflist conflist = { .known = true }, unknown = { .known = false };

	(void)state;
	assert_int_equal(cidr_parse("10.50.0.0/16", &spec[0]), 0);
	subject.gateway = &gateway;
	assert_int_equal(subject_set_policy(&subject, &conflist, NULL, 0), 1);
	subject.gateway = NULL;
	assert_int_equal(subject_set_policy(&subject, &conflist, NULL, 0), 0);
	assert_int_equal(subject.policy.default_path, PATH_GATEWAY);
	assert_int_equal(subject.policy.n_exceptions, 1);
	assert_int_equal(subject_set_policy(&subject, &unknown, NULL, 0), 1);
	assert_false(subject.cni_known);

	/* Without the annotation nothing sends it through a gateway. */
	free(subject.gateway_name);
	subject.gateway_name = NULL;
	assert_int_equal(subject_set_policy(&subject, &conflist, NULL, 0), 1);
	assert_int_equal(subject.policy.default_path, PATH_DIRECT);
	assert_int_equal(subject.policy.n_exceptions, 0);
	subject_clear(&subject);
}

static void wanted(void **state)
{
	struct kube_label labels[] = { { (char *)"app", (char *)"a" },
		                       { (char *)"tier", (char *)"web" } };
	const struct inventory_selector everything = { .namespace = "payments" };
	const struct inventory_selector app_a = { .namespace = "payments",
		                                  .labels = { labels[0] },
		                                  .n_labels = 1 };
	const struct inventory_selector both = { .namespace = "payments",
		                                 .labels = { labels[0], labels[1] },
		                                 .n_labels = 2 };
	const struct inventory_selector elsewhere = { .namespace = "other" };
	const struct inventory_selector other_value = {
		.namespace = "payments", .labels = { { (char *)"app", (char *)"A" } }, .n_labels = 1
	};
	const struct {
		const char *node, *gateway;
		bool finished;
		const struct inventory_selector *require;
		bool wanted, required;
		bool cut; /* the pod has more labels than are kept */
	} cases[] = {
		{ "w1", NULL, false, &both, true, true, true },
		{ "w1", NULL, false, &other_value, false, false, true },
		{ "w1", NULL, false, &elsewhere, false, false, true },
		{ "w1", "blue", false, NULL, true, false, false },
		{ "w1", "", false, NULL, false, false, false },
		{ "w1", NULL, false, NULL, false, false, false },
		{ "w2", "blue", false, NULL, false, false, false },
		{ NULL, "blue", false, NULL, false, false, false },
		{ "w1", "blue", true, NULL, false, false, false },
		{ "w1", NULL, false, &everything, true, true, false },
		{ "w1", NULL, false, &app_a, true, true, false },
		{ "w1", NULL, false, &both, false, false, false }, /* all labels must match */
		{ "w1", NULL, false, &elsewhere, false, false, false },
		{ "w1", NULL, false, &other_value, false, false, false },
		{ "w1", "blue", false, &app_a, true, true, false },
		{ "w2", NULL, false, &app_a, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kube_pod pod = { .namespace = (char *)"payments",
			                .name = (char *)"pa",
			                .node = (char *)cases[i].node,
			                .gateway = (char *)cases[i].gateway,
			                .labels = labels,
			                .n_labels = 1,
			                .labels_cut = cases[i].cut,
			                .finished = cases[i].finished };
		bool required = !cases[i].required;

		assert_int_equal(subject_wanted(&pod, "w1", cases[i].require,
		                                cases[i].require != NULL, &required),
		                 cases[i].wanted);
		assert_int_equal(required, cases[i].required);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy),
		cmocka_unit_test(policy_outlives_the_gateway),
		cmocka_unit_test(wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
