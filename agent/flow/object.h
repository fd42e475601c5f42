/*
 * The compiled packet programs as a loaded object, and copies of them.
 *
 * The only user of the skeleton. libbpf loads each program once, which resolves
 * maps, constants and kernel structures; every subject then gets a copy in
 * which its number is written as a constant, so that no packet pays for
 * finding out whose it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include "bpf/flow_event.h"
#include "flow/loader.h"

struct object;

enum program {
	PROGRAM_EGRESS,
	PROGRAM_INGRESS,
	PROGRAM_CGROUP_EGRESS,
	PROGRAM_CGROUP_INGRESS,
	_PROGRAM_MAX,
};

struct object_options {
	const char *maps_dir; /* where the maps are, or will be, pinned */
	uint32_t slots;       /* all CPUs; 0: whatever is there, else FLOW_SLOTS */
	uint32_t ring_bytes;  /* 0: likewise */
	const char
		*probers; /* where the map is pinned that instances share; NULL: nobody shares it */
};

/* Takes over pinned maps when there are any. -ESTALE: they are of another layout. */
int object_new(const struct object_options *options, struct flow_loader_error *error,
               struct object **out);
struct object *object_free(struct object *object);

/* A copy for one subject and for links with `l2` bytes before the IP header; *fd is the caller's. */
int object_program(const struct object *object, enum program which, uint32_t owner, uint32_t l2,
                   int *fd);
/* Watches failing connections until the descriptor is closed. */
int object_watch_failures(const struct object *object, int *fd);

const struct flow_layout *object_layout(const struct object *object);
/* A number of an attachment that no slot bears yet. */
int object_next_attachment(struct object *object, uint32_t *out);

int object_probers_fd(const struct object *object);
/* What bpf_skb_cgroup_id() says of the caller's sockets; 0: they have no cgroup with an id. */
uint64_t object_own_cgroup(const struct object *object);

int object_slots_fd(const struct object *object);
int object_ring_fd(const struct object *object);
uint32_t object_ring_bytes(const struct object *object);
int object_add_namespace(const struct object *object, uint64_t cookie, uint32_t owner);
void object_remove_namespace(const struct object *object, uint64_t cookie);
/* Forgets what is known about conntrack in this subject's namespace. */
void object_reset_tracked(const struct object *object, uint32_t number);
int object_counts(const struct object *object, uint64_t counts[static _FLOW_COUNT_MAX]);
