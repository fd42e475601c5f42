/*
 * Which network namespaces the node has, and which addresses are in them.
 *
 * The container runtime keeps a file per pod in one folder, a bind mount of the
 * pod's namespace. inotify tells of new files and of removed ones, the mount
 * table of files that became a namespace or ceased to be one. Each namespace is
 * asked for its addresses when it appears and again when they change, until
 * somebody settles it. No runtime is asked and no process looked at.
 */
#pragma once

#include "base/ip.h"
#include "base/loop.h"

struct netns_watch;

/*
 * A namespace appeared, vanished or has other addresses, or the mount table
 * changed. Not called from netns_watch_new().
 */
typedef void (*netns_watch_changed_fn)(void *user);

int netns_watch_new(struct loop *loop, const char *directory, netns_watch_changed_fn changed,
                    void *user, struct netns_watch **out);
struct netns_watch *netns_watch_free(struct netns_watch *watch);

/*
 * How many namespaces have the address; *path and *inode are the newest one's
 * of those that nobody settled, because the namespace of a pod that ends may
 * outlive it; without such the newest's. `path` is borrowed until the next change.
 */
size_t netns_watch_find(const struct netns_watch *watch, const struct ip *ip, const char **path,
                        uint64_t *inode);

/* Still in the folder, by that path. */
bool netns_watch_has(const struct netns_watch *watch, const char *path, uint64_t inode);

/*
 * Somebody else follows its addresses now (true), or no longer (false). A
 * settled namespace keeps the addresses it had.
 */
void netns_watch_settle(struct netns_watch *watch, uint64_t inode, bool settled);

/* Namespaces past NETNS_MAX, and readings that failed, so far. */
uint64_t netns_watch_refused(const struct netns_watch *watch);
uint64_t netns_watch_errors(const struct netns_watch *watch);
