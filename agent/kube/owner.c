#include "kube/owner.h"

#include <json-c/json.h>
#include <stdlib.h>

#include "base/decode.h"

struct deletion {
	int64_t deleted_us; /* 0: not */
	char *name;         /* owned */
};

static const struct decode_field fields[] = {
	{ "metadata.name", decode_name, offsetof(struct deletion, name), true },
	{ "metadata.deletionTimestamp", decode_time, offsetof(struct deletion, deleted_us), false },
	{ 0 },
};

static enum kube_owner owner_in(struct json_object *object)
{
	struct deletion deletion = { 0 };
	struct decode_error error;
	int r = decode_object(object, fields, &deletion, &error);

	free(deletion.name);
	if (r < 0)
		return KUBE_OWNER_UNKNOWN;
	return deletion.deleted_us ? KUBE_OWNER_LEAVES : KUBE_OWNER_STAYS;
}

enum kube_owner kube_owner_of(uint16_t status, const char *body, size_t len)
{
	enum kube_owner owner = KUBE_OWNER_UNKNOWN;
	struct json_tokener *tokener;
	struct json_object *object;

	if (status == 404)
		return KUBE_OWNER_LEAVES;
	if (status == 401 || status == 403)
		return KUBE_OWNER_REFUSED;
	if (status != 200 || len > INT32_MAX)
		return KUBE_OWNER_UNKNOWN;
	tokener = json_tokener_new();
	if (!tokener)
		return KUBE_OWNER_UNKNOWN;
	object = json_tokener_parse_ex(tokener, body, (int)len);
	if (json_object_is_type(object, json_type_object))
		owner = owner_in(object);
	json_object_put(object);
	json_tokener_free(tokener);
	return owner;
}
