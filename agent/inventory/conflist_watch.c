#include "inventory/conflist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timer.h"

/* A file is written in several steps, and libcni's writers do not all rename: let it settle. */
#define SETTLE_NS (20 * NSEC_PER_MSEC)
/* Until the folder exists there is nothing to watch. */
#define FOLDER_RETRY_NS (5 * NSEC_PER_SEC)
#define MEMORY_RETRY_NS NSEC_PER_SEC

struct conflist_watch {
	struct conflist conflist;
	char *directory; /* owned */
	void (*changed)(void *user);
	void *user;
	struct loop_source source;
	int inotify_fd; /* owned */
	int folder;     /* inotify's descriptor; -1: not watched */
	struct timer timer;
};

DEFINE_FREEP(struct conflist_watch, conflist_watch)

static void watch_folder(struct conflist_watch *watch)
{
	if (watch->folder < 0)
		watch->folder =
			inotify_add_watch(watch->inotify_fd, watch->directory,
		                          IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_MOVED_FROM |
		                                  IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR);
	if (watch->folder < 0)
		(void)timer_set(&watch->timer, FOLDER_RETRY_NS, 0);
}

static int on_timer(struct timer *timer)
{
	struct conflist_watch *watch = container_of(timer, struct conflist_watch, timer);
	struct conflist conflist;

	watch_folder(watch);
	/* What was known holds until there is memory to know better. */
	if (conflist_read(watch->directory, &conflist) < 0)
		return timer_set(&watch->timer, MEMORY_RETRY_NS, 0);
	if (conflist_equal(&conflist, &watch->conflist))
		return 0;

	watch->conflist = conflist;
	watch->changed(watch->user);
	return 0;
}

/* IN_IGNORED: the folder is gone, and with it the watch. */
static bool folder_gone(const char *space, size_t len)
{
	for (size_t at = 0; at + sizeof(struct inotify_event) <= len;) {
		const struct inotify_event *event = (const struct inotify_event *)(space + at);

		if (event->mask & IN_IGNORED)
			return true;
		at += sizeof(*event) + event->len;
	}
	return false;
}

static int on_inotify(struct loop_source *source, uint32_t events)
{
	struct conflist_watch *watch = container_of(source, struct conflist_watch, source);
	_Alignas(struct inotify_event) char space[4096];
	ssize_t n;

	(void)events;
	n = read(source->fd, space, sizeof(space));
	if (n > 0 && folder_gone(space, (size_t)n))
		watch->folder = -1;
	return timer_set(&watch->timer, SETTLE_NS, 0);
}

int conflist_watch_new(struct loop *loop, const char *directory, void (*changed)(void *user),
                       void *user, struct conflist_watch **out)
{
	cleanup(conflist_watch_freep) struct conflist_watch *watch = NULL;
	int r;

	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->directory = strdup(directory);
	watch->changed = changed;
	watch->user = user;
	watch->folder = watch->inotify_fd = -1;
	watch->timer = (struct timer)TIMER_INIT;
	if (!watch->directory)
		return -ENOMEM;

	watch->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify_fd < 0)
		return -errno;
	r = loop_add(loop, &watch->source, watch->inotify_fd, EPOLLIN, on_inotify);
	if (r == 0)
		r = timer_init(&watch->timer, loop, on_timer);
	if (r < 0)
		return r;

	watch_folder(watch);
	r = conflist_read(watch->directory, &watch->conflist);
	if (r < 0)
		return r;
	*out = take_ptr(watch);
	return 0;
}

struct conflist_watch *conflist_watch_free(struct conflist_watch *watch)
{
	if (!watch)
		return NULL;
	loop_remove(&watch->source);
	timer_clear(&watch->timer);
	fd_closep(&watch->inotify_fd);
	free(watch->directory);
	free(watch);
	return NULL;
}

const struct conflist *conflist_watch_get(const struct conflist_watch *watch)
{
	return &watch->conflist;
}
