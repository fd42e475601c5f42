/*
 * The spool: a store on disk, and one in memory for as long as the disk refuses.
 *
 * Never fails for its caller: a disk that is full, read-only, broken or another agent's, and a file
 * that is corrupt, make it degraded, with a reason and a count. While it is, it tries the disk again
 * every SPOOL_RETRY_NS and moves what it holds back there. A disk that is smaller than the bound is the bound. A corrupt file is kept beside (one, the newest)
 * and what is readable of it taken over. Files: spool.db, spool.db-wal, spool.db-tally, spool.db.corrupt in the folder; modes 0600
 * and 0700.
 *
 * Records are told in the order in which they were put, those of earlier runs first; again when it is not known what was told,
 * and then again in that order. So those in memory wait for those on a disk that cannot be read, SPOOL_HOLD_NS at most: after
 * that they go first, for a broken disk must not silence a node, and what is on it comes when it can be read.
 */
#pragma once

#include "base/clock.h"
#include "spool/store.h"

struct spool;

/*
 * From now on only what is beneath this folder can be opened, or, as long as it is not `there`, made. 0 or -errno with
 * one line in `error`. Called again until it said 0 of one that is there.
 */
typedef int (*spool_confine_fn)(const char *directory, bool there,
                                char error[static SPOOL_TEXT_MAX]);

/*
 * The folder is made when it is not there. Before `confine` (NULL: none) has been, no file in it is opened. 0 or -ENOMEM:
 * everything else is degraded.
 */
int spool_new(const char *directory, uint64_t max_bytes, spool_confine_fn confine,
              const struct moment *now, struct spool **out);
struct spool *spool_free(struct spool *spool);

/* Between these, puts are one transaction; spool_commit() is when they are kept. */
void spool_begin(struct spool *spool);
void spool_put(struct spool *spool, const struct spool_row *rows, size_t n);
void spool_commit(struct spool *spool, const struct moment *now);

/* As those of the store; a store that turns out to be corrupt is salvaged and asked again. */
void spool_records(struct spool *spool, int64_t after, uint32_t max_rows, uint32_t max_bytes,
                   store_row_fn fn, void *user, bool *more);
void spool_violations(struct spool *spool, bool open, int64_t since_us, int64_t until_us,
                      uint32_t max_rows, store_row_fn fn, void *user, bool *more);
void spool_subjects(struct spool *spool, store_row_fn fn, void *user);
void spool_done(struct spool *spool, int64_t number);
/* What an earlier run left could be read; until then nobody was told of it. */
bool spool_known(const struct spool *spool);
/* Now and then: trims, and tries the disk again. */
void spool_tick(struct spool *spool, const struct moment *now);
/* Its files are removed; then only spool_free(). */
void spool_remove(struct spool *spool);

const struct spool_state *spool_state(const struct spool *spool);
