/*
 * A subject with what holds it to the node: the file of its network namespace,
 * the reader of its live configuration, the folder of its cgroup.
 */
#pragma once

#include "inventory/live_reader.h"
#include "inventory/netns_watch.h"
#include "inventory/objects.h"
#include "inventory/subject.h"

struct member;

/* What all members share. */
struct member_context {
	struct loop *loop; /* borrowed, as the following */
	struct netns_watch *netns;
	const char *cgroup_root, *wireguard_dir;
	struct live_reader_stats live;
	uint64_t ambiguous; /* namespaces chosen among several with the pod's address */
	uint64_t errors;    /* namespaces that could not be entered or followed */
	void *user;
	/* The live configuration was read again. */
	void (*live_changed)(struct member *member);
};

struct member {
	struct subject subject;
	struct member_context *context; /* borrowed */
	struct object *object;          /* borrowed; the pod's */
	struct live_reader *reader;     /* owned; NULL: no namespace, or it could not be followed */
	bool had_netns;                 /* once at least */
};

int member_new(struct member_context *context, struct object *object, struct member **out);
struct member *member_free(struct member *member);

/*
 * Looks for its namespace and cgroup where they should be now, takes what is
 * there and gives up what is not. Returns enum inventory_change bits.
 */
unsigned int member_locate(struct member *member);

/* The namespace has lost the pod's address: it is no longer sure whose it is. */
void member_doubt(struct member *member);
