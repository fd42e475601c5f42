#include "report/html.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/utf8.h"

void html_text(struct buf *out, const char *text)
{
	while (text && *text && !out->error) {
		uint32_t c = 0;
		size_t len = utf8_read(text, &c);

		if (len == 0 || !utf8_visible(c))
			buf_text(out, "\xef\xbf\xbd");
		else if (c == '&')
			buf_text(out, "&amp;");
		else if (c == '<')
			buf_text(out, "&lt;");
		else if (c == '>')
			buf_text(out, "&gt;");
		else if (c == '"')
			buf_text(out, "&quot;");
		else if (c == '\'')
			buf_text(out, "&#39;");
		else
			buf_append(out, text, len);
		text += len ? len : 1;
	}
}

void html_ago(struct buf *out, int64_t wall_us, int64_t now_us)
{
	char exact[CLOCK_TEXT_MAX];
	int64_t s = (now_us - wall_us) / 1000000;

	if (wall_us == 0) {
		buf_text(out, "never");
		return;
	}
	buf_format(out, "<time datetime=\"%s\" title=\"%s\">", clock_format(wall_us, exact), exact);
	if (s < 1)
		buf_text(out, "now");
	else if (s < 120)
		buf_format(out, "%" PRId64 " s ago", s);
	else if (s < 7200)
		buf_format(out, "%" PRId64 " min ago", s / 60);
	else if (s < 172800)
		buf_format(out, "%" PRId64 " h ago", s / 3600);
	else
		buf_format(out, "%" PRId64 " days ago", s / 86400);
	buf_text(out, "</time>");
}

void html_bytes(struct buf *out, uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1000;
		unit++;
	}
	buf_format(out, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void html_count(struct buf *out, uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			buf_text(out, "\xe2\x80\xaf"); /* narrow no-break space */
		buf_append(out, &digits[i], 1);
	}
}
