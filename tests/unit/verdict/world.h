/*
 * A healthy world for tests of the judge: pod team/app behind gateway team/blue
 * (203.0.113.68/31), with the routes and the tunnel of the recording of a real
 * pod. A test breaks one thing and looks at the verdict.
 *
 * Time is in seconds since the world began; nothing reads a clock.
 */
#pragma once

#include "test.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "verdict/judge.h"
#include "verdict/violations.h"

#define WORLD_ECHOES 4 /* three over TCP, one over UDP */
#define WORLD_LOOPBACK 1
#define WORLD_ETH0 2
#define WORLD_WG0 4
#define WORLD_INTERVAL 10.0
#define WORLD_GRACE 60.0

struct change {
	enum violation_kind kind;
	enum violation_change what;
	char id[33];
};

struct world {
	struct kube_gateway blue, red;
	const struct kube_gateway *gateways[2];
	struct subject subject;
	struct cidr exceptions[16], cluster[4];
	struct live_link links[3];
	struct live_route routes[32];
	struct live_rule rules[4];
	struct live_peer peers[2];
	struct judge_settings settings;
	struct judge_context context;
	struct judge_input input;
	struct probe_result node[ECHOES_MAX];
	struct flow flows[16];
	const struct flow *offending[16];
	size_t n_flows;
	struct judge_record record;
	struct violations *violations;
	struct change changes[64];
	size_t n_changes;
	struct finding findings[JUDGE_FINDINGS_MAX];
	size_t n_findings;
};

static inline struct moment at(double seconds)
{
	return (struct moment){ .mono_ns = (uint64_t)((5000 + seconds) * 1e9),
		                .wall_us = (int64_t)((1795000000 + seconds) * 1e6) };
}

static inline struct ip ip_of(const char *text)
{
	struct ip out;

	assert_int_equal(ip_parse(text, &out), 0);
	return out;
}

static inline struct cidr cidr_of(const char *text)
{
	struct cidr out;

	assert_int_equal(cidr_parse(text, &out), 0);
	return out;
}

/* `via` NULL: link scope. */
static inline void world_route(struct world *w, const char *dst, const char *via, uint32_t ifindex,
                               uint8_t protocol)
{
	struct live_route *route = &w->routes[w->subject.live.n_routes++];

	assert_true(w->subject.live.n_routes <= sizeof(w->routes) / sizeof(w->routes[0]));
	*route = (struct live_route){ .dst = cidr_of(dst),
		                      .table = RT_TABLE_MAIN,
		                      .ifindex = ifindex,
		                      .has_gateway = via != NULL,
		                      .type = RTN_UNICAST,
		                      .protocol = protocol };
	if (via)
		route->gateway = ip_of(via);
}

static inline void world_unroute(struct world *w, const char *dst)
{
	struct cidr cidr = cidr_of(dst);
	size_t n = 0;

	for (size_t i = 0; i < w->subject.live.n_routes; i++)
		if (memcmp(&w->routes[i].dst, &cidr, sizeof(cidr)) != 0 ||
		    w->routes[i].table != RT_TABLE_MAIN)
			w->routes[n++] = w->routes[i];
	assert_int_not_equal(n, w->subject.live.n_routes);
	w->subject.live.n_routes = n;
}

static inline void world_except(struct world *w, const char *cidr)
{
	w->exceptions[w->subject.policy.n_exceptions++] = cidr_of(cidr);
}

/* The live configuration is read again. */
static inline void world_read(struct world *w, double seconds)
{
	w->subject.live.read_at = w->subject.live.tunnel.read_at = at(seconds);
}

static inline void world_note(void *user, const struct violation *v, enum violation_change what)
{
	struct world *w = user;
	struct change *change = &w->changes[w->n_changes++];

	assert_true(w->n_changes <= sizeof(w->changes) / sizeof(w->changes[0]));
	change->kind = v->kind;
	change->what = what;
	memcpy(change->id, v->id, sizeof(change->id));
}

static inline void world_gateways(struct world *w)
{
	w->blue = (struct kube_gateway){ .namespace = "team",
		                         .name = "blue",
		                         .uid = "u-blue",
		                         .default_to_gateway = true,
		                         .provision_public_ips = true,
		                         .egress_prefix = "203.0.113.68/31",
		                         .has_server = true,
		                         .server_ip = ip_of("10.50.0.200"),
		                         .server_port = 6000,
		                         .has_server_key = true,
		                         .created_us = at(-3600).wall_us };
	memset(w->blue.server_key, 7, sizeof(w->blue.server_key));
	w->red = w->blue;
	w->red.name = "red";
	assert_int_equal(prefix_parse("203.0.113.68/31", &w->blue.prefix), 0);
	assert_int_equal(prefix_parse("203.0.113.70/31", &w->red.prefix), 0);
	w->gateways[0] = &w->blue;
	w->gateways[1] = &w->red;
}

