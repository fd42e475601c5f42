#include "export/headers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* RFC 9110, 5.6.2 */
static bool is_token(const char *text)
{
	return *text && text[strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
	                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

/* What the request says by itself, or what would be another message. */
static bool is_ours(const char *key)
{
	static const char *const ours[] = {
		"Accept",       "Accept-Encoding",   "Connection", "Content-Encoding",
		"Content-Type", "Content-Length",    "Expect",     "Host",
		"Keep-Alive",   "Proxy-Connection",  "TE",         "Trailer",
		"Upgrade",      "Transfer-Encoding",
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcasecmp(key, ours[i]) == 0)
			return true;
	return false;
}

/* A control character would end the line, or be read by some as its end. */
static bool is_value(const char *value)
{
	for (; *value; value++)
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
			return false;
	return true;
}

/* Its place, when it is there already: of two the last counts. */
static size_t place_of(const struct export_target *target, const char *key)
{
	size_t len = strlen(key), i = 0;

	while (i < target->n_headers &&
	       (strncasecmp(target->header[i], key, len) != 0 || target->header[i][len] != ':'))
		i++;
	return i;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

int headers_add(struct export_target *target, const char *key, const char *value,
                const char **reason)
{
	size_t i = place_of(target, key);
	char *line;

	*reason = NULL;
	if (!is_token(key))
		*reason = "a header's name has a character that none has";
	else if (is_ours(key))
		*reason = "a header that belongs to the request itself";
	else if (!*value || !is_value(value))
		*reason = "a header without value, or with a control character";
	else if (i == EXPORT_HEADERS_MAX)
		*reason = "more headers than 32";
	if (*reason)
		return -EINVAL;
	if (asprintf(&line, "%s: %s", key, value) < 0)
		return -ENOMEM;
	if (i < target->n_headers)
		wipe(target->header[i]);
	else
		target->n_headers++;
	target->header[i] = line;
	return 0;
}

void headers_clear(struct export_target *target)
{
	while (target->n_headers > 0)
		wipe(target->header[--target->n_headers]);
}
