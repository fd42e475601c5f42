#include "kube/list_items.h"

#include <errno.h>
#include <string.h>

#define KEPT_MAX 65536

void kube_list_items_init(struct kube_list_items *list, size_t max)
{
	memset(list, 0, sizeof(*list));
	list->item = (struct buf)BUF_INIT(max);
	list->rest = (struct buf)BUF_INIT(KUBE_LIST_REST_MAX);
}

static int fail(struct kube_list_items *list, const char *reason)
{
	list->failed = true;
	list->reason = reason;
	return -EINVAL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int open_bracket(struct kube_list_items *list, bool square)
{
	uint8_t bit = (uint8_t)(1u << (list->depth % 8));

	if (list->depth == KUBE_SKIP_DEPTH_MAX)
		return fail(list, "nested too deep");
	if (square)
		list->brackets[list->depth / 8] |= bit;
	else
		list->brackets[list->depth / 8] &= (uint8_t)~bit;
	list->depth++;
	return 0;
}

static int close_bracket(struct kube_list_items *list, bool square)
{
	if (list->depth == 0)
		return fail(list, "a bracket too many");
	list->depth--;
	if (((list->brackets[list->depth / 8] >> (list->depth % 8)) & 1) != square)
		return fail(list, "a bracket of the wrong kind");
	return 0;
}

/* Follows one byte inside a value. */
static int follow(struct kube_list_items *list, char c)
{
	if (list->in_string) {
		if (list->escaped)
			list->escaped = false;
		else if (c == '\\')
			list->escaped = true;
		else if (c == '"')
			list->in_string = false;
		return 0;
	}
	switch (c) {
	case '"':
		list->in_string = true;
		return 0;
	case '{':
	case '[':
		return open_bracket(list, c == '[');
	case '}':
	case ']':
		return close_bracket(list, c == ']');
	default:
		return 0;
	}
}

static int keep(struct kube_list_items *list, const char *data, size_t len)
{
	buf_append(&list->rest, data, len);
	if (list->rest.error == -ENOMEM)
		return -ENOMEM;
	return list->rest.error ? fail(list, "too much beside the items") : 0;
}

/* Bytes of an item; those of one that is too large are only counted. */
static int gather(struct kube_list_items *list, const char *data, size_t len)
{
	list->item_len += len;
	if (list->item_len > list->item.max) {
		buf_clear(&list->item);
		return 0;
	}
	buf_append(&list->item, data, len);
	return list->item.error;
}

static int item_done(struct kube_list_items *list, kube_item_fn fn, void *user)
{
	bool kept = list->item_len <= list->item.max;
	int r = fn(user, kept ? list->item.data : NULL, list->item_len);

	if (list->item.capacity > KEPT_MAX)
		buf_clear(&list->item);
	else
		buf_reset(&list->item);
	list->item_len = 0;
	list->place = KUBE_LIST_NEXT;
	return r;
}

/* As many bytes of the item as there are; *used of them. */
static int take_item(struct kube_list_items *list, const char *data, size_t len, size_t *used,
                     kube_item_fn fn, void *user)
{
	size_t n = 0;
	int r = 0;

	do {
		r = follow(list, data[n++]);
	} while (r == 0 && n < len && list->depth > 0);
	*used = n;
	if (r == 0)
		r = gather(list, data, n);
	if (r == 0 && list->depth == 0)
		r = item_done(list, fn, user);
	return r;
}

/* Between items. */
static int between(struct kube_list_items *list, char c)
{
	if (is_blank(c))
		return 0;
	if (c == ']' && list->place != KUBE_LIST_AGAIN) {
		list->place = KUBE_LIST_KEY;
		list->is_items = false;
		return keep(list, "]", 1);
	}
	if (c == ',' && list->place == KUBE_LIST_NEXT) {
		list->place = KUBE_LIST_AGAIN;
		return 0;
	}
	return fail(list, list->place == KUBE_LIST_NEXT ? "no comma between items"
	                                                : "an item that is no object");
}

/* Inside a key of the outer object. An escape could spell "items" in another way. */
static int in_key(struct kube_list_items *list, char c)
{
	if (c == '\\')
		return fail(list, "an escape in a key");
	if (c != '"') {
		if (list->key_len < sizeof(list->key))
			list->key[list->key_len] = c;
		list->key_len++;
		return 0;
	}
	list->in_string = false;
	list->place = KUBE_LIST_COLON;
	list->is_items = list->key_len == 5 && memcmp(list->key, "items", 5) == 0;
	if (list->is_items && list->had_items)
		return fail(list, "items twice");
	list->had_items |= list->is_items;
	return 0;
}

static int before_key(struct kube_list_items *list, char c)
{
	if (list->in_string)
		return in_key(list, c);
	if (c == '"') {
		list->in_string = true;
		list->key_len = 0;
	} else if (c == '}') {
		list->place = KUBE_LIST_AFTER;
	} else if (!is_blank(c) && c != ',') { /* how many commas json-c judges */
		return fail(list, "no key where one belongs");
	}
	return 0;
}

static int in_value(struct kube_list_items *list, char c)
{
	if (list->depth == 0 && !list->in_string && (c == ',' || c == '}')) {
		list->place = c == '}' ? KUBE_LIST_AFTER : KUBE_LIST_KEY;
		list->is_items = false;
		return 0;
	}
	if (list->is_items && !is_blank(c) && !strchr("nul", c))
		return fail(list, "items that are no list");
	return follow(list, c);
}

/* One byte of what is around the items. */
static int around(struct kube_list_items *list, char c)
{
	int r = 0;

	switch (list->place) {
	case KUBE_LIST_BEFORE:
		if (!is_blank(c) && c != '{')
			return fail(list, "not an object");
		if (c == '{')
			list->place = KUBE_LIST_KEY;
		break;
	case KUBE_LIST_KEY:
		r = before_key(list, c);
		break;
	case KUBE_LIST_COLON:
		if (!is_blank(c) && c != ':')
			return fail(list, "no colon after a key");
		if (c == ':')
			list->place = KUBE_LIST_VALUE;
		break;
	case KUBE_LIST_VALUE:
		if (list->is_items && c == '[')
			list->place = KUBE_LIST_FIRST;
		else
			r = in_value(list, c);
		break;
	default:
		if (!is_blank(c))
			return fail(list, "more after the list");
	}
	return r < 0 ? r : keep(list, &c, 1);
}

int kube_list_items_feed(struct kube_list_items *list, const char *data, size_t len,
                         kube_item_fn fn, void *user)
{
	int r = list->failed ? -EINVAL : 0;

	for (size_t i = 0, used = 1; i < len && r == 0; i += used, used = 1) {
		bool begins = (list->place == KUBE_LIST_FIRST || list->place == KUBE_LIST_AGAIN) &&
		              data[i] == '{';

		if (begins)
			list->place = KUBE_LIST_ITEM;
		if (list->place == KUBE_LIST_ITEM)
			r = take_item(list, data + i, len - i, &used, fn, user);
		else if (list->place >= KUBE_LIST_FIRST && list->place <= KUBE_LIST_AGAIN)
			r = between(list, data[i]);
		else
			r = around(list, data[i]);
	}
	if (r < 0 && !list->failed) {
		list->failed = true;
		list->reason = "stopped";
	}
	return r;
}

int kube_list_items_end(struct kube_list_items *list, const char **rest, size_t *len)
{
	if (list->failed)
		return -EINVAL;
	if (list->place != KUBE_LIST_AFTER)
		return fail(list, "the list ends early");
	if (!list->had_items)
		return fail(list, "no items");
	*rest = list->rest.data;
	*len = list->rest.len;
	return 0;
}

void kube_list_items_reset(struct kube_list_items *list)
{
	size_t max = list->item.max;

	kube_list_items_clear(list);
	kube_list_items_init(list, max);
}

void kube_list_items_clear(struct kube_list_items *list)
{
	buf_clear(&list->item);
	buf_clear(&list->rest);
}
