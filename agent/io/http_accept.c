#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "io/http_server_parts.h"

#define TICK_NS NSEC_PER_SEC
/* Connections taken per wake-up: who connects all the time must not hold the loop. */
#define BATCH_MAX 32

uint64_t server_deadline(unsigned int seconds)
{
	return clock_now().mono_ns + seconds * NSEC_PER_SEC;
}

/* Connections */

struct http_connection *server_connection(struct http_server *server, int fd)
{
	struct http_connection *connection = server->connections;

	while (connection && connection->fd != fd)
		connection = connection->next;
	return connection;
}

void server_connection_cut(struct http_connection *connection)
{
	(void)shutdown(connection->fd, SHUT_RDWR);
}

void server_connection_free(struct http_connection *connection)
{
	*connection->link = connection->next;
	if (connection->next)
		connection->next->link = connection->link;
	connection->server->stats.connections--;
	free(connection);
}

static struct http_connection *connection_new(struct server_listener *listener, int fd,
                                              const struct listener_peer *peer)
{
	struct http_server *server = listener->server;
	struct http_connection *connection = server_connection(server, fd);

	/* The kernel gives a number away once: whoever had it is gone without a word. */
	if (connection)
		server_connection_free(connection);

	connection = calloc(1, sizeof(*connection));
	if (!connection)
		return NULL;
	*connection = (struct http_connection){
		.server = server,
		.next = server->connections,
		.link = &server->connections,
		.fd = fd,
		.peer = *peer,
		.scope = listener->scope,
		.check_host = server->options.check_host && !listener->address.local &&
		              listener_is_loopback(&listener->address),
		.deadline_ns = server_deadline(server->options.request_s),
	};
	if (connection->next)
		connection->next->link = &connection->next;
	server->connections = connection;
	server->stats.connections++;
	return connection;
}

/* Everybody on this machine comes from the loopback: the bound of all is enough there. */
static bool peer_has_room(const struct http_server *server, const struct listener_peer *peer)
{
	struct listener_address address = { .local = peer->local, .ip = peer->ip };
	unsigned int n = 0;

	if (server->options.per_peer_max == 0 || listener_is_loopback(&address))
		return true;
	for (const struct http_connection *c = server->connections; c; c = c->next)
		n += memcmp(&c->peer.ip, &peer->ip, sizeof(peer->ip)) == 0;
	return n < server->options.per_peer_max;
}

/* Deadlines */

static int set_ticking(struct http_server *server, bool ticking)
{
	if (server->ticking == ticking)
		return 0;

	server->ticking = ticking;
	return ticking ? timer_set(&server->tick, TICK_NS, TICK_NS) : timer_stop(&server->tick);
}

static int set_paused(struct http_server *server, bool paused)
{
	if (server->paused == paused)
		return 0;

	server->paused = paused;
	server->stats.paused += paused;
	for (size_t i = 0; i < server->n_listeners; i++) {
		int r = loop_modify(&server->listeners[i].source, paused ? 0 : EPOLLIN);

		if (r < 0)
			return r;
	}
	return paused ? set_ticking(server, true) : 0;
}

int server_resume(struct http_server *server)
{
	if (server->stats.connections >= server->options.connections_max)
		return 0;
	return set_paused(server, false);
}

static void keep_alive(struct http_stream *stream, uint64_t now)
{
	if (stream->idle && !stream->cut && now >= stream->idle_ns)
		(void)http_stream_send(stream, stream->idle, strlen(stream->idle));
}

int server_on_tick(struct timer *timer)
{
	struct http_server *server = container_of(timer, struct http_server, tick);
	uint64_t now = clock_now().mono_ns;

	/* Nothing is freed here: what is cut ends in libmicrohttpd's next run. */
	for (struct http_connection *c = server->connections; c; c = c->next) {
		if (c->stream)
			keep_alive(c->stream, now);
		if (now < c->deadline_ns)
			continue;
		server->stats.timed_out++;
		if (c->deferred && c->deferred->suspended) {
			c->deadline_ns = server_deadline(server->options.answer_s);
			http_deferred_expire(c->deferred);
			continue;
		}
		c->deadline_ns = UINT64_MAX;
		server_connection_cut(c);
	}
	if (!server->connections && !server->paused)
		return set_ticking(server, false);
	return server_resume(server);
}

/* Listeners */

static int take_connection(struct server_listener *listener, int *fd,
                           const struct listener_peer *peer)
{
	struct http_server *server = listener->server;

	server->stats.accepted++;
	if (!peer_has_room(server, peer)) {
		server->stats.refused_peer++;
		return 0;
	}
	if (!connection_new(listener, *fd, peer))
		return -ENOMEM;
	return server_add(server, take_fd(fd));
}

static int on_listener(struct loop_source *source, uint32_t events)
{
	struct server_listener *listener = container_of(source, struct server_listener, source);
	struct http_server *server = listener->server;

	(void)events;
	for (int i = 0; i < BATCH_MAX; i++) {
		cleanup(fd_closep) int fd = -1;
		struct listener_peer peer;
		int r;

		if (server->stats.connections >= server->options.connections_max)
			return set_paused(server, true);
		r = listener_accept(listener->fd, &fd, &peer);
		if (r == -EAGAIN)
			return 0;
		if (r == 0)
			r = take_connection(listener, &fd, &peer);
		if (r == -ECONNABORTED || r == -EINTR)
			continue;
		if (r < 0) /* no descriptor, no memory: the tick tries again */
			return set_paused(server, true);
		r = set_ticking(server, true);
		if (r < 0)
			return r;
	}
	return 0;
}

int http_server_listen(struct http_server *server, const char *address, int scope)
{
	struct server_listener *listener = &server->listeners[server->n_listeners];
	struct listener_address asked, bound;
	cleanup(fd_closep) int fd = -1;
	int r;

	if (server->n_listeners == SERVER_LISTENERS_MAX)
		return -EMFILE;
	r = listener_parse(address, &asked);
	if (r < 0)
		return r;
	r = listener_open(&asked, &fd);
	if (r < 0)
		return r;
	r = listener_bound(fd, &asked, &bound);
	if (r < 0)
		return r;
	r = loop_add(server->loop, &listener->source, fd, server->paused ? 0 : EPOLLIN,
	             on_listener);
	if (r < 0)
		return r;

	listener->server = server;
	listener->address = bound;
	listener->scope = scope;
	listener->fd = take_fd(&fd);
	listener_format(&bound, listener->text);
	server->n_listeners++;
	return 0;
}

const char *http_server_address(const struct http_server *server, size_t index)
{
	return index < server->n_listeners ? server->listeners[index].text : NULL;
}

void server_close_listeners(struct http_server *server)
{
	for (size_t i = 0; i < server->n_listeners; i++) {
		loop_remove(&server->listeners[i].source);
		listener_close(&server->listeners[i].address, &server->listeners[i].fd);
	}
	server->n_listeners = 0;
}
