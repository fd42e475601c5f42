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
static unsigned int newest; /* of those that were told */

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
	for (unsigned int i = 0; i < told.n; i++) {
		/* Again, perhaps; for the first time only after all that are older. */
		if (!had[told.key[i]] && told.key[i] < newest)
			fail_msg("%u is told after %u", told.key[i], newest);
		had[told.key[i]] = true;
		newest = told.key[i] > newest ? told.key[i] : newest;
	}
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
	newest = 0;
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
					n += errors[e] == EIO
					             ? STEP
					             : 3 * STEP; /* the calls are the same */
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
#define ROUND 120    /* changes */
#define LOG_ROUND 24 /* all of which the log holds: none is in the database yet */

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
	unsigned long long kept, lost, silent, replaced, whole, unknown;
};

/* The database, its log when it was not closed, and what should be in them. */
enum file { DB, LOG, TALLY, _FILE_MAX };
static const char *const files[] = { "spool.db", "spool.db-wal", "spool.db-tally" };
struct image {
	unsigned int n; /* changes */
	char *data[_FILE_MAX];
	size_t size[_FILE_MAX];
};

enum kind { CUT, BIT, PAGE, _KIND_MAX };

/*
 * With what is in the folder: starts, tells what is true, says what it lost, and goes on. What is told and what is said to be
 * lost are all that was kept, but for `unsaid` records, or an unknown number of them, which is said.
 */
static void start_damaged(struct damage *damage, unsigned int n, unsigned int unsaid)
{
	struct spool *spool = open_spool();
	const struct spool_state *s = spool_state(spool);
	unsigned int records, violations = 0, next;
	uint64_t lost;
	int64_t last;
	bool more, unknown;

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
	unknown = strstr(s->reason, "an unknown number") != NULL;
	assert_int_equal(all_dropped(spool), lost);
	if (records + lost > n || (!unknown && records + lost + unsaid < n))
		fail_msg("%u told, %u said to be lost of %u: %s", records, (unsigned int)lost, n,
		         s->reason);
	/* Rows that are missing within the others are known to be. */
	assert_true(records == 0 || records + lost >= told.key[records - 1]);
	if (lost)
		assert_true(s->reason[0] != '\0');
	damage->kept += records + violations;
	damage->lost += lost;
	damage->silent += n - records - lost;
	damage->replaced += strstr(s->reason, "was corrupt") != NULL;
	damage->whole += records == n;
	damage->unknown += unknown;
	if (strstr(s->reason, "was corrupt"))
		assert_int_equal(access(in_folder("spool.db.corrupt"), F_OK), 0);
	put_changes(spool, next, next + 2);
	expect_changes(spool, last, next, next + 2);
	assert_false(s->degraded);
	spool = spool_free(spool);
	/* Said once. */
	spool = open_spool();
	assert_int_equal(all_dropped(spool), 0);
	spool_free(spool);
	assert_int_equal(system("exec rm -f spool.*"), 0);
}

/* `closed`: at its end the log is in the database. */
static void make_image(bool closed, struct image *image)
{
	struct spool *spool = open_spool();

	image->n = closed ? ROUND : LOG_ROUND;
	put_changes(spool, 1, image->n);
	if (closed)
		spool = spool_free(spool);
	for (int i = 0; i < _FILE_MAX; i++)
		image->data[i] = closed && i == LOG ? NULL : slurp(files[i], &image->size[i]);
	spool_free(spool);
	assert_int_equal(system("exec rm -f spool.*"), 0);
}

static void spill_damaged(const struct image *image, enum file file, enum kind kind,
                          unsigned int *seed)
{
	size_t size = image->size[file], at = (size_t)rand_r(seed) % size;
	char *copy = malloc(size);

	assert_non_null(copy);
	memcpy(copy, image->data[file], size);
	if (kind == BIT)
		copy[at] ^= (char)(1 << (rand_r(seed) % 8));
	if (kind == PAGE)
		for (size_t i = at & ~4095UL; i < size && i <= (at | 4095); i++)
			copy[i] = (char)rand_r(seed);
	spill(files[file], copy, kind == CUT ? at : size);
	free(copy);
}

