#include "world.h"

static void nothing(struct world *w)
{
	(void)w;
}

static void no_peer(struct world *w)
{
	w->subject.live.tunnel.n_peers = 0;
}

static void wrong_key(struct world *w)
{
	w->peers[0].key[31] ^= 1;
}

static void second_peer_is_right(struct world *w)
{
	w->peers[1] = w->peers[0];
	w->peers[0].key[0] ^= 1;
	w->subject.live.tunnel.n_peers = 2;
}

static void wrong_port(struct world *w)
{
	w->peers[0].endpoint_port = 6001;
}

static void wrong_address(struct world *w)
{
	w->blue.server_ip = ip_of("10.50.0.201");
}

static void gateway_nodes(struct world *w)
{
	static struct kube_gateway_profile profiles[2];
	static const struct kube_gateway_vm vm = { .profiles = profiles, .n_profiles = 2 };

	profiles[1].primary = ip_of("10.50.0.11");
	w->input.gateway_nodes = &vm;
}

static void node_began_the_session(struct world *w)
{
	gateway_nodes(w);
	w->peers[0].endpoint = ip_of("10.50.0.11");
}

static void another_began_the_session(struct world *w)
{
	gateway_nodes(w);
	w->peers[0].endpoint = ip_of("10.50.0.12");
}

static void node_and_wrong_port(struct world *w)
{
	node_began_the_session(w);
	w->peers[0].endpoint_port = 6001;
}

static void no_endpoint(struct world *w)
{
	w->peers[0].has_endpoint = false;
}

static void narrow(struct world *w)
{
	w->peers[0].allowed[0] = cidr_of("10.0.0.0/8");
}

static void only_ipv6(struct world *w)
{
	w->peers[0].allowed[0] = cidr_of("::/0");
}

static void halves(struct world *w)
{
	w->peers[0].allowed[0] = cidr_of("0.0.0.0/1");
	w->peers[0].allowed[1] = cidr_of("128.0.0.0/1");
}

static void one_half_twice(struct world *w)
{
	w->peers[0].allowed[0] = w->peers[0].allowed[1] = cidr_of("128.0.0.0/1");
}

static void server_unknown(struct world *w)
{
	wrong_key(w);
	wrong_port(w);
	w->blue.has_server = w->blue.has_server_key = false;
}

static void unreadable(struct world *w)
{
	wrong_key(w);
	w->subject.live.tunnel.readable = false;
}

static void truncated(struct world *w)
{
	no_peer(w);
	w->subject.live.truncated = true;
}

static void just_met(struct world *w)
{
	no_peer(w);
	w->subject.since = at(0);
}

static void old_handshake(struct world *w) /* idle: router solicitations only, up to an hour */
{
	w->peers[0].handshake_us = at(-3500).wall_us;
}

static const struct {
	const char *name;
	void (*edit)(struct world *w);
	const char *reason; /* NULL: good */
} cases[] = {
	{ "as recorded", nothing, NULL },
	{ "no peer", no_peer, "has no peer" },
	{ "wrong key", wrong_key,
	  "peer key is BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwY=, but the gateway's is "
	  "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=" },
	{ "second peer is right", second_peer_is_right, NULL },
	{ "wrong port", wrong_port,
	  "10.50.0.200 port 6001, but the gateway's is 10.50.0.200 port 6000" },
	{ "wrong address", wrong_address, "but the gateway's is 10.50.0.201" },
	{ "a gateway node began the session", node_began_the_session, NULL },
	{ "another one did", another_began_the_session, "endpoint is 10.50.0.12" },
	{ "a gateway node, another SGC's port", node_and_wrong_port, "10.50.0.11 port 6001" },
	{ "no endpoint", no_endpoint, "no endpoint" },
	{ "narrow", narrow, "0.0.0.0/0" },
	{ "only IPv6", only_ipv6, "0.0.0.0/0" },
	{ "halves", halves, NULL },
	{ "one half twice", one_half_twice, "0.0.0.0/0" },
	{ "server unknown", server_unknown, NULL },
	{ "unreadable", unreadable, NULL },
	{ "truncated", truncated, NULL },
	{ "just met", just_met, NULL },
	{ "old handshake alone", old_handshake, NULL },
};

