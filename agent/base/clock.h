/*
 * Moments in time.
 *
 * The monotonic half decides (ages, deadlines, hysteresis), the wall half is
 * shown to people. Only the loop's callers in agent.c and io/ read clocks;
 * everything else takes a moment as a value.
 */
#pragma once

#include <stdint.h>

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

struct moment {
	uint64_t mono_ns; /* CLOCK_MONOTONIC, as bpf_ktime_get_ns() */
	int64_t wall_us;  /* CLOCK_REALTIME, microseconds since the epoch; 0: never */
};

#define CLOCK_TEXT_MAX 40 /* RFC 3339 with microseconds and Z */

struct moment clock_now(void);

/* The moment at which the monotonic clock showed `mono_ns`, as seen from `now`. */
struct moment clock_at(const struct moment *now, uint64_t mono_ns);

/* "2026-11-20T15:51:08.123456Z"; returns buf. */
const char *clock_format(int64_t wall_us, char buf[static CLOCK_TEXT_MAX]);

/* RFC 3339 as the API server writes it (with or without fraction, Z only). */
int clock_parse(const char *text, int64_t *wall_us);
