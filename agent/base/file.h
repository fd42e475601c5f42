/*
 * Small files, whole and bounded.
 */
#pragma once

#include "base/buf.h"

/*
 * Opens for reading what this process may not, or says why not (-errno). Asked
 * when open(2) answers EACCES or EPERM to a path that does not depend on a
 * folder of the caller's. NULL: nobody can.
 */
typedef int (*file_opener_fn)(const char *path, int *fd);
void file_set_opener(file_opener_fn opener);

/* open(2) for reading, close-on-exec, by the opener when need be. 0 or -errno. */
int file_open(int dirfd, const char *path, int flags, int *fd);

/* What such a -errno means, for people: constant text. */
const char *file_why(int r);

/*
 * Appends the file's bytes to `out`, at most out->max in all: -EFBIG beyond,
 * -EISDIR and the like as the kernel says; only regular files (and what procfs
 * and sysfs call so). On error `out` may hold a part.
 */
int file_read(int dirfd, const char *path, struct buf *out);
/*
 * Writes next to it, fsyncs, renames over it: a reader sees the old or the new.
 * 0: the new one survives a crash. On error it may be in place all the same, but
 * nothing else was left.
 */
int file_replace(const char *path, const void *data, size_t len, unsigned int mode);
