/*
 * A node made up: gateways, pods in every state, violations, probes, flows,
 * for whoever needs sources of a report. Constant, so that answers can be
 * compared with golden ones.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/report.h"

#define FIXTURE_PODS_MAX 16
#define FIXTURE_US 1795190400000000 /* 2026-11-20T16:00:00Z */

struct fixture {
	struct kube_gateway gateways[2];
	struct kube_gateway_profile profiles[2];
	struct kube_gateway_vm vm;
	struct subject subjects[FIXTURE_PODS_MAX];
	struct judge_record records[FIXTURE_PODS_MAX];
	size_t n_subjects;
	struct live_link links[3];
	struct live_route routes[2];
	struct live_rule rules[1];
	struct violation violations[FIXTURE_PODS_MAX];
	size_t n_violations;
	struct flow made[FIXTURE_PODS_MAX], *flows;
	size_t n_flows;
	struct probe_result control[2];
	struct judge_settings settings;
	struct moment now;
	uint64_t wait_ns;
	bool broken;                            /* a condition does not hold */
	const struct report_kube *kube;         /* NULL: nothing came from the API server */
	const struct report_export *on_its_way; /* NULL: neither spool nor collector */
	/* As the source; NULL: no spool. */
	int (*history)(struct fixture *f, int64_t since_us, int64_t until_us, uint32_t max_rows,
	               spool_row_fn row, spool_end_fn end, void *arg);
	size_t n_forgotten;
	struct report *report;
};

#define FIXTURE_FN __attribute__((unused)) static

FIXTURE_FN struct ip fixture_ip(const char *text)
{
	struct ip ip = { 0 };

	if (ip_parse(text, &ip) < 0)
		abort();
	return ip;
}

FIXTURE_FN struct moment fixture_at(int64_t seconds_ago)
{
	return (struct moment){ .mono_ns = (uint64_t)(1000000 - seconds_ago) * NSEC_PER_SEC,
		                .wall_us = FIXTURE_US - seconds_ago * 1000000 };
}

FIXTURE_FN struct moment fixture_now(void *user)
{
	return ((struct fixture *)user)->now;
}

FIXTURE_FN const struct judge_settings *fixture_settings(void *user)
{
	return &((struct fixture *)user)->settings;
}

FIXTURE_FN const struct subject *fixture_subject(void *user, uint32_t number)
{
	struct fixture *f = user;

	return number < f->n_subjects && f->subjects[number].pod ? &f->subjects[number] : NULL;
}

FIXTURE_FN const struct judge_record *fixture_record(void *user, uint32_t number)
{
	return &((struct fixture *)user)->records[number];
}

FIXTURE_FN bool fixture_observing(void *user, uint32_t number)
{
	(void)user;
	return number != 3;
}

FIXTURE_FN size_t fixture_gateway_count(void *user)
{
	(void)user;
	return 2;
}

FIXTURE_FN const struct kube_gateway *fixture_gateway(void *user, size_t index)
{
	return &((struct fixture *)user)->gateways[index];
}

FIXTURE_FN const struct kube_gateway_vm *fixture_vm(void *user, const char *namespace,
                                                    const char *name)
{
	struct fixture *f = user;

	return strcmp(namespace, f->vm.namespace) == 0 && strcmp(name, f->vm.name) == 0 ? &f->vm
	                                                                                : NULL;
}

FIXTURE_FN const struct violation *fixture_violation(void *user, size_t index)
{
	struct fixture *f = user;

	return index < f->n_violations ? &f->violations[index] : NULL;
}

FIXTURE_FN const struct probe_result *fixture_control(void *user)
{
	return ((struct fixture *)user)->control;
}

FIXTURE_FN int fixture_flows(void *user, uint32_t subject, flow_table_fn fn, void *arg)
{
	struct fixture *f = user;
	int r = 0;

	for (size_t i = 0; i < f->n_flows && r == 0; i++)
		if (subject == UINT32_MAX || f->flows[i].key.subject == subject)
			r = fn(arg, &f->flows[i]);
	return r;
}

