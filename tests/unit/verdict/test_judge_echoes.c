#include "verdict/judge_echoes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define GONE JUDGE_ECHO_GONE

/* Result, peer and witness of echo i carry 10 + i, so that they are known again. */
static void fill(struct judge_record *record, size_t n)
{
	*record = (struct judge_record){ .wrong.n_witness = n, .unexpected.n_witness = n };
	for (size_t i = 0; i < n; i++) {
		record->last[i].echo = (uint16_t)i;
		record->last[i].peer_port = (uint16_t)(10 + i);
		record->peer[i].b[15] = (uint8_t)(10 + i);
		record->wrong.witness[i].echo = (uint16_t)i;
		record->wrong.witness[i].peer_port = (uint16_t)(10 + i);
		record->unexpected.witness[i] = record->wrong.witness[i];
	}
	record->alive = 1; /* of the first */
}

static const struct {
	const char *name;
	uint16_t to[3];
	uint16_t at[4];      /* what stands in each new place; 0: nothing */
	uint16_t witness[3]; /* in order; 0: none */
	uint32_t alive;
} cases[] = {
	{ "the same", { 0, 1, 2 }, { 10, 11, 12 }, { 10, 11, 12 }, 1 },
	{ "turned round", { 2, 1, 0 }, { 12, 11, 10 }, { 10, 11, 12 }, 4 },
	{ "first one gone", { GONE, 0, 1 }, { 11, 12 }, { 11, 12 }, 0 },
	{ "one in between", { 0, 2, 3 }, { 10, 0, 11, 12 }, { 10, 11, 12 }, 1 },
	{ "all gone", { GONE, GONE, GONE }, { 0 }, { 0 }, 0 },
	{ "into a gap", { 3, GONE, 0 }, { 12, 0, 0, 10 }, { 10, 12 }, 8 },
};

static void check_fault(const char *name, const struct judge_fault *fault, const uint16_t *ports,
                        const struct judge_echo_map *map)
{
	size_t n = 0;

	for (; n < 3 && ports[n]; n++) {
		if (n >= fault->n_witness || fault->witness[n].peer_port != ports[n])
			fail_msg("%s: witness %zu is not the one of port %u", name, n, ports[n]);
		assert_int_equal(fault->witness[n].echo, map->to[ports[n] - 10]);
	}
	assert_int_equal(fault->n_witness, n);
}

static void what_was_learned_moves_along(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct judge_record record;
		struct judge_echo_map map;

		for (size_t k = 0; k < ECHOES_MAX; k++)
			map.to[k] = k < 3 ? cases[i].to[k] : GONE;
		fill(&record, 3);
		judge_map_echoes(&record, &map);

		for (size_t k = 0; k < 4; k++) {
			if (record.last[k].peer_port != cases[i].at[k])
				fail_msg("%s: place %zu has %u", cases[i].name, k,
				         record.last[k].peer_port);
			assert_int_equal(record.peer[k].b[15], cases[i].at[k]);
			assert_int_equal(record.last[k].echo, cases[i].at[k] ? k : 0);
		}
		check_fault(cases[i].name, &record.wrong, cases[i].witness, &map);
		check_fault(cases[i].name, &record.unexpected, cases[i].witness, &map);
		assert_int_equal(record.alive, cases[i].alive);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_learned_moves_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
