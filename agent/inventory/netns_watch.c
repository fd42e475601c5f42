#include "inventory/netns_watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/timer.h"
#include "inventory/netns_addresses.h"
#include "io/netlink_socket.h"
#include "io/netns.h"
#include "limits.h"

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) (void)(entry)
#include <uthash.h>

/* Bursts of address changes become one reading; a pod that changes them all day gets no more. */
#define ADDRESSES_DELAY_NS (10 * NSEC_PER_MSEC)
/* A folder that is not there yet cannot be watched. */
#define FOLDER_RETRY_NS NSEC_PER_SEC

struct namespace
{
	UT_hash_handle hh; /* by path */
	struct netns_watch *owner;
	char *path; /* owned */
	dev_t device;
	uint64_t inode;
	uint64_t order; /* of discovery: a higher one is newer */
	bool seen;      /* in the present scan */
	bool settled, dirty;
	bool unread; /* its addresses could not be read */
	struct netlink_watch
		addresses_watch; /* holds the namespace, so that its inode stays its own */
	struct netns_addresses addresses;
};

struct netns_watch {
	struct loop *loop; /* borrowed */
	char *directory;   /* owned */
	netns_watch_changed_fn changed;
	void *user;
	struct namespace *namespaces; /* uthash, owned */
	struct loop_source inotify, mounts;
	int inotify_fd, mounts_fd; /* owned */
	int folder;                /* inotify's descriptor; -1: the folder is not watched */
	dev_t folder_device;
	ino_t folder_inode;
	struct timer retry; /* while the folder is missing, or memory was */
	struct timer dirty; /* addresses are read again */
	bool dirty_set;
	uint64_t scans, refused, errors;
};

DEFINE_FREEP(struct netns_watch, netns_watch)

/* One namespace */

static struct namespace *namespace_free(struct namespace *namespace)
{
	if (!namespace)
		return NULL;
	netlink_watch_close(&namespace->addresses_watch);
	free(namespace->path);
	free(namespace);
	return NULL;
}
DEFINE_FREEP(struct namespace, namespace)

/* Memory or descriptors were wanting; nobody else tells that they are there again. */
static void look_later(struct netns_watch *watch)
{
	(void)timer_set(&watch->retry, FOLDER_RETRY_NS, 0);
}

/* True when they differ from what was known. */
static bool update_addresses(struct namespace *namespace, int netns_fd)
{
	struct netns_addresses addresses;

	if (netns_addresses_read(netns_fd, &addresses) < 0) {
		namespace->owner->errors++;
		namespace->unread = true;
		look_later(namespace->owner);
		return false;
	}
	namespace->unread = false;
	if (netns_addresses_equal(&addresses, &namespace->addresses))
		return false;

	namespace->addresses = addresses;
	return true;
}

static void set_dirty(struct namespace *namespace)
{
	struct netns_watch *watch = namespace->owner;

	namespace->dirty = true;
	if (!watch->dirty_set)
		watch->dirty_set = timer_set(&watch->dirty, ADDRESSES_DELAY_NS, 0) == 0;
}

static void on_addresses(struct netlink_watch *netlink_watch)
{
	set_dirty(container_of(netlink_watch, struct namespace, addresses_watch));
}

/* Watch, then read: what changes between the two is told. */
static bool follow(struct namespace *namespace, int netns_fd)
{
	if (namespace->addresses_watch.fd < 0 &&
	    netlink_watch_open(&namespace->addresses_watch, namespace->owner->loop, netns_fd,
	                       NETLINK_TOPIC_ADDRESSES, on_addresses) < 0)
	namespace->owner->errors++;
	(void)netlink_watch_rearm(&namespace->addresses_watch);
	return update_addresses(namespace, netns_fd);
}

static bool reopen(const struct namespace *namespace, int *fd)
{
	uint64_t inode;

	if (netns_open(namespace->path, fd, &inode) < 0)
		return false;
	return inode == namespace->inode;
}

static int on_dirty(struct timer *timer)
{
	struct netns_watch *watch = container_of(timer, struct netns_watch, dirty);
	struct namespace *namespace, *next;
	bool changed = false;

	watch->dirty_set = false;
	HASH_ITER(hh, watch->namespaces, namespace, next)
	{
		cleanup(fd_closep) int fd = -1;

		if (!namespace->dirty)
			continue;
		namespace->dirty = false;
		if (!namespace->settled && reopen(namespace, &fd))
			changed = follow(namespace, fd) || changed;
	}
	if (changed)
		watch->changed(watch->user);
	return 0;
}

/* The folder */

static void forget(struct netns_watch *watch, struct namespace *namespace)
{
	HASH_DEL(watch->namespaces, namespace);
	namespace_free(namespace);
}

