/*
 * Disks that fail: each write, read and fsync in turn, a bound on files, and a file that was cut or
 * changed anywhere. What was told is what was written; what was kept is there, in memory if not on disk.
 */
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <time.h>

#include "spool/mounts.h"
#include "spool/spools.h"

/* A disk whose n-th call, or that and all after it, fails */

#if defined(__SANITIZE_ADDRESS__)
#define STEP 7 /* each costs more */
#else
#define STEP 1
#endif

enum fault { READS, WRITES, SYNCS, _FAULT_MAX };

static struct {
	sqlite3_vfs vfs, *real;
	/* Of databases and of logs, which have no locks. */
	sqlite3_io_methods methods[2];
	const sqlite3_io_methods *real_methods[2];
	enum fault fault;
	unsigned int calls, fails_at; /* from 1; 0: never */
	bool for_ever;
	int error; /* errno that the system had */
} shim;

static bool fails(enum fault fault)
{
	if (fault != shim.fault || shim.fails_at == 0)
		return false;
	shim.calls++;
	errno = shim.error;
	return shim.calls == shim.fails_at || (shim.for_ever && shim.calls > shim.fails_at);
}

static const sqlite3_io_methods *real(const sqlite3_file *file)
{
	return shim.real_methods[file->pMethods == &shim.methods[1]];
}

static int shim_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
	return fails(READS) ? SQLITE_IOERR_READ : real(file)->xRead(file, out, n, offset);
}

static int shim_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
	if (fails(WRITES))
		return shim.error == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	return real(file)->xWrite(file, data, n, offset);
}

static int shim_sync(sqlite3_file *file, int flags)
{
	return fails(SYNCS) ? SQLITE_IOERR_FSYNC : real(file)->xSync(file, flags);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	int result = shim.real->xOpen(shim.real, name, file, flags, out),
	    log = !(flags & SQLITE_OPEN_MAIN_DB);

	(void)vfs;
	if (result != SQLITE_OK)
		return result;
	shim.real_methods[log] = file->pMethods;
	shim.methods[log] = *file->pMethods;
	shim.methods[log].xRead = shim_read;
	shim.methods[log].xWrite = shim_write;
	shim.methods[log].xSync = shim_sync;
	file->pMethods = &shim.methods[log];
	return SQLITE_OK;
}

static int shim_set_up(void **state)
{
	(void)state;
	shim.real = sqlite3_vfs_find(NULL);
	shim.vfs = *shim.real;
	shim.vfs.pNext = NULL;
	shim.vfs.zName = "shim";
	shim.vfs.xOpen = shim_open;
	return sqlite3_vfs_register(&shim.vfs, 1) == SQLITE_OK ? 0 : -1;
}

static bool had[400];

/* All that were put have been told since the beginning, each at least once, and the newest last. */
static void expect_all(unsigned int n)
{
	for (unsigned int i = 1; i <= n; i++)
		if (!had[i])
			fail_msg("%u of %u is missing", i, n);
}

/* As an exporter does: reads on from where it was, and says what it sent. */
static void export(struct spool *spool, int64_t *after, bool done)
{
	read_records(spool, *after, UINT32_MAX);
	for (unsigned int i = 0; i < told.n; i++)
		had[told.key[i]] = true;
	if (told.n)
		*after = told.number[told.n - 1];
	if (done)
		spool_done(spool, *after);
}

/* True when it failed at all. */
static bool one_fault(enum fault fault, unsigned int n, bool for_ever, int error)
{
	struct spool *spool;
	int64_t after = 0;
	bool failed;

	memset(had, 0, sizeof(had));
	shim.fails_at = 0;
	spool = open_spool();
	put_changes(spool, 1, 40);
	spool_free(spool);

	shim.fault = fault;
	shim.error = error;
	shim.for_ever = for_ever;
	shim.calls = 0;
	shim.fails_at = n;
	spool = open_spool();
	put_changes(spool, 41, 60);
	export(spool, &after, true);
	put_changes(spool, 61, 80);
	export(spool, &after, false);
	spool_tick(spool, &now);
	retry(spool);
	put_changes(spool, 81, 100);
	failed = shim.calls >= n;
	shim.fails_at = 0; /* it is well again */
	retry(spool);
	if (spool_state(spool)->degraded)
		fail_msg("call %u of kind %d: still %s", n, fault, spool_state(spool)->reason);
	put_changes(spool, 101, 110);
	/* An agent that starts now: what was not done is there. */
	spool = spool_free(spool);
	spool = open_spool();
	after = 0;
	export(spool, &after, true);
	expect_all(110);
	assert_int_equal(all_dropped(spool), 0);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n, 0);
	spool_remove(spool);
	spool_free(spool);
	return failed;
}

static void every_call_fails(void)
{
	static const int errors[] = { EIO, ENOSPC, EROFS };
	static const char *const names[] = { "reads", "writes", "fsyncs" };

	small_disk("size=16m,mode=0700"); /* an fsync(2) that does not wait */
	for (int fault = 0; fault < _FAULT_MAX; fault++)
		for (int for_ever = 0; for_ever < 2; for_ever++)
			for (size_t e = 0; e < (fault == WRITES ? 3 : 1); e++) {
				unsigned int n = 1;

				while (one_fault(fault, n, for_ever, errors[e]))
					n += STEP;
				assert_true(n > 3);
				printf("%s%s fail with %s, each up to %u: nothing lost\n",
				       names[fault], for_ever ? " and all after it" : "",
				       strerror(errors[e]), n);
			}
}

