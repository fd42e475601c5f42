/*
 * JSON compared with a file of the repository, to the last character after both are indented.
 *
 * GOLDEN_WRITE=yes writes the files anew; a test that did fails all the same, so that what was
 * written is looked at and not taken for a success.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#define GOLDEN_MAX (1u << 20)

/* Strict, the whole text, and of nothing twice: written again it is the same, but for escapes. */
static struct json_object *golden_parse(const char *json)
{
	struct json_tokener *tokener = json_tokener_new_ex(32);
	struct json_object *object;

	assert_non_null(tokener);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, json, (int)strlen(json));
	if (json_tokener_get_error(tokener) != json_tokener_success)
		fail_msg("%s\nis no JSON at byte %zu: %s", json,
		         json_tokener_get_parse_end(tokener),
		         json_tokener_error_desc(json_tokener_get_error(tokener)));
	assert_int_equal(json_tokener_get_parse_end(tokener), strlen(json));
	json_tokener_free(tokener);
	return object;
}

static void golden_compare(const char *path, const char *json)
{
	const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
	struct json_object *object = golden_parse(json);
	const char *text = json_object_to_json_string_ext(object, flags), *write;
	static char expected[GOLDEN_MAX];
	FILE *file;
	size_t n;

	write = getenv("GOLDEN_WRITE");
	if (write && strcmp(write, "yes") == 0) {
		file = fopen(path, "w");
		assert_non_null(file);
		assert_true(fprintf(file, "%s\n", text) > 0);
		assert_int_equal(fclose(file), 0);
		json_object_put(object);
		fail_msg("%s was written: look at the difference", path);
	}
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s cannot be read: run it in the repository's root", path);
	n = fread(expected, 1, sizeof(expected) - 1, file);
	expected[n] = '\0';
	fclose(file);
	if (n == 0 || expected[n - 1] != '\n')
		fail_msg("%s has no last line", path);
	expected[n - 1] = '\0';
	assert_string_equal(text, expected);
	json_object_put(object);
}
