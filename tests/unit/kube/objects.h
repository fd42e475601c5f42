/* Objects as text, decoded; for the tests of this folder. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/decode.h"
#include "base/ip.h"

/* The JSON of `text`, where ' stands for "; the caller puts it. */
static inline struct json_object *object_of(const char *text)
{
	char *json = strdup(text);
	struct json_object *object;

	assert_non_null(json);
	for (char *p = json; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	object = json_tokener_parse(json);
	if (!object)
		fail_msg("no JSON: %.200s", json);
	free(json);
	return object;
}

/* {"metadata": {namespace, name, uid, `meta`}, `rest`} */
#define OBJECT(meta, rest) \
	"{'metadata':{'namespace':'payments','name':'blue','uid':'u-1'" meta "}" rest "}"

struct bad_row {
	const char *text, *error;
};

/* Decodes with `decode`, a function of (object, out, error); checks the reason and that all is cleared. */
#define CHECK_BAD(rows, decode, type)                                      \
	for (size_t i_ = 0; i_ < sizeof(rows) / sizeof((rows)[0]); i_++) { \
		static const type zero_;                                   \
		struct json_object *object_ = object_of((rows)[i_].text);  \
		struct decode_error error_ = { "" };                       \
		type out_;                                                 \
                                                                           \
		memset(&out_, 0x5a, sizeof(out_));                         \
		if (decode(object_, &out_, &error_) != -EINVAL)            \
			fail_msg("taken: %s", (rows)[i_].text);            \
		assert_string_equal(error_.text, (rows)[i_].error);        \
		assert_memory_equal(&out_, &zero_, sizeof(out_));          \
		json_object_put(object_);                                  \
	}

/* `n` times `item`, `separator` between them; the caller frees. */
static inline char *repeat(const char *before, const char *item, const char *separator, size_t n,
                           const char *after)
{
	struct buf buf = BUF_INIT(64u << 20);

	buf_text(&buf, before);
	for (size_t i = 0; i < n; i++)
		buf_format(&buf, "%s%s", i ? separator : "", item);
	buf_text(&buf, after);
	assert_int_equal(buf.error, 0);
	return buf.data;
}
