#include "io/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

/* Plain scalars: YAML 1.2.2, section 10.3.2. */

static bool one_of(const char *text, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(text, *names) == 0)
			return true;
	return false;
}

static bool all_of(const char *text, const char *digits)
{
	return *text && text[strspn(text, digits)] == '\0';
}

static bool is_integer(const char *text)
{
	if (strncmp(text, "0o", 2) == 0)
		return all_of(text + 2, "01234567");
	if (strncmp(text, "0x", 2) == 0)
		return all_of(text + 2, "0123456789abcdefABCDEF");
	return all_of(text + (*text == '-' || *text == '+'), "0123456789");
}

static bool is_float(const char *text)
{
	static const char *const infinite[] = { ".inf", ".Inf", ".INF", NULL };
	static const char *const none[] = { ".nan", ".NaN", ".NAN", NULL };
	const char *at = text + (*text == '-' || *text == '+');
	size_t whole, fraction = 0;

	if (one_of(at, infinite) || one_of(text, none))
		return true;
	whole = strspn(at, "0123456789");
	at += whole;
	if (*at == '.') {
		fraction = strspn(at + 1, "0123456789");
		at += 1 + fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*at != 'e' && *at != 'E')
		return *at == '\0';
	at++;
	return all_of(at + (*at == '-' || *at == '+'), "0123456789");
}

enum yaml_type yaml_plain_type(const char *text)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const bools[] = {
		"true", "True", "TRUE", "false", "False", "FALSE", NULL
	};

	if (one_of(text, nulls))
		return YAML_NULL;
	if (one_of(text, bools))
		return YAML_BOOL;
	if (is_integer(text))
		return YAML_INT;
	return is_float(text) ? YAML_FLOAT : YAML_TEXT;
}

void yaml_node_clear(struct yaml_node *node)
{
	for (size_t i = 0; i < node->n; i++) {
		if (node->keys)
			yaml_node_clear(&node->keys[i]);
		yaml_node_clear(&node->items[i]);
	}
	free(node->keys);
	free(node->items);
	free(node->text);
	*node = (struct yaml_node){ .type = YAML_NULL };
}

struct yaml_node *yaml_node_free(struct yaml_node *node)
{
	if (node)
		yaml_node_clear(node);
	free(node);
	return NULL;
}

const char *yaml_type_name(enum yaml_type type)
{
	static const char *const names[] = {
		[YAML_NULL] = "nothing",   [YAML_BOOL] = "true or false", [YAML_INT] = "an integer",
		[YAML_FLOAT] = "a number", [YAML_TEXT] = "text",          [YAML_LIST] = "a list",
		[YAML_MAP] = "a map",
	};

	return names[type];
}

/*
 * What no int64_t holds is a number without being an integer; what no number
 * can hold is text, as go-yaml has it: kubectl prints a label 12e4567 and an
 * annotation 0x71c7656ec7ab88b098defb751b7401b5f6d8976f without quotes.
 */
static struct json_object *integer_to_json(const char *text)
{
	int64_t value;
	double wide;

	if (parse_i64(text, &value) == 0)
		return json_object_new_int64(value);
	if (parse_double(text, &wide) == 0)
		return json_object_new_double(wide);
	return json_object_new_string(text);
}

static struct json_object *scalar_to_json(const struct yaml_node *node)
{
	double value;

	switch (node->type) {
	case YAML_BOOL:
		return json_object_new_boolean(node->text[0] == 't' || node->text[0] == 'T');
	case YAML_INT:
		return integer_to_json(node->text);
	case YAML_FLOAT:
		if (parse_double(node->text, &value) == 0)
			return json_object_new_double(value);
		/* Infinities have no place in an object. */
		return json_object_new_string(node->text);
	default:
		return json_object_new_string_len(node->text, (int)node->len);
	}
}

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
}

static int list_to_json(const struct yaml_node *node, struct json_object **out)
{
	cleanup(json_putp) struct json_object *list = json_object_new_array();

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < node->n; i++) {
		struct json_object *item = NULL;
		int r = yaml_to_json(&node->items[i], &item);

		if (r == 0 && json_object_array_add(list, item) < 0) {
			json_object_put(item);
			r = -ENOMEM;
		}
		if (r < 0)
			return r;
	}
	*out = take_ptr(list);
	return 0;
}

static int map_to_json(const struct yaml_node *node, struct json_object **out)
{
	cleanup(json_putp) struct json_object *map = json_object_new_object();

	if (!map)
		return -ENOMEM;
	for (size_t i = 0; i < node->n; i++) {
		struct json_object *item = NULL;
		int r = yaml_to_json(&node->items[i], &item);

		/* Duplicates were refused when the map was read. */
		if (r == 0 && json_object_object_add_ex(map, node->keys[i].text, item,
		                                        JSON_C_OBJECT_ADD_KEY_IS_NEW) < 0) {
			json_object_put(item);
			r = -ENOMEM;
		}
		if (r < 0)
			return r;
	}
	*out = take_ptr(map);
	return 0;
}

int yaml_to_json(const struct yaml_node *node, struct json_object **out)
{
	switch (node->type) {
	case YAML_NULL:
		*out = NULL; /* json-c's null */
		return 0;
	case YAML_LIST:
		return list_to_json(node, out);
	case YAML_MAP:
		return map_to_json(node, out);
	default:
		*out = scalar_to_json(node);
		return *out ? 0 : -ENOMEM;
	}
}