/* `file` is damaged; `also`: the tally with it. */
static void damage_image(const struct image *image, enum file file, bool also, unsigned int runs,
                         unsigned int *seed)
{
	static const char *const kinds[] = { "cut", "bit of", "page of" };
	struct damage damages[_KIND_MAX] = { 0 };

	for (unsigned int run = 0; run < runs; run++) {
		enum kind kind = (enum kind)(run % _KIND_MAX);

		for (int i = 0; i < _FILE_MAX; i++)
			if (i == (int)file || (also && i == TALLY))
				spill_damaged(image, (enum file)i, kind, seed);
			else if (image->data[i])
				spill(files[i], image->data[i], image->size[i]);
		/* A slot of the tally that was damaged leaves the other one: without the newest commit. */
		start_damaged(&damages[kind], image->n, also || file == TALLY);
		assert_true(file != TALLY || damages[kind].lost == 0);
	}
	for (int i = 0; i < _KIND_MAX; i++)
		printf("damage: %s %s%s%s: %llu rows kept, %llu records said to be lost, %llu not "
		       "said, %llu times an unknown number; %llu files replaced, %llu complete\n",
		       kinds[i], files[file], also ? " and its tally" : "",
		       image->data[LOG] ? " with a log" : "", damages[i].kept, damages[i].lost,
		       damages[i].silent, damages[i].unknown, damages[i].replaced,
		       damages[i].whole);
	/* Nothing of it is in the database when the log has everything. */
	assert_true(file == TALLY || (file == DB && image->data[LOG]) || damages[CUT].lost > 0);
	assert_true(file != DB || damages[BIT].kept > damages[BIT].lost * 20);
}

static void free_image(struct image *image)
{
	for (int i = 0; i < _FILE_MAX; i++)
		free(image->data[i]);
}

static void damaged_files(void)
{
	unsigned int seed = 20261121;
	struct image closed, open;

	/* In memory: it is the file that matters, not how long a disk takes. */
	small_disk("size=64m,mode=0700");
	assert_int_equal(chdir(folder), 0);
	printf("damage: seed %u\n", seed);
	make_image(true, &closed);
	make_image(false, &open);
	damage_image(&closed, DB, false, RUNS, &seed);
	damage_image(&closed, DB, true, RUNS / 10, &seed);
	damage_image(&closed, TALLY, false, RUNS / 10, &seed);
	damage_image(&open, DB, false, RUNS / 8, &seed);
	damage_image(&open, LOG, false, RUNS / 4, &seed);
	damage_image(&open, LOG, true, RUNS / 10, &seed);
	free_image(&closed);
	free_image(&open);
}

/* Power was lost: the tally is older than a log that is damaged, by as much as is said. */
static void an_old_tally(void)
{
	struct damage damage = { 0 };
	unsigned int seed = 20261121;

	small_disk("size=64m,mode=0700");
	assert_int_equal(chdir(folder), 0);
	for (unsigned int old = 0; old < LOG_ROUND; old += 4)
		for (int run = 0; run < 9; run++) {
			struct spool *spool = open_spool();
			struct image image = { 0 };

			put_changes(spool, 1, LOG_ROUND - old);
			image.data[TALLY] = slurp(files[TALLY], &image.size[TALLY]);
			put_changes(spool, LOG_ROUND - old + 1, LOG_ROUND);
			for (int i = DB; i <= LOG; i++)
				image.data[i] = slurp(files[i], &image.size[i]);
			spool_free(spool);
			assert_int_equal(system("exec rm -f spool.*"), 0);
			spill(files[DB], image.data[DB], image.size[DB]);
			spill(files[TALLY], image.data[TALLY], image.size[TALLY]);
			spill_damaged(&image, LOG, (enum kind)(run % _KIND_MAX), &seed);
			start_damaged(&damage, LOG_ROUND, old);
			free_image(&image);
		}
	assert_true(damage.lost > 0 && damage.silent > 0 && damage.unknown == 0);
	printf("damage: a log, and a tally that is older: %llu records said to be lost, %llu not\n",
	       damage.lost, damage.silent);
}

static void an_old_tally_(void **state)
{
	(void)state;
	in_child(an_old_tally, CLONE_NEWNS);
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
		TEST(an_old_tally_),
	};

	log_set_level(_LOG_MAX);
	return cmocka_run_group_tests(tests, shim_set_up, NULL);
}