FIXTURE_FN void fixture_condition(void *user, enum report_condition condition,
                                  struct report_condition_state *out)
{
	struct fixture *f = user;

	out->ok = !(f->broken && condition == CONDITION_INVENTORY);
	out->stuck = false;
	strcpy(out->reason, out->ok ? "" : "inventory.yaml:3:7: expected a mapping");
}

FIXTURE_FN uint64_t fixture_lost(void *user, enum report_loss loss)
{
	(void)user;
	return loss == LOSS_FLOW_EVENTS ? 12 : loss == LOSS_FLOW_EVICTIONS ? 34567 : 0;
}

FIXTURE_FN void fixture_kube(void *user, struct report_kube *out)
{
	struct fixture *f = user;

	if (f->kube)
		*out = *f->kube;
}

FIXTURE_FN void fixture_export(void *user, struct report_export *out)
{
	struct fixture *f = user;

	if (f->on_its_way)
		*out = *f->on_its_way;
}

FIXTURE_FN int fixture_history(void *user, int64_t since_us, int64_t until_us, uint32_t max_rows,
                               spool_row_fn row, spool_end_fn end, void *arg)
{
	struct fixture *f = user;

	return f->history ? f->history(f, since_us, until_us, max_rows, row, end, arg) : -ENODEV;
}

FIXTURE_FN void fixture_history_forget(void *user)
{
	((struct fixture *)user)->n_forgotten++;
}

FIXTURE_FN uint64_t fixture_probe_now(void *user, const struct subject *subject)
{
	(void)subject;
	return ((struct fixture *)user)->wait_ns;
}

/* Some of everything on its way. */
FIXTURE_FN struct report_export fixture_made_up_export(void)
{
	struct report_export made_up = {
		.spooling = true,
		.exporting = true,
		.spool = { .state = { .degraded = true,
		                      .reason = "the disk is full",
		                      .waiting = 401,
		                      .bytes = 402000000,
		                      .oldest_us = FIXTURE_US - 600000000,
		                      .dropped = { 403, 404, 405, 406 },
		                      .errors = 407 },
		           .refused = 408 },
		.told_early = 409,
		.unread = 410,
		.exporter = { .sent = 501,
		              .rejected = 502,
		              .sent_bytes = 503,
		              .last_success_us = FIXTURE_US - 60000000,
		              .last_error = "503 <Service> Unavailable" },
	};

	for (unsigned int i = 0; i < _EXPORT_SIGNAL_MAX; i++)
		for (unsigned int k = 0; k < _EXPORT_RESULT_MAX; k++)
			made_up.exporter.requests[i][k] = 600 + 10 * i + k;
	return made_up;
}

FIXTURE_FN void fixture_prefix(struct prefix_set *out, const char *text)
{
	if (prefix_parse(text, out) < 0)
		abort();
}

FIXTURE_FN void fixture_probe(struct probe_result *out, uint16_t echo, const char *address,
                              int64_t seconds_ago)
{
	*out = (struct probe_result){
		.echo = echo,
		.udp = echo == 1,
		.outcome = address ? PROBE_ANSWERED : PROBE_CONNECT_TIMEOUT,
		.phase = address ? PROBE_TOTAL : PROBE_CONNECT,
		.phase_us = { [PROBE_RESOLVE] = 850,
		              [PROBE_CONNECT] = 12400,
		              [PROBE_FIRST_BYTE] = address ? 20300 : 0,
		              [PROBE_TOTAL] = 33550 },
		.peer = fixture_ip(echo ? "198.51.100.9" : "198.51.100.8"),
		.peer_port = echo ? 3478 : 443,
		.http_status = address && !echo ? 200 : 0,
		.started = fixture_at(seconds_ago + 1),
		.finished = fixture_at(seconds_ago),
	};
	if (address)
		out->observed = fixture_ip(address);
}

