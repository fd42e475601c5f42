/*
 * What observing packets needs of the system, said before the kernel says EPERM.
 */
#pragma once

#include "flow/loader.h"

/* -EPERM or -ENOSYS with the names of what is missing. */
int privilege_check(struct flow_loader_error *error);
