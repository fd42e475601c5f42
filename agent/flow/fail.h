/*
 * Failing with a reason: fills error->text and returns r.
 */
#pragma once

#include "flow/loader.h"

int flow_loader_fail(struct flow_loader_error *error, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
