#include <string.h>

#include "report/report_parts.h"
#include "verdict/explain.h"

/* Flows to one address differ in port and interface: a pod has a handful. */
enum { EXPLAIN_FLOWS_MAX = 1024 };

struct gathered {
	struct ip dst;
	const struct flow *flows[EXPLAIN_FLOWS_MAX];
	size_t n;
};

static int gather(void *user, struct flow *flow)
{
	struct gathered *gathered = user;

	if (memcmp(&flow->key.remote, &gathered->dst, sizeof(gathered->dst)) != 0)
		return 0;
	gathered->flows[gathered->n++] = flow;
	return gathered->n == EXPLAIN_FLOWS_MAX;
}

static void write_expected(struct encode *e, const struct explain *explained)
{
	encode_object(e, "expected");
	encode_text(e, "path", path_name(explained->expected.path));
	encode_text(e, "because", path_reason_name(explained->expected.reason));
	encode_text(e, "match", explained->match[0] ? explained->match : NULL);
	encode_bool(e, "governed", explained->governed);
	encode_text(e, "interface",
	            explained->must_interface[0] ? explained->must_interface : NULL);
	encode_text(e, "rule", explained->rule);
	encode_object_end(e);
}

static void write_live(struct encode *e, const struct explain *explained)
{
	encode_object(e, "live");
	encode_text(e, "way", explain_live_name(explained->live));
	encode_text(e, "interface", explained->interface[0] ? explained->interface : NULL);
	encode_text(e, "route", explained->route[0] ? explained->route : NULL);
	encode_object_end(e);
}

static void write_seen(struct encode *e, const struct subject *subject,
                       const struct explain *explained)
{
	const struct flow *newest = explained->newest;
	const struct live_link *link;

	encode_object(e, "seen");
	encode_u64(e, "flows", explained->n_flows);
	encode_u64(e, "packets", explained->packets);
	encode_u64(e, "bytes", explained->bytes);
	if (newest) {
		link = live_link_find(&subject->live, newest->key.ifindex);
		encode_text(e, "interface", link ? link->name : NULL);
		encode_text(e, "path", path_name((enum path)newest->path));
		encode_time(e, "lastSeen", newest->last.wall_us);
	}
	encode_object_end(e);
}

int route_explain(struct call *call)
{
	const struct report_sources *s = call->sources;
	const char *to = http_server_param(call->request, "to");
	const struct subject *subject;
	struct gathered gathered = { .n = 0 };
	struct explain explained;
	struct encode *e = &call->e;
	char address[IP_TEXT_MAX];

	if (!to || ip_parse(to, &gathered.dst) < 0)
		return call_problem(call, 400, "to: expected an IP address");
	subject = call_subject(call, "pod");
	if (!subject)
		return 0;

	s->flows(s->user, subject->number, gather, &gathered);
	explain(subject, &gathered.dst, gathered.flows, gathered.n, &explained);

	encode_object(e, NULL);
	write_subject_name(e, "subject", subject->namespace, subject->pod, subject->uid);
	write_gateway_of(e, "gateway", subject);
	encode_text(e, "to", ip_format(&gathered.dst, address));
	write_expected(e, &explained);
	write_live(e, &explained);
	write_seen(e, subject, &explained);
	encode_text(e, "agreement", explain_agreement_name(explained.agreement));
	encode_text(e, "verdict", explained.verdict);
	encode_object_end(e);
	return 0;
}