/* The kernel's own: EFBIG. */
static void a_bounded_file(void)
{
	struct spool *spool = open_spool();
	struct rlimit limit = { 100 << 10, RLIM_INFINITY };

	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	put_changes(spool, 1, 10);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	put_changes(spool, 11, 300);
	expect_degraded(spool, "no space left");
	expect_changes(spool, 0, 1, 300);
	limit.rlim_cur = RLIM_INFINITY;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	retry(spool);
	assert_false(spool_state(spool)->degraded);
	expect_changes(spool, 0, 1, 300);
	spool_free(spool);
	spool = open_spool();
	expect_changes(spool, 0, 1, 300);
	spool_free(spool);
}

static void every_call_fails_(void **state)
{
	(void)state;
	in_child(every_call_fails, CLONE_NEWNS);
}

static void a_bounded_file_(void **state)
{
	(void)state;
	in_child(a_bounded_file, 0);
}

/* Files that were changed */

#define RUNS 1000
#define ROUND 120 /* changes */

static char *slurp(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data;

	*size = (size_t)size_of(path);
	data = malloc(*size + 1);
	assert_true(fd >= 0 && data);
	assert_int_equal(read(fd, data, *size), *size);
	close(fd);
	return data;
}

static void spill(const char *path, const char *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

struct damage {
	unsigned long long kept, lost, silent, replaced, whole;
};

/* With what is in the folder: starts, tells what is true, says what it lost, and goes on. */
static void start_damaged(struct damage *damage, bool log)
{
	struct spool *spool = open_spool();
	const struct spool_state *s = spool_state(spool);
	unsigned int records, violations = 0, next;
	uint64_t lost;
	int64_t last;
	bool more;

	assert_false(s->degraded);
	memset(&told, 0, sizeof(told));
	spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	spool_violations(spool, false, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
	spool_subjects(spool, rows_tell, &told);
	assert_int_equal(told.wrong, 0);
	violations = told.n;
	read_records(spool, 0, UINT32_MAX);
	records = told.n;
	last = records ? told.number[records - 1] : 0;
	for (unsigned int i = 1; i < records; i++)
		assert_true(told.key[i] > told.key[i - 1]);
	next = records ? told.key[records - 1] + 1 : 1;
	lost = s->dropped[SPOOL_DROP_CORRUPT];
	assert_int_equal(all_dropped(spool), lost);
	assert_true(records + lost <= ROUND);
	/* Rows that are missing within the others are known to be; without a word only a log's end goes. */
	assert_true(records == 0 || records + lost >= told.key[records - 1]);
	if (records < ROUND && !log)
		assert_true(s->reason[0] != '\0');
	damage->kept += records + violations;
	damage->lost += lost;
	damage->silent += ROUND - records - lost;
	damage->replaced += strstr(s->reason, "was corrupt") != NULL;
	damage->whole += records == ROUND;
	if (strstr(s->reason, "was corrupt"))
		assert_int_equal(access(in_folder("spool.db.corrupt"), F_OK), 0);
	put_changes(spool, next, next + 2);
	expect_changes(spool, last, next, next + 2);
	assert_false(s->degraded);
	spool_free(spool);
	assert_int_equal(system("exec rm -f spool.*"), 0);
}

static void damaged_files(void)
{
	static const char *const kinds[] = { "cut", "bit of", "page of" };
	size_t size[2];
	char *data[2];
	unsigned int seed = 20261121;

	/* In memory: it is the file that matters, not how long a disk takes. */
	small_disk("size=64m,mode=0700");
	assert_int_equal(chdir(folder), 0);
	printf("damage: seed %u\n", seed);
	for (int log = 0; log < 2; log++) {
		struct spool *spool = open_spool();
		struct damage damages[3] = { 0 };

		put_changes(spool, 1, ROUND);
		if (!log)
			spool = spool_free(spool);
		data[0] = slurp("spool.db", &size[0]);
		data[1] = log ? slurp("spool.db-wal", &size[1]) : NULL;
		spool_free(spool);
		for (int run = 0; run < (log ? RUNS / 4 : RUNS); run++) {
			struct damage *damage = &damages[run % 3];
			int which = log ? rand_r(&seed) % 2 : 0;
			size_t at = (size_t)rand_r(&seed) % size[which];
			char *copy = malloc(size[which]);

			assert_non_null(copy);
			memcpy(copy, data[which], size[which]);
			if (run % 3 == 1)
				copy[at] ^= (char)(1 << (rand_r(&seed) % 8));
			if (run % 3 == 2)
				for (size_t i = at & ~4095UL; i < size[which] && i <= (at | 4095);
				     i++)
					copy[i] = (char)rand_r(&seed);
			spill("spool.db", which == 0 ? copy : data[0],
			      which == 0 && run % 3 == 0 ? at : size[0]);
			if (log)
				spill("spool.db-wal", which == 1 ? copy : data[1],
				      which == 1 && run % 3 == 0 ? at : size[1]);
			free(copy);
			start_damaged(damage, log);
		}
		for (int i = 0; i < 3; i++)
			printf("damage: %s a file%s: %llu rows kept, %llu records said to be lost, "
			       "%llu beyond the end that is left; %llu files replaced, %llu "
			       "complete\n",
			       kinds[i], log ? " with its log" : "", damages[i].kept,
			       damages[i].lost, damages[i].silent, damages[i].replaced,
			       damages[i].whole);
		assert_true(damages[1].kept > damages[1].lost * 50);
		free(data[0]);
		free(data[1]);
		assert_int_equal(system("exec rm -f spool.*"), 0);
	}
}

static void damaged_files_(void **state)
{
	(void)state;
	in_child(damaged_files, CLONE_NEWNS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_call_fails_),
		TEST(a_bounded_file_),
		TEST(damaged_files_),
	};

	log_set_level(_LOG_MAX);
	return cmocka_run_group_tests(tests, shim_set_up, NULL);
}
