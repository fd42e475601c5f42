/*
 * The inventory from a file, as kubectl prints objects.
 *
 * The file is watched: what is written over it (when the writer closes it) or
 * renamed into its place takes effect without a restart, also behind the
 * symbolic links of a mounted ConfigMap, and when its folder is replaced. A file
 * that is empty, gone, or cannot be read or parsed changes nothing; an object
 * that does not decode is left out, named and counted, the others count.
 */
#pragma once

#include "base/loop.h"
#include "inventory/inventory.h"

struct source_file;

struct source_file_stats {
	uint64_t reloads; /* that took effect */
	uint64_t errors;  /* that did not */
	uint64_t refused; /* objects that did not decode or found no room, of all readings */
	uint64_t ignored; /* objects of kinds that are of no use here, of the newest reading */
	/* Why the newest reading failed; "" when it took effect. */
	char last_error[300];
	/* The first object refused by the newest reading; "" when none was. */
	char last_refusal[300];
};

/*
 * Reads at once. A bad file is no failure of this function: see the stats. A
 * folder that is not there is.
 */
int source_file_new(struct loop *loop, const char *path, struct inventory *inventory,
                    struct source_file **out);
struct source_file *source_file_free(struct source_file *source);
/* 0, or -errno when nothing changed. */
int source_file_reload(struct source_file *source);
/* Borrowed. */
const struct source_file_stats *source_file_stats(const struct source_file *source);
