#include "broker/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "io/netns.h"
#include "limits.h"

struct known {
	char *path; /* owned; NULL: free */
	dev_t device;
	uint64_t inode;
};

struct namespaces {
	uint64_t own[2]; /* ours, and that of the first process we can see */
	struct known known[NETNS_MAX];
};

DEFINE_FREEP(struct namespaces, namespaces)

int namespaces_new(struct namespaces **out)
{
	static const char *const own[2] = { "/proc/self/ns/net", "/proc/1/ns/net" };
	cleanup(namespaces_freep) struct namespaces *namespaces = calloc(1, sizeof(*namespaces));
	struct stat st;

	if (!namespaces)
		return -ENOMEM;
	/* Our own must be known; of the other, whoever may not look at it is in a container and has no other. */
	for (int i = 0; i < 2; i++) {
		if (stat(own[i], &st) == 0)
			namespaces->own[i] = (uint64_t)st.st_ino;
		else if (i == 0)
			return -errno;
	}
	*out = take_ptr(namespaces);
	return 0;
}

struct namespaces *namespaces_free(struct namespaces *namespaces)
{
	if (!namespaces)
		return NULL;
	for (size_t i = 0; i < NETNS_MAX; i++)
		free(namespaces->known[i].path);
	free(namespaces);
	return NULL;
}

static bool is_there(const struct known *known)
{
	struct stat st;

	return stat(known->path, &st) == 0 && st.st_dev == known->device &&
	       (uint64_t)st.st_ino == known->inode;
}

/* Its place, else a free one, else that of one that is gone. */
static struct known *place_for(struct namespaces *namespaces, const char *path)
{
	struct known *free_place = NULL;

	for (size_t i = 0; i < NETNS_MAX; i++) {
		struct known *known = &namespaces->known[i];

		if (known->path && strcmp(known->path, path) == 0)
			return known;
		if (!known->path && !free_place)
			free_place = known;
	}
	for (size_t i = 0; i < NETNS_MAX && !free_place; i++)
		if (!is_there(&namespaces->known[i]))
			free_place = &namespaces->known[i];
	return free_place;
}

int namespaces_add(struct namespaces *namespaces, const char *path, int *fd, uint64_t *inode)
{
	cleanup(mem_freep) char *copy = NULL;
	cleanup(fd_closep) int opened = -1;
	struct known *place;
	uint64_t found;
	struct stat st;
	int r;

	r = netns_open(path, &opened, &found);
	if (r < 0)
		return r;
	if (found == namespaces->own[0] || found == namespaces->own[1])
		return -EPERM;
	place = place_for(namespaces, path);
	if (!place)
		return -ENOSPC;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	if (fstat(opened, &st) < 0)
		return -errno;

	free(place->path);
	*place = (struct known){ take_ptr(copy), st.st_dev, found };
	*fd = take_fd(&opened);
	*inode = found;
	return 0;
}

/* It is the one that is known before it is opened, and still after. */
static int open_known(const struct known *known, int *fd)
{
	cleanup(fd_closep) int opened = -1;
	struct stat st;

	if (!is_there(known))
		return -ESTALE;
	opened = open(known->path, O_RDONLY | O_CLOEXEC);
	if (opened < 0)
		return -errno;
	if (fstat(opened, &st) < 0)
		return -errno;
	if (st.st_dev != known->device || (uint64_t)st.st_ino != known->inode)
		return -ESTALE;
	*fd = take_fd(&opened);
	return 0;
}

int namespaces_open(const struct namespaces *namespaces, uint64_t inode, int *fd)
{
	for (size_t i = 0; i < NETNS_MAX; i++)
		if (namespaces->known[i].path && namespaces->known[i].inode == inode &&
		    open_known(&namespaces->known[i], fd) == 0)
			return 0;
	return -ESTALE;
}