FIXTURE_FN struct judge_record *fixture_pod(struct fixture *f, const char *namespace,
                                            const char *pod, enum subject_state state,
                                            const char *reason)
{
	uint32_t i = (uint32_t)f->n_subjects++;
	struct subject *subject = &f->subjects[i];
	struct judge_record *record = &f->records[i];
	static char uids[FIXTURE_PODS_MAX][16];

	snprintf(uids[i], sizeof(uids[i]), "uid-%u", i);
	*subject = (struct subject){
		.number = i,
		.generation = i + 1,
		.namespace = (char *)namespace,
		.pod = (char *)pod,
		.uid = uids[i],
		.has_ip = true,
		.ip = fixture_ip("10.244.0.10"),
		.gateway_name = f->gateways[0].name,
		.gateway = &f->gateways[0],
		.policy = { .default_path = PATH_GATEWAY },
		.netns_fd = -1,
		.live = { .readable = true,
		          .links = f->links,
		          .n_links = 3,
		          .tunnel_ifindex = 3,
		          .routes = f->routes,
		          .n_routes = 2,
		          .rules = f->rules,
		          .n_rules = 1 },
	};
	subject->ip.b[15] = (uint8_t)(10 + i);
	record->state = state;
	record->state_since = fixture_at(600);
	snprintf(record->reason, sizeof(record->reason), "%s", reason);
	return record;
}

FIXTURE_FN void fixture_add_violation(struct fixture *f, enum violation_kind kind, size_t subject,
                                      bool open, const char *reason, const char *remedy)
{
	size_t i = f->n_violations++;
	struct violation *v = &f->violations[i];
	const struct subject *s = &f->subjects[subject];

	*v = (struct violation){
		.kind = kind,
		.namespace = s->namespace,
		.pod = s->pod,
		.uid = s->uid,
		.gateway_namespace = s->gateway_name ? s->namespace : NULL,
		.gateway = s->gateway_name,
		.first = fixture_at(300 + (int64_t)i),
		.last = fixture_at(5),
		.opened = fixture_at(299 + (int64_t)i),
		.count = 40 + i,
		.evidence = (char *)"{\"kind\":\"made-up\"}",
		.open = open,
	};
	if (!open)
		v->resolved = fixture_at(100);
	snprintf(v->id, sizeof(v->id), "%032zx", 0xabc0 + i);
	snprintf(v->reason, sizeof(v->reason), "%s", reason);
	snprintf(v->remedy, sizeof(v->remedy), "%s", remedy);
}

FIXTURE_FN void fixture_add_flow(struct fixture *f, uint32_t subject, const char *to, uint16_t port,
                                 uint8_t protocol, enum path path, bool offending)
{
	size_t i = f->n_flows++;

	f->flows[i] = (struct flow){
		.key = { .remote = fixture_ip(to),
		         .subject = subject,
		         .ifindex = path == PATH_GATEWAY ? 3 : 2,
		         .remote_port = path == PATH_REPLY ? 0 : port,
		         .local_port = path == PATH_REPLY ? port : 0,
		         .protocol = protocol,
		         .origin = path == PATH_REPLY ? FLOW_REMOTE : FLOW_LOCAL },
		.packets = 1200 + 7 * i,
		.bytes = 4500000 + 1000 * i,
		.connections = 3,
		.failed = i == 1,
		.first = fixture_at(3000),
		.last = fixture_at(2 + (int64_t)i),
		.path = (uint8_t)path,
		.offending = offending,
	};
}

