/*
 * The spool's folder, and which files are in it.
 *
 * spool.db with its log spool.db-wal, and spool.db-tally, which outlasts it; spool.db.new while a corrupt one is replaced; the newest that
 * was corrupt, with its log. At every moment, after a crash too, spool.db or a finished spool.db.new
 * is there, and no log lies beside a database that is not its own.
 */
#pragma once

#include <stdint.h>

struct spool_files {
	char *directory, *db, *log, *fresh, *fresh_log, *corrupt, *corrupt_log, *tally; /* owned */
};

/* 0 or -ENOMEM. */
int spool_files_init(struct spool_files *files, const char *directory);
void spool_files_free(struct spool_files *files);

/*
 * The folder is there, and ours: made when it is not, with those above it. -ELOOP: it is a link;
 * -EPERM: another user's, or others may write to it; -errno of the kernel's.
 */
int spool_files_folder(const struct spool_files *files);
/* What the database and its log may take there, with what they have: all that nobody else has. */
int spool_files_room(const struct spool_files *files, uint64_t *bytes);
/* In it: a replacement that a crash interrupted is ended. */
int spool_files_prepare(const struct spool_files *files);

/* spool.db becomes spool.db.corrupt, spool.db.new spool.db; on disk when it returns 0. */
int spool_files_replace(const struct spool_files *files);
/* What a replacement left half done is removed. */
int spool_files_clear_new(const struct spool_files *files);
/* All of them. */
void spool_files_remove(const struct spool_files *files);