static inline void world_routes(struct world *w)
{
	w->subject.live.n_routes = 0;
	world_route(w, "0.0.0.0/0", "fe80::1", WORLD_WG0, RTPROT_BOOT);
	world_route(w, "10.0.0.0/16", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	world_route(w, "10.50.0.0/16", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	world_route(w, "10.60.1.1/32", NULL, WORLD_ETH0, RTPROT_BOOT);
	world_route(w, "169.254.169.254/32", "10.60.1.1", WORLD_ETH0, RTPROT_STATIC);
	world_route(w, "0.0.0.0/0", "10.60.1.1", WORLD_ETH0, RTPROT_BOOT);
	w->routes[5].table = 8738;
	world_route(w, "10.60.1.2/32", NULL, WORLD_ETH0, RTPROT_KERNEL);
	w->routes[6].table = RT_TABLE_LOCAL;
	w->routes[6].type = RTN_LOCAL;
}

static inline void world_rules(struct world *w)
{
	static const struct {
		uint32_t priority, table, mark;
	} rules[] = {
		{ 0, RT_TABLE_LOCAL, 0 },
		{ 32765, 8738, 0x2222 },
		{ 32766, RT_TABLE_MAIN, 0 },
	};
	struct live *live = &w->subject.live;

	live->rules = w->rules;
	live->n_rules = sizeof(rules) / sizeof(rules[0]);
	for (size_t i = 0; i < live->n_rules; i++)
		w->rules[i] = (struct live_rule){ .priority = rules[i].priority,
			                          .table = rules[i].table,
			                          .mark = rules[i].mark,
			                          .mask = rules[i].mark ? UINT32_MAX : 0,
			                          .action = FR_ACT_TO_TBL };
}

static inline void world_live(struct world *w)
{
	struct live *live = &w->subject.live;

	w->links[0] =
		(struct live_link){ .ifindex = WORLD_LOOPBACK, .name = "lo", .loopback = true };
	w->links[1] = (struct live_link){ .ifindex = WORLD_ETH0, .name = "eth0", .kind = "veth" };
	w->links[2] =
		(struct live_link){ .ifindex = WORLD_WG0, .name = "wg0", .kind = "wireguard" };
	w->peers[0] = (struct live_peer){ .has_endpoint = true,
		                          .endpoint = ip_of("10.50.0.200"),
		                          .endpoint_port = 6000,
		                          .allowed = { cidr_of("0.0.0.0/0"), cidr_of("::/0") },
		                          .n_allowed = 2,
		                          .handshake_us = at(-20).wall_us,
		                          .rx_bytes = 1000,
		                          .tx_bytes = 1000 };
	memset(w->peers[0].key, 7, sizeof(w->peers[0].key));
	*live = (struct live){
		.readable = true,
		.read_at = at(0),
		.links = w->links,
		.n_links = 3,
		.routes = w->routes,
		.tunnel_ifindex = WORLD_WG0,
		.tunnel = { .readable = true, .read_at = at(0), .peers = w->peers, .n_peers = 1 }
	};
	world_routes(w);
	world_rules(w);
}

static inline void world_subject(struct world *w)
{
	w->subject = (struct subject){ .number = 3,
		                       .generation = 9,
		                       .namespace = "team",
		                       .pod = "app",
		                       .uid = "u-1",
		                       .ip = ip_of("10.60.1.2"),
		                       .has_ip = true,
		                       .created_us = at(-3000).wall_us,
		                       .started_us = at(-2990).wall_us,
		                       .since = at(-100),
		                       .gateway_name = "blue",
		                       .gateway = &w->blue,
		                       .gateway_changed_us = at(-100).wall_us,
		                       .cni_known = true,
		                       .netns_fd = -1 };
	w->cluster[0] = cidr_of("10.60.0.0/16");
	w->subject.policy = (struct path_policy){ .default_path = PATH_GATEWAY,
		                                  .exceptions = w->exceptions,
		                                  .cluster = w->cluster,
		                                  .n_cluster = 1 };
	world_except(w, "10.0.0.0/16");
	world_except(w, "10.50.0.0/16");
	world_except(w, "169.254.169.254/32");
}

static inline void world_init(struct world *w)
{
	static const char *const names[WORLD_ECHOES] = { "ifconfig", "ipify", "trace", "udp" };
	struct moment start = at(0);

	memset(w, 0, sizeof(*w));
	world_gateways(w);
	world_subject(w);
	world_live(w);
	w->settings = (struct judge_settings){ .interval_ns = (uint64_t)(WORLD_INTERVAL * 1e9),
		                               .pending_grace_ns = (uint64_t)(WORLD_GRACE * 1e9),
		                               .quorum = 2,
		                               .n_echoes = WORLD_ECHOES };
	for (size_t i = 0; i < WORLD_ECHOES; i++)
		w->settings.echo_name[i] = names[i];
	w->settings.echo_udp[3] = true;
	w->context = (struct judge_context){ .gateways = w->gateways,
		                             .n_gateways = 2,
		                             .node_results = w->node,
		                             .node_control = true,
		                             .node_ip = ip_of("10.50.0.4"),
		                             .has_node_ip = true };
	w->input = (struct judge_input){ .subject = &w->subject,
		                         .settings = &w->settings,
		                         .context = &w->context,
		                         .offending = w->offending,
		                         .observing = true };
	judge_record_init(&w->record, &start);
	assert_int_equal(violations_new(world_note, w, &w->violations), 0);
}

static inline void world_drop_findings(struct world *w)
{
	for (size_t i = 0; i < w->n_findings; i++)
		finding_clear(&w->findings[i]);
	w->n_findings = 0;
}

static inline void world_clear(struct world *w)
{
	world_drop_findings(w);
	w->violations = violations_free(w->violations);
}

static inline enum probe_outcome outcome_of(const char *name)
{
	for (int i = 0; i < _PROBE_OUTCOME_MAX; i++)
		if (strcmp(probe_outcome_name((enum probe_outcome)i), name) == 0)
			return (enum probe_outcome)i;
	fail_msg("no such outcome: %s", name);
	return PROBE_SKIPPED;
}

static inline const char *const *world_peers(void)
{
	static const char *const peers[WORLD_ECHOES] = { "192.0.2.10", "192.0.2.11", "192.0.2.12",
		                                         "192.0.2.13" };

	return peers;
}

/*
 * What echo `echo` says: an address, "!outcome", or either with the address
 * that was asked before it: "10.0.9.9=203.0.113.68".
 */
static inline struct probe_result answer_of(const struct world *w, uint16_t echo, const char *says,
                                            double seconds)
{
	const char *equals = strchr(says, '=');
	char peer[IP_TEXT_MAX] = "";
	struct probe_result result = { .subject = w->subject.number,
		                       .generation = w->subject.generation,
		                       .echo = echo,
		                       .udp = w->settings.echo_udp[echo],
		                       .phase = PROBE_CONNECT,
		                       .peer_port = 80,
		                       .started = at(seconds - 0.2),
		                       .finished = at(seconds - 0.1) };

	if (equals)
		snprintf(peer, sizeof(peer), "%.*s", (int)(equals - says), says);
	else
		snprintf(peer, sizeof(peer), "%s", world_peers()[echo % WORLD_ECHOES]);
	says = equals ? equals + 1 : says;
	result.peer = ip_of(peer);
	if (says[0] == '!') {
		result.http_status = strcmp(says, "!paused") == 0 ? 429 : 0;
		result.outcome = outcome_of(result.http_status ? "skipped" : says + 1);
		if (result.outcome == PROBE_RESOLVE_FAILED ||
		    result.outcome == PROBE_RESOLVE_TIMEOUT) {
			result.phase = PROBE_RESOLVE;
			result.peer = (struct ip){ 0 };
		}
		if (result.outcome == PROBE_RATE_LIMITED)
			result.http_status = 429;
		return result;
	}
	result.outcome = PROBE_ANSWERED;
	result.phase = PROBE_TOTAL;
	result.observed = ip_of(says);
	return result;
}

/* One complete round; NULL in `says`: that echo was not asked. */
static inline void world_round(struct world *w, double seconds,
                               const char *const says[WORLD_ECHOES])
{
	struct probe_result results[WORLD_ECHOES];
	struct moment now = at(seconds);
	size_t n = 0;

	for (uint16_t echo = 0; echo < w->settings.n_echoes; echo++)
		if (says[echo])
			results[n++] = answer_of(w, echo, says[echo], seconds);
	judge_round(&w->record, &w->input, results, n, &now);
}

#define ROUND(w, seconds, ...) \
	world_round((w), (seconds), (const char *const[WORLD_ECHOES]){ __VA_ARGS__ })
#define GOOD "203.0.113.68"
#define GOOD2 "203.0.113.69"
#define OUTBOUND "198.51.100.77"

/* What the node's control probes saw. */
static inline void world_control(struct world *w, double seconds, const char *says)
{
	for (uint16_t echo = 0; echo < WORLD_ECHOES; echo++)
		w->node[echo] = answer_of(w, echo, says, seconds);
}

static inline struct flow *world_flow(struct world *w, const char *dst, uint32_t ifindex,
                                      double first, double last)
{
	struct flow *flow = &w->flows[w->n_flows];

	*flow = (struct flow){ .key = { .remote = ip_of(dst),
		                        .subject = w->subject.number,
		                        .ifindex = ifindex,
		                        .remote_port = 443,
		                        .protocol = IPPROTO_TCP,
		                        .origin = FLOW_LOCAL },
		               .packets = 5,
		               .bytes = 400,
		               .connections = 1,
		               .first = at(first),
		               .last = at(last) };
	w->n_flows++;
	return flow;
}

/* As the agent does: classify what changed, judge, update, state. */
static inline enum subject_state world_judge(struct world *w, double seconds)
{
	const struct violation_subject subject = { "team", "app", w->subject.uid,
		                                   w->subject.gateway_name ? "team" : NULL,
		                                   w->subject.gateway_name };
	struct moment now = at(seconds);
	struct finding taken[JUDGE_FINDINGS_MAX];

	w->input.n_offending = 0;
	for (size_t i = 0; i < w->n_flows; i++) {
		enum violation_kind kind;

		judge_flow(&w->subject, &w->flows[i], &kind);
		if (w->flows[i].offending)
			w->offending[w->input.n_offending++] = &w->flows[i];
	}
	world_drop_findings(w);
	assert_int_equal(judge(&w->record, &w->input, &now, w->findings, &w->n_findings), 0);
	for (size_t i = 0; i < w->n_findings; i++) {
		taken[i] = w->findings[i];
		taken[i].evidence = strdup(w->findings[i].evidence);
		assert_non_null(taken[i].evidence);
	}
	violations_decide(w->violations, w->subject.uid,
	                  judge_decided(&w->record, &w->input, &now));
	assert_int_equal(violations_update(w->violations, &subject, taken, w->n_findings,
	                                   judge_quiet_ns(&w->settings), &now),
	                 0);
	judge_state(&w->record, &w->input, violations_open(w->violations, w->subject.uid), &now);
	return w->record.state;
}

static inline const struct finding *world_finding(const struct world *w, enum violation_kind kind)
{
	for (size_t i = 0; i < w->n_findings; i++)
		if (w->findings[i].kind == kind)
			return &w->findings[i];
	return NULL;
}

/* The finding's evidence, which must be a JSON object; to be released with json_object_put(). */
static inline struct json_object *evidence_of(const struct finding *finding)
{
	struct json_object *object;

	assert_non_null(finding);
	assert_non_null(finding->evidence);
	assert_true(strlen(finding->evidence) <= EVIDENCE_MAX);
	object = json_tokener_parse(finding->evidence);
	assert_non_null(object);
	assert_true(json_object_is_type(object, json_type_object));
	return object;
}

#define KIND(k) (1u << (k))

static inline unsigned int kinds_of(const struct world *w)
{
	unsigned int kinds = 0;

	for (size_t i = 0; i < w->n_findings; i++)
		kinds |= KIND(w->findings[i].kind);
	return kinds;
}

/* Says what it got, because a number in a table row says little. */
static inline void expect(const struct world *w, const char *what, enum subject_state state,
                          unsigned int kinds)
{
	if (w->record.state == state && kinds_of(w) == kinds)
		return;
	for (size_t i = 0; i < w->n_findings; i++)
		print_error("%s: found %s: %s\n", what, violation_kind_name(w->findings[i].kind),
		            w->findings[i].reason);
	fail_msg("%s: state %s (%s), expected %s", what, state_name(w->record.state),
	         w->record.reason, state_name(state));
}

static inline void expect_text(const char *what, const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("%s: \"%s\" does not contain \"%s\"", what, text, part);
}

static inline void expect_reason(const struct world *w, const char *what, const char *part)
{
	expect_text(what, w->record.reason, part);
}
