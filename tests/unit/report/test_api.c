#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "fixture.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct json_object *parse(const struct http_server_response *response)
{
	struct json_object *object = json_tokener_parse(response->body.data);

	assert_non_null(object);
	return object;
}

/* Asks, expects the status, and gives the body as an object. */
static struct json_object *ask(struct fixture *f, const char *target, unsigned int status)
{
	struct http_server_response response = fixture_get(f, target);
	struct json_object *object;

	if (response.status != status)
		fail_msg("%s: %u: %s", target, response.status, response.body.data);
	assert_string_equal(response.content_type,
	                    status < 400 ? "application/json" : "application/problem+json");
	object = parse(&response);
	buf_clear(&response.body);
	return object;
}

static struct json_object *at(struct json_object *object, const char *path)
{
	struct json_object *found;

	if (json_pointer_get(object, path, &found) < 0)
		fail_msg("no %s in %s", path, json_object_to_json_string(object));
	return found;
}

static void expect_text(struct json_object *object, const char *path, const char *text)
{
	const char *is = json_object_get_string(at(object, path));

	if (!text ? is != NULL : !is || strcmp(is, text) != 0)
		fail_msg("%s is %s, expected %s", path, is, text);
}

static void subjects_say_what_is_expected_and_seen(void **state)
{
	struct json_object *o;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	o = ask(&f, "/v1/subjects", 200);
	assert_int_equal(json_object_array_length(at(o, "/items")), 4);
	expect_text(o, "/items/0/namespace", "billing");
	expect_text(o, "/items/0/gateway", NULL);
	expect_text(o, "/items/3/pod", "reports-5c-q");
	expect_text(o, "/continue", "");
	json_object_put(o);

	o = ask(&f, "/v1/subjects/shop/payments-0", 200);
	expect_text(o, "/uid", "uid-1");
	expect_text(o, "/gateway/name", "partner-bank");
	expect_text(o, "/state", "violated");
	expect_text(o, "/expected/addresses/0", "203.0.113.0/30");
	expect_text(o, "/expected/interface", "wg0");
	expect_text(o, "/observed/address", "192.0.2.55");
	expect_text(o, "/observed/attribution", "outbound");
	expect_text(o, "/observed/echoes/0/echo", "ifconfig");
	expect_text(o, "/lastVerified", "2026-11-20T15:53:20.000000Z");
	assert_int_equal(json_object_array_length(at(o, "/violations")), 2);
	expect_text(o, "/violations/0/kind", "gateway-bypass");
	json_object_put(o);
	fixture_stop(&f);
}

/* The whole answer, byte for byte: names and order of members are an interface. */
static void a_violation_is_golden(void **state)
{
	static const char golden[] =
		"{\"items\":[{\"id\":\"0000000000000000000000000000abc2\",\"kind\":\"tunnel-"
		"broken\","
		"\"state\":\"resolved\",\"subject\":{\"namespace\":\"shop\",\"pod\":"
		"\"checkout-7d9f-x2x\",\"uid\":\"uid-0\"},\"gateway\":{\"namespace\":\"shop\","
		"\"name\":\"partner-bank\"},\"firstSeen\":\"2026-11-20T15:54:58.000000Z\","
		"\"lastSeen\":\"2026-11-20T15:59:55.000000Z\",\"opened\":"
		"\"2026-11-20T15:54:59.000000Z\",\"resolved\":\"2026-11-20T15:58:20.000000Z\","
		"\"count\":42,\"reason\":\"packets went out and none returned\",\"remedy\":"
		"\"Nothing: it works "
		"again\",\"evidence\":{\"kind\":\"made-up\"}}],\"continue\":\"\"}";
	struct http_server_response response;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	response = fixture_get(&f, "/v1/violations?state=resolved");
	assert_string_equal(response.body.data, golden);
	buf_clear(&response.body);
	fixture_stop(&f);
}

