/* The spool on a disk that does, and on one that does not. */
#include "test.h"

#include <signal.h>
#include <sqlite3.h>

#include "spool/mounts.h"
#include "spool/spools.h"

static void what_is_kept_is_there_again(void **state)
{
	struct spool *spool = open_spool();
	const struct spool_state *s = spool_state(spool);
	bool more;

	(void)state;
	put_changes(spool, 1, 40);
	assert_false(s->degraded);
	assert_string_equal(s->reason, "");
	assert_int_equal(s->waiting, 40);
	assert_int_equal(s->oldest_us, START_US + 1);
	assert_true(s->bytes > 0);
	read_records(spool, 0, 10);
	assert_int_equal(told.n, 10);
	spool_done(spool, told.number[9]);
	assert_int_equal(s->waiting, 30);
	spool = spool_free(spool);

	spool = open_spool();
	expect_changes(spool, 0, 11, 40);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.n, 27);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, false, 0, INT64_MAX, 5, rows_tell, &told, &more);
	assert_true(more);
	assert_int_equal(told.n, 5);
	assert_int_equal(told.key[0], 39);
	assert_int_equal(told.key[1], 36);
	spool_free(spool);
}

/* Many messages of a transaction: as many as its log takes at once, and all are kept. */
static void large_transactions_are_split(void **state)
{
	cleanup(spool_freep) struct spool *spool = open_spool();
	uint64_t most = 0;
	unsigned int n = 0;

	(void)state;
	for (int i = 0; i < 8; i++) {
		spool_begin(spool);
		for (int j = 0; j < SPOOL_BATCH_MAX; j++) {
			const struct spool_row row = rows_make(SPOOL_RECORD, j % 8 ? "r" : "h", n,
			                                       START_US + n, bodies[0]);

			n++;
			spool_put(spool, &row, 1);
			most = size_of(in_folder("spool.db-wal")) > most
			               ? size_of(in_folder("spool.db-wal"))
			               : most;
		}
		spool_commit(spool, &now);
	}
	most = size_of(in_folder("spool.db-wal")) > most ? size_of(in_folder("spool.db-wal"))
	                                                 : most;
	assert_true(most <= SPOOL_WAL_BYTES);
	assert_true(disk_bytes() <= 16 * MIB);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n + spool_state(spool)->dropped[SPOOL_DROP_FULL], n);
	assert_int_equal(told.key[told.n - 1], n - 1);
	assert_int_equal(spool_state(spool)->full,
	                 spool_state(spool)->dropped[SPOOL_DROP_FULL] > 0);
}

static void the_oldest_give_way(void **state)
{
	cleanup(spool_freep) struct spool *spool = open_spool();
	const struct spool_state *s = spool_state(spool);
	unsigned int n = 0;

	(void)state;
	while (!s->full) {
		spool_begin(spool);
		for (int i = 0; i < 200; i++)
			put_change(spool, n++);
		spool_commit(spool, &now);
		assert_true(disk_bytes() <= 16 * MIB);
	}
	assert_true(s->dropped[SPOOL_DROP_FULL] > 0);
	assert_false(s->degraded);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n + s->dropped[SPOOL_DROP_FULL], n);
	assert_int_equal(told.key[told.n - 1], n - 1);
	spool_done(spool, told.number[told.n - 1]);
	pass(SPOOL_FULL_NS);
	spool_tick(spool, &now);
	assert_false(s->full);
	assert_int_equal(s->waiting, 0);
}

