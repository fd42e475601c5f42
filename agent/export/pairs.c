#include "export/pairs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. */
static int decode(char *text, const char **reason)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		int high, low;

		if (*from != '%') {
			*to = *from++;
			continue;
		}
		high = digit(from[1]);
		low = high < 0 ? -1 : digit(from[2]);
		if (low < 0) {
			*reason = "a % without two hexadecimal digits; the character itself is %25";
			return -EINVAL;
		}
		*to = (char)(high << 4 | low);
		if (!*to) {
			*reason = "a NUL";
			return -EINVAL;
		}
		from += 3;
	}
	*to = '\0';
	return 0;
}

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len > 0 && strchr(" \t", text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

static int read_member(char *member, pairs_fn fn, void *user, const char **reason)
{
	char *value = strchr(member, '='), *key;
	int r;

	if (!value) {
		*reason = "expected KEY=VALUE";
		return -EINVAL;
	}
	*value++ = '\0';
	key = trim(member);
	value = trim(value);
	r = decode(key, reason);
	r = r ?: decode(value, reason);
	if (r == 0 && !*key) {
		*reason = "expected KEY=VALUE";
		r = -EINVAL;
	}
	return r ?: fn(user, key, value);
}

int pairs_read(const char *text, pairs_fn fn, void *user, const char **reason, size_t *at)
{
	cleanup(mem_freep) char *copy = strdup(text);
	char *next = copy;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	for (*at = 1; next && r == 0; (*at)++) {
		char *member = next;

		next = strchr(next, ',');
		if (next)
			*next++ = '\0';
		if (*trim(member))
			r = read_member(member, fn, user, reason);
		if (r != 0)
			break;
	}
	explicit_bzero(copy, strlen(text));
	return r;
}
