/* sources: agent/kube/list_items.c agent/kube/object.c */
/*
 * A list taken apart and put together again is the same list: whatever comes through whole as
 * items and rest is compared with what json-c makes of the whole text. What json-c takes
 * for no list does not pass, and a part of a list never does.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "kube/list_items.h"
#include "kube/object.h"

#define ITEM_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct taken {
	struct json_object *items; /* as json-c has them; NULL: not compared */
	size_t n;
	bool bad; /* an item that is no JSON */
};

static int take(void *user, const char *text, size_t len)
{
	struct taken *taken = user;
	struct json_object *object = NULL, *same;
	struct decode_error error = { "" };

	if (!text) {
		assert(len > ITEM_MAX);
	} else if (kube_object_parse(text, len, ITEM_MAX, &object, &error) < 0) {
		assert(error.text[0]);
		taken->bad = true;
	} else if (taken->items) {
		same = json_object_array_get_idx(taken->items, taken->n);
		assert(same && json_object_equal(object, same));
	}
	json_object_put(object);
	taken->n++;
	return 0;
}

static int feed(struct kube_list_items *list, const char *text, size_t size, uint32_t seed,
                struct taken *taken, struct json_object **rest)
{
	struct decode_error error = { "" };
	const char *left = NULL;
	size_t len = 0;
	int r = 0;

	for (size_t at = 0; at < size && r == 0;) {
		size_t n = seed % 29 + 1;

		n = n < size - at ? n : size - at;
		r = kube_list_items_feed(list, text + at, n, take, taken);
		at += n;
		seed = seed * 1103515245u + 12345;
	}
	if (r == 0)
		r = kube_list_items_end(list, &left, &len);
	if (r < 0)
		assert(list->reason && list->reason[0]);
	if (r == 0)
		r = kube_object_parse(left, len, KUBE_LIST_REST_MAX, rest, &error);
	return taken->bad ? -EINVAL : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kube_list_items list;
	const char *text = (const char *)data + 1;
	struct json_object *whole = NULL, *rest = NULL, *items = NULL;
	struct decode_error error;
	struct taken taken = { 0 };
	int r;

	if (size < 1)
		return 0;
	if (kube_object_parse(text, size - 1, SIZE_MAX, &whole, &error) == 0 &&
	    json_object_object_get_ex(whole, "items", &items) &&
	    json_object_is_type(items, json_type_array))
		taken.items = items;

	kube_list_items_init(&list, ITEM_MAX);
	r = feed(&list, text, size - 1, data[0], &taken, &rest);
	assert(list.item.len <= ITEM_MAX && list.rest.len <= KUBE_LIST_REST_MAX);
	if (r == 0 && whole) {
		assert(!items || (taken.items && taken.n == json_object_array_length(items)));
		/* All but the items is the same. */
		if (items)
			json_object_object_add(whole, "items", json_object_new_array());
		assert(json_object_equal(whole, rest));
	}
	kube_list_items_clear(&list);
	json_object_put(whole);
	json_object_put(rest);
	return 0;
}