static void folders_that_are_not_ours(void **state)
{
	struct spool *spool;
	struct stat st;

	(void)state;
	spool = open_spool_at(in_folder("a/b/c/"));
	assert_false(spool_state(spool)->degraded);
	spool_free(spool);
	assert_int_equal(stat(in_folder("a/b/c"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);

	assert_int_equal(chmod(in_folder("a/b/c"), 0770), 0);
	spool = open_spool_at(in_folder("a/b/c"));
	expect_degraded(spool, "not this user's alone");
	put_changes(spool, 1, 3);
	expect_changes(spool, 0, 1, 3);
	assert_int_equal(chmod(in_folder("a/b/c"), 0755), 0);
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	expect_changes(spool, 0, 1, 3);
	spool_free(spool);

	assert_int_equal(symlink("a/b/c", in_folder("link")), 0);
	spool = open_spool_at(in_folder("link/"));
	expect_degraded(spool, "symbolic link");
	spool_free(spool);
	assert_int_equal(close(open(in_folder("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	spool = open_spool_at(in_folder("file"));
	expect_degraded(spool, "Not a directory");
	spool_free(spool);
	if (geteuid() == 0) {
		assert_int_equal(chown(in_folder("a/b/c"), 65534, 65534), 0);
		spool = open_spool_at(in_folder("a/b/c"));
		expect_degraded(spool, "not this user's alone");
		spool_free(spool);
	}
}

/* Newer ones wait for older ones that cannot be read: nothing, and more to come. */
static void expect_held(struct spool *spool)
{
	bool more = false;

	memset(&told, 0, sizeof(told));
	spool_records(spool, 0, UINT32_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.n, 0);
	assert_true(more);
}

static pid_t start_another(int fds[static 2])
{
	struct spool *spool;
	pid_t pid;
	char c = 0;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		spool = open_spool();
		put_changes(spool, 1, 20);
		if (write(fds[1], &c, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(fds[0], &c, 1), 1);
	return pid;
}

static void end_another(pid_t pid, int fds[static 2])
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
}

/* An agent that is still ending has the file; what was said meanwhile comes after what it left. */
static void another_agent_has_it(void **state)
{
	int fds[2];
	struct spool *spool;
	pid_t pid = start_another(fds);

	(void)state;
	spool = open_spool();
	expect_degraded(spool, "another process");
	put_changes(spool, 21, 30);
	expect_held(spool);
	end_another(pid, fds);
	pass(SPOOL_TICK_NS);
	spool_tick(spool, &now);
	assert_false(spool_state(spool)->degraded);
	put_changes(spool, 31, 33);
	expect_changes(spool, 0, 1, 33);
	spool_free(spool);
}

/* It does not end: a node is not silent for that, and the older ones come when they can. */
static void another_agent_keeps_it(void **state)
{
	int fds[2];
	struct spool *spool;
	pid_t pid = start_another(fds);
	int64_t last;

	(void)state;
	spool = open_spool();
	put_changes(spool, 21, 30);
	pass(SPOOL_HOLD_NS - 1);
	spool_tick(spool, &now);
	expect_held(spool);
	pass(1);
	spool_tick(spool, &now);
	last = expect_changes(spool, 0, 21, 30);
	end_another(pid, fds);
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	put_changes(spool, 31, 33);
	/* Who has read those of memory reads the older ones now: none is passed over. */
	expect_changes(spool, last, 1, 33);
	spool_done(spool, last); /* as they were numbered then: nothing of now */
	last = expect_changes(spool, 0, 1, 33);
	spool_done(spool, last);
	expect_changes(spool, 0, 1, 0);
	spool_free(spool);
}

/* What gave way while the reader had it is counted when it asks for it again, and not when it says that it arrived. */
static void what_is_under_way_is_not_lost(void **state)
{
	(void)state;
	for (int arrives = 0; arrives < 2; arrives++) {
		struct spool *spool = open_spool();
		const struct spool_state *s = spool_state(spool);
		unsigned int n = 1;
		uint64_t full;

		put_changes(spool, n, 100);
		read_records(spool, 0, 60);
		assert_int_equal(told.n, 60);
		for (n = 101; !s->full; n += 200) {
			spool_begin(spool);
			for (unsigned int i = n; i < n + 200; i++)
				put_change(spool, i);
			spool_commit(spool, &now);
		}
		full = s->dropped[SPOOL_DROP_FULL];
		if (arrives)
			spool_done(spool, 60);
		read_records(spool, arrives ? 60 : 0, UINT32_MAX);
		assert_int_equal(told.key[told.n - 1], n - 1);
		assert_int_equal(s->dropped[SPOOL_DROP_FULL], arrives ? full : full + 60);
		assert_int_equal(told.n + s->dropped[SPOOL_DROP_FULL] + (arrives ? 60 : 0), n - 1);
		spool_remove(spool);
		spool_free(spool);
		assert_int_equal(mkdir(folder, 0700) < 0 && errno != EEXIST, 0);
	}
}

static void full_from_the_start(void)
{
	struct spool *spool;
	unsigned int keys;

	small_disk("size=3m,mode=0700");
	fill_disk(true);
	spool = open_spool();
	expect_degraded(spool, "no space left");
	put_changes(spool, 1, 50);
	expect_changes(spool, 0, 1, 50);
	read_records(spool, 0, 20);
	spool_done(spool, told.number[19]);
	retry(spool);
	expect_degraded(spool, "no space left");
	fill_disk(false);
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	expect_changes(spool, 0, 21, 50);
	spool = spool_free(spool);
	spool = open_spool();
	expect_changes(spool, 0, 21, 50);
	keys = told.n;
	assert_int_equal(keys, 30);
	assert_int_equal(all_dropped(spool), 0);
	spool_free(spool);
}

/* There is room again, and before the disk is tried the agent ends. */
static void kept_at_the_end(void)
{
	struct spool *spool;

	small_disk("size=3m,mode=0700");
	fill_disk(true);
	spool = open_spool();
	put_changes(spool, 1, 30);
	expect_degraded(spool, "kept in memory only");
	fill_disk(false);
	spool = spool_free(spool);

	spool = open_spool();
	assert_false(spool_state(spool)->degraded);
	expect_changes(spool, 0, 1, 30);
	spool_free(spool);
}

static void full_in_the_middle(void)
{
	struct spool *spool;
	bool more;
	int64_t last;

	small_disk("size=6m,mode=0700");
	spool = open_spool();
	put_changes(spool, 1, 100);
	fill_disk(true);
	put_changes(spool, 101, 1400);
	expect_degraded(spool, "no space left");
	/* Disk, then memory, in one order, in pieces too. */
	expect_changes(spool, 0, 1, 1400);
	read_records(spool, 0, 90);
	last = told.number[89];
	expect_changes(spool, last, 91, 1400);
	spool_done(spool, last);
	expect_changes(spool, 0, 91, 1400);
	assert_int_equal(spool_state(spool)->waiting, 1310);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.n, 67); /* of 1301 to 1400 those that three does not divide */
	assert_int_equal(told.wrong, 0);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, false, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.n, 33);
	for (unsigned int i = 1; i < told.n; i++)
		assert_true(told.wall_us[i] < told.wall_us[i - 1]);
	retry(spool);
	expect_degraded(spool, "no space left");
	read_records(spool, 0, 500);
	last = told.number[499];
	fill_disk(false);
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	/* Numbers that were told are still those. */
	spool_done(spool, last);
	last = expect_changes(spool, last, 591, 1400);
	put_changes(spool, 1401, 1403);
	expect_changes(spool, last, 1401, 1403);
	assert_int_equal(all_dropped(spool), 0);
	spool_free(spool);
	spool = open_spool();
	expect_changes(spool, 0, 591, 1403);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.n, 67);
	spool_free(spool);
}

/* A violation that is resolved, and one that is removed, while the disk has them as open. */
static void memory_stands_over_the_disk(void)
{
	struct spool_row rows[] = { { .table = SPOOL_VIOLATION, .key = "v1" },
		                    { .table = SPOOL_SUBJECT, .key = "s1" } };
	struct spool *spool;
	bool more;

	small_disk("size=3m,mode=0700");
	spool = open_spool();
	put_changes(spool, 1, 2);
	spool_begin(spool);
	for (unsigned int i = 1; i <= 3; i++) {
		const struct spool_row row = rows_make(SPOOL_SUBJECT, "s", i, START_US, bodies[0]);

		spool_put(spool, &row, 1);
	}
	spool_commit(spool, &now);
	fill_disk(true);
	put_changes(spool, 1001, 3000);
	expect_degraded(spool, "no space");
	spool_begin(spool);
	spool_put(spool, rows, 2);
	spool_commit(spool, &now);
	for (int i = 0; i < 2; i++) {
		bool open = false;

		memset(&told, 0, sizeof(told));
		spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
		for (unsigned int j = 0; j < told.n; j++)
			open = open || told.key[j] == 1;
		assert_false(open);
		memset(&told, 0, sizeof(told));
		spool_subjects(spool, rows_tell, &told);
		assert_int_equal(told.n, 2);
		if (i == 0) {
			fill_disk(false);
			retry(spool);
			assert_false(spool_state(spool)->degraded);
		}
	}
	spool_free(spool);
}

static void takes_nothing(void)
{
	struct spool *spool;
	bool more;
	int64_t last;

	small_disk("size=8m,mode=0700");
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			spool = open_spool();
			put_changes(spool, 1, 100);
			if (round == 0) /* else with its log */
				spool_free(spool);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(size_of(in_folder("spool.db-wal")) > 0, round == 1);
		assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		spool = open_spool();
		expect_degraded(spool, "Read-only file system");
		expect_changes(spool, 0, 1, 100);
		memset(&told, 0, sizeof(told));
		spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
		assert_int_equal(told.n, 67);
		put_changes(spool, 101, 120);
		last = expect_changes(spool, 0, 1, 120);
		read_records(spool, 0, 110);
		spool_done(spool, told.number[109]);
		expect_changes(spool, 0, 111, 120);
		assert_int_equal(spool_state(spool)->waiting, 10);
		retry(spool);
		expect_degraded(spool, "Read-only");
		expect_changes(spool, 0, 111, 120);
		expect_changes(spool, last, 1, 0);
		assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT, NULL), 0);
		retry(spool);
		assert_false(spool_state(spool)->degraded);
		last = expect_changes(spool, 0, 111, 120);
		spool_done(spool, last);
		spool_free(spool);
		assert_int_equal(unlink(in_folder("spool.db")), 0);
	}
}

