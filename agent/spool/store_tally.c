#include "spool/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hash.h"

/*
 * Two slots, written in turn and a block apart: a write that a loss of power tears, and a block that a disk loses,
 * leave the other, which is a commit older.
 */
#define SLOTS 2
#define SLOT_APART STORE_PAGE
#define MAGIC 0x45675666744c5931LL /* "EgVftLY1" */

struct slot {
	int64_t magic, sequence;
	struct store_tally tally;
	int64_t sum;
};

static int64_t slot_sum(const struct slot *slot)
{
	return (int64_t)hash_bytes(HASH_SEED, slot, offsetof(struct slot, sum));
}

/* As one that was written, which says nothing that cannot be. */
static bool is_sound(const struct slot *slot)
{
	const struct store_tally *tally = &slot->tally;

	return slot->magic == MAGIC && slot->sum == slot_sum(slot) && slot->sequence > 0 &&
	       tally->next > 0 && tally->next <= INT64_MAX / 2 && tally->done >= 0 &&
	       tally->done < tally->next && tally->gaps >= 0 && tally->gaps < tally->next &&
	       tally->waiting >= 0 && tally->waiting < tally->next - tally->done;
}

/* The newest that is sound. -ENOENT: nothing was ever written; -EBADMSG: nothing of it is left. */
static int read_slots(int fd, struct slot *out)
{
	struct slot newest = { 0 };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return -ENOENT;
	for (int i = 0; i < SLOTS; i++) {
		struct slot slot;
		ssize_t n = pread(fd, &slot, sizeof(slot), i * SLOT_APART);

		/* What cannot be read is lost with what is not as it was. */
		if (n == sizeof(slot) && is_sound(&slot) && slot.sequence % SLOTS == i &&
		    slot.sequence > newest.sequence)
			newest = slot;
	}
	if (newest.sequence == 0)
		return -EBADMSG;
	*out = newest;
	return 0;
}

static int write_slot(struct store *store, const struct store_tally *tally)
{
	struct slot slot = { .magic = MAGIC, .sequence = store->sequence + 1, .tally = *tally };
	ssize_t n;

	slot.sum = slot_sum(&slot);
	n = pwrite(store->tally_fd, &slot, sizeof(slot), slot.sequence % SLOTS * SLOT_APART);
	if (n != sizeof(slot))
		return n < 0 && errno != EINTR ? -errno : -EIO;
	store->sequence = slot.sequence;
	return 0;
}

int store_tally_write(struct store *store)
{
	const struct store_tally tally = { .next = store->marks[STORE_NEXT],
		                           .done = store->marks[STORE_DONE],
		                           .gaps = store->marks[STORE_GAPS],
		                           .waiting = (int64_t)store->waiting };
	int r;

	if (store->tally_fd < 0 || memcmp(&tally, &store->tally, sizeof(tally)) == 0)
		return 0;
	r = write_slot(store, &tally);
	if (r < 0)
		return r;
	store->unsynced += tally.next - store->tally.next;
	store->tally = tally;
	store->tally_dirty = true;
	return store->unsynced >= STORE_TALLY_RECORDS ? store_tally_sync(store) : 0;
}

int store_tally_sync(struct store *store)
{
	if (store->tally_fd < 0 || !store->tally_dirty)
		return 0;
	if (fdatasync(store->tally_fd) < 0)
		return -errno;
	store->tally_dirty = false;
	store->unsynced = 0;
	return 0;
}

/* Both slots, so that none needs room later. */
static int begin(struct store *store)
{
	const struct store_tally none = { .next = 1 };
	int r = 0;

	for (int i = 0; i < SLOTS && r == 0; i++)
		r = write_slot(store, &none);
	store->tally = none;
	store->tally_dirty = true;
	return r ?: store_tally_sync(store);
}

