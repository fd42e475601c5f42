#include "spool/spool_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

static void attach(struct spool *spool);
static void read_only(struct spool *spool, int r);

const char *spool_why(int r)
{
	switch (r) {
	case -ENOSPC:
		return "no space left on the device, or in collector.spool.maxBytes";
	case -EBUSY:
		return "another process has spool.db";
	case -EBADMSG:
		return "spool.db is corrupt and cannot be replaced";
	case -EMEDIUMTYPE:
		return "spool.db is another program's and cannot be put aside";
	case -ELOOP:
		return "the folder or spool.db is a symbolic link";
	case -EPERM:
		return "the folder or spool.db is not this user's alone";
	default:
		return strerror(-r);
	}
}

static void close_disk(struct spool *spool)
{
	spool_loss_rows(spool, spool->disk, &spool->corrupt[0]);
	spool->disk = store_free(spool->disk);
	spool->corrupt[0] = 0;
	spool->readonly = false;
}

/*
 * After an error of fsync(2) the kernel may take pages for written that are not: opened anew, the log goes to the file once
 * more. Until then what waits there is read as it is, since it is older than what comes to memory; unless it is that
 * which failed.
 */
static void reopen(struct spool *spool, int r)
{
	bool reading = spool->readonly;

	close_disk(spool);
	if (!reading)
		read_only(spool, r);
	if (spool->disk)
		attach(spool);
}

/* As far as is known without it: records wait on a disk that cannot be read. */
static bool has_unread(const struct spool *spool)
{
	struct stat st;
	uint64_t waiting;

	if (stat(spool->files.db, &st) < 0 || st.st_size == 0)
		return false;
	return spool->confine || store_peek(spool->files.db, &waiting) < 0 || waiting > 0;
}

static void note_unread(struct spool *spool)
{
	if (spool->disk || spool->unread)
		return;
	spool->unread = has_unread(spool);
	spool->held_until = spool->now.mono_ns + SPOOL_HOLD_NS;
}

bool spool_is_held(const struct spool *spool)
{
	return spool->unread && !spool->disk && spool->now.mono_ns < spool->held_until;
}

/* The disk refuses: on in memory. A store of a disk that is full or takes nothing is still read. */
void spool_disk_degrade(struct spool *spool, int r)
{
	if (!spool->error)
		log_warn("spool: the disk refuses", "reason", spool_why(r), "directory",
		         spool->files.directory, NULL);
	if (r != -ENOMEM)
		spool->state.errors++;
	spool->error = r;
	if (spool->disk)
		spool->next = store_next(spool->disk);
	if (spool->disk && r != -ENOSPC && r != -EROFS && r != -ENOMEM)
		reopen(spool, r);
	note_unread(spool);
	spool->next_try =
		spool->now.mono_ns + (spool_is_held(spool) ? SPOOL_TICK_NS : SPOOL_RETRY_NS);
}

static int salvage(struct spool *spool, int error, uint64_t *kept, uint64_t *lost)
{
	cleanup(store_freep) struct store *fresh = NULL;
	int r = spool_files_clear_new(&spool->files);

	r = r ?: store_open_new(spool->files.fresh, spool->bound, &fresh);
	if (error == -EBADMSG)
		r = r ?: store_salvage(spool->files.db, fresh, kept, lost);
	return r;
}

/* What is readable into a new file, which takes the old one's place. */
static int replace(struct spool *spool, int error)
{
	uint64_t kept = 0, lost = 0;
	int r = salvage(spool, error, &kept, &lost);

	if (r < 0) {
		(void)spool_files_clear_new(&spool->files);
		return r;
	}
	/* When this fails half way the next preparation ends it. */
	r = spool_files_replace(&spool->files);
	if (r < 0)
		return r;
	spool->gone.corrupt = spool->gone.corrupt || error == -EBADMSG;
	spool->gone.foreign = spool->gone.foreign || error != -EBADMSG;
	spool->gone.kept = kept;
	spool->gone.lost += lost;
	spool->state.errors++;
	return 0;
}

