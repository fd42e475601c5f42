#include "spool/store_parts.h"

#include <errno.h>
#include <string.h>

/* Rows deleted in one transaction: their pages go to the list of free ones and are not written. */
#define DELETE_ROWS 128
/* Bad rows removed after one reading; more of them after the next. */
#define BAD_MAX 64
/* Room is made for a fortieth at once, so that not every commit has to. */
#define TRIM_PART 40
#define RESERVE_PAGES 16

/* Reading */

struct reading {
	enum store_table table;
	uint32_t max_rows;
	uint64_t max_bytes;
	store_row_fn fn;
	void *user;
	/* Afterwards: */
	bool more;
	int64_t bad[BAD_MAX];
	size_t n_bad;
};

/* Removed and counted, or left where they are when the disk takes nothing: never told. */
static void remove_bad(struct store *store, const struct reading *reading)
{
	bool record = reading->table == STORE_RECORD, own = !store->begun;
	int r = reading->n_bad && own ? store_begin(store) : 0;
	uint64_t n = 0;

	if (reading->n_bad == 0 || r < 0)
		return;
	for (size_t i = 0; i < reading->n_bad && r == 0; i++) {
		r = store_run(store, STORE_DELETE + (int)reading->table, &reading->bad[i], 1, NULL);
		n += r == 0 && sqlite3_changes64(store->db) == 1;
		if (r == 0 && record && reading->bad[i] > store->marks[STORE_GAPS])
			r = store_mark_set(store, STORE_GAPS, reading->bad[i]);
	}
	if (r == 0 && record)
		store->waiting -= n < store->waiting ? n : store->waiting;
	if (own)
		r = r ?: store_commit(store);
	if (own)
		store_rollback(store);
	if (r < 0)
		return;
	store->corrupt += n;
	store->corrupt_records += record ? n : 0;
}

/* The statement is bound; it is given back. */
static int read_rows(struct store *store, sqlite3_stmt *statement, struct reading *reading)
{
	uint64_t bytes = 0;
	uint32_t rows = 0;
	int result, r;

	while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
		struct spool_row row;
		int64_t id;

		if (!store_row_read(statement, reading->table, &row, &id)) {
			/* Also memory that ran out looks like that. */
			if (sqlite3_errcode(store->db) == SQLITE_NOMEM)
				result = SQLITE_NOMEM;
			else if (reading->n_bad < BAD_MAX)
				reading->bad[reading->n_bad++] = id;
			if (result == SQLITE_NOMEM)
				break;
			continue;
		}
		if (!row.body)
			continue;
		reading->more = rows == reading->max_rows ||
		                (rows > 0 && bytes + row.len > reading->max_bytes) ||
		                reading->fn(reading->user, &row) != 0;
		if (reading->more)
			break;
		rows++;
		bytes += row.len;
	}
	r = store_end(store, statement, result);
	if (r == 0)
		remove_bad(store, reading);
	return r;
}

static int read_table(struct store *store, int which, int64_t from, int64_t to,
                      struct reading *reading)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, which, &statement);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, from);
	sqlite3_bind_int64(statement, 2, to);
	return read_rows(store, statement, reading);
}

int store_records(struct store *store, int64_t after, uint32_t max_rows, uint32_t max_bytes,
                  store_row_fn fn, void *user, bool *more)
{
	struct reading reading = { .table = STORE_RECORD,
		                   .max_rows = max_rows,
		                   .max_bytes = max_bytes,
		                   .fn = fn,
		                   .user = user };
	int r;

	if (after == INT64_MAX)
		after--;
	r = read_table(store, STORE_FORTH + STORE_RECORD, after + 1, INT64_MAX, &reading);
	if (r == 0)
		*more = reading.more;
	return r;
}

int store_violations(struct store *store, bool open, int64_t since_us, int64_t until_us,
                     uint32_t max_rows, store_row_fn fn, void *user, bool *more)
{
	struct reading reading = { .table = open ? STORE_VIOLATION : STORE_HISTORY,
		                   .max_rows = max_rows,
		                   .max_bytes = UINT64_MAX,
		                   .fn = fn,
		                   .user = user };
	int r;

	if (open)
		r = read_table(store, STORE_FORTH + STORE_VIOLATION, INT64_MIN, INT64_MAX,
		               &reading);
	else
		r = read_table(store, STORE_HISTORY_BETWEEN, since_us, until_us, &reading);
	if (r == 0)
		*more = reading.more;
	return r;
}

int store_subjects(struct store *store, store_row_fn fn, void *user)
{
	struct reading reading = { .table = STORE_SUBJECT,
		                   .max_rows = UINT32_MAX,
		                   .max_bytes = UINT64_MAX,
		                   .fn = fn,
		                   .user = user };

	return read_table(store, STORE_FORTH + STORE_SUBJECT, INT64_MIN, INT64_MAX, &reading);
}

int store_first(struct store *store, int64_t *number)
{
	return store_run(store, STORE_FIRST, NULL, 0, number);
}

int store_stats(struct store *store, struct store_stats *out)
{
	int64_t pages = 0, free_pages = 0, oldest = 0;
	int r = store_run(store, STORE_PAGES, NULL, 0, &pages);

	r = r ?: store_run(store, STORE_FREE_PAGES, NULL, 0, &free_pages);
	r = r ?: store_run(store, STORE_OLDEST, NULL, 0, &oldest);
	if (r < 0)
		return r;
	*out = (struct store_stats){ .waiting = store->waiting,
		                     .bytes = (uint64_t)(pages - free_pages) * STORE_PAGE,
		                     .oldest_us = oldest,
		                     .corrupt = store->corrupt,
		                     .corrupt_records = store->corrupt_records };
	return 0;
}

