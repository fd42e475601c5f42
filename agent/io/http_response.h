/*
 * What became of an HTTP request: a value, whichever library asked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"

enum http_error {
	HTTP_OK, /* a complete answer, whatever its status */
	HTTP_BAD_URL,
	HTTP_RESOLVE_FAILED,
	HTTP_CONNECT_REFUSED,
	HTTP_CONNECT_TIMEOUT,
	HTTP_UNREACHABLE,
	HTTP_TLS_FAILED,  /* handshake */
	HTTP_TLS_VERIFY,  /* certificate or name */
	HTTP_TIMEOUT,     /* once connected; also a stream without a byte for idle_ns */
	HTTP_RESET,       /* closed or reset before the answer was complete */
	HTTP_PROTOCOL,    /* not HTTP */
	HTTP_TOO_LARGE,   /* header or body beyond its bound */
	HTTP_ABORTED,     /* the write function refused */
	HTTP_LOCAL_ERROR, /* no socket, no memory, no CA bundle */
	_HTTP_ERROR_MAX,
};

const char *http_error_text(enum http_error error); /* for people */

struct http_response {
	enum http_error error;
	uint16_t status;         /* 0: none came */
	uint32_t retry_after_s;  /* 0: not given; an HTTP-date is turned into seconds */
	bool connected, secured; /* how far it came: TCP, TLS */
	bool first_byte;
	uint32_t connect_us, tls_us, first_byte_us,
		total_us; /* each phase by itself; 0: not reached */
	struct ip peer; /* the address connected to; all zero over a unix socket or when none was */
	const char *body; /* NUL-terminated; borrowed for the call; "" with a write function */
	size_t body_len;
	const char *content_type; /* borrowed; NULL: none */
	const char *warning;      /* borrowed; the first Warning header's value, cut; "": none */
	const char *detail;       /* borrowed; libcurl's own words, "" when there are none */
};

/* Moments of a transfer in microseconds since its start; 0: not reached. */
struct http_times {
	int64_t resolved_us, connected_us, secured_us, first_byte_us, total_us;
};

/* Sets the flags and the length of each phase by itself. */
void http_response_set_times(struct http_response *response, const struct http_times *times);

/* Why connect(2) failed. */
enum http_error http_error_of_errno(int error);
