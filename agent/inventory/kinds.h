/*
 * The kinds of objects the inventory keeps, for its tables.
 */
#pragma once

#include "inventory/objects.h"

extern const struct object_kind kind_pod, kind_gateway, kind_gateway_vm, kind_node;
