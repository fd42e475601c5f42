#include "io/kick.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"

static int on_event(struct loop_source *source, uint32_t events)
{
	struct kick *kick = container_of(source, struct kick, source);

	(void)events;
	return kick->fn(kick);
}

int kick_init(struct kick *kick, struct loop *loop, kick_fn fn)
{
	int r;

	kick->fn = fn;
	kick->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (kick->fd < 0)
		return -errno;
	/* Edge-triggered: each write is an event of its own, and nobody need read. */
	r = loop_add(loop, &kick->source, kick->fd, EPOLLIN | EPOLLET, on_event);
	if (r < 0)
		fd_closep(&kick->fd);
	return r;
}

void kick_now(struct kick *kick)
{
	uint64_t one = 1, drained;

	/* Full after 2^64 - 2 of them: then it is drained and written again. */
	if (write(kick->fd, &one, sizeof(one)) < 0 && errno == EAGAIN &&
	    read(kick->fd, &drained, sizeof(drained)) >= 0)
		(void)!write(kick->fd, &one, sizeof(one));
}

void kick_clear(struct kick *kick)
{
	if (kick->fd < 0)
		return;
	loop_remove(&kick->source);
	fd_closep(&kick->fd);
}
