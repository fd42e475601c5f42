#include "test.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inventory/live.h"

enum { LO = 1, ETH0 = 2, WG0 = 4 };

#define ROUTES_MAX 32

/* The rules of every recorded pod, and the routes that a test adds. */
struct fixture {
	struct live live;
	struct live_link links[3];
	struct live_route routes[ROUTES_MAX];
	struct live_rule rules[16];
};

static struct ip ip(const char *text)
{
	struct ip parsed;

	assert_int_equal(ip_parse(text, &parsed), 0);
	return parsed;
}

static uint32_t ifindex_of(const char *name)
{
	return strcmp(name, "lo") == 0 ? LO : strcmp(name, "eth0") == 0 ? ETH0 : WG0;
}

static uint8_t type_of(const char *word)
{
	static const struct {
		const char *name;
		uint8_t type;
	} types[] = {
		{ "local", RTN_LOCAL },
		{ "broadcast", RTN_BROADCAST },
		{ "multicast", RTN_MULTICAST },
		{ "throw", RTN_THROW },
		{ "unreachable", RTN_UNREACHABLE },
		{ "blackhole", RTN_BLACKHOLE },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(word, types[i].name) == 0)
			return types[i].type;
	return 0;
}

/* One line of `ip route show table all`. */
static void add_route(struct fixture *f, bool ipv6, const char *line)
{
	struct live_route *route = &f->routes[f->live.n_routes++];
	char copy[256], dst[64], *save, *word;

	assert_true(f->live.n_routes <= ROUTES_MAX);
	*route = (struct live_route){ .ipv6 = ipv6, .table = RT_TABLE_MAIN, .type = RTN_UNICAST };
	snprintf(copy, sizeof(copy), "%s", line);
	word = strtok_r(copy, " ", &save);
	if (type_of(word)) {
		route->type = type_of(word);
		word = strtok_r(NULL, " ", &save);
	}
	if (strcmp(word, "default") == 0)
		word = (char *)(ipv6 ? "::/0" : "0.0.0.0/0");
	snprintf(dst, sizeof(dst), "%s%s", word, strchr(word, '/') ? "" : ipv6 ? "/128" : "/32");
	assert_int_equal(cidr_parse(dst, &route->dst), 0);

	while ((word = strtok_r(NULL, " ", &save))) {
		if (strcmp(word, "dev") == 0)
			route->ifindex = ifindex_of(strtok_r(NULL, " ", &save));
		else if (strcmp(word, "metric") == 0)
			route->priority = (uint32_t)atoi(strtok_r(NULL, " ", &save));
		else if (strcmp(word, "table") == 0)
			route->table = strcmp(word = strtok_r(NULL, " ", &save), "local") == 0
			                       ? RT_TABLE_LOCAL
			                       : (uint32_t)atoi(word);
	}
	f->live.routes = f->routes;
}

static void add_routes(struct fixture *f, bool ipv6, const char *const *lines)
{
	for (; *lines; lines++)
		add_route(f, ipv6, *lines);
}

static struct live_rule *add_rule(struct fixture *f, bool ipv6, uint32_t priority, uint32_t table)
{
	struct live_rule *rule = &f->rules[f->live.n_rules++];

	*rule = (struct live_rule){
		.priority = priority, .table = table, .ipv6 = ipv6, .action = FR_ACT_TO_TBL
	};
	f->live.rules = f->rules;
	return rule;
}

static void recorded_rules(struct fixture *f, bool marked)
{
	struct live_rule *rule;

	add_rule(f, false, 0, RT_TABLE_LOCAL);
	if (marked) {
		rule = add_rule(f, false, 32765, 8738);
		rule->mark = 0x2222;
		rule->mask = 0xffffffff;
	}
	add_rule(f, false, 32766, RT_TABLE_MAIN);
	add_rule(f, false, 32767, RT_TABLE_DEFAULT);
	add_rule(f, true, 0, RT_TABLE_LOCAL);
	add_rule(f, true, 32766, RT_TABLE_MAIN);
}

