/*
 * The addresses by which a network namespace is told from others.
 */
#pragma once

#include <stddef.h>

#include "base/ip.h"
#include "limits.h"

struct netns_addresses {
	struct ip list[NETNS_ADDRESSES_MAX]; /* the first ones; the rest is not looked at */
	size_t n;
};

int netns_addresses_read(int netns_fd, struct netns_addresses *out);
bool netns_addresses_have(const struct netns_addresses *addresses, const struct ip *ip);
bool netns_addresses_equal(const struct netns_addresses *a, const struct netns_addresses *b);
