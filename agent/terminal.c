#include "terminal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/utf8.h"

#define GAP 2
#define NARROW 10 /* a column that holds more is not made narrower than this */
#define REPLACEMENT "\xef\xbf\xbd"

struct terminal terminal_of(FILE *out)
{
	struct terminal terminal = { .out = out, .width = 80 };
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size = { 0 };

	if (!isatty(fileno(out)))
		return terminal;
	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
		terminal.width = size.ws_col;
	/* no-color.org: any value but the empty one. */
	terminal.colour = !(no_colour && *no_colour) && !(term && strcmp(term, "dumb") == 0);
	return terminal;
}

static void tone_begin(const struct terminal *terminal, enum tone tone)
{
	static const char *const codes[] = {
		[TONE_PLAIN] = "",        [TONE_GOOD] = "\033[32m", [TONE_BAD] = "\033[31m",
		[TONE_WARN] = "\033[33m", [TONE_DIM] = "\033[2m",   [TONE_BOLD] = "\033[1m",
	};

	if (terminal->colour)
		fputs(codes[tone], terminal->out);
}

static void tone_end(const struct terminal *terminal, enum tone tone)
{
	if (terminal->colour && tone != TONE_PLAIN)
		fputs("\033[0m", terminal->out);
}

/* East Asian wide characters and emoji take two columns (the common blocks of UAX 11). */
static size_t width_of(uint32_t c)
{
	if (c >= 0x300 && c <= 0x36f)
		return 0;
	return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
	                       (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
	                       (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
	                       (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd)
	               ? 2
	               : 1;
}

/* The next character: its bytes as they may be printed, its columns; returns how many bytes it was. */
static size_t next(const char *p, const char **print, size_t *print_len, size_t *columns)
{
	uint32_t c = 0;
	size_t len = utf8_read(p, &c);
	bool blank = c == '\n' || c == '\t';

	if (len && (utf8_visible(c) || blank)) {
		*print = blank ? " " : p;
		*print_len = blank ? 1 : len;
		*columns = width_of(c);
		return len;
	}
	*print = REPLACEMENT;
	*print_len = strlen(REPLACEMENT);
	*columns = 1;
	return len ? len : 1;
}

static size_t columns_of(const char *text, size_t len)
{
	const char *end = text + len, *unused;
	size_t sum = 0, print_len, columns;

	while (text < end) {
		text += next(text, &unused, &print_len, &columns);
		sum += columns;
	}
	return sum;
}

static void put(const struct terminal *terminal, const char *text, size_t len)
{
	const char *end = text + len, *print;
	size_t print_len, columns;

	while (text < end) {
		text += next(text, &print, &print_len, &columns);
		fwrite(print, 1, print_len, terminal->out);
	}
}

void terminal_text(const struct terminal *terminal, enum tone tone, const char *text)
{
	tone_begin(terminal, tone);
	put(terminal, text, strlen(text));
	tone_end(terminal, tone);
}

void terminal_json(FILE *out, const char *text)
{
	while (*text) {
		uint32_t c = 0;
		size_t len = utf8_read(text, &c);

		if (len == 0)
			fputs(REPLACEMENT, out);
		else if (c == '\n' || utf8_visible(c))
			fwrite(text, 1, len, out);
		else
			fprintf(out, "\\u%04x", c);
		text += len ? len : 1;
	}
}

static void pad(const struct terminal *terminal, size_t columns)
{
	while (columns--)
		fputc(' ', terminal->out);
}

/*
 * The bytes of the first line that fits: broken after a blank, else after a
 * character that names are made of, else anywhere. At least one character.
 */
static size_t line_of(const char *text, size_t width)
{
	size_t at = 0, columns = 0, blank = 0, mark = 0;

	while (text[at]) {
		const char *print;
		size_t print_len, wide, len = next(text + at, &print, &print_len, &wide);

		if (columns + wide > width && at > 0) {
			if (text[at] == ' ')
				return at;
			if (blank)
				return blank;
			return mark ? mark : at;
		}
		columns += wide;
		at += len;
		if (*print == ' ')
			blank = at;
		else if (strchr("-/,.:", *print) && columns > width / 2)
			mark = at;
	}
	return at;
}

static size_t trimmed(const char *text, size_t len)
{
	while (len > 0 && text[len - 1] == ' ')
		len--;
	return len;
}

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, " \n\t");
}

void terminal_wrap(const struct terminal *terminal, size_t indent, enum tone tone, const char *text)
{
	size_t width = terminal->width > indent + NARROW ? terminal->width - indent : NARROW;

	for (text = skip_blanks(text); *text; text = skip_blanks(text)) {
		size_t len = line_of(text, width);

		pad(terminal, indent);
		tone_begin(terminal, tone);
		put(terminal, text, trimmed(text, len));
		tone_end(terminal, tone);
		fputc('\n', terminal->out);
		text += len;
	}
}

/* Tables */

struct row {
	struct row *next;
	char *cells[TABLE_COLUMNS_MAX]; /* owned */
	enum tone tones[TABLE_COLUMNS_MAX];
};

struct table {
	const char *titles[TABLE_COLUMNS_MAX]; /* borrowed */
	bool right[TABLE_COLUMNS_MAX];
	size_t n, left_out;
	struct row *first, **last;
};

struct table *table_new(const char *const *titles)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->last = &table->first;
	for (; titles[table->n] && table->n < TABLE_COLUMNS_MAX; table->n++) {
		const char *title = titles[table->n];

		table->right[table->n] = title[0] == '>';
		table->titles[table->n] = title + (title[0] == '>');
	}
	return table;
}

