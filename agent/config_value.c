#include "config_value.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

DEFINE_FREEP(struct yaml_node, yaml_node)

/* Names and values come from the file: they must not break the line. */
static void keep_to_one_line(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)text[0], d = (unsigned char)text[1];

		if (c < 0x20 || c == 0x7f)
			*text = '?';
		else if (c == 0xc2 && d >= 0x80 && d < 0xa0) /* U+0080 to U+009F move terminals */
			text[0] = text[1] = '?';
	}
}

static int fail_with(struct config_reading *in, size_t line, size_t column, const char *format,
                     va_list args)
{
	int n = snprintf(in->error, CONFIG_ERROR_MAX, "%.200s:%zu:%zu: ", in->file, line, column);

	vsnprintf(in->error + n, CONFIG_ERROR_MAX - (size_t)n, format, args);
	keep_to_one_line(in->error);
	return -EINVAL;
}

int config_fail(struct config_reading *in, size_t line, size_t column, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail_with(in, line, column, format, args);
	va_end(args);
	return -EINVAL;
}

void config_fail_whole(struct config_reading *in, const char *why)
{
	snprintf(in->error, CONFIG_ERROR_MAX, "%.400s: %s", in->file, why);
	keep_to_one_line(in->error);
}

int config_refuse(struct config_reading *in, const struct yaml_node *value, const char *path,
                  const char *format, ...)
{
	char expected[160];
	va_list args;

	va_start(args, format);
	vsnprintf(expected, sizeof(expected), format, args);
	va_end(args);

	if (value->type == YAML_TEXT)
		return config_fail(in, value->line, value->column, "%s: expected %s, got \"%.60s\"",
		                   path, expected, value->text);
	if (value->type == YAML_NULL || !value->text)
		return config_fail(in, value->line, value->column, "%s: expected %s, got %s", path,
		                   expected, yaml_type_name(value->type));
	return config_fail(in, value->line, value->column, "%s: expected %s, got %.60s", path,
	                   expected, value->text);
}

/* "a.b" below prefix "x" is "x.a.b". Returns buf. */
static const char *join(const char *prefix, const char *key, char buf[static CONFIG_PATH_MAX])
{
	int n = snprintf(buf, CONFIG_PATH_MAX, "%.100s%s", prefix, *prefix ? "." : "");

	snprintf(buf + n, CONFIG_PATH_MAX - (size_t)n, "%.50s", key);
	return buf;
}

static bool is_below(const char *key, const char *section)
{
	size_t n = strlen(section);

	return n == 0 || (strncmp(key, section, n) == 0 && key[n] == '.');
}

/* The names that may stand in `section` of the table: "interval, timeout". Returns buf. */
static const char *names_in(const struct config_field *fields, const char *section, char *buf,
                            size_t size)
{
	size_t skip = *section ? strlen(section) + 1 : 0, len = 0;
	const char *last = "";

	buf[0] = '\0';
	for (; fields->key && len < size; fields++) {
		const char *name = fields->key + skip;
		size_t n;

		if (!is_below(fields->key, section))
			continue;
		n = strcspn(name, ".");
		/* One name for all of a section's keys, which stand together. */
		if (strncmp(name, last, n) == 0 && (last[n] == '.' || last[n] == '\0'))
			continue;
		len += (size_t)snprintf(buf + len, size - len, "%s%.*s", len ? ", " : "", (int)n,
		                        name);
		last = name;
	}
	return buf;
}

struct walk {
	struct config_reading *in;
	const struct config_field *fields;
	const char *prefix;
	char *dest;
	uint64_t seen; /* a bit per field */
};

static int walk_map(struct walk *walk, const struct yaml_node *map, const char *section);

static const struct config_field *find_field(const struct config_field *fields, const char *key)
{
	for (; fields->key; fields++)
		if (strcmp(fields->key, key) == 0)
			return fields;
	return NULL;
}

static bool is_section(const struct config_field *fields, const char *key)
{
	for (; fields->key; fields++)
		if (is_below(fields->key, key))
			return true;
	return false;
}

static int walk_member(struct walk *walk, const struct yaml_node *name,
                       const struct yaml_node *value, const char *section)
{
	char key[CONFIG_PATH_MAX], path[CONFIG_PATH_MAX], names[200];
	const struct config_field *field;

	/* A key with a dot is not the way to write a section. */
	join(section, name->text, key);
	join(walk->prefix, key, path);
	field = strchr(name->text, '.') ? NULL : find_field(walk->fields, key);
	if (field) {
		walk->seen |= 1ULL << (field - walk->fields);
		return field->decode(walk->in, value, path, walk->dest + field->offset);
	}
	if (strchr(name->text, '.') || !*name->text || !is_section(walk->fields, key))
		return config_fail(walk->in, name->line, name->column,
		                   "%s: unknown key, expected one of %s", path,
		                   names_in(walk->fields, section, names, sizeof(names)));
	if (value->type == YAML_NULL) /* a section whose keys are all commented out */
		return 0;
	if (value->type != YAML_MAP)
		return config_refuse(walk->in, value, path, "a map of %s",
		                     names_in(walk->fields, key, names, sizeof(names)));
	return walk_map(walk, value, key);
}