FIXTURE_FN void fixture_objects(struct fixture *f)
{
	f->gateways[0] = (struct kube_gateway){
		.namespace = (char *)"shop",
		.name = (char *)"partner-bank",
		.uid = (char *)"g0",
		.default_to_gateway = true,
		.provision_public_ips = true,
		.nodepool = (char *)"gwpool",
		.egress_prefix = (char *)"203.0.113.0/30",
		.has_server = true,
		.server_ip = fixture_ip("10.0.1.250"),
		.server_port = 6000,
		.created_us = FIXTURE_US - 86400000000,
	};
	f->gateways[1] = (struct kube_gateway){
		.namespace = (char *)"shop",
		.name = (char *)"private",
		.uid = (char *)"g1",
		.egress_prefix = (char *)"10.0.1.8,,10.0.1.9",
		.created_us = FIXTURE_US - 3600000000,
	};
	fixture_prefix(&f->gateways[0].prefix, f->gateways[0].egress_prefix);
	fixture_prefix(&f->gateways[1].prefix, f->gateways[1].egress_prefix);
	f->profiles[0] = (struct kube_gateway_profile){ (char *)"gw-1", fixture_ip("10.0.1.4"),
		                                        true, fixture_ip("10.0.1.8") };
	f->profiles[1] = (struct kube_gateway_profile){ .node = (char *)"gw-2",
		                                        .primary = fixture_ip("10.0.1.5") };
	f->vm = (struct kube_gateway_vm){ (char *)"shop", (char *)"partner-bank", f->profiles, 2 };
	f->links[0] =
		(struct live_link){ .ifindex = 1, .name = "lo", .up = true, .loopback = true };
	f->links[1] =
		(struct live_link){ .ifindex = 2, .name = "eth0", .kind = "veth", .up = true };
	f->links[2] =
		(struct live_link){ .ifindex = 3, .name = "wg0", .kind = "wireguard", .up = true };
	f->routes[0] = (struct live_route){ .dst = { fixture_ip("0.0.0.0"), 96 },
		                            .table = 254,
		                            .ifindex = 3,
		                            .type = 1,
		                            .protocol = 3 };
	f->rules[0] = (struct live_rule){ .priority = 32766, .table = 254, .action = 1 };
	f->routes[1] = (struct live_route){ .dst = { fixture_ip("10.244.0.1"), 128 },
		                            .table = 254,
		                            .ifindex = 2,
		                            .type = 1,
		                            .protocol = 3,
		                            .scope = 253 };
}

FIXTURE_FN void fixture_pods(struct fixture *f)
{
	struct judge_record *r;

	r = fixture_pod(f, "shop", "checkout-7d9f-x2x", STATE_VERIFIED,
	                "2 of 2 echoes saw 203.0.113.1, which is in the gateway's prefix");
	fixture_probe(&r->last[0], 0, "203.0.113.1", 8);
	fixture_probe(&r->last[1], 1, "203.0.113.1", 8);
	r->last_proof = fixture_at(8);
	r->observed = fixture_ip("203.0.113.1");
	r->attribution = ATTRIBUTION_EXPECTED;

	r = fixture_pod(f, "shop", "payments-0", STATE_VIOLATED,
	                "40 connections to 198.51.100.7 left by eth0 and not through the gateway");
	fixture_probe(&r->last[0], 0, "192.0.2.55", 9);
	r->last_proof = fixture_at(400);
	r->observed = fixture_ip("192.0.2.55");
	r->attribution = ATTRIBUTION_OUTBOUND;

	fixture_pod(f, "shop", "reports-5c-q", STATE_PENDING,
	            "the pod started 20 s ago, and no round is complete");
	r = fixture_pod(f, "billing", "export-1", STATE_UNVERIFIED,
	                "no quorum: ifconfig connect-timeout, udp connect-timeout");
	fixture_probe(&r->last[0], 0, NULL, 11);
	fixture_probe(&r->last[1], 1, NULL, 11);
	f->subjects[3].gateway = NULL;
	f->subjects[3].gateway_name = NULL;

	fixture_add_violation(
		f, GATEWAY_BYPASS, 1, true,
		"40 connections to 198.51.100.7 left by eth0 and not through the gateway",
		"Restart the pod, its routes were changed after it started: kubectl -n "
		"shop delete pod payments-0");
	fixture_add_violation(f, WRONG_SOURCE_ADDRESS, 1, true,
	                      "2 echoes saw 192.0.2.55, the cluster's outbound address",
	                      "Look at the pod's default route: ip route show table main");
	fixture_add_violation(f, TUNNEL_BROKEN, 0, false, "packets went out and none returned",
	                      "Nothing: it works again");
}

