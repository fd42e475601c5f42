#include "broker/guard.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define CNI_DIRECTORY "/etc/cni/net.d"
/* Read anew at each reload, by when it may be another file than Landlock knows. */
#define RESOLV_CONF "/etc/resolv.conf"
/* Where iproute2 and every runtime keep them; the configured folder may be another one. */
#define NETNS_DIRECTORY "/run/netns"
#define DNS_PORT 53
#define V4(len) (96 + (len))

/* The groups that tell of links, addresses, routes and rules: what a watch of ours listens to. */
#define GROUPS                                                                       \
	(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | \
	 RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV6_RULE - 1))

/* Of a probe at each echo: its own, one per address of a name, and a name server's by UDP twice and by TCP. */
#define SOCKETS_MAX (ECHOES_MAX * (1 + DNS_ADDRESSES_MAX + 3 * DNS_SERVERS_MAX))
#define SOCKETS_RATE (ECHO_RATE_PER_S * SOCKETS_MAX)
#define SOCKETS_BURST (ECHO_BURST * SOCKETS_MAX)

/*
 * Per second, and how many at once. Probes: no echo is asked more often than
 * ECHO_RATE_PER_S, however many subjects there are. The rest follows from how
 * many subjects and namespaces there can be.
 */
static const struct rate {
	uint64_t per_second, burst;
} rates[_BROKER_OPERATION_MAX] = {
	[BROKER_SETUP] = { 8, 64 },
	[BROKER_LISTEN] = { 1, 2 * LISTENERS_MAX },
	[BROKER_SEAL] = { 64, 256 }, /* with every reload, also one that was refused */
	[BROKER_FILE] = { 4 * CONFLIST_FILES_MAX, 8 * CONFLIST_FILES_MAX },
	[BROKER_NETNS] = { 4 * NETNS_MAX, 8 * NETNS_MAX },
	[BROKER_CONNECT] = { SOCKETS_RATE, SOCKETS_BURST },
	[BROKER_NETLINK] = { 8 * NETNS_MAX, 16 * NETNS_MAX },
	[BROKER_TUNNEL] = { 4 * SUBJECTS_MAX, 8 * SUBJECTS_MAX },
	[BROKER_TUNNEL_ANSWER] = { 4 * SUBJECTS_MAX, 8 * SUBJECTS_MAX },
	[BROKER_FLOWS_START] = { 1, 4 },
	[BROKER_FLOWS_ADOPTED] = { SUBJECTS_MAX, 4 * SUBJECTS_MAX },
	[BROKER_FLOWS_ATTACH] = { 4 * SUBJECTS_MAX, 8 * SUBJECTS_MAX },
	[BROKER_FLOWS_ATTACH_CGROUP] = { 4 * SUBJECTS_MAX, 8 * SUBJECTS_MAX },
	[BROKER_FLOWS_DETACH] = { 4 * SUBJECTS_MAX, 8 * SUBJECTS_MAX },
	[BROKER_FLOWS_COUNTS] = { 256, 1024 },
	[BROKER_FLOWS_STOP] = { 1, 4 },
};

void guard_init(struct guard *guard, const char *config_path)
{
	*guard = (struct guard){ .config_path = config_path };
}

int guard_rate(struct guard *guard, uint32_t operation, const struct moment *now)
{
	const struct rate *rate = &rates[operation];
	struct guard_bucket *bucket = &guard->bucket[operation];
	uint64_t full = rate->burst * 1000, elapsed_ms, gained;

	if (!bucket->filled_ns) {
		bucket->filled_ns = now->mono_ns;
		bucket->tokens = full;
	}
	/* What is less than a millisecond is kept for the next time. */
	elapsed_ms = (now->mono_ns - bucket->filled_ns) / NSEC_PER_MSEC;
	bucket->filled_ns += elapsed_ms * NSEC_PER_MSEC;
	gained = elapsed_ms * rate->per_second;
	bucket->tokens = gained > full - bucket->tokens ? full : bucket->tokens + gained;
	if (bucket->tokens < 1000)
		return -EAGAIN;
	bucket->tokens -= 1000;
	return 0;
}

/* A text that ends, and a path from the root without steps back. */
static bool is_path(const char *path, size_t size)
{
	size_t len = strnlen(path, size);

	if (len == 0 || len == size || path[0] != '/')
		return false;
	for (const char *part = path; part; part = strchr(part + 1, '/'))
		if (strncmp(part, "/../", 4) == 0 || strcmp(part, "/..") == 0)
			return false;
	return true;
}

