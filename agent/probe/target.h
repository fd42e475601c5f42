/*
 * An echo as configured, made ready to be asked.
 */
#pragma once

#include <stdbool.h>

#include "base/ip.h"
#include "probe/url.h"

/* As the configuration has it; texts are borrowed. */
struct prober_echo {
	const char *name;
	const char *url;        /* exactly one of url and stun */
	const char *stun;       /* HOST[:PORT] */
	const char *json, *key; /* form of the answer; both NULL: text */
	bool has_resolve;       /* ask this address, whatever the name says */
	struct ip resolve;
};

struct target {
	char *text, *json, *key; /* owned; text is the URL or the STUN target */
	struct url url;
	bool udp;
	bool fixed; /* `address` is asked, without resolving */
	struct ip address;
};

/* -EINVAL with a constant *reason when it cannot be asked. To be cleared in any case. */
int target_init(struct target *target, const struct prober_echo *echo, const char **reason);
void target_clear(struct target *target);
