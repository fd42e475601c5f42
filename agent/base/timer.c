#include "base/timer.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int on_expired(struct loop_source *source, uint32_t events)
{
	struct timer *timer = container_of(source, struct timer, source);
	uint64_t expirations;

	(void)events;
	/* Set again or stopped between expiry and this call: nothing to tell. */
	if (read(timer->fd, &expirations, sizeof(expirations)) < 0)
		return errno == EAGAIN ? 0 : -errno;
	return timer->fn(timer);
}

int timer_init(struct timer *timer, struct loop *loop, timer_fn fn)
{
	cleanup(fd_closep) int fd = -1;
	int r;

	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return -errno;

	*timer = (struct timer){ .fn = fn, .fd = -1 };
	r = loop_add(loop, &timer->source, fd, EPOLLIN, on_expired);
	if (r < 0)
		return r;
	timer->fd = take_fd(&fd);
	return 0;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NSEC_PER_SEC),
		                  .tv_nsec = (long)(ns % NSEC_PER_SEC) };
}

int timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	/* An all-zero value would disarm it. */
	struct itimerspec spec = { .it_value = timespec_of(delay_ns ? delay_ns : 1),
		                   .it_interval = timespec_of(period_ns) };

	return timerfd_settime(timer->fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

int timer_stop(struct timer *timer)
{
	struct itimerspec spec = { 0 };

	return timerfd_settime(timer->fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

void timer_clear(struct timer *timer)
{
	if (!timer->source.loop)
		return;
	loop_remove(&timer->source);
	fd_closep(&timer->fd);
}
