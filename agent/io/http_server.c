#include "io/http_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/http_check.h"
#include "io/http_server_parts.h"

/* Runs */

/* Without a thread of its own libmicrohttpd says when it must run although nothing happened. */
static int run(struct http_server *server)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	int r;

	if (MHD_run(server->daemon) != MHD_YES)
		return -EIO;
	r = server_resume(server);
	if (r == 0 && MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES)
		r = timer_set(&server->run, timeout_ms * NSEC_PER_MSEC, 0);
	return r;
}

static int on_events(struct loop_source *source, uint32_t events)
{
	(void)events;
	return run(container_of(source, struct http_server, events));
}

static int on_run(struct timer *timer)
{
	return run(container_of(timer, struct http_server, run));
}

static int run_soon(struct http_server *server)
{
	return timer_set(&server->run, 0, 0);
}

int server_add(struct http_server *server, int fd)
{
	/* libmicrohttpd wants an address of some family; the real one is kept by us. */
	const struct sockaddr_in any = { .sin_family = AF_INET };
	struct http_connection *connection;

	if (MHD_add_connection(server->daemon, fd, (const struct sockaddr *)&any, sizeof(any)) !=
	    MHD_YES) {
		connection = server_connection(server, fd);
		if (connection)
			server_connection_free(connection);
		return -ENOMEM;
	}
	return run_soon(server);
}

void server_wake(struct http_connection *connection)
{
	MHD_resume_connection(connection->mhd);
	(void)run_soon(connection->server);
}

/* Requests */

static enum MHD_Result on_param(void *cls, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
	struct http_server_request *request = cls;

	(void)kind;
	if (request->n_params == HTTP_PARAMS_MAX)
		return MHD_NO;
	request->params[request->n_params++] = (struct http_param){ name, value ? value : "" };
	return MHD_YES;
}

const char *http_server_param(const struct http_server_request *request, const char *name)
{
	for (size_t i = 0; i < request->n_params; i++)
		if (strcmp(request->params[i].name, name) == 0)
			return request->params[i].value;
	return NULL;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
	struct http_head *head = cls;

	(void)kind;
	if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
		head->n_hosts++;
		head->foreign_hosts += !value || !http_host_is_loopback(value);
	}
	return MHD_YES;
}

static const char *header(struct http_connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection->mhd, MHD_HEADER_KIND, name);
}

static enum MHD_Result begin(struct http_connection *connection, const char *url,
                             const char *method, const char *version)
{
	const struct http_refusal *refusal;
	struct http_head head = {
		.method = method,
		.target_path = url,
		.version = version,
		.target_len = connection->target_len,
		.content_length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH),
		.transfer_encoding = header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING),
		.origin = header(connection, MHD_HTTP_HEADER_ORIGIN),
		.check_host = connection->check_host,
		.post = connection->server->options.post,
	};

	MHD_get_connection_values(connection->mhd, MHD_HEADER_KIND, on_header, &head);
	connection->begun = true;
	connection->server->stats.requests++;
	refusal = http_check(&head);
	return !refusal || server_refuse(connection, refusal) ? MHD_YES : MHD_NO;
}

static enum MHD_Result handle(struct http_connection *connection, const char *url,
                              const char *method)
{
	static const struct http_refusal many = {
		400,
		"Bad Request",
		"too many query parameters",
	};
	const struct http_server_options *options = &connection->server->options;
	struct http_server_request request = {
		.method = method,
		.path = url,
		.accept = header(connection, MHD_HTTP_HEADER_ACCEPT),
		.last_event_id = header(connection, "Last-Event-ID"),
		.origin = header(connection, MHD_HTTP_HEADER_ORIGIN),
		.peer = connection->peer,
		.scope = connection->scope,
		.connection = connection,
	};
	struct http_server_response response = { .status = 200, .body = BUF_INIT(HTTP_ANSWER_MAX) };
	bool answered;

	if (MHD_get_connection_values(connection->mhd, MHD_GET_ARGUMENT_KIND, NULL, NULL) >
	    HTTP_PARAMS_MAX)
		return server_refuse(connection, &many) ? MHD_YES : MHD_NO;
	MHD_get_connection_values(connection->mhd, MHD_GET_ARGUMENT_KIND, on_param, &request);

	answered = server_respond(connection, url,
	                          options->handler(options->user, &request, &response), &response);
	buf_clear(&response.body); /* unless the answer took it */
	return answered ? MHD_YES : MHD_NO;
}

