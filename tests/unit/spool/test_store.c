/* One database: order, numbers, atomicity, age. */
#include "test.h"

#include <sqlite3.h>
#include <sys/wait.h>

#include "spool/stores.h"

/* Records from `after` on are these, with consecutive numbers from `number`. */
static void expect_records(struct store *store, int64_t after, unsigned int from, unsigned int to,
                           int64_t number)
{
	bool more = true;

	memset(&told, 0, sizeof(told));
	assert_int_equal(
		store_records(store, after, UINT32_MAX, UINT32_MAX, rows_tell, &told, &more), 0);
	assert_false(more);
	assert_int_equal(told.wrong, 0);
	assert_int_equal(told.n, to + 1 - from);
	for (unsigned int i = 0; i < told.n; i++) {
		assert_int_equal(told.key[i], from + i);
		assert_int_equal(told.number[i], number + i);
	}
}

static void records_come_in_order(void **state)
{
	cleanup(store_freep) struct store *store = open_store(16 * MIB);
	bool more = false;

	(void)state;
	put_records(store, 1, 300);
	expect_records(store, 0, 1, 300, 1);
	expect_records(store, 298, 299, 300, 299);
	expect_records(store, INT64_MAX, 1, 0, 0);

	memset(&told, 0, sizeof(told));
	assert_int_equal(store_records(store, 10, 5, UINT32_MAX, rows_tell, &told, &more), 0);
	assert_true(more);
	assert_int_equal(told.n, 5);
	assert_int_equal(told.number[4], 15);
	/* At least one, whatever its size; then only what fits. */
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_records(store, 0, 100, 0, rows_tell, &told, &more), 0);
	assert_int_equal(told.n, 1);
	assert_true(more);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_records(store, 0, 100, 5000, rows_tell, &told, &more), 0);
	assert_true(told.n > 1 && told.bytes <= 5000);
}

static void numbers_rise_for_ever(void **state)
{
	struct store_stats stats;
	struct store *store = open_store(16 * MIB);

	(void)state;
	put_records(store, 1, 300);
	assert_int_equal(store_done(store, 299), 0);
	expect_records(store, 0, 300, 300, 300);
	assert_int_equal(store_done(store, INT64_MAX), 0);
	expect_records(store, 0, 1, 0, 0);
	assert_int_equal(store_stats(store, &stats), 0);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.oldest_us, 0);
	store = store_free(store);

	store = open_store(16 * MIB);
	put_records(store, 301, 310);
	expect_records(store, 300, 301, 310, 301);
	assert_int_equal(store_stats(store, &stats), 0);
	assert_int_equal(stats.waiting, 10);
	assert_int_equal(stats.oldest_us, START_US + 301);
	store_free(store);
}

static void rows_with_keys_are_replaced(void **state)
{
	cleanup(store_freep) struct store *store = open_store(16 * MIB);
	struct spool_row none = { .table = SPOOL_VIOLATION, .key = "v3" };
	bool more, has = false;

	(void)state;
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = 1; i <= 4; i++) {
		put(store, SPOOL_VIOLATION, "v", i, 0);
		put(store, SPOOL_SUBJECT, "s", i, START_US + i);
	}
	put(store, SPOOL_VIOLATION, "v", 2, START_US + 20); /* resolved */
	put(store, SPOOL_VIOLATION, "v", 1, START_US + 10);
	put(store, SPOOL_SUBJECT, "s", 4, START_US + 40);
	assert_int_equal(store_put(store, &none), 0);
	assert_int_equal(store_commit(store), 0);

	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(store, true, 0, INT64_MAX, 9, rows_tell, &told, &more),
	                 0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.key[0], 4);
	memset(&told, 0, sizeof(told));
	assert_int_equal(
		store_violations(store, false, START_US, INT64_MAX, 9, rows_tell, &told, &more), 0);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.key[0], 2);
	assert_int_equal(told.key[1], 1);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(store, false, START_US + 11, START_US + 20, 9, rows_tell,
	                                  &told, &more),
	                 0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.key[0], 2);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_subjects(store, rows_tell, &told), 0);
	assert_int_equal(told.n, 4);
	assert_int_equal(told.wall_us[3], START_US + 40);
	assert_int_equal(told.wrong, 0);
	assert_int_equal(store_has(store, SPOOL_VIOLATION, "v2", &has), 0);
	assert_true(has);
	assert_int_equal(store_has(store, SPOOL_VIOLATION, "v3", &has), 0);
	assert_false(has);

	/* It is open again. */
	assert_int_equal(store_begin(store), 0);
	put(store, SPOOL_VIOLATION, "v", 2, 0);
	assert_int_equal(store_commit(store), 0);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(store, false, 0, INT64_MAX, 9, rows_tell, &told, &more),
	                 0);
	assert_int_equal(told.n, 1);
}

