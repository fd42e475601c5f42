/*
 * Which requests are taken at all. Pure; what it refuses is a web page that
 * reaches for a local agent, and everything that no client of ours sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct http_refusal {
	unsigned int status;
	const char *title, *detail; /* constant, without characters that JSON escapes */
};

struct http_head {
	const char *method, *target_path, *version;
	size_t target_len;             /* of the request target as it came */
	size_t n_hosts, foreign_hosts; /* Host headers; those that name no loopback */
	const char *content_length, *transfer_encoding, *origin; /* NULL: none */
	bool check_host, post;                                   /* of the listener, the server */
};

/* NULL: it may be handled. */
const struct http_refusal *http_check(const struct http_head *head);

/* Who a web page may say it talks to, when it talks to a loopback listener. */
bool http_host_is_loopback(const char *host);
/* The Origin header of a page that came from such a host; "null" and others: no. */
bool http_origin_is_loopback(const char *origin);
/* Decodes %XX in place; leaves alone what is not such a sequence, and %00. Returns the length. */
size_t http_unescape(char *text);
