/*
 * The Accept header (RFC 9110, section 12.5.1), as far as two formats need it.
 * An element that cannot be read counts for nothing.
 */
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "report/metrics.h"

struct span {
	const char *p;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span span)
{
	while (span.len && is_blank(span.p[0])) {
		span.p++;
		span.len--;
	}
	while (span.len && is_blank(span.p[span.len - 1]))
		span.len--;
	return span;
}

/* Takes what comes before the separator off the front. */
static struct span take(struct span *rest, char separator)
{
	const char *end = memchr(rest->p, separator, rest->len);
	size_t len = end ? (size_t)(end - rest->p) : rest->len;
	struct span taken = { rest->p, len };

	rest->p += len + (end != NULL);
	rest->len -= len + (end != NULL);
	return trim(taken);
}

static bool is(struct span span, const char *text)
{
	return span.len == strlen(text) && strncasecmp(span.p, text, span.len) == 0;
}

/* Thousandths; -1: not a qvalue ("0.5", "1", "1.000"). */
static int parse_q(struct span span)
{
	int q, digit = 100;

	if (span.len == 0 || span.len > 5 || span.p[0] < '0' || span.p[0] > '1')
		return -1;
	q = (span.p[0] - '0') * 1000;
	if (span.len > 1 && span.p[1] != '.')
		return -1;
	for (size_t i = 2; i < span.len; i++, digit /= 10) {
		if (span.p[i] < '0' || span.p[i] > '9')
			return -1;
		q += (span.p[i] - '0') * digit;
	}
	return q <= 1000 ? q : -1;
}

/* What an element is worth to us: its q; 0: nothing. */
static int weigh(struct span element, enum metrics_format *format)
{
	struct span type = take(&element, ';');
	const char *version;
	int q = 1000;

	if (is(type, "application/openmetrics-text"))
		*format = METRICS_OPENMETRICS;
	else if (is(type, "text/plain") || is(type, "text/*") || is(type, "*/*"))
		*format = METRICS_TEXT;
	else
		return 0;

	version = *format == METRICS_OPENMETRICS ? "1.0.0" : "0.0.4";
	while (element.len) {
		struct span parameter = take(&element, ';');
		struct span name = take(&parameter, '=');

		parameter = trim(parameter);
		if (is(name, "version") && !is(parameter, version))
			return 0;
		if (is(name, "q"))
			q = parse_q(parameter);
	}
	return q > 0 ? q : 0;
}

enum metrics_format metrics_negotiate(const char *accept)
{
	struct span rest = { accept ? accept : "", accept ? strlen(accept) : 0 };
	enum metrics_format best = METRICS_TEXT, format = METRICS_TEXT;
	int best_q = 0;

	while (rest.len) {
		int q = weigh(take(&rest, ','), &format);

		if (q > best_q) {
			best = format;
			best_q = q;
		}
	}
	return best;
}
