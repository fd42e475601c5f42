#include "kube/pem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"

#define BEGIN "-----BEGIN "
#define END "-----END "
#define DASHES "-----"
#define DER_SEQUENCE 0x30

/* One sequence that fills the bytes (X.690, 8.1.3). */
static bool is_sequence(const uint8_t *der, size_t len)
{
	size_t octets, length = 0;

	if (len < 2 || der[0] != DER_SEQUENCE)
		return false;
	if (der[1] < 0x80)
		return len == 2 + (size_t)der[1];
	octets = der[1] & 0x7fu;
	if (octets == 0 || octets > 4 || len < 2 + octets)
		return false;
	for (size_t i = 0; i < octets; i++)
		length = length << 8 | der[2 + i];
	return len == 2 + octets + length;
}

static int check_body(const char *text, size_t len)
{
	uint8_t *der = malloc(BASE64_ROOM(len) + 1);
	size_t n = 0;
	bool good;

	if (!der)
		return -ENOMEM;
	good = base64_decode(text, len, der, &n) == 0 && is_sequence(der, n);
	explicit_bzero(der, BASE64_ROOM(len) + 1);
	free(der);
	return good ? 0 : -EINVAL;
}

static const char *find(const char *from, const char *end, const char *what)
{
	return memmem(from, (size_t)(end - from), what, strlen(what));
}

static bool ends_with(const char *text, size_t len, const char *tail)
{
	return len >= strlen(tail) && memcmp(text + len - strlen(tail), tail, strlen(tail)) == 0;
}

int pem_check(const char *text, size_t len, const char *label, const char **reason)
{
	const char *end = text + len, *at = text, *name, *body, *close;
	size_t found = 0, name_len;
	int r;

	if (memchr(text, '\0', len)) {
		*reason = "a NUL byte";
		return -EINVAL;
	}
	while ((at = find(at, end, BEGIN))) {
		name = at + strlen(BEGIN);
		body = find(name, end, DASHES);
		close = body ? find(body + strlen(DASHES), end, END) : NULL;
		name_len = body ? (size_t)(body - name) : 0;
		/* The same name, and the dashes after it. */
		if (!close || (size_t)(end - close) < strlen(END DASHES) + name_len ||
		    memcmp(close + strlen(END), name, name_len + strlen(DASHES)) != 0) {
			*reason = "a block without an end";
			return -EINVAL;
		}
		body += strlen(DASHES);
		at = close + strlen(END);
		if (!ends_with(name, name_len, label))
			continue;
		r = check_body(body, (size_t)(close - body));
		if (r < 0) {
			*reason = r == -ENOMEM ? "no memory" : "a block that is not whole";
			return r;
		}
		found++;
	}
	if (!found)
		*reason = "no such block";
	return found ? 0 : -EINVAL;
}
