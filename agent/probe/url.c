#include "probe/url.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static int refuse(const char **reason, const char *why)
{
	*reason = why;
	return -EINVAL;
}

static int parse_port(const char *text, uint16_t *out, const char **reason)
{
	uint64_t port;

	if (parse_u64(text, UINT16_MAX, &port) < 0 || port == 0)
		return refuse(reason, "the port is not a number from 1 to 65535");
	*out = (uint16_t)port;
	return 0;
}

/* RFC 1123, 2.1: letters, digits and hyphens; the underscore that some names have. */
static bool is_label(const char *label, size_t len)
{
	return len >= 1 && len <= 63 && label[0] != '-' && label[len - 1] != '-' &&
	       strspn(label, LETTERS DIGITS "-_") >= len;
}

/*
 * A last label that begins with a digit is an address to some readers
 * (inet_aton() takes 127.1, 0x7f.1 and 2130706433) and a name to others.
 */
static int check_name(const char *host, const char **reason)
{
	const char *label = host;

	for (;;) {
		size_t len = strcspn(label, ".");

		if (!is_label(label, len))
			return refuse(reason, "the host is neither a name nor an address");
		if (label[len] == '\0')
			break;
		label += len + 1;
		if (*label == '\0') { /* absolute: "name." */
			if (strchr(DIGITS, label[-2]))
				return refuse(reason, "the host's last label ends in a digit");
			return 0;
		}
	}
	if (strchr(DIGITS, *label))
		return refuse(reason, "the host's last label begins with a digit");
	return 0;
}

/* `text` is exactly the host, brackets included. */
static int parse_host(const char *text, struct url *out, const char **reason)
{
	size_t len = strlen(text);

	if (len == 0 || len >= URL_HOST_MAX)
		return refuse(reason, "the host is missing or too long");

	if (text[0] == '[') {
		if (text[len - 1] != ']')
			return refuse(reason, "the address has no closing bracket");
		memcpy(out->host, text + 1, len - 2);
		out->host[len - 2] = '\0';
		out->literal = strchr(out->host, ':') && ip_parse(out->host, &out->address) == 0;
		return out->literal ? 0 : refuse(reason, "not an IPv6 address in brackets");
	}

	memcpy(out->host, text, len + 1);
	if (!strchr(text, ':') && ip_parse(text, &out->address) == 0) {
		out->literal = true;
		return 0;
	}
	return check_name(text, reason);
}

/* HOST[:PORT], `len` bytes; the port stays as it is when there is none. */
static int parse_authority(const char *text, size_t len, struct url *out, const char **reason)
{
	char host[URL_HOST_MAX + 8];
	char *colon, *bracket;
	int r;

	if (len >= sizeof(host))
		return refuse(reason, "the host is missing or too long");
	memcpy(host, text, len);
	host[len] = '\0';

	if (strchr(host, '@'))
		return refuse(reason, "a user or password is not taken");

	bracket = host[0] == '[' ? strchr(host, ']') : NULL;
	colon = strchr(bracket ? bracket : host, ':');
	if (bracket && bracket[1] != '\0' && bracket[1] != ':')
		return refuse(reason, "text after the bracketed address");
	if (colon) {
		*colon = '\0';
		r = parse_port(colon + 1, &out->port, reason);
		if (r < 0)
			return r;
	}
	return parse_host(host, out, reason);
}

static int parse_path(const char *text, struct url *out, const char **reason)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c))
			return refuse(reason, "a character that must be percent-encoded");
		if (c == '#')
			return refuse(reason, "a fragment is not taken");
	}

	out->path[0] = '/';
	memcpy(out->path + (text[0] != '/'), text, len + 1);
	return 0;
}

int url_parse(const char *text, struct url *out, const char **reason)
{
	struct url url = { 0 };
	size_t len;
	int r;

	if (strnlen(text, URL_MAX) >= URL_MAX - 1)
		return refuse(reason, "longer than 2046 bytes");

	if (strncmp(text, "https://", 8) == 0)
		url.tls = true;
	else if (strncmp(text, "http://", 7) != 0)
		return refuse(reason, "does not begin with http:// or https://");
	text += url.tls ? 8 : 7;
	url.port = url.tls ? 443 : 80;

	len = strcspn(text, "/?#");
	r = parse_authority(text, len, &url, reason);
	if (r < 0)
		return r;
	r = parse_path(text + len, &url, reason);
	if (r < 0)
		return r;

	*out = url;
	return 0;
}

int url_parse_stun(const char *text, struct url *out, const char **reason)
{
	struct url url = { .port = URL_STUN_PORT, .path = "/" };
	int r;

	r = parse_authority(text, strnlen(text, URL_MAX), &url, reason);
	if (r < 0)
		return r;

	*out = url;
	return 0;
}