static void violations_are_filtered(void **state)
{
	static const struct {
		const char *target;
		size_t n;
	} rows[] = {
		{ "/v1/violations", 3 },
		{ "/v1/violations?state=open", 2 },
		{ "/v1/violations?kind=gateway-bypass", 1 },
		{ "/v1/violations?kind=stale-routes", 0 },
		{ "/v1/violations?namespace=shop", 3 },
		{ "/v1/violations?namespace=billing", 0 },
		{ "/v1/violations?state=open&kind=tunnel-broken", 0 },
	};
	struct fixture f;

	(void)state;
	fixture_start(&f);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct json_object *o = ask(&f, rows[i].target, 200);

		if (json_object_array_length(at(o, "/items")) != rows[i].n)
			fail_msg("%s", rows[i].target);
		json_object_put(o);
	}
	fixture_stop(&f);
}

static void flows_are_golden_and_filtered(void **state)
{
	static const char golden[] =
		"{\"items\":[{\"subject\":{\"namespace\":\"shop\",\"pod\":\"payments-0\",\"uid\":"
		"\"uid-1\"},\"protocol\":\"tcp\",\"destination\":\"198.51.100.7\",\"port\":443,"
		"\"localPort\":0,\"origin\":\"local\",\"interface\":\"eth0\",\"path\":\"direct\","
		"\"offending\":true,\"packets\":1207,\"bytes\":4501000,\"connections\":3,"
		"\"failed\":1,\"firstSeen\":\"2026-11-20T15:10:00.000000Z\",\"lastSeen\":"
		"\"2026-11-20T15:59:57.000000Z\"}],\"continue\":\"\"}";
	struct http_server_response response;
	struct json_object *o;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	response = fixture_get(&f, "/v1/flows?path=direct");
	assert_string_equal(response.body.data, golden);
	buf_clear(&response.body);
	o = ask(&f, "/v1/flows?pod=shop/checkout-7d9f-x2x", 200);
	assert_int_equal(json_object_array_length(at(o, "/items")), 2);
	json_object_put(o);
	fixture_stop(&f);
}

static void bad_requests_say_what_is_wrong(void **state)
{
	static const struct {
		const char *target;
		unsigned int status;
		const char *detail;
	} rows[] = {
		{ "/nope", 404, "nothing is at /nope" },
		{ "/v1/", 404, "nothing is at /v1/" },
		{ "/v1/diagnosis?gateway=a/b", 404, "nothing is at /v1/diagnosis" },
		{ "/v1/subjects/shop", 404, "nothing is at /v1/subjects/shop" },
		{ "/v1/subjects/shop/x/y", 404, "nothing is at /v1/subjects/shop/x/y" },
		{ "/v1/subjects/shop/x", 404, "no subject shop/x on this node" },
		{ "/v1/gateways/shop/x", 404, "no StaticGatewayConfiguration shop/x is known" },
		{ "/v1/probe?pod=shop/payments-0", 405, "/v1/probe takes POST" },
		{ "/v1/flows?limit=0", 400, "limit: expected a number from 1 to 1000" },
		{ "/v1/flows?limit=1001", 400, "limit: expected a number from 1 to 1000" },
		{ "/v1/flows?limit=x", 400, "limit: expected a number from 1 to 1000" },
		{ "/v1/flows?continue=!", 400,
		  "continue: expected a token from an earlier answer" },
		{ "/v1/flows?continue=YWJj", 400, "continue: expected a token from /v1/flows" },
		{ "/v1/flows?path=up", 400, "path: expected gateway, direct, cluster or reply" },
		{ "/v1/flows?pod=x", 400, "pod: expected NAMESPACE/POD" },
		{ "/v1/flows?pod=/x", 400, "pod: expected NAMESPACE/POD" },
		{ "/v1/flows?pod=x/", 400, "pod: expected NAMESPACE/POD" },
		{ "/v1/flows?pod=x/y", 404, "pod: no subject x/y on this node" },
		{ "/v1/flows?pods=x/y", 400,
		  "pods: not a parameter of /v1/flows, which knows limit continue pod path " },
		{ "/v1/status?x=1", 400, "x: not a parameter of /v1/status, which knows none" },
		{ "/v1/violations?state=shut", 400, "state: expected open or resolved" },
		{ "/v1/violations?kind=x", 400, "kind: no kind of violation is called x" },
		{ "/v1/explain?pod=shop/payments-0", 400, "to: expected an IP address" },
		{ "/v1/explain?pod=shop/payments-0&to=300.1.1.1", 400,
		  "to: expected an IP address" },
		{ "/v1/explain?to=1.1.1.1", 400, "pod: expected NAMESPACE/POD" },
	};
	struct fixture f;

	(void)state;
	fixture_start(&f);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct json_object *o = ask(&f, rows[i].target, rows[i].status);

		expect_text(o, "/detail", rows[i].detail);
		assert_int_equal(json_object_get_int(at(o, "/status")), rows[i].status);
		json_object_put(o);
	}
	fixture_stop(&f);
}