static void row_free(struct row *row)
{
	for (size_t i = 0; i < TABLE_COLUMNS_MAX; i++)
		free(row->cells[i]);
	free(row);
}

struct table *table_free(struct table *table)
{
	struct row *row = table ? table->first : NULL;

	while (row) {
		struct row *following = row->next;

		row_free(row);
		row = following;
	}
	free(table);
	return NULL;
}

void table_row(struct table *table, const char *const *cells, const enum tone *tones)
{
	struct row *row = table ? calloc(1, sizeof(*row)) : NULL;

	if (!row) {
		if (table)
			table->left_out++;
		return;
	}
	for (size_t i = 0; i < table->n; i++) {
		row->cells[i] = strdup(cells[i] && cells[i][0] ? cells[i] : "-");
		row->tones[i] = tones ? tones[i] : TONE_PLAIN;
		if (!row->cells[i]) {
			row_free(row);
			table->left_out++;
			return;
		}
	}
	*table->last = row;
	table->last = &row->next;
}

static size_t max_of(size_t a, size_t b)
{
	return a > b ? a : b;
}

static size_t sum_of(const struct table *table, const size_t *widths)
{
	size_t sum = GAP * (table->n - 1);

	for (size_t i = 0; i < table->n; i++)
		sum += widths[i];
	return sum;
}

/* False: it does not fit as columns. */
static bool fit(const struct table *table, size_t width, size_t *widths)
{
	size_t least[TABLE_COLUMNS_MAX];

	for (size_t i = 0; i < table->n; i++) {
		widths[i] = strlen(table->titles[i]);
		for (const struct row *row = table->first; row; row = row->next)
			widths[i] =
				max_of(widths[i], columns_of(row->cells[i], strlen(row->cells[i])));
		least[i] = max_of(strlen(table->titles[i]), NARROW);
		/* A number cut in two is another number; the last column is prose. */
		if (table->right[i])
			least[i] = widths[i];
		else if (i == table->n - 1 && widths[i] > 2 * NARROW)
			least[i] = 2 * NARROW;
	}
	while (sum_of(table, widths) > width) {
		size_t widest = table->n;

		for (size_t i = 0; i < table->n; i++)
			if (widths[i] > least[i] &&
			    (widest == table->n || widths[i] >= widths[widest]))
				widest = i;
		if (widest == table->n)
			return false;
		widths[widest]--;
	}
	return true;
}

static void print_titles(const struct table *table, const struct terminal *terminal,
                         const size_t *widths)
{
	for (size_t i = 0; i < table->n; i++) {
		size_t space = widths[i] - strlen(table->titles[i]);

		pad(terminal, (i ? GAP : 0) + (table->right[i] ? space : 0));
		terminal_text(terminal, TONE_DIM, table->titles[i]);
		if (!table->right[i] && i < table->n - 1)
			pad(terminal, space);
	}
	fputc('\n', terminal->out);
}

/* One cell's part of a line; moves *cell on. `behind`: columns not written yet. */
static void print_part(const struct terminal *terminal, const char **cell, size_t width, bool right,
                       enum tone tone, size_t *behind)
{
	size_t len = line_of(*cell, width), shown = trimmed(*cell, len);
	size_t columns = columns_of(*cell, shown);

	if (shown) {
		pad(terminal, *behind + (right ? width - columns : 0));
		tone_begin(terminal, tone);
		put(terminal, *cell, shown);
		tone_end(terminal, tone);
		*behind = right ? 0 : width - columns;
	} else {
		*behind += width;
	}
	*cell = skip_blanks(*cell + len);
}

static void print_row(const struct table *table, const struct row *row,
                      const struct terminal *terminal, const size_t *widths)
{
	const char *rest[TABLE_COLUMNS_MAX];
	bool more = true;

	for (size_t i = 0; i < table->n; i++)
		rest[i] = skip_blanks(row->cells[i]);
	while (more) {
		size_t behind = 0;

		more = false;
		for (size_t i = 0; i < table->n; i++) {
			behind += i ? GAP : 0;
			print_part(terminal, &rest[i], widths[i], table->right[i], row->tones[i],
			           &behind);
			more = more || *rest[i];
		}
		fputc('\n', terminal->out);
	}
}

static void print_stacked(const struct table *table, const struct row *row,
                          const struct terminal *terminal)
{
	for (size_t i = 0; i < table->n; i++) {
		size_t title = strlen(table->titles[i]);
		const char *cell = skip_blanks(row->cells[i]);
		size_t room =
			terminal->width > title + 2 + NARROW ? terminal->width - title - 2 : NARROW;
		size_t len = line_of(cell, room);

		terminal_text(terminal, TONE_DIM, table->titles[i]);
		fputs(": ", terminal->out);
		tone_begin(terminal, row->tones[i]);
		put(terminal, cell, trimmed(cell, len));
		tone_end(terminal, row->tones[i]);
		fputc('\n', terminal->out);
		terminal_wrap(terminal, 2, row->tones[i], cell + len);
	}
	if (row->next)
		fputc('\n', terminal->out);
}

void table_print(const struct table *table, const struct terminal *terminal)
{
	size_t widths[TABLE_COLUMNS_MAX];
	bool columns;

	if (!table) {
		fputs("(no memory for a table)\n", terminal->out);
		return;
	}
	columns = fit(table, terminal->width, widths);
	if (columns && table->first)
		print_titles(table, terminal, widths);
	for (const struct row *row = table->first; row; row = row->next) {
		if (columns)
			print_row(table, row, terminal, widths);
		else
			print_stacked(table, row, terminal);
	}
	if (table->left_out)
		fprintf(terminal->out, "(no memory for %zu more rows)\n", table->left_out);
}
