#include "test.h"

#include <string.h>

#include "limits.h"
#include "spool/outbox.h"

#define BIG (SPOOL_QUEUE_BYTES_MAX / 4 - 100) /* four of them fit, five do not */

static char big[BIG];

static int add(struct outbox *outbox, enum outbox_kind kind, char name, uint64_t *lost)
{
	big[0] = name;
	return outbox_add(outbox, kind, big, sizeof(big), lost);
}

/* Names of all that waits, the oldest first; they are taken out. */
static void take_all(struct outbox *outbox, char names[static 32])
{
	const char *data;
	size_t len, n = 0;

	while ((data = outbox_first(outbox, &len)) != NULL) {
		assert_true(n < 31);
		names[n++] = data[0];
		outbox_drop_first(outbox);
	}
	names[n] = '\0';
	assert_int_equal(outbox->bytes, 0);
	assert_null(outbox->last);
}

/* Capitals are records, small letters other rows, digits questions. */
static enum outbox_kind kind_of(char name)
{
	if (name <= '9')
		return OUTBOX_QUESTION;
	return name <= 'Z' ? OUTBOX_RECORD : OUTBOX_ROWS;
}

static void the_oldest_rows_give_way(void **state)
{
	static const struct {
		const char *added, *left;
		uint64_t lost;
	} rows[] = {
		{ "", "", 0 },
		{ "A", "A", 0 },
		{ "ABCD", "ABCD", 0 },
		{ "ABCDE", "BCDE", 1 },
		{ "ABCDEFG", "DEFG", 3 },
		{ "aBCDE", "BCDE", 0 }, /* no record among what went */
		{ "aBcDEF", "cDEF", 1 },
		{ "1ABCD", "1BCD", 1 }, /* a question stays, at its place */
		{ "A1B2CD", "12CD", 2 },
		{ "ABC1D", "BC1D", 1 },
		{ "ABCD1", "ABCD1", 0 }, /* and is not kept out by rows */
		{ "ABCD1E", "CD1E", 2 },
		{ "1ABCDEFGH", "1FGH", 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outbox outbox = { 0 };
		uint64_t lost = 0;
		char left[32];

		for (const char *name = rows[i].added; *name; name++)
			assert_int_equal(add(&outbox, kind_of(*name), *name, &lost), 0);
		take_all(&outbox, left);
		assert_string_equal(left, rows[i].left);
		assert_int_equal(lost, rows[i].lost);
	}
}

/* Nobody asks so much; the bound holds all the same. */
static void questions_alone_leave_no_room(void **state)
{
	struct outbox outbox = { 0 };
	uint64_t lost = 0;
	char left[32];

	(void)state;
	assert_int_equal(add(&outbox, OUTBOX_RECORD, 'A', &lost), 0);
	for (char name = '1'; name <= '5'; name++)
		assert_int_equal(add(&outbox, OUTBOX_QUESTION, name, &lost), 0);
	assert_int_equal(add(&outbox, OUTBOX_RECORD, 'B', &lost), -ENOBUFS);
	assert_int_equal(lost, 1);
	take_all(&outbox, left);
	assert_string_equal(left, "12345");
}

static void messages_are_copied_whole(void **state)
{
	struct outbox outbox = { 0 };
	uint64_t lost = 0;
	char text[] = "one";
	size_t len;

	(void)state;
	assert_null(outbox_first(&outbox, &len));
	outbox_drop_first(&outbox);
	assert_int_equal(outbox_add(&outbox, OUTBOX_RECORD, text, 3, &lost), 0);
	memcpy(text, "two", 3);
	assert_int_equal(outbox_add(&outbox, OUTBOX_RECORD, text, 2, &lost), 0);
	assert_memory_equal(outbox_first(&outbox, &len), "one", 3);
	assert_int_equal(len, 3);
	outbox_drop_first(&outbox);
	assert_memory_equal(outbox_first(&outbox, &len), "tw", 2);
	assert_int_equal(len, 2);
	outbox_clear(&outbox);
	assert_null(outbox_first(&outbox, &len));
	assert_int_equal(outbox.bytes, 0);
	assert_int_equal(lost, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_oldest_rows_give_way),
		cmocka_unit_test(questions_alone_leave_no_room),
		cmocka_unit_test(messages_are_copied_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
