#include "test.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/netlink.h"
#include "io/netlink_socket.h"
#include "io/netns.h"
#include "netns_help.h"

static _Alignas(struct nlmsghdr) char space[1024];

static struct nlmsghdr *message(uint16_t type, const void *head, size_t size)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(space);

	nlh->nlmsg_type = type;
	memcpy(mnl_nlmsg_put_extra_header(nlh, size), head, size);
	return nlh;
}

static const char *text_of(const struct cidr *cidr)
{
	static char buf[CIDR_TEXT_MAX];

	return cidr_format(cidr, buf);
}

static void decodes_a_route_by_an_ipv6_next_hop(void **state)
{
	struct rtmsg head = { .rtm_family = AF_INET,
		              .rtm_table = RT_TABLE_COMPAT,
		              .rtm_type = RTN_UNICAST,
		              .rtm_protocol = RTPROT_BOOT };
	struct {
		uint16_t family;
		uint8_t address[16];
	} via = { AF_INET6, { 0xfe, 0x80, [15] = 1 } };
	char buf[IP_TEXT_MAX];
	union netlink_row row;
	struct nlmsghdr *nlh;

	(void)state;
	nlh = message(RTM_NEWROUTE, &head, sizeof(head));
	mnl_attr_put_u32(nlh, RTA_TABLE, 8738);
	mnl_attr_put_u32(nlh, RTA_OIF, 4);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, 7);
	mnl_attr_put(nlh, RTA_VIA, sizeof(via), &via);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, nlh, &row), 0);
	assert_string_equal(text_of(&row.route.dst), "0.0.0.0/0");
	assert_false(row.route.ipv6);
	assert_int_equal(row.route.table, 8738);
	assert_int_equal(row.route.ifindex, 4);
	assert_int_equal(row.route.priority, 7);
	assert_true(row.route.has_gateway);
	assert_string_equal(ip_format(&row.route.gateway, buf), "fe80::1");
}

static void decodes_multipath_as_no_interface(void **state)
{
	struct rtmsg head = {
		.rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = 254, .rtm_type = RTN_UNICAST
	};
	struct rtnexthop hop = { .rtnh_len = sizeof(hop), .rtnh_ifindex = 3 };
	struct in_addr dst = { htonl(0x0a010200) };
	union netlink_row row;
	struct nlmsghdr *nlh;

	(void)state;
	nlh = message(RTM_NEWROUTE, &head, sizeof(head));
	mnl_attr_put(nlh, RTA_DST, sizeof(dst), &dst);
	mnl_attr_put(nlh, RTA_MULTIPATH, sizeof(hop), &hop);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, nlh, &row), 0);
	assert_string_equal(text_of(&row.route.dst), "10.1.2.0/24");
	assert_int_equal(row.route.ifindex, 0);
}

static void passes_over_what_is_of_no_interest(void **state)
{
	struct rtmsg cloned = { .rtm_family = AF_INET6, .rtm_flags = RTM_F_CLONED };
	struct rtmsg dead = { .rtm_family = AF_INET, .rtm_flags = RTNH_F_DEAD };
	struct rtmsg mpls = { .rtm_family = AF_MPLS };
	struct fib_rule_hdr multicast = { .family = 128 };
	union netlink_row row;

	(void)state;
	assert_int_equal(netlink_decode(NETLINK_ROUTES,
	                                message(RTM_NEWROUTE, &cloned, sizeof(cloned)), &row),
	                 1);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, message(RTM_NEWROUTE, &dead, sizeof(dead)),
	                                &row),
	                 1);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, message(RTM_NEWROUTE, &mpls, sizeof(mpls)),
	                                &row),
	                 1);
	assert_int_equal(
		netlink_decode(NETLINK_ROUTES, message(RTM_NEWADDR, &dead, sizeof(dead)), &row), 1);
	assert_int_equal(netlink_decode(NETLINK_RULES,
	                                message(RTM_NEWRULE, &multicast, sizeof(multicast)), &row),
	                 1);
}

