#include "export/otlp.h"

#include <string.h>

#include "export/otlp_value.h"

/* Names that the semantic conventions define are those of this version. */
#define SCHEMA "https://opentelemetry.io/schemas/1.44.0"
#define SCOPE "egress-verifier"

/* Resource */

#define OWN_MAX 8

struct own {
	struct otlp_attribute items[OWN_MAX];
	size_t n;
};

static bool is_known(const struct otlp_attribute *attribute)
{
	return attribute->key && *attribute->key && attribute->value && *attribute->value;
}

static bool is_among(const struct otlp_attribute *items, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (is_known(&items[i]) && strcmp(items[i].key, key) == 0)
			return true;
	return false;
}

static void add_own(struct own *own, const char *key, const char *value)
{
	const struct otlp_attribute attribute = { key, value };

	if (is_known(&attribute))
		own->items[own->n++] = attribute;
}

static struct own own_of(const struct otlp_resource *resource)
{
	const char *name = resource->service_name;
	struct own own = { 0 };

	/* What the user calls it goes before our default (specification/resource/sdk.md). */
	if ((!name || !*name) &&
	    !is_among(resource->attributes, resource->n_attributes, "service.name"))
		name = "egress-verifier";
	add_own(&own, "service.name", name);
	add_own(&own, "service.version", resource->version);
	add_own(&own, "service.instance.id", resource->instance);
	add_own(&own, "k8s.node.name", resource->node);
	add_own(&own, "k8s.node.uid", resource->node_uid);
	add_own(&own, "k8s.namespace.name", resource->namespace);
	add_own(&own, "k8s.pod.name", resource->pod);
	add_own(&own, "k8s.pod.uid", resource->pod_uid);
	return own;
}

static void write_resource(struct encode *e, const struct otlp_resource *resource)
{
	const struct own own = own_of(resource);

	encode_object(e, "resource");
	encode_array(e, "attributes");
	for (size_t i = 0; i < own.n; i++)
		otlp_value_text(e, own.items[i].key, own.items[i].value);
	/* Of two that are alike the later one, as in the environment. */
	for (size_t i = 0; i < resource->n_attributes; i++) {
		const struct otlp_attribute *attribute = &resource->attributes[i];

		if (is_known(attribute) && !is_among(own.items, own.n, attribute->key) &&
		    !is_among(attribute + 1, resource->n_attributes - i - 1, attribute->key))
			otlp_value_text(e, attribute->key, attribute->value);
	}
	encode_array_end(e);
	encode_object_end(e);
}

/* Envelopes: a schema covers its own level only, so that both have it. */

static void open_request(struct encode *e, const struct otlp_resource *resource, const char *outer,
                         const char *inner)
{
	encode_object(e, NULL);
	encode_array(e, outer);
	encode_object(e, NULL);
	encode_text(e, "schemaUrl", SCHEMA);
	write_resource(e, resource);
	encode_array(e, inner);
	encode_object(e, NULL);
	encode_text(e, "schemaUrl", SCHEMA);
	encode_object(e, "scope");
	encode_text(e, "name", SCOPE);
	if (resource->version && *resource->version)
		encode_text(e, "version", resource->version);
	encode_object_end(e);
}

static const char end_of_request[] = "]}]}]}";

void otlp_logs_begin(const struct otlp_resource *resource, struct buf *out)
{
	struct encode e = ENCODE_INIT(out);

	open_request(&e, resource, "resourceLogs", "scopeLogs");
	encode_array(&e, "logRecords");
}

void otlp_logs_add(struct buf *out, const char *record, size_t len)
{
	if (out->len && out->data[out->len - 1] != '[')
		buf_text(out, ",");
	buf_append(out, record, len);
}

void otlp_logs_end(struct buf *out)
{
	buf_text(out, end_of_request);
}

void otlp_metrics(const struct otlp_resource *resource, otlp_metrics_fn fn, void *user,
                  struct buf *out)
{
	struct encode e = ENCODE_INIT(out);

	open_request(&e, resource, "resourceMetrics", "scopeMetrics");
	encode_array(&e, "metrics");
	fn(user, &e);
	buf_text(out, end_of_request);
}