static bool same_files(const struct broker_setup *a, const struct broker_setup *b)
{
	if (a->n_files != b->n_files)
		return false;
	for (uint32_t i = 0; i < a->n_files; i++)
		if (strcmp(a->files[i], b->files[i]) != 0)
			return false;
	return true;
}

/* What a reload may not change: it would be other files that become readable, and other namespaces. */
static bool same_places(const struct broker_setup *a, const struct broker_setup *b)
{
	return strcmp(a->node, b->node) == 0 && strcmp(a->netns_dir, b->netns_dir) == 0 &&
	       strcmp(a->cgroup_root, b->cgroup_root) == 0 &&
	       strcmp(a->inventory_file, b->inventory_file) == 0 && same_files(a, b);
}

static bool are_files(const struct broker_setup *setup)
{
	if (setup->n_files > BROKER_FILES_MAX)
		return false;
	for (uint32_t i = 0; i < setup->n_files; i++)
		if (!is_path(setup->files[i], sizeof(setup->files[i])))
			return false;
	return true;
}

int guard_setup(struct guard *guard, const struct broker_setup *setup)
{
	if (guard->state == GUARD_SEALED)
		return -EPERM;
	if (strnlen(setup->node, sizeof(setup->node)) == sizeof(setup->node) || !setup->node[0] ||
	    !is_path(setup->netns_dir, sizeof(setup->netns_dir)) ||
	    !is_path(setup->cgroup_root, sizeof(setup->cgroup_root)) ||
	    (setup->inventory_file[0] &&
	     !is_path(setup->inventory_file, sizeof(setup->inventory_file))) ||
	    !are_files(setup) || setup->n_destinations > BROKER_DESTINATIONS_MAX ||
	    setup->n_cluster > CLUSTER_CIDRS_MAX)
		return -EINVAL;
	if (guard->state == GUARD_OPEN && !(guard->has_setup && same_places(&guard->setup, setup)))
		return -EPERM;
	guard->setup = *setup;
	guard->has_setup = true;
	return 0;
}

void guard_seal(struct guard *guard)
{
	guard->state = GUARD_SEALED;
}

/* What is being read now may be older than the file that the second signal is about. */
bool guard_reopen(struct guard *guard)
{
	if (guard->state != GUARD_SEALED) {
		guard->again = true;
		return false;
	}
	guard->state = GUARD_OPEN;
	return true;
}

bool guard_again(struct guard *guard)
{
	if (!guard->again || guard->state != GUARD_SEALED)
		return false;
	guard->again = false;
	return guard_reopen(guard);
}

int guard_listen(const struct guard *guard, const struct listener_address *address)
{
	if (guard->state != GUARD_NEW)
		return -EPERM;
	return !address->local || is_path(address->path, sizeof(address->path)) ? 0 : -EINVAL;
}

/* A file of that folder itself, not of one below. */
static bool is_in(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	const char *name;

	while (len > 1 && folder[len - 1] == '/')
		len--;
	if (strncmp(path, folder, len) != 0 || path[len] != '/')
		return false;
	name = path + len + 1;
	return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0;
}

/*
 * Of CNI's folder what libcni reads (libcni/api.go, ConfFiles): plugins also keep
 * their credentials there, calico-kubeconfig for one.
 */
static bool is_cni_configuration(const char *path)
{
	const char *dot = strrchr(path, '.');

	return is_in(path, CNI_DIRECTORY) && dot &&
	       (strcmp(dot, ".conflist") == 0 || strcmp(dot, ".conf") == 0 ||
	        strcmp(dot, ".json") == 0);
}

/* By its name, whatever links it goes by: a volume's files are other ones after each renewal. */
static bool is_granted(const struct broker_setup *setup, const char *path)
{
	for (uint32_t i = 0; i < setup->n_files; i++)
		if (strcmp(path, setup->files[i]) == 0)
			return true;
	return false;
}

int guard_file(const struct guard *guard, const char path[static BROKER_PATH_MAX], bool *folder)
{
	if (!is_path(path, BROKER_PATH_MAX))
		return -EINVAL;
	*folder = strcmp(path, CNI_DIRECTORY) == 0 ||
	          (guard->has_setup && strcmp(path, guard->setup.netns_dir) == 0);
	if (*folder || is_cni_configuration(path) || strcmp(path, RESOLV_CONF) == 0 ||
	    strcmp(path, guard->config_path) == 0)
		return 0;
	if (!guard->has_setup)
		return -EPERM;
	return strcmp(path, guard->setup.inventory_file) == 0 || is_granted(&guard->setup, path)
	               ? 0
	               : -EPERM;
}

