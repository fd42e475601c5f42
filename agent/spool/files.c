#include "spool/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"

#define DB "spool.db"

int spool_files_init(struct spool_files *files, const char *directory)
{
	char **const paths[] = { &files->db,        &files->log,     &files->fresh,
		                 &files->fresh_log, &files->corrupt, &files->corrupt_log,
		                 &files->tally };
	static const char *const names[] = {
		DB,         DB "-wal", DB ".new", DB ".new-wal", DB ".corrupt", DB ".corrupt-wal",
		DB "-tally"
	};
	size_t len = strlen(directory);
	bool whole;

	/* "folder/" would be what a link points to. */
	while (len > 1 && directory[len - 1] == '/')
		len--;
	*files = (struct spool_files){ .directory = strndup(directory, len) };
	whole = files->directory != NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && whole; i++)
		if (asprintf(paths[i], "%s/%s", files->directory, names[i]) < 0) {
			*paths[i] = NULL;
			whole = false;
		}
	if (!whole)
		spool_files_free(files);
	return whole ? 0 : -ENOMEM;
}

void spool_files_free(struct spool_files *files)
{
	free(files->directory);
	free(files->db);
	free(files->log);
	free(files->fresh);
	free(files->fresh_log);
	free(files->corrupt);
	free(files->corrupt_log);
	free(files->tally);
	*files = (struct spool_files){ 0 };
}

/* For us alone; those above it as folders are. */
static int make_directories(const char *directory)
{
	cleanup(mem_freep) char *path = strdup(directory);

	if (!path)
		return -ENOMEM;
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		/* Whatever it is, the last one says whether it will do. */
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int check_directory(const char *directory)
{
	struct stat st;

	if (lstat(directory, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return st.st_uid != geteuid() || (st.st_mode & 022) ? -EPERM : 0;
}

static int sync_directory(const char *directory)
{
	cleanup(fd_closep) int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int move(const char *from, const char *to)
{
	return rename(from, to) < 0 && errno != ENOENT ? -errno : 0;
}

static int put_in_place(const struct spool_files *files)
{
	/* SQLite would take any log for that of the database beside it. */
	int r = move(files->log, files->corrupt_log);

	if (r == 0 && rename(files->fresh, files->db) < 0)
		r = -errno;
	return r ?: sync_directory(files->directory);
}

int spool_files_folder(const struct spool_files *files)
{
	/* On a disk that takes nothing it may be there all the same. */
	int made = make_directories(files->directory), r = check_directory(files->directory);

	return r == -ENOENT ? made ?: r : r;
}

static uint64_t taken(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

int spool_files_room(const struct spool_files *files, uint64_t *bytes)
{
	struct statvfs fs;

	if (statvfs(files->directory, &fs) < 0)
		return -errno;
	*bytes = (uint64_t)fs.f_bavail * fs.f_frsize + taken(files->db) + taken(files->log);
	return 0;
}

int spool_files_prepare(const struct spool_files *files)
{
	return !exists(files->db) && exists(files->fresh) ? put_in_place(files) : 0;
}

static int remove_file(const char *path)
{
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int spool_files_replace(const struct spool_files *files)
{
	/* What is still in a log of its own would be missing. */
	int r = exists(files->fresh_log) ? -EIO : remove_file(files->corrupt_log);

	r = r ?: move(files->db, files->corrupt);
	return r ?: put_in_place(files);
}

int spool_files_clear_new(const struct spool_files *files)
{
	int r = remove_file(files->fresh_log);

	return r ?: remove_file(files->fresh);
}

void spool_files_remove(const struct spool_files *files)
{
	/* The logs first: none may be left beside another database. */
	(void)remove_file(files->log);
	(void)remove_file(files->db);
	(void)spool_files_clear_new(files);
	(void)remove_file(files->corrupt_log);
	(void)remove_file(files->corrupt);
	(void)remove_file(files->tally);
	(void)sync_directory(files->directory);
}