/* pa: staticEgressGateway. The routes as recorded on the real CNI plugin. */
static const char *const pa4[] = {
	"default via 10.60.1.1 dev eth0 table 8738",
	"default via inet6 fe80::1 dev wg0",
	"10.0.0.0/16 via 10.60.1.1 dev eth0 proto static",
	"10.50.0.0/16 via 10.60.1.1 dev eth0 proto static",
	"10.60.0.0/16 via 10.60.1.1 dev eth0 proto static",
	"10.60.1.1 dev eth0 scope link",
	"169.254.10.11 via 10.60.1.1 dev eth0 proto static",
	"169.254.169.254 via 10.60.1.1 dev eth0 proto static",
	"local 10.60.1.2 dev eth0 table local proto kernel scope host src 10.60.1.2",
	"broadcast 10.60.1.255 dev eth0 table local proto kernel scope link src 10.60.1.2",
	"local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1",
	"local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1",
	"broadcast 127.255.255.255 dev lo table local proto kernel scope link src 127.0.0.1",
	NULL,
};
static const char *const pa6[] = {
	"fe80::/64 dev wg0 proto kernel metric 256 pref medium",
	"local ::1 dev lo table local proto kernel metric 0 pref medium",
	"local fe80::a0a2:8ff:fe8d:3db9 dev wg0 table local proto kernel metric 0 pref medium",
	"local fe80::a0a2:8ff:fe8d:3db9 dev eth0 table local proto kernel metric 0 pref medium",
	"multicast ff00::/8 dev eth0 table local proto kernel metric 256 pref medium",
	"multicast ff00::/8 dev wg0 table local proto kernel metric 256 pref medium",
	NULL,
};
/* pb: azureNetworking, 192.0.2.11/32 through the gateway. */
static const char *const pb4[] = {
	"default via 10.60.1.1 dev eth0 table 8738",
	"default via 10.60.1.1 dev eth0",
	"10.60.1.0/24 via 10.60.1.1 dev eth0 src 10.60.1.3",
	"10.60.1.1 dev eth0 scope link src 10.60.1.3",
	"192.0.2.11 via inet6 fe80::1 dev wg0",
	"local 10.60.1.3 dev eth0 table local proto kernel scope host src 10.60.1.3",
	NULL,
};
static const char *const pb6[] = {
	"fe80::/64 dev eth0 proto kernel metric 256 pref medium",
	"fe80::/64 dev wg0 proto kernel metric 256 pref medium",
	NULL,
};
/* pc: no gateway. */
static const char *const pc4[] = {
	"default via 10.60.1.1 dev eth0",
	"10.60.1.0/24 via 10.60.1.1 dev eth0 src 10.60.1.4",
	"10.60.1.1 dev eth0 scope link src 10.60.1.4",
	"local 10.60.1.4 dev eth0 table local proto kernel scope host src 10.60.1.4",
	NULL,
};
static const char *const nothing[] = { NULL };

