/*
 * One request as a libcurl handle. Private to the HTTP client: this header and
 * the two files that include it are all that knows libcurl.
 */
#pragma once

#include <curl/curl.h>

#include "base/buf.h"
#include "io/http_client.h"

struct http_sessions {
	CURLSH *share;
};

struct http_transfer {
	struct http_client *client;       /* borrowed */
	struct http_transfer *next, **at; /* of the client's list; at NULL: not in it */
	CURL *easy;
	char *key;                               /* owned; of its own certificate, in PEM */
	struct http_pool *pool;                  /* borrowed; where the handle belongs */
	struct curl_slist *headers, *connect_to; /* owned */
	struct socket_opener opener;
	bool has_opener, has_pin, keep;
	struct ip pin;
	int socket_error;               /* the last opener's, positive; 0: there was a socket */
	uint64_t started_ns, secure_ns; /* start; begin of the TLS handshake, 0: not begun */
	struct buf body;
	size_t header_bytes, header_max;
	uint64_t heap_failures;  /* before it began */
	enum http_error stopped; /* why a callback ended it; HTTP_OK: none did */
	char warning[256];
	char error[CURL_ERROR_SIZE];
	http_open_fn opened;
	http_write_fn write;
	http_done_fn done;
	void *user;
};

/* Sets the handle up for the request, which may be forgotten afterwards. */
int http_transfer_prepare(struct http_transfer *transfer, const char *ca_bundle,
                          const struct http_request *request);

/* What it holds but the handle, which must have let go of it; secrets are cleared. */
void http_transfer_clear(struct http_transfer *transfer);

/* What became of it. Texts are borrowed from the transfer. */
void http_transfer_response(struct http_transfer *transfer, CURLcode code,
                            struct http_response *response);
