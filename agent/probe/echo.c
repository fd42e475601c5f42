#include "probe/echo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "probe/answer.h"

#define ECHO_PORT_MIN 1024 /* of who asks; no client and no translator takes a lower one */
#define V4_HEADERS_LEN 28  /* IPv4 and UDP */
#define V6_HEADERS_LEN 48

static bool grows(size_t question, size_t answer, bool v4)
{
	size_t headers = v4 ? V4_HEADERS_LEN : V6_HEADERS_LEN;

	return (headers + answer) * 100 > (headers + question) * ECHO_GROWTH_PERCENT;
}

/* With the magic cookie it means to be STUN, a request or not. */
static bool is_stun(const uint8_t *data, size_t len)
{
	static const uint8_t cookie[] = { 0x21, 0x12, 0xa4, 0x42 };

	return len >= STUN_HEADER_LEN && data[0] < 0x40 && memcmp(data + 4, cookie, 4) == 0;
}

static bool is_address(const uint8_t *data, size_t len)
{
	static const struct answer_format text = { 0 };
	struct ip ip;

	return answer_parse(&text, (const char *)data, len, &ip) != PROBE_UNPARSEABLE;
}

size_t echo_datagram(const uint8_t *data, size_t len, const struct ip *peer, uint16_t port,
                     uint8_t out[static STUN_ANSWER_MAX])
{
	char address[IP_TEXT_MAX];
	size_t n;

	/* Services that answer anything (echo, chargen) would never end to talk with us. */
	if (port < ECHO_PORT_MIN)
		return 0;

	if (is_stun(data, len)) {
		n = stun_answer(data, len, peer, port, out);
	} else if (is_address(data, len)) {
		n = 0;
	} else {
		n = (size_t)snprintf((char *)out, STUN_ANSWER_MAX, "%s\n",
		                     ip_format(peer, address));
	}
	return grows(len, n, ip_is_v4(peer)) ? 0 : n;
}

int echo_page(const char *path, const char *format, const struct ip *peer, uint16_t port,
              struct buf *body, const char **content_type)
{
	char address[IP_TEXT_MAX];
	bool json = strcmp(path, "/json") == 0;

	if (format) {
		json = strcmp(format, "json") == 0;
		if (!json && strcmp(format, "text") != 0)
			return -EINVAL;
	}

	ip_format(peer, address);
	*content_type = json ? "application/json" : "text/plain; charset=utf-8";
	if (json)
		buf_format(body, "{\"ip\":\"%s\"}\n", address);
	else if (!format && strcmp(path, "/trace") == 0)
		buf_format(body, "ip=%s\nport=%u\n", address, port);
	else
		buf_format(body, "%s\n", address);
	return body->error;
}
