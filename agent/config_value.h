/*
 * Reading a YAML tree by table, with the position of whatever is wrong.
 *
 * The first fault ends the reading and is one line:
 * "FILE:LINE:COLUMN: KEY: expected …, got …".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/yaml.h"

#define CONFIG_ERROR_MAX 512
#define CONFIG_PATH_MAX 160

struct config_reading {
	const char *file; /* as the user named it */
	char *error;      /* CONFIG_ERROR_MAX bytes */
};

typedef int (*config_decode_fn)(struct config_reading *in, const struct yaml_node *value,
                                const char *path, void *dest);

struct config_field {
	const char *key; /* dotted: "probe.interval" */
	config_decode_fn decode;
	size_t offset;
	const char *fallback; /* YAML, read by the same decoder; NULL: none */
	bool required;
	const char *help; /* of the keys a user sees in --help; else NULL */
};

/*
 * Decodes a map by a table that ends with a field without key. Keys that are
 * not in it are faults. `prefix` is "" or what leads to the map ("probe.echoes[1]").
 */
int config_map(struct config_reading *in, const struct yaml_node *map, const char *prefix,
               const struct config_field *fields, void *dest);

/* Calls fn for every item of a list of at most `max`; *n counts those that were taken or begun. */
typedef int (*config_item_fn)(struct config_reading *in, const struct yaml_node *item,
                              const char *path, size_t index, void *dest);
int config_list(struct config_reading *in, const struct yaml_node *list, const char *path,
                size_t max, config_item_fn fn, void *dest, size_t *n);

/* Format says what was expected; what was got is added. Returns -EINVAL. */
int config_refuse(struct config_reading *in, const struct yaml_node *value, const char *path,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same without "expected" and "got". */
int config_fail(struct config_reading *in, size_t line, size_t column, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Without a place: of the file as a whole. */
void config_fail_whole(struct config_reading *in, const char *why);

/* The value at a dotted path, or NULL. */
const struct yaml_node *config_find(const struct yaml_node *root, const char *path);

int config_text(struct config_reading *in, const struct yaml_node *value, const char *path,
                void *dest); /* char *, owned */
int config_bool(struct config_reading *in, const struct yaml_node *value, const char *path,
                void *dest); /* bool */
int config_duration(struct config_reading *in, const struct yaml_node *value, const char *path,
                    uint64_t min_ns, uint64_t max_ns, const char *range, uint64_t *dest);

#define CONFIG_LOWER "abcdefghijklmnopqrstuvwxyz0123456789-"
#define CONFIG_UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
/* 1 to `max` bytes out of `allowed`. */
bool config_consists_of(const char *text, const char *allowed, size_t max);
