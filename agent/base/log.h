/*
 * One structured line per event on stderr: RFC 3339 time, level, text, fields.
 *
 *   log_info("agent ready", "node", node, "subjects", "3", NULL);
 *
 * Text is constant and greppable; fields follow as key="value" pairs, escaped
 * onto one line; a line that is too long ends with `…` and lacks the fields
 * after it. A call site that repeats is limited to LOG_BURST lines per
 * LOG_WINDOW and says afterwards how many it kept back. Pure layers do not log.
 *
 * Logging never waits: what the reader of stderr leaves no room for is dropped
 * and counted, and the next line that finds room says how many were lost.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, _LOG_MAX };

struct log_site {
	uint64_t window_start_ns;
	unsigned int lines, suppressed;
};

void log_set_level(enum log_level level);
/* For a command that somebody waits for: its name instead of time and level. NULL: as said above. */
void log_set_command(const char *name);
void log_line(struct log_site *site, enum log_level level, const char *text, ...)
	__attribute__((sentinel));
/* Lines that found no room, so far. */
uint64_t log_lost(void);

#define log_at(level, ...)                            \
	do {                                          \
		static struct log_site site_;         \
		log_line(&site_, level, __VA_ARGS__); \
	} while (0)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
