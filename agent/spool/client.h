/*
 * The worker's end of the spool. Never waits, but for spool_client_load().
 *
 * Rows that the socket does not take yet wait here, SPOOL_QUEUE_BYTES_MAX at most; then the oldest of
 * them give way, and are counted. When the process of the spool is gone, so is the agent.
 */
#pragma once

#include "base/loop.h"
#include "spool/message.h"

struct spool_client;

struct spool_events {
	void *user;
	/* Every PUT up to this token is kept, or was counted as lost: on disk unless the state says degraded. */
	void (*kept)(void *user, uint64_t token);
	/* The process is gone. */
	void (*gone)(void *user);
};

/* The row and its body are borrowed for the call. */
typedef void (*spool_row_fn)(void *user, const struct spool_row *row);
/* r < 0: -EPIPE, -EPROTO; `more`: there are more rows than were asked for. */
typedef void (*spool_end_fn)(void *user, int r, bool more);

/* `fd` is owned, also on error. */
int spool_client_new(struct loop *loop, int fd, const struct spool_events *events,
                     struct spool_client **out);
/*
 * Nothing more will be said. Waits until everything is kept, SPOOL_CLOSE_MS at most, and tells so by events->kept; the
 * loop need not run. -EPIPE: the process is gone, and what it did not tell to be kept is not; -ETIMEDOUT: it has
 * everything that its socket took, and is slow.
 */
int spool_client_finish(struct spool_client *client);
/* Says what still waits for up to SPOOL_CLOSE_MS, then closes: the process keeps it and ends. */
struct spool_client *spool_client_free(struct spool_client *client);

/*
 * Opens the spool and waits for it, SPOOL_OPEN_MS at most: `row` gets every open violation, then every subject, `end`
 * comes once. Before anything else; the loop need not run. -EINPROGRESS: the disk does not answer, or cannot be read,
 * which the state says; rows and end come from the loop when it does, and meanwhile all goes on in memory.
 */
int spool_client_load(struct spool_client *client, const char *directory, uint64_t max_bytes,
                      spool_row_fn row, spool_end_fn end, void *user);

/* Atomic: all rows or none. The token, or 0: refused and counted (-ENOMEM, too large). */
uint64_t spool_client_put(struct spool_client *client, const struct spool_row *rows, size_t n);

/*
 * One READ and one HISTORY-like question at a time each: -EBUSY. `end` comes once, from the loop,
 * unless the client is freed before.
 */
int spool_client_read(struct spool_client *client, int64_t after, uint32_t max_rows,
                      uint32_t max_bytes, spool_row_fn row, spool_end_fn end, void *user);
/* As store_violations(). */
int spool_client_history(struct spool_client *client, int64_t since_us, int64_t until_us,
                         uint32_t max_rows, spool_row_fn row, spool_end_fn end, void *user);
/* Who asked is gone: neither row nor end comes any more. */
void spool_client_forget_read(struct spool_client *client);
void spool_client_forget_history(struct spool_client *client);
void spool_client_done(struct spool_client *client, int64_t number);
/* Removes the files and waits for it, SPOOL_CLOSE_MS at most; the agent is being removed. */
int spool_client_remove(struct spool_client *client);

struct spool_client_stats {
	struct spool_state state; /* the newest that was told */
	bool gone;                /* the process is: what was not told to be kept is not */
	uint64_t
		refused; /* PUTs with a record that did not even reach the spool: refused, or gave way */
	uint64_t queued_bytes; /* here, now */
	/* Monotonic; 0: never, or nothing waits. */
	uint64_t refused_ns; /* the newest of `refused` */
	uint64_t waits_ns;   /* since then PUTs wait, and nothing was told to be kept */
};
const struct spool_client_stats *spool_client_stats(const struct spool_client *client);
