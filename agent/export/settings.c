#include "export/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/parse.h"
#include "export/headers.h"
#include "export/pairs.h"
#include "probe/url.h"

#define NAME_MAX_ 64 /* of a variable */

struct loading {
	export_getenv_fn environment;
	struct export_settings *out;
	char *error; /* 512 bytes */
	/* of a list */
	const char *name;
	enum export_signal signal;
};

static const char *const labels[] = { [EXPORT_LOGS] = "logs", [EXPORT_METRICS] = "metrics" };
static const char *const infixes[] = { [EXPORT_LOGS] = "LOGS", [EXPORT_METRICS] = "METRICS" };

const char *export_signal_name(enum export_signal signal)
{
	return labels[signal];
}

/* Variables. One that is empty is not set (specification/configuration/sdk-environment-variables.md). */

static const char *variable(const struct loading *l, const char *name)
{
	const char *value = l->environment(name);

	return value && *value ? value : NULL;
}

/* The signal's own, else that of all signals; *name says which it was. */
static const char *option(const struct loading *l, enum export_signal signal, const char *what,
                          char name[static NAME_MAX_])
{
	const char *value;

	snprintf(name, NAME_MAX_, "OTEL_EXPORTER_OTLP_%s_%s", infixes[signal], what);
	value = variable(l, name);
	if (value)
		return value;
	snprintf(name, NAME_MAX_, "OTEL_EXPORTER_OTLP_%s", what);
	return variable(l, name);
}

/* Neither says a value: it may be secret. */
static int refuse(const struct loading *l, const char *name, const char *why)
{
	snprintf(l->error, 512, "%s: %s", name, why);
	return -EINVAL;
}

static int no_memory(const struct loading *l)
{
	snprintf(l->error, 512, "settings of the exporter: %s", strerror(ENOMEM));
	return -ENOMEM;
}

static void warn(const struct loading *l, const char *name, const char *why)
{
	char *warning = l->out->warning;
	char line[sizeof(l->out->warning)];
	size_t len = strlen(warning);

	snprintf(line, sizeof(line), "%s: %s", name, why);
	if (!strstr(warning, line)) /* both signals read the same variable */
		snprintf(warning + len, sizeof(l->out->warning) - len, "%s%s", len ? "; " : "",
		         line);
}

static int copy(const struct loading *l, char **to, const char *text)
{
	*to = strdup(text);
	return *to ? 0 : no_memory(l);
}

/* What does not parse is warned of and passed over, as the specification wants it. */
static void read_milliseconds(const struct loading *l, const char *name, const char *value,
                              uint64_t least_ns, uint64_t most_ns, uint64_t *out_ns)
{
	uint64_t ms;

	if (!value)
		return;
	if (parse_u64(value, UINT64_MAX, &ms) < 0) {
		warn(l, name, "expected milliseconds; the default is used");
		return;
	}
	*out_ns = ms > most_ns / NSEC_PER_MSEC ? most_ns : ms * NSEC_PER_MSEC;
	if (*out_ns < least_ns)
		*out_ns = least_ns;
}

/* Where to */

static bool has_user(const char *text)
{
	const char *authority = strstr(text, "://"), *at;

	authority = authority ? authority + 3 : text;
	at = strchr(authority, '@');
	return at && (size_t)(at - authority) < strcspn(authority, "/?#");
}

static int parse_endpoint(const struct loading *l, const char *name, const char *text,
                          struct url *url)
{
	const char *reason = "";

	if (has_user(text))
		return refuse(l, name,
		              "credentials are not taken from a URL; "
		              "put them into OTEL_EXPORTER_OTLP_HEADERS");
	if (url_parse(text, url, &reason) < 0)
		return refuse(l, name, reason);
	return 0;
}

/* A signal's path goes below the base's; a query stays at the end. */
static int set_url(const struct loading *l, enum export_signal signal, const struct url *url,
                   bool base)
{
	size_t path = strcspn(url->path, "?");
	/* No name server is to be asked for it, and no other name may lead there (RFC 6761, 6.3). */
	const char *host = strcasecmp(url->host, "localhost") == 0 ? "127.0.0.1" : url->host;
	bool v6 = strchr(host, ':');
	char **out = &l->out->target[signal].url;

	while (base && path > 0 && url->path[path - 1] == '/')
		path--;
	if (asprintf(out, "http%s://%s%s%s:%u%.*s%s%s%s", url->tls ? "s" : "", v6 ? "[" : "", host,
	             v6 ? "]" : "", (unsigned int)url->port, (int)path, url->path,
	             base ? "/v1/" : "", base ? labels[signal] : "",
	             url->path + strcspn(url->path, "?")) < 0) {
		*out = NULL;
		return no_memory(l);
	}
	return 0;
}

