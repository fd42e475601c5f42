/*
 * Violations since a time: those in memory, and what the spool still has.
 *
 * The spool answers from its disk, so the answer comes later, one question after
 * the other. What it holds is looked at in pieces, newest first. A page ends where it is full, or at the last row that
 * was looked at: it may hold fewer items than were asked for, or none, and yet continue.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "report/report_parts.h"
#include "verdict/snapshot.h"

struct history {
	struct history *next; /* waits for this one */
	struct report *report;
	struct http_deferred *deferred; /* NULL: nobody waits any more */
	struct violation_filter filter;
	char namespace[CALL_NAME_MAX]; /* of the filter */
	struct list list;
	int64_t since_us, until_us;
	uint32_t max_rows;
	struct violation **rows; /* owned; list.limit + 1 at most */
	size_t n_rows, bytes;
	int error;
	bool beyond;                     /* there may be more behind: */
	char horizon[VIOLATION_KEY_MAX]; /* the last one that was looked at; "": none */
};

/* What was asked */

/* "7d", "1d12h", and what parse_duration() takes. */
static int parse_ago(const char *text, uint64_t *ns)
{
	const char *d = strchr(text, 'd');
	uint64_t days = 0, rest = 0;
	char digits[8];
	int r = 0;

	if (d) {
		if (d - text >= (ptrdiff_t)sizeof(digits))
			return -EINVAL;
		snprintf(digits, sizeof(digits), "%.*s", (int)(d - text), text);
		r = parse_u64(digits, 36500, &days);
		text = d + 1;
	}
	if (r == 0 && (!d || *text))
		r = parse_duration(text, &rest);
	if (r == 0 && __builtin_add_overflow(rest, days * 86400 * NSEC_PER_SEC, &rest))
		r = -ERANGE;
	if (r == 0)
		*ns = rest;
	return r;
}

/* Never 0 or less: that is when an open one was resolved. */
static bool read_since(struct call *call, const char *text, int64_t *since_us)
{
	uint64_t ago_ns = 0;

	if (clock_parse(text, since_us) == 0) {
		if (*since_us < 1)
			*since_us = 1;
		return true;
	}
	if (parse_ago(text, &ago_ns) < 0) {
		call_problem(call, 400,
		             "since: expected a time like 2026-11-20T15:00:00Z or a duration like "
		             "90m, 24h or 7d");
		return false;
	}
	*since_us = call->now.wall_us - (int64_t)(ago_ns / NSEC_PER_USEC);
	if (*since_us < 1)
		*since_us = 1;
	return true;
}

/* The page begins among the resolved ones, at that time; false: it is no key of ours. */
static bool read_until(const char *after, int64_t *until_us)
{
	static const char hex[] = "0123456789abcdef";
	uint64_t age = 0;

	*until_us = INT64_MAX;
	if (after[0] != '1')
		return true;
	for (size_t i = 1; i <= 16; i++) {
		const char *digit = after[i] ? strchr(hex, after[i]) : NULL;

		if (!digit)
			return false;
		age = age << 4 | (uint64_t)(digit - hex);
	}
	if (age < UINT64_MAX - INT64_MAX)
		return false;
	*until_us = (int64_t)(UINT64_MAX - age);
	return true;
}

static struct history *history_free(struct history *history)
{
	if (!history)
		return NULL;
	for (size_t i = 0; i < history->n_rows; i++)
		snapshot_violation_free(history->rows[i]);
	free(history->rows);
	free(history);
	return NULL;
}

DEFINE_FREEP(struct history, history)

static uint32_t rows_wanted(const struct violation_filter *filter, const struct list *list)
{
	if (!filter->any_kind || filter->namespace)
		return HISTORY_ROWS_MAX;
	return (uint32_t)list->limit + 1 + HISTORY_ROWS_SPARE;
}

static int history_new(struct call *call, const struct list *list,
                       const struct violation_filter *filter, struct history **out)
{
	cleanup(history_freep) struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return -ENOMEM;
	history->rows = calloc(list->limit + 1, sizeof(struct violation *));
	if (!history->rows)
		return -ENOMEM;
	history->report = call->report;
	history->list = *list;
	history->filter = *filter;
	history->max_rows = rows_wanted(filter, list);
	if (filter->namespace) {
		/* No namespace is as long: what is cut is nobody's either. */
		snprintf(history->namespace, sizeof(history->namespace), "%s", filter->namespace);
		history->filter.namespace = history->namespace;
	}
	*out = take_ptr(history);
	return 0;
}

