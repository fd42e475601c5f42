/* One database and its disk: the bound, kills, speed. */
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <time.h>

#include "spool/stores.h"

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
		TEST(the_bound_is_hard),
		TEST(a_full_store_can_be_emptied),
		TEST(nothing_committed_is_lost_by_a_kill),
		TEST(how_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
