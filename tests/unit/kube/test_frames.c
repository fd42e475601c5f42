#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "kube/frames.h"

struct seen {
	char text[512];
	size_t n, stop_at;
};

static int take(void *user, const char *line, size_t len)
{
	struct seen *seen = user;

	assert_null(memchr(line, '\n', len));
	seen->n++;
	strncat(seen->text, line, len);
	strcat(seen->text, "|");
	return seen->n == seen->stop_at ? -ECANCELED : 0;
}

/* What came so far and what is left, for every way of cutting the stream in two and byte by byte. */
static void lines_do_not_depend_on_how_the_stream_is_cut(void **state)
{
	static const struct {
		const char *text, *lines;
		size_t left;
	} rows[] = {
		{ "", "", 0 },
		{ "a", "", 1 },
		{ "a\n", "a|", 0 },
		{ "a\nbc\n", "a|bc|", 0 },
		{ "a\nbc", "a|", 2 },
		{ "\n\n\na\n\n", "a|", 0 },
		{ " \r\n\t\na\r\n", "a\r|", 0 },
		{ "{\"x\": 1}\n{\"y\"", "{\"x\": 1}|", 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].text);

		for (size_t cut = 0; cut <= len; cut++) {
			struct kube_frames frames;
			struct seen seen = { 0 };

			kube_frames_init(&frames, 100);
			assert_int_equal(kube_frames_feed(&frames, rows[i].text, cut, take, &seen),
			                 0);
			assert_int_equal(kube_frames_feed(&frames, rows[i].text + cut, len - cut,
			                                  take, &seen),
			                 0);
			assert_string_equal(seen.text, rows[i].lines);
			assert_int_equal(frames.part.len, rows[i].left);
			kube_frames_clear(&frames);
		}
		for (size_t step = 1; step < 4; step++) {
			struct kube_frames frames;
			struct seen seen = { 0 };

			kube_frames_init(&frames, 100);
			for (size_t at = 0; at < len; at += step)
				assert_int_equal(kube_frames_feed(&frames, rows[i].text + at,
				                                  len - at < step ? len - at : step,
				                                  take, &seen),
				                 0);
			assert_string_equal(seen.text, rows[i].lines);
			kube_frames_clear(&frames);
		}
	}
}

static void a_line_beyond_the_bound_ends_the_stream(void **state)
{
	static const struct {
		const char *first, *second;
		int result;
	} rows[] = {
		{ "12345678\n", "", 0 },           { "1234", "5678\n", 0 },
		{ "123456789\n", "", -EOVERFLOW }, { "1234", "56789\n", -EOVERFLOW },
		{ "1234", "56789", -EOVERFLOW },   { "123456789", "", -EOVERFLOW },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_frames frames;
		struct seen seen = { 0 };
		int r;

		kube_frames_init(&frames, 8);
		r = kube_frames_feed(&frames, rows[i].first, strlen(rows[i].first), take, &seen);
		if (r == 0)
			r = kube_frames_feed(&frames, rows[i].second, strlen(rows[i].second), take,
			                     &seen);
		assert_int_equal(r, rows[i].result);
		assert_int_equal(seen.n, r == 0);
		/* Nothing more is taken, until it begins anew. */
		assert_int_equal(kube_frames_feed(&frames, "x\n", 2, take, &seen), r);
		assert_int_equal(seen.n, r == 0 ? 2 : 0);
		kube_frames_reset(&frames);
		assert_int_equal(kube_frames_feed(&frames, "y\n", 2, take, &seen), 0);
		assert_string_equal(seen.text + strlen(seen.text) - 2, "y|");
		kube_frames_clear(&frames);
	}
}

static void who_takes_may_end_it(void **state)
{
	struct kube_frames frames;
	struct seen seen = { .stop_at = 2 };

	(void)state;
	kube_frames_init(&frames, 100);
	assert_int_equal(kube_frames_feed(&frames, "a\nb\nc\n", 6, take, &seen), -ECANCELED);
	assert_string_equal(seen.text, "a|b|");
	kube_frames_clear(&frames);
}

static int ignore(void *user, const char *line, size_t len)
{
	(void)line;
	*(size_t *)user += len;
	return 0;
}

static void memory_of_a_large_line_is_given_back(void **state)
{
	static char large[1 << 20];
	struct kube_frames frames;
	size_t bytes = 0;

	(void)state;
	memset(large, 'x', sizeof(large));
	kube_frames_init(&frames, 8 << 20);
	for (int i = 0; i < 4; i++)
		assert_int_equal(kube_frames_feed(&frames, large, sizeof(large), ignore, &bytes),
		                 0);
	assert_int_equal(kube_frames_feed(&frames, "\n", 1, ignore, &bytes), 0);
	assert_int_equal(bytes, 4 * sizeof(large));
	assert_int_equal(frames.part.capacity, 0);
	kube_frames_clear(&frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_do_not_depend_on_how_the_stream_is_cut),
		cmocka_unit_test(a_line_beyond_the_bound_ends_the_stream),
		cmocka_unit_test(who_takes_may_end_it),
		cmocka_unit_test(memory_of_a_large_line_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
