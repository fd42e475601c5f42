/*
 * The packet programs: loaded, attached per subject, pinned, taken over.
 *
 * Maps and links are pinned under BPFFS/egress-verifier/INSTANCE/, so packets
 * go on being counted when the agent is not there; the next flow_loader_new()
 * takes over what it finds there. Nothing here decides which pod is a subject
 * or reads what was counted (flow/reader).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flow_loader;

struct flow_options {
	const char *
		instance; /* names the pins: the node's name; several agents on one kernel differ in it */
	const char *bpffs;   /* NULL: /sys/fs/bpf; mounted there when it is none */
	uint32_t slots;      /* of all CPUs together; 0: FLOW_SLOTS */
	uint32_t ring_bytes; /* a power of two of pages; 0: FLOW_RING_BYTES */
	bool clsact;         /* use the classic hook although the kernel has tcx: for tests */
	/* Runs fn(arg) inside a network namespace and returns what it returned; -errno when it cannot enter. */
	int (*in_netns)(int netns_fd, int (*fn)(void *arg), void *arg);
};

struct flow_link {
	uint32_t ifindex; /* never loopback */
	bool is_tunnel;   /* nobody opens connections from there: ingress is not looked at */
};

struct flow_loader_error {
	char text[256]; /* one line: what is missing, and what it is needed for */
};

/* -errno with error->text filled; *out untouched then. */
int flow_loader_new(const struct flow_options *options, struct flow_loader_error *error,
                    struct flow_loader **out);
/* keep: leave programs and maps pinned and counting; else detach and remove everything. */
struct flow_loader *flow_loader_free(struct flow_loader *loader, bool keep);

/*
 * Subjects found attached by an earlier run, before they are attached anew.
 * uid is as flow_loader_pin_name() writes it, owner as flow_loader_owner() tells. What is not attached until
 * flow_loader_drop_unclaimed() is detached there, unless keep() says that its
 * pod is still awaited.
 */
typedef void (*flow_loader_adopted_fn)(void *user, uint32_t number, uint32_t owner,
                                       const char *uid);
void flow_loader_adopted(struct flow_loader *loader, flow_loader_adopted_fn fn, void *user);
typedef bool (*flow_loader_keep_fn)(void *user, uint32_t number);
/* True when nothing is left that keep() spared. */
bool flow_loader_drop_unclaimed(struct flow_loader *loader, flow_loader_keep_fn keep, void *user);

#define FLOW_UID_MAX 64
/* The uid in the form that names pins: what is not [A-Za-z0-9-] becomes '_', the rest is cut. Returns buf. */
const char *flow_loader_pin_name(const char *uid, char buf[static FLOW_UID_MAX + 1]);

/*
 * Makes exactly these interfaces of the namespace observed for the subject.
 * Idempotent: call it again whenever its links change. A changed uid or
 * namespace replaces what was there. An interface that vanished meanwhile is no
 * error. -errno with error->text; what could be attached stays attached.
 */
int flow_loader_attach(struct flow_loader *loader, uint32_t number, const char *uid, int netns_fd,
                       const struct flow_link *links, size_t n_links,
                       struct flow_loader_error *error);
/* The same for a pod in the node's network namespace, by its (pod's) cgroup v2 directory. */
int flow_loader_attach_cgroup(struct flow_loader *loader, uint32_t number, const char *uid,
                              const char *cgroup_path, struct flow_loader_error *error);
/* Also forgets what the kernel holds under this number; safe when it is not attached. */
void flow_loader_detach(struct flow_loader *loader, uint32_t number);
bool flow_loader_is_attached(const struct flow_loader *loader, uint32_t number);

/* Removes the pins and programs of an instance that no agent serves. -ENOENT: there were none. */
int flow_cleanup(const char *bpffs, const char *instance);

struct flow_loader_stats {
	bool tcx;             /* false: clsact */
	bool adopted;         /* maps of an earlier run were taken over */
	uint64_t stale;       /* pins of an earlier run that were of no use and were removed */
	uint32_t cpus, slots; /* slots of one CPU */
};
struct flow_loader_stats flow_loader_stats(const struct flow_loader *loader);

/* The subject a slot or record belongs to, or -1: to one that is gone. */
int flow_loader_number(const struct flow_loader *loader, uint32_t owner);
/* What its slots and records bear, also when it was only found; 0, which none bears: not attached. */
uint32_t flow_loader_owner(const struct flow_loader *loader, uint32_t number);

struct flow_source;
/* For a reader in this process, or to be handed on to one in another. Valid while the loader is. */
void flow_loader_source(struct flow_loader *loader, struct flow_source *out);

const char *flow_loader_version(void); /* of libbpf */
