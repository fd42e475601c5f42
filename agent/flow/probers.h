/*
 * Whose packets are probes: one map for all instances of a node.
 *
 *   BPFFS/egress-verifier/probers:1                 the map: ids of cgroups
 *   BPFFS/egress-verifier/INSTANCE/probers/ID       this instance probes from there
 *
 * A `check` beside a running agent looks at the same pods: to neither are the
 * other's probes the pod's flows, so each one's programs look into the same
 * map. The directories say who put an id there, because two instances may share
 * a cgroup, and one that was killed takes nothing back. An instance's name has
 * no colon; the number is the version of the map's layout, which instances of
 * different versions share.
 */
#pragma once

#include "flow/pins.h"

/* Returns buf. */
const char *probers_path(const struct pins *pins, char buf[static PINS_PATH_MAX]);

/*
 * Instances come and go one at a time: from before the map is opened or pinned
 * until probers_join(), and around probers_tidy(). Held until *fd is closed.
 */
int probers_lock(const struct pins *pins, int *fd);

/* This instance's probes come from this cgroup and no other; 0: from none that has an id. */
int probers_join(const struct pins *pins, int map_fd, uint64_t cgroup);

/* Once an instance's directory was removed: its ids, and after the last one the map's pin. */
void probers_tidy(const struct pins *pins);
