#include "test.h"

#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "io/gzip.h"

#define LARGE (3u << 20)

/* What gunzip makes of it; its length. Nothing may come after the end. */
static size_t unpack(const struct buf *packed, char *out, size_t size)
{
	z_stream stream = { .next_in = (unsigned char *)packed->data,
		            .avail_in = (unsigned int)packed->len,
		            .next_out = (unsigned char *)out,
		            .avail_out = (unsigned int)size };

	assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
	assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
	assert_int_equal(stream.avail_in, 0);
	inflateEnd(&stream);
	return stream.total_out;
}

/* `step` bytes at a time. */
static void pack(const char *data, size_t len, size_t step, struct buf *out)
{
	struct gzip *gzip = NULL;

	assert_int_equal(gzip_new(out, &gzip), 0);
	for (size_t at = 0; at < len; at += step)
		gzip_add(gzip, data + at, len - at < step ? len - at : step);
	gzip_end(gzip);
	assert_null(gzip_free(gzip));
}

static void packs_in_pieces(void **state)
{
	static const struct {
		size_t len, step;
		bool noise;
	} rows[] = {
		{ 0, 1, false },          { 1, 1, false },         { 5, 2, false },
		{ 65536, 1000, true },    { LARGE, 16384, false }, { LARGE, LARGE, true },
		{ 1u << 20, 777, false },
	};
	cleanup(mem_freep) char *data = malloc(LARGE), *again = malloc(LARGE + 1);

	(void)state;
	assert_true(data && again);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf out = BUF_INIT(LARGE + 65536);
		uint32_t random = 1;

		for (size_t k = 0; k < rows[i].len; k++) {
			random = random * 1664525u + 1013904223u;
			data[k] = rows[i].noise ? (char)(random >> 24) : "{\"key\":"[k % 7];
		}
		pack(data, rows[i].len, rows[i].step, &out);
		assert_int_equal(out.error, 0);
		assert_int_equal(unpack(&out, again, LARGE + 1), rows[i].len);
		assert_memory_equal(data, again, rows[i].len);
		if (rows[i].len >= 65536 && !rows[i].noise)
			assert_true(out.len < rows[i].len / 50);
	}
}

/* What was there before stays before it; two members are one text to gunzip, but not to us. */
static void appends(void **state)
{
	cleanup(buf_clearp) struct buf out = BUF_INIT(1024);
	char again[16];
	struct buf rest;

	(void)state;
	buf_text(&out, "before");
	pack("after", 5, 5, &out);
	assert_memory_equal(out.data, "before", 6);
	rest = (struct buf){ .data = out.data + 6, .len = out.len - 6 };
	assert_int_equal(unpack(&rest, again, sizeof(again)), 5);
	assert_memory_equal(again, "after", 5);
}

/* It ends, and the buffer says why. */
static void stays_within_its_bound(void **state)
{
	cleanup(buf_clearp) struct buf out = BUF_INIT(100);
	cleanup(mem_freep) char *data = malloc(LARGE);

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < LARGE; i++)
		data[i] = (char)(i * i >> 7);
	pack(data, LARGE, 4096, &out);
	assert_int_equal(out.error, -EOVERFLOW);
	assert_true(out.len <= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packs_in_pieces),
		cmocka_unit_test(appends),
		cmocka_unit_test(stays_within_its_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
