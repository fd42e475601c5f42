/* One database: order, numbers, atomicity, bounds. */
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <time.h>

#include "spool/rows.h"

#define MIB (1ULL << 20)

static struct told told;
static char body[ROWS_BODY_MAX];

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

static struct store *open_store(uint64_t max_bytes)
{
	struct store *store = NULL;

	assert_int_equal(store_open(in_folder("spool.db"), max_bytes, &store), 0);
	return store;
}

static int try_put(struct store *store, enum spool_table table, const char *prefix, unsigned int n,
                   int64_t wall_us)
{
	const struct spool_row row = rows_make(table, prefix, n, wall_us, body);

	return store_put(store, &row);
}

static void put(struct store *store, enum spool_table table, const char *prefix, unsigned int n,
                int64_t wall_us)
{
	assert_int_equal(try_put(store, table, prefix, n, wall_us), 0);
}

static void put_records(struct store *store, unsigned int from, unsigned int to)
{
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = from; i <= to; i++)
		put(store, SPOOL_RECORD, "r", i, START_US + i);
	assert_int_equal(store_commit(store), 0);
}

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

/* The bound holds on disk, at every moment, and the newest are what stays. */
static void the_bound_is_hard(void **state)
{
	static const uint64_t bounds[] = { MIB, 4 * MIB, 24 * MIB };

	(void)state;
	for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
		cleanup(store_freep) struct store *store = open_store(bounds[b]);
		uint64_t dropped[_SPOOL_DROP_MAX] = { 0 }, most = 0;
		unsigned int n = 0, last;
		struct store_stats stats;

		while (n < 100 + 3 * bounds[b] / 2000) {
			size_t weight = 0;

			assert_int_equal(store_make_room(store, dropped), 0);
			assert_int_equal(store_begin(store), 0);
			while (weight < store_weight_max(store) * 9 / 10) {
				enum spool_table table = n % 3 ? SPOOL_RECORD : SPOOL_VIOLATION;
				const struct spool_row row =
					rows_make(table, n % 50 ? "r" : "h", n, START_US + n, body);

				if (weight && weight + store_weight(&row) > store_weight_max(store))
					break;
				weight += store_weight(&row);
				assert_int_equal(store_put(store, &row), 0);
				n++;
			}
			assert_int_equal(store_commit(store), 0);
			most = disk_bytes() > most ? disk_bytes() : most;
		}
		assert_true(most <= bounds[b]);
		assert_true(dropped[SPOOL_DROP_FULL] > 0);
		assert_int_equal(store_stats(store, &stats), 0);
		assert_int_equal(dropped[SPOOL_DROP_FULL] + stats.waiting, n - (n + 2) / 3);
		memset(&told, 0, sizeof(told));
		bool more;
		assert_int_equal(store_records(store, 0, UINT32_MAX, UINT32_MAX, rows_tell, &told,
		                               &more),
		                 0);
		assert_int_equal(told.wrong, 0);
		assert_int_equal(told.n, stats.waiting);
		last = (n - 1) % 3 ? n - 1 : n - 2;
		assert_int_equal(told.key[told.n - 1], last);
		for (unsigned int i = 1; i < told.n; i++)
			assert_int_equal(told.number[i], told.number[i - 1] + 1);
		assert_true(stats.bytes > bounds[b] / 4);
		printf("bound %llu KiB: at most %llu KiB on disk, %u records kept, %llu dropped\n",
		       (unsigned long long)bounds[b] >> 10, (unsigned long long)most >> 10, told.n,
		       (unsigned long long)dropped[SPOOL_DROP_FULL]);
		store = store_free(store);
		assert_int_equal(unlink(in_folder("spool.db")), 0);
	}
}

