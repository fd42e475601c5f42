#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "export/settings.h"

/* The environment: "NAME=VALUE", the newest test's. */
static const char *const *variables;

static const char *environment(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; variables[i]; i++)
		if (strncmp(variables[i], name, len) == 0 && variables[i][len] == '=')
			return variables[i] + len + 1;
	return NULL;
}

#define ENV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NONE ((const char *const[]){ NULL })
#define O "OTEL_EXPORTER_OTLP_"

static void load(const char *endpoint, const char *const *env, struct export_settings *out)
{
	char error[512] = "";

	variables = env;
	if (export_settings_load(endpoint, environment, out, error) != 0)
		fail_msg("%s", error);
}

static void same(const char *got, const char *wanted)
{
	if (!got || !wanted)
		assert_ptr_equal(got, wanted);
	else
		assert_string_equal(got, wanted);
}

static void finds_endpoints(void **state)
{
	static const struct {
		const char *endpoint, *env[4], *logs, *metrics;
	} rows[] = {
		{ "", { NULL }, NULL, NULL },
		{ "http://c:4318", { NULL }, "http://c:4318/v1/logs", "http://c:4318/v1/metrics" },
		{ "http://c:4318/", { NULL }, "http://c:4318/v1/logs", "http://c:4318/v1/metrics" },
		/* Not 4318. */
		{ "https://c", { NULL }, "https://c:443/v1/logs", "https://c:443/v1/metrics" },
		{ "http://c/a//", { NULL }, "http://c:80/a/v1/logs", "http://c:80/a/v1/metrics" },
		{ "http://c/a?key=1",
		  { NULL },
		  "http://c:80/a/v1/logs?key=1",
		  "http://c:80/a/v1/metrics?key=1" },
		{ "http://[fd00::1]:4318",
		  { NULL },
		  "http://[fd00::1]:4318/v1/logs",
		  "http://[fd00::1]:4318/v1/metrics" },
		{ "http://config",
		  { O "ENDPOINT=http://env:1" },
		  "http://env:1/v1/logs",
		  "http://env:1/v1/metrics" },
		/* As other exporters' default is written. */
		{ "http://localhost:4318",
		  { O "METRICS_ENDPOINT=http://LocalHost:1/m" },
		  "http://127.0.0.1:4318/v1/logs",
		  "http://127.0.0.1:1/m" },
		/* Empty is not set. */
		{ "http://config",
		  { O "ENDPOINT=", O "LOGS_ENDPOINT=" },
		  "http://config:80/v1/logs",
		  "http://config:80/v1/metrics" },
		/* A signal's own is taken as it is. */
		{ "", { O "LOGS_ENDPOINT=http://l:1" }, "http://l:1/", NULL },
		{ "http://config",
		  { O "LOGS_ENDPOINT=https://l/x/", O "METRICS_ENDPOINT=http://m/push?a=b" },
		  "https://l:443/x/",
		  "http://m:80/push?a=b" },
		{ "http://c", { "OTEL_SDK_DISABLED=TRUE" }, NULL, NULL },
		{ "http://c",
		  { "OTEL_SDK_DISABLED=false", "OTEL_LOGS_EXPORTER=none" },
		  NULL,
		  "http://c:80/v1/metrics" },
		{ "http://c",
		  { "OTEL_METRICS_EXPORTER=None", "OTEL_LOGS_EXPORTER=otlp" },
		  "http://c:80/v1/logs",
		  NULL },
		/* What is switched off is not looked at. */
		{ "http://c",
		  { "OTEL_METRICS_EXPORTER=none", O "METRICS_ENDPOINT=what?" },
		  "http://c:80/v1/logs",
		  NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct export_settings settings;

		load(rows[i].endpoint, rows[i].env, &settings);
		same(settings.target[EXPORT_LOGS].url, rows[i].logs);
		same(settings.target[EXPORT_METRICS].url, rows[i].metrics);
		assert_int_equal(export_settings_on(&settings), rows[i].logs || rows[i].metrics);
		same(settings.warning, "");
		export_settings_clear(&settings);
		assert_false(export_settings_on(&settings));
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *endpoint, *env[3], *error;
	} rows[] = {
		{ "collector:4318",
		  { NULL },
		  "collector.endpoint: does not begin with http:// or https://" },
		{ "http://me:secret@c",
		  { NULL },
		  "collector.endpoint: credentials are not taken from a URL; put them into "
		  "OTEL_EXPORTER_OTLP_HEADERS" },
		{ "",
		  { O "LOGS_ENDPOINT=https://me@c/v1/logs" },
		  O "LOGS_ENDPOINT: credentials are not taken from a URL; put them into "
		    "OTEL_EXPORTER_OTLP_HEADERS" },
		{ "",
		  { O "ENDPOINT=grpc://c" },
		  O "ENDPOINT: does not begin with http:// or https://" },
		{ "",
		  { O "ENDPOINT=http://c:0" },
		  O "ENDPOINT: the port is not a number from 1 to 65535" },
		{ "http://c", { O "HEADERS=secret" }, O "HEADERS: member 1: expected KEY=VALUE" },
		{ "http://c",
		  { O "HEADERS=a=b,=secret" },
		  O "HEADERS: member 2: expected KEY=VALUE" },
		{ "http://c",
		  { O "LOGS_HEADERS=a=%4" },
		  O "LOGS_HEADERS: member 1: a % without two hexadecimal digits; the character "
		    "itself is %25" },
		{ "http://c", { O "HEADERS=a=b%00c" }, O "HEADERS: member 1: a NUL" },
		{ "http://c",
		  { O "HEADERS=a=b%0d%0aX: y" },
		  O "HEADERS: a header without value, or with a control character" },
		{ "http://c",
		  { O "HEADERS=a=" },
		  O "HEADERS: a header without value, or with a control character" },
		{ "http://c",
		  { O "HEADERS=a b=c" },
		  O "HEADERS: a header's name has a character that none has" },
		{ "http://c",
		  { O "HEADERS=x%0d%0a=c" },
		  O "HEADERS: a header's name has a character that none has" },
		{ "http://c",
		  { O "HEADERS=content-TYPE=x" },
		  O "HEADERS: a header that belongs to the request itself" },
		{ "http://c",
		  { O "HEADERS=Transfer-Encoding=chunked" },
		  O "HEADERS: a header that belongs to the request itself" },
		{ "http://c",
		  { O "HEADERS=Host=c" },
		  O "HEADERS: a header that belongs to the request itself" },
		{ "http://c",
		  { O "HEADERS=Content-Length=1" },
		  O "HEADERS: a header that belongs to the request itself" },
		{ "http://c",
		  { O "HEADERS=Content-Encoding=br" },
		  O "HEADERS: a header that belongs to the request itself" },
		{ "https://c",
		  { O "CERTIFICATE=ca.pem" },
		  O "CERTIFICATE: expected the absolute path of a file in PEM" },
		{ "https://c",
		  { O "CLIENT_KEY=/k" },
		  O "CLIENT_CERTIFICATE: expected together with OTEL_EXPORTER_OTLP_CLIENT_KEY, "
		    "or neither" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct export_settings settings, untouched;
		char error[512] = "";

		memset(&settings, 0x5a, sizeof(settings));
		untouched = settings;
		variables = rows[i].env;
		if (export_settings_load(rows[i].endpoint, environment, &settings, error) !=
		    -EINVAL)
			fail_msg("taken: %s", rows[i].error);
		assert_string_equal(error, rows[i].error);
		assert_null(strstr(error, "secret"));
		assert_memory_equal(&settings, &untouched, sizeof(settings));
	}
}

static void takes_headers(void **state)
{
	struct export_settings settings;
	const struct export_target *logs = &settings.target[EXPORT_LOGS];
	const struct export_target *metrics = &settings.target[EXPORT_METRICS];

	(void)state;
	load("http://c",
	     ENV(O "HEADERS= api-key = a%20b%2Cc ,,Authorization=Basic eA==;v,API-Key=second,",
	         O "METRICS_HEADERS=x=y"),
	     &settings);
	assert_int_equal(logs->n_headers, 2);
	assert_string_equal(logs->header[0], "API-Key: second"); /* of two the last */
	assert_string_equal(logs->header[1], "Authorization: Basic eA==;v");
	/* A signal's own replace those of all signals. */
	assert_int_equal(metrics->n_headers, 1);
	assert_string_equal(metrics->header[0], "x: y");
	export_settings_clear(&settings);

	load("http://c", ENV(O "HEADERS= api-key = a%20b%2Cc "), &settings);
	assert_string_equal(logs->header[0], "api-key: a b,c");
	export_settings_clear(&settings);
}

/* As many as there is room for, and no more. */
static void bounds_headers(void **state)
{
	char text[1024] = O "HEADERS=", error[512];
	struct export_settings settings;

	(void)state;
	for (int i = 0; i < EXPORT_HEADERS_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "h%d=v,", i);
	load("http://c", ENV(text), &settings);
	assert_int_equal(settings.target[EXPORT_LOGS].n_headers, EXPORT_HEADERS_MAX);
	export_settings_clear(&settings);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "more=v");
	variables = ENV(text);
	assert_int_equal(export_settings_load("http://c", environment, &settings, error), -EINVAL);
	assert_string_equal(error, O "HEADERS: more headers than 32");
}

static void bounds_variables(void **state)
{
	cleanup(mem_freep) char *text = malloc(EXPORT_VARIABLE_MAX + 64);
	struct export_settings settings;
	char error[512];
	size_t len;

	(void)state;
	assert_non_null(text);
	strcpy(text, O "HEADERS=a=");
	len = strlen(text);
	memset(text + len, 'x', EXPORT_VARIABLE_MAX);
	text[len + EXPORT_VARIABLE_MAX - 2] = '\0';
	load("http://c", ENV(text), &settings);
	export_settings_clear(&settings);
	strcat(text, "x");
	variables = ENV(text);
	assert_int_equal(export_settings_load("http://c", environment, &settings, error), -EINVAL);
	assert_string_equal(error, O "HEADERS: larger than 32 kB");
}

static void takes_manners(void **state)
{
	static const struct {
		const char *env[5], *warning;
		uint64_t timeout_ms, metrics_timeout_ms, interval_ms;
		bool gzip, metrics_gzip;
	} rows[] = {
		{ { NULL }, "", 10000, 10000, 60000, true, true },
		{ { O "TIMEOUT=2500", O "METRICS_TIMEOUT=100", O "COMPRESSION=none",
		    O "METRICS_COMPRESSION=gzip" },
		  "",
		  2500,
		  100,
		  60000,
		  false,
		  true },
		{ { O "TIMEOUT=0", O "METRICS_TIMEOUT=99999999999999", O "PROTOCOL=http/json" },
		  "",
		  600000,
		  600000,
		  60000,
		  true,
		  true },
		{ { "OTEL_METRIC_EXPORT_INTERVAL=5000" }, "", 10000, 10000, 5000, true, true },
		{ { "OTEL_METRIC_EXPORT_INTERVAL=0" }, "", 10000, 10000, 1000, true, true },
		/* The specification wants these to be passed over. */
		{ { O "TIMEOUT=10s", "OTEL_METRIC_EXPORT_INTERVAL=-1" },
		  "OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds; the default is used; " O
		  "TIMEOUT: expected milliseconds; the default is used",
		  10000,
		  10000,
		  60000,
		  true,
		  true },
		{ { O "COMPRESSION=zstd" },
		  O "COMPRESSION: expected gzip or none; gzip is used",
		  10000,
		  10000,
		  60000,
		  true,
		  true },
		{ { O "PROTOCOL=grpc" },
		  O "PROTOCOL: only http/json is spoken, and used",
		  10000,
		  10000,
		  60000,
		  true,
		  true },
		{ { "OTEL_LOGS_EXPORTER=console", "OTEL_SDK_DISABLED=1" },
		  "OTEL_SDK_DISABLED: expected true or false; false is used; "
		  "OTEL_LOGS_EXPORTER: expected otlp or none; otlp is used",
		  10000,
		  10000,
		  60000,
		  true,
		  true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct export_settings settings;
		const struct export_target *logs = &settings.target[EXPORT_LOGS];
		const struct export_target *metrics = &settings.target[EXPORT_METRICS];

		load("http://c", rows[i].env, &settings);
		assert_string_equal(settings.warning, rows[i].warning);
		assert_int_equal(logs->timeout_ns, rows[i].timeout_ms * NSEC_PER_MSEC);
		assert_int_equal(metrics->timeout_ns, rows[i].metrics_timeout_ms * NSEC_PER_MSEC);
		assert_int_equal(settings.metrics_interval_ns, rows[i].interval_ms * NSEC_PER_MSEC);
		assert_int_equal(logs->gzip, rows[i].gzip);
		assert_int_equal(metrics->gzip, rows[i].metrics_gzip);
		export_settings_clear(&settings);
	}
}

static void takes_files(void **state)
{
	struct export_settings settings;
	const struct export_target *logs = &settings.target[EXPORT_LOGS];
	const struct export_target *metrics = &settings.target[EXPORT_METRICS];

	(void)state;
	load("https://c",
	     ENV(O "CERTIFICATE=/ca", O "LOGS_CERTIFICATE=/logs-ca", O "CLIENT_KEY=/key",
	         O "CLIENT_CERTIFICATE=/crt", O "LOGS_CLIENT_KEY=/logs-key",
	         O "METRICS_ENDPOINT=http://m"),
	     &settings);
	same(logs->ca, "/logs-ca");
	same(logs->certificate, "/crt");
	same(logs->key, "/logs-key");
	/* Without TLS there is nobody to show them to. */
	same(metrics->ca, NULL);
	same(metrics->certificate, NULL);
	same(metrics->key, NULL);
	export_settings_clear(&settings);
}

static void says_who(void **state)
{
	static const struct {
		const char *env[3], *service, *attributes, *warning;
	} rows[] = {
		{ { NULL }, NULL, "", "" },
		{ { "OTEL_SERVICE_NAME=s", "OTEL_RESOURCE_ATTRIBUTES=service.name=t,a=b" },
		  "s",
		  "a=b;",
		  "" },
		{ { "OTEL_RESOURCE_ATTRIBUTES=a=b, k8s.cluster.name = prod%2Ceu ,service.name=t" },
		  "t",
		  "a=b;k8s.cluster.name=prod,eu;",
		  "" },
		{ { "OTEL_RESOURCE_ATTRIBUTES=a=1,b=x=y,a=2,c=,d%3De=f" },
		  NULL,
		  "a=2;b=x=y;c=;d=e=f;",
		  "" },
		/* All or nothing. */
		{ { "OTEL_RESOURCE_ATTRIBUTES=a=b,c", "OTEL_SERVICE_NAME=s" },
		  "s",
		  "",
		  "OTEL_RESOURCE_ATTRIBUTES: member 2: expected KEY=VALUE; none of them is used" },
		{ { "OTEL_RESOURCE_ATTRIBUTES=service.name=t,a=%" },
		  NULL,
		  "",
		  "OTEL_RESOURCE_ATTRIBUTES: member 2: a % without two hexadecimal digits; the "
		  "character itself is %25; none of them is used" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct export_settings settings;
		char text[256] = "";

		load("http://c", rows[i].env, &settings);
		for (size_t k = 0; k < settings.n_attributes; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s=%s;",
			         settings.attributes[k].key, settings.attributes[k].value);
		same(settings.service_name, rows[i].service);
		assert_string_equal(text, rows[i].attributes);
		assert_string_equal(settings.warning, rows[i].warning);
		export_settings_clear(&settings);
	}
}

static void bounds_attributes(void **state)
{
	char text[1024] = "OTEL_RESOURCE_ATTRIBUTES=";
	struct export_settings settings;

	(void)state;
	for (int i = 0; i < EXPORT_ATTRIBUTES_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "a%d=v,", i);
	load("http://c", ENV(text), &settings);
	assert_int_equal(settings.n_attributes, EXPORT_ATTRIBUTES_MAX);
	assert_string_equal(settings.warning, "");
	export_settings_clear(&settings);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "more=v");
	load("http://c", ENV(text), &settings);
	assert_int_equal(settings.n_attributes, 0);
	assert_string_equal(settings.warning, "OTEL_RESOURCE_ATTRIBUTES: member 65: more than 64, "
	                                      "or 32 kB; none of them is used");
	export_settings_clear(&settings);
}

static void names_an_address(void **state)
{
	static const struct {
		const char *endpoint, *address;
		uint16_t port;
	} rows[] = {
		{ "http://192.0.2.1:4318", "192.0.2.1", 4318 },
		{ "https://[2001:db8::1]", "2001:db8::1", 443 },
		{ "http://collector.otel.svc", NULL, 80 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct export_settings settings;
		struct ip ip, wanted = { 0 };
		uint16_t port;
		bool literal;

		load(rows[i].endpoint, NONE, &settings);
		assert_int_equal(export_target_address(&settings.target[EXPORT_LOGS], &ip, &literal,
		                                       &port),
		                 0);
		assert_int_equal(literal, rows[i].address != NULL);
		if (rows[i].address)
			assert_int_equal(ip_parse(rows[i].address, &wanted), 0);
		assert_memory_equal(&ip, &wanted, sizeof(ip));
		assert_int_equal(port, rows[i].port);
		export_settings_clear(&settings);
		assert_int_equal(export_target_address(&settings.target[EXPORT_LOGS], &ip, &literal,
		                                       &port),
		                 -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_endpoints),   cmocka_unit_test(refuses),
		cmocka_unit_test(takes_headers),     cmocka_unit_test(bounds_headers),
		cmocka_unit_test(bounds_variables),  cmocka_unit_test(takes_manners),
		cmocka_unit_test(takes_files),       cmocka_unit_test(says_who),
		cmocka_unit_test(bounds_attributes), cmocka_unit_test(names_an_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
