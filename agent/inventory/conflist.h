/*
 * The node's CNI configuration: which destinations kube-egress-cni excludes.
 *
 * The plugin gets excludedCIDRs from the first configuration file in sort order
 * that names it (kube-egress-gateway, pkg/cni/conf/confmanager.go). Whether the
 * runtime reads that file is another matter: a file that sorts before it is
 * the one in effect, and then new pods bypass the gateway.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "base/loop.h"
#include "limits.h"

struct conflist {
	bool known; /* a file that names the plugin was read and understood */
	bool first; /* it is the one that the runtime reads */
	struct cidr excluded[CNI_EXCEPTIONS_MAX]; /* IPv4 */
	size_t n_excluded;
	/* No route can be made for them: they fail every ADD (pkg/cni/routes/routes.go). */
	struct cidr excluded_v6[CNI_EXCEPTIONS_MAX];
	size_t n_excluded_v6;
	char state[256]; /* one sentence: the file, or why it is not known */
};

/* One file's text. 1: it does not name the plugin; -EINVAL: not what it must be, see state. */
int conflist_parse(const char *text, size_t len, struct conflist *out);

/* Reads the folder; what is wrong is said in out->state. */
/* 0 or -ENOMEM: then *out is no answer. */
int conflist_read(const char *directory, struct conflist *out);

bool conflist_equal(const struct conflist *a, const struct conflist *b);

/* Keeps one up to date. */
struct conflist_watch;

int conflist_watch_new(struct loop *loop, const char *directory, void (*changed)(void *user),
                       void *user, struct conflist_watch **out);
struct conflist_watch *conflist_watch_free(struct conflist_watch *watch);
const struct conflist *conflist_watch_get(const struct conflist_watch *watch);