static int insert(struct netns_watch *watch, const char *path, const struct stat *st, int netns_fd)
{
	cleanup(namespace_freep) struct namespace *namespace = NULL;
	struct namespace *added;

	namespace = calloc(1, sizeof(*namespace));
	if (!namespace)
		return -ENOMEM;
	*namespace = (struct namespace){
		.owner = watch,
		.path = strdup(path),
		.device = st->st_dev,
		.inode = (uint64_t)st->st_ino,
		.order = watch->scans,
		.seen = true,
		.addresses_watch = NETLINK_WATCH_INIT,
	};
	if (!namespace->path)
		return -ENOMEM;

	HASH_ADD_KEYPTR(hh, watch->namespaces, namespace->path, strlen(namespace->path), namespace);
	HASH_FIND_STR(watch->namespaces, path, added);
	if (added != namespace)
		return -ENOMEM;
	follow(take_ptr(namespace), netns_fd);
	return 0;
}

/* True when a namespace appeared, or another one under a known name. */
static bool look(struct netns_watch *watch, const char *path)
{
	cleanup(fd_closep) int fd = -1;
	struct namespace *known;
	struct stat st;
	uint64_t inode;

	HASH_FIND_STR(watch->namespaces, path, known);
	if (stat(path, &st) < 0)
		return false;
	if (known && known->inode == (uint64_t)st.st_ino && known->device == st.st_dev) {
		known->seen = true;
		return known->unread && reopen(known, &fd) && follow(known, fd);
	}
	/* A plain file becomes a namespace by a mount, which is told of. */
	if (netns_open(path, &fd, &inode) < 0 || fstat(fd, &st) < 0)
		return false;

	if (known)
		forget(watch, known);
	if (HASH_COUNT(watch->namespaces) < NETNS_MAX) {
		if (insert(watch, path, &st, fd) == 0)
			return true;
		look_later(watch);
	}
	watch->refused++;
	return known != NULL;
}

static bool sweep(struct netns_watch *watch)
{
	struct namespace *namespace, *next;
	bool changed = false;

	HASH_ITER(hh, watch->namespaces, namespace, next)
	{
		if (namespace->seen)
			continue;
		forget(watch, namespace);
		changed = true;
	}
	return changed;
}

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* One that appeared after Landlock shut the door is opened for us. */
static int open_folder(const char *path, DIR **out)
{
	cleanup(fd_closep) int fd = -1;
	int r = file_open(AT_FDCWD, path, O_DIRECTORY | O_NONBLOCK, &fd);

	if (r < 0)
		return r;
	*out = fdopendir(fd);
	if (!*out)
		return -errno;
	(void)take_fd(&fd);
	return 0;
}

/* -ENOENT: without the folder there is no namespace. */
static int look_at_all(struct netns_watch *watch, bool *changed)
{
	cleanup(closedirp) DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	int r = open_folder(watch->directory, &dir);

	if (r < 0)
		return r;

	/* Twice the bound: other files than namespaces may lie there, but not any number. */
	while (n < 2 * NETNS_MAX && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		n++;
		if (snprintf(path, sizeof(path), "%s/%s", watch->directory, entry->d_name) <
		    (int)sizeof(path))
			*changed = look(watch, path) || *changed;
	}
	return 0;
}

static bool scan(struct netns_watch *watch)
{
	struct namespace *namespace, *next;
	bool changed = false;
	int r;

	watch->scans++;
	HASH_ITER(hh, watch->namespaces, namespace, next)
	namespace->seen = false;
	r = look_at_all(watch, &changed);
	/* A folder that could not be read now is no empty one. */
	if (r < 0 && r != -ENOENT && r != -ENOTDIR) {
		watch->errors++;
		look_later(watch);
		return changed;
	}
	return sweep(watch) || changed;
}

/* The folder may appear late, vanish and be another one afterwards. */
static void watch_folder(struct netns_watch *watch)
{
	struct stat st;
	bool there = stat(watch->directory, &st) == 0;

	if (watch->folder >= 0 && there && st.st_dev == watch->folder_device &&
	    st.st_ino == watch->folder_inode)
		return;
	if (watch->folder >= 0)
		(void)inotify_rm_watch(watch->inotify_fd, watch->folder);

	watch->folder = inotify_add_watch(watch->inotify_fd, watch->directory,
	                                  IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
	                                          IN_CLOSE_WRITE | IN_DELETE_SELF | IN_ONLYDIR);
	watch->folder_device = there ? st.st_dev : 0;
	watch->folder_inode = there ? st.st_ino : 0;
	if (watch->folder < 0)
		(void)timer_set(&watch->retry, FOLDER_RETRY_NS, 0);
}

