#include "spool/client_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

/* Messages read in one turn of the loop; other sources are to be heard, too. */
#define TURN_MAX 64

/* Hearing */

static struct question *find(struct spool_client *client, uint64_t token, enum which *which)
{
	for (size_t i = 0; i < _WHICH_MAX; i++)
		if (client->questions[i].asked && client->questions[i].token == token) {
			*which = (enum which)i;
			return &client->questions[i];
		}
	return NULL;
}

static bool is_expected(struct question *question, enum which which, const struct spool_row *row)
{
	if (!row->body || question->left == 0)
		return false;
	question->left--;
	switch (which) {
	case LOAD:
		return row->table == SPOOL_VIOLATION || row->table == SPOOL_SUBJECT;
	case HISTORY:
		return row->table == SPOOL_VIOLATION;
	case READ:
		if (row->table != SPOOL_RECORD || row->number <= question->newest)
			return false;
		question->newest = row->number;
		return true;
	default:
		return false;
	}
}

static int on_rows(struct spool_client *client, const struct spool_message *message,
                   const struct spool_row *rows)
{
	enum which which;
	struct question *question = find(client, message->token, &which);

	if (!question)
		return -EPROTO;
	for (uint32_t i = 0; i < message->n_rows; i++) {
		if (!is_expected(question, which, &rows[i]))
			return -EPROTO;
		if (question->row)
			question->row(question->user, &rows[i]);
	}
	return 0;
}

/* It may ask the next one already. */
static void finish(struct question *question, int r, bool more)
{
	struct question finished = *question;

	*question = (struct question){ 0 };
	if (finished.asked && finished.end)
		finished.end(finished.user, r, more);
}

static int on_end(struct spool_client *client, const struct spool_message *message)
{
	enum which which;
	struct question *question = find(client, message->token, &which);

	if (!question)
		return -EPROTO;
	client->stats.state = message->state;
	if (which == LOAD && message->more)
		question->later = true;
	else
		finish(question, 0, message->more);
	return 0;
}

static int on_kept(struct spool_client *client, const struct spool_message *message)
{
	if (message->token > client->put || message->token < client->kept)
		return -EPROTO;
	client->stats.state = message->state;
	if (message->token == client->kept)
		return 0;
	client->kept = message->token;
	client->stats.waits_ns = client->kept < client->put ? clock_now().mono_ns : 0;
	if (client->events.kept)
		client->events.kept(client->events.user, message->token);
	return 0;
}

static int on_message(struct spool_client *client, size_t len)
{
	struct spool_row rows[SPOOL_ROWS_MAX];
	struct spool_message message;
	int r = spool_message_read(client->in, len, &message, rows);

	if (r < 0)
		return r;
	switch (message.kind) {
	case SPOOL_ROWS:
		return on_rows(client, &message, rows);
	case SPOOL_END:
		return on_end(client, &message);
	case SPOOL_KEPT:
		return on_kept(client, &message);
	default:
		return -EPROTO;
	}
}

/* -EAGAIN: there is none; -EPIPE: nor will there be. */
static ssize_t receive(struct spool_client *client)
{
	ssize_t n;

	/* A process that ended with something unread says so once, before what it had said. */
	do
		n = recv(client->fd, client->in, sizeof(client->in), MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n == 0)
		return -EPIPE;
	return n < 0 ? -errno : n;
}

static int hear(struct spool_client *client)
{
	for (unsigned int i = 0; i < TURN_MAX && client->error == 0; i++) {
		ssize_t n = receive(client);
		int r = n < 0 ? (int)n : on_message(client, (size_t)n);

		if (r < 0)
			return r == -EAGAIN ? 0 : r;
	}
	return client->error;
}

static void fail(struct spool_client *client, int r)
{
	loop_remove(&client->source);
	client->error = r;
	client->stats.gone = true;
	spool_client_drop(client);
	for (size_t i = 0; i < _WHICH_MAX; i++)
		finish(&client->questions[i], r, false);
	if (client->events.gone)
		client->events.gone(client->events.user);
}