int guard_netns(const struct guard *guard, const char path[static BROKER_PATH_MAX])
{
	if (!is_path(path, BROKER_PATH_MAX))
		return -EINVAL;
	if (!guard->has_setup)
		return -EPERM;
	return is_in(path, guard->setup.netns_dir) || is_in(path, NETNS_DIRECTORY) ||
	                       is_in(path, "/var" NETNS_DIRECTORY)
	               ? 0
	               : -EPERM;
}

/* "", "/", "/." and the like: where it begins. */
static bool leads_nowhere(const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len > 1 || (len == 1 && path[0] != '.'))
			return false;
		path += len + (path[len] == '/');
	}
	return true;
}

int guard_cgroup(const struct guard *guard, const char path[static BROKER_PATH_MAX])
{
	const char *root = guard->setup.cgroup_root;
	size_t len = strlen(root);

	if (!is_path(path, BROKER_PATH_MAX))
		return -EINVAL;
	if (!guard->has_setup)
		return -EPERM;
	while (len > 0 && root[len - 1] == '/')
		len--;
	/* Below it: the root itself is nobody's, every process of the node is in it. */
	return strncmp(path, root, len) == 0 && path[len] == '/' && !leads_nowhere(path + len)
	               ? 0
	               : -EPERM;
}

#define NET(len, ...)                    \
	{                                \
		{ { __VA_ARGS__ } }, len \
	}
#define NET4(len, ...) NET(V4(len), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, __VA_ARGS__)

/* Nobody's: never the address of an echo or of a name server (RFC 6890). */
static const struct cidr nobodys[] = {
	NET4(8, 0), NET4(4, 224), NET4(32, 255, 255, 255, 255), NET(128, 0), NET(8, 0xff),
};
static const struct cidr loopback[] = { NET4(8, 127), NET(128, [15] = 1) };
/* Instance metadata and the platform's own address live here, and on some nodes the name server. */
static const struct cidr node_local[] = {
	NET4(16, 169, 254),
	NET4(32, 168, 63, 129, 16),
	NET(10, 0xfe, 0x80),
};

static bool any_contains(const struct cidr *list, size_t n, const struct ip *ip)
{
	for (size_t i = 0; i < n; i++)
		if (cidr_contains(&list[i], ip))
			return true;
	return false;
}

#define IS_ONE_OF(list, ip) any_contains(list, sizeof(list) / sizeof((list)[0]), ip)

static bool is_special(const struct ip *ip, uint16_t port)
{
	return IS_ONE_OF(nobodys, ip) || IS_ONE_OF(loopback, ip) ||
	       (port != DNS_PORT && IS_ONE_OF(node_local, ip));
}

static bool matches(const struct guard *guard, const struct broker_destination *destination,
                    const struct broker_connect *connect)
{
	if (destination->port != connect->port || destination->stream != connect->stream)
		return false;
	if (!destination->any)
		return memcmp(&destination->ip, &connect->peer, sizeof(connect->peer)) == 0;
	return !is_special(&connect->peer, connect->port) &&
	       (destination->cluster ||
	        !any_contains(guard->setup.cluster, guard->setup.n_cluster, &connect->peer));
}

int guard_connect(const struct guard *guard, const struct broker_connect *connect)
{
	if (!guard->has_setup || guard->state == GUARD_NEW)
		return -EPERM;
	if (connect->port == 0 || IS_ONE_OF(nobodys, &connect->peer))
		return -EINVAL;
	if (connect->netns)
		return is_special(&connect->peer, connect->port) ? -EPERM : 0;
	for (uint32_t i = 0; i < guard->setup.n_destinations; i++)
		if (matches(guard, &guard->setup.destinations[i], connect))
			return 0;
	return -EPERM;
}

int guard_netlink(const struct broker_netlink *netlink)
{
	return netlink->groups & ~GROUPS ? -EPERM : 0;
}

static bool is_uid(const char uid[static FLOW_UID_MAX + 1])
{
	return uid[0] && memchr(uid, '\0', FLOW_UID_MAX + 1);
}

int guard_attach(const struct broker_attach *attach)
{
	/* 0 would be the broker's own: the node's. */
	return attach->netns && attach->number < SUBJECTS_MAX && is_uid(attach->uid) &&
	                       attach->n_links <= LIVE_LINKS_MAX
	               ? 0
	               : -EINVAL;
}

int guard_attach_cgroup(const struct guard *guard, const struct broker_attach_cgroup *attach)
{
	if (attach->number >= SUBJECTS_MAX || !is_uid(attach->uid))
		return -EINVAL;
	return guard_cgroup(guard, attach->path);
}
