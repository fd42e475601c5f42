#include "export/otlp_flow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/decode.h"
#include "kube/object.h"
#include "limits.h"

static void put_object(struct json_object **object)
{
	json_object_put(*object);
}

/* Protocols without a name here are numbers, and ICMP has no ports: they are no transport. */
static int decode_transport(struct json_object *value, void *dest, struct decode_error *error)
{
	static const char *const known[] = { "tcp", "udp", "sctp" };
	const char *text = decode_plain(value, error);
	char *transport = dest;

	if (!text)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(text, known[i]) == 0)
			snprintf(transport, sizeof(((struct otlp_flow *)NULL)->transport), "%s",
			         known[i]);
	return 0;
}

int otlp_flow_read(const char *evidence, struct otlp_flow *out)
{
	static const struct decode_field fields[] = {
		{ "destination", decode_ip, offsetof(struct otlp_flow, destination), true },
		{ "port", decode_u16, offsetof(struct otlp_flow, port), false },
		{ "protocol", decode_transport, offsetof(struct otlp_flow, transport), false },
		{ 0 },
	};
	cleanup(put_object) struct json_object *object = NULL;
	struct json_object *flows, *first;
	struct otlp_flow flow = { 0 };
	struct decode_error error;
	int r;

	r = kube_object_parse(evidence, strlen(evidence), EVIDENCE_MAX, &object, &error);
	if (r < 0)
		return r;
	if (!json_object_object_get_ex(object, "flows", &flows))
		return -ENOENT;
	if (!json_object_is_type(flows, json_type_array))
		return -EINVAL;
	if (json_object_array_length(flows) == 0)
		return -ENOENT;
	first = json_object_array_get_idx(flows, 0);
	if (!json_object_is_type(first, json_type_object))
		return -EINVAL;
	r = decode_object(first, fields, &flow, &error);
	if (r < 0)
		return r;

	*out = flow;
	return 0;
}