static int on_event(struct loop_source *source, uint32_t events)
{
	struct spool_client *client = container_of(source, struct spool_client, source);
	int r = client->error;

	if (r == 0 && events & EPOLLOUT)
		r = spool_client_flush(client);
	/* What it said before it ended is heard. */
	if (r == 0 || r == -EPIPE)
		r = hear(client) ?: r;
	spool_client_settle(client);
	r = r ?: spool_client_watch(client);
	if (r < 0)
		fail(client, r);
	return 0;
}

/* Waiting */

static int until(uint64_t deadline)
{
	uint64_t now = clock_now().mono_ns;

	return now >= deadline ? 0 : (int)((deadline - now) / NSEC_PER_MSEC + 1);
}

/* For its answer, and hears the others meanwhile. */
static int await(struct spool_client *client, const struct question *question, int ms)
{
	uint64_t deadline = clock_now().mono_ns + (uint64_t)ms * NSEC_PER_MSEC;
	int r = 0;

	while (r == 0 && question->asked && !question->later) {
		struct pollfd pollfd = { client->fd,
			                 POLLIN | (spool_client_is_waiting(client) ? POLLOUT : 0),
			                 0 };
		int n = poll(&pollfd, 1, until(deadline));

		if (n < 0 && errno != EINTR)
			r = -errno;
		else if (n == 0)
			return -ETIMEDOUT;
		r = r ?: spool_client_flush(client);
		if (r == 0 || r == -EPIPE)
			r = hear(client) ?: r;
	}
	if (!question->asked)
		return 0;
	if (question->later)
		return -EINPROGRESS;
	/* The loop, when it runs, is told what nobody else was. */
	client->error = r;
	(void)shutdown(client->fd, SHUT_RDWR);
	return r;
}

/* Asking */

static int ask(struct spool_client *client, enum which which, struct spool_message *message,
               const struct question *as)
{
	struct question *question = &client->questions[which];
	int r;

	if (question->asked)
		return -EBUSY;
	spool_client_settle(client);
	r = spool_client_say(client, message, NULL);
	if (r < 0)
		return r;
	*question = *as;
	question->asked = true;
	question->token = message->token;
	return 0;
}

int spool_client_load(struct spool_client *client, const char *directory, uint64_t max_bytes,
                      spool_row_fn row, spool_end_fn end, void *user)
{
	struct spool_message message = { .kind = SPOOL_OPEN, .limit = max_bytes };
	const struct question as = { .row = row, .end = end, .user = user, .left = UINT32_MAX };
	struct spool_state *state = &client->stats.state;
	struct question *question = &client->questions[LOAD];
	int r;

	if (directory[0] != '/')
		return -EINVAL;
	if (snprintf(message.directory, sizeof(message.directory), "%s", directory) >=
	    (int)sizeof(message.directory))
		return -ENAMETOOLONG;
	r = ask(client, LOAD, &message, &as);
	r = r ?: await(client, question, SPOOL_OPEN_MS);
	if (r != -ETIMEDOUT)
		return r;
	/* Until it says itself how it is. */
	state->degraded = true;
	snprintf(state->reason, sizeof(state->reason),
	         "the disk does not answer: kept in memory only");
	return -EINPROGRESS;
}

uint64_t spool_client_put(struct spool_client *client, const struct spool_row *rows, size_t n)
{
	struct spool_message message = { .kind = SPOOL_PUT, .n_rows = (uint32_t)n };

	spool_client_settle(client);
	if (n <= SPOOL_ROWS_MAX && spool_client_say(client, &message, rows) == 0) {
		client->put = message.token;
		if (!client->stats.waits_ns)
			client->stats.waits_ns = clock_now().mono_ns;
		return message.token;
	}
	spool_client_count_lost(client, spool_client_has_record(rows, n));
	return 0;
}

int spool_client_read(struct spool_client *client, int64_t after, uint32_t max_rows,
                      uint32_t max_bytes, spool_row_fn row, spool_end_fn end, void *user)
{
	struct spool_message message = {
		.kind = SPOOL_READ, .after = after, .max_rows = max_rows, .max_bytes = max_bytes
	};
	const struct question as = {
		.row = row, .end = end, .user = user, .left = max_rows, .newest = after
	};

	return ask(client, READ, &message, &as);
}

