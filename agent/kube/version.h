/*
 * resourceVersion: an opaque text; two of the same list are compared as KEP-5504 allows.
 */
#pragma once

#include <stdbool.h>

/* Whether it may be repeated in a request: printable, KUBE_VERSION_MAX characters at most. NULL is none. */
bool kube_version_ok(const char *text);
/* Whether `a` is older than `b`; false when they cannot be compared. */
bool kube_version_is_older(const char *a, const char *b);
