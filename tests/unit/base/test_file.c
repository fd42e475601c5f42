#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_file.XXXXXX");
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
