#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct moment clock_now(void)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct moment){
		.mono_ns = (uint64_t)mono.tv_sec * NSEC_PER_SEC + (uint64_t)mono.tv_nsec,
		.wall_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000,
	};
}

struct moment clock_at(const struct moment *now, uint64_t mono_ns)
{
	int64_t delta_us = (int64_t)(mono_ns - now->mono_ns) / (int64_t)NSEC_PER_USEC;

	return (struct moment){ mono_ns, now->wall_us + delta_us };
}

const char *clock_format(int64_t wall_us, char buf[static CLOCK_TEXT_MAX])
{
	int64_t us = wall_us % 1000000;
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;
	size_t n;

	if (us < 0) {
		us += 1000000;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	/* strftime()'s %Y has no four digits before the year 1000. */
	n = (size_t)snprintf(buf, CLOCK_TEXT_MAX, "%04ld", tm.tm_year + 1900L);
	n += strftime(buf + n, CLOCK_TEXT_MAX - n, "-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, CLOCK_TEXT_MAX - n, ".%06dZ", (int)us);
	return buf;
}

/* Exactly n digits, advancing. */
static int take_digits(const char **p, int n, int *out)
{
	int value = 0;

	for (int i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -EINVAL;
		value = value * 10 + (**p - '0');
	}
	*out = value;
	return 0;
}

static int take_char(const char **p, char c)
{
	return *(*p)++ == c ? 0 : -EINVAL;
}

/* ".5" is 500000. Nine digits at most, as Go writes; what is below a microsecond is cut. */
static int take_fraction(const char **p, int *us)
{
	int digits = 0;

	*us = 0;
	if (**p != '.')
		return 0;
	for ((*p)++; **p >= '0' && **p <= '9' && digits < 9; (*p)++, digits++)
		if (digits < 6)
			*us = *us * 10 + (**p - '0');
	if (digits == 0)
		return -EINVAL;
	for (; digits < 6; digits++)
		*us *= 10;
	return 0;
}

int clock_parse(const char *text, int64_t *wall_us)
{
	const char *p = text;
	struct tm tm = { 0 };
	struct tm normal;
	time_t seconds;
	int us;

	if (take_digits(&p, 4, &tm.tm_year) < 0 || take_char(&p, '-') < 0 ||
	    take_digits(&p, 2, &tm.tm_mon) < 0 || take_char(&p, '-') < 0 ||
	    take_digits(&p, 2, &tm.tm_mday) < 0 || take_char(&p, 'T') < 0 ||
	    take_digits(&p, 2, &tm.tm_hour) < 0 || take_char(&p, ':') < 0 ||
	    take_digits(&p, 2, &tm.tm_min) < 0 || take_char(&p, ':') < 0 ||
	    take_digits(&p, 2, &tm.tm_sec) < 0 || take_fraction(&p, &us) < 0 ||
	    take_char(&p, 'Z') < 0 || *p != '\0')
		return -EINVAL;

	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	normal = tm;
	seconds = timegm(&normal);
	/*
	 * timegm() turns 30 February into March; such a date is no date. Nor is a
	 * leap second: Go, which writes these times, has none.
	 */
	if (normal.tm_mon != tm.tm_mon || normal.tm_mday != tm.tm_mday ||
	    normal.tm_hour != tm.tm_hour || normal.tm_min != tm.tm_min ||
	    normal.tm_sec != tm.tm_sec)
		return -EINVAL;
	*wall_us = (int64_t)seconds * 1000000 + us;
	return 0;
}
