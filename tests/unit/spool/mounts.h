/*
 * A small disk: a tmpfs over the test's folder, in a mount namespace that ends with the child that
 * works there.
 */
#pragma once

#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/log.h"
#include "spool/rows.h"

static inline void small_disk(const char *options)
{
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("eva-spool", folder, "tmpfs", 0, options), 0);
}

/* In a child, in which a failed assertion is the end. */
static inline void in_child(void (*work)(void), int flags)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		log_set_level(_LOG_MAX);
		if (flags && unshare(flags) < 0)
			_exit(77);
		work();
		fflush(stdout);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* Takes all that is left of it, or gives it back. */
static inline void fill_disk(bool full)
{
	static const char block[65536];
	int fd;

	if (!full) {
		assert_int_equal(unlink(in_folder("ballast")), 0);
		return;
	}
	fd = open(in_folder("ballast"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (size_t n = sizeof(block); n > 0; n /= 2)
		while (write(fd, block, n) == (ssize_t)n)
			;
	close(fd);
}
