#include "kube/object.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

static void tokener_freep(struct json_tokener **tokener)
{
	if (*tokener)
		json_tokener_free(*tokener);
}

static void object_putp(struct json_object **object)
{
	json_object_put(*object);
}

int kube_object_parse(const char *text, size_t len, size_t max, struct json_object **out,
                      struct decode_error *error)
{
	cleanup(tokener_freep) struct json_tokener *tokener = NULL;
	cleanup(object_putp) struct json_object *object = NULL;
	enum json_tokener_error why;

	if (len > max || len > INT32_MAX) {
		decode_fail(error, "larger than %zu bytes", max);
		return -E2BIG;
	}
	tokener = json_tokener_new_ex(KUBE_DEPTH_MAX);
	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

	object = json_tokener_parse_ex(tokener, text, (int)len);
	why = json_tokener_get_error(tokener);
	if (why == json_tokener_error_depth) {
		decode_fail(error, "nested deeper than %d", KUBE_DEPTH_MAX);
		return -E2BIG;
	}
	if (why == json_tokener_continue)
		return decode_fail(error, "the JSON ends early");
	if (why != json_tokener_success)
		return decode_fail(error, "not JSON at byte %zu: %s",
		                   json_tokener_get_parse_end(tokener),
		                   json_tokener_error_desc(why));
	for (size_t i = json_tokener_get_parse_end(tokener); i < len; i++)
		if (!text[i] || !strchr(" \t\r\n", text[i]))
			return decode_fail(error, "more after the JSON, at byte %zu", i);
	if (!json_object_is_type(object, json_type_object))
		return decode_fail(error, "not an object");

	*out = take_ptr(object);
	return 0;
}

static const char *plain(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;
	struct decode_error ignored;

	if (!json_object_object_get_ex(object, key, &value) || !value)
		return NULL;
	return decode_plain(value, &ignored);
}

void kube_object_meta(struct json_object *object, struct kube_meta *meta)
{
	struct json_object *metadata = NULL, *annotations = NULL;
	const char *end;

	*meta = (struct kube_meta){ .kind = plain(object, "kind") };
	if (!json_object_object_get_ex(object, "metadata", &metadata) ||
	    !json_object_is_type(metadata, json_type_object))
		return;
	meta->namespace = plain(metadata, "namespace");
	meta->name = plain(metadata, "name");
	meta->version = plain(metadata, "resourceVersion");
	meta->token = plain(metadata, "continue");
	if (!json_object_object_get_ex(metadata, "annotations", &annotations) ||
	    !json_object_is_type(annotations, json_type_object))
		return;
	end = plain(annotations, "k8s.io/initial-events-end");
	meta->initial_events_end = end && strcmp(end, "true") == 0;
}

int kube_frame_decode(struct json_object *frame, enum kube_frame_type *type,
                      struct json_object **object, struct decode_error *error)
{
	static const char *const names[] = {
		[KUBE_FRAME_ADDED] = "ADDED",     [KUBE_FRAME_MODIFIED] = "MODIFIED",
		[KUBE_FRAME_DELETED] = "DELETED", [KUBE_FRAME_BOOKMARK] = "BOOKMARK",
		[KUBE_FRAME_ERROR] = "ERROR",
	};
	const char *name = plain(frame, "type");
	struct json_object *inner = NULL;
	enum kube_frame_type i = 0;

	if (!name)
		return decode_fail(error, "type: not a string");
	if (!json_object_object_get_ex(frame, "object", &inner) ||
	    !json_object_is_type(inner, json_type_object))
		return decode_fail(error, "object: not an object");

	while (i < KUBE_FRAME_OTHER && strcmp(names[i], name) != 0)
		i++;
	*type = i;
	*object = inner;
	return 0;
}