#define IN_MOUNTS(name)                      \
	static void name##_(void **state)    \
	{                                    \
		(void)state;                 \
		in_child(name, CLONE_NEWNS); \
	}
IN_MOUNTS(full_from_the_start)
IN_MOUNTS(kept_at_the_end)
IN_MOUNTS(full_in_the_middle)
IN_MOUNTS(memory_stands_over_the_disk)
IN_MOUNTS(takes_nothing)

static void others_files_are_put_aside(void **state)
{
	static const char *const reasons[] = { "another program's", "was corrupt" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct spool *spool;
		uint64_t size;

		if (i == 0) {
			sqlite3 *db;

			assert_int_equal(sqlite3_open(in_folder("spool.db"), &db), SQLITE_OK);
			assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(a)", NULL, NULL, NULL),
			                 0);
			sqlite3_close(db);
		} else {
			int fd = open(in_folder("spool.db"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

			memset(bodies[0], 'x', 30000);
			assert_int_equal(write(fd, bodies[0], 30000), 30000);
			close(fd);
		}
		size = size_of(in_folder("spool.db"));
		spool = open_spool();
		assert_false(spool_state(spool)->degraded);
		if (!strstr(spool_state(spool)->reason, reasons[i]))
			fail_msg("%s", spool_state(spool)->reason);
		assert_int_equal(size_of(in_folder("spool.db.corrupt")), size);
		put_changes(spool, 1, 3);
		expect_changes(spool, 0, 1, 3);
		spool_free(spool);
		assert_int_equal(unlink(in_folder("spool.db")), 0);
	}
}

/* The process was killed while it put another file in place. */
static void an_interrupted_replacement_is_ended(void **state)
{
	struct spool *spool = open_spool();

	(void)state;
	put_changes(spool, 1, 9);
	spool_free(spool);
	assert_int_equal(rename(in_folder("spool.db"), in_folder("spool.db.new")), 0);
	/* The log of the one that was moved away. */
	assert_int_equal(close(open(in_folder("spool.db-wal"), O_CREAT | O_WRONLY, 0600)), 0);
	spool = open_spool();
	expect_changes(spool, 0, 1, 9);
	assert_int_equal(access(in_folder("spool.db.corrupt-wal"), F_OK), 0);
	spool_remove(spool);
	put_changes(spool, 10, 11);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n, 0);
	spool_tick(spool, &now);
	spool_free(spool);
	assert_int_equal(rmdir(folder), 0); /* nothing is left */
	assert_int_equal(mkdir(folder, 0700), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_kept_is_there_again),
		TEST(large_transactions_are_split),
		TEST(the_oldest_give_way),
		TEST(folders_that_are_not_ours),
		TEST(another_agent_has_it),
		TEST(another_agent_keeps_it),
		TEST(what_is_under_way_is_not_lost),
		TEST(full_from_the_start_),
		TEST(kept_at_the_end_),
		TEST(full_in_the_middle_),
		TEST(memory_stands_over_the_disk_),
		TEST(takes_nothing_),
		TEST(others_files_are_put_aside),
		TEST(an_interrupted_replacement_is_ended),
	};

	log_set_level(_LOG_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
