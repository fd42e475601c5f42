/*
 * Text for people: tables that fit a width, wrapped paragraphs, colour where
 * there is a terminal.
 *
 * Whatever is printed comes from pods and networks: control characters and bad
 * UTF-8 never reach the terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum tone { TONE_PLAIN, TONE_GOOD, TONE_BAD, TONE_WARN, TONE_DIM, TONE_BOLD };

struct terminal {
	FILE *out;
	size_t width; /* columns */
	bool colour;
};

/* The width of the terminal, else 80; colour only there, and never with NO_COLOR. */
struct terminal terminal_of(FILE *out);

/* One line or part of it, cleaned. */
void terminal_text(const struct terminal *terminal, enum tone tone, const char *text);
/* JSON as it is, but that no text in it can do anything to a terminal. */
void terminal_json(FILE *out, const char *text);
/* A paragraph: wrapped, each line indented. */
void terminal_wrap(const struct terminal *terminal, size_t indent, enum tone tone,
                   const char *text);

enum { TABLE_COLUMNS_MAX = 8 };

struct table;

/* Titles end with NULL; one that begins with '>' is set to the right. NULL: no memory. */
struct table *table_new(const char *const *titles);
struct table *table_free(struct table *table);
/* One cell per column; a NULL is "-". Without memory the row is left out, and said so at the end. */
void table_row(struct table *table, const char *const *cells, const enum tone *tones);
/*
 * Columns get what they need; what is too wide wraps, the widest column first.
 * Where columns would become narrower than a word, each row becomes lines of
 * "title: cell".
 */
void table_print(const struct table *table, const struct terminal *terminal);
