/*
 * What the files of the spool share. Nobody else includes it.
 */
#pragma once

#include "spool/files.h"
#include "spool/spool.h"

#define SPOOL_BATCH_ROWS (SPOOL_BATCH_MAX * SPOOL_ROWS_MAX)

struct waiting_row {
	struct spool_row row;
	char body[];
};

/*
 * Numbers that others see are those of the stores, plus `shift`. While the disk refuses, memory
 * goes on with the numbers of the disk, so that what is in both has one order. A database
 * that is opened later has numbers of its own: they are shifted beyond all that were told, and
 * nothing that a reader asks for by number is passed over or removed unseen.
 */
struct spool {
	struct spool_files files;
	spool_confine_fn confine; /* NULL: it has been, or there is none */
	bool confine_told;        /* that it cannot be */
	uint64_t max_bytes;       /* as configured */
	uint64_t bound;           /* of the disk's store: those, or what the disk has */
	struct store *disk;       /* NULL: cannot be opened */
	struct store *memory;     /* NULL: not needed */
	bool readonly;            /* the disk's store takes nothing whatever is asked of it */
	bool known;               /* what an earlier run left was read */
	int error;                /* of the disk; 0: it takes rows */
	bool ended;               /* removed: nothing is kept any more */
	int64_t shift, memory_shift;
	int64_t told; /* the highest number that anybody saw */
	int64_t next; /* of the disk, when it was last known */
	int64_t done; /* of the disk: what it did not want to remove; not told again */
	struct moment now;
	uint64_t next_try;   /* monotonic */
	uint64_t full_until; /* monotonic */
	uint64_t corrupt[2]; /* of disk and memory: what their counts were when last taken over */
	char lost[SPOOL_TEXT_MAX]; /* what a corrupt file cost */
	struct spool_state state;
	/* The transaction: written when it is committed, or when more would be too much for it. */
	struct waiting_row *rows[SPOOL_BATCH_ROWS];
	size_t n_rows, weight;
};

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

/* State, after whatever may have changed it. */
void spool_update(struct spool *spool);
const char *spool_why(int r);
/* `all`: also what is too old. */
void spool_make_room(struct spool *spool, struct store *store, bool all);

/* Opens the disk's store: 0 or why it takes nothing. */
int spool_disk_open(struct spool *spool);
/* An error of the disk's, dealt with: true when the work is to be done again. */
bool spool_disk_failed(struct spool *spool, int r);
/* From now on in memory. */
void spool_disk_degrade(struct spool *spool, int r);
/* There is more room than there was. */
void spool_disk_grow(struct spool *spool);
/* Another try, and everything back to the disk. */
void spool_disk_try(struct spool *spool);
/* There is a store in memory: 0 or -ENOMEM. */
int spool_need_memory(struct spool *spool);