static void an_empty_body_is_a_row(void **state)
{
	cleanup(store_freep) struct store *store = open_store(MIB);
	const struct spool_row row = { .table = SPOOL_SUBJECT, .key = "s", .body = "" };
	bool has = false;

	(void)state;
	assert_int_equal(store_begin(store), 0);
	assert_int_equal(store_put(store, &row), 0);
	assert_int_equal(store_commit(store), 0);
	assert_int_equal(store_has(store, SPOOL_SUBJECT, "s", &has), 0);
	assert_true(has);
}

static void a_transaction_is_whole_or_not(void **state)
{
	struct store *store = open_store(16 * MIB);
	struct store_stats stats;

	(void)state;
	put_records(store, 1, 3);
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = 4; i < 50; i++)
		put(store, SPOOL_RECORD, "r", i, START_US);
	store_rollback(store);
	put_records(store, 4, 4);
	expect_records(store, 0, 1, 4, 1);
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = 5; i < 50; i++)
		put(store, SPOOL_RECORD, "r", i, START_US);
	store = store_free(store);
	store = open_store(16 * MIB);
	expect_records(store, 0, 1, 4, 1);
	assert_int_equal(store_stats(store, &stats), 0);
	assert_int_equal(stats.waiting, 4);
	store_free(store);
}

static void files_are_nobody_elses(void **state)
{
	cleanup(store_freep) struct store *store = NULL;
	struct stat st;

	(void)state;
	umask(0);
	store = open_store(16 * MIB);
	put_records(store, 1, 3);
	assert_int_equal(stat(in_folder("spool.db"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(in_folder("spool.db-wal"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(in_folder("spool.db-shm"), &st), -1);
	store = store_free(store);
	assert_int_equal(stat(in_folder("spool.db-wal"), &st), -1); /* closed in order */
	assert_int_equal(rename(in_folder("spool.db"), in_folder("other")), 0);
	assert_int_equal(symlink("other", in_folder("spool.db")), 0);
	assert_int_equal(store_open(in_folder("spool.db"), MIB, &store), -ELOOP);
	umask(022);
}

static void only_one_process_has_it(void **state)
{
	cleanup(store_freep) struct store *store = open_store(16 * MIB);
	pid_t pid;
	int status;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *other = NULL;

		_exit(store_open(in_folder("spool.db"), 16 * MIB, &other) == -EBUSY ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	put_records(store, 1, 3);
	expect_records(store, 0, 1, 3, 1);
}

static void what_is_too_old_goes(void **state)
{
	cleanup(store_freep) struct store *store = open_store(16 * MIB);
	uint64_t dropped[_SPOOL_DROP_MAX] = { 0 };
	int64_t now = START_US + 1000 + SPOOL_AGE_US;
	bool more;

	(void)state;
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = 1; i <= 2000; i++)
		put(store, SPOOL_RECORD, "r", i, START_US + i);
	for (unsigned int i = 1; i <= 300; i++) {
		put(store, SPOOL_VIOLATION, "v", i, i <= 200 ? START_US + i : now - i);
		put(store, SPOOL_SUBJECT, "s", i, i <= 200 ? START_US + i : now - i);
	}
	put(store, SPOOL_VIOLATION, "v", 1000, 0);
	assert_int_equal(store_commit(store), 0);
	assert_int_equal(store_trim(store, now, dropped), 0);
	assert_int_equal(dropped[SPOOL_DROP_AGE], 999);
	assert_int_equal(dropped[SPOOL_DROP_FULL], 0);
	expect_records(store, 0, 1000, 2000, 1000);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(store, false, 1, INT64_MAX, UINT32_MAX, rows_tell, &told,
	                                  &more),
	                 0);
	assert_int_equal(told.n, 100);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(store, true, 0, INT64_MAX, 9, rows_tell, &told, &more),
	                 0);
	assert_int_equal(told.n, 1); /* open ones have no age */
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_subjects(store, rows_tell, &told), 0);
	assert_int_equal(told.n, 100);
}

/* A row that somebody changed: SQLite takes it for sound. */
static void changed_rows_are_not_told(void **state)
{
	struct store *store = open_store(16 * MIB);
	struct store_stats stats;
	sqlite3 *db;

	(void)state;
	put_records(store, 1, 20);
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = 1; i <= 4; i++)
		put(store, SPOOL_SUBJECT, "s", i, START_US + i);
	assert_int_equal(store_commit(store), 0);
	store = store_free(store);
	assert_int_equal(sqlite3_open(in_folder("spool.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
	                              "UPDATE record SET body = x'00' WHERE id = 3;"
	                              "UPDATE record SET wall_us = wall_us + 1 WHERE id = 5;"
	                              "UPDATE record SET key = 'r8' WHERE id = 7;"
	                              "UPDATE record SET key = NULL WHERE id = 9;"
	                              "UPDATE record SET id = 30 WHERE id = 11;"
	                              "UPDATE record SET body = 17 WHERE id = 13;"
	                              "UPDATE record SET body = NULL WHERE id = 15;"
	                              "UPDATE record SET key = printf('%0100d', 1) WHERE id = 17;"
	                              "UPDATE subject SET sum = sum + 1 WHERE id = 2",
	                              NULL, NULL, NULL),
	                 SQLITE_OK);
	sqlite3_close(db);

	store = open_store(16 * MIB);
	memset(&told, 0, sizeof(told));
	bool more;
	assert_int_equal(store_records(store, 0, UINT32_MAX, UINT32_MAX, rows_tell, &told, &more),
	                 0);
	assert_int_equal(told.wrong, 0);
	assert_int_equal(told.n, 12);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_subjects(store, rows_tell, &told), 0);
	assert_int_equal(told.n, 3);
	assert_int_equal(store_stats(store, &stats), 0);
	assert_int_equal(stats.waiting, 12);
	assert_int_equal(stats.corrupt, 9);
	assert_int_equal(stats.corrupt_records, 8);
	store_free(store);
}

