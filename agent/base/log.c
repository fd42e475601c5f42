#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

/* A line is cut here: longer than any reason with its fields, shorter than PIPE_BUF, so that lines never mix. */
#define LOG_LINE_MAX 2048
/* Kept for the end of the line: `…"`, what was suppressed and lost, the newline. */
#define LOG_TAIL_MAX 128
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
static const char *command; /* borrowed */
static uint64_t lost, lost_unsaid;

void log_set_level(enum log_level level)
{
	threshold = level;
}

void log_set_command(const char *name)
{
	command = name;
}

uint64_t log_lost(void)
{
	return lost;
}

struct line {
	char text[LOG_LINE_MAX];
	size_t len;
	bool cut; /* nothing more is taken but the tail */
};

/* All of it or nothing: no escape is torn. */
static void put(struct line *line, const char *text, size_t len)
{
	line->cut = line->cut || line->len + len > sizeof(line->text) - LOG_TAIL_MAX;
	if (line->cut)
		return;
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

/* Controls of both halves, line separators, and what turns the direction of the text around it. */
static bool prints(uint32_t c)
{
	return (c >= 0x20 && c < 0x7f) || (c >= 0xa0 && c < 0x2028) || (c > 0x202e && c < 0x2066) ||
	       (c > 0x2069 && c != 0xfeff);
}

/* One character of a value, which comes from anywhere: it must not break the line or the quotes. */
static size_t put_char(struct line *line, const char *p)
{
	char escaped[5];
	uint32_t c;
	size_t len = utf8_read(p, &c);

	if (*p == '"' || *p == '\\') {
		put(line, (const char[]){ '\\', *p }, 2);
	} else if (len && prints(c)) {
		put(line, p, len);
	} else {
		snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char)*p);
		put_text(line, escaped);
		len = 1;
	}
	return len ? len : 1;
}

static void put_field(struct line *line, const char *key, const char *value)
{
	static const char cut[] = "…\"";
	char begin[64];

	snprintf(begin, sizeof(begin), " %s=\"", key);
	put_text(line, begin);
	if (line->cut)
		return;
	while (value && *value && !line->cut)
		value += put_char(line, value);
	memcpy(line->text + line->len, line->cut ? cut : "\"", line->cut ? sizeof(cut) - 1 : 1);
	line->len += line->cut ? sizeof(cut) - 1 : 1;
}

/* In the room that was kept; no number has more than 20 digits. */
static void put_count(struct line *line, const char *key, uint64_t count)
{
	if (count)
		line->len +=
			(size_t)snprintf(line->text + line->len, sizeof(line->text) - line->len,
		                         " %s=\"%" PRIu64 "\"", key, count);
}

/*
 * Without waiting, and without O_NONBLOCK: stderr is shared with whoever started us.
 * A pipe that polls writable has a free page, more than a line. Its last reader
 * gone, or the journal's socket closed, there is no signal either.
 */
static bool write_line(const char *text, size_t len)
{
	struct pollfd pollfd = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t n;

	n = send(STDERR_FILENO, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0 || errno != ENOTSOCK)
		return n == (ssize_t)len;
	if (poll(&pollfd, 1, 0) != 1 || pollfd.revents != POLLOUT)
		return false;
	return write(STDERR_FILENO, text, len) == (ssize_t)len;
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

static void put_head(struct line *line, enum log_level level, const struct moment *now)
{
	char time[CLOCK_TEXT_MAX];

	if (command) {
		put_text(line, command);
		put_text(line, ": ");
		return;
	}
	put_text(line, clock_format(now->wall_us, time));
	put_text(line, " ");
	put_text(line, level_names[level]);
	put_text(line, " ");
}

void log_line(struct log_site *site, enum log_level level, const char *text, ...)
{
	struct moment now = clock_now();
	struct line line = { .len = 0 };
	unsigned int kept_back;
	const char *key;
	va_list args;

	if (level < threshold || !allowed(site, &now, &kept_back))
		return;

	put_head(&line, level, &now);
	put_text(&line, text);

	va_start(args, text);
	while ((key = va_arg(args, const char *)))
		put_field(&line, key, va_arg(args, const char *));
	va_end(args);

	put_count(&line, "suppressed", kept_back);
	put_count(&line, "lost", lost_unsaid);
	line.text[line.len++] = '\n';
	if (write_line(line.text, line.len)) {
		lost_unsaid = 0;
	} else {
		lost++;
		lost_unsaid++;
	}
}
