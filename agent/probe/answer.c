#include "probe/answer.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "base/cleanup.h"
#include "limits.h"

/* Echoes answer with one flat object; what is nested deeper is not theirs. */
#define JSON_DEPTH_MAX 8

/* Prefixes no router forwards as a source; RFC 6890 names each. */
static const char *const implausible[] = {
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/128",    "::1/128",     "fe80::/10",      "ff00::/8",
};

bool answer_plausible(const struct ip *ip)
{
	for (size_t i = 0; i < sizeof(implausible) / sizeof(implausible[0]); i++) {
		struct cidr cidr;

		if (cidr_parse(implausible[i], &cidr) == 0 && cidr_contains(&cidr, ip))
			return false;
	}
	return true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Exactly one address, with ASCII white space around it. */
static enum probe_outcome parse_text(const char *text, size_t len, struct ip *out)
{
	char address[IP_TEXT_MAX];
	struct ip ip;

	while (len > 0 && is_space(text[0]))
		text++, len--;
	while (len > 0 && is_space(text[len - 1]))
		len--;

	if (len == 0 || len >= sizeof(address) || memchr(text, '\0', len))
		return PROBE_UNPARSEABLE;
	memcpy(address, text, len);
	address[len] = '\0';

	if (ip_parse(address, &ip) < 0)
		return PROBE_UNPARSEABLE;
	if (!answer_plausible(&ip))
		return PROBE_IMPLAUSIBLE;

	*out = ip;
	return PROBE_ANSWERED;
}

static inline void tokener_freep(struct json_tokener **tokener)
{
	if (*tokener)
		json_tokener_free(*tokener);
}

static inline void object_putp(struct json_object **object)
{
	json_object_put(*object);
}

static enum probe_outcome parse_json(const char *name, const char *body, size_t len, struct ip *out)
{
	cleanup(tokener_freep) struct json_tokener *tokener = NULL;
	cleanup(object_putp) struct json_object *object = NULL;
	struct json_object *value;

	tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (!tokener)
		return PROBE_LOCAL_ERROR;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

	/* Trailing white space is no trailing data, but the tokener stops before it. */
	while (len > 0 && is_space(body[len - 1]))
		len--;
	errno = 0;
	object = json_tokener_parse_ex(tokener, body, (int)len);
	if (!object && errno == ENOMEM)
		return PROBE_LOCAL_ERROR;
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    json_tokener_get_parse_end(tokener) != len)
		return PROBE_UNPARSEABLE;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value) ||
	    !json_object_is_type(value, json_type_string))
		return PROBE_UNPARSEABLE;

	return parse_text(json_object_get_string(value), (size_t)json_object_get_string_len(value),
	                  out);
}

/* The value of exactly one line KEY=VALUE; false when there is none or more than one. */
static bool find_key(const char *key, const char *body, size_t len, const char **value, size_t *n)
{
	size_t key_len = strlen(key);
	bool found = false;

	while (len > 0) {
		const char *end = memchr(body, '\n', len);
		size_t line = end ? (size_t)(end - body) : len;

		if (line > key_len && body[key_len] == '=' && memcmp(body, key, key_len) == 0) {
			if (found)
				return false;
			found = true;
			*value = body + key_len + 1;
			*n = line - key_len - 1;
		}
		line += end != NULL;
		body += line;
		len -= line;
	}
	return found;
}

enum probe_outcome answer_parse(const struct answer_format *format, const char *body, size_t len,
                                struct ip *out)
{
	const char *value;
	size_t n;

	if (len > ECHO_BODY_MAX)
		return PROBE_TOO_LARGE;

	if (format->json)
		return parse_json(format->json, body, len, out);
	if (!format->key)
		return parse_text(body, len, out);
	return find_key(format->key, body, len, &value, &n) ? parse_text(value, n, out)
	                                                    : PROBE_UNPARSEABLE;
}
