/*
 * Inside of the HTTP server: what its parts share. http_accept.c knows
 * listeners, connections and their deadlines, http_stream.c queues of events,
 * http_deferred.c answers that come later; http_server.c and http_answer.c
 * alone know libmicrohttpd.
 */
#pragma once

#include "base/timer.h"
#include "io/http_server.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;
struct http_refusal;

/* http.listen and http.metrics */
#define SERVER_LISTENERS_MAX (2 * LISTENERS_MAX)

struct http_connection {
	struct http_server *server;
	struct http_connection *next, **link;
	struct MHD_Connection *mhd; /* NULL until libmicrohttpd started it */
	int fd;                     /* libmicrohttpd's, from the moment it was handed over */
	struct listener_peer peer;
	int scope;
	bool check_host;
	bool begun; /* the request was looked at */
	size_t target_len, body_len;
	uint64_t deadline_ns; /* UINT64_MAX: a stream */
	struct http_stream *stream;
	struct http_deferred *deferred;
};

struct http_stream {
	struct http_connection *connection;
	struct loop_source monitor; /* libmicrohttpd does not look at suspended connections */
	struct buf queue;
	size_t taken; /* bytes of queue that were sent */
	bool suspended, cut;
	const char *idle;
	uint64_t idle_ns; /* when it is due */
	http_stream_fn closed;
	void *user;
};

struct http_deferred {
	struct http_connection *connection;
	struct loop_source monitor; /* as of a stream */
	enum {
		DEFERRED_WAITS,
		DEFERRED_READY,
		DEFERRED_LATE,   /* answered with 503 */
		DEFERRED_FAILED, /* with 500 */
		DEFERRED_GONE,   /* not at all */
	} state;
	struct MHD_Response *response; /* when it is ready; owned */
	uint16_t status;
	bool suspended;
	http_deferred_fn gone;
	void *user;
};

struct server_listener {
	struct http_server *server;
	struct loop_source source;
	struct listener_address address;
	char text[LISTENER_TEXT_MAX];
	int fd, scope;
};

struct http_server {
	struct loop *loop; /* borrowed */
	struct http_server_options options;
	struct MHD_Daemon *daemon;
	struct loop_source events; /* libmicrohttpd's epoll set */
	struct timer run;          /* libmicrohttpd wants to run without an event */
	struct timer tick;         /* deadlines; set while there are connections or a pause */
	bool ticking;
	struct server_listener listeners[SERVER_LISTENERS_MAX];
	size_t n_listeners;
	struct http_connection *connections;
	bool paused;
	struct http_server_stats stats;
};

/* http_accept.c */
struct http_connection *server_connection(struct http_server *server, int fd); /* NULL: none */
void server_connection_free(struct http_connection *connection);
/* libmicrohttpd notices on its next run and ends the connection in its own order. */
void server_connection_cut(struct http_connection *connection);
uint64_t server_deadline(unsigned int seconds);
/* Listens again when there is room again. */
int server_resume(struct http_server *server);
int server_on_tick(struct timer *timer);
void server_close_listeners(struct http_server *server);

/* http_server.c */
/* Takes the descriptor, also when it fails. */
int server_add(struct http_server *server, int fd);
/* Of a suspended connection. */
void server_wake(struct http_connection *connection);

/* http_answer.c */
/* false: the connection is to be closed. */
bool server_refuse(struct http_connection *connection, const struct http_refusal *refusal);
bool server_respond(struct http_connection *connection, const char *path, int error,
                    struct http_server_response *response);
/* In the handler, and again whenever the connection was resumed: what there is by now. */
bool server_go_on(struct http_connection *connection);
/* Ready to be sent, with its body; NULL: no memory. */
struct MHD_Response *server_response(struct http_server_response *from);
void server_response_free(struct MHD_Response *response);

/* http_deferred.c */
/* The time is over. */
void http_deferred_expire(struct http_deferred *deferred);
/* The server goes. */
void http_deferred_abandon(struct http_deferred *deferred);
void http_deferred_free(struct http_deferred *deferred);

/* http_stream.c */
size_t http_stream_take(struct http_stream *stream, char *out, size_t max);
void http_stream_cut(struct http_stream *stream);
void http_stream_free(struct http_stream *stream);
