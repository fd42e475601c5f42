/*
 * Rows in one SQLite database, on disk or in memory. Only store*.c know SQLite.
 *
 * Synchronous: a call takes as long as the disk does. On disk it is a WAL with
 * synchronous=FULL (what was committed survives a loss of power) and locking_mode=EXCLUSIVE
 * (no second agent, no shared-memory file). Every row carries a checksum: SQLite has none, and what
 * a disk changed silently is not to be told to anybody.
 *
 * What of its records is lost. A log that was damaged ends where it was, and so does one that a loss of power tore: it
 * does not say how far it went. So "PATH-tally", beside it, says after each commit how many records there are and up to which
 * number, in two slots written in turn. It is written and not waited for, but after 1,024 records, when room is
 * made now and then (store_trim()) and at the end: a commit costs one fsync(2), as without it.
 * - After the end of the process, however it ended: records that were committed and are not there are counted, all
 *   but those of the last transaction, which may have been committed and not noted.
 * - After a loss of power the tally may be older, by 1,024 records and one transaction at most, and by
 *   the time between two store_trim(): of what was committed since, a loss is not counted. It takes both: power lost, and
 *   a log that the disk changed or dropped though it had said that it is written.
 * - When the newest slot is damaged, the other one is taken: older by one transaction.
 * - When none is left, what is lost at the end is not known, and that is said; within it is counted by its numbers.
 * More than what was lost is never said, and what went as it should (store_done(), store_trim()) is no loss.
 * Violations and subjects are states: an older one may come again with a log that lost its end; they are not counted.
 *
 * Errors are -errno: -ENOSPC (also the own bound), -EROFS, -EACCES, -EIO, -EBUSY (another process
 * has it), -EBADMSG (corrupt: the caller salvages), -EMEDIUMTYPE (of another program, or of a newer
 * version of this one), -ENOMEM. After one the transaction is rolled back.
 */
#pragma once

#include "spool/message.h"

struct store;

/* `path` NULL: in memory. The folder is there. `max_bytes`: of the database with its WAL. */
int store_open(const char *path, uint64_t max_bytes, struct store **out);
/* One that is not yet where it is looked for: without a tally. */
int store_open_new(const char *path, uint64_t max_bytes, struct store **out);
/* What lies on a disk that takes nothing: read as it is, with its log and without a lock. */
int store_open_readonly(const char *path, struct store **out);
struct store *store_free(struct store *store);
/* Another bound. Of one that is below what is there, store_make_room() makes the room. */
int store_bound(struct store *store, uint64_t max_bytes);

int store_begin(struct store *store);
/*
 * Inserts or replaces; a row without body is removed, but in memory, where it stays and hides one of a
 * disk. A record goes to the end and gets a number; numbers rise for ever.
 */
int store_put(struct store *store, const struct spool_row *row);
int store_commit(struct store *store);
/*
 * What a row adds to a transaction, and what a transaction may weigh: with more, its log outgrows
 * the part of the bound that is its. A transaction of one message is never too heavy.
 */
size_t store_weight(const struct spool_row *row);
size_t store_weight_max(const struct store *store);
void store_rollback(struct store *store);

/* 0 to go on. The row's body is borrowed for the call. */
typedef int (*store_row_fn)(void *user, const struct spool_row *row);

/* Records after `after` in their order, until max_rows or max_bytes (at least one). */
int store_records(struct store *store, int64_t after, uint32_t max_rows, uint32_t max_bytes,
                  store_row_fn fn, void *user, bool *more);
/*
 * Resolved from since_us to until_us, both included, newest first, of one moment by their keys; with `open` the
 * open ones, whatever the times.
 */
int store_violations(struct store *store, bool open, int64_t since_us, int64_t until_us,
                     uint32_t max_rows, store_row_fn fn, void *user, bool *more);
int store_subjects(struct store *store, store_row_fn fn, void *user);

/* There is a row with that key, or what hides one. */
int store_has(struct store *store, enum spool_table table, const char *key, bool *has);
/* The first record's number; 0: there is none. */
int store_first(struct store *store, int64_t *number);
/* The next record's number; and that no lower one is given, in a transaction. */
int64_t store_next(const struct store *store);
int store_skip(struct store *store, int64_t next);

/* Records up to that number; outside of a transaction in some of its own. */
int store_done(struct store *store, int64_t number);
/*
 * Makes room below the bound, and drops what is older than its age: first resolved violations and
 * subjects not written since, oldest first, then records, oldest first. Counts of records are added.
 */
int store_trim(struct store *store, int64_t now_us, uint64_t dropped[static _SPOOL_DROP_MAX]);
/* The same for room alone: cheap while there is some. */
int store_make_room(struct store *store, uint64_t dropped[static _SPOOL_DROP_MAX]);

/* What store_open() did not find though it was kept. */
struct store_loss {
	uint64_t records;
	bool at_least; /* more was committed than was noted, or counted by their numbers */
	bool unknown;  /* there is no tally that is sound */
};
void store_loss(const struct store *store, struct store_loss *out);
/* It was told. Until this, or the next commit, it would be found again. */
int store_settle(struct store *store);
/* Of a database that cannot be opened: records that wait in it. -ENOENT, -EBADMSG: not known. */
int store_peek(const char *path, uint64_t *waiting);

struct store_stats {
	uint64_t waiting, bytes;
	int64_t oldest_us;
	uint64_t
		corrupt; /* rows whose checksum was wrong: removed, not told; records among them: */
	uint64_t corrupt_records;
};
int store_stats(struct store *store, struct store_stats *out);

/*
 * Everything readable of the database at `path` into `to`, which is new and not yet where it is
 * looked for: in several transactions, all of them on disk at the end. Pages that are not readable
 * are stepped over from both ends. Records keep their numbers. *lost: records known to be missing
 * (their numbers have a gap). An error is one of `to`, or -EBUSY; what `path` is like is no error. Into memory only
 * what was open and the subjects go.
 */
int store_salvage(const char *path, struct store *to, uint64_t *kept, uint64_t *lost);
/*
 * All rows of `from`, in memory, into `to`, records in their order and with their numbers unless these are taken; in
 * several transactions, and what is over of the records stays when one fails. Makes room as store_trim().
 */
int store_copy(struct store *from, struct store *to, uint64_t dropped[static _SPOOL_DROP_MAX]);

const char *store_version(void); /* of SQLite */