/* Of what cannot be opened to be written: what is needed at the start. */
static void read_only(struct spool *spool, int r)
{
	cleanup(store_freep) struct store *memory = NULL;
	uint64_t kept, lost;

	/* It is ours, whole as far as is known, and nobody else writes to it. */
	if ((r == -EROFS || r == -EIO || r == -EACCES || r == -ENOSPC) && !spool->confine &&
	    store_open_readonly(spool->files.db, &spool->disk) == 0) {
		spool->readonly = true;
		return;
	}
	if (r != -EBADMSG || spool->memory || store_open(NULL, SPOOL_MEMORY_BYTES, &memory) < 0)
		return;
	if (store_salvage(spool->files.db, memory, &kept, &lost) < 0)
		return;
	spool->memory = take_ptr(memory);
	spool->known = true;
}

/* Its folder is there, and the process confined to it. */
static int enter(struct spool *spool)
{
	char error[SPOOL_TEXT_MAX] = "";
	int folder = spool_files_folder(&spool->files), r;

	if (!spool->confine)
		return folder;
	r = spool->confine(spool->files.directory, folder == 0, error);
	if (r < 0 && !spool->confine_told)
		log_error("the process of the spool cannot be confined: it opens no file", "reason",
		          error, NULL);
	spool->confine_told = r < 0;
	if (folder == 0 && r == 0)
		spool->confine = NULL;
	return folder ?: r;
}

/*
 * A disk that is smaller than the configured bound is the bound: the oldest give way before a write fails. A part
 * of it is left for the file system's own blocks.
 */
static uint64_t find_bound(const struct spool *spool)
{
	uint64_t room;

	if (spool_files_room(&spool->files, &room) < 0)
		return spool->max_bytes;
	room -= room / SPOOL_DISK_PART;
	room = room > SPOOL_DISK_MIN ? room : SPOOL_DISK_MIN;
	return room < spool->max_bytes ? room : spool->max_bytes;
}

static void set_bound(struct spool *spool, uint64_t bound)
{
	char bytes[24];

	if (bound < spool->max_bytes && (!spool->bound || spool->bound == spool->max_bytes)) {
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)bound);
		log_warn("spool: the disk has less than collector.spool.maxBytes", "directory",
		         spool->files.directory, "bytes", bytes, NULL);
	}
	spool->bound = bound;
}

void spool_disk_grow(struct spool *spool)
{
	uint64_t bound = spool->bound < spool->max_bytes ? find_bound(spool) : 0;

	if (bound <= spool->bound || store_bound(spool->disk, bound) < 0)
		return;
	set_bound(spool, bound);
}

/* `corrupt`: that it is was found out before, by more than opening it does. */
static int open_file(struct spool *spool, bool corrupt)
{
	int r = enter(spool), replaced;

	r = r ?: spool_files_prepare(&spool->files);
	if (r == 0)
		set_bound(spool, find_bound(spool));
	spool->corrupt[0] = 0;
	if (r == 0)
		r = corrupt ? -EBADMSG : store_open(spool->files.db, spool->bound, &spool->disk);
	if (r != -EBADMSG && r != -EMEDIUMTYPE)
		return r;
	replaced = replace(spool, r);
	/* As long as there is no place for another it stays, and is tried again. */
	if (replaced == -ENOSPC || replaced == -EROFS)
		return r;
	return replaced ?: store_open(spool->files.db, spool->bound, &spool->disk);
}

static int open_and_settle(struct spool *spool, bool corrupt)
{
	int r = open_file(spool, corrupt);

	r = r ?: spool_loss_settle(spool);
	if (r < 0)
		spool->disk = store_free(spool->disk);
	return r;
}

