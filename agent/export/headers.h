/*
 * What OTEL_EXPORTER_OTLP_HEADERS adds to each request: checked, and wiped when it goes, for it may be secret.
 */
#pragma once

#include "export/settings.h"

/*
 * Of two with one name the last counts. -EINVAL: *reason, a constant text that repeats nothing, says why not;
 * -ENOMEM.
 */
int headers_add(struct export_target *target, const char *key, const char *value,
                const char **reason);
void headers_clear(struct export_target *target);
