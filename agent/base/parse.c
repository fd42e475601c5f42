#include "base/parse.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Digits at *p, advancing; at least one. */
static int take_u64(const char **p, uint64_t *out)
{
	uint64_t value = 0;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	for (; **p >= '0' && **p <= '9'; (*p)++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(**p - '0'), &value))
			return -ERANGE;
	*out = value;
	return 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t value;
	int r;

	if (text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	r = take_u64(&text, &value);
	if (r < 0)
		return r;
	if (value > max)
		return -ERANGE;
	*out = value;
	return 0;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

int parse_i64(const char *text, int64_t *out)
{
	bool negative = *text == '-';
	const char *at = text + (*text == '-' || *text == '+');
	int64_t value = 0;
	int base = 10;

	if (strncmp(text, "0x", 2) == 0 || strncmp(text, "0o", 2) == 0) {
		base = text[1] == 'x' ? 16 : 8;
		at = text + 2;
	}
	for (const char *p = at; *p || p == at; p++)
		if (digit_value(*p) >= base)
			return -EINVAL;
	/* Towards the sign, because INT64_MIN has no positive counterpart. */
	for (; *at; at++) {
		int digit = negative ? -digit_value(*at) : digit_value(*at);

		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return -ERANGE;
	}
	*out = value;
	return 0;
}

int parse_double(const char *text, double *out)
{
	double value;
	char *end;

	/* strtod() also takes blanks, hexadecimals, infinities and names. */
	if (*text == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
		return -EINVAL;
	value = strtod(text, &end);
	if (end == text || *end)
		return -EINVAL;
	if (!isfinite(value))
		return -ERANGE;
	*out = value;
	return 0;
}

int parse_bool(const char *text, bool *out)
{
	bool value = strcmp(text, "true") == 0;

	if (!value && strcmp(text, "false") != 0)
		return -EINVAL;
	*out = value;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* The longest name first where one begins another. */
static const struct unit *take_unit(const char **p, const struct unit *units)
{
	for (; units->name; units++) {
		size_t n = strlen(units->name);

		if (strncmp(*p, units->name, n) == 0) {
			*p += n;
			return units;
		}
	}
	return NULL;
}

int parse_duration(const char *text, uint64_t *out_ns)
{
	static const struct unit units[] = {
		{ "ns", 1 },         { "us", 1000 },          { "ms", 1000000 },
		{ "s", 1000000000 }, { "m", 60000000000ULL }, { "h", 3600000000000ULL },
		{ NULL, 0 },
	};
	uint64_t total = 0, last = UINT64_MAX;

	if (*text == '\0')
		return -EINVAL;
	while (*text) {
		const struct unit *unit;
		uint64_t value;
		int r = take_u64(&text, &value);

		if (r < 0)
			return r;
		unit = take_unit(&text, units);
		if (!unit || unit->factor >= last) /* 1s1m is a slip, not a duration */
			return -EINVAL;
		last = unit->factor;
		if (__builtin_mul_overflow(value, unit->factor, &value) ||
		    __builtin_add_overflow(total, value, &total))
			return -ERANGE;
	}
	*out_ns = total;
	return 0;
}

int parse_size(const char *text, uint64_t *out_bytes)
{
	static const struct unit units[] = {
		{ "Ki", 1ULL << 10 }, { "Mi", 1ULL << 20 }, { "Gi", 1ULL << 30 },
		{ "Ti", 1ULL << 40 }, { "k", 1000 },        { "M", 1000000 },
		{ "G", 1000000000 },  { NULL, 0 },
	};
	const struct unit *unit;
	uint64_t value;
	int r = take_u64(&text, &value);

	if (r < 0)
		return r;
	if (*text) {
		unit = take_unit(&text, units);
		if (!unit || *text)
			return -EINVAL;
		if (__builtin_mul_overflow(value, unit->factor, &value))
			return -ERANGE;
	}
	*out_bytes = value;
	return 0;
}
