#include "flow/links.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "flow/clsact.h"

/* include/uapi/linux/bpf.h of 6.6; Debian 12's headers are older. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47
#define LOOPBACK_IFINDEX 1

static const struct hook_kind {
	const char *name;
	enum program program;
	int attach_type; /* -1: no link, a classic filter */
} hooks[_HOOK_MAX] = {
	[HOOK_TCX_EGRESS] = { "tcx_egress", PROGRAM_EGRESS, ATTACH_TCX_EGRESS },
	[HOOK_TCX_INGRESS] = { "tcx_ingress", PROGRAM_INGRESS, ATTACH_TCX_INGRESS },
	[HOOK_CLSACT_EGRESS] = { "clsact_egress", PROGRAM_EGRESS, -1 },
	[HOOK_CLSACT_INGRESS] = { "clsact_ingress", PROGRAM_INGRESS, -1 },
	[HOOK_CGROUP_EGRESS] = { "cgroup_egress", PROGRAM_CGROUP_EGRESS, BPF_CGROUP_INET_EGRESS },
	[HOOK_CGROUP_INGRESS] = { "cgroup_ingress", PROGRAM_CGROUP_INGRESS,
	                          BPF_CGROUP_INET_INGRESS },
};

static const char *link_path(const struct links *links, const struct link *link,
                             char buf[static PINS_PATH_MAX])
{
	size_t n;

	pins_subject(links->pins, links->owner, links->uid, buf);
	n = strlen(buf);
	snprintf(buf + n, PINS_PATH_MAX - n, "/%s-%u-%llx", hooks[link->hook].name, link->ifindex,
	         (unsigned long long)link->where);
	return buf;
}

static int parse_link(const char *name, struct link *out)
{
	struct link link = { 0 };
	unsigned long long where;
	char kind[32], again[PINS_PATH_MAX];

	if (sscanf(name, "%31[a-z_]-%u-%llx", kind, &link.ifindex, &where) != 3)
		return -EINVAL;
	link.where = where;
	/* Written again it must be the same: a name of ours has one spelling. */
	snprintf(again, sizeof(again), "%s-%u-%llx", kind, link.ifindex, where);
	if (strcmp(again, name) != 0)
		return -EINVAL;
	for (int i = 0; i < _HOOK_MAX; i++) {
		if (strcmp(hooks[i].name, kind) == 0) {
			link.hook = (enum hook)i;
			*out = link;
			return 0;
		}
	}
	return -EINVAL;
}

