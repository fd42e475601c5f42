/*
 * A list's answer taken apart as it comes: each item by itself, then the rest.
 *
 * A list of a large cluster is tens of MiB, and its tree twenty times that. Here one
 * item at a time is in memory, as bytes; who takes it judges what is in it. What
 * stands around the items (kind, metadata) is kept as a small JSON text with an empty list.
 *
 * Brackets, commas and strings are followed strictly, so that an answer that was
 * cut, doubled or followed by something else is an error and never a shorter list.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "limits.h"

/* `text` NULL: an item larger than the bound, of `len` bytes. 0, or -errno to end the feeding. */
typedef int (*kube_item_fn)(void *user, const char *text, size_t len);

enum kube_list_place {
	KUBE_LIST_BEFORE, /* of the first brace */
	KUBE_LIST_KEY,    /* of the outer object: the next key or the end */
	KUBE_LIST_COLON,
	KUBE_LIST_VALUE, /* of another key than items, or null */
	KUBE_LIST_FIRST, /* item, or the end of the list */
	KUBE_LIST_NEXT,  /* comma, or the end of the list */
	KUBE_LIST_AGAIN, /* item after a comma */
	KUBE_LIST_ITEM,
	KUBE_LIST_AFTER, /* of the last brace: blanks */
};

struct kube_list_items {
	struct buf item, rest;
	size_t item_len; /* also of what is not kept */
	enum kube_list_place place;
	bool in_string, escaped;
	unsigned int depth;                        /* of open brackets in the present value */
	uint8_t brackets[KUBE_SKIP_DEPTH_MAX / 8]; /* bit: square */
	char key[16];                              /* of the outer object, cut */
	size_t key_len;
	bool is_items, had_items, failed;
	const char *reason; /* why it failed; constant */
};

/* `max` bytes of one item. */
void kube_list_items_init(struct kube_list_items *list, size_t max);
/* 0; -EINVAL with a reason; -ENOMEM; or what `fn` said. Nothing may be fed after an error. */
int kube_list_items_feed(struct kube_list_items *list, const char *data, size_t len,
                         kube_item_fn fn, void *user);
/* At the end of the answer: 0 and the rest, borrowed; -EINVAL when the list is not complete. */
int kube_list_items_end(struct kube_list_items *list, const char **rest, size_t *len);
void kube_list_items_reset(struct kube_list_items *list);
void kube_list_items_clear(struct kube_list_items *list);
