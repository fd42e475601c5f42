/*
 * Inside of the metrics: the table of names and the memory of series, for the
 * two formats to read.
 */
#pragma once

#include <stdbool.h>

#include "limits.h"
#include "report/metrics.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_INFO, METRIC_HISTOGRAM };

struct metric_table {
	const char *family; /* without _total and _info */
	enum metric_type type;
	const char *unit; /* the family's suffix; NULL: none */
	const char *help;
	const char *labels[METRIC_LABELS_MAX]; /* NULL: no more */
	const double *bounds;                  /* of a histogram, ascending; +Inf is implied */
	size_t n_bounds;
};

#define METRIC_BOUNDS_MAX 16

struct metric_series {
	struct metric_series *next_hash,
		*next; /* of its bucket; of its metric, in order of appearance */
	enum metric metric;
	char *labels[METRIC_LABELS_MAX]; /* owned */
	bool swept;                      /* not set since the sweep began */
	uint64_t count;                  /* of a counter; observations of a histogram */
	double value;                    /* of a gauge; sum of a histogram */
	uint64_t buckets
		[METRIC_BOUNDS_MAX]; /* not cumulative; what is past the last is in count only */
};

struct metric_list {
	struct metric_series *first, **last;
	size_t n;
};

#define METRIC_HASH 4096

struct metrics {
	struct metric_list lists[_METRIC_MAX];
	struct metric_series *hash[METRIC_HASH];
	uint64_t refused;
};

const struct metric_table *metric_table(enum metric metric);
