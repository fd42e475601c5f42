#include "spool/spool_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/* State */

static void update_reason(struct spool *spool)
{
	struct spool_state *state = &spool->state;

	state->degraded = spool->error != 0;
	if (spool->error)
		snprintf(state->reason, sizeof(state->reason),
		         "%.100s: kept in memory only%s%.100s", spool_why(spool->error),
		         spool->lost[0] ? "; " : "", spool->lost);
	else
		snprintf(state->reason, sizeof(state->reason), "%s", spool->lost);
}

static void add_stats(struct spool *spool, struct store *store, uint64_t *corrupt)
{
	struct spool_state *state = &spool->state;
	struct store_stats stats;
	uint64_t waiting;

	if (!store || store_stats(store, &stats) < 0)
		return;
	waiting = stats.waiting;
	/* What is done and still there. */
	if (store == spool->disk && spool->done) {
		int64_t over = store_next(store) - 1 - spool->done;

		waiting = over < 0 ? 0 : (uint64_t)over < waiting ? (uint64_t)over : waiting;
	}
	state->waiting += waiting;
	state->bytes += stats.bytes;
	if (waiting && (!state->oldest_us || stats.oldest_us < state->oldest_us))
		state->oldest_us = stats.oldest_us;
	spool_loss_rows(spool, store, corrupt);
}

void spool_update(struct spool *spool)
{
	struct spool_state *state = &spool->state;

	state->waiting = state->bytes = 0;
	state->oldest_us = 0;
	add_stats(spool, spool->disk, &spool->corrupt[0]);
	add_stats(spool, spool->memory, &spool->corrupt[1]);
	state->full = spool->now.mono_ns < spool->full_until;
	update_reason(spool);
}

/* Writing */

static int write_rows(struct store *store, const struct spool_row *const *rows, size_t n)
{
	int r = store_begin(store);

	for (size_t i = 0; i < n && r == 0; i++)
		r = store_put(store, rows[i]);
	r = r ?: store_commit(store);
	store_rollback(store);
	return r;
}

/* On disk, or in memory, or counted. */
static void keep(struct spool *spool, const struct spool_row *const *rows, size_t n)
{
	int r = spool->error ?: -EBADMSG;

	for (int i = 0; i < 2 && !spool->error; i++) {
		spool_make_room(spool, spool->disk, false);
		r = write_rows(spool->disk, rows, n);
		if (r == 0)
			return;
		if (!spool_disk_failed(spool, r))
			break;
	}
	if (!spool->error) /* corrupt again as soon as it was made anew */
		spool_disk_degrade(spool, r);
	r = spool_need_memory(spool);
	if (r == 0) {
		spool_make_room(spool, spool->memory, false);
		r = write_rows(spool->memory, rows, n);
	}
	for (size_t i = 0; i < n && r < 0; i++)
		spool->state.dropped[SPOOL_DROP_FAILED] += rows[i]->table == SPOOL_RECORD;
}

static void flush(struct spool *spool)
{
	const struct spool_row *rows[SPOOL_BATCH_ROWS];

	if (spool->n_rows == 0)
		return;
	for (size_t i = 0; i < spool->n_rows; i++)
		rows[i] = &spool->rows[i]->row;
	keep(spool, rows, spool->n_rows);
	for (size_t i = 0; i < spool->n_rows; i++)
		free(spool->rows[i]);
	spool->n_rows = spool->weight = 0;
}

void spool_begin(struct spool *spool)
{
	assert(spool->n_rows == 0);
}

static bool remember(struct spool *spool, const struct spool_row *rows, size_t n)
{
	size_t before = spool->n_rows;

	for (size_t i = 0; i < n; i++) {
		struct waiting_row *copy = malloc(sizeof(*copy) + rows[i].len);

		if (!copy) {
			while (spool->n_rows > before)
				free(spool->rows[--spool->n_rows]);
			return false;
		}
		copy->row = rows[i];
		if (rows[i].body) {
			memcpy(copy->body, rows[i].body, rows[i].len);
			copy->row.body = copy->body;
		}
		spool->rows[spool->n_rows++] = copy;
	}
	return true;
}

void spool_put(struct spool *spool, const struct spool_row *rows, size_t n)
{
	const struct spool_row *all[SPOOL_ROWS_MAX];
	struct store *store = spool->disk ?: spool->memory;
	size_t weight = 0, max = store ? store_weight_max(store) : SPOOL_WAL_BYTES / 2;

	assert(n <= SPOOL_ROWS_MAX);
	if (spool->ended)
		return;
	for (size_t i = 0; i < n; i++) {
		weight += store_weight(&rows[i]);
		all[i] = &rows[i];
	}
	if (spool->weight + weight > max || spool->n_rows + n > SPOOL_BATCH_ROWS)
		flush(spool);
	if (remember(spool, rows, n)) {
		spool->weight += weight;
		return;
	}
	/* Without memory for a copy, at once and after what came before. */
	flush(spool);
	keep(spool, all, n);
}

void spool_commit(struct spool *spool, const struct moment *now)
{
	spool->now = *now;
	flush(spool);
	spool_update(spool);
}

void spool_tick(struct spool *spool, const struct moment *now)
{
	spool->now = *now;
	if (spool->ended)
		return;
	if (spool->error && now->mono_ns >= spool->next_try)
		spool_disk_try(spool);
	if (!spool->error) {
		spool_disk_grow(spool);
		spool_make_room(spool, spool->disk, true);
	}
	if (spool->memory)
		spool_make_room(spool, spool->memory, true);
	spool_update(spool);
}

void spool_remove(struct spool *spool)
{
	spool->disk = store_free(spool->disk);
	spool->memory = store_free(spool->memory);
	spool_files_remove(&spool->files);
	spool->ended = true;
	spool_update(spool);
}

/* Life */

int spool_new(const char *directory, uint64_t max_bytes, spool_confine_fn confine,
              const struct moment *now, struct spool **out)
{
	struct spool *spool = calloc(1, sizeof(*spool));
	int r = spool ? spool_files_init(&spool->files, directory) : -ENOMEM;

	if (r < 0) {
		free(spool);
		return r;
	}
	spool->max_bytes = max_bytes;
	spool->confine = confine;
	spool->now = *now;
	spool->next = 1;
	r = spool_disk_open(spool);
	if (r < 0)
		spool_disk_degrade(spool, r);
	spool_update(spool);
	*out = spool;
	return 0;
}

/* What is in memory only ends with it: the disk, which may take it by now, is asked a last time. */
static void save(struct spool *spool)
{
	struct store_stats stats = { 0 };
	char count[24];

	if (!spool->memory || spool->ended)
		return;
	spool_disk_try(spool);
	if (!spool->memory)
		return;
	(void)store_stats(spool->memory, &stats);
	snprintf(count, sizeof(count), "%llu", (unsigned long long)stats.waiting);
	log_error("spool: what was kept in memory only is lost", "reports", count, "reason",
	          spool_why(spool->error), NULL);
}

struct spool *spool_free(struct spool *spool)
{
	if (!spool)
		return NULL;
	flush(spool);
	save(spool);
	store_free(spool->disk);
	store_free(spool->memory);
	spool_files_free(&spool->files);
	free(spool);
	return NULL;
}

bool spool_known(const struct spool *spool)
{
	return spool->known;
}

const struct spool_state *spool_state(const struct spool *spool)
{
	return &spool->state;
}