static void pages_continue_while_items_come_and_go(void **state)
{
	struct json_object *o, *next;
	char target[1024], first[64];
	size_t seen = 0, pages = 0;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	o = ask(&f, "/v1/subjects?limit=2", 200);
	expect_text(o, "/items/1/pod", "checkout-7d9f-x2x");
	/* The last one shown goes, one that sorts before it comes. */
	f.subjects[0].pod = NULL;
	f.subjects[3].pod = (char *)"aaa";
	snprintf(target, sizeof(target), "/v1/subjects?limit=2&continue=%s",
	         json_object_get_string(at(o, "/continue")));
	next = ask(&f, target, 200);
	expect_text(next, "/items/0/pod", "payments-0");
	expect_text(next, "/items/1/pod", "reports-5c-q");
	expect_text(next, "/continue", "");
	json_object_put(o);
	json_object_put(next);
	fixture_stop(&f);

	fixture_start(&f);
	snprintf(target, sizeof(target), "/v1/flows?limit=1");
	first[0] = '\0';
	do {
		o = ask(&f, target, 200);
		seen += json_object_array_length(at(o, "/items"));
		pages++;
		if (!first[0])
			snprintf(first, sizeof(first), "%s",
			         json_object_get_string(at(o, "/items/0/destination")));
		snprintf(target, sizeof(target), "/v1/flows?limit=1&continue=%s",
		         json_object_get_string(at(o, "/continue")));
		if (!*json_object_get_string(at(o, "/continue")))
			target[0] = '\0';
		json_object_put(o);
	} while (target[0] && pages < 10);
	assert_int_equal(seen, 4);
	assert_int_equal(pages, 4);
	assert_string_equal(first, "198.51.100.7"); /* what took a wrong way */
	fixture_stop(&f);
}

/* A page of many flows: the heap picks what sorting would. */
static void every_flow_is_on_exactly_one_page(void **state)
{
	enum { N = 5000 };
	static struct flow flows[N];
	static bool seen[N];
	char target[512] = "/v1/flows?limit=37";
	struct fixture f;
	size_t total = 0;

	(void)state;
	fixture_start(&f);
	f.flows = flows;
	f.n_flows = N;
	for (size_t i = 0; i < N; i++) {
		size_t mixed = i * 7919 % N;

		flows[i] = (struct flow){ .path = PATH_GATEWAY, .packets = mixed };
		flows[i].key.remote = fixture_ip("10.0.0.0");
		flows[i].key.remote.b[14] = (uint8_t)(mixed >> 8);
		flows[i].key.remote.b[15] = (uint8_t)mixed;
	}
	while (target[0]) {
		struct http_server_response response = fixture_get(&f, target);
		struct json_object *o = parse(&response), *items = at(o, "/items");

		for (size_t i = 0; i < json_object_array_length(items); i++) {
			size_t n = (size_t)json_object_get_int(
				at(json_object_array_get_idx(items, i), "/packets"));

			assert_false(seen[n]);
			seen[n] = true;
			assert_int_equal(n, total++);
		}
		snprintf(target, sizeof(target), "/v1/flows?limit=37&continue=%s",
		         json_object_get_string(at(o, "/continue")));
		if (!*json_object_get_string(at(o, "/continue")))
			target[0] = '\0';
		json_object_put(o);
		buf_clear(&response.body);
	}
	assert_int_equal(total, N);
	fixture_stop(&f);
}

