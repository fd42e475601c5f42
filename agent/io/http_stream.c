#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "io/http_server_parts.h"

static void wake(struct http_stream *stream)
{
	if (!stream->suspended)
		return;

	stream->suspended = false;
	server_wake(stream->connection);
}

void http_stream_cut(struct http_stream *stream)
{
	if (stream->cut)
		return;

	stream->cut = true;
	loop_remove(&stream->monitor);
	server_connection_cut(stream->connection);
	wake(stream);
}

static int on_peer_gone(struct loop_source *source, uint32_t events)
{
	(void)events;
	http_stream_cut(container_of(source, struct http_stream, monitor));
	return 0;
}

void http_stream_free(struct http_stream *stream)
{
	loop_remove(&stream->monitor);
	stream->connection->stream = NULL;
	stream->connection->server->stats.streams--;
	if (stream->closed)
		stream->closed(stream->user, stream);
	buf_clear(&stream->queue);
	free(stream);
}

size_t http_stream_take(struct http_stream *stream, char *out, size_t max)
{
	size_t n = stream->queue.len - stream->taken;

	if (n == 0)
		return 0;
	if (n > max)
		n = max;
	memcpy(out, stream->queue.data + stream->taken, n);
	stream->taken += n;
	if (stream->taken == stream->queue.len) {
		buf_reset(&stream->queue);
		stream->taken = 0;
	}
	return n;
}

int http_server_stream(const struct http_server_request *request, const char *idle,
                       http_stream_fn closed, void *user, struct http_stream **out)
{
	struct http_connection *connection = request->connection;
	cleanup(mem_freep) struct http_stream *stream = NULL;
	struct http_server *server;
	int r;

	if (!connection || connection->stream)
		return -EINVAL;
	server = connection->server;
	if (server->stats.streams >= HTTP_EVENT_CLIENTS_MAX) {
		server->stats.streams_refused++;
		return -EBUSY;
	}

	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	*stream = (struct http_stream){
		.connection = connection,
		.queue = BUF_INIT(HTTP_STREAM_QUEUE_MAX),
		.idle = idle,
		.idle_ns = server_deadline(HTTP_STREAM_IDLE_S),
		.closed = closed,
		.user = user,
	};
	r = loop_add(server->loop, &stream->monitor, connection->fd, EPOLLRDHUP, on_peer_gone);
	if (r < 0)
		return r;

	server->stats.streams++;
	connection->stream = stream;
	*out = take_ptr(stream);
	return 0;
}

/* What was taken makes room. */
static void stream_compact(struct http_stream *stream)
{
	struct buf *queue = &stream->queue;

	if (stream->taken == 0)
		return;
	memmove(queue->data, queue->data + stream->taken, queue->len - stream->taken);
	queue->len -= stream->taken;
	stream->taken = 0;
}

int http_stream_send(struct http_stream *stream, const char *data, size_t len)
{
	if (stream->cut)
		return -EPIPE;

	stream_compact(stream);
	buf_append(&stream->queue, data, len);
	if (stream->queue.error) {
		stream->connection->server->stats.streams_dropped++;
		http_stream_cut(stream);
		return -ENOBUFS;
	}
	stream->idle_ns = server_deadline(HTTP_STREAM_IDLE_S);
	wake(stream);
	return 0;
}

void http_stream_abandon(struct http_stream *stream)
{
	stream->closed = NULL;
	http_stream_cut(stream);
}
