#include "test.h"

#include "kube/question.h"

static void is_a_path(void **state)
{
	static const struct kube_resource pods = { .group = "",
		                                   .version = "v1",
		                                   .plural = "pods",
		                                   .field_selector = "spec.nodeName=a,b!=c" },
					  vms = { .group = "egressgateway.kubernetes.azure.com",
		                                  .version = "v1alpha1",
		                                  .plural = "gatewayvmconfigurations" };
	static const struct {
		const struct kube_resource *resource;
		struct kube_question question;
		const char *path;
	} rows[] = {
		{ &pods,
		  { .ask = KUBE_ASK_PAGE, .version = "0", .token = "", .limit = 500 },
		  "/api/v1/"
		  "pods?resourceVersion=0&fieldSelector=spec.nodeName%3Da%2Cb%21%3Dc&limit=500" },
		{ &vms,
		  { .ask = KUBE_ASK_PAGE, .version = "", .token = "" },
		  "/apis/egressgateway.kubernetes.azure.com/v1alpha1/gatewayvmconfigurations" },
		{ &vms,
		  { .ask = KUBE_ASK_PAGE,
		    .version = "",
		    .token = "a&b=c d/\xc3\xa4",
		    .limit = 500 },
		  "/apis/egressgateway.kubernetes.azure.com/v1alpha1/gatewayvmconfigurations"
		  "?limit=500&continue=a%26b%3Dc%20d%2F%C3%A4" },
		{ &vms,
		  { .ask = KUBE_ASK_WATCH, .version = "7&8", .token = "", .timeout_s = 300 },
		  "/apis/egressgateway.kubernetes.azure.com/v1alpha1/gatewayvmconfigurations"
		  "?watch=1&allowWatchBookmarks=true&resourceVersion=7%268&timeoutSeconds=300" },
		{ &vms,
		  { .ask = KUBE_ASK_STREAM, .version = "", .token = "", .timeout_s = 300 },
		  "/apis/egressgateway.kubernetes.azure.com/v1alpha1/gatewayvmconfigurations"
		  "?watch=1&allowWatchBookmarks=true&sendInitialEvents=true"
		  "&resourceVersionMatch=NotOlderThan&timeoutSeconds=300" },
		{ &vms,
		  { .ask = KUBE_ASK_STREAM, .version = "9", .token = "", .timeout_s = 300 },
		  "/apis/egressgateway.kubernetes.azure.com/v1alpha1/gatewayvmconfigurations"
		  "?watch=1&allowWatchBookmarks=true&sendInitialEvents=true"
		  "&resourceVersionMatch=NotOlderThan&resourceVersion=9&timeoutSeconds=300" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf path = BUF_INIT(4096);

		kube_question_path(rows[i].resource, &rows[i].question, &path);
		assert_int_equal(path.error, 0);
		assert_string_equal(path.data, rows[i].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_a_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
