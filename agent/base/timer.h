/*
 * Timers on the loop: one timerfd each, embedded in its owner, monotonic.
 */
#pragma once

#include "base/loop.h"

struct timer;

/* Returns 0, or -errno to stop the loop with that error. */
typedef int (*timer_fn)(struct timer *timer);

struct timer {
	struct loop_source source;
	timer_fn fn;
	int fd; /* owned; -1 while not initialised */
};

#define TIMER_INIT       \
	{                \
		.fd = -1 \
	}

int timer_init(struct timer *timer, struct loop *loop, timer_fn fn);
/* First after delay_ns (0: at once), then every period_ns (0: once). Replaces an earlier setting. */
int timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int timer_stop(struct timer *timer);
/* Safe on TIMER_INIT, on one that was only zeroed, and twice. */
void timer_clear(struct timer *timer);
