/*
 * The hooks of one subject: what is attached where, and making it so.
 *
 * A hook lives in its pin alone; no descriptor is kept. Pins of an earlier run
 * read the same as ours, but hold that run's program until it is replaced.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/object.h"
#include "flow/pins.h"
#include "limits.h"

enum hook {
	HOOK_TCX_EGRESS,
	HOOK_TCX_INGRESS,
	HOOK_CLSACT_EGRESS,
	HOOK_CLSACT_INGRESS,
	HOOK_CGROUP_EGRESS,
	HOOK_CGROUP_INGRESS,
	_HOOK_MAX,
};

struct link {
	enum hook hook;
	uint32_t ifindex; /* 0: cgroup */
	uint64_t where;   /* cookie of the network namespace, or inode of the cgroup */
	bool current;     /* runs this agent's program */
	bool wanted;      /* while links_*() decide what to keep */
};

/* A program loaded for these links; verifying one takes milliseconds, and most links want the same. */
struct link_program {
	enum program program;
	uint32_t l2;
	int fd; /* owned until links_end() */
};

struct links {
	const struct object *object; /* borrowed */
	const struct pins *pins;     /* borrowed */
	uint32_t owner;
	char uid[FLOW_UID_MAX + 1];
	size_t n;
	struct link items[2 * FLOW_LINKS_MAX];
	size_t n_programs;
	struct link_program programs[4]; /* out and in, with and without link layer */
};

/* What to attach: `target` is the interface or a descriptor of the cgroup. */
struct link_request {
	struct link link;
	int target;
	uint32_t l2;
};

/* Reads the pins of an earlier run. */
int links_adopt(struct links *links);
/* Attaches, replaces an older program, or finds that all is well. Between links_begin() and links_end(). */
int links_make(struct links *links, const struct link_request *request);
/* Detaches what no links_make() asked for since links_begin(). */
void links_begin(struct links *links);
void links_end(struct links *links);
/* Detaches everything. For the classic hook to be detached, call it inside the namespace. */
void links_remove(struct links *links);

/* Does this kernel have tcx links (6.6)? */
bool links_have_tcx(const struct object *object);
