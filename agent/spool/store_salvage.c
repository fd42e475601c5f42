#include "spool/store_parts.h"

#include <errno.h>

#include "base/cleanup.h"

/* Rows of a page, of the smallest there are, and of pages that a lost page leads to. */
#define ROWS_OF_PAGE 32
/* Readings: a lost page with 40 rows takes 160, one that leads to 100 pages some thousands. */
#define READINGS_MAX 40000
/* Ranges that wait; each is halved, so that these are more than are ever needed. */
#define RANGES_MAX 160

struct salvage {
	struct store *from, *to;
	enum store_table table;
	size_t weight; /* of the transaction */
	unsigned int readings;
	uint64_t kept, counted; /* rows; records above `base` */
	int64_t base;           /* where what is missing counts from */
	int64_t first, last;    /* records */
};

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

static int keep(struct salvage *salvage, const struct spool_row *row, int64_t id)
{
	struct store *to = salvage->to;
	int r;

	if (salvage->weight + store_weight(row) > store_weight_max(to)) {
		salvage->weight = 0;
		r = store_commit(to) ?: store_begin(to);
		if (r < 0)
			return r;
	}
	salvage->weight += store_weight(row);
	salvage->kept++;
	if (salvage->table != STORE_RECORD)
		return store_put(to, row);
	r = store_row_insert(to, STORE_RECORD, id, row);
	if (r == 0 && sqlite3_changes64(to->db) == 1) {
		to->waiting++;
		salvage->counted += id > salvage->base;
	} else {
		salvage->kept--; /* twice the same */
	}
	if (id > salvage->last)
		salvage->last = id;
	if (id < salvage->first)
		salvage->first = id;
	return r;
}

struct range {
	int64_t low, high;
};

/*
 * Keeps what is readable from one end: *range is what was not read. *whole: nothing is left in it.
 * An order that is none, too, is the end of what is readable. An error is one of `to`.
 */
static int read_end(struct salvage *salvage, bool forth, struct range *range, bool *whole)
{
	sqlite3_stmt *statement;
	int r = store_statement(salvage->from,
	                        (forth ? STORE_FORTH : STORE_BACK) + (int)salvage->table,
	                        &statement),
	    result = SQLITE_OK;

	*whole = false;
	salvage->readings++;
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	sqlite3_bind_int64(statement, 1, range->low);
	sqlite3_bind_int64(statement, 2, range->high);
	while (r == 0 && range->low <= range->high) {
		struct spool_row row;
		int64_t id;
		bool sound;

		result = sqlite3_step(statement);
		if (result != SQLITE_ROW)
			break;
		sound = store_row_read(statement, salvage->table, &row, &id);
		if (id < range->low || id > range->high)
			break;
		if (sound && row.body)
			r = keep(salvage, &row, id);
		if (forth)
			range->low = id + 1; /* of SQLite's ids only the last has none after it */
		else
			range->high = id - 1;
		if (id == INT64_MAX || id == INT64_MIN)
			range->low = range->high + 1;
	}
	*whole = result == SQLITE_DONE || range->low > range->high;
	if ((result & 0xff) == SQLITE_NOMEM)
		r = -ENOMEM;
	(void)store_end(salvage->from, statement, SQLITE_OK);
	return r;
}

/* From both ends; what is between is halved, and again. */
static int keep_table(struct salvage *salvage, enum store_table table, int64_t rows_max)
{
	struct range ranges[RANGES_MAX] = { { 0, INT64_MAX } };
	size_t n = 1;
	int r = 0;

	salvage->table = table;
	salvage->readings = 0;
	while (n > 0 && r == 0 && salvage->readings < READINGS_MAX) {
		struct range range = ranges[--n];
		int64_t middle;
		bool whole;

		r = read_end(salvage, true, &range, &whole);
		if (r == 0 && !whole)
			r = read_end(salvage, false, &range, &whole);
		if (r < 0 || whole || range.low >= range.high || n + 2 > RANGES_MAX)
			continue;
		/* The end is where the last page was: not where numbers end. */
		if (range.high - range.low > rows_max)
			range.high = range.low + rows_max;
		middle = range.low + (range.high - range.low) / 2;
		ranges[n++] = (struct range){ middle + 1, range.high };
		ranges[n++] = (struct range){ range.low, middle };
	}
	return r;
}

static int keep_tables(struct salvage *salvage)
{
	/* What is open stands over what was resolved. */
	static const enum store_table order[] = { STORE_HISTORY, STORE_VIOLATION, STORE_SUBJECT,
		                                  STORE_RECORD };
	int64_t pages = 0;
	int r = store_begin(salvage->to);

	if (store_run(salvage->from, STORE_PAGES, NULL, 0, &pages) < 0 || pages <= 0)
		pages = 1;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && r == 0; i++)
		if (!salvage->to->memory || order[i] == STORE_VIOLATION ||
		    order[i] == STORE_SUBJECT)
			r = keep_table(salvage, order[i], pages * ROWS_OF_PAGE);
	return r;
}

