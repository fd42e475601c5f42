/* What one end writes the other reads, and nothing else. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/message.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static char bytes[SPOOL_MESSAGE_MAX];

/* At the end of a block of its own: a sanitizer sees each byte that is read beyond. */
static int read_all(const char *data, size_t len, struct spool_message *message,
                    struct spool_row rows[static SPOOL_ROWS_MAX])
{
	char *exact = malloc(len ? len : 1);
	int r;

	assert_non_null(exact);
	memcpy(exact, data, len);
	r = spool_message_read(exact, len, message, rows);
	for (uint32_t i = 0; r == 0 && i < message->n_rows; i++) /* into what outlives it */
		if (rows[i].body)
			rows[i].body = data + (rows[i].body - exact);
	free(exact);
	return r;
}

static struct spool_row row(enum spool_table table, const char *key, const char *body)
{
	struct spool_row made = { .table = table,
		                  .wall_us = 1700000000000000,
		                  .number = 7,
		                  .body = body,
		                  .len = body ? strlen(body) : 0 };

	snprintf(made.key, sizeof(made.key), "%s", key);
	return made;
}

static size_t written(const struct spool_message *message, const struct spool_row *rows)
{
	size_t len = 0;

	assert_int_equal(spool_message_write(message, rows, bytes, &len), 0);
	assert_true(len > 0 && len <= sizeof(bytes));
	return len;
}

static void test_rows(void **state)
{
	const struct spool_row rows[] = {
		row(SPOOL_RECORD, "0123456789abcdef0123456789abcdef", "{\"a\":1}"),
		row(SPOOL_VIOLATION, "v", NULL),
		row(SPOOL_SUBJECT, "12345678-1234-1234-1234-123456789012", ""),
		row(SPOOL_RECORD, "", "text"),
	};
	struct spool_message message = { .kind = SPOOL_PUT, .n_rows = COUNT(rows), .token = 5 };
	struct spool_message out;
	struct spool_row got[SPOOL_ROWS_MAX];
	size_t len;

	(void)state;
	len = written(&message, rows);
	assert_int_equal(read_all(bytes, len, &out, got), 0);
	assert_int_equal(out.kind, SPOOL_PUT);
	assert_int_equal(out.token, 5);
	assert_int_equal(out.n_rows, COUNT(rows));
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(got[i].table, rows[i].table);
		assert_string_equal(got[i].key, rows[i].key);
		assert_int_equal(got[i].wall_us, rows[i].wall_us);
		assert_int_equal(got[i].number, rows[i].number);
		assert_int_equal(got[i].len, rows[i].len);
		assert_int_equal(!got[i].body, !rows[i].body); /* no body is not an empty one */
		if (rows[i].body)
			assert_memory_equal(got[i].body, rows[i].body, rows[i].len);
	}
}

