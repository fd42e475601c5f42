/*
 * A pod's cgroup: where kubelet puts it, by its UID.
 *
 * kubelet's two drivers spell it differently (kubernetes,
 * pkg/kubelet/cm/cgroup_manager_linux.go), the class of service is part of the
 * path, and on a hybrid hierarchy the second version is mounted below the
 * first: all are tried, because no object tells which one the node uses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The places to look at, in order; -ERANGE past the last; -EINVAL for a uid that cannot be one. */
int cgroup_path(const char *root, const char *uid, size_t index, char *out, size_t size);

/* The first that exists, or -ENOENT. *out is owned by the caller. */
int cgroup_find(const char *root, const char *uid, char **out);

/* Whether there is any place for a pod's below root. */
bool cgroup_has_pods(const char *root);

/*
 * What an annotation says: relative to root, or absolute and inside it. -EINVAL
 * when it would lead out, -ENOENT or -ENOTDIR when it is no folder.
 */
int cgroup_annotated(const char *root, const char *annotation, char **out);
