/* Numbers, durations and sizes: the whole text or nothing; text as JSON reads back. */
#undef NDEBUG
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/encode.h"
#include "base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void number(const char *text)
{
	uint64_t value = 77, again;
	char printed[32];
	int r = parse_u64(text, UINT64_MAX, &value);

	if (r < 0) {
		assert(value == 77);
		return;
	}
	snprintf(printed, sizeof(printed), "%" PRIu64, value);
	assert(parse_u64(printed, value, &again) == 0 && again == value);
	assert(value == 0 || parse_u64(printed, value - 1, &again) < 0);
	assert(strcmp(printed, text + strspn(text, "0")) == 0 || value == 0);
}

/* More text behind a good one makes it another or none, never the same with rubbish. */
static void with_unit(const char *text, int (*parse)(const char *, uint64_t *))
{
	uint64_t value = 77;
	char longer[80];

	if (parse(text, &value) < 0) {
		assert(value == 77);
		return;
	}
	snprintf(longer, sizeof(longer), "%s ", text);
	assert(parse(longer, &value) < 0);
	snprintf(longer, sizeof(longer), "-%s", text);
	assert(parse(longer, &value) < 0);
}

/* Whatever the bytes, the output is one valid JSON text. */
static void as_json(const char *text)
{
	struct buf buf = BUF_INIT(4096);
	struct encode e = ENCODE_INIT(&buf);
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	encode_array(&e, NULL);
	encode_text(&e, NULL, text);
	encode_array_end(&e);
	assert(buf.error == 0);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, buf.data, (int)buf.len + 1);
	assert(json_tokener_get_error(tokener) == json_tokener_success);
	assert(json_object_array_length(object) == 1);
	json_object_put(object);
	json_tokener_free(tokener);
	buf_clear(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[64];
	bool truth;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	number(text);
	with_unit(text, parse_duration);
	with_unit(text, parse_size);
	assert(parse_bool(text, &truth) < 0 || strcmp(text, truth ? "true" : "false") == 0);
	as_json(text);
	return 0;
}
