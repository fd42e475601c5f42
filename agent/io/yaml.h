/*
 * YAML (and so JSON), strictly and bounded, by libyaml's events.
 *
 * Anchors, aliases, tags, directives, duplicate keys and keys that are no text
 * are refused; plain scalars are typed as YAML 1.2's core schema says (null,
 * true, false, integers, floats), quoted ones are text. Two forms: a tree with positions for the configuration,
 * and one json-c object at a time for Kubernetes objects.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

struct yaml_error {
	size_t line, column; /* from 1; 0: of the whole */
	char text[160];
};

enum yaml_type { YAML_NULL, YAML_BOOL, YAML_INT, YAML_FLOAT, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_type type;
	size_t line, column;
	char *text; /* owned; the scalar as written (without quotes); NULL of lists and maps */
	size_t len; /* of text; NUL within it occurs only in objects, never in keys */
	struct yaml_node *keys;  /* of a map: n text nodes with their positions */
	struct yaml_node *items; /* of a list or a map: n values */
	size_t n;
};

/* The only document; an empty file gives YAML_NULL. -EINVAL with *error, or -ENOMEM. */
int yaml_document(const char *data, size_t len, struct yaml_node **out, struct yaml_error *error);
struct yaml_node *yaml_node_free(struct yaml_node *node);
void yaml_node_clear(struct yaml_node *node);    /* of a node that is part of something else */
const char *yaml_type_name(enum yaml_type type); /* "text", "list" … for messages */

/*
 * Calls fn for every object in every document; of a document that is a List
 * (a map with `items` and a kind that ends in List) for every item, one at a time,
 * so that the whole is never in memory. fn borrows the object (it may take a reference); nonzero ends and is returned.
 * A list may hold what is no object, also null, which is NULL here.
 * Objects before a syntax error were delivered: the caller decides what that means.
 */
typedef int (*yaml_object_fn)(void *user, struct json_object *object, size_t line);
int yaml_objects(const char *data, size_t len, yaml_object_fn fn, void *user,
                 struct yaml_error *error);

/* What an unquoted scalar is. */
enum yaml_type yaml_plain_type(const char *text);
/* *out is json-c's null, NULL, for YAML_NULL. */
int yaml_to_json(const struct yaml_node *node, struct json_object **out);

const char *yaml_version(void); /* of libyaml */
