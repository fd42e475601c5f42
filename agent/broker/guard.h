/*
 * What the broker grants. Pure: what a request asks for against what the
 * broker was set up with and has found by itself.
 *
 * A worker that was taken over by what it parsed may ask for anything; nothing
 * here believes a text to end or a number to be small.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "broker/protocol.h"

enum guard_state {
	GUARD_NEW,    /* may be set up, and may listen */
	GUARD_SEALED, /* the network may have been heard: neither */
	GUARD_OPEN,   /* the operator sent SIGHUP: destinations may be others, places not */
};

struct guard {
	enum guard_state state;
	const char *config_path; /* borrowed */
	struct broker_setup setup;
	bool has_setup;
	bool again; /* another SIGHUP came before the last one's setup was sealed */
	struct guard_bucket {
		uint64_t filled_ns; /* monotonic; 0: never asked for */
		uint64_t tokens;    /* in thousandths */
	} bucket[_BROKER_OPERATION_MAX];
	uint64_t refused; /* requests, for whatever reason */
};

void guard_init(struct guard *guard, const char *config_path);

/* 0, or -EAGAIN: more often than any worker of ours would ask. */
int guard_rate(struct guard *guard, uint32_t operation, const struct moment *now);

/* 0: taken over; -EPERM: not now, or not that; -EINVAL: texts without end, relative paths, too many. */
int guard_setup(struct guard *guard, const struct broker_setup *setup);
void guard_seal(struct guard *guard);
/* The operator's SIGHUP. False: not now, it is kept until the seal; see guard_again(). */
bool guard_reopen(struct guard *guard);
/* After a seal: a SIGHUP was kept, and is taken now. */
bool guard_again(struct guard *guard);

/* Each 0 or -EPERM; -EINVAL for what is no path, address or port at all. */
int guard_listen(const struct guard *guard, const struct listener_address *address);
/* *folder: it may be one. */
int guard_file(const struct guard *guard, const char path[static BROKER_PATH_MAX], bool *folder);
int guard_netns(const struct guard *guard, const char path[static BROKER_PATH_MAX]);
int guard_cgroup(const struct guard *guard, const char path[static BROKER_PATH_MAX]);
/* In a pod: whatever is not special. At home: what the configuration asks, and nothing else. */
int guard_connect(const struct guard *guard, const struct broker_connect *connect);
int guard_netlink(const struct broker_netlink *netlink);
int guard_attach(const struct broker_attach *attach);
int guard_attach_cgroup(const struct guard *guard, const struct broker_attach_cgroup *attach);
