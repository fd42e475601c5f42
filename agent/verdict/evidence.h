/*
 * Evidence: the inputs of a finding as bounded JSON, so that an auditor
 * recomputes it. Lists are cut and say how many items were left out; if the
 * whole still does not fit it is written anew with shorter lists.
 */
#pragma once

#include "base/encode.h"
#include "verdict/judge.h"

struct evidence {
	struct encode *e; /* borrowed; inside the outermost object */
	size_t limit;     /* items per list */
	enum violation_kind kind;
	const struct judge_record *record;
	const struct judge_input *input;
	const struct moment *now;
	const void *user; /* whatever the part needs */
};

typedef void (*evidence_fn)(const struct evidence *evidence);

/*
 * {"kind", "at", "subject", "gateway", …} and what `write` adds. `limit` of the
 * argument is ignored. Result owned by the caller; 0 or -ENOMEM.
 */
int evidence_build(const struct evidence *evidence, evidence_fn write, char **out);

void evidence_cidrs(const struct evidence *evidence, const char *key, const struct cidr *items,
                    size_t n);
void evidence_witnesses(const struct evidence *evidence, const char *key,
                        const struct witness *items, size_t n);
void evidence_results(const struct evidence *evidence, const char *key,
                      const struct probe_result *results, size_t n);
void evidence_flow(const struct evidence *evidence, const char *key, const struct flow *flow);
/* The main table's IPv4 routes. */
void evidence_routes(const struct evidence *evidence, const char *key);
void evidence_left_out(const struct evidence *evidence, const char *key, size_t n);
void evidence_seconds(const struct evidence *evidence, const char *key, uint64_t ns);
