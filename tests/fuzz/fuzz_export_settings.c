/* sources: agent/export/headers.c agent/export/settings.c agent/export/pairs.c agent/probe/url.c */
/*
 * Any environment: it is refused with a sentence of one line, or what comes of it can be sent. Lines of
 * the input are the variables, in the order of the table; the last is the configuration's endpoint.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "export/settings.h"
#include "probe/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {
	"OTEL_EXPORTER_OTLP_HEADERS",
	"OTEL_RESOURCE_ATTRIBUTES",
	"OTEL_EXPORTER_OTLP_ENDPOINT",
	"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
	"OTEL_EXPORTER_OTLP_METRICS_HEADERS",
	"OTEL_EXPORTER_OTLP_TIMEOUT",
	"OTEL_METRIC_EXPORT_INTERVAL",
	"OTEL_EXPORTER_OTLP_COMPRESSION",
	"OTEL_EXPORTER_OTLP_CERTIFICATE",
	"OTEL_EXPORTER_OTLP_CLIENT_KEY",
	"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
	"OTEL_SERVICE_NAME",
	"OTEL_LOGS_EXPORTER",
	"OTEL_SDK_DISABLED",
	"",
};

#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *values[NAMES];

static const char *environment(const char *name)
{
	for (size_t i = 0; i < NAMES; i++)
		if (strcmp(names[i], name) == 0)
			return values[i];
	return NULL;
}

static void check_target(const struct export_target *target)
{
	static struct url url;
	const char *reason;
	struct ip ip;
	uint16_t port;
	bool literal;

	if (!target->url)
		return;
	/* Room is left for what a signal adds to the longest base. */
	if (strlen(target->url) < URL_MAX - 1) {
		assert(url_parse(target->url, &url, &reason) == 0);
		assert(export_target_address(target, &ip, &literal, &port) == 0 && port > 0);
	}
	assert(target->timeout_ns > 0 && target->timeout_ns <= EXPORT_TIMEOUT_MAX_NS);
	assert(target->n_headers <= EXPORT_HEADERS_MAX);
	for (size_t i = 0; i < target->n_headers; i++) {
		const char *colon = strstr(target->header[i], ": ");

		assert(colon && colon > target->header[i] && colon[2]);
		assert(!strpbrk(target->header[i], "\r\n"));
		assert(strncasecmp(target->header[i], "Content-Length:", 15) != 0);
	}
	assert(!target->certificate == !target->key);
}

static void check(const struct export_settings *settings)
{
	for (size_t i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		check_target(&settings->target[i]);
	assert(settings->metrics_interval_ns >= EXPORT_INTERVAL_MIN_NS);
	assert(settings->metrics_interval_ns <= EXPORT_INTERVAL_MAX_NS);
	assert(settings->n_attributes <= EXPORT_ATTRIBUTES_MAX);
	for (size_t i = 0; i < settings->n_attributes; i++) {
		assert(settings->attributes[i].key[0]);
		assert(strcmp(settings->attributes[i].key, "service.name") != 0);
		for (size_t k = 0; k < i; k++)
			assert(strcmp(settings->attributes[i].key, settings->attributes[k].key));
	}
	assert(memchr(settings->warning, '\0', sizeof(settings->warning)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct export_settings settings;
	char error[512] = "", *text = malloc(size + 1), *rest = text;

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t i = 0; i < NAMES; i++)
		values[i] = rest ? strsep(&rest, "\n") : NULL;
	if (export_settings_load(values[NAMES - 1] ?: "http://c", environment, &settings, error) <
	    0) {
		assert(error[0] && strlen(error) < 512 && !strpbrk(error, "\r\n"));
	} else {
		check(&settings);
		export_settings_clear(&settings);
	}
	free(text);
	return 0;
}
