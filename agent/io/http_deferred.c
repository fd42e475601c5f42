#include <errno.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "io/http_server_parts.h"

static void wake(struct http_deferred *deferred)
{
	if (!deferred->suspended)
		return;

	deferred->suspended = false;
	server_wake(deferred->connection);
}

static void tell(struct http_deferred *deferred)
{
	http_deferred_fn gone = take_ptr(deferred->gone);

	loop_remove(&deferred->monitor);
	if (gone)
		gone(deferred->user);
}

static void end(struct http_deferred *deferred)
{
	deferred->state = DEFERRED_GONE;
	tell(deferred);
	server_connection_cut(deferred->connection);
	wake(deferred);
}

/* Who closes its side only is taken for gone too: there is no telling until something was sent. */
static int on_peer_gone(struct loop_source *source, uint32_t events)
{
	(void)events;
	end(container_of(source, struct http_deferred, monitor));
	return 0;
}

void http_deferred_expire(struct http_deferred *deferred)
{
	if (deferred->state != DEFERRED_WAITS)
		return;

	deferred->state = DEFERRED_LATE;
	tell(deferred);
	wake(deferred);
}

void http_deferred_abandon(struct http_deferred *deferred)
{
	deferred->gone = NULL;
	end(deferred);
}

void http_deferred_free(struct http_deferred *deferred)
{
	tell(deferred);
	if (deferred->response)
		server_response_free(deferred->response);
	deferred->connection->deferred = NULL;
	deferred->connection->server->stats.deferred--;
	free(deferred);
}

int http_server_defer(const struct http_server_request *request, http_deferred_fn gone, void *user,
                      struct http_deferred **out)
{
	struct http_connection *connection = request->connection;
	cleanup(mem_freep) struct http_deferred *deferred = NULL;
	struct http_server *server;
	int r;

	if (!connection || connection->stream || connection->deferred)
		return -EINVAL;
	server = connection->server;
	if (server->stats.deferred >= HTTP_DEFERRED_MAX) {
		server->stats.deferred_refused++;
		return -EBUSY;
	}

	deferred = calloc(1, sizeof(*deferred));
	if (!deferred)
		return -ENOMEM;
	*deferred = (struct http_deferred){
		.connection = connection,
		.gone = gone,
		.user = user,
	};
	r = loop_add(server->loop, &deferred->monitor, connection->fd, EPOLLRDHUP, on_peer_gone);
	if (r < 0)
		return r;

	server->stats.deferred++;
	connection->deferred = deferred;
	*out = take_ptr(deferred);
	return 0;
}

void http_deferred_answer(struct http_deferred *deferred, struct http_server_response *response)
{
	deferred->gone = NULL;
	loop_remove(&deferred->monitor);
	deferred->status = response->status;
	if (response->body.error == 0)
		deferred->response = server_response(response);
	buf_clear(&response->body); /* unless it was taken */
	deferred->state = deferred->response ? DEFERRED_READY : DEFERRED_FAILED;
	if (!deferred->response)
		log_warn("http answer failed", "error", "no memory, or too long", NULL);
	wake(deferred);
}
