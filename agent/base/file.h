/*
 * Small files, whole and bounded.
 */
#pragma once

#include "base/buf.h"

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
