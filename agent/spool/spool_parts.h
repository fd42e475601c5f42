/*
 * What the files of the spool share. Nobody else includes it.
 */
#pragma once

#include "spool/files.h"
#include "spool/spool.h"

#define SPOOL_BATCH_ROWS (SPOOL_BATCH_MAX * SPOOL_ROWS_MAX)

/* What was put aside, and is not told yet. */
struct spool_gone {
	bool corrupt, foreign;
	uint64_t kept, lost; /* rows; records, by gaps of their numbers */
};

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
	struct spool_gone gone;
	/*
	 * Records of earlier runs, or of this one, wait on a disk that cannot be read: those in memory are newer, and are told
	 * after them, but not later than SPOOL_HOLD_NS for that.
	 */
	bool unread;
	bool passed;         /* those in memory were told all the same */
	uint64_t held_until; /* monotonic */
	/* Records that gave way while the reader had them; the newest one's number, as told. */
	uint64_t under_way;
	int64_t under_way_to;
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

/* Rows of a store that were not as they were written, since *before. Before a store is freed. */
void spool_loss_rows(struct spool *spool, struct store *store, uint64_t *before);
/* Of a disk that was opened: what it lost is told, counted and settled. */
int spool_loss_settle(struct spool *spool);
/* The reader asks for what is after this number, or says that it is done with what is up to it. */
void spool_loss_asked(struct spool *spool, int64_t after);
void spool_loss_done(struct spool *spool, int64_t number);

/* Opens the disk's store: 0 or why it takes nothing. */
int spool_disk_open(struct spool *spool);
/* An error of the disk's, dealt with: true when the work is to be done again. */
bool spool_disk_failed(struct spool *spool, int r);
/* From now on in memory. */
void spool_disk_degrade(struct spool *spool, int r);
/* Rows of memory are not told yet: older ones wait on a disk that cannot be read now. */
bool spool_is_held(const struct spool *spool);
/* There is more room than there was. */
void spool_disk_grow(struct spool *spool);
/* Another try, and everything back to the disk. */
void spool_disk_try(struct spool *spool);
/* There is a store in memory: 0 or -ENOMEM. */
int spool_need_memory(struct spool *spool);
