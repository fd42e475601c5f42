/*
 * Pods to the loader: which of their interfaces, or which cgroup, are observed.
 */
#include "flow/loader_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "flow/fail.h"
#include "flow/interface.h"

/* The subject's entry, new when there is none or when the number had another pod. */
static int claim(struct flow_loader *loader, uint32_t number, const char *uid,
                 struct flow_loader_error *error, struct subject_links **out)
{
	struct subject_links *subject;
	char name[FLOW_UID_MAX + 1];
	uint32_t attachment;
	int r;

	if (number >= SUBJECTS_MAX || !uid[0])
		return flow_loader_fail(error, -EINVAL,
		                        "subject %u \"%s\": no such number or no uid", number, uid);
	subject = loader->subjects[number];
	if (subject && strcmp(subject->links.uid, flow_loader_pin_name(uid, name)) != 0) {
		loader_detach(loader, number);
		subject = NULL;
	}
	if (!subject) {
		r = object_next_attachment(loader->object, &attachment);
		if (r < 0)
			return flow_loader_fail(error, r, "cannot number an attachment: %s",
			                        strerror(-r));
		subject = loader_subject_add(loader, attachment << FLOW_OWNER_BITS | number, uid);
		if (!subject)
			return flow_loader_fail(error, -ENOMEM, "out of memory");
	}
	subject->claimed = true;
	loader_watch_failures(loader);
	*out = subject;
	return 0;
}

struct attach_call {
	struct flow_loader *loader;
	struct subject_links *subject;
	const struct flow_link *links;
	size_t n_links;
	struct flow_loader_error *error;
};

/* An interface may go away between its being listed and now: that is the next list's news. */
static bool is_gone(int r)
{
	return r == -ENODEV || r == -ENXIO;
}

static int attach_link(const struct attach_call *call, uint64_t cookie, int socket_fd,
                       const struct flow_link *link)
{
	bool tcx = call->loader->tcx;
	struct link_request request = {
		.link = { .hook = tcx ? HOOK_TCX_EGRESS : HOOK_CLSACT_EGRESS,
		          .ifindex = link->ifindex,
		          .where = cookie },
		.target = (int)link->ifindex,
	};
	int r = interface_l2_bytes(socket_fd, link->ifindex, &request.l2);

	r = r ?: links_make(&call->subject->links, &request);
	if (r == 0 && !link->is_tunnel) {
		request.link.hook = tcx ? HOOK_TCX_INGRESS : HOOK_CLSACT_INGRESS;
		r = links_make(&call->subject->links, &request);
	}
	if (r == 0 || is_gone(r))
		return 0;
	return flow_loader_fail(call->error, r, "interface %u of pod %s cannot be observed: %s",
	                        link->ifindex, call->subject->links.uid, strerror(-r));
}

static int attach_inside(void *arg)
{
	const struct attach_call *call = arg;
	struct subject_links *subject = call->subject;
	cleanup(fd_closep) int fd = -1;
	uint64_t cookie;
	int result = 0, r;

	r = interface_socket(&fd, &cookie);
	if (r < 0)
		return flow_loader_fail(call->error, r, "cannot look into a network namespace: %s",
		                        strerror(-r));
	if (subject->cookie && subject->cookie != cookie)
		object_remove_namespace(call->loader->object, subject->cookie);
	subject->cookie = cookie;

	links_begin(&subject->links);
	for (size_t i = 0; i < call->n_links; i++) {
		r = attach_link(call, cookie, fd, &call->links[i]);
		if (r < 0)
			result = r;
	}
	links_end(&subject->links);
	r = object_add_namespace(call->loader->object, cookie, subject->links.owner);
	if (r < 0)
		log_warn("failed connections are not observed", "uid", subject->links.uid, NULL);
	return result;
}

static bool is_observed(const struct links *links, uint32_t ifindex)
{
	for (size_t i = 0; i < links->n; i++)
		if (links->items[i].ifindex == ifindex)
			return true;
	return false;
}

/*
 * There is room for FLOW_LINKS_MAX. A pod that makes more must not get rid of
 * us by that: what is observed stays so, then they come in their order.
 */
static size_t choose(const struct links *links, const struct flow_link *given, size_t n_given,
                     struct flow_link chosen[static FLOW_LINKS_MAX])
{
	size_t n = 0;

	for (int known = 1; known >= 0; known--)
		for (size_t i = 0; i < n_given && n < FLOW_LINKS_MAX; i++)
			if (is_observed(links, given[i].ifindex) == known)
				chosen[n++] = given[i];
	return n;
}

int flow_loader_attach(struct flow_loader *loader, uint32_t number, const char *uid, int netns_fd,
                       const struct flow_link *links, size_t n_links,
                       struct flow_loader_error *error)
{
	struct flow_link chosen[FLOW_LINKS_MAX];
	struct attach_call call = { loader, NULL, chosen, 0, error };
	int r;

	/* io/netns takes -1 for the node's own namespace: a pod without one must not end up there. */
	if (netns_fd < 0)
		return flow_loader_fail(error, -EINVAL,
		                        "pod %s: its network namespace is not known", uid);
	r = claim(loader, number, uid, error, &call.subject);
	if (r < 0)
		return r;
	call.n_links = choose(&call.subject->links, links, n_links, chosen);
	if (!loader->tcx) {
		fd_closep(&call.subject->netns_fd);
		call.subject->netns_fd = fcntl(netns_fd, F_DUPFD_CLOEXEC, 0);
	}

	error->text[0] = '\0';
	r = loader->in_netns(netns_fd, attach_inside, &call);
	if (r < 0 && !error->text[0])
		return flow_loader_fail(error, r,
		                        "cannot enter the network namespace of pod %s: %s", uid,
		                        strerror(-r));
	if (r == 0 && n_links > FLOW_LINKS_MAX)
		return flow_loader_fail(error, -E2BIG,
		                        "pod %s has %zu interfaces; at most %d are observed", uid,
		                        n_links, FLOW_LINKS_MAX);
	return r;
}

static int attach_cgroup(struct links *links, int cgroup_fd, uint64_t inode)
{
	static const enum hook both[] = { HOOK_CGROUP_EGRESS, HOOK_CGROUP_INGRESS };
	int r = 0;

	links_begin(links);
	for (size_t i = 0; i < 2 && r == 0; i++) {
		struct link_request request = { .link = { .hook = both[i], .where = inode },
			                        .target = cgroup_fd };

		r = links_make(links, &request);
	}
	links_end(links);
	return r;
}

int flow_loader_attach_cgroup(struct flow_loader *loader, uint32_t number, const char *uid,
                              const char *cgroup_path, struct flow_loader_error *error)
{
	cleanup(fd_closep) int fd = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct subject_links *subject;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return flow_loader_fail(error, -errno, "%s: cannot open the cgroup: %s",
		                        cgroup_path, strerror(errno));
	r = claim(loader, number, uid, error, &subject);
	if (r < 0)
		return r;
	r = attach_cgroup(&subject->links, fd, st.st_ino);
	if (r < 0)
		return flow_loader_fail(error, r, "%s: its packets cannot be observed: %s%s",
		                        cgroup_path, strerror(-r),
		                        r == -EBADF ? " (not a cgroup v2 directory)" : "");
	return 0;
}
