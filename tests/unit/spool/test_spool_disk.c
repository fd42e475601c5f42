/* Disks that are smaller than the bound, and that come later than the spool. */
#include "test.h"

#include "spool/mounts.h"
#include "spool/spools.h"

static void put_some(struct spool *spool, unsigned int *n, unsigned int count)
{
	put_changes(spool, *n + 1, *n + count);
	*n += count;
}

/* None but the oldest is missing, and those are counted. */
static void expect_newest(struct spool *spool, unsigned int n)
{
	uint64_t dropped = spool_state(spool)->dropped[SPOOL_DROP_FULL];

	assert_int_equal(all_dropped(spool), dropped);
	assert_true(dropped < n);
	expect_changes(spool, 0, (unsigned int)dropped + 1, n);
}

/* The oldest give way, as with any bound, before anything fails. */
static void smaller_than_the_bound(void)
{
	const struct spool_state *state;
	struct spool *spool;
	unsigned int n = 0;

	small_disk("size=4m,mode=0700");
	spool = open_spool(); /* 16 MiB */
	state = spool_state(spool);
	while (!state->full || n < 4000) {
		put_some(spool, &n, 20);
		if (state->degraded)
			fail_msg("after %u: %s", n, state->reason);
		assert_true(n < 20000);
	}
	assert_int_equal(state->errors, 0);
	assert_true(disk_bytes() > 2 * MIB);
	expect_newest(spool, n);

	/* Its own files are no loss of room when it is opened again. */
	n -= (unsigned int)state->dropped[SPOOL_DROP_FULL];
	spool = spool_free(spool);
	spool = open_spool();
	assert_false(spool_state(spool)->degraded);
	assert_int_equal(spool_state(spool)->waiting, n);
	spool_free(spool);
}

static void grows_with_its_disk(void)
{
	const struct spool_state *state;
	struct spool *spool;
	unsigned int n = 0;
	uint64_t dropped;

	small_disk("size=4m,mode=0700");
	spool = open_spool();
	state = spool_state(spool);
	while (!state->full)
		put_some(spool, &n, 20);
	dropped = all_dropped(spool);
	assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT, "size=32m"), 0);
	pass(SPOOL_TICK_NS);
	spool_tick(spool, &now);
	while (disk_bytes() < 8 * MIB) {
		put_some(spool, &n, 20);
		assert_int_equal(all_dropped(spool), dropped);
	}
	assert_false(state->degraded);
	expect_newest(spool, n);
	/* To the bound that was asked for, not beyond. */
	while (all_dropped(spool) == dropped) {
		put_some(spool, &n, 20);
		read_records(spool, 0, 1); /* what was read is wanted again: none is under way */
	}
	assert_true(disk_bytes() > 12 * MIB);
	assert_true(disk_bytes() <= 16 * MIB);
	expect_newest(spool, n);
	spool_free(spool);
}

#define IN_MOUNTS(name)                      \
	static void name##_(void **state)    \
	{                                    \
		(void)state;                 \
		in_child(name, CLONE_NEWNS); \
	}
IN_MOUNTS(smaller_than_the_bound)
IN_MOUNTS(grows_with_its_disk)

/* Later than the spool */

static struct {
	int calls, there; /* of those: */
	int result;
	char directory[256];
} confined;

static int confine(const char *directory, bool there, char error[static SPOOL_TEXT_MAX])
{
	confined.calls++;
	confined.there += there;
	snprintf(confined.directory, sizeof(confined.directory), "%s", directory);
	snprintf(error, SPOOL_TEXT_MAX, "not today");
	return confined.result;
}

static struct spool *open_confined(const char *directory)
{
	struct spool *spool = NULL;

	memset(&confined, 0, sizeof(confined));
	assert_int_equal(spool_new(directory, 16 * MIB, confine, &now, &spool), 0);
	assert_string_equal(confined.directory, directory);
	return spool;
}

static void count_open(struct spool *spool, unsigned int n)
{
	bool more;

	memset(&told, 0, sizeof(told));
	spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.wrong, 0);
	assert_int_equal(told.n, n);
}

/* A parent that is a file, then nothing, then what an earlier run left there. */
static void its_folder_comes_later(void **state)
{
	char directory[256];
	struct spool *spool;

	(void)state;
	snprintf(directory, sizeof(directory), "%s", in_folder("elsewhere/spool"));
	spool = open_spool_at(directory);
	put_changes(spool, 1, 4);
	spool_free(spool);
	snprintf(directory, sizeof(directory), "%s", in_folder("later/spool"));
	assert_int_equal(close(open(in_folder("later"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);

	spool = open_confined(directory);
	expect_degraded(spool, "Not a directory");
	assert_false(spool_known(spool));
	assert_int_equal(confined.calls, 1);
	assert_int_equal(confined.there, 0);
	put_changes(spool, 5, 7);
	pass(SPOOL_RETRY_NS - 1);
	spool_tick(spool, &now);
	assert_int_equal(confined.calls, 1);
	pass(1);
	spool_tick(spool, &now);
	assert_int_equal(confined.calls, 2);
	assert_int_equal(confined.there, 0);
	expect_degraded(spool, "Not a directory");

	assert_int_equal(unlink(in_folder("later")), 0);
	{
		char from[256];

		snprintf(from, sizeof(from), "%s", in_folder("elsewhere"));
		assert_int_equal(rename(from, in_folder("later")), 0);
	}
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	assert_true(spool_known(spool));
	assert_int_equal(confined.there, 1);
	expect_changes(spool, 0, 1, 7);
	count_open(spool, 5); /* but those that three divides */
	confined.calls = 0;
	retry(spool);
	assert_int_equal(confined.calls, 0);
	spool_free(spool);
}

/* Without its confinement it opens nothing. */
static void it_is_confined_first(void **state)
{
	struct spool *spool;
	char directory[256];

	(void)state;
	snprintf(directory, sizeof(directory), "%s", in_folder("spool"));
	memset(&confined, 0, sizeof(confined));
	confined.result = -E2BIG;
	assert_int_equal(spool_new(directory, 16 * MIB, confine, &now, &spool), 0);
	for (int i = 1; i <= 3; i++) {
		expect_degraded(spool, strerror(E2BIG));
		assert_int_equal(confined.calls, i);
		assert_int_equal(confined.there, i);
		assert_int_equal(access(in_folder("spool/spool.db"), F_OK), -1);
		put_changes(spool, (unsigned int)i, (unsigned int)i);
		retry(spool);
	}
	confined.result = 0;
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	expect_changes(spool, 0, 1, 3);
	assert_int_equal(access(in_folder("spool/spool.db"), F_OK), 0);
	spool_free(spool);
}

/* The file is another's for now: what is in it is told when it is opened. */
static void its_file_comes_later(void **state)
{
	int fds[2], status;
	struct spool *spool;
	pid_t pid;
	char c = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		spool = open_spool();
		put_changes(spool, 1, 20);
		if (write(fds[1], &c, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(fds[0], &c, 1), 1);
	spool = open_spool();
	assert_false(spool_known(spool));
	count_open(spool, 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	retry(spool);
	assert_true(spool_known(spool));
	count_open(spool, 14);
	spool_free(spool);
	close(fds[0]);
	close(fds[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(smaller_than_the_bound_), TEST(grows_with_its_disk_),
		TEST(its_folder_comes_later),  TEST(it_is_confined_first),
		TEST(its_file_comes_later),
	};

	log_set_level(_LOG_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