/* Of the numbers that there were, which are not there? */
static int count_lost(struct salvage *salvage, uint64_t *lost)
{
	struct store *to = salvage->to;
	const int64_t *marks = salvage->from->marks;
	int64_t end = marks[STORE_NEXT] - 1;
	int r;

	/* Where they began is not readable. */
	if (marks[STORE_DONE] < 0 && salvage->first - 1 > salvage->base && salvage->last)
		salvage->base = salvage->first - 1;
	if (salvage->last > end)
		end = salvage->last;
	*lost = end > salvage->base ? (uint64_t)(end - salvage->base) : 0;
	*lost -= salvage->counted < *lost ? salvage->counted : *lost;
	r = store_mark_set(to, STORE_NEXT, end + 1);
	r = r ?: store_mark_set(to, STORE_DONE, marks[STORE_DONE] > 0 ? marks[STORE_DONE] : 0);
	return r ?: store_mark_set(to, STORE_GAPS, end);
}

/* The log was not waited for: what it held goes to the file, and that to the disk. */
static int settle(struct store *to)
{
	int r = store_exec(to, "PRAGMA synchronous = FULL");

	return r ?: store_exec(to, "PRAGMA wal_checkpoint(TRUNCATE)");
}

int store_salvage(const char *path, struct store *to, uint64_t *kept, uint64_t *lost)
{
	cleanup(store_freep) struct store *from = NULL;
	struct salvage salvage = { .to = to, .first = INT64_MAX };
	uint64_t missing = 0;
	int r = store_open_damaged(path, &from);

	if (r == -ENOMEM || r == -EBUSY)
		return r;
	if (r < 0) {
		*kept = *lost = 0;
		return 0;
	}
	from->marks[STORE_DONE] = -1;
	r = store_marks_read(from);
	if (r == -ENOMEM)
		return r;
	salvage.from = from;
	salvage.base = from->marks[STORE_DONE] > from->marks[STORE_GAPS] ? from->marks[STORE_DONE]
	                                                                 : from->marks[STORE_GAPS];
	r = to->memory ? 0 : store_exec(to, "PRAGMA synchronous = OFF");
	r = r ?: keep_tables(&salvage);
	r = r ?: count_lost(&salvage, &missing);
	r = r ?: store_commit(to);
	store_rollback(to);
	if (!to->memory)
		r = r ?: settle(to);
	if (r < 0)
		return r;
	*kept = salvage.kept;
	*lost = missing;
	return 0;
}

/* Copying */

struct copy {
	struct store *to;
	int64_t last; /* of the rows that are in the transaction */
	int error;
};

static int copy_record(void *user, const struct spool_row *row)
{
	struct copy *copy = user;

	copy->error = store_skip(copy->to, row->number);
	copy->error = copy->error ?: store_put(copy->to, row);
	copy->last = row->number;
	return copy->error;
}

/* As many as a transaction takes; none are left when *more is not set. */
static int copy_records(struct store *from, struct store *to, bool *more)
{
	struct copy copy = { .to = to };
	size_t bytes = store_weight_max(to) / 4;
	uint32_t rows = (uint32_t)(bytes / 512);
	int r = store_begin(to);

	if (r < 0)
		return r;
	r = store_records(from, 0, rows, (uint32_t)bytes, copy_record, &copy, more);
	r = copy.error ?: r;
	/* Says whether the disk takes anything, also when there was nothing. */
	r = r ?: store_mark_set(to, STORE_NEXT, to->marks[STORE_NEXT]);
	r = r ?: store_commit(to);
	store_rollback(to);
	return r == 0 && copy.last ? store_done(from, copy.last) : r;
}

/* Rows from an id on, those that stand for none, too; *next is 0 after the last. */
static int copy_some(struct store *from, struct store *to, enum store_table table, int64_t *next)
{
	size_t weight = 0;
	sqlite3_stmt *statement;
	int r = store_statement(from, STORE_FORTH + (int)table, &statement), result = SQLITE_OK;

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, *next);
	sqlite3_bind_int64(statement, 2, INT64_MAX);
	while (r == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW) {
		struct spool_row row;
		int64_t id;

		if (!store_row_read(statement, table, &row, &id)) {
			r = sqlite3_errcode(from->db) == SQLITE_NOMEM ? -ENOMEM : 0;
			continue;
		}
		*next = id;
		if (weight && weight + store_weight(&row) > store_weight_max(to))
			break;
		weight += store_weight(&row);
		r = store_put(to, &row);
	}
	r = store_end(from, statement, result) ?: r;
	if (result == SQLITE_DONE)
		*next = 0;
	return r;
}

static int copy_table(struct store *from, struct store *to, enum store_table table,
                      uint64_t dropped[static _SPOOL_DROP_MAX])
{
	int64_t next = 1;
	int r = 0;

	while (next && r == 0) {
		r = store_make_room(to, dropped);
		r = r ?: store_begin(to);
		r = r ?: copy_some(from, to, table, &next);
		r = r ?: store_commit(to);
		store_rollback(to);
	}
	return r;
}

int store_copy(struct store *from, struct store *to, uint64_t dropped[static _SPOOL_DROP_MAX])
{
	bool more = true;
	int r = 0;

	while (more && r == 0) {
		r = store_make_room(to, dropped);
		r = r ?: copy_records(from, to, &more);
	}
	r = r ?: copy_table(from, to, STORE_HISTORY, dropped);
	r = r ?: copy_table(from, to, STORE_VIOLATION, dropped);
	return r ?: copy_table(from, to, STORE_SUBJECT, dropped);
}