static void recorded_pods(void **state)
{
	static const struct {
		const char *const *v4, *const *v6;
		bool marked;
		const char *dst;
		uint32_t mark, table, ifindex; /* ifindex 0: no unicast route */
	} cases[] = {
		{ pa4, pa6, true, "8.8.8.8", 0, 254, WG0 },
		{ pa4, pa6, true, "10.60.1.99", 0, 254, ETH0 },
		{ pa4, pa6, true, "10.0.5.5", 0, 254, ETH0 },
		{ pa4, pa6, true, "10.1.0.1", 0, 254, WG0 },
		{ pa4, pa6, true, "169.254.169.254", 0, 254, ETH0 },
		{ pa4, pa6, true, "8.8.8.8", 0x2222, 8738, ETH0 },
		{ pa4, pa6, true, "8.8.8.8", 0x2223, 254, WG0 },
		{ pa4, pa6, true, "10.60.1.2", 0, 0, 0 }, /* itself */
		{ pa4, pa6, true, "127.0.0.53", 0, 0, 0 },
		{ pa4, pa6, true, "10.60.1.255", 0, 0, 0 }, /* broadcast */
		{ pa4, pa6, true, "2001:db8::1", 0, 0, 0 }, /* unreachable, not direct */
		{ pa4, pa6, true, "fe80::1", 0, 254, WG0 },
		{ pa4, pa6, true, "ff02::1", 0, 0, 0 },
		{ pb4, pb6, true, "8.8.8.8", 0, 254, ETH0 },
		{ pb4, pb6, true, "192.0.2.11", 0, 254, WG0 },
		{ pb4, pb6, true, "192.0.2.12", 0, 254, ETH0 },
		{ pb4, pb6, true, "192.0.2.11", 0x2222, 8738, ETH0 },
		{ pb4, pb6, true, "fe80::1", 0, 254, ETH0 }, /* the first of two equal ones */
		{ pc4, nothing, false, "8.8.8.8", 0, 254, ETH0 },
		{ pc4, nothing, false, "8.8.8.8", 0x2222, 254, ETH0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f = { .live = { .readable = true } };
		struct ip dst = ip(cases[i].dst);
		const struct live_route *route;
		bool certain = false;

		recorded_rules(&f, cases[i].marked);
		add_routes(&f, false, cases[i].v4);
		add_routes(&f, true, cases[i].v6);
		route = live_route_lookup(&f.live, &dst, cases[i].mark, &certain);
		assert_true(certain);
		if (cases[i].ifindex == 0) {
			assert_null(route);
			continue;
		}
		assert_non_null(route);
		assert_int_equal(route->ifindex, cases[i].ifindex);
		assert_int_equal(route->table, cases[i].table);
	}
}

static void prefers_prefix_then_metric(void **state)
{
	static const char *const routes[] = {
		"default dev eth0 metric 100",
		"default dev wg0 metric 50",
		"10.0.0.0/8 dev eth0 metric 1000",
		"10.0.0.0/8 dev wg0 metric 1001",
		"10.1.0.0/16 dev wg0 metric 9999",
		"unreachable 10.2.0.0/16",
		"throw 10.3.0.0/16",
		NULL,
	};
	static const struct {
		const char *dst;
		uint32_t ifindex;
	} cases[] = {
		{ "8.8.8.8", WG0 },   { "10.9.9.9", ETH0 },
		{ "10.1.2.3", WG0 },  { "10.2.0.1", 0 }, /* ends there */
		{ "10.3.0.1", ETH0 }, /* goes on with the next rule, which has a default */
	};
	struct fixture f = { .live = { .readable = true } };

	(void)state;
	recorded_rules(&f, false);
	add_routes(&f, false, routes);
	add_route(&f, false, "default dev eth0 table 253");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip dst = ip(cases[i].dst);
		bool certain = false;
		const struct live_route *route = live_route_lookup(&f.live, &dst, 0, &certain);

		assert_true(certain);
		assert_int_equal(route ? route->ifindex : 0, cases[i].ifindex);
	}
}

/* An IPv6 default holds mapped addresses by its bits, but routes no IPv4 packet. */
static void families_are_apart(void **state)
{
	struct fixture f = { .live = { .readable = true } };
	struct ip v4 = ip("8.8.8.8"), v6 = ip("2001:db8::1");
	bool certain;

	(void)state;
	recorded_rules(&f, false);
	add_route(&f, true, "default dev eth0 metric 1024");
	add_route(&f, true, "::ffff:0:0/96 dev wg0 metric 1024");
	assert_null(live_route_lookup(&f.live, &v4, 0, &certain));
	assert_int_equal(live_route_lookup(&f.live, &v6, 0, &certain)->ifindex, ETH0);
}