static void compares_with_the_objects(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct finding *finding;
		struct world w;

		world_init(&w);
		cases[i].edit(&w);
		world_judge(&w, 1);
		finding = world_finding(&w, TUNNEL_BROKEN);
		if (!!finding != !!cases[i].reason)
			fail_msg("%s: %s", cases[i].name, finding ? finding->reason : "good");
		if (finding) {
			struct json_object *evidence = evidence_of(finding), *value;

			expect_text(cases[i].name, finding->reason, cases[i].reason);
			expect_text(cases[i].name, finding->remedy,
			            "kubectl delete pod -n team app");
			assert_true(json_object_object_get_ex(evidence, "phase", &value));
			assert_string_equal(json_object_get_string(value), "configuration");
			json_object_put(evidence);
		}
		world_clear(&w);
	}
}

/* One reading of the counters. */
struct reading {
	double at, handshake; /* handshake: 0 never */
	uint64_t rx, tx;
	bool silent;       /* a round was silent before */
	const char *phase; /* NULL: not broken */
};

static const struct reading gateway_gone[] = {
	{ 0, -100, 1000, 1000, false, NULL },
	{ 10, -100, 1000, 2000, true, NULL },
	{ 20, -100, 1000, 3000, true, NULL },
	{ 60, -100, 1000, 4000, true, NULL },
	{ 81, -100, 1000, 5000, true, "transport" }, /* 181 s after the handshake */
	{ 90, 89, 1092, 6000, false, NULL },         /* the balancer moved it */
	{ .at = -1 },
};
static const struct reading idle_then_sends[] = {
	{ 0, -3000, 1000, 1000, false, NULL },
	{ 100, -3000, 1000, 1148, false, NULL }, /* the initiation is out, its answer is not in */
	{ 110, 100.1, 1092, 1300, false, NULL },
	{ .at = -1 },
};
static const struct reading idle[] = {
	{ 0, -3000, 1000, 1000, false, NULL },
	{ 1000, -3000, 1000, 1000, false, NULL },
	{ 2000, -3000, 1000, 1000, false, NULL },
	{ .at = -1 },
};
static const struct reading key_refused[] = {
	/* the gateway does not know the pod */
	{ 0, 0, 0, 0, false, NULL },      { 10, 0, 0, 148, true, NULL },
	{ 20, 0, 0, 444, true, NULL },    { 26, 0, 0, 592, true, "handshake" },
	{ 40, 39, 92, 700, false, NULL }, { .at = -1 },
};
static const struct reading met_in_the_middle[] = {
	{ 0, 0, 0, 5000, false, NULL },
	{ 16, 0, 0, 5148, true, "handshake" },
	{ .at = -1 },
};
static const struct reading nothing_is_asked[] = {
	/* only the kernel's own solicitations */
	{ 0, 0, 0, 0, false, NULL },
	{ 10, 0, 0, 148, false, NULL },
	{ 40, 0, 0, 592, false, NULL },
	{ .at = -1 },
};
static const struct reading counters_restart[] = {
	{ 0, -100, 1000, 1000, false, NULL },        { 10, -100, 1000, 2000, true, NULL },
	{ 100, -200, 1000, 500, true, NULL },        { 105, -200, 1000, 600, true, NULL },
	{ 125, -200, 1000, 700, true, "transport" }, { .at = -1 },
};

static void compares_with_what_it_carries(void **state)
{
	static const struct {
		const char *name;
		const struct reading *readings;
	} series[] = {
		{ "gateway gone", gateway_gone },
		{ "idle, then sends", idle_then_sends },
		{ "idle", idle },
		{ "key refused", key_refused },
		{ "met in the middle", met_in_the_middle },
		{ "nothing is asked", nothing_is_asked },
		{ "counters restart", counters_restart },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
		struct world w;

		world_init(&w);
		for (const struct reading *r = series[i].readings; r->at >= 0; r++) {
			const struct finding *finding;

			w.peers[0].handshake_us = r->handshake != 0 ? at(r->handshake).wall_us : 0;
			w.peers[0].rx_bytes = r->rx;
			w.peers[0].tx_bytes = r->tx;
			world_read(&w, r->at);
			if (r->silent)
				ROUND(&w, r->at, "!timeout", "!timeout", "!timeout", "!timeout");
			else
				ROUND(&w, r->at, GOOD, GOOD, GOOD, GOOD);
			world_judge(&w, r->at);
			finding = world_finding(&w, TUNNEL_BROKEN);
			if (!!finding != !!r->phase)
				fail_msg("%s at %g: %s", series[i].name, r->at,
				         finding ? finding->reason : "good");
			if (finding) {
				expect_text(series[i].name, finding->reason, r->phase);
				expect_text(series[i].name, finding->remedy, "team/app");
			}
		}
		world_clear(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares_with_the_objects),
		cmocka_unit_test(compares_with_what_it_carries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
