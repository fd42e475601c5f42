#include "spool/spool_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* What is lost, and what only seems so: said once, and counted. */

void spool_loss_rows(struct spool *spool, struct store *store, uint64_t *before)
{
	struct store_stats stats;

	if (!store || store_stats(store, &stats) < 0)
		return;
	spool->state.dropped[SPOOL_DROP_CORRUPT] += stats.corrupt_records - *before;
	if (stats.corrupt_records > *before)
		snprintf(spool->lost, sizeof(spool->lost),
		         "rows of spool.db were damaged and are lost, %llu of them records",
		         (unsigned long long)stats.corrupt_records);
	*before = stats.corrupt_records;
}

static void describe(const struct spool_gone *gone, const struct store_loss *loss,
                     char out[static SPOOL_TEXT_MAX])
{
	static const char kept[] = "the file is kept as spool.db.corrupt";
	const char *least = loss->at_least || loss->unknown ? "at least " : "";
	unsigned long long n = loss->records;
	size_t len;

	out[0] = '\0';
	if (gone->corrupt)
		snprintf(out, SPOOL_TEXT_MAX,
		         "spool.db was corrupt: kept %llu rows, lost %s%llu records; %s",
		         (unsigned long long)gone->kept, least, n, kept);
	else if (gone->foreign)
		snprintf(out, SPOOL_TEXT_MAX,
		         "spool.db was another program's, or a newer version's: lost %s%llu "
		         "records; %s",
		         least, n, kept);
	else if (n > 0)
		snprintf(out, SPOOL_TEXT_MAX,
		         "spool.db or its log lost its end: lost %s%llu records", least, n);
	len = strlen(out);
	if (loss->unknown)
		snprintf(out + len, SPOOL_TEXT_MAX - len,
		         "%sspool.db-tally was missing or damaged: an unknown number of records "
		         "may be lost",
		         len ? "; " : "");
}

/*
 * Told before it is settled: a crash between tells it twice, not never. The numbers that have gaps say less than the
 * tally, when this is as new as the database.
 */
int spool_loss_settle(struct spool *spool)
{
	char text[SPOOL_TEXT_MAX];
	struct store_loss loss;
	int r;

	store_loss(spool->disk, &loss);
	if ((loss.at_least || loss.unknown) && spool->gone.lost > loss.records)
		loss.records = spool->gone.lost;
	describe(&spool->gone, &loss, text);
	if (text[0])
		log_error("spool: something is lost", "reason", text, NULL);
	r = store_settle(spool->disk);
	if (r < 0)
		return r;
	if (text[0])
		memcpy(spool->lost, text, sizeof(text));
	spool->state.dropped[SPOOL_DROP_CORRUPT] += loss.records;
	spool->gone = (struct spool_gone){ 0 };
	return 0;
}

/*
 * What gave way while the reader had it arrives all the same, unless the reader asks for it again: counted then. Room is made
 * from the beginning, so that of `n` the first were told.
 */
static void spare(struct spool *spool, int64_t first, int64_t shift, uint64_t n)
{
	int64_t told = spool->told - shift - first + 1;
	uint64_t under_way = told < 0 ? 0 : (uint64_t)told < n ? (uint64_t)told : n;

	if (first == 0 || under_way == 0)
		return;
	spool->state.dropped[SPOOL_DROP_FULL] -= under_way;
	spool->under_way += under_way;
	spool->under_way_to = first + shift + (int64_t)under_way - 1;
}

void spool_make_room(struct spool *spool, struct store *store, bool all)
{
	uint64_t *dropped = spool->state.dropped, full = dropped[SPOOL_DROP_FULL],
		 age = dropped[SPOOL_DROP_AGE];
	int64_t first = 0, shift = store == spool->disk ? spool->shift : spool->memory_shift;

	(void)store_first(store, &first);
	/* What cannot be removed now can be later; what then does not fit says so itself. */
	if (all)
		(void)store_trim(store, spool->now.wall_us, dropped);
	else
		(void)store_make_room(store, dropped);
	if (dropped[SPOOL_DROP_FULL] == full)
		return;
	spool->full_until = spool->now.mono_ns + SPOOL_FULL_NS;
	spare(spool, first ? first + (int64_t)(dropped[SPOOL_DROP_AGE] - age) : 0, shift,
	      dropped[SPOOL_DROP_FULL] - full);
}

void spool_loss_asked(struct spool *spool, int64_t after)
{
	uint64_t n = spool->under_way;

	if (after >= spool->under_way_to || n == 0)
		return;
	if (n > (uint64_t)(spool->under_way_to - after))
		n = (uint64_t)(spool->under_way_to - after);
	spool->state.dropped[SPOOL_DROP_FULL] += n;
	spool->under_way = 0;
}

void spool_loss_done(struct spool *spool, int64_t number)
{
	int64_t left = spool->under_way_to - number;

	if (left <= 0)
		spool->under_way = 0;
	else if ((uint64_t)left < spool->under_way)
		spool->under_way = (uint64_t)left;
}
