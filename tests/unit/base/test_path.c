#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_absolute) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
