#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inventory/objects.h"

/* "name" with a value; every live one is counted, so that a leak or a double free shows. */
struct thing {
	char *name;
	int value;
};

static int alive;

static struct thing thing(const char *name, int value)
{
	alive++;
	return (struct thing){ strdup(name), value };
}

static char *key_of_thing(const void *object)
{
	const struct thing *t = object;

	return t->name ? objects_key(NULL, t->name) : NULL;
}

static bool thing_equal(const void *a, const void *b)
{
	return ((const struct thing *)a)->value == ((const struct thing *)b)->value;
}

static void move_thing(void *to, void *from)
{
	memcpy(to, from, sizeof(struct thing));
	memset(from, 0, sizeof(struct thing));
}

static void clear_thing(void *object)
{
	struct thing *t = object;

	alive -= t->name != NULL;
	free(t->name);
	*t = (struct thing){ NULL, 0 };
}

static const struct object_kind kind = { sizeof(struct thing), 3,          key_of_thing,
	                                 thing_equal,          move_thing, clear_thing };

static int put(struct objects *objects, const char *name, int value)
{
	struct thing t = thing(name, value);
	int r = objects_put(objects, &t, NULL);

	assert_null(t.name); /* taken, also on error */
	return r;
}

/* What happened, as "+a=1 ~b=2<1 -c=3 " */
static char story[256];

static void on_applied(void *user, struct object *object, const void *old)
{
	const struct thing *t = object->now, *was = old;
	size_t n = strlen(story);

	(void)user;
	if (was)
		snprintf(story + n, sizeof(story) - n, "~%s=%d<%d ", t->name, t->value, was->value);
	else
		snprintf(story + n, sizeof(story) - n, "+%s=%d ", t->name, t->value);
}

static void on_swept(void *user, struct object *object)
{
	const struct thing *t = object->now;
	size_t n = strlen(story);

	(void)user;
	snprintf(story + n, sizeof(story) - n, "-%s=%d ", t->name, t->value);
}

static const char *commit(struct objects *objects)
{
	story[0] = '\0';
	objects_sweep(objects, on_swept, NULL);
	objects_apply(objects, on_applied, NULL);
	objects_bury(objects);
	return story;
}

static void tell_what_changed(void **state)
{
	struct objects objects = { .kind = &kind };
	struct thing *a;

	(void)state;
	objects_begin(&objects);
	put(&objects, "a", 1);
	put(&objects, "b", 1);
	assert_null(objects_now(&objects, NULL, "a"));
	assert_string_equal(commit(&objects), "+a=1 +b=1 ");
	a = objects_now(&objects, NULL, "a");
	assert_int_equal(alive, 2);

	objects_begin(&objects);
	put(&objects, "a", 2);
	put(&objects, "c", 1);
	put(&objects, "a", 3); /* the last one counts */
	assert_string_equal(commit(&objects), "-b=1 ~a=3<1 +c=1 ");
	assert_ptr_equal(objects_now(&objects, NULL, "a"), a); /* in the same place */
	assert_int_equal(alive, 2);

	objects_begin(&objects);
	put(&objects, "a", 3);
	put(&objects, "c", 1);
	assert_string_equal(commit(&objects), "");

	objects_begin(&objects);
	put(&objects, "a", 9);
	put(&objects, "d", 1);
	objects_abort(&objects);
	assert_int_equal(a->value, 3);
	assert_null(objects_find(&objects, "d"));
	assert_int_equal(alive, 2);

	objects_begin(&objects);
	assert_string_equal(commit(&objects), "-a=3 -c=1 ");
	assert_int_equal(alive, 0);
	objects_clear(&objects);
}

static void refuse_past_the_limit(void **state)
{
	struct objects objects = { .kind = &kind };
	struct thing nameless = { NULL, 1 };

	(void)state;
	objects_begin(&objects);
	for (int i = 0; i < 3; i++)
		assert_int_equal(put(&objects, (const char *[]){ "a", "b", "c" }[i], 1), 0);
	assert_int_equal(put(&objects, "d", 1), -ENOSPC);
	assert_int_equal(put(&objects, "a", 2), 0); /* no new one */
	assert_int_equal(objects_put(&objects, &nameless, NULL), -EINVAL);
	commit(&objects);

	/* Those that go make room for those that come. */
	objects_begin(&objects);
	for (int i = 0; i < 3; i++)
		assert_int_equal(put(&objects, (const char *[]){ "x", "y", "z" }[i], 1), 0);
	assert_int_equal(put(&objects, "a", 2), -ENOSPC);
	commit(&objects);
	assert_int_equal(alive, 3);

	/* One by one. */
	assert_int_equal(put(&objects, "w", 1), -ENOSPC);
	assert_int_equal(put(&objects, "x", 7), 0);
	story[0] = '\0';
	assert_true(object_apply(&objects, objects_find(&objects, "x"), on_applied, NULL));
	assert_string_equal(story, "~x=7<1 ");
	objects_clear(&objects);
	assert_int_equal(alive, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tell_what_changed),
		cmocka_unit_test(refuse_past_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