FIXTURE_FN void fixture_start(struct fixture *f)
{
	struct report_sources sources = {
		.user = f,
		.node = "worker-1",
		.version = "0.1.0",
		.commit = "0123456789ab",
		.started = fixture_at(3600),
		.now = fixture_now,
		.settings = fixture_settings,
		.subject = fixture_subject,
		.record = fixture_record,
		.observing = fixture_observing,
		.gateway_count = fixture_gateway_count,
		.gateway = fixture_gateway,
		.gateway_vm = fixture_vm,
		.violation = fixture_violation,
		.node_results = fixture_control,
		.flows = fixture_flows,
		.condition = fixture_condition,
		.lost = fixture_lost,
		.kube = fixture_kube,
		.export = fixture_export,
		.history = fixture_history,
		.history_forget = fixture_history_forget,
		.boot = "0b5d5ba3-8f3c-4d53-8d5f-2f6d3a0f4c11",
		.probe_now = fixture_probe_now,
	};

	memset(f, 0, sizeof(*f));
	f->flows = f->made;
	f->now = fixture_at(0);
	f->settings = (struct judge_settings){ .interval_ns = 30 * NSEC_PER_SEC,
		                               .pending_grace_ns = 300 * NSEC_PER_SEC,
		                               .quorum = 2,
		                               .n_echoes = 2,
		                               .echo_name = { "ifconfig", "udp" },
		                               .echo_udp = { false, true } };
	fixture_objects(f);
	fixture_pods(f);
	fixture_probe(&f->control[0], 0, "192.0.2.55", 7);
	fixture_add_flow(f, 0, "198.51.100.20", 443, 6, PATH_GATEWAY, false);
	fixture_add_flow(f, 1, "198.51.100.7", 443, 6, PATH_DIRECT, true);
	fixture_add_flow(f, 0, "10.244.0.53", 53, 17, PATH_CLUSTER, false);
	fixture_add_flow(f, 1, "198.51.100.99", 8080, 6, PATH_REPLY, false);
	if (report_new(&sources, &f->report) < 0)
		abort();
	for (size_t i = 0; i < f->n_flows; i++) {
		struct flow_delta delta = { f->flows[i].packets, f->flows[i].bytes, 1 };

		report_flow_opened(f->report, (enum path)f->flows[i].path);
		report_flow_updated(f->report, (enum path)f->flows[i].path, &delta);
	}
	report_violation(f->report, &f->violations[0], VIOLATION_OPENED);
	report_violation(f->report, &f->violations[1], VIOLATION_OPENED);
	report_probe(f->report, &f->records[0].last[0]);
	report_probe(f->report, &f->records[3].last[0]);
}

FIXTURE_FN void fixture_stop(struct fixture *f)
{
	report_free(f->report);
}

/* "GET /v1/flows?limit=1&pod=a/b"; the body is in the response, for buf_clear(). */
FIXTURE_FN struct http_server_response fixture_ask(struct fixture *f, const char *method,
                                                   const char *target, const char *accept,
                                                   enum report_scope scope)
{
	static char text[4096];
	struct http_server_response response = { .status = 200, .body = BUF_INIT(HTTP_ANSWER_MAX) };
	struct http_server_request request = {
		.method = method, .path = text, .accept = accept, .scope = (int)scope
	};
	char *rest;

	snprintf(text, sizeof(text), "%s", target);
	rest = strchr(text, '?');
	if (rest)
		*rest++ = '\0';
	while (rest) {
		char *one = strsep(&rest, "&"), *value = strchr(one, '=');

		if (value)
			*value++ = '\0';
		request.params[request.n_params++] = (struct http_param){ one, value ? value : "" };
	}
	if (report_handle(f->report, &request, &response) < 0)
		abort();
	return response;
}

FIXTURE_FN struct http_server_response fixture_get(struct fixture *f, const char *target)
{
	return fixture_ask(f, "GET", target, NULL, REPORT_ALL);
}
