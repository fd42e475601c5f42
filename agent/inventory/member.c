#include "inventory/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "inventory/cgroup.h"
#include "inventory/inventory.h"
#include "io/netns.h"

static const struct kube_pod *pod_of(const struct member *member)
{
	return member->object->now;
}

static bool given(const char *text)
{
	return text && text[0] != '\0';
}

int member_new(struct member_context *context, struct object *object, struct member **out)
{
	struct member *member = calloc(1, sizeof(*member));

	if (!member)
		return -ENOMEM;
	member->subject.netns_fd = -1;
	member->context = context;
	member->object = object;
	*out = member;
	return 0;
}

/* Network namespace */

static void lose_netns(struct member *member)
{
	struct subject *subject = &member->subject;

	member->reader = live_reader_free(member->reader);
	live_clear(&subject->live);
	if (subject->netns_fd < 0)
		return;
	netns_watch_settle(member->context->netns, subject->netns_inode, false);
	fd_closep(&subject->netns_fd);
	mem_freep(&subject->netns_path);
	subject->netns_inode = 0;
}

struct member *member_free(struct member *member)
{
	if (!member)
		return NULL;
	lose_netns(member);
	subject_clear(&member->subject);
	free(member);
	return NULL;
}

static void on_live(void *user)
{
	struct member *member = user;

	member->context->live_changed(member);
}

static bool follow(struct member *member)
{
	struct live_reader_options options = {
		.netns_fd = member->subject.netns_fd,
		.wireguard_dir = member->context->wireguard_dir,
		.live = &member->subject.live,
		.user = member,
		.changed = on_live,
	};

	if (live_reader_new(member->context->loop, &options, &member->context->live,
	                    &member->reader) < 0) {
		member->context->errors++;
		return false;
	}
	return true;
}

/* Where it should be; false when that is nowhere. */
static bool place_of(struct member *member, const char **path, size_t *candidates)
{
	const struct kube_pod *pod = pod_of(member);
	uint64_t inode;

	*candidates = 1;
	if (pod->host_network)
		return false;
	if (given(pod->netns)) {
		*path = pod->netns;
		return true;
	}
	if (!pod->has_ip)
		return false;
	*candidates = netns_watch_find(member->context->netns, &pod->ip, path, &inode);
	return *candidates > 0;
}

/* While we hold a namespace open its inode is no other's. */
static bool is_ours(const struct subject *subject, const char *path)
{
	struct stat there, ours;

	return subject->netns_fd >= 0 && stat(path, &there) == 0 &&
	       fstat(subject->netns_fd, &ours) == 0 && there.st_dev == ours.st_dev &&
	       there.st_ino == ours.st_ino;
}

/*
 * A pod that may set addresses can take another's as well, and must not be
 * taken for it: while the pod's own namespace is there and has its address, a
 * newer one with that address is somebody else's. (The kubelet tears a pod's
 * old network down before it makes the new one.)
 */
static bool keeps(const struct member *member)
{
	const struct subject *subject = &member->subject;
	const struct live *live = &subject->live;

	if (given(pod_of(member)->netns) || subject->netns_fd < 0 ||
	    !is_ours(subject, subject->netns_path))
		return false;
	return !live->readable || live->truncated || live_has_address(live, &subject->ip);
}

static unsigned int take_netns(struct member *member, const char *path, int *fd, uint64_t inode)
{
	struct subject *subject = &member->subject;
	char *copy = strdup(path);

	lose_netns(member);
	if (!copy)
		return INVENTORY_NETNS | INVENTORY_LIVE;
	subject->netns_path = copy;
	subject->netns_inode = inode;
	subject->netns_fd = take_fd(fd);
	subject->netns_since = clock_now();
	member->had_netns = true;
	netns_watch_settle(member->context->netns, inode, true);
	follow(member);
	return INVENTORY_NETNS | INVENTORY_LIVE;
}

static unsigned int locate_netns(struct member *member)
{
	struct subject *subject = &member->subject;
	cleanup(fd_closep) int fd = -1;
	size_t candidates;
	const char *path;
	uint64_t inode;
	bool found;

	/* In the agent's own; its links name the way of the pod's packets. */
	if (pod_of(member)->host_network)
		return !member->reader && follow(member) ? INVENTORY_LIVE : 0;

	found = place_of(member, &path, &candidates);
	if (found && (is_ours(subject, path) || keeps(member)))
		return !member->reader && follow(member) ? INVENTORY_LIVE : 0;
	if (!found || netns_open(path, &fd, &inode) < 0) {
		bool had = subject->netns_fd >= 0;

		lose_netns(member);
		return had ? INVENTORY_NETNS | INVENTORY_LIVE : 0;
	}
	member->context->ambiguous += candidates > 1;
	return take_netns(member, path, &fd, inode);
}

void member_doubt(struct member *member)
{
	const struct kube_pod *pod = pod_of(member);

	if (member->subject.netns_fd >= 0 && !given(pod->netns))
		netns_watch_settle(member->context->netns, member->subject.netns_inode, false);
}

/* Cgroup */

static bool is_there(const char *path)
{
	struct stat st;

	return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static unsigned int locate_cgroup(struct member *member)
{
	const struct kube_pod *pod = pod_of(member);
	struct subject *subject = &member->subject;
	cleanup(mem_freep) char *found = NULL;
	int r;

	/* kubelet never moves a pod; an annotation may. */
	if (!given(pod->cgroup) && is_there(subject->cgroup_path))
		return 0;
	if (given(pod->cgroup))
		r = cgroup_annotated(member->context->cgroup_root, pod->cgroup, &found);
	else
		r = cgroup_find(member->context->cgroup_root, pod->uid, &found);
	if (r < 0 && !subject->cgroup_path)
		return 0;
	if (r == 0 && subject->cgroup_path && strcmp(subject->cgroup_path, found) == 0)
		return 0;

	free(subject->cgroup_path);
	subject->cgroup_path = take_ptr(found);
	return INVENTORY_NETNS;
}

unsigned int member_locate(struct member *member)
{
	return locate_netns(member) | locate_cgroup(member);
}