static void rejects_what_cannot_be(void **state)
{
	struct rtmsg route = { .rtm_family = AF_INET };
	struct ifaddrmsg address = { .ifa_family = AF_INET };
	struct ifinfomsg link = { .ifi_index = 0 };
	union netlink_row row, before;
	struct nlmsghdr *nlh;

	(void)state;
	memset(&row, 0x5a, sizeof(row));
	before = row;

	route.rtm_dst_len = 33;
	assert_int_equal(netlink_decode(NETLINK_ROUTES,
	                                message(RTM_NEWROUTE, &route, sizeof(route)), &row),
	                 -EBADMSG);
	route.rtm_dst_len = 0;
	assert_int_equal(netlink_decode(NETLINK_ROUTES, message(RTM_NEWROUTE, &route, 4), &row),
	                 -EBADMSG);
	nlh = message(RTM_NEWROUTE, &route, sizeof(route));
	mnl_attr_put(nlh, RTA_DST, 16, space);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, nlh, &row), -EBADMSG);
	nlh = message(RTM_NEWROUTE, &route, sizeof(route));
	mnl_attr_put(nlh, RTA_OIF, 2, space);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, nlh, &row), -EBADMSG);
	nlh = message(RTM_NEWROUTE, &route, sizeof(route));
	mnl_attr_put(nlh, RTA_VIA, 1, space);
	assert_int_equal(netlink_decode(NETLINK_ROUTES, nlh, &row), -EBADMSG);
	/* An address message without an address, and a link without a number. */
	assert_int_equal(netlink_decode(NETLINK_ADDRESSES,
	                                message(RTM_NEWADDR, &address, sizeof(address)), &row),
	                 -EBADMSG);
	assert_int_equal(netlink_decode(NETLINK_LINKS, message(RTM_NEWLINK, &link, sizeof(link)),
	                                &row),
	                 -EBADMSG);
	assert_memory_equal(&row, &before, sizeof(row));
}

static void cuts_long_texts(void **state)
{
	struct ifinfomsg link = { .ifi_index = 5, .ifi_flags = IFF_UP };
	char alias[300];
	union netlink_row row;
	struct nlmsghdr *nlh;

	(void)state;
	memset(alias, 'a', sizeof(alias));
	nlh = message(RTM_NEWLINK, &link, sizeof(link));
	mnl_attr_put(nlh, IFLA_IFALIAS, sizeof(alias), alias);
	mnl_attr_put(nlh, IFLA_IFNAME, 40, alias);
	assert_int_equal(netlink_decode(NETLINK_LINKS, nlh, &row), 0);
	assert_int_equal(strlen(row.link.alias), sizeof(row.link.alias) - 1);
	assert_int_equal(strlen(row.link.name), sizeof(row.link.name) - 1);
	assert_true(row.link.up);
}

/* With a real kernel */

struct counted {
	size_t n, stop_at, restarts;
	union netlink_row rows[64];
};

static int count_row(void *user, const union netlink_row *row)
{
	struct counted *counted = user;

	if (counted->stop_at && counted->n == counted->stop_at)
		return 1;
	if (counted->n < 64)
		counted->rows[counted->n] = *row;
	counted->n++;
	return 0;
}

static void count_restart(void *user)
{
	struct counted *counted = user;

	counted->n = 0;
	counted->restarts++;
}

static int dump(struct netlink *netlink, enum netlink_list list, struct counted *counted)
{
	struct netlink_sink sink = { counted, count_restart, count_row };

	counted->n = 0;
	return netlink_dump(netlink, list, &sink);
}

static struct netlink open_in(const char *suffix)
{
	struct netlink netlink;
	char path[128];
	uint64_t inode;
	int fd;

	assert_int_equal(netns_open(netns_file(suffix, path), &fd, &inode), 0);
	assert_int_equal(netlink_open(&netlink, fd, NETLINK_ROUTE), 0);
	netlink.netns_fd = fd;
	return netlink;
}

static void close_all(struct netlink *netlink)
{
	close(netlink->netns_fd);
	netlink_close(netlink);
	netlink_close(netlink);
}

static bool has_route(const struct counted *counted, const char *dst, uint32_t table)
{
	for (size_t i = 0; i < counted->n && i < 64; i++)
		if (counted->rows[i].route.table == table &&
		    strcmp(text_of(&counted->rows[i].route.dst), dst) == 0)
			return true;
	return false;
}

