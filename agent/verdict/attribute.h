/*
 * Attribution: whose address it is that the echoes saw.
 */
#pragma once

#include "verdict/judge.h"

/* `name` gets "namespace/name" with ATTRIBUTION_GATEWAY, else "". */
enum attribution attribute(const struct subject *subject, const struct judge_context *context,
                           const struct ip *observed, char name[static 160]);

/* "the cluster's outbound address" … appended to out. */
void attribute_describe(enum attribution attribution, const char *name, char *out, size_t size);
