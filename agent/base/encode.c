#include "base/encode.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* Length of the valid UTF-8 sequence at p, 0 when it is none (RFC 3629: no surrogates, shortest form). */
static size_t utf8_len(const unsigned char *p)
{
	static const struct {
		unsigned char lead_min, lead_max, second_min, second_max;
		size_t len;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (p[0] < forms[i].lead_min || p[0] > forms[i].lead_max)
			continue;
		if (p[1] < forms[i].second_min || p[1] > forms[i].second_max)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

static size_t write_char(struct buf *out, const unsigned char *p)
{
	static const char *const named[] = { ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n",
		                             ['\r'] = "\\r", ['\t'] = "\\t", ['"'] = "\\\"",
		                             ['\\'] = "\\\\" };
	size_t len;

	if (*p < sizeof(named) / sizeof(named[0]) && named[*p]) {
		buf_text(out, named[*p]);
		return 1;
	}
	if (*p < 0x20 || *p == 0x7f) {
		buf_format(out, "\\u%04x", *p);
		return 1;
	}
	if (*p < 0x80) {
		buf_append(out, p, 1);
		return 1;
	}
	len = utf8_len(p);
	if (len) {
		buf_append(out, p, len);
		return len;
	}
	buf_text(out, "\xef\xbf\xbd");
	return 1;
}

static void write_text(struct buf *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	buf_text(out, "\"");
	while (*p && !out->error)
		p += write_char(out, p);
	buf_text(out, "\"");
}

/* Comma and key before a value. */
static void begin(struct encode *e, const char *key)
{
	if (e->need_comma[e->depth])
		buf_text(e->out, ",");
	e->need_comma[e->depth] = true;
	if (key) {
		write_text(e->out, key);
		buf_text(e->out, ":");
	}
}

static void open_nested(struct encode *e, const char *key, const char *bracket)
{
	begin(e, key);
	buf_text(e->out, bracket);
	assert(e->depth < ENCODE_DEPTH_MAX);
	e->need_comma[++e->depth] = false;
}

static void close_nested(struct encode *e, const char *bracket)
{
	assert(e->depth > 0);
	e->depth--;
	buf_text(e->out, bracket);
}

void encode_object(struct encode *e, const char *key)
{
	open_nested(e, key, "{");
}

void encode_object_end(struct encode *e)
{
	close_nested(e, "}");
}

void encode_array(struct encode *e, const char *key)
{
	open_nested(e, key, "[");
}

void encode_array_end(struct encode *e)
{
	close_nested(e, "]");
}

void encode_null(struct encode *e, const char *key)
{
	begin(e, key);
	buf_text(e->out, "null");
}

void encode_text(struct encode *e, const char *key, const char *value)
{
	if (!value) {
		encode_null(e, key);
		return;
	}
	begin(e, key);
	write_text(e->out, value);
}

void encode_u64(struct encode *e, const char *key, uint64_t value)
{
	begin(e, key);
	buf_format(e->out, "%" PRIu64, value);
}

void encode_i64(struct encode *e, const char *key, int64_t value)
{
	begin(e, key);
	buf_format(e->out, "%" PRId64, value);
}

void encode_double(struct encode *e, const char *key, double value)
{
	if (!isfinite(value)) { /* JSON has no such numbers */
		encode_null(e, key);
		return;
	}
	begin(e, key);
	buf_format(e->out, "%.17g", value);
}

void encode_bool(struct encode *e, const char *key, bool value)
{
	begin(e, key);
	buf_text(e->out, value ? "true" : "false");
}

void encode_ip(struct encode *e, const char *key, const struct ip *value)
{
	char text[IP_TEXT_MAX];

	encode_text(e, key, ip_format(value, text));
}

void encode_cidr(struct encode *e, const char *key, const struct cidr *value)
{
	char text[CIDR_TEXT_MAX];

	encode_text(e, key, cidr_format(value, text));
}

void encode_time(struct encode *e, const char *key, int64_t wall_us)
{
	char text[CLOCK_TEXT_MAX];

	encode_text(e, key, wall_us ? clock_format(wall_us, text) : NULL);
}

void encode_raw(struct encode *e, const char *key, const char *json)
{
	begin(e, key);
	buf_text(e->out, json ? json : "null");
}