/* libmicrohttpd's order: the request target, the head, parts of the body, the end. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info;
	struct http_connection *connection;

	(void)cls;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	connection = info->socket_context;
	if (connection) {
		connection->begun = false;
		connection->body_len = 0;
		connection->target_len = strlen(target);
	}
	return connection;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context)
{
	struct http_connection *connection = *context;
	struct http_server *server = cls;

	(void)mhd;
	(void)data;
	if (!connection)
		return MHD_NO;
	if (!connection->begun)
		return begin(connection, url, method, version);
	if (*size > 0) {
		connection->body_len += *size;
		*size = 0;
		return connection->body_len > HTTP_BODY_MAX ? MHD_NO : MHD_YES;
	}
	connection->deadline_ns = server_deadline(server->options.answer_s);
	if (connection->deferred)
		return server_go_on(connection) ? MHD_YES : MHD_NO;
	return handle(connection, url, method);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode how)
{
	struct http_connection *connection = *context;
	struct http_server *server = cls;

	(void)mhd;
	(void)how;
	*context = NULL;
	if (!connection)
		return;
	if (connection->stream)
		http_stream_free(connection->stream);
	if (connection->deferred)
		http_deferred_free(connection->deferred);
	connection->deadline_ns = server_deadline(server->options.request_s);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
	struct http_connection *connection = *context;
	const union MHD_ConnectionInfo *info;
	struct http_server *server = cls;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (connection)
			server_connection_free(connection);
		*context = NULL;
		return;
	}
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	connection = server_connection(server, info->connect_fd);
	if (connection)
		connection->mhd = mhd;
	*context = connection;
}

static size_t on_unescape(void *cls, struct MHD_Connection *mhd, char *text)
{
	(void)cls;
	(void)mhd;
	return http_unescape(text);
}

static void on_log(void *cls, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *format, va_list args)
{
	char text[256];

	(void)cls;
	vsnprintf(text, sizeof(text), format, args);
	log_debug("libmicrohttpd", "says", text, NULL);
}

/* The server */

static int start_daemon(struct http_server *server)
{
	const union MHD_DaemonInfo *info;

	/* Ours bite first: they count what they refuse and hold for slow drips too. */
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_ERROR_LOG,
		0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, on_target, server,
		MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_CONNECTION_LIMIT,
		server->options.connections_max + 8, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)HTTP_POOL_MAX, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!server->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	return loop_add(server->loop, &server->events, info->epoll_fd, EPOLLIN, on_events);
}

static void set_default(unsigned int *option, unsigned int value)
{
	if (*option == 0)
		*option = value;
}

DEFINE_FREEP(struct http_server, http_server)

int http_server_new(struct loop *loop, const struct http_server_options *options,
                    struct http_server **out)
{
	cleanup(http_server_freep) struct http_server *server = NULL;
	int r;

	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->run = server->tick = (struct timer)TIMER_INIT;
	server->options = *options;
	set_default(&server->options.connections_max, HTTP_CONNECTIONS_MAX);
	set_default(&server->options.request_s, HTTP_REQUEST_S);
	set_default(&server->options.answer_s, HTTP_ANSWER_S);

	r = timer_init(&server->run, loop, on_run);
	if (r == 0)
		r = timer_init(&server->tick, loop, server_on_tick);
	if (r == 0)
		r = start_daemon(server);
	if (r < 0)
		return r;

	*out = take_ptr(server);
	return 0;
}

struct http_server *http_server_free(struct http_server *server)
{
	if (!server)
		return NULL;

	server_close_listeners(server);
	loop_remove(&server->events);
	/* libmicrohttpd ends the process when it is stopped with suspended connections. */
	for (struct http_connection *c = server->connections; c; c = c->next) {
		if (c->stream)
			http_stream_cut(c->stream);
		if (c->deferred)
			http_deferred_abandon(c->deferred);
	}
	if (server->daemon)
		MHD_stop_daemon(server->daemon);
	while (server->connections)
		server_connection_free(server->connections);
	timer_clear(&server->run);
	timer_clear(&server->tick);
	free(server);
	return NULL;
}

struct http_server_stats http_server_stats(const struct http_server *server)
{
	return server->stats;
}

const char *http_server_version(void)
{
	return MHD_get_version();
}