/* Removing */

/* Records up to a number in one transaction, or in the caller's. */
static int delete_records(struct store *store, int64_t to, uint64_t *deleted)
{
	bool own = !store->begun;
	int r = own ? store_begin(store) : 0;
	uint64_t n = 0;

	if (r < 0)
		return r;
	r = store_run(store, STORE_RECORDS_TO, &to, 1, NULL);
	n = r == 0 ? (uint64_t)sqlite3_changes64(store->db) : 0;
	/* When the last one goes, its number must not come again. */
	r = r ?: store_mark_set(store, STORE_NEXT, store->marks[STORE_NEXT]);
	r = r ?: store_mark_set(store, STORE_DONE, to);
	if (r == 0)
		store->waiting -= n < store->waiting ? n : store->waiting;
	if (own) {
		r = r ?: store_commit(store);
		store_rollback(store);
	}
	if (r == 0)
		*deleted = n;
	return r;
}

int store_done(struct store *store, int64_t number)
{
	int64_t first = 0,
		last = number < store->marks[STORE_NEXT] ? number : store->marks[STORE_NEXT] - 1;
	uint64_t deleted;
	int r;

	for (;;) {
		int64_t to = last;

		r = store_run(store, STORE_FIRST, NULL, 0, &first);
		if (r < 0 || first == 0 || first > last)
			return r;
		if (!store->begun && last - first >= DELETE_ROWS)
			to = first + DELETE_ROWS - 1;
		r = delete_records(store, to, &deleted);
		if (r < 0)
			return r;
		/* What is first and cannot be deleted is in the wrong place. */
		if (deleted == 0) {
			store->broken = true;
			return -EBADMSG;
		}
	}
}

/* Again and again until it finds less than it was asked for. */
static int delete_old(struct store *store, int which, int64_t before)
{
	const int64_t numbers[] = { before, DELETE_ROWS };
	int r;

	do
		r = store_run(store, which, numbers, 2, NULL);
	while (r == 0 && sqlite3_changes64(store->db) == DELETE_ROWS);
	return r;
}

/* From the beginning as far as all are too old, or some, if `before` is the end of times. */
static int delete_first(struct store *store, int64_t before, uint64_t *deleted)
{
	sqlite3_stmt *statement;
	int r = store_statement(store, STORE_FORTH + STORE_RECORD, &statement), result;
	int64_t last = 0;

	*deleted = 0;
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, 0);
	sqlite3_bind_int64(statement, 2, INT64_MAX);
	for (int i = 0; i < DELETE_ROWS; i++) {
		result = sqlite3_step(statement);
		if (result != SQLITE_ROW || sqlite3_column_int64(statement, 2) >= before)
			break;
		last = sqlite3_column_int64(statement, 0);
	}
	r = store_end(store, statement, result);
	return r == 0 && last ? delete_records(store, last, deleted) : r;
}

/* For the next transaction, and a tenth so that the room comes in time. */
static int64_t reserve(const struct store *store)
{
	int64_t pages = (int64_t)store_weight_max(store) / STORE_PAGE + RESERVE_PAGES;

	if (pages < store->max_pages / 10)
		pages = store->max_pages / 10;
	return pages < store->max_pages / 2 ? pages : store->max_pages / 2;
}

static int room(struct store *store, int64_t *out)
{
	int64_t pages = 0, free_pages = 0;
	int r = store_run(store, STORE_PAGES, NULL, 0, &pages);

	r = r ?: store_run(store, STORE_FREE_PAGES, NULL, 0, &free_pages);
	if (r == 0)
		*out = store->max_pages - pages + free_pages;
	return r;
}

int store_make_room(struct store *store, uint64_t dropped[static _SPOOL_DROP_MAX])
{
	const int64_t some[] = { DELETE_ROWS };
	int64_t left = 0, wanted = reserve(store);
	int r = room(store, &left);
	bool history = true;

	if (r == 0 && left < wanted)
		wanted += store->max_pages / TRIM_PART;
	while (r == 0 && left < wanted) {
		uint64_t n = 0;

		if (history)
			r = store_run(store, STORE_HISTORY_FIRST, some, 1, NULL);
		if (history && r == 0)
			history = sqlite3_changes64(store->db) > 0;
		if (r == 0 && !history) {
			r = delete_first(store, INT64_MAX, &n);
			dropped[SPOOL_DROP_FULL] += n;
			if (n == 0)
				break;
		}
		r = r ?: room(store, &left);
	}
	return r;
}

int store_trim(struct store *store, int64_t now_us, uint64_t dropped[static _SPOOL_DROP_MAX])
{
	uint64_t n = 0;
	int r = delete_old(store, STORE_HISTORY_OLD, now_us - SPOOL_AGE_US);

	r = r ?: delete_old(store, STORE_SUBJECT_OLD, now_us - SPOOL_SUBJECT_AGE_US);
	do {
		r = r ?: delete_first(store, now_us - SPOOL_AGE_US, &n);
		dropped[SPOOL_DROP_AGE] += r == 0 ? n : 0;
	} while (r == 0 && n == DELETE_ROWS);
	r = r ?: store_make_room(store, dropped);
	return r ?: store_tally_sync(store);
}