static void rules_decide(void **state)
{
	static const struct {
		const char *what;
		struct live_rule rule; /* goes before main, to table 99, whose default is wg0 */
		uint32_t mark, ifindex;
		bool certain;
	} cases[] = {
		{ "plain", { 0 }, 0, WG0, true },
		{ "other mark", { .mark = 1, .mask = 1 }, 2, ETH0, true },
		{ "masked mark", { .mark = 1, .mask = 1 }, 3, WG0, true },
		{ "not that mark", { .mark = 1, .mask = 1, .invert = true }, 2, WG0, true },
		{ "not that mark, but it is",
		  { .mark = 1, .mask = 1, .invert = true },
		  1,
		  ETH0,
		  true },
		{ "selector that we do not know", { .other = true }, 0, ETH0, false },
		{ "the same, ruled out by its mark",
		  { .other = true, .mark = 1, .mask = 1 },
		  0,
		  ETH0,
		  true },
		{ "by source", { .has_src = true }, 0, ETH0, false },
		{ "other family", { .ipv6 = true }, 0, ETH0, true },
		{ "no operation", { .action = FR_ACT_NOP }, 0, ETH0, true },
		{ "unreachable", { .action = FR_ACT_UNREACHABLE }, 0, 0, true },
		{ "without defaults", { .suppress = true, .suppress_len = 96 }, 0, ETH0, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f = { .live = { .readable = true } };
		struct ip dst = ip("8.8.8.8");
		const struct live_route *route;
		struct live_rule *rule;
		bool certain;

		add_rule(&f, false, 0, RT_TABLE_LOCAL);
		rule = add_rule(&f, false, 100, 99);
		*rule = cases[i].rule;
		rule->table = 99;
		if (rule->action == 0)
			rule->action = FR_ACT_TO_TBL;
		add_rule(&f, false, 32766, RT_TABLE_MAIN);
		add_route(&f, false, "default dev wg0 table 99");
		add_route(&f, false, "default dev eth0");

		route = live_route_lookup(&f.live, &dst, cases[i].mark, &certain);
		if ((route ? route->ifindex : 0) != cases[i].ifindex || certain != cases[i].certain)
			fail_msg("%s: interface %u, certain %d", cases[i].what,
			         route ? route->ifindex : 0, certain);
	}
}

static void rule_by_destination(void **state)
{
	struct fixture f = { .live = { .readable = true } };
	struct ip in = ip("10.1.2.3"), out = ip("11.1.2.3");
	struct live_rule *rule;
	bool certain;

	(void)state;
	rule = add_rule(&f, false, 100, 99);
	rule->has_dst = true;
	assert_int_equal(cidr_parse("10.0.0.0/8", &rule->dst), 0);
	add_rule(&f, false, 32766, RT_TABLE_MAIN);
	add_route(&f, false, "default dev wg0 table 99");
	add_route(&f, false, "default dev eth0");
	assert_int_equal(live_route_lookup(&f.live, &in, 0, &certain)->ifindex, WG0);
	assert_int_equal(live_route_lookup(&f.live, &out, 0, &certain)->ifindex, ETH0);
}

static void doubts_what_it_cannot_know(void **state)
{
	struct fixture f = { .live = { .readable = true } };
	struct ip dst = ip("8.8.8.8");
	bool certain = true;

	(void)state;
	recorded_rules(&f, false);
	add_route(&f, false, "default dev eth0");
	f.live.truncated = true;
	assert_non_null(live_route_lookup(&f.live, &dst, 0, &certain));
	assert_false(certain);

	f.live.truncated = false;
	f.routes[0].ifindex = 0; /* multipath */
	assert_non_null(live_route_lookup(&f.live, &dst, 0, &certain));
	assert_false(certain);

	f.live = (struct live){ 0 };
	certain = true;
	assert_null(live_route_lookup(&f.live, &dst, 0, &certain));
	assert_false(certain);
}

static void finds_the_tunnel(void **state)
{
	static const struct {
		const char *what;
		struct live_link links[3];
		uint32_t ifindex; /* 0: none */
	} cases[] = {
		{ "kernel",
		  { { LO, "lo", "", "", true, true },
		    { 2, "eth0", "veth", "", true, false },
		    { 4, "wg0", "wireguard", "wgfbc353e0", true, false } },
		  4 },
		{ "renamed",
		  { { 2, "eth0", "veth", "", true, false },
		    { 5, "tunnel", "wireguard", "", true, false } },
		  5 },
		{ "userspace",
		  { { 2, "eth0", "veth", "", true, false },
		    { 6, "wg0", "tun", "wg89705705", true, false } },
		  6 },
		{ "another kind took the name",
		  { { 2, "wg0", "veth", "", true, false },
		    { 4, "wg1", "wireguard", "wgfbc353e0", true, false } },
		  4 },
		{ "another kind took the name, and there is none",
		  { { 2, "wg0", "veth", "", true, false }, { 4, "tun0", "tun", "", true, false } },
		  0 },
		{ "several: the named one",
		  { { 2, "wg9", "wireguard", "", true, false },
		    { 6, "wg0", "wireguard", "", true, false } },
		  6 },
		{ "none",
		  { { LO, "lo", "", "", true, true }, { 2, "eth0", "veth", "", true, false } },
		  0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct live live = { .links = (struct live_link *)cases[i].links, .n_links = 3 };
		const struct live_link *link = live_tunnel_link(&live);

		assert_int_equal(link ? link->ifindex : 0, cases[i].ifindex);
		assert_ptr_equal(live_link_by_name(&live, "eth1"), NULL);
		if (link)
			assert_ptr_equal(live_link_find(&live, link->ifindex), link);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded_pods),       cmocka_unit_test(prefers_prefix_then_metric),
		cmocka_unit_test(families_are_apart),  cmocka_unit_test(rules_decide),
		cmocka_unit_test(rule_by_destination), cmocka_unit_test(doubts_what_it_cannot_know),
		cmocka_unit_test(finds_the_tunnel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
