#include "io/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "io/privileged.h"

/*
 * To open a device may do something (a watchdog begins to count), and the path
 * may be one that a pod's author wrote: it is looked at before it is opened.
 */
static int open_nsfs(const char *path, int *fd)
{
	cleanup(fd_closep) int located = -1;
	char link[32];
	struct statfs fs;
	int opened;

	located = open(path, O_PATH | O_CLOEXEC);
	if (located < 0)
		return -errno;
	if (fstatfs(located, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -EINVAL;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", located);
	opened = open(link, O_RDONLY | O_CLOEXEC);
	if (opened < 0)
		return -errno;
	*fd = opened;
	return 0;
}

static int check_type(int fd, uint64_t *inode)
{
	struct stat st;

	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;

	*inode = (uint64_t)st.st_ino;
	return 0;
}

/* Opened once: the namespace the program was started in. */
static int home(int *fd)
{
	static int home_fd = -1;

	if (home_fd < 0)
		home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home_fd < 0)
		return -errno;

	*fd = home_fd;
	return 0;
}

static void return_home(int home_fd)
{
	if (setns(home_fd, CLONE_NEWNET) == 0)
		return;

	fprintf(stderr, "netns: cannot return to the agent's own network namespace: %s\n",
	        strerror(errno));
	abort();
}

int netns_run(int netns_fd, int (*fn)(void *arg), void *arg)
{
	int home_fd = -1, r;

	if (netns_fd < 0)
		return fn(arg);

	r = home(&home_fd);
	if (r < 0)
		return r;
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;

	r = fn(arg);
	return_home(home_fd);
	return r;
}

int netns_enterable(void)
{
	cleanup(fd_closep) int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	return fd < 0 || setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int open_present(void *arg)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*(int *)arg = fd;
	return 0;
}

/*
 * A file opened by its bind mount keeps the mount busy: whoever made it could
 * not unmount it (without MNT_DETACH) while we hold the namespace. The file
 * that proc shows from inside is the same namespace and keeps nothing. Who may
 * not enter keeps the first.
 */
static void let_go_of_mount(int *fd)
{
	int other;

	if (netns_run(*fd, open_present, &other) < 0)
		return;
	fd_closep(fd);
	*fd = other;
}

int netns_open(const char *path, int *fd, uint64_t *inode)
{
	cleanup(fd_closep) int opened = -1;
	int r;

	if (privileged())
		return privileged()->netns_open(path, fd, inode);
	r = open_nsfs(path, &opened);
	if (r < 0)
		return r;
	r = check_type(opened, inode);
	if (r < 0)
		return r;

	let_go_of_mount(&opened);
	*fd = take_fd(&opened);
	return 0;
}

struct socket_request {
	int family, type, protocol;
	int fd;
};

static int open_socket(void *arg)
{
	struct socket_request *request = arg;

	request->fd = socket(request->family, request->type | SOCK_CLOEXEC | SOCK_NONBLOCK,
	                     request->protocol);
	return request->fd < 0 ? -errno : 0;
}

int netns_socket(int netns_fd, int family, int type, int protocol, int *fd)
{
	struct socket_request request = { family, type, protocol, -1 };
	int r;

	r = netns_run(netns_fd, open_socket, &request);
	if (r < 0)
		return r;

	*fd = request.fd;
	return 0;
}
