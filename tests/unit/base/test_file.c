#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/eva-file.XXXXXX");
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static unsigned int count_files(void)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void what_is_written_is_read(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(100000);
	static char big[100000];
	struct stat st;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(file_replace("one", "a\0b", 3, 0640), 0);
	assert_int_equal(file_read(AT_FDCWD, "one", &buf), 0);
	assert_int_equal(buf.len, 3);
	assert_memory_equal(buf.data, "a\0b", 3);
	assert_int_equal(stat("one", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);

	assert_int_equal(file_replace("one", big, sizeof(big), 0600), 0);
	buf_reset(&buf);
	assert_int_equal(file_read(AT_FDCWD, "one", &buf), 0); /* exactly the limit */
	assert_int_equal(buf.len, sizeof(big));

	assert_int_equal(file_replace("one", "", 0, 0600), 0);
	buf_reset(&buf);
	assert_int_equal(file_read(AT_FDCWD, "one", &buf), 0);
	assert_int_equal(buf.len, 0);
	assert_int_equal(count_files(), 1); /* nothing temporary is left */
}

static void reading_is_bounded(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(9);
	cleanup(buf_clearp) struct buf endless = BUF_INIT(1 << 20);

	(void)state;
	assert_int_equal(file_replace("ten", "0123456789", 10, 0600), 0);
	assert_int_equal(file_read(AT_FDCWD, "ten", &buf), -EFBIG);
	assert_int_equal(truncate("ten", 1LL << 40), 0);
	assert_int_equal(file_read(AT_FDCWD, "ten", &endless), -EFBIG);
}

static void only_files_are_read(void **state)
{
	static const struct {
		const char *path;
		int error;
	} rows[] = {
		{ "missing", -ENOENT },  { "missing/file", -ENOENT }, { ".", -EISDIR },
		{ "fifo", -EINVAL },     { "/dev/zero", -EINVAL },    { "loop", -ELOOP },
		{ "plain/x", -ENOTDIR },
	};

	(void)state;
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(symlink("loop", "loop"), 0);
	assert_int_equal(file_replace("plain", "x", 1, 0600), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf buf = BUF_INIT(100);

		assert_int_equal(file_read(AT_FDCWD, rows[i].path, &buf), rows[i].error);
		assert_int_equal(buf.len, 0);
	}
}

static void the_kernels_files_have_no_size(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(1 << 16);

	(void)state;
	assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", &buf), 0);
	assert_non_null(strstr(buf.data, "Name:"));
}

static void a_failed_replacement_leaves_the_old_one(void **state)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(100);
	char name[5000];

	(void)state;
	assert_int_equal(file_replace("missing/file", "x", 1, 0600), -ENOENT);
	assert_int_equal(mkdir("folder", 0700), 0);
	assert_int_equal(file_replace("folder", "x", 1, 0600), -EISDIR);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(file_replace(name, "x", 1, 0600), -ENAMETOOLONG);
	assert_int_equal(rmdir("folder"), 0);
	assert_int_equal(count_files(), 0);

	/* A reader that has it open keeps the old one: it was replaced, not written over. */
	assert_int_equal(file_replace("f", "old", 3, 0600), 0);
	cleanup(fd_closep) int fd = open("f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(file_replace("f", "new", 3, 0600), 0);
	assert_int_equal(read(fd, name, 10), 3);
	assert_memory_equal(name, "old", 3);
	assert_int_equal(file_read(AT_FDCWD, "f", &buf), 0);
	assert_string_equal(buf.data, "new");
}

/* The opener: a descriptor of the secret from before, or an error. */
static int given_fd, given_error;
static unsigned int asked;

static int give(const char *path, int *fd)
{
	(void)path;
	asked++;
	if (given_error)
		return given_error;
	*fd = take_fd(&given_fd);
	return 0;
}

/* Exit status: 0 when all was as expected. */
static int read_as_nobody(const char *path, bool from_folder, int result, bool asks)
{
	struct buf buf = BUF_INIT(16);
	int from = from_folder ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : AT_FDCWD, r;

	given_fd = open("secret", O_RDONLY | O_CLOEXEC);
	if (given_fd < 0 || setresuid(65534, 65534, 65534) < 0)
		return 2;
	r = file_read(from, path, &buf);
	if (r != result || asked != asks)
		return 1;
	return r == 0 && strcmp(buf.data, "abc") != 0;
}

/* What a process may not open somebody else does, and nothing more. */
static void asks_for_what_it_may_not_open(void **state)
{
	static const struct {
		const char *path;
		bool from_folder, opener;
		int error, result;
		bool asks;
	} rows[] = {
		{ "secret", false, true, 0, 0, true },
		{ "secret", false, false, 0, -EACCES, false },
		{ "secret", true, true, 0, -EACCES, false },
		{ "secret", false, true, -EPERM, -EPERM, true },
		{ "missing", false, true, 0, -ENOENT, false },
		{ "public", false, true, 0, 0, false },
	};
	int status;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(file_replace("secret", "abc", 3, 0600), 0);
	assert_int_equal(file_replace("public", "abc", 3, 0644), 0);
	assert_int_equal(chmod(folder, 0755), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			given_error = rows[i].error;
			file_set_opener(rows[i].opener ? give : NULL);
			_exit(read_as_nobody(rows[i].path, rows[i].from_folder, rows[i].result,
			                     rows[i].asks));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("row %zu: status %d", i, status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_is_read, make_folder,
		                                remove_folder),
		cmocka_unit_test_setup_teardown(reading_is_bounded, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(only_files_are_read, make_folder, remove_folder),
		cmocka_unit_test(the_kernels_files_have_no_size),
		cmocka_unit_test_setup_teardown(a_failed_replacement_leaves_the_old_one,
		                                make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(asks_for_what_it_may_not_open, make_folder,
		                                remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