/* Without anybody who makes room in time: an error, all as before, and room can be made then. */
static void a_full_store_can_be_emptied(void **state)
{
	cleanup(store_freep) struct store *store = open_store(2 * MIB);
	uint64_t dropped[_SPOOL_DROP_MAX] = { 0 };
	struct store_stats before, after;
	unsigned int n = 0;
	int r;

	(void)state;
	do {
		assert_int_equal(store_stats(store, &before), 0);
		assert_int_equal(store_begin(store), 0);
		r = 0;
		for (unsigned int i = 0; i < 10 && r == 0; i++)
			r = try_put(store, SPOOL_RECORD, "r", n + i, START_US);
		if (r == 0)
			r = store_commit(store);
		store_rollback(store);
		n += 10;
	} while (r == 0);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(store_stats(store, &after), 0);
	assert_int_equal(after.waiting, before.waiting);
	assert_true(disk_bytes() <= 2 * MIB);
	assert_int_equal(store_trim(store, START_US, dropped), 0);
	assert_true(dropped[SPOOL_DROP_FULL] > 0);
	put_records(store, n, n + 10);
	assert_true(disk_bytes() <= 2 * MIB);
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

/* Killed wherever it is: what it was told is committed is there. */
static void nothing_committed_is_lost_by_a_kill(void **state)
{
	struct timespec pause = { 0 };
	unsigned int seed = 20261121, sum = 0, n = 0;
	int64_t done = 0;

	(void)state;
	printf("kills: seed %u\n", seed);
	for (int round = 0; round < 100; round++) {
		int fds[2], status;
		unsigned int last = n, got;
		struct store *store;
		pid_t pid;

		assert_int_equal(pipe(fds), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			store = open_store(8 * MIB);
			for (unsigned int i = n + 1;; i++) {
				put_records(store, i, i);
				if (write(fds[1], &i, sizeof(i)) != sizeof(i))
					_exit(1);
				if (i % 50 == 0 && store_done(store, store_next(store) - 60) < 0)
					_exit(1);
			}
		}
		close(fds[1]);
		assert_int_equal(read(fds[0], &got, sizeof(got)), sizeof(got)); /* it runs */
		pause.tv_nsec = (long)(rand_r(&seed) % 12000000);
		nanosleep(&pause, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		do
			last = got;
		while (read(fds[0], &got, sizeof(got)) == sizeof(got));
		close(fds[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));

		store = open_store(8 * MIB);
		memset(&told, 0, sizeof(told));
		bool more;
		assert_int_equal(store_records(store, 0, UINT32_MAX, UINT32_MAX, rows_tell, &told,
		                               &more),
		                 0);
		assert_int_equal(told.wrong, 0);
		assert_true(told.n > 0);
		/* One may have been committed that nobody was told of. */
		assert_true(told.key[told.n - 1] == last || told.key[told.n - 1] == last + 1);
		for (unsigned int i = 1; i < told.n; i++) {
			assert_int_equal(told.key[i], told.key[i - 1] + 1);
			assert_int_equal(told.number[i], told.number[i - 1] + 1);
		}
		assert_true(told.number[told.n - 1] > done);
		done = told.number[told.n - 1];
		sum += told.key[told.n - 1] - n;
		n = told.key[told.n - 1];
		store_free(store);
	}
	printf("kills: 100, %u rows committed, none lost\n", sum);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void how_fast(void **state)
{
	cleanup(store_freep) struct store *store = open_store(256 * MIB);
	double start = seconds(), took;
	unsigned int n = 0;
	char *big = calloc(1, 1500);
	struct spool_row row = { .table = SPOOL_RECORD, .key = "k", .body = big, .len = 1500 };
	struct store_stats stats = { 0 };

	(void)state;
	for (; n < 200; n++)
		put_records(store, n, n);
	took = seconds() - start;
	printf("speed: %.0f commits of a record a second\n", n / took);
	start = seconds();
	for (n = 0; n < 40; n++)
		put_records(store, 256 * n, 256 * n + 255);
	took = seconds() - start;
	printf("speed: %.0f rows a second in transactions of 256\n", 256 * n / took);
	while (stats.bytes < 200 * MIB) {
		assert_int_equal(store_begin(store), 0);
		for (int i = 0; i < 500; i++)
			assert_int_equal(store_put(store, &row), 0);
		assert_int_equal(store_commit(store), 0);
		assert_int_equal(store_stats(store, &stats), 0);
	}
	free(big);
	store = store_free(store);
	start = seconds();
	store = open_store(256 * MIB);
	printf("speed: %.3f s to open 200 MiB\n", seconds() - start);
	store = store_free(store);
	sqlite3 *db;
	start = seconds();
	assert_int_equal(sqlite3_open(in_folder("spool.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA cache_size=-512; PRAGMA quick_check", NULL, NULL,
	                              NULL),
	                 SQLITE_OK);
	printf("speed: %.3f s for a quick_check of 200 MiB in the page cache\n", seconds() - start);
	sqlite3_close(db);
	assert_true(strcmp(store_version(), sqlite3_libversion()) == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_come_in_order),
		TEST(numbers_rise_for_ever),
		TEST(rows_with_keys_are_replaced),
		TEST(an_empty_body_is_a_row),
		TEST(a_transaction_is_whole_or_not),
		TEST(files_are_nobody_elses),
		TEST(only_one_process_has_it),
		TEST(the_bound_is_hard),
		TEST(a_full_store_can_be_emptied),
		TEST(what_is_too_old_goes),
		TEST(changed_rows_are_not_told),
		TEST(others_files_are_left_alone),
		TEST(memory_hides_and_moves),
		TEST(nothing_committed_is_lost_by_a_kill),
		TEST(how_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
