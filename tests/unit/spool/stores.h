/* A store in the test's folder. */
#pragma once

#include "spool/rows.h"

#define MIB (1ULL << 20)

static struct told told;
static char body[ROWS_BODY_MAX];

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

static inline struct store *open_store(uint64_t max_bytes)
{
	struct store *store = NULL;

	assert_int_equal(store_open(in_folder("spool.db"), max_bytes, &store), 0);
	return store;
}

static inline int try_put(struct store *store, enum spool_table table, const char *prefix,
                          unsigned int n, int64_t wall_us)
{
	const struct spool_row row = rows_make(table, prefix, n, wall_us, body);

	return store_put(store, &row);
}

static inline void put(struct store *store, enum spool_table table, const char *prefix,
                       unsigned int n, int64_t wall_us)
{
	assert_int_equal(try_put(store, table, prefix, n, wall_us), 0);
}

static inline void put_records(struct store *store, unsigned int from, unsigned int to)
{
	assert_int_equal(store_begin(store), 0);
	for (unsigned int i = from; i <= to; i++)
		put(store, SPOOL_RECORD, "r", i, START_US + i);
	assert_int_equal(store_commit(store), 0);
}
