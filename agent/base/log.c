#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* A line is cut here: longer than any reason with its fields, shorter than PIPE_BUF, so that lines never mix. */
#define LOG_LINE_MAX 2048
/* Lines of one call site in one window; enough for every pod of a small node to say the same thing once. */
#define LOG_BURST 20
#define LOG_WINDOW_NS (10 * NSEC_PER_SEC)

static const char *const level_names[] = {
	[LOG_DEBUG] = "debug",
	[LOG_INFO] = "info",
	[LOG_WARN] = "warn",
	[LOG_ERROR] = "error",
};
_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == _LOG_MAX, "a level has no name");

static enum log_level threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
	threshold = level;
}

struct line {
	char text[LOG_LINE_MAX];
	size_t len;
};

static void put(struct line *line, char c)
{
	if (line->len < sizeof(line->text) - 2) /* room for the newline */
		line->text[line->len++] = c;
}

static void put_text(struct line *line, const char *text)
{
	for (; *text; text++)
		put(line, *text);
}

/* A value comes from anywhere: it must not break the line or the quotes. */
static void put_value(struct line *line, const char *value)
{
	static const char hex[] = "0123456789abcdef";

	put(line, '"');
	for (; value && *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\') {
			put(line, '\\');
			put(line, (char)c);
		} else if (c < 0x20 || c == 0x7f) {
			put_text(line, "\\x");
			put(line, hex[c >> 4]);
			put(line, hex[c & 15]);
		} else {
			put(line, (char)c);
		}
	}
	put(line, '"');
}

static bool allowed(struct log_site *site, const struct moment *now, unsigned int *kept_back)
{
	*kept_back = 0;
	if (site->lines == 0 || now->mono_ns - site->window_start_ns > LOG_WINDOW_NS) {
		*kept_back = site->suppressed;
		*site = (struct log_site){ .window_start_ns = now->mono_ns };
	}
	if (site->lines >= LOG_BURST) {
		site->suppressed++;
		return false;
	}
	site->lines++;
	return true;
}

void log_line(struct log_site *site, enum log_level level, const char *text, ...)
{
	struct moment now = clock_now();
	char time[CLOCK_TEXT_MAX], count[48];
	struct line line = { .len = 0 };
	unsigned int kept_back;
	const char *key;
	va_list args;

	if (level < threshold || !allowed(site, &now, &kept_back))
		return;

	put_text(&line, clock_format(now.wall_us, time));
	put(&line, ' ');
	put_text(&line, level_names[level]);
	put(&line, ' ');
	put_text(&line, text);

	va_start(args, text);
	while ((key = va_arg(args, const char *))) {
		put(&line, ' ');
		put_text(&line, key);
		put(&line, '=');
		put_value(&line, va_arg(args, const char *));
	}
	va_end(args);

	if (kept_back) {
		snprintf(count, sizeof(count), " suppressed=\"%u\"", kept_back);
		put_text(&line, count);
	}
	line.text[line.len++] = '\n';
	if (write(STDERR_FILENO, line.text, line.len) < 0)
		return; /* nobody reads it */
}
