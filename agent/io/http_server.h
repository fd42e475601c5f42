/*
 * HTTP/1.1 server on the loop, for small answers, ready at once or a little
 * later, and for streams of events.
 *
 * Accepts by itself and hands connections to libmicrohttpd, so that every bound
 * is ours: connections in all and per peer, bytes of a request, time until a
 * request is complete (however slowly it drips), time until an answer is taken.
 * A body is discarded and at most HTTP_BODY_MAX bytes. Knows no routes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/loop.h"
#include "io/listener.h"
#include "limits.h"

struct http_server;
struct http_stream;
struct http_deferred;
struct http_connection;

struct http_param {
	const char *name, *value; /* decoded; value "" when there was none */
};

/* Everything is borrowed for the call of the handler. */
struct http_server_request {
	const char *method; /* "GET", "HEAD", "POST"; others are answered by the server */
	const char *path;   /* decoded, begins with '/' */
	struct http_param params[HTTP_PARAMS_MAX];
	size_t n_params;
	const char *accept;        /* NULL: none */
	const char *last_event_id; /* NULL: none */
	const char *origin;        /* NULL: none */
	struct listener_peer peer;
	int scope; /* as given to http_server_listen() */
	struct http_connection
		*connection; /* for http_server_stream() and http_server_defer(); NULL in
		                tests of handlers */
};

struct http_header {
	const char *name,
		*value; /* borrowed until the handler returned; see http_server_header() */
};

struct http_server_response {
	uint16_t status;          /* 200 when the handler is called */
	const char *content_type; /* borrowed as headers; NULL: none */
	struct buf body;          /* the server frees it; limit HTTP_ANSWER_MAX */
	struct http_header headers[HTTP_RESPONSE_HEADERS_MAX];
	size_t n_headers;
	char scratch[64]; /* room for a header's value that the handler writes */
};

/* 0, or -errno: answered with 500 and no body. A body with body.error too. */
typedef int (*http_server_fn)(void *user, const struct http_server_request *request,
                              struct http_server_response *response);

struct http_server_options {
	http_server_fn handler;
	void *user;
	bool post;       /* the handler takes POST */
	bool check_host; /* on loopback TCP only names of the loopback: else a web page could
	                                 reach us through a name of its own (DNS rebinding): 421 */
	unsigned int connections_max; /* 0: HTTP_CONNECTIONS_MAX; more wait in the backlog */
	unsigned int
		per_peer_max; /* more are closed at once; 0: no bound; loopback is not counted */
	unsigned int
		request_s; /* until a request is complete, idle time included; 0: HTTP_REQUEST_S */
	unsigned int answer_s; /* until an answer was taken; 0: HTTP_ANSWER_S */
};

int http_server_new(struct loop *loop, const struct http_server_options *options,
                    struct http_server **out);
struct http_server *http_server_free(struct http_server *server);

/* As listener_parse() and listener_open() fail; -EMFILE past LISTENERS_MAX of each kind. */
int http_server_listen(struct http_server *server, const char *address, int scope);
/* The text of a listener's real address; NULL past the end. */
const char *http_server_address(const struct http_server *server, size_t index);

/* First value of that name; NULL: not given. */
const char *http_server_param(const struct http_server_request *request, const char *name);
/* Ignored past HTTP_RESPONSE_HEADERS_MAX. */
void http_server_header(struct http_server_response *response, const char *name, const char *value);

/*
 * From a handler: the answer (status 200, its headers and content type) goes on
 * for as long as the client stays. closed() comes once, when the stream is
 * gone by whatever reason; never from within a call here but http_server_free().
 * `idle` (constant) is sent after HTTP_STREAM_IDLE_S of silence. -EBUSY past
 * HTTP_EVENT_CLIENTS_MAX.
 */
typedef void (*http_stream_fn)(void *user, struct http_stream *stream);
int http_server_stream(const struct http_server_request *request, const char *idle,
                       http_stream_fn closed, void *user, struct http_stream **out);
/*
 * -ENOBUFS: the client does not read; it is cut off and counted, closed()
 * follows from the loop. -EPIPE: cut off earlier.
 */
int http_stream_send(struct http_stream *stream, const char *data, size_t len);
/* Its user goes away: cut off, no closed(). */
void http_stream_abandon(struct http_stream *stream);

/*
 * From a handler that then returns 0: its response is dropped, the answer comes by
 * http_deferred_answer(). gone() comes once instead when nobody waits for it any more: the client left, or
 * the time for an answer (answer_s) is over and it got a 503. After either of them `out` is no more. When the
 * server goes neither comes. -EBUSY past HTTP_DEFERRED_MAX.
 */
typedef void (*http_deferred_fn)(void *user);
int http_server_defer(const struct http_server_request *request, http_deferred_fn gone, void *user,
                      struct http_deferred **out);
/* Takes the body; everything else is borrowed for the call. Also from within the handler. */
void http_deferred_answer(struct http_deferred *deferred, struct http_server_response *response);

struct http_server_stats {
	uint64_t accepted, requests;
	uint64_t refused_peer;     /* closed at once: too many of one peer */
	uint64_t paused;           /* times that no connection was free, or no descriptor */
	uint64_t timed_out;        /* request or answer took too long */
	uint64_t streams_refused;  /* past the bound of streams */
	uint64_t streams_dropped;  /* did not read */
	uint64_t deferred_refused; /* past the bound of answers that come later */
	unsigned int connections, streams, deferred; /* now */
};
struct http_server_stats http_server_stats(const struct http_server *server);
const char *http_server_version(void); /* of libmicrohttpd */
