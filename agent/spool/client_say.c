/* The client's way out: to the socket, or to wait for it. */
#include "spool/client_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"

void spool_client_drop(struct spool_client *client)
{
	outbox_clear(&client->outbox);
	client->stats.queued_bytes = 0;
}

static bool is_closed(int error)
{
	return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

/* -EAGAIN: there is no room, or no memory for it in the kernel. */
static int send_now(struct spool_client *client, const char *data, size_t len)
{
	ssize_t n;

	do
		n = send(client->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (is_closed(errno)) {
		client->stats.gone = true;
		return -EPIPE;
	}
	return errno == ENOBUFS || errno == ENOMEM ? -EAGAIN : -errno;
}

int spool_client_watch(struct spool_client *client)
{
	uint32_t wanted = EPOLLIN | (spool_client_is_waiting(client) ? EPOLLOUT : 0);
	int r;

	if (!client->source.loop || wanted == client->watched)
		return 0;
	r = loop_modify(&client->source, wanted);
	if (r == 0)
		client->watched = wanted;
	return r;
}

int spool_client_flush(struct spool_client *client)
{
	const char *next;
	size_t len;
	int r = 0;

	while (r == 0 && (next = outbox_first(&client->outbox, &len)) != NULL) {
		r = send_now(client, next, len);
		if (r == 0)
			outbox_drop_first(&client->outbox);
	}
	client->stats.queued_bytes = client->outbox.bytes;
	return r == -EAGAIN ? 0 : r;
}

void spool_client_count_lost(struct spool_client *client, uint64_t n)
{
	client->stats.refused += n;
	if (n > 0)
		client->stats.refused_ns = clock_now().mono_ns;
}

static int queue(struct spool_client *client, enum outbox_kind kind, size_t len)
{
	uint64_t lost = 0;
	int r = outbox_add(&client->outbox, kind, client->out, len, &lost);

	spool_client_count_lost(client, lost);
	client->stats.queued_bytes = client->outbox.bytes;
	return r ?: spool_client_watch(client);
}

bool spool_client_has_record(const struct spool_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].table == SPOOL_RECORD && rows[i].body)
			return true;
	return false;
}

static enum outbox_kind kind_of(const struct spool_message *message, const struct spool_row *rows)
{
	if (message->kind != SPOOL_PUT)
		return OUTBOX_QUESTION;
	return spool_client_has_record(rows, message->n_rows) ? OUTBOX_RECORD : OUTBOX_ROWS;
}

int spool_client_say(struct spool_client *client, struct spool_message *message,
                     const struct spool_row *rows)
{
	size_t len;
	int r;

	if (client->error < 0)
		return client->error;
	message->token = client->token + 1;
	r = spool_message_write(message, rows, client->out, &len);
	if (r < 0)
		return r;
	r = spool_client_is_waiting(client) ? -EAGAIN : send_now(client, client->out, len);
	if (r == -EAGAIN)
		r = queue(client, kind_of(message, rows), len);
	if (r == 0)
		client->token = message->token;
	return r;
}

void spool_client_settle(struct spool_client *client)
{
	struct spool_message message = { .kind = SPOOL_DONE, .after = client->owed };

	if (client->owed > 0 && spool_client_say(client, &message, NULL) == 0)
		client->owed = 0;
}
