#include "flow/probers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include <linux/types.h>

#include "base/cleanup.h"
#include "bpf/flow_event.h"

#define MAP_NAME "probers:1"
#define CLAIMS "probers"

/* What all instances have in common. Returns buf. */
static const char *common_dir(const struct pins *pins, char buf[static PINS_PATH_MAX])
{
	snprintf(buf, PINS_PATH_MAX, "%.*s", (int)(strrchr(pins->root, '/') - pins->root),
	         pins->root);
	return buf;
}

const char *probers_path(const struct pins *pins, char buf[static PINS_PATH_MAX])
{
	size_t n = strlen(common_dir(pins, buf));

	snprintf(buf + n, PINS_PATH_MAX - n, "/" MAP_NAME);
	return buf;
}

int probers_lock(const struct pins *pins, int *out)
{
	char dir[PINS_PATH_MAX];
	cleanup(fd_closep) int fd = open(common_dir(pins, dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	*out = take_fd(&fd);
	return 0;
}

static int remove_claim(void *user, const char *dir, const char *name)
{
	char path[PINS_PATH_MAX];

	(void)user;
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		(void)pins_remove_tree(path);
	return 0;
}

/* An earlier run of this instance probed from where it was; now it is us. */
static int claim(const struct pins *pins, uint64_t cgroup)
{
	char dir[PINS_PATH_MAX];
	size_t n = strlen(pins_path(pins, CLAIMS, dir));
	int r = pins_make_dir(dir);

	r = r ?: pins_each(dir, remove_claim, NULL);
	if (r < 0 || !cgroup)
		return r;
	snprintf(dir + n, sizeof(dir) - n, "/%llx", (unsigned long long)cgroup);
	return pins_make_dir(dir);
}

int probers_join(const struct pins *pins, int map_fd, uint64_t cgroup)
{
	uint8_t here = 1;
	int r = claim(pins, cgroup);

	if (r < 0)
		return r;
	/* First what others left, so that there is room. */
	probers_tidy(pins);
	if (cgroup && bpf_map_update_elem(map_fd, &cgroup, &here, BPF_ANY) < 0)
		return -errno;
	return 0;
}

struct search {
	uint64_t cgroup;
	unsigned int instances;
	bool claimed;
};

static int look_at(void *user, const char *dir, const char *name)
{
	struct search *search = user;
	char path[PINS_PATH_MAX];
	struct stat st;
	int n;

	if (strcmp(name, MAP_NAME) == 0)
		return 0;
	search->instances++;
	n = snprintf(path, sizeof(path), "%s/%s/" CLAIMS "/%llx", dir, name,
	             (unsigned long long)search->cgroup);
	/* Not access(2), which asks for the real user. What cannot be looked at is left alone. */
	if (n >= (int)sizeof(path) || stat(path, &st) == 0 || errno != ENOENT)
		search->claimed = true;
	return 0;
}

void probers_tidy(const struct pins *pins)
{
	char dir[PINS_PATH_MAX], path[PINS_PATH_MAX];
	cleanup(fd_closep) int map = bpf_obj_get(probers_path(pins, path));
	uint64_t ids[FLOW_PROBERS_MAX], *last = NULL;
	struct search instances = { 0 };
	size_t n = 0;

	common_dir(pins, dir);
	while (map >= 0 && n < FLOW_PROBERS_MAX && bpf_map_get_next_key(map, last, &ids[n]) == 0)
		last = &ids[n++];
	for (size_t i = 0; i < n; i++) {
		struct search search = { .cgroup = ids[i] };

		if (pins_each(dir, look_at, &search) == 0 && !search.claimed)
			bpf_map_delete_elem(map, &ids[i]);
	}
	/* The folder of all instances, too, unless one was made since. */
	if (pins_each(dir, look_at, &instances) == 0 && !instances.instances) {
		unlink(path);
		(void)rmdir(dir);
	}
}