static void reads_a_pods_namespace(void **state)
{
	struct counted counted = { 0 };
	const struct netlink_rule *marked = NULL;
	struct netlink netlink;
	bool eth0 = false;

	(void)state;
	skip_unless_root();
	netns_pod("a", "10.60.1.2/24");
	ip_in("a", "link set eth0 alias wgfbc353e0");
	ip_in("a", "rule add fwmark 0x2222 lookup 8738 pref 32765");
	ip_in("a", "rule add iif eth0 lookup 99 pref 200");
	ip_in("a", "-6 rule add not from 2001:db8::/32 lookup 98 suppress_prefixlength 0 pref 300");
	ip_in("a", "route add default via 10.60.1.1 dev eth0 table 8738");
	ip_in("a", "-4 route add default via inet6 fe80::1 dev eth0 metric 5");
	ip_in("a", "route add blackhole 10.99.0.0/16");
	netlink = open_in("a");

	assert_int_equal(dump(&netlink, NETLINK_LINKS, &counted), 0);
	for (size_t i = 0; i < counted.n; i++) {
		const struct netlink_link *link = &counted.rows[i].link;

		if (strcmp(link->name, "eth0") != 0)
			continue;
		eth0 = true;
		assert_string_equal(link->kind, "veth");
		assert_string_equal(link->alias, "wgfbc353e0");
		assert_true(link->up && !link->loopback);
	}
	assert_true(eth0);

	assert_int_equal(dump(&netlink, NETLINK_ROUTES, &counted), 0);
	assert_true(has_route(&counted, "0.0.0.0/0", 8738));
	assert_true(has_route(&counted, "0.0.0.0/0", 254));
	assert_true(has_route(&counted, "10.60.1.2/32", 255));
	assert_true(has_route(&counted, "fe80::/64", 254));
	for (size_t i = 0; i < counted.n; i++) {
		const struct netlink_route *route = &counted.rows[i].route;

		if (route->type == RTN_BLACKHOLE)
			assert_int_equal(route->ifindex, 0);
		if (route->priority == 5)
			assert_true(route->has_gateway && !ip_is_v4(&route->gateway));
	}

	assert_int_equal(dump(&netlink, NETLINK_RULES, &counted), 0);
	for (size_t i = 0; i < counted.n; i++) {
		const struct netlink_rule *rule = &counted.rows[i].rule;

		if (rule->priority == 32765)
			marked = rule;
		assert_int_equal(rule->other, rule->priority == 200);
		if (rule->priority == 300) {
			assert_true(rule->ipv6 && rule->invert && rule->has_src && rule->suppress);
			assert_int_equal(rule->suppress_len, 0);
			assert_string_equal(text_of(&rule->src), "2001:db8::/32");
		}
	}
	assert_non_null(marked);
	assert_int_equal(marked->mark, 0x2222);
	assert_int_equal(marked->mask, 0xffffffff);
	assert_int_equal(marked->table, 8738);

	close_all(&netlink);
	netns_delete("a");
}

/* A pod's routes may be without number; the next question works all the same. */
static void stops_when_the_sink_has_enough(void **state)
{
	struct counted counted = { .stop_at = 10 };
	struct netlink netlink;
	char name[64];

	(void)state;
	skip_unless_root();
	netns_pod("b", "10.60.1.2/24");
	assert_int_equal(
		sh("i=0; while [ $i -lt 5000 ]; do echo route add 10.$((64+i/256)).$((i%%256"
	           ")).0/24 dev eth0; i=$((i+1)); done | ip -n %s -batch -",
	           netns_name("b", name)),
		0);
	netlink = open_in("b");
	assert_int_equal(dump(&netlink, NETLINK_ROUTES, &counted), 1);
	assert_int_equal(counted.n, 10);
	counted.stop_at = 0;
	assert_int_equal(dump(&netlink, NETLINK_ROUTES, &counted), 0);
	assert_true(counted.n > 5000);
	assert_int_equal(dump(&netlink, NETLINK_ADDRESSES, &counted), 0);
	close_all(&netlink);
	netns_delete("b");
}

