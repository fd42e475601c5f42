#include "spool/spool_parts.h"

#include <errno.h>

/* Reading */

struct reader {
	struct spool *spool;
	store_row_fn fn;
	void *user;
	uint32_t rows, bytes; /* that may still come */
	int64_t shift;        /* of the store that is read */
	int64_t last;         /* number, as told */
	bool any, stopped;
};

static int tell_record(void *user, const struct spool_row *row)
{
	struct reader *reader = user;
	struct spool_row told = *row;

	told.number = row->number + reader->shift;
	reader->stopped = reader->rows == 0 || (reader->any && row->len > reader->bytes) ||
	                  reader->fn(reader->user, &told) != 0;
	if (reader->stopped)
		return 1;
	reader->any = true;
	reader->last = told.number;
	reader->rows--;
	reader->bytes -= row->len < reader->bytes ? (uint32_t)row->len : reader->bytes;
	if (told.number > reader->spool->told)
		reader->spool->told = told.number;
	return 0;
}

static int read_records(struct reader *reader, struct store *store, int64_t shift)
{
	int64_t after = reader->last > shift ? reader->last - shift : 0;
	bool more;

	if (store == reader->spool->disk && after < reader->spool->done)
		after = reader->spool->done;
	reader->shift = shift;
	return store_records(store, after, UINT32_MAX, UINT32_MAX, tell_record, reader, &more);
}

/*
 * What was told before a store was mended, or opened anew for reading, is not told again: it keeps its numbers. As long as
 * older ones are there and cannot be read, it is as if the reader had stopped before them.
 */
static void read_disk_records(struct reader *reader)
{
	struct spool *spool = reader->spool;
	int r = 0;

	for (int i = 0; i < 3 && spool->disk; i++) {
		r = read_records(reader, spool->disk, spool->shift);
		if (r == 0)
			return;
		(void)spool_disk_failed(spool, r);
	}
	reader->stopped = (r < 0 && spool->disk) || spool_is_held(spool);
}

void spool_records(struct spool *spool, int64_t after, uint32_t max_rows, uint32_t max_bytes,
                   store_row_fn fn, void *user, bool *more)
{
	struct reader reader = { .spool = spool,
		                 .fn = fn,
		                 .user = user,
		                 .rows = max_rows,
		                 .bytes = max_bytes,
		                 .last = after };

	spool_loss_asked(spool, after);
	read_disk_records(&reader);
	if (spool->memory && !reader.stopped) {
		int64_t told = spool->told;

		(void)read_records(&reader, spool->memory, spool->memory_shift);
		spool->passed = spool->passed || (spool->unread && spool->told > told);
	}
	*more = reader.stopped;
	spool_update(spool);
}

/* Rows of the disk, between those of memory, which are newer and stand over them. */
struct merge {
	struct spool *spool;
	enum spool_table table;
	bool open;
	store_row_fn fn;
	void *user;
	uint32_t rows;
	int64_t since, until; /* of what memory has not told yet */
	bool stopped;
};

static int tell_merged(void *user, const struct spool_row *row)
{
	struct merge *merge = user;

	merge->stopped = merge->rows == 0 || merge->fn(merge->user, row) != 0;
	if (merge->stopped)
		return 1;
	merge->rows--;
	return 0;
}

static void tell_memory(struct merge *merge, int64_t since)
{
	struct store *memory = merge->spool->memory;
	bool more;

	if (!memory || merge->stopped || since > merge->until)
		return;
	if (merge->table == SPOOL_SUBJECT)
		(void)store_subjects(memory, tell_merged, merge);
	else
		(void)store_violations(memory, merge->open, since, merge->until, UINT32_MAX,
		                       tell_merged, merge, &more);
	merge->until = since - 1;
}

static int tell_disk(void *user, const struct spool_row *row)
{
	struct merge *merge = user;
	struct store *memory = merge->spool->memory;
	bool hidden = false;

	if (!merge->open && merge->table == SPOOL_VIOLATION && row->wall_us < merge->until)
		tell_memory(merge, row->wall_us + 1);
	if (merge->stopped)
		return 1;
	if (memory)
		(void)store_has(memory, row->table, row->key, &hidden);
	return hidden ? 0 : tell_merged(merge, row);
}

static int read_disk(struct merge *merge, store_row_fn fn)
{
	struct store *disk = merge->spool->disk;
	bool more;

	if (merge->table == SPOOL_SUBJECT)
		return store_subjects(disk, fn, merge);
	return store_violations(disk, merge->open, merge->since, merge->until, UINT32_MAX, fn,
	                        merge, &more);
}

static int tell_nobody(void *user, const struct spool_row *row)
{
	(void)user;
	(void)row;
	return 0;
}

static void tell_all(struct merge *merge)
{
	struct spool *spool = merge->spool;
	bool history = merge->table == SPOOL_VIOLATION && !merge->open;
	int64_t since = merge->since;
	int r;

	/* What is read once, at the start, is to be whole: a file that is not is found out before. */
	if (spool->disk && !history) {
		r = read_disk(merge, tell_nobody);
		if (r < 0)
			(void)spool_disk_failed(spool, r);
	}
	if (spool->disk) {
		r = read_disk(merge, tell_disk);
		if (r < 0)
			(void)spool_disk_failed(spool, r);
	}
	tell_memory(merge, since);
	spool_update(spool);
}

void spool_violations(struct spool *spool, bool open, int64_t since_us, int64_t until_us,
                      uint32_t max_rows, store_row_fn fn, void *user, bool *more)
{
	struct merge merge = { .spool = spool,
		               .table = SPOOL_VIOLATION,
		               .open = open,
		               .fn = fn,
		               .user = user,
		               .rows = max_rows,
		               .since = open ? 0 : since_us,
		               .until = open ? INT64_MAX : until_us };

	tell_all(&merge);
	*more = merge.stopped;
}

void spool_subjects(struct spool *spool, store_row_fn fn, void *user)
{
	struct merge merge = { .spool = spool,
		               .table = SPOOL_SUBJECT,
		               .fn = fn,
		               .user = user,
		               .rows = UINT32_MAX,
		               .until = INT64_MAX };

	tell_all(&merge);
}

/* Removing */

void spool_done(struct spool *spool, int64_t number)
{
	int64_t own = number - spool->shift;
	int r = -EROFS;

	spool_loss_done(spool, number);
	/* A number as it was before: told again, under another. */
	if (spool->disk && own > 0) {
		if (!spool->readonly)
			r = store_done(spool->disk, own);
		if (r == 0 && own >= spool->done)
			spool->done = 0;
		if (r < 0 && own > spool->done)
			spool->done =
				own < store_next(spool->disk) ? own : store_next(spool->disk) - 1;
		if (r < 0 && !spool->error)
			(void)spool_disk_failed(spool, r);
	}
	if (spool->memory && number > spool->memory_shift)
		(void)store_done(spool->memory, number - spool->memory_shift);
	spool_update(spool);
}
