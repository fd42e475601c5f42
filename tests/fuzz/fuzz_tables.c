/* sources: agent/tables.c agent/terminal.c */
/*
 * What the client commands make of an answer of an agent that means it ill:
 * no byte reaches the terminal that could do anything there but begin a line.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* C0 but the line feed, DEL, and C1 as UTF-8 has it. */
static void harmless(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		assert(c == '\n' || (c >= 0x20 && c != 0x7f));
		if (c == 0xc2 && i + 1 < len)
			assert((unsigned char)text[i + 1] >= 0xa0);
	}
}

static void print_all(const struct terminal *terminal, struct json_object *object)
{
	struct json_object *items = tables_items(object);
	char reason[TABLES_REASON_MAX];

	(void)tables_judge_status(object, reason);
	assert(memchr(reason, '\0', sizeof(reason)));
	(void)tables_judge_check(object, reason);
	tables_status(terminal, object);
	tables_check(terminal, object);
	tables_explain(terminal, object);
	if (!items)
		return;
	tables_subjects(terminal, items);
	tables_violations(terminal, items);
	tables_flows(terminal, items);
	tables_gateways(terminal, items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_tokener *tokener = json_tokener_new();
	struct terminal terminal = { .width = size % 200 };
	struct json_object *object;
	char *text = NULL;
	size_t len = 0;

	assert(tokener);
	object = json_tokener_parse_ex(tokener, (const char *)data, (int)size);
	json_tokener_free(tokener);
	if (!json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		return 0;
	}
	terminal.out = open_memstream(&text, &len);
	assert(terminal.out);
	print_all(&terminal, object);
	terminal_json(terminal.out,
	              json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY));
	fclose(terminal.out);
	harmless(text, len);
	free(text);
	json_object_put(object);
	return 0;
}
