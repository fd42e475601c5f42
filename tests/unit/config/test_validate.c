#include "test.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "commands.h"

/* What it wrote to both streams, and its exit status. */
static int run(int argc, char **argv, char out[static 4096], char err[static 1024])
{
	int saved[2] = { dup(1), dup(2) }, captured[2], status;

	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		captured[i] = memfd_create("captured", MFD_CLOEXEC);
		assert_true(captured[i] >= 0 && dup2(captured[i], i + 1) >= 0);
	}
	optind = 0; /* getopt begins anew */
	status = cmd_validate(argc, argv);
	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		ssize_t n = pread(captured[i], i ? err : out, i ? 1023 : 4095, 0);

		assert_true(dup2(saved[i], i + 1) >= 0);
		assert_true(n >= 0);
		(i ? err : out)[n] = '\0';
		close(captured[i]);
		close(saved[i]);
	}
	return status;
}

static void answers_with_a_line_and_a_status(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *out, *err; /* of FILE, named as it was */
	} cases[] = {
		{ "probe: {echoes: [{name: a, url: \"http://x/\"}]}\n", 0, "/dev/fd/9: valid\n",
		  "" },
		{ "probe: {quorum: x}\n", EXIT_USAGE, "",
		  "/dev/fd/9:1:17: probe.quorum: expected an integer from 1 to 16, got \"x\"\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *argv[] = { "validate", "/dev/fd/9", NULL };
		char out[4096], err[1024];
		int fd = memfd_create("config", MFD_CLOEXEC);

		assert_true(fd >= 0 && dup2(fd, 9) == 9);
		assert_true(write(fd, cases[i].text, strlen(cases[i].text)) > 0);
		assert_int_equal(run(2, argv, out, err), cases[i].status);
		assert_string_equal(out, cases[i].out);
		assert_string_equal(err, cases[i].err);
		close(9);
		close(fd);
	}
}

static void wants_a_file(void **state)
{
	char *none[] = { "validate", NULL }, *help[] = { "validate", "--help", NULL };
	char out[4096], err[1024];

	(void)state;
	assert_int_equal(run(1, none, out, err), EXIT_USAGE);
	assert_string_equal(out, "");
	assert_string_equal(err, "egress-verifier validate: expected a FILE, got none\n");

	assert_int_equal(run(2, help, out, err), 0);
	assert_non_null(strstr(out, "probe.interval"));
	assert_string_equal(err, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_with_a_line_and_a_status),
		cmocka_unit_test(wants_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