static void health_and_readiness_differ(void **state)
{
	struct json_object *o;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	assert_true(report_ready(f.report));
	f.broken = true;
	assert_false(report_ready(f.report));
	o = ask(&f, "/healthz", 200);
	json_object_put(o);
	{
		struct http_server_response response = fixture_get(&f, "/readyz");

		assert_int_equal(response.status, 503);
		o = parse(&response);
		expect_text(o, "/inventory/reason", "inventory.yaml:3:7: expected a mapping");
		assert_false(json_object_get_boolean(at(o, "/inventory/ok")));
		assert_true(json_object_get_boolean(at(o, "/bpf/ok")));
		json_object_put(o);
		buf_clear(&response.body);
	}
	fixture_stop(&f);
}

static void a_listener_for_metrics_has_nothing_else(void **state)
{
	static const struct {
		const char *target;
		unsigned int status;
	} rows[] = {
		{ "/metrics", 200 },   { "/healthz", 200 },  { "/readyz", 200 },    { "/", 404 },
		{ "/v1/status", 404 }, { "/v1/flows", 404 }, { "/v1/events", 404 },
	};
	struct fixture f;

	(void)state;
	fixture_start(&f);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct http_server_response response =
			fixture_ask(&f, "GET", rows[i].target, NULL, REPORT_METRICS);

		assert_int_equal(response.status, rows[i].status);
		buf_clear(&response.body);
	}
	fixture_stop(&f);
}

static void probing_now_is_limited(void **state)
{
	struct http_server_response response;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	response = fixture_ask(&f, "POST", "/v1/probe?pod=shop/payments-0", NULL, REPORT_ALL);
	assert_int_equal(response.status, 202);
	buf_clear(&response.body);
	f.wait_ns = 4 * NSEC_PER_SEC + 1;
	response = fixture_ask(&f, "POST", "/v1/probe?pod=shop/payments-0", NULL, REPORT_ALL);
	assert_int_equal(response.status, 429);
	assert_string_equal(response.headers[1].name, "Retry-After");
	assert_string_equal(response.headers[1].value, "5");
	buf_clear(&response.body);
	response = fixture_ask(&f, "POST", "/v1/status", NULL, REPORT_ALL);
	assert_int_equal(response.status, 405);
	buf_clear(&response.body);
	fixture_stop(&f);
}

