#include "io/http_check.h"

#include <string.h>
#include <strings.h>

#include "base/ip.h"
#include "base/parse.h"
#include "io/listener.h"
#include "limits.h"

#define STR(x) #x
#define TEXT(x) STR(x)

static bool is_port(const char *text)
{
	uint64_t port;

	return parse_u64(text, UINT16_MAX, &port) == 0;
}

static bool loopback_name(const char *name)
{
	struct listener_address address = { 0 };

	if (strcasecmp(name, "localhost") == 0)
		return true;
	return ip_parse(name, &address.ip) == 0 && listener_is_loopback(&address);
}

/* RFC 9110, section 7.2: uri-host [ ":" port ]. */
bool http_host_is_loopback(const char *host)
{
	char name[IP_TEXT_MAX];
	const char *end;
	size_t len;

	if (host[0] == '[') {
		end = strchr(++host, ']');
		if (!end || (end[1] != '\0' && (end[1] != ':' || !is_port(end + 2))))
			return false;
	} else {
		end = host + strcspn(host, ":");
		if (*end == ':' && !is_port(end + 1))
			return false;
	}
	len = (size_t)(end - host);
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return loopback_name(name);
}

bool http_origin_is_loopback(const char *origin)
{
	static const char scheme[] = "http://";

	if (strncmp(origin, scheme, strlen(scheme)) != 0)
		return false;
	return http_host_is_loopback(origin + strlen(scheme));
}

static const struct http_refusal *check_host(const struct http_head *head)
{
	static const struct http_refusal several = {
		400,
		"Bad Request",
		"one Host header is expected",
	};
	static const struct http_refusal foreign = {
		421,
		"Misdirected Request",
		"the Host header must be localhost or a loopback address here",
	};

	/* HTTP/1.0 knows no Host; no browser speaks it. */
	if (head->n_hosts > 1 || (head->n_hosts == 0 && strcmp(head->version, "HTTP/1.0") != 0))
		return &several;
	return head->check_host && head->foreign_hosts ? &foreign : NULL;
}

static const struct http_refusal *check_method(const struct http_head *head)
{
	static const struct http_refusal method = {
		405,
		"Method Not Allowed",
		"the method is not one that the Allow header names",
	};
	static const struct http_refusal cross_site = {
		403,
		"Forbidden",
		"a web page of another origin may not change anything here",
	};

	if (strcmp(head->method, "GET") == 0 || strcmp(head->method, "HEAD") == 0)
		return NULL;
	if (!head->post || strcmp(head->method, "POST") != 0)
		return &method;
	/* A page anywhere can make its reader's browser send a plain POST to a loopback address. */
	if (head->check_host && head->origin && !http_origin_is_loopback(head->origin))
		return &cross_site;
	return NULL;
}

static const struct http_refusal *check_body(const struct http_head *head)
{
	static const struct http_refusal chunked = {
		411,
		"Length Required",
		"a body of unknown length is not taken",
	};
	static const struct http_refusal large = {
		413,
		"Content Too Large",
		"a body of more than " TEXT(HTTP_BODY_MAX) " bytes is not taken",
	};
	uint64_t bytes;

	if (head->transfer_encoding)
		return &chunked;
	if (head->content_length && parse_u64(head->content_length, HTTP_BODY_MAX, &bytes) < 0)
		return &large;
	return NULL;
}

const struct http_refusal *http_check(const struct http_head *head)
{
	static const struct http_refusal target = {
		414,
		"URI Too Long",
		"a request target of more than " TEXT(HTTP_TARGET_MAX) " bytes is not taken",
	};
	static const struct http_refusal path = {
		400,
		"Bad Request",
		"the request target must be a path",
	};
	const struct http_refusal *refusal;

	if (head->target_len > HTTP_TARGET_MAX)
		return &target;
	if (head->target_path[0] != '/')
		return &path;
	refusal = check_host(head);
	if (!refusal)
		refusal = check_method(head);
	return refusal ? refusal : check_body(head);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A decoded NUL would end the text early and hide what follows it. */
size_t http_unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		int high = in[0] == '%' ? hex(in[1]) : -1;
		int low = high >= 0 ? hex(in[2]) : -1;

		if (low < 0 || high + low == 0) {
			*out++ = *in;
			continue;
		}
		*out++ = (char)(high << 4 | low);
		in += 2;
	}
	*out = '\0';
	return (size_t)(out - text);
}