/* What is there */

struct found {
	struct violation_item *items; /* of memory and spool */
	size_t n;
	const struct violation **known; /* all of memory, by id */
	size_t n_known;
};

static int by_id(const void *a, const void *b)
{
	const struct violation *const *x = a, *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

static void found_clearp(struct found *found)
{
	free(found->items);
	free(found->known);
}

static void add_item(struct found *found, const struct violation *violation)
{
	struct violation_item *item = &found->items[found->n++];

	item->violation = violation;
	violation_key(violation->open,
	              violation->open ? violation->opened.wall_us : violation->resolved.wall_us,
	              violation->id, item->key);
}

static void gather_memory(const struct history *history, struct found *found)
{
	const struct report_sources *s = &history->report->sources;
	const struct violation *violation;

	for (size_t i = 0; i < VIOLATIONS_MAX && (violation = s->violation(s->user, i)); i++) {
		found->known[found->n_known++] = violation;
		if (violation_passes(&history->filter, violation) &&
		    (violation->open || violation->resolved.wall_us >= history->since_us))
			add_item(found, violation);
	}
	qsort(found->known, found->n_known, sizeof(*found->known), by_id);
}

/* Memory is newer: what it knows as open was resolved once, and came back. */
static int gather(const struct history *history, struct found *found)
{
	found->items = calloc(VIOLATIONS_MAX + history->n_rows, sizeof(*found->items));
	found->known = calloc(VIOLATIONS_MAX, sizeof(*found->known));
	if (!found->items || !found->known)
		return -ENOMEM;
	gather_memory(history, found);
	for (size_t i = 0; i < history->n_rows; i++) {
		const struct violation *row = history->rows[i];

		if (!bsearch(&row, found->known, found->n_known, sizeof(*found->known), by_id))
			add_item(found, row);
	}
	qsort(found->items, found->n, sizeof(*found->items), violation_by_key);
	return 0;
}

static int write_page(struct call *call, struct history *history)
{
	cleanup(found_clearp) struct found found = { 0 };
	struct list *list = &history->list;
	int r = gather(history, &found);

	if (r < 0)
		return r;
	list_open(call);
	for (size_t i = 0; i < found.n; i++) {
		/* Between this one and the next row there may be others. */
		if (history->beyond && strcmp(found.items[i].key, history->horizon) > 0)
			break;
		if (list_takes(list, found.items[i].key))
			write_violation(&call->e, NULL, found.items[i].violation);
	}
	if (history->beyond && !list->more) {
		list->more = true;
		snprintf(list->last, sizeof(list->last), "%s", history->horizon);
	}
	list_close(call, list);
	return 0;
}

/* Answers */

static int unavailable(struct call *call, const char *why)
{
	http_server_header(call->response, "Retry-After", "1");
	return call_problem(call, 503, "the history cannot be read now: %s", why);
}

static void answer(struct history *history)
{
	struct report *report = history->report;
	struct http_server_response response = { .status = 200, .body = BUF_INIT(HTTP_ANSWER_MAX) };
	struct call call = {
		.report = report,
		.sources = &report->sources,
		.response = &response,
		.e = ENCODE_INIT(&response.body),
		.now = report->sources.now(report->sources.user),
	};
	int r = history->error;

	http_server_header(&response, "Cache-Control", "no-store");
	if (r == 0)
		r = write_page(&call, history);
	if (r < 0)
		unavailable(&call, r == -EPIPE ? "the spool is gone" : strerror(-r));
	http_deferred_answer(take_ptr(history->deferred), &response);
}

static void ask_next(struct report *report);

static void on_gone(void *user)
{
	struct history *history = user;
	struct history **link = &history->report->history;

	history->deferred = NULL;
	/* The one that was asked goes on: the spool takes no other before it is done. */
	if (*link == history)
		return;
	while (*link != history)
		link = &(*link)->next;
	*link = history->next;
	history_free(history);
}

/* Kept, when it belongs to the page. */
static void take_row(struct history *history, const struct spool_row *row, const char *key)
{
	const struct report_sources *s = &history->report->sources;
	struct moment now = s->now(s->user);
	struct violation *violation = NULL;
	int r = snapshot_violation_read(row->body, row->len, s->boot, &now, &violation);

	if (r == 0 && strcmp(violation->id, row->key) != 0)
		r = -EINVAL;
	if (r == -EINVAL) {
		/* Of json-c's errors some are want of memory: it does not say which. */
		history->list.unreadable++;
		log_warn("history: a row cannot be read", "id", row->key, NULL);
	} else if (r < 0) {
		history->error = r;
	}
	if (r < 0 || violation->open || !violation_passes(&history->filter, violation)) {
		snapshot_violation_free(violation);
		return;
	}
	/* The page is in the order of the rows' own times. */
	violation->resolved.wall_us = row->wall_us;
	history->rows[history->n_rows++] = violation;
	history->bytes += row->len;
	history->beyond =
		history->n_rows == history->list.limit + 1 || history->bytes > HISTORY_BYTES_MAX;
	snprintf(history->horizon, sizeof(history->horizon), "%s", key);
}

static void on_row(void *user, const struct spool_row *row)
{
	struct history *history = user;
	char key[VIOLATION_KEY_MAX];

	if (!history->deferred || history->error || history->beyond ||
	    row->table != SPOOL_VIOLATION || row->wall_us < history->since_us)
		return;
	violation_key(false, row->wall_us, row->key, key);
	if (strcmp(key, history->list.after) <= 0)
		return;
	take_row(history, row, key);
	if (!history->beyond)
		snprintf(history->horizon, sizeof(history->horizon), "%s", key);
}

static void finish(struct history *history)
{
	struct report *report = history->report;

	report->history = history->next;
	if (history->deferred)
		answer(history);
	history_free(history);
	ask_next(report);
}

static void on_end(void *user, int r, bool more)
{
	struct history *history = user;

	if (r < 0)
		history->error = r;
	if (history->error == 0 && more && history->horizon[0] == '\0') {
		/* Nothing but rows of the moment where the page begins. */
		if (history->deferred && history->max_rows < HISTORY_ROWS_MAX) {
			history->max_rows = HISTORY_ROWS_MAX;
			ask_next(history->report);
			return;
		}
		violation_key(false, history->until_us - 1, "", history->horizon);
	}
	history->beyond |= more;
	finish(history);
}

static int ask(struct history *history)
{
	const struct report_sources *s = &history->report->sources;

	return s->history(s->user, history->since_us, history->until_us, history->max_rows, on_row,
	                  on_end, history);
}

/* The first one; those that cannot be asked get their answer at once. */
static void ask_next(struct report *report)
{
	struct history *history;
	int r;

	while ((history = report->history)) {
		r = ask(history);
		if (r == 0)
			return;
		history->error = r == -ENODEV ? 0 : r;
		report->history = history->next;
		if (history->deferred)
			answer(history);
		history_free(history);
	}
}

int history_answer(struct call *call, const struct list *list,
                   const struct violation_filter *filter, const char *since)
{
	cleanup(history_freep) struct history *history = NULL;
	struct history **last = &call->report->history;
	bool first = !*last;
	int64_t since_us, until_us;
	int r;

	if (!read_since(call, since, &since_us))
		return 0;
	if (!read_until(list->after, &until_us))
		return call_problem(call, 400, "continue: expected a token from an earlier answer");
	r = history_new(call, list, filter, &history);
	if (r < 0)
		return r;
	history->since_us = since_us;
	history->until_us = until_us;
	if (!call->sources->history || !filter->resolved)
		return write_page(call, history);

	r = http_server_defer(call->request, on_gone, history, &history->deferred);
	if (r == -EBUSY)
		return unavailable(call, "too many ask for it");
	if (r < 0)
		return r;
	while (*last)
		last = &(*last)->next;
	*last = take_ptr(history);
	if (first)
		ask_next(call->report);
	return 0;
}

void history_clear(struct report *report)
{
	const struct report_sources *s = &report->sources;

	if (report->history)
		s->history_forget(s->user);
	while (report->history) {
		struct history *history = report->history;

		report->history = history->next;
		history_free(history);
	}
}
