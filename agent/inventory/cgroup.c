#include "inventory/cgroup.h"

#include <ctype.h>
#include <errno.h>
#include <linux/limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define UID_MAX 64

static const char *const hierarchies[] = { "", "/unified" };

static const struct {
	const char *before, *after;
	bool systemd; /* escapes the uid: systemd reads '-' as a step of the hierarchy */
} places[] = {
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod", ".slice", true },
	{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod", ".slice", true },
	{ "/kubepods.slice/kubepods-pod", ".slice", true },
	{ "/kubepods/burstable/pod", "", false },
	{ "/kubepods/besteffort/pod", "", false },
	{ "/kubepods/pod", "", false },
};

#define N_PLACES (sizeof(places) / sizeof(places[0]))
#define N_HIERARCHIES (sizeof(hierarchies) / sizeof(hierarchies[0]))

/* A uid is chosen by the API server; that of a static pod is a hash. Neither holds a slash or a dot. */
static bool copy_uid(const char *uid, bool escape, char out[static UID_MAX])
{
	size_t n = strlen(uid);

	if (n == 0 || n >= UID_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (uid[i] != '\0' && uid[i] != '-' && !isalnum((unsigned char)uid[i]))
			return false;
		out[i] = escape && uid[i] == '-' ? '_' : uid[i];
	}
	return true;
}

int cgroup_path(const char *root, const char *uid, size_t index, char *out, size_t size)
{
	char name[UID_MAX];
	size_t place = index % N_PLACES;
	int n;

	if (index >= N_PLACES * N_HIERARCHIES)
		return -ERANGE;
	if (!copy_uid(uid, places[place].systemd, name))
		return -EINVAL;

	n = snprintf(out, size, "%s%s%s%s%s", root, hierarchies[index / N_PLACES],
	             places[place].before, name, places[place].after);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static int is_folder(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

bool cgroup_has_pods(const char *root)
{
	static const char *const names[] = { "/kubepods", "/kubepods.slice" };
	char path[PATH_MAX];

	for (size_t i = 0; i < N_HIERARCHIES * 2; i++) {
		int n = snprintf(path, sizeof(path), "%s%s%s", root, hierarchies[i / 2],
		                 names[i % 2]);

		if (n > 0 && (size_t)n < sizeof(path) && is_folder(path) == 0)
			return true;
	}
	return false;
}

static int give(const char *path, char **out)
{
	char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	*out = copy;
	return 0;
}

int cgroup_find(const char *root, const char *uid, char **out)
{
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; r != -ERANGE; i++) {
		r = cgroup_path(root, uid, i, path, sizeof(path));
		if (r == 0 && is_folder(path) == 0)
			return give(path, out);
		if (r < 0 && r != -ERANGE)
			return r;
	}
	return -ENOENT;
}

/* Lexically: cgroupfs has no symbolic links. */
static bool is_below(const char *path)
{
	bool deeper = false;

	for (const char *at = path; *at;) {
		size_t n = strcspn(at, "/");

		if (n == 2 && at[0] == '.' && at[1] == '.')
			return false;
		deeper = deeper || n > 1 || (n == 1 && at[0] != '.');
		at += n + (at[n] == '/');
	}
	return deeper;
}

int cgroup_annotated(const char *root, const char *annotation, char **out)
{
	size_t n = strlen(root);
	char path[PATH_MAX];
	int len, r;

	while (n > 1 && root[n - 1] == '/')
		n--;
	if (annotation[0] == '/' && strncmp(annotation, root, n) == 0 &&
	    (annotation[n] == '/' || annotation[n] == '\0'))
		annotation += n;
	else if (annotation[0] == '/')
		return -EINVAL;
	annotation += strspn(annotation, "/");
	/* The root itself is nobody's: every pod is in it. */
	if (!is_below(annotation))
		return -EINVAL;

	len = snprintf(path, sizeof(path), "%.*s/%s", (int)n, root, annotation);
	if (len < 0 || (size_t)len >= sizeof(path))
		return -ENAMETOOLONG;
	r = is_folder(path);
	return r < 0 ? r : give(path, out);
}