/* Sections nest only as deep as the table's keys. */
static int walk_map(struct walk *walk, const struct yaml_node *map, const char *section)
{
	for (size_t i = 0; i < map->n; i++) {
		int r = walk_member(walk, &map->keys[i], &map->items[i], section);

		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_in(struct walk *walk, const struct config_field *field)
{
	cleanup(yaml_node_freep) struct yaml_node *value = NULL;
	struct yaml_error error;
	int r;

	r = yaml_document(field->fallback, strlen(field->fallback), &value, &error);
	assert(r != -EINVAL);
	if (r == 0)
		r = field->decode(walk->in, value, field->key, walk->dest + field->offset);
	assert(r != -EINVAL);
	return r;
}

int config_map(struct config_reading *in, const struct yaml_node *map, const char *prefix,
               const struct config_field *fields, void *dest)
{
	struct walk walk = { in, fields, prefix, dest, 0 };
	char path[CONFIG_PATH_MAX], names[200];
	int r;

	if (map->type != YAML_MAP && !(map->type == YAML_NULL && !*prefix))
		return config_refuse(in, map, *prefix ? prefix : "the file", "a map of %s",
		                     names_in(fields, "", names, sizeof(names)));
	r = walk_map(&walk, map, "");
	if (r < 0)
		return r;

	for (size_t i = 0; fields[i].key; i++) {
		assert(i < 64);
		if (walk.seen & 1ULL << i)
			continue;
		if (fields[i].required)
			return config_fail(in, map->line, map->column,
			                   "%s: expected a value, it has no default, got none",
			                   join(prefix, fields[i].key, path));
		r = fields[i].fallback ? fill_in(&walk, &fields[i]) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int config_list(struct config_reading *in, const struct yaml_node *list, const char *path,
                size_t max, config_item_fn fn, void *dest, size_t *n)
{
	char item_path[CONFIG_PATH_MAX];

	if (list->type != YAML_LIST)
		return config_refuse(in, list, path, "a list");
	if (list->n > max)
		return config_fail(in, list->line, list->column,
		                   "%s: expected at most %zu entries, got %zu", path, max, list->n);
	for (size_t i = 0; i < list->n; i++) {
		int r;

		snprintf(item_path, sizeof(item_path), "%.120s[%zu]", path, i);
		*n = i + 1;
		r = fn(in, &list->items[i], item_path, i, dest);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct yaml_node *config_find(const struct yaml_node *root, const char *path)
{
	while (root && *path) {
		const struct yaml_node *found = NULL;
		size_t n = strcspn(path, ".");

		for (size_t i = 0; root->type == YAML_MAP && i < root->n; i++)
			if (strlen(root->keys[i].text) == n &&
			    strncmp(root->keys[i].text, path, n) == 0)
				found = &root->items[i];
		root = found;
		path += n + (path[n] == '.');
	}
	return root;
}

int config_text(struct config_reading *in, const struct yaml_node *value, const char *path,
                void *dest)
{
	char *copy;

	if (value->type != YAML_TEXT)
		return config_refuse(in, value, path, "text");
	copy = strdup(value->text);
	if (!copy)
		return -ENOMEM;
	free(*(char **)dest);
	*(char **)dest = copy;
	return 0;
}

int config_bool(struct config_reading *in, const struct yaml_node *value, const char *path,
                void *dest)
{
	if (value->type != YAML_BOOL)
		return config_refuse(in, value, path, "true or false");
	*(bool *)dest = value->text[0] == 't' || value->text[0] == 'T';
	return 0;
}

int config_duration(struct config_reading *in, const struct yaml_node *value, const char *path,
                    uint64_t min_ns, uint64_t max_ns, const char *range, uint64_t *dest)
{
	uint64_t ns;
	int r;

	r = value->type == YAML_TEXT ? parse_duration(value->text, &ns) : -EINVAL;
	if (r == -EINVAL)
		return config_refuse(in, value, path, "a duration such as 500ms, 30s or 1m30s");
	if (r < 0 || ns < min_ns || ns > max_ns)
		return config_refuse(in, value, path, "a duration of %s", range);
	*dest = ns;
	return 0;
}

bool config_consists_of(const char *text, const char *allowed, size_t max)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, allowed) == len;
}
