/*
 * status.egressIpPrefix as a set of addresses.
 *
 * Azure writes one CIDR, or in private mode the joined secondary addresses with
 * possible empty tokens ("10.0.1.8,,10.0.1.9"): compare as a set
 * (kube-egress-gateway, gatewayvmconfiguration_controller.go).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "limits.h"

struct prefix_set {
	struct cidr items[PREFIX_ITEMS_MAX]; /* bare addresses as /128 of the mapped form */
	size_t n;
};

/*
 * CIDR, address or a comma-separated list of them; blanks and empty tokens are
 * skipped; duplicates are kept once. NULL or nothing but empty tokens gives an
 * empty set. -EINVAL for anything else, -E2BIG past the limit; *out untouched then.
 */
int prefix_parse(const char *text, struct prefix_set *out);
bool prefix_contains(const struct prefix_set *set, const struct ip *ip);
bool prefix_equal(const struct prefix_set *a, const struct prefix_set *b); /* as sets */

/* RFC 1918, RFC 6598 (100.64/10) and RFC 4193: no address of the internet. */
bool prefix_private(const struct ip *ip);
