#include "spool/store_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

/* A row around its body, and a page of each index that it changes. */
#define ROW_BYTES 200
#define EACH_TABLE(base, before, after)                                    \
	[(base) + STORE_RECORD] = before " record " after,                 \
		  [(base) + STORE_VIOLATION] = before " violation " after, \
		  [(base) + STORE_SUBJECT] = before " subject " after,     \
		  [(base) + STORE_HISTORY] = before " history " after
#define COLUMNS "SELECT id, key, wall_us, sum, body FROM"
#define UPSERT                                                                                  \
	"(id, key, wall_us, sum, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT(key) DO UPDATE " \
	"SET wall_us = excluded.wall_us, sum = excluded.sum, body = excluded.body"

static const char *const sql[_STORE_STATEMENT_MAX] = {
	[STORE_BEGIN] = "BEGIN IMMEDIATE",
	[STORE_COMMIT] = "COMMIT",
	[STORE_ROLLBACK] = "ROLLBACK",
	[STORE_MARK_SET] = "REPLACE INTO mark(id, value, sum) VALUES (?1, ?2, ?3)",
	[STORE_MARK_GET] = "SELECT value, sum FROM mark WHERE id = ?1",
	[STORE_PAGES] = "PRAGMA page_count",
	[STORE_FREE_PAGES] = "PRAGMA freelist_count",
	[STORE_FIRST] = "SELECT id FROM record ORDER BY id LIMIT 1",
	[STORE_COUNT] = "SELECT count(*) FROM record WHERE id > ?1 AND id < ?2",
	[STORE_OLDEST] = "SELECT wall_us FROM record ORDER BY id LIMIT 1",
	[STORE_HISTORY_BETWEEN] = COLUMNS " history WHERE wall_us BETWEEN ?1 AND ?2 "
					  "ORDER BY wall_us DESC, key",
	[STORE_RECORDS_TO] = "DELETE FROM record WHERE id <= ?1",
	[STORE_HISTORY_FIRST] = "DELETE FROM history WHERE id IN "
				"(SELECT id FROM history ORDER BY wall_us, key DESC LIMIT ?1)",
	[STORE_HISTORY_OLD] = "DELETE FROM history WHERE id IN "
			      "(SELECT id FROM history WHERE wall_us < ?1 LIMIT ?2)",
	[STORE_SUBJECT_OLD] = "DELETE FROM subject WHERE id IN "
			      "(SELECT id FROM subject WHERE wall_us < ?1 LIMIT ?2)",
	EACH_TABLE(STORE_FORTH, COLUMNS, "WHERE id BETWEEN ?1 AND ?2 ORDER BY id"),
	EACH_TABLE(STORE_BACK, COLUMNS, "WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC"),
	[STORE_INSERT + STORE_RECORD] = "INSERT OR IGNORE INTO record(id, key, wall_us, sum, body) "
					"VALUES (?1, ?2, ?3, ?4, ?5)",
	[STORE_INSERT + STORE_VIOLATION] = "INSERT INTO violation" UPSERT,
	[STORE_INSERT + STORE_SUBJECT] = "INSERT INTO subject" UPSERT,
	[STORE_INSERT + STORE_HISTORY] = "INSERT INTO history" UPSERT,
	EACH_TABLE(STORE_DELETE, "DELETE FROM", "WHERE id = ?1"),
	EACH_TABLE(STORE_DELETE_KEY, "DELETE FROM", "WHERE key = ?1"),
	EACH_TABLE(STORE_HAS, "SELECT 1 FROM", "WHERE key = ?1"),
};

const char *store_version(void)
{
	return sqlite3_libversion();
}

/* Errors */

/*
 * What the system said last, which is 0 before each statement. sqlite3_system_errno() is that, too,
 * but not of a COMMIT: its error does not come to sqlite3SystemError().
 */
static int failed_errno(void)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: /* RLIMIT_FSIZE, or what the file system can */
		return -ENOSPC;
	case EROFS:
		return -EROFS;
	case EACCES:
	case EPERM:
		return -EACCES;
	case ENOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

/* https://www.sqlite.org/rescode.html */
int store_failed(struct store *store, int result)
{
	int r = -EIO;

	switch (result & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL: /* unixWrite() says it for ENOSPC, the pager for max_page_count */
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_READONLY:
		/* _DBMOVED: somebody removed or renamed it; nobody would find what is written there. */
		return result == SQLITE_READONLY ? -EROFS : -EIO;
	case SQLITE_CANTOPEN:
	case SQLITE_IOERR:
		if (result == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		r = result == SQLITE_IOERR_CORRUPTFS ? -EBADMSG : failed_errno();
		break;
	case SQLITE_ERROR:
		/*
		 * Our statements are right. Of tables that are, too, the parser says it when it
		 * finds no memory.
		 */
		r = store->known ? -ENOMEM : -EBADMSG;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_SCHEMA: /* nobody else changes it */
	case SQLITE_TOOBIG: /* beyond SQLITE_LIMIT_LENGTH, which nothing of ours is */
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
		r = -EBADMSG;
		break;
	}
	store->broken = store->broken || r == -EBADMSG;
	return r;
}

int store_statement(struct store *store, int which, sqlite3_stmt **out)
{
	sqlite3_stmt **kept = &store->statements[which];
	int r = 0;

	errno = 0;
	if (!*kept)
		r = sqlite3_prepare_v3(store->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, kept,
		                       NULL);
	if (r != SQLITE_OK)
		return store_failed(store, r);
	*out = *kept;
	return 0;
}

int store_end(struct store *store, sqlite3_stmt *statement, int result)
{
	int r = store_failed(store, result);

	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int store_run(struct store *store, int which, const int64_t *numbers, int n, int64_t *out)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, which, &statement), result;
	int64_t first = 0;
	bool any = false;

	if (r < 0)
		return r;
	for (int i = 0; i < n; i++)
		sqlite3_bind_int64(statement, i + 1, numbers[i]);
	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!any)
			first = sqlite3_column_int64(statement, 0);
		any = true;
	}
	r = store_end(store, statement, result);
	if (r == 0 && out)
		*out = first;
	return r;
}

