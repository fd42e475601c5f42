/* sources: agent/io/yaml.c agent/io/yaml_value.c */
/*
 * Positions lie within the file, a tree's as an error's; what one form refuses
 * for its syntax the other refuses at the same place.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "io/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct extent {
	size_t lines, len;
};

static void check_position(const struct extent *file, size_t line, size_t column)
{
	assert(line >= 1 && line <= file->lines + 1);
	assert(column >= 1 && column <= file->len + 1);
}

static void check_tree(const struct extent *file, const struct yaml_node *node)
{
	check_position(file, node->line, node->column);
	assert((node->type == YAML_MAP) >= (node->keys != NULL));
	if (node->type == YAML_LIST || node->type == YAML_MAP) {
		assert(!node->text);
	} else if (node->text) {
		assert(strlen(node->text) == node->len);
	}
	for (size_t i = 0; i < node->n; i++) {
		if (node->type == YAML_MAP)
			check_tree(file, &node->keys[i]);
		for (size_t j = 0; node->type == YAML_MAP && j < i && i < 16; j++)
			assert(strcmp(node->keys[i].text, node->keys[j].text) != 0);
		check_tree(file, &node->items[i]);
	}
}

static int on_object(void *user, struct json_object *object, size_t line)
{
	const struct extent *file = user;

	assert(line >= 1 && line <= file->lines + 1);
	if (object)
		assert(json_object_to_json_string(object));
	return 0;
}

static void check_error(const struct extent *file, int r, const struct yaml_error *error)
{
	assert(r == 0 || r == -EINVAL || r == -ENOMEM);
	if (r != -EINVAL)
		return;
	check_position(file, error->line, error->column);
	assert(error->text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct extent file = { .len = size };
	struct yaml_error error = { 0 };
	struct yaml_node *root = NULL;
	int r;

	/* What libyaml takes for a line break: LF, CR, NEL, LS, PS; never more than the bytes. */
	for (size_t i = 0; i < size; i++)
		file.lines += text[i] == '\n' || text[i] == '\r' || (unsigned char)text[i] >= 0x80;

	file.lines += 1; /* libyaml ends a last line that has no end */

	r = yaml_document(text, size, &root, &error);
	check_error(&file, r, &error);
	assert((r == 0) == (root != NULL));
	if (root)
		check_tree(&file, root);
	yaml_node_free(root);

	error = (struct yaml_error){ 0 };
	r = yaml_objects(text, size, on_object, &file, &error);
	check_error(&file, r, &error);
	return 0;
}