/* No number that anybody was told is given again. */
static int skip_told(struct spool *spool)
{
	int64_t next = spool->told - spool->shift + 1;
	int r = store_begin(spool->disk);

	if (next < spool->next)
		next = spool->next;
	r = r ?: store_skip(spool->disk, next);
	r = r ?: store_commit(spool->disk);
	if (r < 0)
		store_rollback(spool->disk);
	return r;
}

/*
 * What is known of a disk's numbers holds when it is as it was left, or has more after them (a transaction whose fsync(2)
 * failed), and nobody was told higher ones, of memory, while it could not be read. Else all that is on it comes after what
 * was told.
 */
static void attach(struct spool *spool)
{
	int64_t next = store_next(spool->disk), told = spool->told - spool->shift;
	bool stand = !spool->passed &&
	             (next == spool->next || (next > spool->next && told < spool->next));

	if (!stand) {
		spool->done = 0;
		spool->shift = spool->told;
	}
	if ((!stand || next != spool->next) && spool->memory_shift < spool->shift + next)
		spool->memory_shift = spool->shift + next;
	spool->next = next;
	spool->passed = spool->unread = false;
}

int spool_disk_open(struct spool *spool)
{
	int r;

	close_disk(spool);
	r = open_and_settle(spool, false);
	if (r < 0)
		read_only(spool, r);
	if (!spool->disk)
		return r;
	attach(spool);
	spool->known = true;
	return r;
}

/* A sound store in the place of a corrupt one, with the same numbers. */
static int mend(struct spool *spool)
{
	int r;

	spool->next = store_next(spool->disk);
	close_disk(spool);
	r = open_and_settle(spool, true);
	if (r < 0)
		read_only(spool, r);
	return r ?: skip_told(spool);
}

bool spool_disk_failed(struct spool *spool, int r)
{
	if (r == -EBADMSG)
		r = mend(spool);
	if (r < 0)
		spool_disk_degrade(spool, r);
	return r == 0;
}

int spool_need_memory(struct spool *spool)
{
	cleanup(store_freep) struct store *memory = NULL;
	int64_t told = spool->told - spool->shift + 1;
	int r;

	if (spool->memory)
		return 0;
	r = store_open(NULL, SPOOL_MEMORY_BYTES, &memory);
	r = r ?: store_skip(memory, told > spool->next ? told : spool->next);
	if (r < 0)
		return r;
	spool->memory = take_ptr(memory);
	spool->memory_shift = spool->shift;
	spool->corrupt[1] = 0;
	return 0;
}

/* With numbers that continue those of the disk's, they are kept; else all are told once more. */
static int copy_memory(struct spool *spool)
{
	uint64_t *dropped = spool->state.dropped, before = dropped[SPOOL_DROP_FULL];
	bool same = spool->memory_shift == spool->shift;
	int r = same ? 0 : skip_told(spool);

	r = r ?: store_copy(spool->memory, spool->disk, dropped);
	if (dropped[SPOOL_DROP_FULL] > before)
		spool->full_until = spool->now.mono_ns + SPOOL_FULL_NS;
	return r;
}

static int move_back(struct spool *spool)
{
	int r = 0;

	if (spool->done)
		r = store_done(spool->disk, spool->done);
	if (r == 0)
		spool->done = 0;
	if (spool->memory)
		r = r ?: copy_memory(spool);
	return r ?: skip_told(spool);
}

void spool_disk_try(struct spool *spool)
{
	bool kept_open = spool->disk && !spool->readonly && spool->error == -ENOSPC;
	int r = 0;

	if (spool->readonly && access(spool->files.directory, W_OK) < 0 && errno == EROFS)
		r = -EROFS;
	else if (!kept_open)
		r = spool_disk_open(spool);
	for (int i = 0; i < 2 && r == 0; i++) {
		r = move_back(spool);
		if (r != -EBADMSG)
			break;
		r = mend(spool);
	}
	if (r < 0) {
		spool_disk_degrade(spool, r);
		return;
	}
	log_info("spool: on disk again", "directory", spool->files.directory, NULL);
	spool->error = 0;
	spool->memory = store_free(spool->memory);
}
