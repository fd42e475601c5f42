/*
 * What observing packets needs of the system, said before the kernel says EPERM.
 */
#pragma once

#include <stdbool.h>

#include "flow/loader.h"

/* -EPERM or -ENOSYS with the names of what is missing. */
int privilege_check(struct flow_loader_error *error);

/*
 * Of a release as uname(2) tells it: is it older than what the packet programs
 * need? Not a reason to refuse, some distributions carry newer parts in an older
 * kernel; but what a failure is probably due to.
 */
bool privilege_kernel_is_old(const char *release);

/* What to say of a kernel that does not take the packet programs. Returns r. */
int privilege_refused(struct flow_loader_error *error, int r);