int store_tally_open(struct store *store, const char *path, bool fresh)
{
	char *name = NULL;
	struct slot slot;
	int r;

	if (asprintf(&name, "%s" STORE_TALLY, path) < 0)
		return -ENOMEM;
	r = store_make_file(name, &store->tally_fd);
	free(name);
	if (r < 0)
		return r;
	r = read_slots(store->tally_fd, &slot);
	if (r == 0) {
		store->tally = slot.tally;
		store->sequence = slot.sequence;
		return 0;
	}
	if (r == -EBADMSG || (r == -ENOENT && !fresh)) {
		store->loss.unknown = store->unsettled = true;
		return 0;
	}
	return r == -ENOENT ? begin(store) : r;
}

int store_peek(const char *path, uint64_t *waiting)
{
	cleanup(fd_closep) int fd = -1;
	char *name = NULL;
	struct slot slot = { 0 };
	int r;

	if (asprintf(&name, "%s" STORE_TALLY, path) < 0)
		return -ENOMEM;
	fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	r = fd < 0 ? -errno : read_slots(fd, &slot);
	free(name);
	if (r == 0)
		*waiting = (uint64_t)slot.tally.waiting;
	return r;
}

static int count_between(struct store *store, int64_t after, int64_t before, int64_t *n)
{
	const int64_t ends[] = { after, before };

	return store_run(store, STORE_COUNT, ends, 2, n);
}

/* Of rows that the tally does not know: those that are not as they were written. A number may be what a disk made up. */
static int count_unsound(struct store *store, int64_t *out)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, STORE_FORTH + STORE_RECORD, &statement), result;
	int64_t n = 0;

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, store->tally.next);
	sqlite3_bind_int64(statement, 2, INT64_MAX);
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		struct spool_row row;
		int64_t id;

		n += !store_row_read(statement, STORE_RECORD, &row, &id);
	}
	r = store_end(store, statement, result);
	if (r == 0)
		*out = n;
	return r;
}

/*
 * `n` of those that it knows are there. A database that is newer than its tally may have removed some of them since; when it
 * also said since that some are missing, whether these are the same is not known.
 */
static int find_loss(struct store *store, int64_t n)
{
	const struct store_tally *said = &store->tally;
	const int64_t *marks = store->marks;
	int64_t lost = said->waiting - n, unsound = 0;
	bool newer = said->next < marks[STORE_NEXT] || said->done < marks[STORE_DONE];
	int r = newer ? count_unsound(store, &unsound) : 0;

	if (r < 0)
		return r;
	if (marks[STORE_DONE] > said->done)
		lost -= marks[STORE_DONE] - said->done;
	lost -= unsound; /* they are counted when they are read */
	if (newer && said->gaps != marks[STORE_GAPS])
		lost = 0;
	store->loss.records = lost > 0 ? (uint64_t)lost : 0;
	store->loss.at_least = newer;
	return 0;
}

int store_tally_compare(struct store *store, bool small)
{
	const struct store_tally said = store->tally;
	int64_t *marks = store->marks, all = said.waiting, n = said.waiting;
	bool same = said.next == marks[STORE_NEXT] && said.done == marks[STORE_DONE];
	bool unknown = store->loss.unknown;
	int r = 0;

	if (unknown || !same || small)
		r = count_between(store, INT64_MIN, INT64_MAX, &all);
	if (!unknown && (!same || small))
		r = r ?: count_between(store, said.done, said.next, &n);
	if (!unknown)
		r = r ?: find_loss(store, n);
	if (r < 0)
		return r;
	store->waiting = (uint64_t)all;
	if (unknown)
		return 0;
	if (said.next > marks[STORE_NEXT])
		marks[STORE_NEXT] = said.next;
	/* Those before came again when what said that they went is gone, too: told twice. */
	if (n == all && said.done > marks[STORE_DONE])
		marks[STORE_DONE] = said.done;
	if (store->loss.records > 0)
		marks[STORE_GAPS] = marks[STORE_NEXT] - 1;
	store->unsettled = store->loss.records > 0 || (!same && !store->loss.at_least);
	return 0;
}
