/*
 * The network namespaces that the broker has found, by their inode.
 *
 * No descriptor is kept: a namespace must be able to end. One is opened again
 * by its path each time, and is refused when another one is there by now. The
 * broker's own namespace, and its init's, are never among them.
 */
#pragma once

#include <stdint.h>

struct namespaces;

int namespaces_new(struct namespaces **out);
struct namespaces *namespaces_free(struct namespaces *namespaces);

/* -EINVAL: no network namespace; -EPERM: the node's own; -ENOSPC. *fd is the caller's. */
int namespaces_add(struct namespaces *namespaces, const char *path, int *fd, uint64_t *inode);
/* -ESTALE: never found, or it is gone. *fd is the caller's. */
int namespaces_open(const struct namespaces *namespaces, uint64_t inode, int *fd);
