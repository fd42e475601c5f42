#include "flow/pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"
#include "flow/fail.h"

#define BPFFS_DEFAULT "/sys/fs/bpf"
#define PRODUCT "egress-verifier"
#define TREE_DEPTH_MAX 8

static void dir_closep(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* The BPF file system reserves dots (kernel/bpf/inode.c, bpf_lookup()). */
static void copy_name(const char *text, char *out, size_t max)
{
	size_t n = 0;

	for (; *text && n < max; text++) {
		bool plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
		             (*text >= 'A' && *text <= 'Z') || *text == '-';

		out[n++] = plain ? *text : '_';
	}
	out[n] = '\0';
}

const char *flow_loader_pin_name(const char *uid, char buf[static FLOW_UID_MAX + 1])
{
	copy_name(uid, buf, FLOW_UID_MAX);
	return buf;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

static int mount_bpffs(const char *path, struct flow_loader_error *error)
{
	if (is_bpffs(path))
		return 0;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return flow_loader_fail(error, -errno,
		                        "%s: cannot make the directory of pinned maps: %s", path,
		                        strerror(errno));
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return flow_loader_fail(
			error, -errno,
			"%s: no BPF file system, and mounting one failed (%s): mount the "
			"host's /sys/fs/bpf, or give CAP_SYS_ADMIN",
			path, strerror(errno));
	return 0;
}

void pins_prepare(void)
{
	struct flow_loader_error error;

	if (is_bpffs(BPFFS_DEFAULT) || mount_bpffs(BPFFS_DEFAULT, &error) < 0)
		return;
	log_warn("no BPF file system was mounted, so one is now", "path", BPFFS_DEFAULT, "what",
	         "in a container it ends with the container, and what pods do until the next one "
	         "is missed: mount the node's",
	         NULL);
}

static int set_root(const char *bpffs, const char *instance, struct pins *pins)
{
	char name[FLOW_UID_MAX + 1];
	int n;

	copy_name(instance, name, FLOW_UID_MAX);
	if (!name[0])
		return -EINVAL;
	n = snprintf(pins->root, sizeof(pins->root), "%s/" PRODUCT "/%s", bpffs, name);
	return n < (int)sizeof(pins->root) ? 0 : -ENAMETOOLONG;
}

int pins_make_dir(const char *dir)
{
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_dirs(const struct pins *pins)
{
	char path[PINS_PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s", pins->root);
	*strrchr(path, '/') = '\0';
	r = pins_make_dir(path);
	r = r ?: pins_make_dir(pins->root);
	r = r ?: pins_make_dir(pins_path(pins, "maps", path));
	return r ?: pins_make_dir(pins_path(pins, "subjects", path));
}

int pins_open(const char *bpffs, const char *instance, struct flow_loader_error *error,
              struct pins *out)
{
	struct pins pins;
	int r;

	bpffs = bpffs ?: BPFFS_DEFAULT;
	r = mount_bpffs(bpffs, error);
	if (r < 0)
		return r;
	r = set_root(bpffs, instance, &pins);
	r = r ?: make_dirs(&pins);
	if (r < 0)
		return flow_loader_fail(error, r,
		                        "%s: cannot make the directories of instance \"%s\": %s",
		                        bpffs, instance, strerror(-r));
	*out = pins;
	return 0;
}

int pins_hold(const struct pins *pins, int *out)
{
	cleanup(fd_closep) int fd = -1;
	int r = make_dirs(pins);

	if (r < 0)
		return r;
	fd = open(pins->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	*out = take_fd(&fd);
	return 0;
}

static int remove_if_dead(void *user, const char *dir, const char *name)
{
	const char *prefix = user;
	cleanup(fd_closep) int fd = -1;
	char path[PINS_PATH_MAX];

	if (strncmp(name, prefix, strlen(prefix)) != 0 ||
	    snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)pins_remove_tree(path);
	return 0;
}

void pins_remove_dead(const struct pins *pins, const char *prefix)
{
	char dir[PINS_PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", pins->root);
	*strrchr(dir, '/') = '\0';
	(void)pins_each(dir, remove_if_dead, (void *)prefix);
}

int pins_find(const char *bpffs, const char *instance, struct pins *out)
{
	struct pins pins;
	int r;

	bpffs = bpffs ?: BPFFS_DEFAULT;
	if (!is_bpffs(bpffs))
		return -ENOENT;
	r = set_root(bpffs, instance, &pins);
	if (r < 0)
		return r;
	/* access(2) asks for the real user, who is nobody. */
	if (faccessat(AT_FDCWD, pins.root, F_OK, AT_EACCESS) < 0)
		return -errno;
	*out = pins;
	return 0;
}

const char *pins_path(const struct pins *pins, const char *name, char buf[static PINS_PATH_MAX])
{
	snprintf(buf, PINS_PATH_MAX, "%s/%s", pins->root, name);
	return buf;
}

const char *pins_subject(const struct pins *pins, uint32_t owner, const char *uid,
                         char buf[static PINS_PATH_MAX])
{
	snprintf(buf, PINS_PATH_MAX, "%s/subjects/%u-%s", pins->root, owner, uid);
	return buf;
}

int pins_parse_subject(const char *name, uint32_t *owner, char uid[static FLOW_UID_MAX + 1])
{
	const char *dash = strchr(name, '-');
	char digits[16];
	uint64_t value;
	int r;

	if (!dash || dash - name >= (int)sizeof(digits) || strlen(dash + 1) > FLOW_UID_MAX)
		return -EINVAL;
	memcpy(digits, name, (size_t)(dash - name));
	digits[dash - name] = '\0';
	r = parse_u64(digits, UINT32_MAX, &value);
	if (r < 0)
		return r;
	*owner = (uint32_t)value;
	memcpy(uid, dash + 1, strlen(dash + 1) + 1);
	return 0;
}

int pins_each(const char *dir, int (*fn)(void *user, const char *dir, const char *name), void *user)
{
	cleanup(dir_closep) DIR *stream = opendir(dir);
	struct dirent *entry;

	if (!stream)
		return errno == ENOENT ? 0 : -errno;

	while ((entry = readdir(stream))) {
		int r;

		if (entry->d_name[0] == '.')
			continue;
		r = fn(user, dir, entry->d_name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int remove_at(const char *dir, unsigned int depth);

static int remove_entry(void *user, const char *dir, const char *name)
{
	unsigned int depth = *(unsigned int *)user;
	char path[PINS_PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(path) == 0)
		return 0;
	return errno == EISDIR || errno == EPERM ? remove_at(path, depth + 1) : -errno;
}

static int remove_at(const char *dir, unsigned int depth)
{
	int r;

	if (depth > TREE_DEPTH_MAX)
		return -ELOOP;
	r = pins_each(dir, remove_entry, &depth);
	if (r < 0)
		return r;
	return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
}

int pins_remove_tree(const char *dir)
{
	return remove_at(dir, 0);
}
