/*
 * Tables of foreign objects that are replaced as a whole or one by one.
 *
 * A put stages an object; applying makes the staged ones current. What was not
 * put again since the last time can be swept. So a table can be filled from a
 * complete list and its changes come out, without holding the list twice: an
 * object that did not change is not kept.
 *
 * The memory of a current object never moves: replacing one writes into the
 * same place, and a removed one lives until objects_bury().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) (void)(entry)
#include <uthash.h>

#include "limits.h"

struct object_kind {
	size_t size, max;
	/* "namespace/name" or "name", on the heap; NULL without name, or memory (errno is ENOMEM then). */
	char *(*key)(const void *object);
	bool (*equal)(const void *a, const void *b);
	void (*move)(void *to, void *from); /* `to` is raw memory; `from` is cleared */
	void (*clear)(void *object);
};

struct object {
	UT_hash_handle hh; /* by key */
	char *key;         /* owned */
	void *now;         /* owned; NULL until first applied */
	void *next;        /* owned; staged; NULL: none */
	bool kept;         /* put again without a change */
	struct object *buried;
	void *user; /* the owner's, as the following */
	bool ended;
};

struct objects {
	const struct object_kind *kind; /* borrowed */
	struct object *table;           /* uthash, owned */
	struct object *graveyard;
	bool replacing; /* since objects_begin() */
	size_t staged;  /* put since then */
};

/* What follows is a complete list, up to objects_apply() or objects_abort(). */
void objects_begin(struct objects *objects);

/*
 * Takes the object's content, also on error. -ENOSPC at the kind's limit,
 * -EINVAL without a name. *out is where it will be; may be NULL.
 */
int objects_put(struct objects *objects, void *object, struct object **out);

/* Forgets what is staged. */
void objects_abort(struct objects *objects);

/* Removes what was not put since objects_begin(); fn sees each, still whole. True when there was one. */
bool objects_sweep(struct objects *objects, void (*fn)(void *user, struct object *object),
                   void *user);

/* `old` is what it was, borrowed; NULL: it is new. */
typedef void (*object_applied_fn)(void *user, struct object *object, const void *old);
/* True when anything changed. */
bool objects_apply(struct objects *objects, object_applied_fn fn, void *user);
bool object_apply(struct objects *objects, struct object *object, object_applied_fn fn, void *user);

/* Longer than the longest annotation that may name one. */
#define OBJECT_KEY_MAX (2 * ANNOTATION_MAX)
struct object *objects_look_up(const struct objects *objects, const char *namespace,
                               const char *name); /* namespace may be NULL */
struct object *objects_find(const struct objects *objects, const char *key);
/* NULL when it is not current. `key` as kind->key() makes it. */
void *objects_now(const struct objects *objects, const char *namespace, const char *name);
char *objects_key(const char *namespace, const char *name); /* namespace may be NULL */

void objects_remove(struct objects *objects, struct object *object);
void objects_bury(struct objects *objects);
void objects_clear(struct objects *objects);
