/*
 * Round: the answers of all echoes to one subject, weighed per transport.
 *
 * Only the weighing: what follows from it over time is judge_probe.c's.
 */
#pragma once

#include "verdict/judge.h"

struct round_group { /* one transport */
	size_t configured;
	size_t capable; /* echoes that could prove something */
	size_t quorum;  /* 0 when none can */
	size_t allowed, outside;
	size_t agree;            /* of those outside: most that saw one and the same address */
	struct ip agreed, proof; /* that address; the first allowed one */
	bool good, wrong;
	bool lone;    /* fewer than the configured quorum accuse, for want of more */
	bool doubted; /* and what the echoes told the node does not bear them out (yet) */
	/* Echoes that must not be reached through the gateway. */
	size_t exempt, unexpected;
};

enum { ROUND_TCP, ROUND_UDP, _ROUND_MAX };

struct round {
	struct witness witness[ECHOES_MAX]; /* every configured echo, asked or not */
	size_t n;
	struct round_group group[_ROUND_MAX];
	size_t silent, responded; /* among the capable ones */
	bool good, wrong;
	bool unexpected; /* a quorum of echoes that must not see the gateway's address did */
	bool clean;      /* one of those answered, and none saw it */
	struct ip unexpected_address;
};

struct round_input {
	const struct subject *subject;
	const struct judge_settings *settings;
	const struct probe_result
		*controls; /* what the echoes told the node, by echo; NULL: not asked */
	const struct moment *alone_since; /* since when a lone echo accuses; NULL: this round */
	const struct moment *began;       /* this round */
	const struct ip
		*peers; /* the newest known address of each echo, all zero where there is none */
	const struct probe_result *results;
	size_t n_results;
};

void round_weigh(const struct round_input *input, struct round *out);

/* One sentence: who saw what, and what is missing to a proof. */
void round_describe(const struct round *round, const struct judge_settings *settings,
                    char reason[static REASON_MAX]);