static void look_again(struct netns_watch *watch, bool tell)
{
	watch_folder(watch);
	if (scan(watch) || tell)
		watch->changed(watch->user);
}

static int on_retry(struct timer *timer)
{
	look_again(container_of(timer, struct netns_watch, retry), false);
	return 0;
}

static int on_inotify(struct loop_source *source, uint32_t events)
{
	struct netns_watch *watch = container_of(source, struct netns_watch, inotify);
	char space[16384];

	/* Which file does not matter: a scan is cheaper than to be wrong after an overflow. */
	(void)events;
	for (int i = 0; i < 16 && read(source->fd, space, sizeof(space)) > 0; i++)
		continue;
	look_again(watch, false);
	return 0;
}

static int on_mounts(struct loop_source *source, uint32_t events)
{
	(void)events;
	/* A namespace that is used by another path may have come or gone too. */
	look_again(container_of(source, struct netns_watch, mounts), true);
	return 0;
}

static int open_sources(struct netns_watch *watch)
{
	int r;

	watch->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify_fd < 0)
		return -errno;
	watch->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (watch->mounts_fd < 0)
		return -errno;

	r = loop_add(watch->loop, &watch->inotify, watch->inotify_fd, EPOLLIN, on_inotify);
	if (r == 0) /* proc(5): a change of the mount table is EPOLLPRI */
		r = loop_add(watch->loop, &watch->mounts, watch->mounts_fd, EPOLLPRI, on_mounts);
	if (r == 0)
		r = timer_init(&watch->retry, watch->loop, on_retry);
	if (r == 0)
		r = timer_init(&watch->dirty, watch->loop, on_dirty);
	return r;
}

int netns_watch_new(struct loop *loop, const char *directory, netns_watch_changed_fn changed,
                    void *user, struct netns_watch **out)
{
	cleanup(netns_watch_freep) struct netns_watch *watch = NULL;
	int r;

	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	*watch = (struct netns_watch){
		.loop = loop,
		.directory = strdup(directory),
		.changed = changed,
		.user = user,
		.inotify_fd = -1,
		.mounts_fd = -1,
		.folder = -1,
		.retry = TIMER_INIT,
		.dirty = TIMER_INIT,
	};
	if (!watch->directory)
		return -ENOMEM;
	r = open_sources(watch);
	if (r < 0)
		return r;

	watch_folder(watch);
	scan(watch);
	*out = take_ptr(watch);
	return 0;
}

struct netns_watch *netns_watch_free(struct netns_watch *watch)
{
	struct namespace *namespace, *next;

	if (!watch)
		return NULL;

	HASH_ITER(hh, watch->namespaces, namespace, next)
	forget(watch, namespace);
	loop_remove(&watch->inotify);
	loop_remove(&watch->mounts);
	timer_clear(&watch->retry);
	timer_clear(&watch->dirty);
	fd_closep(&watch->inotify_fd);
	fd_closep(&watch->mounts_fd);
	free(watch->directory);
	free(watch);
	return NULL;
}

/* Questions */

/* Whose it is nobody has said yet; then the newer one. */
static bool is_likelier(const struct namespace *namespace, const struct namespace *than)
{
	if (namespace->settled != than->settled)
		return !namespace->settled;
	return namespace->order >= than->order;
}

size_t netns_watch_find(const struct netns_watch *watch, const struct ip *ip, const char **path,
                        uint64_t *inode)
{
	const struct namespace *best = NULL;
	struct namespace *namespace, *next;
	size_t n = 0;

	HASH_ITER(hh, watch->namespaces, namespace, next)
	{
		if (!netns_addresses_have(&namespace->addresses, ip))
			continue;
		n++;
		if (!best || is_likelier(namespace, best))
			best = namespace;
	}
	if (best) {
		*path = best->path;
		*inode = best->inode;
	}
	return n;
}

bool netns_watch_has(const struct netns_watch *watch, const char *path, uint64_t inode)
{
	struct namespace *namespace;

	HASH_FIND_STR(watch->namespaces, path, namespace);
	return namespace && namespace->inode == inode;
}

void netns_watch_settle(struct netns_watch *watch, uint64_t inode, bool settled)
{
	struct namespace *namespace, *next;

	HASH_ITER(hh, watch->namespaces, namespace, next)
	{
		if (namespace->inode != inode || namespace->settled == settled)
			continue;
		namespace->settled = settled;
		if (settled)
			netlink_watch_close(&namespace->addresses_watch);
		else
			set_dirty(namespace);
	}
}

uint64_t netns_watch_refused(const struct netns_watch *watch)
{
	return watch->refused;
}

uint64_t netns_watch_errors(const struct netns_watch *watch)
{
	return watch->errors;
}
