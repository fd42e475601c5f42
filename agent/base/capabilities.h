/*
 * Capabilities: which there are, what each is for, and giving them up.
 *
 * The table is the only place that says what does not work without one, so
 * that the log, the checks and the documents say the same.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <linux/capability.h>

/* <linux/capability.h> is of the machine that builds. */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif

#define CAPABILITY_BIT(number) (1ULL << (number))

/* What the privileged process keeps. */
#define CAPABILITIES_KEPT                                                                          \
	(CAPABILITY_BIT(CAP_SYS_ADMIN) | CAPABILITY_BIT(CAP_NET_ADMIN) | CAPABILITY_BIT(CAP_BPF) | \
	 CAPABILITY_BIT(CAP_PERFMON))
/* What it takes to make the other one nobody's. */
#define CAPABILITIES_IDENTITY (CAPABILITY_BIT(CAP_SETUID) | CAPABILITY_BIT(CAP_SETGID))

#define CAPABILITIES_MAX 6

struct capability {
	unsigned int number;
	const char *name;   /* CAP_SYS_ADMIN */
	const char *module; /* who calls what needs it: io/netns */
	const char *lost;   /* what does not work without it, for whoever was woken up by that */
};

extern const struct capability capabilities[CAPABILITIES_MAX];

/* The effective set of this process. 0 or -errno. */
int capabilities_effective(uint64_t *out);

/* Those of `wanted` that are in the table and not in `have`; their number. */
size_t capabilities_missing(uint64_t have, uint64_t wanted,
                            const struct capability *out[static CAPABILITIES_MAX]);

/* "CAP_SYS_ADMIN is missing: no pod's …". Returns buf. */
const char *capability_sentence(const struct capability *capability, char buf[static 256]);

/*
 * The bounding set becomes no larger than `set`: what else there is cannot be
 * had again, not even by a program that is executed. Without CAP_SETPCAP it is
 * left as it is. 0 or -errno.
 */
int capabilities_bound(uint64_t set);

/*
 * Keeps those of `set` that the process has, as effective and permitted; every
 * other one is gone for good. Inheritable and ambient sets are empty then, and
 * the bounding set is no larger than `set`, see above. 0 or -errno.
 */
int capabilities_keep(uint64_t set);
