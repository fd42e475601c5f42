#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define READ_CHUNK 16384

/* One per process, as what it may open. */
static file_opener_fn opener;

void file_set_opener(file_opener_fn fn)
{
	opener = fn;
}

int file_open(int dirfd, const char *path, int flags, int *fd)
{
	int opened = openat(dirfd, path, O_RDONLY | O_CLOEXEC | flags), r;

	if (opened < 0) {
		r = -errno;
		if ((r != -EACCES && r != -EPERM) || !opener ||
		    (dirfd != AT_FDCWD && path[0] != '/'))
			return r;
		r = opener(path, &opened);
		if (r < 0)
			return r;
	}
	*fd = opened;
	return 0;
}

const char *file_why(int r)
{
	/* Who knows that it runs as root would look everywhere else. */
	if (r == -EACCES && opener)
		return "Permission denied, also to root without CAP_DAC_OVERRIDE: it and its "
		       "folders must be root's or open to everybody";
	return strerror(-r);
}

int file_read(int dirfd, const char *path, struct buf *out)
{
	cleanup(fd_closep) int fd = -1;
	char chunk[READ_CHUNK];
	struct stat st;
	int r;

	r = file_open(dirfd, path, O_NONBLOCK | O_NOCTTY, &fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return out->error;
		buf_append(out, chunk, (size_t)n);
		if (out->error)
			return out->error == -EOVERFLOW ? -EFBIG : out->error;
	}
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The rename is durable only once the folder is. */
static int sync_folder(const char *path)
{
	cleanup(fd_closep) int fd = -1;
	char folder[4096];
	char *slash;

	if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
		return -ENAMETOOLONG;
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *data, size_t len, unsigned int mode)
{
	cleanup(fd_closep) int fd = -1;
	char temporary[4096];
	int r;

	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;

	r = fchmod(fd, mode) < 0 ? -errno : 0;
	if (r == 0)
		r = write_all(fd, data, len);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return r;
	}
	return sync_folder(path);
}
