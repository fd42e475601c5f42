/*
 * An echo's answer → the one address it states.
 *
 * Strict on purpose: a page of a captive portal that happens to hold an
 * address is not an answer. Private addresses are plausible, because a private
 * gateway shows one; whether one is allowed is the judge's affair.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "probe/result.h"

struct answer_format {
	const char
		*json;   /* borrowed; name of the string member of the top object; NULL: not JSON */
	const char *key; /* borrowed; name of the KEY=VALUE line; NULL: not lines */
			 /* both NULL: the text is the address */
};

/*
 * PROBE_ANSWERED and *out, or PROBE_UNPARSEABLE, PROBE_TOO_LARGE (more than
 * ECHO_BODY_MAX), PROBE_IMPLAUSIBLE, PROBE_LOCAL_ERROR (no memory) and *out
 * untouched.
 */
enum probe_outcome answer_parse(const struct answer_format *format, const char *body, size_t len,
                                struct ip *out);

/* Can be the source of a packet that crossed a router. */
bool answer_plausible(const struct ip *ip);
