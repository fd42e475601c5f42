/*
 * What the worker may ask of the broker, and what it hears back.
 *
 * One request, one reply, over a SOCK_SEQPACKET pair; descriptors come with
 * replies only. A request is exactly the bytes of its operation, or it is
 * refused: there is nothing to parse. Both sides are the same program, so the
 * layout is the compiler's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include "base/ip.h"
#include "bpf/flow_event.h"
#include "flow/loader.h"
#include "io/listener.h"
#include "io/wireguard.h"
#include "limits.h"

enum broker_operation {
	BROKER_SETUP, /* while the broker is open for it: at the start, and once after each SIGHUP */
	BROKER_LISTEN, /* until the first BROKER_SEAL */
	BROKER_SEAL,   /* the broker is set up: from now on the network may be heard */
	BROKER_FILE,
	BROKER_NETNS,
	BROKER_CONNECT,
	BROKER_NETLINK,
	BROKER_TUNNEL,
	BROKER_TUNNEL_ANSWER,
	BROKER_FLOWS_START,
	BROKER_FLOWS_ADOPTED,
	BROKER_FLOWS_ATTACH,
	BROKER_FLOWS_ATTACH_CGROUP,
	BROKER_FLOWS_DETACH,
	BROKER_FLOWS_COUNTS,
	BROKER_FLOWS_STOP,
	_BROKER_OPERATION_MAX,
};

#define BROKER_PATH_MAX 1024
#define BROKER_NODE_MAX 256
#define BROKER_TEXT_MAX 256

/* A destination that may be asked from the broker's own namespace. */
struct broker_destination {
	struct ip ip;
	uint16_t port;
	bool stream; /* TCP; else UDP */
	bool any; /* an echo with a name: any address that is neither special nor of the cluster */
	bool cluster; /* with any: the API server, which may be of the cluster */
};

struct broker_setup {
	char node[BROKER_NODE_MAX]; /* names the pins */
	char netns_dir[BROKER_PATH_MAX];
	char cgroup_root[BROKER_PATH_MAX];
	char inventory_file
		[BROKER_PATH_MAX]; /* "": none that would have to be opened for the worker */
	/* For the API server, read again whenever they change; by these very names. */
	char files[BROKER_FILES_MAX][BROKER_PATH_MAX];
	uint32_t n_files;
	struct broker_destination destinations[BROKER_DESTINATIONS_MAX];
	uint32_t n_destinations;
	struct cidr cluster[CLUSTER_CIDRS_MAX]; /* no named echo is in there */
	uint32_t n_cluster;
};

/* A network namespace that BROKER_NETNS found, by its inode; 0: the broker's own. */
struct broker_connect {
	uint64_t netns;
	struct ip peer;
	uint16_t port;
	bool stream;
};

struct broker_netlink {
	uint64_t netns;
	uint32_t groups; /* RTMGRP_* */
};

struct broker_tunnel {
	uint64_t netns;
	uint32_t ifindex;
};

struct broker_attach {
	uint64_t netns;
	uint32_t number, n_links;
	char uid[FLOW_UID_MAX + 1];
	struct flow_link links[LIVE_LINKS_MAX];
};

struct broker_attach_cgroup {
	uint32_t number;
	char uid[FLOW_UID_MAX + 1];
	char path[BROKER_PATH_MAX];
};

struct broker_request {
	uint32_t operation, sequence;
	uint32_t cpu; /* where the worker waits for the answer */
	union {
		struct broker_setup setup;
		struct listener_address listen;
		char path[BROKER_PATH_MAX]; /* FILE, NETNS */
		char name[64];              /* TUNNEL_ANSWER */
		struct broker_connect connect;
		struct broker_netlink netlink;
		struct broker_tunnel tunnel;
		struct broker_attach attach;
		struct broker_attach_cgroup attach_cgroup;
		uint32_t number; /* FLOWS_ADOPTED: look from here on; FLOWS_DETACH */
		bool keep;       /* FLOWS_STOP: what is attached stays and counts on */
	};
};

/* Descriptors: the slots' map, the ring. */
struct broker_flows {
	uint32_t cpus, slots, ring_bytes;
	bool adopted;
};

struct broker_adopted {
	uint32_t number, owner; /* number SUBJECTS_MAX: no more */
	char uid[FLOW_UID_MAX + 1];
};

struct broker_reply {
	uint32_t sequence;
	int32_t result; /* 0 or -errno; then only text and owner may be filled */
	uint32_t descriptors;
	char text[BROKER_TEXT_MAX]; /* why not, one line */
	union {
		uint64_t inode; /* NETNS */
		struct wireguard_device tunnel;
		struct broker_flows flows;
		struct broker_adopted adopted;
		uint32_t
			owner; /* FLOWS_ATTACH…: also when only some interfaces could be attached */
		uint64_t counts[_FLOW_COUNT_MAX];
	};
};

#define BROKER_DESCRIPTORS_MAX 2

/* Bytes of a request and of its reply. 0: no such operation. */
size_t broker_request_size(uint32_t operation);
size_t broker_reply_size(uint32_t operation);

/* Makes a request of the right size one whose every field may be read: a byte of a bool is 0 or 1. */
void broker_request_tidy(struct broker_request *request);
