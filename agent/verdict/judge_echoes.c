#include "verdict/judge_echoes.h"

#include <string.h>

static void map_results(struct judge_record *record, const struct judge_echo_map *map)
{
	struct probe_result last[ECHOES_MAX] = { 0 };
	struct ip peer[ECHOES_MAX] = { 0 };
	uint32_t alive = 0;

	for (size_t i = 0; i < ECHOES_MAX; i++) {
		uint16_t to = map->to[i];

		if (to == JUDGE_ECHO_GONE)
			continue;
		last[to] = record->last[i];
		last[to].echo = to;
		peer[to] = record->peer[i];
		alive |= (record->alive >> i & 1) << to;
	}
	memcpy(record->last, last, sizeof(last));
	memcpy(record->peer, peer, sizeof(peer));
	record->alive = alive;
}

/* Witnesses keep their order. */
static void map_fault(struct judge_fault *fault, const struct judge_echo_map *map)
{
	size_t n = 0;

	for (size_t i = 0; i < fault->n_witness; i++) {
		struct witness witness = fault->witness[i];

		if (map->to[witness.echo] == JUDGE_ECHO_GONE)
			continue;
		witness.echo = map->to[witness.echo];
		fault->witness[n++] = witness;
	}
	fault->n_witness = n;
}

void judge_map_echoes(struct judge_record *record, const struct judge_echo_map *map)
{
	map_results(record, map);
	map_fault(&record->wrong, map);
	map_fault(&record->unexpected, map);
}
