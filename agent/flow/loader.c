#include "flow/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "flow/fail.h"
#include "flow/interface.h"
#include "flow/links.h"
#include "flow/privilege.h"
#include "flow/probers.h"
#include "flow/source.h"

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

static struct flow_loader *release(struct flow_loader *loader)
{
	if (!loader)
		return NULL;

	for (size_t i = 0; i < SUBJECTS_MAX; i++) {
		if (loader->subjects[i])
			fd_closep(&loader->subjects[i]->netns_fd);
		free(loader->subjects[i]);
	}
	fd_closep(&loader->failures_fd);
	fd_closep(&loader->held_fd);
	object_free(loader->object);
	free(loader);
	return NULL;
}

static void releasep(struct flow_loader **loader)
{
	*loader = release(*loader);
}

static struct subject_links *subject_add(struct flow_loader *loader, uint32_t owner,
                                         const char *uid)
{
	uint32_t number = owner & (FLOW_OWNERS - 1);
	struct subject_links *subject = calloc(1, sizeof(*subject));

	if (!subject)
		return NULL;
	subject->netns_fd = -1;
	subject->links.object = loader->object;
	subject->links.pins = &loader->pins;
	subject->links.owner = owner;
	flow_loader_pin_name(uid, subject->links.uid);
	loader->subjects[number] = subject;
	loader->n_subjects++;
	return subject;
}

static int adopt_subject(void *user, const char *dir, const char *name)
{
	struct flow_loader *loader = user;
	char uid[FLOW_UID_MAX + 1], path[PINS_PATH_MAX];
	struct subject_links *subject = NULL;
	uint32_t owner, number;

	if (pins_parse_subject(name, &owner, uid) == 0) {
		number = owner & (FLOW_OWNERS - 1);
		if (number < SUBJECTS_MAX && !loader->subjects[number])
			subject = subject_add(loader, owner, uid);
	}
	if (subject)
		return links_adopt(&subject->links);

	loader->stale++;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		pins_remove_tree(path);
	return 0;
}

/* A pinned tracepoint link cannot be given another program: the old one goes, ours comes. */
static void watch_failures(struct flow_loader *loader)
{
	char path[PINS_PATH_MAX];
	int r;

	if (loader->failures_fd >= 0)
		return;
	unlink(pins_path(&loader->pins, "connect_failed", path));
	r = object_watch_failures(loader->object, &loader->failures_fd);
	if (r == 0 && bpf_obj_pin(loader->failures_fd, path) < 0)
		r = -errno;
	if (r < 0)
		log_warn("failed connections are not observed", "reason", strerror(-r), NULL);
}

static void unwatch_failures(struct flow_loader *loader)
{
	char path[PINS_PATH_MAX];

	unlink(pins_path(&loader->pins, "connect_failed", path));
	fd_closep(&loader->failures_fd);
}

/* Pins of another version are of no use: the pods are attached anew, and what was counted is lost. */
static int load_object(struct flow_loader *loader, const struct flow_options *options,
                       struct flow_loader_error *error)
{
	char maps[PINS_PATH_MAX], subjects[PINS_PATH_MAX], probers[PINS_PATH_MAX];
	struct object_options wanted = { .maps_dir = pins_path(&loader->pins, "maps", maps),
		                         .probers = probers_path(&loader->pins, probers),
		                         .slots = options->slots,
		                         .ring_bytes = options->ring_bytes };
	int r = object_new(&wanted, error, &loader->object);

	if (r != -ESTALE)
		return r;

	log_warn("pinned maps are of another version: starting anew", "directory", maps, NULL);
	loader->stale++;
	unwatch_failures(loader);
	r = pins_remove_tree(maps);
	r = r ?: pins_remove_tree(pins_path(&loader->pins, "subjects", subjects));
	r = r ?: pins_make_dir(maps);
	r = r ?: pins_make_dir(subjects);
	if (r < 0)
		return flow_loader_fail(error, r, "%s: cannot remove stale pins: %s",
		                        loader->pins.root, strerror(-r));
	return object_new(&wanted, error, &loader->object);
}

/* Loads the programs and makes our probes known to all that look at the same pods. */
static int load(struct flow_loader *loader, const struct flow_options *options,
                struct flow_loader_error *error)
{
	cleanup(fd_closep) int lock = -1;
	int r = probers_lock(&loader->pins, &lock);

	if (r < 0)
		return flow_loader_fail(error, r, "%s: cannot lock its directory: %s",
		                        loader->pins.root, strerror(-r));
	r = pins_hold(&loader->pins, &loader->held_fd);
	if (r == -EBUSY)
		return flow_loader_fail(error, r, "%s: another agent of this node runs",
		                        loader->pins.root);
	if (r < 0)
		return flow_loader_fail(error, r, "%s: cannot hold it: %s", loader->pins.root,
		                        strerror(-r));
	pins_remove_dead(&loader->pins, PINS_ONCE);
	r = load_object(loader, options, error);
	if (r < 0)
		return r;
	r = probers_join(&loader->pins, object_probers_fd(loader->object),
	                 object_own_cgroup(loader->object));
	if (r < 0)
		return flow_loader_fail(error, r, "cannot tell which packets are probes: %s",
		                        strerror(-r));
	return 0;
}

/* Of an instance that is gone for good. */
static int remove_pins(const struct pins *pins)
{
	cleanup(fd_closep) int lock = -1;
	int locked = probers_lock(pins, &lock), r = pins_remove_tree(pins->root);

	if (locked == 0)
		probers_tidy(pins);
	return r;
}

