/* sources: agent/probe/url.c */
/* A URL taken apart and put together again is the same URL. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/ip.h"
#include "probe/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[URL_MAX + 64], again[URL_MAX + 512];
	static struct url url, other;
	const char *reason = NULL;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	if (url_parse_stun(text, &url, &reason) < 0)
		assert(reason);
	reason = NULL;
	if (url_parse(text, &url, &reason) < 0) {
		assert(reason);
		return 0;
	}
	assert(url.port > 0 && url.host[0] && url.path[0] == '/');
	assert(!strpbrk(url.host, "/@ \r\n") && !strpbrk(url.path, " \r\n#"));
	snprintf(again, sizeof(again), "http%s://%s%s%s:%u%s", url.tls ? "s" : "",
	         strchr(url.host, ':') ? "[" : "", url.host, strchr(url.host, ':') ? "]" : "",
	         url.port, url.path);
	if (strlen(again) >= URL_MAX - 1) /* the port that was left out made it too long */
		return 0;
	assert(url_parse(again, &other, &reason) == 0);
	assert(strcmp(url.host, other.host) == 0 && strcmp(url.path, other.path) == 0);
	assert(url.port == other.port && url.tls == other.tls && url.literal == other.literal);
	return 0;
}
