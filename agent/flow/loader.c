#include "flow/loader_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "flow/fail.h"
#include "flow/privilege.h"
#include "flow/probers.h"
#include "flow/source.h"

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

struct subject_links *loader_subject_add(struct flow_loader *loader, uint32_t owner,
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
			subject = loader_subject_add(loader, owner, uid);
	}
	if (subject)
		return links_adopt(&subject->links);

	loader->stale++;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		pins_remove_tree(path);
	return 0;
}

/* A pinned tracepoint link cannot be given another program: the old one goes, ours comes. */
void loader_watch_failures(struct flow_loader *loader)
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
		loader_watch_failures(loader);

	*out = take_ptr(loader);
	return 0;
}

static int remove_inside(void *arg)
{
	links_remove(arg);
	return 0;
}

void loader_detach(struct flow_loader *loader, uint32_t number)
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
			loader_detach(loader, i);
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
			loader_detach(loader, i);
	}
	return done;
}

void flow_loader_detach(struct flow_loader *loader, uint32_t number)
{
	if (number < SUBJECTS_MAX)
		loader_detach(loader, number);
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