struct watched {
	struct netlink_watch watch;
	unsigned int told;
};

static void on_told(struct netlink_watch *watch)
{
	container_of(watch, struct watched, watch)->told++;
}

static bool was_told(void *arg)
{
	return ((struct watched *)arg)->told > 0;
}

static void tells_of_each_kind_of_change(void **state)
{
	static const char *const changes[] = {
		"link set eth0 mtu 1400",
		"addr add 10.60.1.3/24 dev eth0",
		"addr add 2001:db8::5/64 dev eth0 nodad",
		"route add 10.1.0.0/16 dev eth0",
		"route add 2001:db8:1::/64 dev eth0",
		"rule add fwmark 1 lookup 99",
		"-6 rule add fwmark 1 lookup 99",
		"route del 10.1.0.0/16",
	};
	struct watched watched = { .watch = NETLINK_WATCH_INIT };
	struct netlink netlink;
	struct loop *loop;

	(void)state;
	skip_unless_root();
	netns_pod("c", "10.60.1.2/24");
	netlink = open_in("c");
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(netlink_watch_open(&watched.watch, loop, netlink.netns_fd,
	                                    NETLINK_TOPIC_ALL, on_told),
	                 0);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		watched.told = 0;
		assert_int_equal(netlink_watch_rearm(&watched.watch), 0);
		ip_in("c", "%s", changes[i]);
		if (!wait_until(loop, was_told, &watched, WAIT_MS))
			fail_msg("not told of: %s", changes[i]);
	}

	/* Once, however much happens, also when the queue overflows. */
	watched.told = 0;
	assert_int_equal(netlink_watch_rearm(&watched.watch), 0);
	for (int i = 0; i < 100; i++)
		ip_in("c", "route replace 10.2.%d.0/24 dev eth0", i);
	assert_true(wait_until(loop, was_told, &watched, WAIT_MS));
	assert_int_equal(watched.told, 1);
	watched.told = 0;
	assert_int_equal(netlink_watch_rearm(&watched.watch), 0);
	ip_in("c", "route del 10.2.7.0/24");
	assert_true(wait_until(loop, was_told, &watched, WAIT_MS));

	netlink_watch_close(&watched.watch);
	netlink_watch_close(&watched.watch);
	close_all(&netlink);
	loop_free(loop);
	netns_delete("c");
}

static void others_do_not_hold_us(void **state)
{
	struct sockaddr_nl ours = { 0 }, from = { .nl_family = AF_NETLINK };
	struct nlmsghdr noop = { .nlmsg_len = sizeof(noop), .nlmsg_type = NLMSG_NOOP };
	struct nlmsghdr question = { .nlmsg_len = sizeof(question), .nlmsg_type = NLMSG_NOOP };
	struct timespec begin, end;
	socklen_t len = sizeof(ours);
	struct netlink netlink;
	pid_t pid;

	(void)state;
	skip_unless_root();
	netns_pod("d", "10.60.1.2/24");
	netlink = open_in("d");
	assert_int_equal(getsockname(netlink.fd, (struct sockaddr *)&ours, &len), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd;

		alarm(60);
		if (netns_socket(netlink.netns_fd, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &fd) < 0 ||
		    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
			_exit(1);
		for (;;)
			(void)sendto(fd, &noop, sizeof(noop), MSG_DONTWAIT,
			             (struct sockaddr *)&ours, sizeof(ours));
	}
	/* A question that the kernel passes over. */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_not_equal(netlink_request(&netlink, &question, NULL, NULL, NULL), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - begin.tv_sec < 20); /* who would be held is held for ever */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close_all(&netlink);
	netns_delete("d");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes_a_route_by_an_ipv6_next_hop),
		cmocka_unit_test(decodes_multipath_as_no_interface),
		cmocka_unit_test(passes_over_what_is_of_no_interest),
		cmocka_unit_test(rejects_what_cannot_be),
		cmocka_unit_test(cuts_long_texts),
		cmocka_unit_test(reads_a_pods_namespace),
		cmocka_unit_test(stops_when_the_sink_has_enough),
		cmocka_unit_test(tells_of_each_kind_of_change),
		cmocka_unit_test(others_do_not_hold_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
