#include "base/encode.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/utf8.h"

static size_t write_char(struct buf *out, const unsigned char *p)
{
	static const char *const named[] = {
		['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r",
		['\t'] = "\\t", ['"'] = "\\\"", ['\\'] = "\\\\"
	};
	uint32_t c;
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
	len = utf8_read((const char *)p, &c);
	/* What moves a terminal's cursor or turns text around: none of it is beyond U+FFFF. */
	if (len && !utf8_visible(c)) {
		buf_format(out, "\\u%04x", c);
		return len;
	}
	if (len) {
		buf_append(out, p, len);
		return len;
	}
	buf_text(out, "\xef\xbf\xbd"); /* U+FFFD, per byte */
	return 1;
}

/* Most text is written as it is: in one piece up to the next character that is not. */
static size_t plain_length(const unsigned char *p)
{
	size_t n = 0;

	while (p[n] >= 0x20 && p[n] < 0x7f && p[n] != '"' && p[n] != '\\')
		n++;
	return n;
}

static void write_text(struct buf *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	buf_text(out, "\"");
	while (*p && !out->error) {
		size_t n = plain_length(p);

		buf_append(out, p, n);
		p += n;
		if (*p)
			p += write_char(out, p);
	}
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

/* The fewest digits that read back as the same number: 0.1, not 0.10000000000000001. */
void encode_double(struct encode *e, const char *key, double value)
{
	int digits = 15;
	char text[32];

	if (!isfinite(value)) { /* JSON has no such numbers */
		encode_null(e, key);
		return;
	}
	do
		snprintf(text, sizeof(text), "%.*g", digits, value);
	while (digits++ < 17 && strtod(text, NULL) != value);
	begin(e, key);
	buf_text(e->out, text);
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
	buf_text(e->out, json && *json ? json : "null");
}
