#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "inventory/cgroup.h"
#include "netns_help.h"

#define UID "fbc353e0-c22a-4034-b9f3-7c5fe1831e57"
#define UID_ESCAPED "fbc353e0_c22a_4034_b9f3_7c5fe1831e57"

static void names_every_place(void **state)
{
	static const char *const places[] = {
		"/cg/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ESCAPED
		".slice",
		"/cg/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ESCAPED
		".slice",
		"/cg/kubepods.slice/kubepods-pod" UID_ESCAPED ".slice",
		"/cg/kubepods/burstable/pod" UID,
		"/cg/kubepods/besteffort/pod" UID,
		"/cg/kubepods/pod" UID,
		"/cg/unified/kubepods.slice/kubepods-burstable.slice/"
		"kubepods-burstable-pod" UID_ESCAPED ".slice",
		"/cg/unified/kubepods.slice/kubepods-besteffort.slice/"
		"kubepods-besteffort-pod" UID_ESCAPED ".slice",
		"/cg/unified/kubepods.slice/kubepods-pod" UID_ESCAPED ".slice",
		"/cg/unified/kubepods/burstable/pod" UID,
		"/cg/unified/kubepods/besteffort/pod" UID,
		"/cg/unified/kubepods/pod" UID,
	};
	const size_t n = sizeof(places) / sizeof(places[0]);
	char path[256];

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(cgroup_path("/cg", UID, i, path, sizeof(path)), 0);
		assert_string_equal(path, places[i]);
	}
	assert_int_equal(cgroup_path("/cg", UID, n, path, sizeof(path)), -ERANGE);
	assert_int_equal(cgroup_path("/cg", UID, 0, path, 20), -ENAMETOOLONG);
}

static void refuses_a_uid_that_is_a_path(void **state)
{
	static const char *const bad[] = {
		"",
		"..",
		"a/b",
		"a.b",
		"../../x",
		"a b",
		"0123456789012345678901234567890123456789012345678901234567"
		"890123"
		"x"
	};
	char path[256], *out = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(cgroup_path("/cg", bad[i], 0, path, sizeof(path)), -EINVAL);
		assert_int_equal(cgroup_find("/cg", bad[i], &out), -EINVAL);
		assert_null(out);
	}
}

static void finds_what_exists(void **state)
{
	char root[] = "/tmp/eva-cgroup-XXXXXX", expected[256], *out = NULL;

	(void)state;
	assert_non_null(mkdtemp(root));
	assert_int_equal(cgroup_find(root, UID, &out), -ENOENT);
	assert_null(out);
	for (size_t i = 0; cgroup_path(root, UID, i, expected, sizeof(expected)) == 0; i++) {
		assert_int_equal(sh("mkdir -p %s", expected), 0);
		assert_int_equal(cgroup_find(root, UID, &out), 0);
		assert_string_equal(out, expected);
		free(out);
		assert_int_equal(sh("rmdir %s", expected), 0);
	}
	(void)sh("rm -r %s", root);
}

static void keeps_annotations_inside(void **state)
{
	static const struct {
		const char *annotation; /* %s: the root */
		int result;
		const char *below; /* the root */
	} cases[] = {
		{ "pods/a", 0, "/pods/a" },      { "/pods/a", -EINVAL, NULL },
		{ "%s/pods/a", 0, "/pods/a" },   { "%s//pods/a", 0, "/pods/a" },
		{ "%sx/pods/a", -EINVAL, NULL }, { "%s", -EINVAL, NULL },
		{ "%s/", -EINVAL, NULL },        { "pods/../..", -EINVAL, NULL },
		{ "../pods", -EINVAL, NULL },    { "pods/..a", -ENOENT, NULL },
		{ "pods/b", -ENOENT, NULL },     { "pods/file", -ENOTDIR, NULL },
		{ "/etc", -EINVAL, NULL },       { ".", -EINVAL, NULL },
		{ "%s/./", -EINVAL, NULL },      { "./pods/a", 0, "/./pods/a" },
	};
	char root[] = "/tmp/eva-cgroup-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(root));
	assert_int_equal(sh("mkdir -p %s/pods/a && : > %s/pods/file", root, root), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool absolute = strncmp(cases[i].annotation, "%s", 2) == 0;
		char annotation[256], expected[256], *out = NULL;

		snprintf(annotation, sizeof(annotation), "%s%s", absolute ? root : "",
		         cases[i].annotation + (absolute ? 2 : 0));
		assert_int_equal(cgroup_annotated(root, annotation, &out), cases[i].result);
		if (cases[i].result == 0) {
			snprintf(expected, sizeof(expected), "%s%s", root, cases[i].below);
			assert_string_equal(out, expected);
			free(out);
		} else {
			assert_null(out);
		}
	}
	(void)sh("rm -r %s", root);
}

static void tells_whose_folder_it_is(void **state)
{
	static const struct {
		const char *folder;
		bool pods;
	} cases[] = {
		{ "system.slice", false }, { "kubepods", true },         { "kubepods.slice", true },
		{ "unified", false },      { "unified/kubepods", true }, { "a/kubepods", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char root[] = "/tmp/eva-cgroup-XXXXXX";

		assert_non_null(mkdtemp(root));
		assert_int_equal(sh("mkdir -p %s/%s", root, cases[i].folder), 0);
		assert_int_equal(cgroup_has_pods(root), cases[i].pods);
		(void)sh("rm -r %s", root);
		assert_false(cgroup_has_pods(root));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_every_place),
		cmocka_unit_test(refuses_a_uid_that_is_a_path),
		cmocka_unit_test(finds_what_exists),
		cmocka_unit_test(keeps_annotations_inside),
		cmocka_unit_test(tells_whose_folder_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
