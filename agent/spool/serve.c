#include "spool/serve.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "spool/spool.h"

struct server {
	int fd; /* owned */
	spool_confine_fn confine;
	struct spool *spool; /* NULL: not opened yet, or removed */
	bool opened;
	uint64_t open_token; /* of the question that opened it */
	bool loaded;         /* and which is answered to its end */
	bool deaf;           /* nobody reads answers any more; what was said is kept all the same */
	uint64_t kept;       /* the newest PUT that is */
	uint64_t next_tick;  /* monotonic */
	/* What is answered, until it fills a message. */
	uint64_t token;
	int error; /* nobody was told of a row: there is no end to tell of either */
	struct spool_row rows[SPOOL_ROWS_MAX];
	uint32_t n_rows;
	size_t used; /* of bodies */
	char bodies[2 * SPOOL_BODY_MAX];
	char in[SPOOL_MESSAGE_MAX + 1], out[SPOOL_MESSAGE_MAX];
};

static struct server *server_free(struct server *server)
{
	if (!server)
		return NULL;
	spool_free(server->spool);
	fd_closep(&server->fd);
	free(server);
	return NULL;
}
DEFINE_FREEP(struct server, server)

/* Answers */

/* The other end is closed, or was with answers unread. */
static bool is_closed(int error)
{
	return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

/* Waits until the worker has read what it got before: it does, and when it ends the kernel says so. */
static int send_message(struct server *server, const struct spool_message *message)
{
	size_t len;
	ssize_t n;
	int r = spool_message_write(message, server->rows, server->out, &len);

	if (r < 0 || server->deaf)
		return r;
	do
		n = send(server->fd, server->out, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && !is_closed(errno))
		return -errno;
	server->deaf = n < 0;
	return 0;
}

static int send_rows(struct server *server)
{
	const struct spool_message message = { .kind = SPOOL_ROWS,
		                               .token = server->token,
		                               .n_rows = server->n_rows };
	int r = server->n_rows ? send_message(server, &message) : 0;

	server->n_rows = 0;
	server->used = 0;
	return r;
}

/* A row of the spool's, which is borrowed: nonzero when there is nobody to tell. */
static int answer_row(void *user, const struct spool_row *row)
{
	struct server *server = user;
	struct spool_row *copy;

	if (!row->body || row->len > SPOOL_BODY_MAX) /* neither was ever put */
		return 0;
	if (server->n_rows == SPOOL_ROWS_MAX || row->len > sizeof(server->bodies) - server->used)
		server->error = send_rows(server);
	if (server->error < 0)
		return server->error;
	copy = &server->rows[server->n_rows++];
	*copy = *row;
	copy->body = memcpy(server->bodies + server->used, row->body, row->len);
	server->used += row->len;
	return server->deaf;
}

static int answer_end(struct server *server, bool more)
{
	struct spool_message message = { .kind = SPOOL_END, .token = server->token, .more = more };
	int r = server->error ?: send_rows(server);

	if (server->spool)
		message.state = *spool_state(server->spool);
	return r ?: send_message(server, &message);
}

static int tell_kept(struct server *server)
{
	struct spool_message message = { .kind = SPOOL_KEPT, .token = server->kept };

	if (!server->spool)
		return 0;
	message.state = *spool_state(server->spool);
	return send_message(server, &message);
}

/* Questions */

/* What an earlier run left, when it can be read; else that it comes later. */
static int tell_loaded(struct server *server)
{
	bool more;

	server->token = server->open_token;
	server->loaded = spool_known(server->spool);
	if (server->loaded) {
		spool_violations(server->spool, true, 0, INT64_MAX, UINT32_MAX, answer_row, server,
		                 &more);
		spool_subjects(server->spool, answer_row, server);
	}
	return answer_end(server, !server->loaded);
}

static int open_spool(struct server *server, const struct spool_message *message)
{
	const struct moment now = clock_now();
	int r;

	if (server->opened)
		return -EPROTO;
	server->opened = true;
	server->open_token = message->token;
	r = spool_new(message->directory, message->limit, server->confine, &now, &server->spool);
	if (r < 0)
		return r;
	server->next_tick = now.mono_ns + SPOOL_TICK_NS;
	return tell_loaded(server);
}

static int remove_spool(struct server *server)
{
	if (server->spool)
		spool_remove(server->spool);
	server->spool = spool_free(server->spool);
	return answer_end(server, false);
}

/* After its removal there is nothing to tell, and nothing that could be kept. */
static int answer(struct server *server, const struct spool_message *message)
{
	struct spool *spool = server->spool;
	bool more = false;

	server->token = message->token;
	if (message->kind == SPOOL_OPEN)
		return open_spool(server, message);
	if (!server->opened)
		return -EPROTO;
	switch (message->kind) {
	case SPOOL_READ:
		if (spool)
			spool_records(spool, message->after, message->max_rows, message->max_bytes,
			              answer_row, server, &more);
		return answer_end(server, more);
	case SPOOL_HISTORY:
		if (spool)
			spool_violations(spool, false, message->after, message->until,
			                 message->max_rows, answer_row, server, &more);
		return answer_end(server, more);
	case SPOOL_DONE:
		if (spool)
			spool_done(spool, message->after);
		return tell_kept(server);
	case SPOOL_REMOVE:
		return remove_spool(server);
	default:
		return -EPROTO;
	}
}

/* Messages */

/* Its bytes; -EAGAIN: there is none now; -EPIPE: nor will there be. */
static ssize_t receive(struct server *server)
{
	ssize_t n;

	do {
		n = recv(server->fd, server->in, sizeof(server->in), MSG_DONTWAIT | MSG_TRUNC);
		/* It ended with answers unread: told once, and what it said before is still there. */
		server->deaf = server->deaf || (n < 0 && errno == ECONNRESET);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n == 0)
		return -EPIPE;
	return n < 0 ? -errno : n;
}

/* PUTs up to the next message of another kind: one transaction. */
struct batch {
	bool begun;
	uint64_t token; /* of its newest */
};

static int commit(struct server *server, struct batch *batch)
{
	const struct moment now = clock_now();

	if (!batch->begun)
		return 0;
	spool_commit(server->spool, &now);
	server->kept = batch->token;
	*batch = (struct batch){ 0 };
	return tell_kept(server);
}

static int put(struct server *server, struct batch *batch, const struct spool_message *message,
               const struct spool_row *rows)
{
	if (!server->opened)
		return -EPROTO;
	if (!server->spool)
		return 0;
	if (!batch->begun)
		spool_begin(server->spool);
	batch->begun = true;
	batch->token = message->token;
	spool_put(server->spool, rows, message->n_rows);
	return 0;
}

static int take_message(struct server *server, struct batch *batch)
{
	struct spool_row rows[SPOOL_ROWS_MAX];
	struct spool_message message;
	ssize_t n = receive(server);
	int r;

	if (n < 0)
		return (int)n;
	r = spool_message_read(server->in, (size_t)n, &message, rows);
	if (r < 0)
		return r;
	if (message.kind == SPOOL_PUT)
		return put(server, batch, &message, rows);
	return commit(server, batch) ?: answer(server, &message);
}

/* What is there now, up to a bound: what comes during the commit is the next transaction. */
static int take_messages(struct server *server)
{
	struct batch batch = { 0 };
	int r = 0, last;

	for (unsigned int i = 0; i < SPOOL_BATCH_MAX && r == 0; i++)
		r = take_message(server, &batch);
	/* Whatever came last: what was said before it is kept. */
	last = commit(server, &batch);
	return r == -EAGAIN ? last : r ?: last;
}

static int tick(struct server *server)
{
	const struct moment now = clock_now();

	if (!server->spool || now.mono_ns < server->next_tick)
		return 0;
	server->next_tick = now.mono_ns + SPOOL_TICK_NS;
	spool_tick(server->spool, &now);
	if (!server->loaded && spool_known(server->spool))
		return tell_loaded(server);
	return tell_kept(server);
}

static int wait_for_message(struct server *server)
{
	struct pollfd pollfd = { .fd = server->fd, .events = POLLIN };
	const struct moment now = clock_now();
	int timeout = -1;

	if (server->spool)
		timeout = now.mono_ns >= server->next_tick
		                  ? 0
		                  : (int)((server->next_tick - now.mono_ns) / NSEC_PER_MSEC + 1);
	return poll(&pollfd, 1, timeout) < 0 && errno != EINTR ? -errno : 0;
}

static int serve(struct server *server)
{
	int r;

	do {
		r = wait_for_message(server);
		r = r ?: take_messages(server);
		r = r ?: tick(server);
	} while (r == 0);
	return r;
}

int spool_serve(int fd, spool_confine_fn confine)
{
	cleanup(server_freep) struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server) {
		close(fd);
		log_error("the process of the spool cannot start", "reason", strerror(ENOMEM),
		          NULL);
		return 1;
	}
	server->fd = fd;
	server->confine = confine;
	r = serve(server);
	if (r == -EPIPE)
		return 0;
	log_error("the process of the spool cannot go on", "reason",
	          r == -EPROTO ? "the worker says what it never should" : strerror(-r), NULL);
	return 1;
}
