/*
 * Where maps and links are kept in the BPF file system.
 *
 *   BPFFS/egress-verifier/INSTANCE/maps/NAME
 *                                  connect_failed
 *                                  subjects/OWNER-UID/HOOK-IFINDEX-NAMESPACE
 *
 * The names are all a later agent has to go by, so they say everything.
 */
#pragma once

#include <stdint.h>

#include "flow/loader.h"

#define PINS_PATH_MAX 512
/* Instances that nobody starts again. No node's name has the underscore. */
#define PINS_ONCE "check_"

struct pins {
	char root[PINS_PATH_MAX / 2];
};

/*
 * Mounts a BPF file system where pins_open() will want one, for a process that
 * may not mount any more when it comes to that. Why it could not, pins_open() says.
 */
void pins_prepare(void);

/* Mounts a BPF file system when there is none at `bpffs`. */
int pins_open(const char *bpffs, const char *instance, struct flow_loader_error *error,
              struct pins *out);
/* Without mounting or creating anything; -ENOENT when the instance has left nothing. */
int pins_find(const char *bpffs, const char *instance, struct pins *out);

/*
 * Says that somebody serves the instance for as long as *fd is open, and makes
 * its directories again if they were taken for a dead one's meanwhile. -EBUSY:
 * somebody else does. Two would number different pods alike, and each event is
 * read once.
 */
int pins_hold(const struct pins *pins, int *fd);
/* Removes the instances whose names begin so and that nobody holds. */
void pins_remove_dead(const struct pins *pins, const char *prefix);

/* Both return buf. */
const char *pins_path(const struct pins *pins, const char *name, char buf[static PINS_PATH_MAX]);
const char *pins_subject(const struct pins *pins, uint32_t owner, const char *uid,
                         char buf[static PINS_PATH_MAX]);

int pins_parse_subject(const char *name, uint32_t *owner, char uid[static FLOW_UID_MAX + 1]);

/* Calls fn for every name in the directory; a missing one is empty. fn may remove what it is given. */
int pins_each(const char *dir, int (*fn)(void *user, const char *dir, const char *name),
              void *user);
int pins_remove_tree(const char *dir);
int pins_make_dir(const char *dir);
