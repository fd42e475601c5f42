#include "test.h"

#include <errno.h>
#include <string.h>

#include "flow/privilege.h"

static void test_old_kernels(void **state)
{
	static const struct {
		const char *release;
		bool old;
	} cases[] = {
		{ "5.10.0-32-amd64", true },
		{ "4.18.0-553.el8.x86_64", true },
		{ "5.14.21", true },
		{ "3.10.0-1160", true },
		{ "5.15.0-1126-azure", false },
		{ "5.15", false },
		{ "5.150.1", false },
		{ "6.1.0-56-amd64", false },
		{ "6.0.0", false },
		{ "10.2", false },
		/* Of what cannot be read nothing is said. */
		{ "", false },
		{ "5", false },
		{ "linux", false },
		{ "5.x", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (privilege_kernel_is_old(cases[i].release) != cases[i].old)
			fail_msg("%s", cases[i].release);
	}
}

static void test_refused_here(void **state)
{
	struct flow_loader_error error = { .text = "" };

	(void)state;
	assert_int_equal(privilege_refused(&error, -EINVAL), -EINVAL);
	/* Tests run on a kernel that has what is needed. */
	assert_non_null(strstr(error.text, "refuses the packet programs: Invalid argument"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_old_kernels),
		cmocka_unit_test(test_refused_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