static void status_gateways_probes_and_explain(void **state)
{
	const struct report_export made_up = fixture_made_up_export();
	struct json_object *o;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	o = ask(&f, "/v1/status", 200);
	expect_text(o, "/node", "worker-1");
	expect_text(o, "/lastRound", "2026-11-20T15:59:52.000000Z");
	assert_int_equal(json_object_get_int(at(o, "/subjects/violated")), 1);
	assert_int_equal(json_object_get_int(at(o, "/violations/openByKind/gateway-bypass")), 1);
	assert_int_equal(json_object_get_int(at(o, "/violations/openByKind/stale-routes")), 0);
	assert_int_equal(json_object_get_int(at(o, "/lost/flowEvents")), 12);
	assert_int_equal(json_object_get_int(at(o, "/flows/direct/packets")), 1207);
	assert_false(json_object_get_boolean(at(o, "/export/configured")));
	expect_text(o, "/export/lastSuccess", NULL);
	json_object_put(o);

	f.on_its_way = &made_up;
	o = ask(&f, "/v1/status", 200);
	assert_true(json_object_get_boolean(at(o, "/export/configured")));
	assert_int_equal(json_object_get_int(at(o, "/export/queued")), 401);
	expect_text(o, "/export/oldestQueued", "2026-11-20T15:50:00.000000Z");
	assert_int_equal(json_object_get_int(at(o, "/export/sent")), 501);
	assert_int_equal(json_object_get_int(at(o, "/export/rejected")), 502);
	expect_text(o, "/export/lastSuccess", "2026-11-20T15:59:00.000000Z");
	expect_text(o, "/export/lastError", "503 <Service> Unavailable");
	assert_int_equal(json_object_get_int(at(o, "/export/dropped/corrupt")), 405);
	assert_int_equal(json_object_get_int(at(o, "/export/dropped/queue")), 408);
	assert_true(json_object_get_boolean(at(o, "/export/spool/degraded")));
	expect_text(o, "/export/spool/reason", "the disk is full");
	assert_int_equal(json_object_get_int(at(o, "/lost/reports")), 2528);
	json_object_put(o);

	o = ask(&f, "/v1/gateways/shop/private", 200);
	expect_text(o, "/allowed/1", "10.0.1.9");
	expect_text(o, "/defaultRoute", "azureNetworking");
	json_object_put(o);
	o = ask(&f, "/v1/gateways", 200);
	expect_text(o, "/items/0/nodes/0/secondaryIP", "10.0.1.8");
	expect_text(o, "/items/0/nodes/1/secondaryIP", NULL);
	expect_text(o, "/items/0/subjects/1/state", "violated");
	json_object_put(o);

	o = ask(&f, "/v1/probes?limit=2", 200);
	expect_text(o, "/items/0/subject", NULL);
	expect_text(o, "/items/1/subject/pod", "export-1");
	expect_text(o, "/items/1/phases/tls", NULL);
	assert_true(json_object_get_double(at(o, "/items/0/phases/connect")) == 0.0124);
	json_object_put(o);

	o = ask(&f, "/v1/explain?pod=shop/payments-0&to=198.51.100.7", 200);
	expect_text(o, "/expected/path", "gateway");
	expect_text(o, "/live/interface", "wg0");
	expect_text(o, "/seen/interface", "eth0");
	expect_text(o, "/agreement", "agrees");
	json_object_put(o);
	fixture_stop(&f);
}

static void check_takes_pods_and_names_the_missing(void **state)
{
	const char *const pods[] = { "shop/payments-0", "shop/nope" };
	struct buf out = BUF_INIT(HTTP_ANSWER_MAX);
	struct json_object *o;
	size_t missing = 7;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	assert_int_equal(report_check(f.report, pods, 2, &missing, &out), -ENOENT);
	assert_int_equal(missing, 1);
	assert_null(out.data);
	assert_int_equal(report_check(f.report, pods, 1, &missing, &out), 0);
	o = json_tokener_parse(out.data);
	assert_int_equal(json_object_array_length(at(o, "/subjects")), 1);
	assert_int_equal(json_object_array_length(at(o, "/violations")), 2);
	expect_text(o, "/status/node", "worker-1");
	json_object_put(o);
	buf_clear(&out);
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subjects_say_what_is_expected_and_seen),
		cmocka_unit_test(a_violation_is_golden),
		cmocka_unit_test(violations_are_filtered),
		cmocka_unit_test(flows_are_golden_and_filtered),
		cmocka_unit_test(bad_requests_say_what_is_wrong),
		cmocka_unit_test(pages_continue_while_items_come_and_go),
		cmocka_unit_test(every_flow_is_on_exactly_one_page),
		cmocka_unit_test(health_and_readiness_differ),
		cmocka_unit_test(a_listener_for_metrics_has_nothing_else),
		cmocka_unit_test(probing_now_is_limited),
		cmocka_unit_test(status_gateways_probes_and_explain),
		cmocka_unit_test(check_takes_pods_and_names_the_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