static int set_endpoint(const struct loading *l, enum export_signal signal, const char *endpoint)
{
	char name[NAME_MAX_];
	const char *text;
	bool base = false;
	struct url url;
	int r;

	snprintf(name, sizeof(name), "OTEL_EXPORTER_OTLP_%s_ENDPOINT", infixes[signal]);
	text = variable(l, name);
	if (!text) {
		base = true;
		snprintf(name, sizeof(name), "OTEL_EXPORTER_OTLP_ENDPOINT");
		text = variable(l, name);
	}
	if (!text) {
		snprintf(name, sizeof(name), "collector.endpoint");
		text = endpoint;
	}
	if (!*text)
		return 0;
	r = parse_endpoint(l, name, text, &url);
	return r ?: set_url(l, signal, &url, base);
}

/* "otlp" and "none" are what there is; a list of exporters has the one that we are, or not. */
static bool is_switched_off(const struct loading *l, enum export_signal signal)
{
	char name[NAME_MAX_];
	const char *value;

	snprintf(name, sizeof(name), "OTEL_%s_EXPORTER", infixes[signal]);
	value = variable(l, name);
	if (!value || strcasecmp(value, "otlp") == 0)
		return false;
	if (strcasecmp(value, "none") == 0)
		return true;
	warn(l, name, "expected otlp or none; otlp is used");
	return false;
}

static bool is_disabled(const struct loading *l)
{
	static const char name[] = "OTEL_SDK_DISABLED";
	const char *value = variable(l, name);

	if (value && strcasecmp(value, "true") != 0 && strcasecmp(value, "false") != 0)
		warn(l, name, "expected true or false; false is used");
	return value && strcasecmp(value, "true") == 0;
}

/* Headers */

static int add_header(void *user, const char *key, const char *value)
{
	const struct loading *l = user;
	const char *reason = NULL;
	int r = headers_add(&l->out->target[l->signal], key, value, &reason);

	return r == -EINVAL ? refuse(l, l->name, reason) : r ? no_memory(l) : 0;
}

static int set_headers(struct loading *l, enum export_signal signal)
{
	char name[NAME_MAX_], why[256];
	const char *value = option(l, signal, "HEADERS", name), *reason = NULL;
	size_t at;
	int r;

	if (!value)
		return 0;
	if (strlen(value) > EXPORT_VARIABLE_MAX)
		return refuse(l, name, "larger than 32 kB");
	l->name = name;
	l->signal = signal;
	r = pairs_read(value, add_header, l, &reason, &at);
	if (r == -EINVAL && reason) {
		snprintf(why, sizeof(why), "member %zu: %s", at, reason);
		return refuse(l, name, why);
	}
	return r == -ENOMEM ? no_memory(l) : r;
}

/* How */

static int set_file(const struct loading *l, enum export_signal signal, const char *what,
                    char **out)
{
	char name[NAME_MAX_];
	const char *value = option(l, signal, what, name);

	if (!value)
		return 0;
	if (*value != '/')
		return refuse(l, name, "expected the absolute path of a file in PEM");
	return copy(l, out, value);
}

/* Without TLS nobody is shown a certificate. */
static int set_files(const struct loading *l, enum export_signal signal)
{
	struct export_target *target = &l->out->target[signal];
	int r;

	if (strncmp(target->url, "https:", 6) != 0)
		return 0;
	r = set_file(l, signal, "CERTIFICATE", &target->ca);
	r = r ?: set_file(l, signal, "CLIENT_CERTIFICATE", &target->certificate);
	r = r ?: set_file(l, signal, "CLIENT_KEY", &target->key);
	if (r == 0 && !target->certificate != !target->key)
		return refuse(l, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
		              "expected together with OTEL_EXPORTER_OTLP_CLIENT_KEY, or neither");
	return r;
}

static void set_manner(const struct loading *l, enum export_signal signal)
{
	struct export_target *target = &l->out->target[signal];
	char name[NAME_MAX_];
	const char *value = option(l, signal, "COMPRESSION", name);

	target->gzip = !value || strcasecmp(value, "none") != 0;
	if (target->gzip && value && strcasecmp(value, "gzip") != 0)
		warn(l, name, "expected gzip or none; gzip is used");

	value = option(l, signal, "PROTOCOL", name);
	if (value && strcasecmp(value, "http/json") != 0)
		warn(l, name, "only http/json is spoken, and used");

	target->timeout_ns = EXPORT_TIMEOUT_NS;
	value = option(l, signal, "TIMEOUT", name);
	read_milliseconds(l, name, value, 1, EXPORT_TIMEOUT_MAX_NS, &target->timeout_ns);
	if (value && target->timeout_ns == 1) /* 0: no bound */
		target->timeout_ns = EXPORT_TIMEOUT_MAX_NS;
}

static int load_signal(struct loading *l, enum export_signal signal, const char *endpoint)
{
	int r;

	if (is_switched_off(l, signal))
		return 0;
	r = set_endpoint(l, signal, endpoint);
	if (r < 0 || !l->out->target[signal].url)
		return r;
	set_manner(l, signal);
	r = set_headers(l, signal);
	return r ?: set_files(l, signal);
}

