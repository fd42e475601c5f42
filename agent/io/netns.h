/*
 * Network namespaces: doing one thing inside another one.
 *
 * The only caller of setns(2). A namespace is an open file of it; what is
 * opened inside stays there for good, so the agent itself never lives in a
 * pod's namespace. The program is single-threaded: nobody else can run while
 * it is away from home. Failing to return home aborts, because every later
 * socket would be the pod's. -1 names the agent's own namespace.
 */
#pragma once

#include <stdint.h>

/*
 * Opens a namespace file (bind mount under /run/netns or /proc/PID/ns/net).
 * -EINVAL when it is no network namespace: a file there is somebody else's.
 * *inode identifies the namespace while any file of it is open. The file keeps
 * the namespace alive, but not the mount it was found by.
 */
int netns_open(const char *path, int *fd, uint64_t *inode);

/*
 * 0 when this process can enter network namespaces; -EPERM without
 * CAP_SYS_ADMIN, and where the seccomp profile of a container refuses it all
 * the same. Tried on its own one.
 */
int netns_enterable(void);

/* A socket of that namespace, SOCK_CLOEXEC and SOCK_NONBLOCK. */
int netns_socket(int netns_fd, int family, int type, int protocol, int *fd);

/*
 * Calls fn inside and returns its result. fn must neither change namespaces
 * itself nor run the loop.
 */
int netns_run(int netns_fd, int (*fn)(void *arg), void *arg);