int spool_client_history(struct spool_client *client, int64_t since_us, int64_t until_us,
                         uint32_t max_rows, spool_row_fn row, spool_end_fn end, void *user)
{
	struct spool_message message = {
		.kind = SPOOL_HISTORY, .after = since_us, .until = until_us, .max_rows = max_rows
	};
	const struct question as = { .row = row, .end = end, .user = user, .left = max_rows };

	return ask(client, HISTORY, &message, &as);
}

static void forget(struct spool_client *client, enum which which)
{
	client->questions[which].row = NULL;
	client->questions[which].end = NULL;
}

void spool_client_forget_read(struct spool_client *client)
{
	forget(client, READ);
}

void spool_client_forget_history(struct spool_client *client)
{
	forget(client, HISTORY);
}

void spool_client_done(struct spool_client *client, int64_t number)
{
	client->owed = number > client->owed ? number : client->owed;
	spool_client_settle(client);
}

int spool_client_remove(struct spool_client *client)
{
	struct spool_message message = { .kind = SPOOL_REMOVE };
	const struct question as = { 0 };
	int r = ask(client, REMOVE, &message, &as);

	return r ?: await(client, &client->questions[REMOVE], SPOOL_CLOSE_MS);
}

const struct spool_client_stats *spool_client_stats(const struct spool_client *client)
{
	return &client->stats;
}

/* Life */

int spool_client_new(struct loop *loop, int fd, const struct spool_events *events,
                     struct spool_client **out)
{
	struct spool_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		close(fd);
		return -ENOMEM;
	}
	client->fd = fd;
	client->events = *events;
	client->watched = EPOLLIN;
	r = loop_add(loop, &client->source, fd, EPOLLIN, on_event);
	if (r < 0) {
		fd_closep(&client->fd);
		free(client);
		return r;
	}
	*out = client;
	return 0;
}

/* What it answers is read too, or it would wait for that before it reads on. */
static void say_the_rest(struct spool_client *client)
{
	uint64_t deadline = clock_now().mono_ns + SPOOL_CLOSE_MS * NSEC_PER_MSEC;
	char count[24];
	int r = 0;

	spool_client_settle(client);
	while (spool_client_is_waiting(client) && client->error == 0 && r == 0) {
		struct pollfd pollfd = { client->fd, POLLIN | POLLOUT, 0 };

		if (poll(&pollfd, 1, until(deadline)) == 0)
			break;
		r = spool_client_flush(client);
		r = r ?: hear(client);
	}
	if (!spool_client_is_waiting(client))
		return;
	snprintf(count, sizeof(count), "%llu", (unsigned long long)client->stats.queued_bytes);
	log_warn("the spool did not take everything before the end", "bytes", count, NULL);
}

/* Who asked may be gone before the answer. */
static void forget_all(struct spool_client *client)
{
	for (int i = 0; i < _WHICH_MAX; i++)
		forget(client, (enum which)i);
}

/* Everything that was said is kept; the process ends when it has read that nothing more comes. */
static int hear_the_rest(struct spool_client *client)
{
	uint64_t deadline = clock_now().mono_ns + SPOOL_CLOSE_MS * NSEC_PER_MSEC;
	int r = 0;

	while (r == 0 && client->kept < client->put) {
		struct pollfd pollfd = { client->fd, POLLIN, 0 };
		int n = poll(&pollfd, 1, until(deadline));

		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		r = hear(client);
	}
	return client->kept < client->put ? r : 0;
}

int spool_client_finish(struct spool_client *client)
{
	int r;

	if (client->error < 0)
		return client->error == -EPROTO ? -EPIPE : client->error;
	forget_all(client);
	loop_remove(&client->source);
	say_the_rest(client);
	spool_client_drop(client);
	(void)shutdown(client->fd, SHUT_WR);
	r = hear_the_rest(client);
	client->error = -EPIPE;
	client->stats.gone = client->stats.gone || (r < 0 && r != -ETIMEDOUT);
	return r < 0 && r != -ETIMEDOUT ? -EPIPE : r;
}

struct spool_client *spool_client_free(struct spool_client *client)
{
	if (!client)
		return NULL;
	forget_all(client);
	client->events = (struct spool_events){ 0 };
	loop_remove(&client->source);
	say_the_rest(client);
	spool_client_drop(client);
	fd_closep(&client->fd);
	free(client);
	return NULL;
}
