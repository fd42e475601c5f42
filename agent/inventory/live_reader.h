/*
 * Keeps the live configuration of one network namespace fresh.
 *
 * Reads everything when made, again soon after the kernel says that something
 * changed (a burst is one reading; constant change is read ever more rarely),
 * and the tunnel's counters, which change silently, every
 * LIVE_TUNNEL_INTERVAL_NS. A failed reading leaves live.readable false and
 * is tried again.
 */
#pragma once

#include "base/loop.h"
#include "inventory/live.h"

struct live_reader;

struct live_reader_options {
	int netns_fd;              /* borrowed: must outlive the reader; -1: our own */
	const char *wireguard_dir; /* borrowed; sockets of userspace WireGuard */
	struct live *live;         /* borrowed; filled here and nowhere else */
	void *user;
	/* Something in *live may be new. Never called from live_reader_new() and live_reader_read(). */
	void (*changed)(void *user);
};

struct live_reader_stats {
	uint64_t readings, errors;
};

/* The first reading is done on return; that it failed is in live->error, not in the result. */
int live_reader_new(struct loop *loop, const struct live_reader_options *options,
                    struct live_reader_stats *stats, struct live_reader **out);
/* Leaves *live as it was read last. */
struct live_reader *live_reader_free(struct live_reader *reader);

/* One reading of everything but a userspace tunnel, on no loop. Frees what *live held. */
int live_read(int netns_fd, struct live *live);