/* Who tells */

static int add_attribute(void *user, const char *key, const char *value)
{
	const struct loading *l = user;
	struct export_settings *out = l->out;
	struct otlp_attribute attribute;
	size_t i = 0;

	while (i < out->n_attributes && strcmp(out->attributes[i].key, key) != 0)
		i++;
	if (i == EXPORT_ATTRIBUTES_MAX)
		return -E2BIG;
	attribute = (struct otlp_attribute){ strdup(key), strdup(value) };
	if (!attribute.key || !attribute.value) {
		free((char *)attribute.key);
		free((char *)attribute.value);
		return -ENOMEM;
	}
	if (i < out->n_attributes) {
		free((char *)out->attributes[i].key);
		free((char *)out->attributes[i].value);
	} else {
		out->n_attributes++;
	}
	out->attributes[i] = attribute;
	return 0;
}

static void drop_attribute(struct export_settings *settings, size_t i)
{
	free((char *)settings->attributes[i].key);
	free((char *)settings->attributes[i].value);
	settings->attributes[i] = settings->attributes[--settings->n_attributes];
}

/* All of it or nothing (specification/resource/sdk.md). */
static int set_attributes(struct loading *l)
{
	static const char name[] = "OTEL_RESOURCE_ATTRIBUTES";
	const char *value = variable(l, name), *reason = "more than 64, or 32 kB";
	char why[192];
	size_t at = 0;
	int r;

	if (!value)
		return 0;
	r = strlen(value) > EXPORT_VARIABLE_MAX ? -E2BIG
	                                        : pairs_read(value, add_attribute, l, &reason, &at);
	if (r == 0 || r == -ENOMEM)
		return r ? no_memory(l) : 0;
	while (l->out->n_attributes > 0)
		drop_attribute(l->out, 0);
	snprintf(why, sizeof(why), "member %zu: %s; none of them is used", at, reason);
	warn(l, name, why);
	return 0;
}

/* The variable of its own wins over the attribute. */
static int set_service(const struct loading *l)
{
	const char *value = variable(l, "OTEL_SERVICE_NAME");
	struct export_settings *out = l->out;
	int r = value ? copy(l, &out->service_name, value) : 0;

	for (size_t i = 0; i < out->n_attributes && r == 0; i++) {
		if (strcmp(out->attributes[i].key, "service.name") != 0)
			continue;
		if (!value && *out->attributes[i].value)
			r = copy(l, &out->service_name, out->attributes[i].value);
		drop_attribute(out, i);
		break;
	}
	return r;
}

static int load(struct loading *l, const char *endpoint)
{
	static const char interval[] = "OTEL_METRIC_EXPORT_INTERVAL";
	int r = 0;

	l->out->metrics_interval_ns = EXPORT_INTERVAL_NS;
	read_milliseconds(l, interval, variable(l, interval), EXPORT_INTERVAL_MIN_NS,
	                  EXPORT_INTERVAL_MAX_NS, &l->out->metrics_interval_ns);
	if (is_disabled(l))
		return 0;
	for (int i = 0; i < _EXPORT_SIGNAL_MAX && r == 0; i++)
		r = load_signal(l, (enum export_signal)i, endpoint);
	if (r < 0 || !export_settings_on(l->out))
		return r;
	r = set_attributes(l);
	return r ?: set_service(l);
}

int export_settings_load(const char *endpoint, export_getenv_fn environment,
                         struct export_settings *out, char error[static 512])
{
	struct export_settings settings = { 0 };
	struct loading l = { .environment = environment, .out = &settings, .error = error };
	int r = load(&l, endpoint);

	if (r < 0)
		export_settings_clear(&settings);
	else
		*out = settings;
	return r;
}

void export_settings_clear(struct export_settings *settings)
{
	for (int i = 0; i < _EXPORT_SIGNAL_MAX; i++) {
		struct export_target *target = &settings->target[i];

		headers_clear(target);
		free(target->url);
		free(target->ca);
		free(target->certificate);
		free(target->key);
	}
	while (settings->n_attributes > 0)
		drop_attribute(settings, 0);
	free(settings->service_name);
	*settings = (struct export_settings){ 0 };
}

bool export_settings_on(const struct export_settings *settings)
{
	return settings->target[EXPORT_LOGS].url || settings->target[EXPORT_METRICS].url;
}

int export_target_address(const struct export_target *target, struct ip *ip, bool *literal,
                          uint16_t *port)
{
	const char *reason;
	struct url url;

	if (!target->url || url_parse(target->url, &url, &reason) < 0)
		return -EINVAL;
	*ip = url.literal ? url.address : (struct ip){ 0 };
	*literal = url.literal;
	*port = url.port;
	return 0;
}
