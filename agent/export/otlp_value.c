#include "export/otlp_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

static void begin(struct encode *e, const char *key)
{
	encode_object(e, NULL);
	encode_text(e, "key", key);
	encode_object(e, "value");
}

static void end(struct encode *e)
{
	encode_object_end(e);
	encode_object_end(e);
}

void otlp_value_text(struct encode *e, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	begin(e, key);
	encode_text(e, "stringValue", value);
	end(e);
}

/* Not within a character. */
static size_t shorten(const char *value, size_t max)
{
	size_t len = 0;

	for (;;) {
		uint32_t unused;
		size_t n = utf8_read(value + len, &unused);

		n = n ? n : 1;
		if (len + n > max)
			return len;
		len += n;
	}
}

void otlp_value_name(struct encode *e, const char *key, const char *value)
{
	char text[OTLP_NAME_MAX];

	if (!value || strnlen(value, sizeof(text)) < sizeof(text)) {
		otlp_value_text(e, key, value);
		return;
	}
	snprintf(text, sizeof(text), "%.*s...", (int)shorten(value, sizeof(text) - sizeof("...")),
	         value);
	otlp_value_text(e, key, text);
}

void otlp_value_raw(struct encode *e, const char *key, const char *json)
{
	begin(e, key);
	encode_raw(e, "stringValue", json);
	end(e);
}

void otlp_value_int(struct encode *e, const char *key, uint64_t value)
{
	begin(e, key);
	otlp_value_u64(e, "intValue", value > INT64_MAX ? INT64_MAX : value);
	end(e);
}

void otlp_value_double(struct encode *e, const char *key, double value)
{
	begin(e, key);
	otlp_value_number(e, "doubleValue", value);
	end(e);
}

void otlp_value_bool(struct encode *e, const char *key, bool value)
{
	begin(e, key);
	encode_bool(e, "boolValue", value);
	end(e);
}

void otlp_value_ip(struct encode *e, const char *key, const struct ip *value)
{
	char text[IP_TEXT_MAX];

	otlp_value_text(e, key, ip_format(value, text));
}

/* Nanoseconds in 64 bits end in the year 2554. */
static bool is_time(int64_t wall_us)
{
	return wall_us > 0 && (uint64_t)wall_us <= UINT64_MAX / NSEC_PER_USEC;
}

void otlp_value_time(struct encode *e, const char *key, int64_t wall_us)
{
	char text[CLOCK_TEXT_MAX];

	if (is_time(wall_us))
		otlp_value_text(e, key, clock_format(wall_us, text));
}

void otlp_value_u64(struct encode *e, const char *field, uint64_t value)
{
	char text[24]; /* 20 digits */

	snprintf(text, sizeof(text), "%" PRIu64, value);
	encode_text(e, field, text);
}

void otlp_value_unix(struct encode *e, const char *field, int64_t wall_us)
{
	if (is_time(wall_us))
		otlp_value_u64(e, field, (uint64_t)wall_us * NSEC_PER_USEC);
}

void otlp_value_number(struct encode *e, const char *field, double value)
{
	if (isnan(value))
		encode_text(e, field, "NaN");
	else if (isinf(value))
		encode_text(e, field, value > 0 ? "Infinity" : "-Infinity");
	else
		encode_double(e, field, value);
}
