/*
 * Where reports go: collector.endpoint, and the OTEL_* variables of the OpenTelemetry specification,
 * which override it (specification/protocol/exporter.md). Pure but for the environment it is given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export/otlp.h"
#include "limits.h"

enum export_signal { EXPORT_LOGS, EXPORT_METRICS, _EXPORT_SIGNAL_MAX };
const char *export_signal_name(enum export_signal signal); /* "logs", "metrics": a label */

struct export_target {
	char *url; /* owned, as every pointer here; whole, "http://HOST:PORT/v1/logs"; NULL: off */
	char *header[EXPORT_HEADERS_MAX]; /* "Name: value" */
	size_t n_headers;
	uint64_t timeout_ns; /* of one request, with its name and connection */
	bool gzip;
	char *ca, *certificate, *key; /* PEM files; NULL: none */
};

struct export_settings {
	struct export_target target[_EXPORT_SIGNAL_MAX];
	uint64_t metrics_interval_ns;
	char *service_name;                                      /* NULL: the default */
	struct otlp_attribute attributes[EXPORT_ATTRIBUTES_MAX]; /* owned texts */
	size_t n_attributes;
	char warning[256]; /* a variable that is not followed, and why; "" */
};

/* As getenv(3). */
typedef const char *(*export_getenv_fn)(const char *name);

/*
 * `endpoint` is the configuration's; "": none. On failure -EINVAL with one line in `error` that
 * names the variable or key, and what was expected. What the specification wants to be ignored is a warning.
 */
int export_settings_load(const char *endpoint, export_getenv_fn environment,
                         struct export_settings *out, char error[static 512]);
void export_settings_clear(struct export_settings *settings);
bool export_settings_on(const struct export_settings *settings);

/*
 * Whom a connection is made to, for who permits it: the address when the URL has one
 * (`literal`), any address that its name has otherwise. -EINVAL: the signal is off.
 */
int export_target_address(const struct export_target *target, struct ip *ip, bool *literal,
                          uint16_t *port);
