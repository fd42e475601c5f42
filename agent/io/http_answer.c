#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "io/http_check.h"
#include "io/http_server_parts.h"

/*
 * Content of a stream. Suspended while there is nothing to say: answering 0
 * alone would make libmicrohttpd ask again at once, forever.
 */
static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
	struct http_stream *stream = cls;
	size_t n;

	(void)pos;
	if (stream->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	n = http_stream_take(stream, out, max);
	if (n == 0) {
		stream->suspended = true;
		MHD_suspend_connection(stream->connection->mhd);
	}
	return (ssize_t)n;
}

void http_server_header(struct http_server_response *response, const char *name, const char *value)
{
	if (response->n_headers < HTTP_RESPONSE_HEADERS_MAX)
		response->headers[response->n_headers++] = (struct http_header){ name, value };
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
	/* Fails only without memory, or for a line break that no value of ours has. */
	if (MHD_add_response_header(response, name, value) != MHD_YES)
		log_warn("http header left out", "name", name, NULL);
}

static bool queue(struct http_connection *connection, unsigned int status,
                  struct MHD_Response *response)
{
	enum MHD_Result r;

	add_header(response, "X-Content-Type-Options", "nosniff");
	r = MHD_queue_response(connection->mhd, status, response);
	MHD_destroy_response(response);
	return r == MHD_YES;
}

/* Bodies as RFC 9457 wants them. */
bool server_refuse(struct http_connection *connection, const struct http_refusal *refusal)
{
	struct MHD_Response *response;
	char body[384];
	int len;

	len = snprintf(
		body, sizeof(body),
		"{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\"}",
		refusal->title, refusal->status, refusal->detail);
	response = MHD_create_response_from_buffer((size_t)len, body, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return false;
	add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/problem+json");
	if (refusal->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		add_header(response, MHD_HTTP_HEADER_ALLOW,
		           connection->server->options.post ? "GET, HEAD, POST" : "GET, HEAD");
	return queue(connection, refusal->status, response);
}

static void add_headers(struct MHD_Response *response, const struct http_server_response *from)
{
	if (from->content_type)
		add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, from->content_type);
	for (size_t i = 0; i < from->n_headers; i++)
		add_header(response, from->headers[i].name, from->headers[i].value);
}

struct MHD_Response *server_response(struct http_server_response *from)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		from->body.len, from->body.data, MHD_RESPMEM_MUST_FREE);

	if (!response)
		return NULL;
	from->body = (struct buf){ 0 };
	add_headers(response, from);
	return response;
}

void server_response_free(struct MHD_Response *response)
{
	MHD_destroy_response(response);
}

static bool answer(struct http_connection *connection, struct http_server_response *from)
{
	struct MHD_Response *response;

	if (connection->stream) {
		connection->deadline_ns = UINT64_MAX;
		response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, stream_read,
		                                             connection->stream, NULL);
		if (response)
			add_headers(response, from);
	} else {
		response = server_response(from);
	}
	return response ? queue(connection, from->status, response) : false;
}

static const struct http_refusal failed = {
	500,
	"Internal Server Error",
	"the answer could not be made",
};

bool server_go_on(struct http_connection *connection)
{
	static const struct http_refusal late = {
		503,
		"Service Unavailable",
		"the answer was not ready in time",
	};
	struct http_deferred *deferred = connection->deferred;
	struct MHD_Response *response;
	bool result = false;

	switch (deferred->state) {
	case DEFERRED_WAITS:
		deferred->suspended = true;
		MHD_suspend_connection(connection->mhd);
		return true;
	case DEFERRED_READY:
		response = take_ptr(deferred->response);
		result = queue(connection, deferred->status, response);
		break;
	case DEFERRED_LATE:
		result = server_refuse(connection, &late);
		break;
	case DEFERRED_FAILED:
		result = server_refuse(connection, &failed);
		break;
	case DEFERRED_GONE:
		break;
	}
	http_deferred_free(deferred);
	return result;
}

bool server_respond(struct http_connection *connection, const char *path, int error,
                    struct http_server_response *response)
{
	if (error == 0 && connection->deferred)
		return server_go_on(connection);
	if (connection->deferred) {
		connection->deferred->gone = NULL;
		http_deferred_free(connection->deferred);
	}
	if (error == 0)
		error = response->body.error;
	if (error == 0)
		return answer(connection, response);

	log_warn("http answer failed", "path", path, "error", strerror(-error), NULL);
	return connection->stream ? false : server_refuse(connection, &failed);
}
