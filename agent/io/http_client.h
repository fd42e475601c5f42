/*
 * HTTP/1.1 requests on the loop.
 *
 * One client is one libcurl multi handle for every namespace: it keeps the
 * loaded CA store, which costs 18 ms of CPU to load. What must not be shared
 * between namespaces is kept apart by request: a probe is `fresh` (a connection
 * of its own, closed after it) and pinned to the address that was resolved in
 * its namespace, which passes libcurl's shared name cache by.
 *
 * Never: redirects, proxies, cookies, netrc, other protocols than http and
 * https; compression only where it is asked for. Bytes are counted as they come, because libcurl before 8.4.0
 * does not hold CURLOPT_MAXFILESIZE against a server that states no length.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/loop.h"
#include "io/http_response.h"
#include "io/probe_socket.h"

struct http_client;
struct http_transfer;
struct http_sessions;

/* 0, or anything else to end the transfer (HTTP_ABORTED). Starts and cancels nothing. */
typedef int (*http_write_fn)(void *user, const char *data, size_t len);
/* The header of an answer with status 2xx is complete. Starts and cancels nothing. */
typedef void (*http_open_fn)(void *user);
/* The transfer is over and its handle invalid. New ones may be started from here. */
typedef void (*http_done_fn)(void *user, const struct http_response *response);

/* PEM; each may be NULL. A private key is cleared from memory when the transfer ends. */
struct http_trust {
	const char
		*authorities; /* whom to believe, and nobody else; NULL: the client's CA bundle */
	const char *certificate, *key; /* as whom */
};

/* Zeroed fields are the default. Everything is copied before http_client_start() returns. */
struct http_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	const void *body;
	size_t body_len;
	const char *unix_path; /* connect there; the URL's host is only named */
	const struct ip *pin;  /* connect to this address; the URL's host is only named */
	const struct socket_opener *opener; /* a probe's sockets; NULL: libcurl opens its own */
	uint64_t connect_timeout_ns;        /* TCP and TLS; 0: as timeout_ns, or 10 s */
	uint64_t timeout_ns;                /* all of it; 0: no bound (a stream) */
	uint64_t idle_ns;                   /* without a byte; whole seconds; 0: no bound */
	size_t header_max;                  /* 0: ECHO_HEADERS_MAX */
	size_t body_max;                    /* 0: no body is taken; of a stream: not counted */
	const struct http_trust *trust;     /* NULL: the CA bundle, as nobody */
	bool gzip;  /* asked for; write and body_max are of what it unpacks to */
	bool keep;  /* one of many to this server: a dead peer is found out,
	                                       a connection is used again while it is young */
	bool fresh; /* neither take nor leave a connection */
	struct http_sessions
		*sessions;   /* with fresh: resume TLS from here; borrowed, outlives the transfer */
	http_open_fn opened; /* may be NULL */
	http_write_fn write; /* the body as it comes, only of status 2xx; NULL: gathered */
	http_done_fn done;   /* once, from the loop, never from http_client_start() */
	void *user;
};

/* `ca_bundle` NULL: $SSL_CERT_FILE, else Debian's. It is read at the first TLS handshake. */
int http_client_new(struct loop *loop, const char *ca_bundle, struct http_client **out);
/* Ends every transfer without a call. */
struct http_client *http_client_free(struct http_client *client);

int http_client_start(struct http_client *client, const struct http_request *request,
                      struct http_transfer **out);
/* Ends it without a call; never from its own write function. */
void http_transfer_cancel(struct http_transfer *transfer);

/*
 * TLS sessions kept for resumption. A resumed handshake needs the keys of the
 * first, whose certificate was verified, so a stranger cannot answer it. One per
 * namespace, so that an echo cannot link two pods by a ticket.
 */
int http_sessions_new(struct http_sessions **out);
struct http_sessions *http_sessions_free(struct http_sessions *sessions);

const char *http_client_version(void);     /* of libcurl */
const char *http_client_tls_version(void); /* of its TLS library, with its name */
