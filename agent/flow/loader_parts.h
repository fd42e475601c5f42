/*
 * The loader's own: only for loader.c and loader_attach.c.
 */
#pragma once

#include "flow/links.h"
#include "flow/loader.h"
#include "flow/object.h"
#include "flow/pins.h"

struct subject_links {
	struct links links;
	bool claimed;    /* attached by this agent, not only found */
	uint64_t cookie; /* of its network namespace; 0: the node's, or not known */
	int netns_fd; /* owned; only with the classic hook, which is detached from inside; else -1 */
};

struct flow_loader {
	struct object *object;
	struct pins pins;
	bool tcx, adopted;
	int failures_fd; /* -1 while there is no subject */
	int held_fd;     /* says that the pins are served */
	size_t n_subjects;
	uint64_t stale;
	int (*in_netns)(int netns_fd, int (*fn)(void *arg), void *arg);
	struct subject_links *subjects[SUBJECTS_MAX];
};

/* NULL: no memory. */
struct subject_links *loader_subject_add(struct flow_loader *loader, uint32_t owner,
                                         const char *uid);
void loader_detach(struct flow_loader *loader, uint32_t number);
/* Once for all subjects. */
void loader_watch_failures(struct flow_loader *loader);
