/*
 * Rows of tests: what a body says follows from its key, so that any row that is read can be judged alone.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spool/store.h"

#define START_US 1700000000000000LL
#define ROWS_BODY_MAX SPOOL_BODY_MAX

static char folder[64];

static inline int folder_make(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/eva-spool-%d-XXXXXX", getpid());
	return mkdtemp(folder) ? 0 : -1;
}

static inline int folder_remove(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) == 0 ? 0 : -1;
}

static inline const char *in_folder(const char *name)
{
	static char paths[4][128];
	static unsigned int n;
	char *path = paths[n++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

/* The length too follows from key and time. */
static inline size_t rows_body(const char *key, int64_t wall_us, char body[static ROWS_BODY_MAX])
{
	uint32_t x = 2463534242U + (uint32_t)wall_us;
	size_t len;

	for (const char *c = key; *c; c++)
		x = x * 31 + (unsigned char)*c;
	len = key[0] == 'h' ? 20000 + x % 20000 : x % 1500;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		body[i] = (char)x;
	}
	return len;
}

static inline struct spool_row rows_make(enum spool_table table, const char *prefix, unsigned int n,
                                         int64_t wall_us, char body[static ROWS_BODY_MAX])
{
	struct spool_row row = { .table = table, .wall_us = wall_us, .body = body };

	snprintf(row.key, sizeof(row.key), "%s%u", prefix, n);
	row.len = rows_body(row.key, wall_us, body);
	return row;
}

static inline bool rows_true(const struct spool_row *row)
{
	static char body[ROWS_BODY_MAX];

	return row->body && row->len == rows_body(row->key, row->wall_us, body) &&
	       memcmp(row->body, body, row->len) == 0;
}

/* What was told: each row is judged, keys are remembered. */
#define TOLD_MAX 20000
struct told {
	unsigned int n, wrong;
	int64_t number[TOLD_MAX];
	int64_t wall_us[TOLD_MAX];
	unsigned int key[TOLD_MAX]; /* the number in it */
	unsigned int stop_at;       /* 0: never */
	uint64_t bytes;
};

static inline int rows_tell(void *user, const struct spool_row *row)
{
	struct told *told = user;

	assert_true(told->n < TOLD_MAX);
	told->wrong += !rows_true(row);
	told->number[told->n] = row->number;
	told->wall_us[told->n] = row->wall_us;
	told->key[told->n] =
		(unsigned int)strtoul(row->key + strcspn(row->key, "0123456789"), NULL, 10);
	told->bytes += row->len;
	told->n++;
	return told->n == told->stop_at;
}

static inline uint64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static inline uint64_t disk_bytes(void)
{
	return size_of(in_folder("spool.db")) + size_of(in_folder("spool.db-wal"));
}
