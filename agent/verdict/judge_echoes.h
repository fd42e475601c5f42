/*
 * A record names echoes by their place in the list. When the list changes,
 * what was learned moves along, and what nobody asks any more is forgotten.
 */
#pragma once

#include "verdict/judge.h"

#define JUDGE_ECHO_GONE UINT16_MAX

struct judge_echo_map {
	uint16_t to[ECHOES_MAX]; /* by the old place */
};

void judge_map_echoes(struct judge_record *record, const struct judge_echo_map *map);
