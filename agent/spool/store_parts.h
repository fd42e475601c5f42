/*
 * What the files of the store share. Nobody else includes it.
 */
#pragma once

#include <sqlite3.h>

#include "spool/store.h"

/* Of the database; violations that were resolved are apart from the open ones, which are few. */
enum store_table { STORE_RECORD, STORE_VIOLATION, STORE_SUBJECT, STORE_HISTORY, _STORE_TABLE_MAX };

/* Numbers that are kept, each with a checksum. */
enum store_mark {
	STORE_NEXT, /* the next record's number; written when records go, not when they come */
	STORE_DONE, /* records up to this number went as they should */
	STORE_GAPS, /* what is missing below was told, or was never there */
	_STORE_MARK_MAX,
};

enum store_statement {
	STORE_BEGIN,
	STORE_COMMIT,
	STORE_ROLLBACK,
	STORE_MARK_SET,
	STORE_MARK_GET,
	STORE_PAGES,
	STORE_FREE_PAGES,
	STORE_FIRST,
	STORE_COUNT,
	STORE_OLDEST,
	STORE_HISTORY_BETWEEN,
	STORE_RECORDS_TO, /* deleted */
	STORE_HISTORY_FIRST,
	STORE_HISTORY_OLD,
	STORE_SUBJECT_OLD,
	/* One for each table. */
	STORE_FORTH,
	STORE_BACK = STORE_FORTH + _STORE_TABLE_MAX,
	STORE_INSERT = STORE_BACK + _STORE_TABLE_MAX,
	STORE_DELETE = STORE_INSERT + _STORE_TABLE_MAX,
	STORE_DELETE_KEY = STORE_DELETE + _STORE_TABLE_MAX,
	STORE_HAS = STORE_DELETE_KEY + _STORE_TABLE_MAX,
	_STORE_STATEMENT_MAX = STORE_HAS + _STORE_TABLE_MAX,
};

#define STORE_PAGE 4096

/* What there is to be, beside the database: store_tally.c. */
#define STORE_TALLY "-tally"
#define STORE_TALLY_PAGES 2
/* It is waited for when so many records were kept since: at 64, a transaction of many took two fsync(2), and twice as long. */
#define STORE_TALLY_RECORDS 1024

struct store_tally {
	int64_t next, done, gaps; /* marks, as of the newest commit */
	int64_t waiting;          /* records after `done` that were there */
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[_STORE_STATEMENT_MAX];
	bool memory, opened, begun;
	bool known;  /* its tables are ours */
	bool broken; /* what is in its log must not be put into it when it is closed */
	int64_t marks[_STORE_MARK_MAX];
	uint64_t waiting;
	int64_t max_pages, wal_bytes;
	/* What a rollback returns to. */
	int64_t saved_marks[_STORE_MARK_MAX];
	uint64_t saved_waiting;
	uint64_t corrupt, corrupt_records;
	/* Of a database on disk where it is looked for; else tally_fd is -1. */
	int tally_fd; /* owned */
	struct store_tally tally;
	int64_t sequence; /* of the newest slot */
	int64_t unsynced; /* records that the disk's tally may not know */
	bool tally_dirty;
	struct store_loss loss;
	bool unsettled; /* the database does not know yet what its tally said */
};

/* -errno of an SQLite result that is an error. */
int store_failed(struct store *store, int result);
/* Ready to be bound and stepped; store_end() gives it back: its result as -errno. */
int store_statement(struct store *store, int which, sqlite3_stmt **out);
int store_end(struct store *store, sqlite3_stmt *statement, int result);
/* With up to three integers, to its end; what it says first in *out, which may be NULL. */
int store_run(struct store *store, int which, const int64_t *numbers, int n, int64_t *out);
int store_mark_set(struct store *store, enum store_mark mark, int64_t value);
/* An own regular file that nobody else may read, made when it is not there. */
int store_make_file(const char *path, int *fd);

/* Opens it, reads it; of a fresh database begins it. What was there and is not sound is an unknown loss. */
int store_tally_open(struct store *store, const char *path, bool fresh);
/*
 * What is there against what should be: sets `waiting`, `loss` and, when the tally knows more, the marks. `small`: to
 * count takes no time; else a database with the numbers of its tally is believed.
 */
int store_tally_compare(struct store *store, bool small);
/* After each commit; not waited for but after STORE_TALLY_RECORDS. */
int store_tally_write(struct store *store);
int store_tally_sync(struct store *store);

/* Those that are sound. */
int store_marks_read(struct store *store);

/* Of a statement whose columns are those of the tables; false: not as it was written. */
bool store_row_read(sqlite3_stmt *statement, enum store_table table, struct spool_row *row,
                    int64_t *id);
int store_row_insert(struct store *store, enum store_table table, int64_t id,
                     const struct spool_row *row);
int store_exec(struct store *store, const char *text);
int store_connect(const char *name, int flags, const char *vfs, struct store **out);
/* For reading only, and as little as possible believed: not its first page either. */
int store_open_damaged(const char *path, struct store **out);