/* Transactions */

int store_begin(struct store *store)
{
	int r = store_run(store, STORE_BEGIN, NULL, 0, NULL);

	if (r < 0)
		return r;
	store->begun = true;
	memcpy(store->saved_marks, store->marks, sizeof(store->marks));
	store->saved_waiting = store->waiting;
	/* What could not be noted after the last commit. */
	r = !store->opened || store->unsettled ? 0 : store_tally_write(store);
	for (int i = 0; i < _STORE_MARK_MAX && r == 0 && store->opened && store->unsettled; i++)
		r = store_mark_set(store, (enum store_mark)i, store->marks[i]);
	if (r < 0)
		store_rollback(store);
	return r;
}

void store_rollback(struct store *store)
{
	if (!store->begun)
		return;
	store->begun = false;
	/* Some errors have rolled it back already. */
	if (!sqlite3_get_autocommit(store->db))
		(void)store_run(store, STORE_ROLLBACK, NULL, 0, NULL);
	memcpy(store->marks, store->saved_marks, sizeof(store->marks));
	store->waiting = store->saved_waiting;
}

int store_commit(struct store *store)
{
	int r = store_run(store, STORE_COMMIT, NULL, 0, NULL);

	if (r < 0)
		store_rollback(store);
	store->begun = false;
	if (r < 0 || !store->opened)
		return r;
	store->unsettled = false;
	/* It is committed: when this fails, the next transaction does not begin. */
	(void)store_tally_write(store);
	return 0;
}

void store_loss(const struct store *store, struct store_loss *out)
{
	*out = store->loss;
}

int store_settle(struct store *store)
{
	int r = 0;

	store->loss = (struct store_loss){ 0 };
	if (store->unsettled)
		r = store_begin(store) ?: store_commit(store);
	store_rollback(store);
	return r;
}

/* Rows */

static int64_t row_sum(enum store_table table, int64_t id, const char *key, int64_t wall_us,
                       const void *body, size_t len)
{
	/* The others' ids are SQLite's affair. */
	const int64_t numbers[] = { table, table == STORE_RECORD ? id : 0, wall_us, body != NULL };
	uint64_t h = hash_bytes(HASH_SEED, numbers, sizeof(numbers));

	h = hash_text(h, key);
	return (int64_t)hash_bytes(h, body, len);
}

bool store_row_read(sqlite3_stmt *statement, enum store_table table, struct spool_row *row,
                    int64_t *id)
{
	static const enum spool_table tables[] = {
		[STORE_RECORD] = SPOOL_RECORD,
		[STORE_VIOLATION] = SPOOL_VIOLATION,
		[STORE_SUBJECT] = SPOOL_SUBJECT,
		[STORE_HISTORY] = SPOOL_VIOLATION,
	};
	const char *key = (const char *)sqlite3_column_text(statement, 1);
	int key_len = sqlite3_column_bytes(statement, 1);

	*row = (struct spool_row){ .table = tables[table],
		                   .wall_us = sqlite3_column_int64(statement, 2),
		                   .body = sqlite3_column_blob(statement, 4),
		                   .len = (size_t)sqlite3_column_bytes(statement, 4) };
	*id = sqlite3_column_int64(statement, 0);
	row->number = table == STORE_RECORD ? *id : 0;
	/* An empty body is not none: a zero-length blob has no address either. */
	if (!row->body && sqlite3_column_type(statement, 4) != SQLITE_NULL)
		row->body = "";
	if (!key || key_len >= SPOOL_KEY_MAX || strlen(key) != (size_t)key_len)
		return false;
	memcpy(row->key, key, (size_t)key_len + 1);
	return sqlite3_column_int64(statement, 3) ==
	       row_sum(table, *id, row->key, row->wall_us, row->body, row->len);
}

