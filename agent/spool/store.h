/*
 * Rows in one SQLite database, on disk or in memory. Only store*.c know SQLite.
 *
 * Synchronous: a call takes as long as the disk does. On disk it is a WAL with
 * synchronous=FULL (what was committed survives a loss of power) and locking_mode=EXCLUSIVE
 * (no second agent, no shared-memory file). Every row carries a checksum: SQLite has none, and what
 * a disk changed silently is not to be told to anybody.
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
