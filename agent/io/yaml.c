#include "io/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/cleanup.h"
#include "limits.h"

/* One pass over libyaml's events; `event` is the last one read. */
struct reader {
	yaml_parser_t parser;
	yaml_event_t event;
	struct yaml_error *error;
	const char *data; /* borrowed */
	size_t len;
	size_t nodes, nodes_max;
	bool with_nul; /* text may hold NUL: JSON's may, and one pod's must not refuse all pods */
};

static int fail_at(struct yaml_error *error, size_t line, size_t column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail_at(struct yaml_error *error, size_t line, size_t column, const char *format, ...)
{
	va_list args;

	*error = (struct yaml_error){ .line = line, .column = column };
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return -EINVAL;
}

/* At the last event; libyaml counts from 0. */
static int fail_here(struct reader *reader, const char *text)
{
	const yaml_mark_t *mark = &reader->event.start_mark;

	return fail_at(reader->error, mark->line + 1, mark->column + 1, "%s", text);
}

/* Bytes that are no text are refused before they have a line. */
static yaml_mark_t mark_of(const struct reader *reader, size_t offset)
{
	yaml_mark_t mark = { 0 };

	for (size_t i = 0; i < offset && i < reader->len; i++) {
		if (reader->data[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if (((unsigned char)reader->data[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

static int parser_failed(struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	yaml_mark_t mark = parser->problem_mark;
	const char *problem = parser->problem ? parser->problem : "not YAML";

	if (parser->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (parser->error == YAML_READER_ERROR)
		mark = mark_of(reader, parser->problem_offset);
	return fail_at(reader->error, mark.line + 1, mark.column + 1, "%s", problem);
}

/* What makes one text mean another: refused wherever it occurs. */
static int refuse_indirection(struct reader *reader)
{
	const yaml_event_t *event = &reader->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return fail_here(reader, "aliases are not accepted");
	case YAML_DOCUMENT_START_EVENT:
		if (event->data.document_start.version_directive ||
		    event->data.document_start.tag_directives.start !=
		            event->data.document_start.tag_directives.end)
			return fail_here(reader, "directives are not accepted");
		return 0;
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default:
		return 0;
	}
	if (anchor)
		return fail_here(reader, "anchors are not accepted");
	if (tag)
		return fail_here(reader, "tags are not accepted");
	return 0;
}

static int next(struct reader *reader)
{
	yaml_event_delete(&reader->event);
	if (!yaml_parser_parse(&reader->parser, &reader->event))
		return parser_failed(reader);
	return refuse_indirection(reader);
}

static int reader_init(struct reader *reader, const char *data, size_t len, size_t nodes_max,
                       struct yaml_error *error)
{
	*reader = (struct reader){
		.error = error,
		.data = data,
		.len = len,
		.nodes_max = nodes_max,
	};
	*error = (struct yaml_error){ 0 };
	if (!yaml_parser_initialize(&reader->parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&reader->parser, (const unsigned char *)data, len);
	return 0;
}

static void reader_clear(struct reader *reader)
{
	yaml_event_delete(&reader->event);
	yaml_parser_delete(&reader->parser);
}

static int read_scalar(struct reader *reader, struct yaml_node *node)
{
	const char *text = (const char *)reader->event.data.scalar.value;
	bool plain = reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	size_t len = reader->event.data.scalar.length;

	if (len > YAML_SCALAR_MAX)
		return fail_here(reader, "text is too long");
	if (!reader->with_nul && memchr(text, '\0', len))
		return fail_here(reader, "text contains NUL");
	node->type = plain ? yaml_plain_type(text) : YAML_TEXT;
	node->text = malloc(len + 1);
	if (!node->text)
		return -ENOMEM;
	memcpy(node->text, text, len + 1);
	node->len = len;
	return 0;
}

/* Room for one more; capacities are the powers of two. */
static int grow(struct yaml_node **items, size_t n)
{
	struct yaml_node *grown;

	if ((n & (n - 1)) == 0) {
		grown = reallocarray(*items, n ? 2 * n : 1, sizeof(**items));
		if (!grown)
			return -ENOMEM;
		*items = grown;
	}
	(*items)[n] = (struct yaml_node){ .type = YAML_NULL };
	return 0;
}

static int by_text(const void *a, const void *b)
{
	const struct yaml_node *x = *(const struct yaml_node *const *)a;
	const struct yaml_node *y = *(const struct yaml_node *const *)b;
	int r = strcmp(x->text, y->text);

	return r ? r : (x > y) - (x < y);
}

/* Sorted, so that a hostile map costs no square of its size. */
static int refuse_duplicates(struct reader *reader, const struct yaml_node *map)
{
	cleanup(mem_freep) const struct yaml_node **sorted = NULL;

	if (map->n < 2)
		return 0;
	sorted = calloc(map->n, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < map->n; i++)
		sorted[i] = &map->keys[i];
	qsort(sorted, map->n, sizeof(*sorted), by_text);

	for (size_t i = 1; i < map->n; i++)
		if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0)
			return fail_at(reader->error, sorted[i]->line, sorted[i]->column,
			               "duplicate key %.80s, first on line %zu", sorted[i]->text,
			               sorted[i - 1]->line);
	return 0;
}

static int read_value(struct reader *reader, unsigned int depth, struct yaml_node *node);

static int read_list(struct reader *reader, unsigned int depth, struct yaml_node *list)
{
	list->type = YAML_LIST;
	for (;;) {
		int r = next(reader);

		if (r < 0 || reader->event.type == YAML_SEQUENCE_END_EVENT)
			return r;
		r = grow(&list->items, list->n);
		if (r < 0)
			return r;
		r = read_value(reader, depth + 1, &list->items[list->n++]);
		if (r < 0)
			return r;
	}
}

/* The current event is the key. */
static int read_key(struct reader *reader, struct yaml_node *key)
{
	int r;

	if (reader->event.type != YAML_SCALAR_EVENT)
		return fail_here(reader, "a key that is no text");
	key->line = reader->event.start_mark.line + 1;
	key->column = reader->event.start_mark.column + 1;
	r = read_scalar(reader, key);
	if (r == 0 && key->type != YAML_TEXT)
		return fail_here(reader, "a key that is no text");
	if (r == 0 && strlen(key->text) != key->len)
		return fail_here(reader, "a key contains NUL");
	return r;
}

static int read_member(struct reader *reader, unsigned int depth, struct yaml_node *map)
{
	size_t i = map->n;
	int r;

	r = grow(&map->keys, i);
	if (r == 0)
		r = grow(&map->items, i);
	if (r < 0)
		return r;
	map->n++;

	r = read_key(reader, &map->keys[i]);
	if (r == 0)
		r = next(reader);
	return r < 0 ? r : read_value(reader, depth + 1, &map->items[i]);
}

static int read_map(struct reader *reader, unsigned int depth, struct yaml_node *map)
{
	map->type = YAML_MAP;
	for (;;) {
		int r = next(reader);

		if (r < 0)
			return r;
		if (reader->event.type == YAML_MAPPING_END_EVENT)
			return refuse_duplicates(reader, map);
		r = read_member(reader, depth, map);
		if (r < 0)
			return r;
	}
}

/* The current event begins the value; afterwards it is its last. Half-read nodes can be freed. */
static int read_value(struct reader *reader, unsigned int depth, struct yaml_node *node)
{
	node->line = reader->event.start_mark.line + 1;
	node->column = reader->event.start_mark.column + 1;
	if (++reader->nodes > reader->nodes_max)
		return fail_here(reader, "too many values");
	if (depth > YAML_DEPTH_MAX)
		return fail_here(reader, "nested too deeply");

	switch (reader->event.type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(reader, node);
	case YAML_SEQUENCE_START_EVENT:
		return read_list(reader, depth, node);
	case YAML_MAPPING_START_EVENT:
		return read_map(reader, depth, node);
	default:
		return fail_here(reader, "a value was expected");
	}
}

DEFINE_FREEP(struct yaml_node, yaml_node)

/* To the next document: 1, or 0 at the end of the stream. */
static int next_document(struct reader *reader)
{
	do {
		int r = next(reader);

		if (r < 0)
			return r;
		if (reader->event.type == YAML_STREAM_END_EVENT)
			return 0;
	} while (reader->event.type != YAML_DOCUMENT_START_EVENT);
	return 1;
}

static int read_only_document(struct reader *reader, struct yaml_node *root)
{
	int r = next_document(reader);

	if (r <= 0)
		return r;
	r = next(reader);
	if (r == 0)
		r = read_value(reader, 0, root);
	if (r < 0)
		return r;
	r = next_document(reader);
	return r == 1 ? fail_here(reader, "a second document; one is expected") : r;
}

int yaml_document(const char *data, size_t len, struct yaml_node **out, struct yaml_error *error)
{
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;
	cleanup(reader_clear) struct reader reader;
	int r;

	r = reader_init(&reader, data, len, YAML_DOCUMENT_NODES_MAX, error);
	if (r < 0)
		return r;
	root = calloc(1, sizeof(*root));
	if (!root)
		return -ENOMEM;
	root->line = root->column = 1;

	r = read_only_document(&reader, root);
	if (r < 0)
		return r;
	*out = take_ptr(root);
	return 0;
}

/* Objects. */

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
}

struct delivery {
	yaml_object_fn fn;
	void *user;
};

static int deliver(const struct delivery *to, const struct yaml_node *node)
{
	cleanup(json_putp) struct json_object *object = NULL;
	int r;

	r = yaml_to_json(node, &object);
	return r < 0 ? r : to->fn(to->user, object, node->line);
}

/* The current event begins the list of `items`. */
static int deliver_items(struct reader *reader, const struct delivery *to)
{
	for (;;) {
		cleanup(yaml_node_freep) struct yaml_node *item = NULL;
		int r = next(reader);

		if (r || reader->event.type == YAML_SEQUENCE_END_EVENT)
			return r;
		item = calloc(1, sizeof(*item));
		if (!item)
			return -ENOMEM;
		reader->nodes = 0;
		r = read_value(reader, 0, item);
		if (r == 0)
			r = deliver(to, item);
		if (r)
			return r;
	}
}

/* The current event is a key of the document's map; `items` are delivered as they come. */
static int read_top_member(struct reader *reader, const struct delivery *to, struct yaml_node *root,
                           bool *is_list)
{
	cleanup(yaml_node_clear) struct yaml_node key = { .type = YAML_NULL };
	int r;

	r = read_key(reader, &key);
	if (r < 0 || strcmp(key.text, "items") != 0)
		return r < 0 ? r : read_member(reader, 0, root);
	if (*is_list)
		return fail_here(reader, "duplicate key items");
	*is_list = true;

	r = next(reader);
	if (r < 0)
		return r;
	if (reader->event.type == YAML_SEQUENCE_START_EVENT)
		return deliver_items(reader, to);
	if (reader->event.type == YAML_SCALAR_EVENT &&
	    reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    yaml_plain_type((const char *)reader->event.data.scalar.value) == YAML_NULL)
		return 0;
	return fail_here(reader, "items: not a list");
}

/*
 * kubectl prints `kind` after the items: a list that was cut between two of them,
 * because it is still being written, is YAML too.
 */
static int expect_list_kind(struct reader *reader, const struct yaml_node *root)
{
	for (size_t i = 0; i < root->n; i++) {
		const struct yaml_node *kind = &root->items[i];

		if (strcmp(root->keys[i].text, "kind") == 0 && kind->type == YAML_TEXT &&
		    kind->len >= 4 && strcmp(kind->text + kind->len - 4, "List") == 0)
			return 0;
	}
	return fail_here(reader, "items without the kind of a List, is the file complete?");
}

static int read_object_document(struct reader *reader, const struct delivery *to)
{
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;
	bool is_list = false;
	int r;

	root = calloc(1, sizeof(*root));
	if (!root)
		return -ENOMEM;
	reader->nodes = 0;
	r = next(reader);
	if (r < 0)
		return r;
	if (reader->event.type != YAML_MAPPING_START_EVENT) {
		r = read_value(reader, 0, root);
		if (r < 0)
			return r;
		/* Separators without anything between them are usual. */
		return root->type == YAML_NULL
		               ? 0
		               : fail_at(reader->error, root->line, root->column,
		                         "not an object but %s", yaml_type_name(root->type));
	}

	*root = (struct yaml_node){ .type = YAML_MAP, .line = reader->event.start_mark.line + 1 };
	for (;;) {
		r = next(reader);
		if (r || reader->event.type == YAML_MAPPING_END_EVENT)
			break;
		r = read_top_member(reader, to, root, &is_list);
		if (r)
			break;
	}
	if (r == 0)
		r = refuse_duplicates(reader, root);
	if (r == 0 && is_list)
		r = expect_list_kind(reader, root);
	return r || is_list ? r : deliver(to, root);
}

const char *yaml_version(void)
{
	return yaml_get_version_string();
}

int yaml_objects(const char *data, size_t len, yaml_object_fn fn, void *user,
                 struct yaml_error *error)
{
	const struct delivery to = { .fn = fn, .user = user };
	cleanup(reader_clear) struct reader reader;
	int r = reader_init(&reader, data, len, YAML_OBJECT_NODES_MAX, error);

	if (r < 0)
		return r;
	reader.with_nul = true;
	for (;;) {
		r = next_document(&reader);
		if (r <= 0)
			return r;
		r = read_object_document(&reader, &to);
		if (r)
			return r;
	}
}