int flow_loader_new(const struct flow_options *options, struct flow_loader_error *error,
                    struct flow_loader **out)
{
	cleanup(releasep) struct flow_loader *loader = calloc(1, sizeof(*loader));
	char subjects[PINS_PATH_MAX];
	int r;

	if (!loader)
		return flow_loader_fail(error, -ENOMEM, "out of memory");
	loader->failures_fd = loader->held_fd = -1;
	loader->in_netns = options->in_netns;

	r = privilege_check(error);
	r = r ?: pins_open(options->bpffs, options->instance, error, &loader->pins);
	r = r ?: load(loader, options, error);
	if (r < 0)
		return r;

	r = pins_each(pins_path(&loader->pins, "subjects", subjects), adopt_subject, loader);
	if (r < 0)
		return flow_loader_fail(error, r, "%s: cannot read pins: %s", subjects,
		                        strerror(-r));
	loader->adopted = loader->n_subjects > 0;
	loader->tcx = !options->clsact && links_have_tcx(loader->object);
	if (loader->n_subjects)
		watch_failures(loader);

	*out = take_ptr(loader);
	return 0;
}

static int remove_inside(void *arg)
{
	links_remove(arg);
	return 0;
}

static void detach(struct flow_loader *loader, uint32_t number)
{
	struct subject_links *subject = loader->subjects[number];

	if (!subject)
		return;
	if (subject->cookie)
		object_remove_namespace(loader->object, subject->cookie);
	/* The namespace may be gone, and the classic filter with it; the pins must go in any case. */
	if (subject->netns_fd >= 0)
		loader->in_netns(subject->netns_fd, remove_inside, &subject->links);
	else
		links_remove(&subject->links);
	object_reset_tracked(loader->object, number);
	fd_closep(&subject->netns_fd);
	free(subject);
	loader->subjects[number] = NULL;
	if (--loader->n_subjects == 0)
		unwatch_failures(loader);
}

struct flow_loader *flow_loader_free(struct flow_loader *loader, bool keep)
{
	if (!loader)
		return NULL;

	if (!keep) {
		for (uint32_t i = 0; i < SUBJECTS_MAX; i++)
			detach(loader, i);
		unwatch_failures(loader);
		(void)remove_pins(&loader->pins);
	}
	return release(loader);
}

int flow_cleanup(const char *bpffs, const char *instance)
{
	struct pins pins;
	int r = pins_find(bpffs, instance, &pins);

	return r < 0 ? r : remove_pins(&pins);
}

void flow_loader_adopted(struct flow_loader *loader, flow_loader_adopted_fn fn, void *user)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct subject_links *subject = loader->subjects[i];

		if (subject && !subject->claimed)
			fn(user, i, subject->links.owner, subject->links.uid);
	}
}

bool flow_loader_drop_unclaimed(struct flow_loader *loader, flow_loader_keep_fn keep, void *user)
{
	bool done = true;

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		if (!loader->subjects[i] || loader->subjects[i]->claimed)
			continue;
		if (keep && keep(user, i))
			done = false;
		else
			detach(loader, i);
	}
	return done;
}

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
		detach(loader, number);
		subject = NULL;
	}
	if (!subject) {
		r = object_next_attachment(loader->object, &attachment);
		if (r < 0)
			return flow_loader_fail(error, r, "cannot number an attachment: %s",
			                        strerror(-r));
		subject = subject_add(loader, attachment << FLOW_OWNER_BITS | number, uid);
		if (!subject)
			return flow_loader_fail(error, -ENOMEM, "out of memory");
	}
	subject->claimed = true;
	watch_failures(loader);
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

void flow_loader_detach(struct flow_loader *loader, uint32_t number)
{
	if (number < SUBJECTS_MAX)
		detach(loader, number);
}

bool flow_loader_is_attached(const struct flow_loader *loader, uint32_t number)
{
	const struct subject_links *subject =
		number < SUBJECTS_MAX ? loader->subjects[number] : NULL;

	return subject && subject->claimed && subject->links.n > 0;
}

struct flow_loader_stats flow_loader_stats(const struct flow_loader *loader)
{
	const struct flow_layout *layout = object_layout(loader->object);

	return (struct flow_loader_stats){ .tcx = loader->tcx,
		                           .adopted = loader->adopted,
		                           .stale = loader->stale,
		                           .cpus = layout->cpus,
		                           .slots = layout->slots };
}

int flow_loader_number(const struct flow_loader *loader, uint32_t owner)
{
	uint32_t number = owner & (FLOW_OWNERS - 1);
	const struct subject_links *subject;

	if (number >= SUBJECTS_MAX)
		return -1;
	subject = loader->subjects[number];
	return subject && subject->links.owner == owner ? (int)number : -1;
}

uint32_t flow_loader_owner(const struct flow_loader *loader, uint32_t number)
{
	const struct subject_links *subject =
		number < SUBJECTS_MAX ? loader->subjects[number] : NULL;

	return subject ? subject->links.owner : 0;
}

static int number_of(void *user, uint32_t owner)
{
	return flow_loader_number(user, owner);
}

static int counts_of(void *user, uint64_t counts[static _FLOW_COUNT_MAX])
{
	return object_counts(((struct flow_loader *)user)->object, counts);
}

void flow_loader_source(struct flow_loader *loader, struct flow_source *out)
{
	const struct flow_layout *layout = object_layout(loader->object);

	*out = (struct flow_source){ .slots_fd = object_slots_fd(loader->object),
		                     .ring_fd = object_ring_fd(loader->object),
		                     .ring_bytes = object_ring_bytes(loader->object),
		                     .cpus = layout->cpus,
		                     .slots = layout->slots,
		                     .adopted = loader->adopted,
		                     .number = number_of,
		                     .counts = counts_of,
		                     .user = loader };
}