static int adopt_one(void *user, const char *dir, const char *name)
{
	struct links *links = user;
	char path[PINS_PATH_MAX];
	struct link link;

	if (links->n < sizeof(links->items) / sizeof(links->items[0]) &&
	    parse_link(name, &link) == 0) {
		links->items[links->n++] = link;
		return 0;
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	return 0;
}

int links_adopt(struct links *links)
{
	char dir[PINS_PATH_MAX];

	return pins_each(pins_subject(links->pins, links->owner, links->uid, dir), adopt_one,
	                 links);
}

static struct link *find_link(struct links *links, const struct link *like)
{
	for (size_t i = 0; i < links->n; i++) {
		struct link *link = &links->items[i];

		if (link->hook == like->hook && link->ifindex == like->ifindex &&
		    link->where == like->where)
			return link;
	}
	return NULL;
}

/* A link whose interface or cgroup is gone has no target any more, but its pin stays. */
static bool is_link_alive(const struct link *link, const char *path)
{
	cleanup(fd_closep) int fd = bpf_obj_get(path);
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return false;
	/* struct bpf_link_info.tcx begins as .xdp does: with the interface. */
	return link->ifindex ? info.xdp.ifindex == link->ifindex : info.cgroup.cgroup_id != 0;
}

static bool is_alive(const struct link *link, const char *path)
{
	if (hooks[link->hook].attach_type >= 0)
		return is_link_alive(link, path);
	return clsact_is_attached(link->ifindex, link->hook == HOOK_CLSACT_EGRESS);
}

static int replace_program(const char *path, int program)
{
	cleanup(fd_closep) int fd = bpf_obj_get(path);

	if (fd < 0)
		return -errno;
	return bpf_link_update(fd, program, NULL) < 0 ? -errno : 0;
}

/* The pin appears only with a working link behind it. */
static int create_link(int attach_type, int target, const char *path, int program)
{
	cleanup(fd_closep) int fd = bpf_link_create(program, target, attach_type, NULL);

	if (fd < 0)
		return -errno;
	return bpf_obj_pin(fd, path) < 0 ? -errno : 0;
}

/* A classic filter has no link to pin: the pinned program stands for it. */
static int create_filter(const struct link *link, const char *path, int program)
{
	int r = clsact_attach(link->ifindex, link->hook == HOOK_CLSACT_EGRESS, program);

	if (r < 0)
		return r;
	unlink(path);
	return bpf_obj_pin(program, path) < 0 ? -errno : 0;
}

static void drop(struct links *links, struct link *link)
{
	char path[PINS_PATH_MAX];

	if (hooks[link->hook].attach_type < 0)
		clsact_detach(link->ifindex, link->hook == HOOK_CLSACT_EGRESS);
	unlink(link_path(links, link, path));
	*link = links->items[--links->n];
}

/* Borrowed: one of links->programs. */
static int program_for(struct links *links, enum program which, uint32_t l2, int *fd)
{
	struct link_program *program = links->programs;
	int r;

	for (; program < links->programs + links->n_programs; program++) {
		if (program->program == which && program->l2 == l2) {
			*fd = program->fd;
			return 0;
		}
	}
	if (links->n_programs == sizeof(links->programs) / sizeof(links->programs[0]))
		return -E2BIG;
	r = object_program(links->object, which, links->owner, l2, &program->fd);
	if (r < 0)
		return r;
	program->program = which;
	program->l2 = l2;
	links->n_programs++;
	*fd = program->fd;
	return 0;
}

static void close_programs(struct links *links)
{
	while (links->n_programs)
		fd_closep(&links->programs[--links->n_programs].fd);
}

static int attach(struct links *links, const struct link_request *request, struct link *known)
{
	const struct hook_kind *kind = &hooks[request->link.hook];
	char path[PINS_PATH_MAX];
	int program, r;

	r = program_for(links, kind->program, request->l2, &program);
	if (r < 0)
		return r;
	link_path(links, &request->link, path);
	if (kind->attach_type < 0)
		return create_filter(&request->link, path, program);
	if (known && is_link_alive(known, path) && replace_program(path, program) == 0)
		return 0;
	unlink(path);
	return create_link(kind->attach_type, request->target, path, program);
}

int links_make(struct links *links, const struct link_request *request)
{
	struct link *known = find_link(links, &request->link);
	char path[PINS_PATH_MAX];
	int r;

	if (known && known->current && is_alive(known, link_path(links, known, path))) {
		known->wanted = true;
		return 0;
	}
	if (!known && links->n == sizeof(links->items) / sizeof(links->items[0]))
		return -E2BIG;
	r = pins_make_dir(pins_subject(links->pins, links->owner, links->uid, path));
	r = r ?: attach(links, request, known);
	if (r < 0)
		return r;

	if (!known) {
		known = &links->items[links->n++];
		*known = request->link;
	}
	known->current = known->wanted = true;
	return 0;
}

void links_begin(struct links *links)
{
	for (size_t i = 0; i < links->n; i++)
		links->items[i].wanted = false;
}

void links_end(struct links *links)
{
	close_programs(links);
	for (size_t i = links->n; i-- > 0;) {
		if (!links->items[i].wanted)
			drop(links, &links->items[i]);
	}
}

void links_remove(struct links *links)
{
	char path[PINS_PATH_MAX];

	links_begin(links);
	links_end(links);
	pins_remove_tree(pins_subject(links->pins, links->owner, links->uid, path));
}

bool links_have_tcx(const struct object *object)
{
	cleanup(fd_closep) int program = -1, fd = -1;

	if (object_program(object, PROGRAM_EGRESS, 0, 14, &program) < 0)
		return false;
	fd = bpf_link_create(program, LOOPBACK_IFINDEX, ATTACH_TCX_EGRESS, NULL);
	return fd >= 0;
}
