#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/path.h"

static void test_absolute(void **state)
{
	static const struct {
		const char *path, *expected; /* below the test's folder; "/…" as it is */
	} rows[] = {
		{ "/etc/x.yaml", "/etc/x.yaml" },
		{ "/etc/../x", "/etc/../x" },
		{ "x.yaml", "x.yaml" },
		{ "./x.yaml", "x.yaml" },
		{ "sub/x.yaml", "sub/x.yaml" },
		{ "sub/../x.yaml", "x.yaml" },
		{ "link/x.yaml", "sub/x.yaml" },
		{ "sub/./../sub/x", "sub/x" },
		{ "missing/x.yaml", "missing/x.yaml" },
	};
	char folder[] = "/tmp/eva-path-XXXXXX", expected[4096];

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sub", 0700), 0);
	assert_int_equal(symlink("sub", "link"), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *made = path_absolute(rows[i].path);

		snprintf(expected, sizeof(expected), "%s%s%s",
		         rows[i].expected[0] == '/' ? "" : folder,
		         rows[i].expected[0] == '/' ? "" : "/", rows[i].expected);
		assert_non_null(made);
		assert_string_equal(made, expected);
		free(made);
	}
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(rmdir("sub"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(folder), 0);
}

/* In a process that may not look into the folder: 0 when the path is that one all the same. */
static int made_by_nobody(const char *path, const char *expected)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		char *made = setresuid(65534, 65534, 65534) == 0 ? path_absolute(path) : NULL;

		_exit(!made || strcmp(made, expected) != 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* What root resolved, the process that became nobody names in the same way. */
static void test_a_closed_folder_is_remembered(void **state)
{
	char folder[] = "/tmp/eva-path-XXXXXX", path[64], expected[64];

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sub", 0700), 0);
	assert_int_equal(chdir("sub"), 0);
	snprintf(path, sizeof(path), "../../%s/sub/x.yaml", folder + strlen("/tmp/"));
	snprintf(expected, sizeof(expected), "%s/sub/x.yaml", folder);
	assert_int_not_equal(made_by_nobody(path, expected), 0);
	free(path_absolute(path));
	assert_int_equal(made_by_nobody(path, expected), 0);
	/* Another one is not mistaken for it. */
	assert_int_not_equal(made_by_nobody("../sub/x.yaml", expected), 0);
	assert_int_equal(chdir("/"), 0);
	snprintf(path, sizeof(path), "%s/sub", folder);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_a_closed_folder_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
