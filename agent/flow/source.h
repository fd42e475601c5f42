/*
 * Where flows are read from: two maps, and what is asked of who loaded them.
 *
 * The reader calls no bpf(2): slots and ring are mapped memory, for which a
 * descriptor is enough. The maps are the loader's, in this process or in
 * another one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <linux/types.h>

#include "bpf/flow_event.h"

struct flow_source {
	int slots_fd, ring_fd; /* borrowed; the maps, for reading and writing */
	uint32_t ring_bytes;   /* a power of two of pages */
	uint32_t cpus;         /* with slots of their own */
	uint32_t slots;        /* of one CPU */
	bool adopted;          /* they hold what an earlier run counted */
	/* The subject a slot or record belongs to, or -1: to one that is gone. */
	int (*number)(void *user, uint32_t owner);
	int (*counts)(void *user, uint64_t counts[static _FLOW_COUNT_MAX]); /* 0 or -errno */
	void *user;
};
