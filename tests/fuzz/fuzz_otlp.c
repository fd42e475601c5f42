/* sources: agent/export/otlp.c agent/export/otlp_flow.c agent/export/otlp_record.c agent/export/otlp_value.c agent/kube/object.c agent/verdict/verdict.c agent/verdict/sentence.c */
/* Whatever a violation says: its record is whole, fits a row of the spool, and says the same. */
#undef NDEBUG
#include <assert.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "export/otlp.h"
#include "limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line of the input; "" past its end. */
static char *next(char **text)
{
	char *line = strsep(text, "\n");

	return line ? line : (char *)"";
}

static struct json_object *get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	(void)json_object_object_get_ex(object, key, &value);
	return value;
}

static struct json_object *parse(const char *text)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *object;

	assert(tokener);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, (int)strlen(text));
	assert(json_tokener_get_error(tokener) == json_tokener_success);
	assert(json_tokener_get_parse_end(tokener) == strlen(text));
	json_tokener_free(tokener);
	return object;
}

/* What is no UTF-8 is U+FFFD, byte for byte. */
static char *repaired(const char *text)
{
	char *out = calloc(3, strlen(text) + 1), *end = out;

	assert(out);
	while (*text) {
		uint32_t unused;
		size_t n = utf8_read(text, &unused);

		end = n ? mempcpy(end, text, n) : mempcpy(end, "\xef\xbf\xbd", 3);
		text += n ? n : 1;
	}
	return out;
}

/* NULL: no such attribute. */
static const char *value_of(struct json_object *record, const char *key)
{
	struct json_object *attributes = get(record, "attributes"), *found = NULL;

	for (size_t i = 0; i < json_object_array_length(attributes); i++) {
		struct json_object *attribute = json_object_array_get_idx(attributes, i);

		if (strcmp(json_object_get_string(get(attribute, "key")), key) != 0)
			continue;
		assert(!found);
		found = get(attribute, "value");
		assert(json_object_object_length(found) == 1);
	}
	if (!found)
		return NULL;
	json_object_object_foreach(found, type, value)
	{
		(void)type;
		assert(*json_object_get_string(value));
		return json_object_get_string(value);
	}
	return NULL;
}

/* Of a name that is cut the beginning is compared. */
static void check_text(struct json_object *record, const char *key, const char *expected,
                       size_t max)
{
	const char *is = value_of(record, key);
	char *whole = repaired(expected);

	if (!*expected)
		assert(!is);
	else if (strlen(expected) < max)
		assert(is && strcmp(is, whole) == 0);
	else
		assert(is && strlen(is) > 3 && strncmp(is, whole, strlen(is) - 3) == 0);
	free(whole);
}

static void check_number(struct json_object *record, const char *key, uint64_t expected)
{
	const char *is = value_of(record, key);

	if (expected > INT64_MAX)
		expected = INT64_MAX;
	assert(is && strtoull(is, NULL, 10) == expected);
}

static void check_time(struct json_object *record, const char *field, int64_t wall_us)
{
	struct json_object *is = get(record, field);

	if (wall_us <= 0 || (uint64_t)wall_us > UINT64_MAX / 1000)
		assert(!is);
	else
		assert(json_object_is_type(is, json_type_string) &&
		       strtoull(json_object_get_string(is), NULL, 10) == (uint64_t)wall_us * 1000);
}

static void check_record(const struct violation *violation, enum violation_change change,
                         const struct moment *now, const char *text, const char *uid)
{
	struct json_object *record = parse(text);
	int64_t wall_us = change == VIOLATION_OPENED ? violation->opened.wall_us
	                                             : violation->resolved.wall_us;

	check_time(record, "timeUnixNano", wall_us > 0 ? wall_us : now->wall_us);
	check_time(record, "observedTimeUnixNano", now->wall_us);
	assert(strcmp(value_of(record, "log.record.uid"), uid) == 0);
	check_text(record, "k8s.namespace.name", violation->namespace, 256);
	check_text(record, "k8s.pod.name", violation->pod, 256);
	check_text(record, "k8s.pod.uid", violation->uid, 256);
	check_text(record, "egress_verifier.gateway.name", violation->gateway, 256);
	check_text(record, "egress_verifier.violation.reason", violation->reason, REASON_MAX);
	check_text(record, "egress_verifier.violation.remedy", violation->remedy, REMEDY_MAX);
	check_number(record, "egress_verifier.violation.count", violation->count);
	if (!value_of(record, "egress_verifier.violation.evidence_omitted_bytes"))
		check_text(record, "egress_verifier.violation.evidence", violation->evidence,
		           SIZE_MAX);
	json_object_put(record);
}

static void check_request(const struct otlp_resource *resource, const struct buf *record)
{
	struct buf body = BUF_INIT(1 << 20);
	struct json_object *list;

	otlp_logs_begin(resource, &body);
	for (int i = 0; i < 2; i++)
		otlp_logs_add(&body, record->data, record->len);
	otlp_logs_end(&body);
	assert(body.error == 0);
	list = parse(body.data);
	json_object_put(list);
	buf_clear(&body);
}

struct fixed {
	int64_t first, last, opened, resolved, now;
	uint64_t count;
	uint8_t kind, change;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct violation violation = { 0 };
	struct fixed fixed;
	struct buf out = BUF_INIT(SPOOL_BODY_MAX), again = BUF_INIT(SPOOL_BODY_MAX);
	char *copy, *text, uid[OTLP_UID_MAX], same[OTLP_UID_MAX];
	struct otlp_attribute more[2];
	const struct otlp_resource resource = { .attributes = more, .n_attributes = 2 };
	enum violation_change change;
	struct moment now = { 0 };

	if (size < sizeof(fixed))
		return 0;
	memcpy(&fixed, data, sizeof(fixed));
	copy = text = strndup((const char *)data + sizeof(fixed), size - sizeof(fixed));
	assert(copy);
	now.wall_us = fixed.now;
	change = (enum violation_change)(fixed.change % 2);
	violation.kind = (enum violation_kind)(fixed.kind % _VIOLATION_KIND_MAX);
	violation.first.wall_us = fixed.first;
	violation.last.wall_us = fixed.last;
	violation.opened.wall_us = fixed.opened;
	violation.resolved.wall_us = fixed.resolved;
	violation.count = fixed.count;
	strncpy(violation.id, next(&text), sizeof(violation.id) - 1);
	violation.namespace = violation.gateway_namespace = next(&text);
	violation.pod = next(&text);
	violation.uid = next(&text);
	violation.gateway = next(&text);
	strncpy(violation.reason, next(&text), REASON_MAX - 1);
	strncpy(violation.remedy, next(&text), REMEDY_MAX - 1);
	for (size_t i = 0; i < 2; i++) {
		more[i].key = next(&text);
		more[i].value = next(&text);
	}
	violation.evidence = text ? text : (char *)"";

	otlp_violation(violation.pod, &violation, change, &now, &out, uid);
	assert(out.error == 0 && out.len <= SPOOL_BODY_MAX && strlen(uid) == 32);
	otlp_violation(violation.pod, &violation, change, &now, &again, same);
	assert(strcmp(uid, same) == 0 && strcmp(out.data, again.data) == 0);
	check_record(&violation, change, &now, out.data, uid);
	check_request(&resource, &out);
	buf_clear(&out);
	buf_clear(&again);
	free(copy);
	return 0;
}
