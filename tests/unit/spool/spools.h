/* A spool in the test's folder, and what it says. */
#pragma once

#include "spool/rows.h"
#include "spool/spool.h"

#define MIB (1ULL << 20)

static struct told told;
static struct moment now = { .mono_ns = 1000 * NSEC_PER_SEC, .wall_us = START_US };
static char bodies[SPOOL_ROWS_MAX][ROWS_BODY_MAX];

static inline void spool_freep(struct spool **spool)
{
	*spool = spool_free(*spool);
}

static inline struct spool *open_spool_at(const char *directory)
{
	struct spool *spool = NULL;

	assert_int_equal(spool_new(directory, 16 * MIB, NULL, &now, &spool), 0);
	return spool;
}

static inline struct spool *open_spool(void)
{
	return open_spool_at(folder);
}

/* A change: a record, and the violation's newest state. */
static inline void put_change(struct spool *spool, unsigned int n)
{
	const struct spool_row rows[] = {
		rows_make(SPOOL_RECORD, "r", n, START_US + n, bodies[0]),
		rows_make(SPOOL_VIOLATION, "v", n % 100, n % 3 ? 0 : START_US + n, bodies[1]),
	};

	spool_put(spool, rows, 2);
}

static inline void put_changes(struct spool *spool, unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i <= to; i++) {
		spool_begin(spool);
		put_change(spool, i);
		spool_commit(spool, &now);
	}
}

static inline void read_records(struct spool *spool, int64_t after, uint32_t max)
{
	bool more;

	memset(&told, 0, sizeof(told));
	spool_records(spool, after, max, UINT32_MAX, rows_tell, &told, &more);
	assert_int_equal(told.wrong, 0);
	for (unsigned int i = 1; i < told.n; i++)
		assert_true(told.number[i] > told.number[i - 1]);
}

/* Exactly these wait, in this order; returns the last one's number. */
static inline int64_t expect_changes(struct spool *spool, int64_t after, unsigned int from,
                                     unsigned int to)
{
	read_records(spool, after, UINT32_MAX);
	assert_int_equal(told.n, to + 1 - from);
	for (unsigned int i = 0; i < told.n; i++)
		assert_int_equal(told.key[i], from + i);
	return told.n ? told.number[told.n - 1] : after;
}

static inline void expect_degraded(struct spool *spool, const char *reason)
{
	assert_true(spool_state(spool)->degraded);
	if (!strstr(spool_state(spool)->reason, reason))
		fail_msg("%s: not %s", spool_state(spool)->reason, reason);
}

static inline void pass(uint64_t ns)
{
	now.mono_ns += ns;
	now.wall_us += (int64_t)(ns / NSEC_PER_USEC);
}

/* The disk is tried. */
static inline void retry(struct spool *spool)
{
	pass(SPOOL_RETRY_NS);
	spool_tick(spool, &now);
}

static inline uint64_t all_dropped(struct spool *spool)
{
	uint64_t sum = 0;

	for (int i = 0; i < _SPOOL_DROP_MAX; i++)
		sum += spool_state(spool)->dropped[i];
	return sum;
}
