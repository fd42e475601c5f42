/*
 * "As soon as the loop gets to it": an event without a time.
 *
 * A timer of no delay would do, but arming one programs the machine's clock
 * chip, which in a virtual machine leaves it: 10 µs and more, against half a
 * microsecond for this.
 */
#pragma once

#include "base/loop.h"

struct kick;

/* Returns 0, or -errno to stop the loop with that error. */
typedef int (*kick_fn)(struct kick *kick);

struct kick {
	struct loop_source source;
	kick_fn fn;
	int fd; /* owned; -1 while not initialised */
};

#define KICK_INIT        \
	{                \
		.fd = -1 \
	}

int kick_init(struct kick *kick, struct loop *loop, kick_fn fn);
/* `fn` runs once, from the loop, however often this was called before. */
void kick_now(struct kick *kick);
/* Safe on KICK_INIT and twice. */
void kick_clear(struct kick *kick);