int store_row_insert(struct store *store, enum store_table table, int64_t id,
                     const struct spool_row *row)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, STORE_INSERT + (int)table, &statement);

	if (r < 0)
		return r;
	if (table == STORE_RECORD)
		sqlite3_bind_int64(statement, 1, id);
	sqlite3_bind_text(statement, 2, row->key, -1, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 3, row->wall_us);
	sqlite3_bind_int64(statement, 4,
	                   row_sum(table, id, row->key, row->wall_us, row->body, row->len));
	if (row->body)
		sqlite3_bind_blob64(statement, 5, row->len ? row->body : "", row->len,
		                    SQLITE_STATIC);
	return store_end(store, statement, sqlite3_step(statement));
}

static int with_key(struct store *store, int which, const char *key, bool *any)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, which, &statement), result;

	if (r < 0)
		return r;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	result = sqlite3_step(statement);
	*any = result == SQLITE_ROW;
	return store_end(store, statement, result);
}

/* A lost end is known by it; with every record it would be a page more of the log each. */
#define MARK_EVERY 64

static int put_record(struct store *store, const struct spool_row *row)
{
	int64_t number = store->marks[STORE_NEXT];
	int r;

	if (!row->body) /* they go by store_done() */
		return 0;
	r = store_row_insert(store, STORE_RECORD, number, row);
	if (r == 0 && sqlite3_changes64(store->db) != 1) { /* its number is taken: by what? */
		store->broken = true;
		r = -EBADMSG;
	}
	if (r < 0)
		return r;
	store->marks[STORE_NEXT] = number + 1;
	store->waiting++;
	return (number + 1) % MARK_EVERY
	               ? 0
	               : store_mark_set(store, STORE_NEXT, store->marks[STORE_NEXT]);
}

/* In memory a row without body stays: it stands before one with that key on a disk that refuses. */
static int put_keyed(struct store *store, const struct spool_row *row)
{
	bool violation = row->table == SPOOL_VIOLATION;
	enum store_table table = !violation                        ? STORE_SUBJECT
	                         : row->wall_us == 0 || !row->body ? STORE_VIOLATION
	                                                           : STORE_HISTORY;
	enum store_table other = table == STORE_HISTORY ? STORE_VIOLATION : STORE_HISTORY;
	bool any;
	int r = 0;

	if (violation)
		r = with_key(store, STORE_DELETE_KEY + (int)other, row->key, &any);
	if (r < 0)
		return r;
	if (!row->body && !store->memory)
		return with_key(store, STORE_DELETE_KEY + (int)table, row->key, &any);
	return store_row_insert(store, table, 0, row);
}

int store_put(struct store *store, const struct spool_row *row)
{
	return row->table == SPOOL_RECORD ? put_record(store, row) : put_keyed(store, row);
}

int store_has(struct store *store, enum spool_table table, const char *key, bool *has)
{
	bool any = false;
	int r;

	if (table == SPOOL_SUBJECT)
		return with_key(store, STORE_HAS + STORE_SUBJECT, key, has);
	r = with_key(store, STORE_HAS + STORE_VIOLATION, key, &any);
	if (r == 0 && !any)
		r = with_key(store, STORE_HAS + STORE_HISTORY, key, &any);
	if (r == 0)
		*has = any;
	return r;
}

size_t store_weight(const struct spool_row *row)
{
	size_t pages = (row->table == SPOOL_RECORD ? 0 : 1) + (row->len > STORE_PAGE - ROW_BYTES);

	return row->len + ROW_BYTES + pages * STORE_PAGE;
}

/* Half of the log; the other is what the log held before it was emptied (a quarter), and reserve. */
size_t store_weight_max(const struct store *store)
{
	return (size_t)store->wal_bytes / 2;
}

/* Marks */

static int64_t mark_sum(enum store_mark mark, int64_t value)
{
	const int64_t numbers[] = { mark, value };

	return (int64_t)hash_bytes(HASH_SEED, numbers, sizeof(numbers));
}

int store_mark_set(struct store *store, enum store_mark mark, int64_t value)
{
	const int64_t numbers[] = { mark, value, mark_sum(mark, value) };
	int r = store_run(store, STORE_MARK_SET, numbers, 3, NULL);

	if (r == 0)
		store->marks[mark] = value;
	return r;
}

int64_t store_next(const struct store *store)
{
	return store->marks[STORE_NEXT];
}

int store_skip(struct store *store, int64_t next)
{
	int r;

	if (next <= store->marks[STORE_NEXT])
		return 0;
	r = store_mark_set(store, STORE_GAPS, next - 1);
	return r ?: store_mark_set(store, STORE_NEXT, next);
}

int store_marks_read(struct store *store)
{
	for (int i = 0; i < _STORE_MARK_MAX; i++) {
		const int64_t mark = i;
		sqlite3_stmt *statement;
		int64_t value = 0, sum = 0;
		int r = store_statement(store, STORE_MARK_GET, &statement), result;

		if (r < 0)
			return r;
		sqlite3_bind_int64(statement, 1, mark);
		result = sqlite3_step(statement);
		if (result == SQLITE_ROW) {
			value = sqlite3_column_int64(statement, 0);
			sum = sqlite3_column_int64(statement, 1);
		}
		r = store_end(store, statement, result);
		if (r < 0)
			return r;
		if (sum == mark_sum(i, value))
			store->marks[i] = value;
	}
	return 0;
}
