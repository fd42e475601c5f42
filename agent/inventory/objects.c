#include "inventory/objects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

char *objects_key(const char *namespace, const char *name)
{
	char *key;

	if (!namespace)
		return strdup(name);
	return asprintf(&key, "%s/%s", namespace, name) < 0 ? NULL : key;
}

static void discard(const struct objects *objects, void **content)
{
	if (*content)
		objects->kind->clear(*content);
	mem_freep(content);
}

static struct object *object_free(const struct objects *objects, struct object *object)
{
	if (!object)
		return NULL;
	discard(objects, &object->now);
	discard(objects, &object->next);
	free(object->key);
	free(object);
	return NULL;
}

struct object *objects_find(const struct objects *objects, const char *key)
{
	struct object *object;

	HASH_FIND_STR(objects->table, key, object);
	return object;
}

/* Takes no memory: what could not be looked up would look as if it were not there. */
struct object *objects_look_up(const struct objects *objects, const char *namespace,
                               const char *name)
{
	char key[OBJECT_KEY_MAX];
	int len;

	len = snprintf(key, sizeof(key), "%s%s%s", namespace ? namespace : "", namespace ? "/" : "",
	               name);
	return len >= 0 && (size_t)len < sizeof(key) ? objects_find(objects, key) : NULL;
}

void *objects_now(const struct objects *objects, const char *namespace, const char *name)
{
	struct object *object = objects_look_up(objects, namespace, name);

	return object ? object->now : NULL;
}

/* The key moves to the object, also on error. */
static int add(struct objects *objects, char *key, struct object **out)
{
	struct object *object, *added;

	object = calloc(1, sizeof(*object));
	if (!object) {
		free(key);
		return -ENOMEM;
	}
	object->key = key;
	HASH_ADD_KEYPTR(hh, objects->table, object->key, strlen(object->key), object);
	HASH_FIND_STR(objects->table, key, added);
	if (added != object) {
		object_free(objects, object);
		return -ENOMEM;
	}
	*out = object;
	return 0;
}

static int stage(struct objects *objects, struct object *object, void *content)
{
	void *copy;

	if (object->now && objects->kind->equal(object->now, content)) {
		object->kept = true;
		discard(objects, &object->next);
		objects->kind->clear(content);
		return 0;
	}

	copy = malloc(objects->kind->size);
	if (!copy)
		return -ENOMEM;
	objects->kind->move(copy, content);
	discard(objects, &object->next);
	object->next = copy;
	object->kept = false;
	return 0;
}

static void unlink_object(struct objects *objects, struct object *object)
{
	HASH_DEL(objects->table, object);
}

/* Those that will be swept do not count against those that are put. */
static bool full(const struct objects *objects, const struct object *object)
{
	if (objects->replacing)
		return objects->staged >= objects->kind->max;
	return !object && HASH_COUNT(objects->table) >= objects->kind->max;
}

static int put(struct objects *objects, void *content, struct object **out)
{
	cleanup(mem_freep) char *key = NULL;
	struct object *object;
	int r;

	errno = 0;
	key = objects->kind->key(content);
	if (!key)
		return errno == ENOMEM ? -ENOMEM : -EINVAL;
	if (strlen(key) >= OBJECT_KEY_MAX)
		return -EINVAL;
	object = objects_find(objects, key);
	if ((!object || (!object->next && !object->kept)) && full(objects, object))
		return -ENOSPC;
	if (!object) {
		r = add(objects, take_ptr(key), &object);
		if (r < 0)
			return r;
	}

	objects->staged += !object->next && !object->kept;
	r = stage(objects, object, content);
	if (r < 0) {
		objects->staged -= !object->next && !object->kept;
		if (!object->now) {
			unlink_object(objects, object);
			object_free(objects, object);
		}
		return r;
	}
	*out = object;
	return 0;
}

int objects_put(struct objects *objects, void *content, struct object **out)
{
	struct object *object = NULL;
	int r;

	r = put(objects, content, &object);
	if (r < 0) {
		objects->kind->clear(content);
		return r;
	}
	if (out)
		*out = object;
	return 0;
}

void objects_begin(struct objects *objects)
{
	objects_abort(objects);
	objects->replacing = true;
}

void objects_abort(struct objects *objects)
{
	struct object *object, *next;

	HASH_ITER(hh, objects->table, object, next)
	{
		discard(objects, &object->next);
		object->kept = false;
		if (!object->now) {
			unlink_object(objects, object);
			object_free(objects, object);
		}
	}
	objects->staged = 0;
	objects->replacing = false;
}

void objects_remove(struct objects *objects, struct object *object)
{
	unlink_object(objects, object);
	object->buried = objects->graveyard;
	objects->graveyard = object;
}

bool objects_sweep(struct objects *objects, void (*fn)(void *user, struct object *object),
                   void *user)
{
	struct object *object, *next;
	bool changed = false;

	HASH_ITER(hh, objects->table, object, next)
	{
		if (object->next || object->kept)
			continue;
		if (fn)
			fn(user, object);
		objects_remove(objects, object);
		changed = true;
	}
	return changed;
}

/* Without memory, although it touches more of theirs than the kind's move() would. */
static void swap_blocks(unsigned char *a, unsigned char *b, size_t size)
{
	unsigned char part[256];

	for (size_t at = 0; at < size; at += sizeof(part)) {
		size_t n = size - at < sizeof(part) ? size - at : sizeof(part);

		memcpy(part, a + at, n);
		memcpy(a + at, b + at, n);
		memcpy(b + at, part, n);
	}
}

/* The place of the current one stays, for others point to it; what it was comes out. */
static void *replace(struct objects *objects, struct object *object)
{
	void *old = malloc(objects->kind->size);

	if (!old) {
		swap_blocks(object->now, object->next, objects->kind->size);
		return take_ptr(object->next);
	}
	objects->kind->move(old, object->now);
	objects->kind->move(object->now, object->next);
	mem_freep(&object->next);
	return old;
}

bool object_apply(struct objects *objects, struct object *object, object_applied_fn fn, void *user)
{
	bool changed = object->next != NULL, new = !object->now;
	void *old = NULL;

	object->kept = false;
	if (!changed)
		return false;

	if (new) {
		object->now = take_ptr(object->next);
	} else {
		old = replace(objects, object);
	}
	if (fn)
		fn(user, object, old);
	discard(objects, &old);
	return true;
}

bool objects_apply(struct objects *objects, object_applied_fn fn, void *user)
{
	struct object *object, *next;
	bool changed = false;

	HASH_ITER(hh, objects->table, object, next)
	changed = object_apply(objects, object, fn, user) || changed;
	objects->staged = 0;
	objects->replacing = false;
	return changed;
}

void objects_bury(struct objects *objects)
{
	while (objects->graveyard) {
		struct object *object = objects->graveyard;

		objects->graveyard = object->buried;
		object_free(objects, object);
	}
}

void objects_clear(struct objects *objects)
{
	struct object *object, *next;

	HASH_ITER(hh, objects->table, object, next)
	objects_remove(objects, object);
	objects_bury(objects);
}