static void test_kinds(void **state)
{
	static const struct spool_message messages[] = {
		{ .kind = SPOOL_OPEN, .token = 1, .limit = 1ULL << 40, .directory = "/var/x" },
		{ .kind = SPOOL_READ,
		  .token = UINT64_MAX,
		  .after = INT64_MAX,
		  .max_rows = UINT32_MAX,
		  .max_bytes = 9 },
		{ .kind = SPOOL_DONE, .after = -1 },
		{ .kind = SPOOL_HISTORY, .after = INT64_MIN, .until = INT64_MAX, .max_rows = 1 },
		{ .kind = SPOOL_REMOVE, .token = 3 },
		{ .kind = SPOOL_END,
		  .token = 8,
		  .more = true,
		  .state = { .waiting = 3, .oldest_us = -4, .full = true } },
		{ .kind = SPOOL_KEPT,
		  .token = 8,
		  .state = { .degraded = true,
		             .reason = "the disk is full",
		             .waiting = 1,
		             .bytes = 2,
		             .oldest_us = 3,
		             .dropped = { 4, 5, 6, 7 },
		             .errors = 8 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(messages); i++) {
		const struct spool_message *in = &messages[i];
		struct spool_row rows[SPOOL_ROWS_MAX];
		struct spool_message out;

		assert_int_equal(read_all(bytes, written(in, NULL), &out, rows), 0);
		assert_int_equal(out.kind, in->kind);
		assert_int_equal(out.token, in->token);
		assert_int_equal(out.after, in->after);
		assert_int_equal(out.until, in->until);
		assert_int_equal(out.max_rows, in->max_rows);
		assert_int_equal(out.max_bytes, in->max_bytes);
		assert_int_equal(out.limit, in->limit);
		assert_int_equal(out.more, in->more);
		assert_string_equal(out.directory, in->directory);
		assert_int_equal(out.state.degraded, in->state.degraded);
		assert_int_equal(out.state.full, in->state.full);
		assert_string_equal(out.state.reason, in->state.reason);
		assert_int_equal(out.state.waiting, in->state.waiting);
		assert_int_equal(out.state.bytes, in->state.bytes);
		assert_int_equal(out.state.oldest_us, in->state.oldest_us);
		assert_int_equal(out.state.errors, in->state.errors);
		assert_memory_equal(out.state.dropped, in->state.dropped,
		                    sizeof(out.state.dropped));
	}
}

/* Two of the longest bodies fit, and not a byte more in either. */
static void test_bounds(void **state)
{
	char *body = malloc(SPOOL_BODY_MAX + 1);
	struct spool_row rows[SPOOL_ROWS_MAX + 1];
	struct spool_row got[SPOOL_ROWS_MAX];
	struct spool_message message = { .kind = SPOOL_PUT }, out;
	size_t len = 12345;

	(void)state;
	memset(body, 'b', SPOOL_BODY_MAX + 1);
	for (size_t i = 0; i < COUNT(rows); i++) {
		rows[i] = row(SPOOL_RECORD, "k", NULL);
		rows[i].body = body;
		rows[i].len = i < 2 ? SPOOL_BODY_MAX : 0;
	}
	message.n_rows = SPOOL_ROWS_MAX;
	assert_int_equal(read_all(bytes, written(&message, rows), &out, got), 0);
	assert_int_equal(got[1].len, SPOOL_BODY_MAX);
	rows[1].len++;
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	rows[1].len--;
	rows[2].len = SPOOL_BODY_MAX;
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	rows[2].len = 0;
	memset(rows[3].key, 'k', sizeof(rows[3].key));
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	message.n_rows = SPOOL_ROWS_MAX + 1;
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	message.n_rows = 0;
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	message = (struct spool_message){ .kind = SPOOL_READ, .n_rows = 1 };
	assert_int_equal(spool_message_write(&message, rows, bytes, &len), -EMSGSIZE);
	assert_int_equal(len, 12345);
	free(body);
}

/* Every shorter message, and a longer one. */
static void test_length(void **state)
{
	const struct spool_row rows[] = { row(SPOOL_RECORD, "k", "body"),
		                          row(SPOOL_VIOLATION, "v", "b") };
	const struct spool_message messages[] = {
		{ .kind = SPOOL_PUT, .n_rows = 2 },
		{ .kind = SPOOL_OPEN, .directory = "/x" },
		{ .kind = SPOOL_KEPT },
		{ .kind = SPOOL_DONE },
	};
	struct spool_row got[SPOOL_ROWS_MAX];
	struct spool_message out;

	(void)state;
	for (size_t i = 0; i < COUNT(messages); i++) {
		size_t len = written(&messages[i], rows);

		assert_int_equal(read_all(bytes, len, &out, got), 0);
		for (size_t less = 0; less < len; less++)
			assert_int_equal(read_all(bytes, less, &out, got), -EPROTO);
		bytes[len] = 0;
		assert_int_equal(read_all(bytes, len + 1, &out, got), -EPROTO);
	}
	/* As recv(2) with MSG_TRUNC says it: longer than what is there. */
	assert_int_equal(spool_message_read(bytes, SPOOL_MESSAGE_MAX + 1, &out, got), -EPROTO);
}

/* One word of a message changed, by its place as the ends of this very version have it. */
static void test_hostile(void **state)
{
	enum { KIND = 0, N_ROWS = 4, MORE = 48, AFTER_HEADER = 56 };
	enum { ROW_TABLE = AFTER_HEADER, ROW_LEN = AFTER_HEADER + 4, ROW_KEY = AFTER_HEADER + 24 };
	enum { DEGRADED = AFTER_HEADER + 24 + 8 * _SPOOL_DROP_MAX + 8, REASON = DEGRADED + 8 };
	static const struct {
		const char *what;
		enum spool_kind kind;
		size_t at, len;
		uint32_t value; /* or a byte, all over len */
	} cases[] = {
		{ "a kind that there is not", SPOOL_PUT, KIND, 4, _SPOOL_KIND_MAX },
		{ "a kind far beyond", SPOOL_PUT, KIND, 4, UINT32_MAX },
		{ "rows where there are none", SPOOL_PUT, KIND, 4, SPOOL_READ },
		{ "no rows", SPOOL_PUT, N_ROWS, 4, 0 },
		{ "more rows", SPOOL_PUT, N_ROWS, 4, 2 },
		{ "too many rows", SPOOL_PUT, N_ROWS, 4, SPOOL_ROWS_MAX + 1 },
		{ "neither yes nor no", SPOOL_END, MORE, 4, 2 },
		{ "a table that there is not", SPOOL_PUT, ROW_TABLE, 4, _SPOOL_TABLE_MAX },
		{ "a longer body", SPOOL_PUT, ROW_LEN, 4, 5 },
		{ "a shorter body", SPOOL_PUT, ROW_LEN, 4, 3 },
		{ "no body, and one", SPOOL_PUT, ROW_LEN, 4, UINT32_MAX },
		{ "a negative body", SPOOL_PUT, ROW_LEN, 4, 0x80000000u },
		{ "a body beyond", SPOOL_PUT, ROW_LEN, 4, 0x7fffffff },
		{ "a key without end", SPOOL_PUT, ROW_KEY, SPOOL_KEY_MAX, 'k' },
		{ "a folder without end", SPOOL_OPEN, AFTER_HEADER, SPOOL_DIRECTORY_MAX, '/' },
		{ "no folder", SPOOL_OPEN, AFTER_HEADER, 4, 0 },
		{ "a folder from here", SPOOL_OPEN, AFTER_HEADER, 4, 'x' },
		{ "half degraded", SPOOL_KEPT, DEGRADED, 4, 2 },
		{ "half full", SPOOL_KEPT, DEGRADED + 4, 4, 0x100 },
		{ "a reason without end", SPOOL_KEPT, REASON, SPOOL_TEXT_MAX, 'r' },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct spool_row rows[] = { row(SPOOL_RECORD, "k", "body") };
		const struct spool_message message = { .kind = cases[i].kind,
			                               .n_rows = cases[i].kind == SPOOL_PUT,
			                               .directory = "/folder" };
		struct spool_row got[SPOOL_ROWS_MAX];
		struct spool_message out;
		size_t len = written(&message, rows);

		assert_int_equal(read_all(bytes, len, &out, got), 0);
		if (cases[i].len == 4)
			memcpy(bytes + cases[i].at, &cases[i].value, 4);
		else
			memset(bytes + cases[i].at, (int)cases[i].value, cases[i].len);
		if (read_all(bytes, len, &out, got) != -EPROTO)
			fail_msg("%s: taken", cases[i].what);
	}
}

static void test_names(void **state)
{
	static const char *const names[] = { "full", "age", "corrupt", "failed" };

	(void)state;
	assert_int_equal(COUNT(names), _SPOOL_DROP_MAX);
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(spool_drop_name((enum spool_drop)i), names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),    cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_bounds),  cmocka_unit_test(test_length),
		cmocka_unit_test(test_hostile), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
