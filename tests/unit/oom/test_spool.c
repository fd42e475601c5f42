/* The spool when memory runs out: what was put is told, or counted; never lost without a word. */
#include "test.h"

#include "oom/oom.h"
#include "spool/spools.h"

#define CHANGES 5

static void forget_files(void)
{
	static const char *const names[] = {
		"spool.db",       "spool.db-wal",     "spool.db.new",        "spool.db.new-wal",
		"spool.db-tally", "spool.db.corrupt", "spool.db.corrupt-wal"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(in_folder(names[i]));
}

/* Nothing that was dropped for another reason, and nothing put aside as corrupt that was not. */
static void expect_told_or_counted(struct spool *spool)
{
	const struct spool_state *s = spool_state(spool);

	retry(spool); /* there is memory again */
	if (s->degraded)
		fail_msg("still: %s", s->reason);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n + s->dropped[SPOOL_DROP_FAILED], CHANGES);
	assert_int_equal(all_dropped(spool), s->dropped[SPOOL_DROP_FAILED]);
	assert_int_equal(access(in_folder("spool.db.corrupt"), F_OK), -1);
}

static void keep_changes(void)
{
	struct spool *spool = NULL;
	int r;

	forget_files();
	oom_begin();
	r = spool_new(folder, 16 * MIB, NULL, &now, &spool);
	if (r == 0)
		put_changes(spool, 1, CHANGES);
	oom_end();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		return;
	}
	expect_told_or_counted(spool);
	spool_free(spool);
}

/* Opened, read, sent, moved from memory to the disk. */
static void read_changes(void)
{
	struct spool *spool = NULL;
	bool more;
	int r;

	forget_files();
	spool = open_spool();
	put_changes(spool, 1, CHANGES);
	spool_free(spool);
	oom_begin();
	r = spool_new(folder, 16 * MIB, NULL, &now, &spool);
	if (r == 0) {
		memset(&told, 0, sizeof(told));
		spool_violations(spool, true, 0, INT64_MAX, UINT32_MAX, rows_tell, &told, &more);
		spool_records(spool, 0, UINT32_MAX, UINT32_MAX, rows_tell, &told, &more);
		retry(spool);
	}
	oom_end();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		return;
	}
	assert_int_equal(told.wrong, 0);
	expect_told_or_counted(spool);
	spool_done(spool, told.number[told.n - 1]);
	read_records(spool, 0, UINT32_MAX);
	assert_int_equal(told.n, 0);
	spool_free(spool);
}

/* A file with a page that is none. */
static void salvage_changes(void)
{
	static const char nothing[4096];
	struct spool *spool;
	const struct spool_state *s;
	int r, fd;

	forget_files();
	spool = open_spool();
	put_changes(spool, 1, CHANGES);
	spool_free(spool);
	fd = open(in_folder("spool.db"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, nothing, sizeof(nothing), 0), sizeof(nothing));
	close(fd);
	oom_begin();
	r = spool_new(folder, 16 * MIB, NULL, &now, &spool);
	oom_end();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		return;
	}
	s = spool_state(spool);
	retry(spool);
	if (s->degraded)
		fail_msg("still: %s", s->reason);
	expect_changes(spool, 0, 1, CHANGES);
	assert_int_equal(all_dropped(spool), 0);
	spool_free(spool);
}

static void no_memory_to_keep(void **state)
{
	(void)state;
	oom_run("spool, keep", keep_changes, 100, OOM_ALL);
}

static void no_memory_to_read(void **state)
{
	(void)state;
	oom_run("spool, read", read_changes, 100, OOM_ALL);
}

static void no_memory_to_salvage(void **state)
{
	(void)state;
	oom_run("spool, salvage", salvage_changes, 100, OOM_ALL);
}

static int set_up(void **state)
{
	/* No disk: files are written often. */
	snprintf(folder, sizeof(folder), "/dev/shm/eva-spool-%d-XXXXXX", getpid());
	return mkdtemp(folder) ? oom_set_up(state) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_memory_to_keep),
		cmocka_unit_test(no_memory_to_read),
		cmocka_unit_test(no_memory_to_salvage),
	};

	return cmocka_run_group_tests(tests, set_up, folder_remove);
}