static void others_files_are_left_alone(void **state)
{
	static const struct {
		const char *sql;
		int error;
	} rows[] = {
		{ "CREATE TABLE record(a)", -EMEDIUMTYPE },
		{ "PRAGMA application_id = 7; CREATE TABLE t(a)", -EMEDIUMTYPE },
		{ "PRAGMA application_id = 1164400230; PRAGMA user_version = 2", -EMEDIUMTYPE },
		{ "PRAGMA application_id = 1164400230; PRAGMA user_version = 1", -EBADMSG },
		{ NULL, -EBADMSG }, /* no database */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *store = NULL;
		uint64_t size;
		sqlite3 *db;
		int fd;

		if (rows[i].sql) {
			assert_int_equal(sqlite3_open(in_folder("spool.db"), &db), SQLITE_OK);
			assert_int_equal(sqlite3_exec(db, rows[i].sql, NULL, NULL, NULL),
			                 SQLITE_OK);
			sqlite3_close(db);
		} else {
			memset(body, 'g', sizeof(body));
			fd = open(in_folder("spool.db"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
			assert_int_equal(write(fd, body, sizeof(body)), sizeof(body));
			close(fd);
		}
		size = size_of(in_folder("spool.db"));
		if (store_open(in_folder("spool.db"), MIB, &store) != rows[i].error)
			fail_msg("row %zu", i);
		assert_int_equal(size_of(in_folder("spool.db")), size);
		assert_int_equal(size_of(in_folder("spool.db-wal")), 0);
		assert_int_equal(unlink(in_folder("spool.db")), 0);
	}
}

static void memory_hides_and_moves(void **state)
{
	cleanup(store_freep) struct store *disk = open_store(16 * MIB), *memory = NULL;
	const struct spool_row none[] = { { .table = SPOOL_VIOLATION, .key = "v1" },
		                          { .table = SPOOL_SUBJECT, .key = "s1" } };
	uint64_t dropped[_SPOOL_DROP_MAX] = { 0 };
	bool more, has = false;

	(void)state;
	put_records(disk, 1, 5);
	assert_int_equal(store_begin(disk), 0);
	put(disk, SPOOL_VIOLATION, "v", 1, 0);
	put(disk, SPOOL_VIOLATION, "v", 2, 0);
	put(disk, SPOOL_SUBJECT, "s", 1, START_US);
	assert_int_equal(store_commit(disk), 0);

	assert_int_equal(store_open(NULL, SPOOL_MEMORY_BYTES, &memory), 0);
	assert_int_equal(store_skip(memory, store_next(disk)), 0);
	put_records(memory, 6, 3000);
	assert_int_equal(store_begin(memory), 0);
	assert_int_equal(store_put(memory, &none[0]), 0);
	assert_int_equal(store_put(memory, &none[1]), 0);
	put(memory, SPOOL_VIOLATION, "v", 2, START_US);
	put(memory, SPOOL_VIOLATION, "v", 3, 0);
	assert_int_equal(store_commit(memory), 0);
	assert_int_equal(store_has(memory, SPOOL_VIOLATION, "v1", &has), 0);
	assert_true(has);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(memory, true, 0, INT64_MAX, 9, rows_tell, &told, &more),
	                 0);
	assert_int_equal(told.n, 1); /* what only hides is not told */
	assert_int_equal(store_done(memory, 7), 0);

	assert_int_equal(store_copy(memory, disk, dropped), 0);
	expect_records(memory, 0, 1, 0, 0);
	expect_records(disk, 5, 8, 3000, 8);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_violations(disk, true, 0, INT64_MAX, 9, rows_tell, &told, &more), 0);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.key[0], 3);
	memset(&told, 0, sizeof(told));
	assert_int_equal(store_subjects(disk, rows_tell, &told), 0);
	assert_int_equal(told.n, 0);
	assert_true(disk_bytes() < 16 * MIB);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_come_in_order),         TEST(numbers_rise_for_ever),
		TEST(rows_with_keys_are_replaced),   TEST(an_empty_body_is_a_row),
		TEST(a_transaction_is_whole_or_not), TEST(files_are_nobody_elses),
		TEST(only_one_process_has_it),       TEST(what_is_too_old_goes),
		TEST(changed_rows_are_not_told),     TEST(others_files_are_left_alone),
		TEST(memory_hides_and_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
