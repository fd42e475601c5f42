/*
 * The classic hook of traffic control, for kernels before 6.6, which have no
 * tcx links. A filter there belongs to the interface and not to a descriptor:
 * it outlives the agent by itself, and only goes with the interface or when it
 * is removed from inside the namespace. All calls run inside the namespace.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Adds our filter, or replaces the program of the one that is there. */
int clsact_attach(uint32_t ifindex, bool egress, int program_fd);
void clsact_detach(uint32_t ifindex, bool egress);
bool clsact_is_attached(uint32_t ifindex, bool egress);
