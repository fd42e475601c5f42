#include "test.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "fake.h"
#include "io/listener.h"
#include "io/netlink_socket.h"
#include "io/netns.h"
#include "io/privileged.h"
#include "io/wireguard.h"

/* What was asked for, and what to give. */
static struct {
	const char *path, *name;
	int netns_fd;
	uint32_t groups, ifindex;
	unsigned int calls;
	int fd;
} asked;

static int give_netns(const char *path, int *fd, uint64_t *inode)
{
	asked.calls++;
	asked.path = path;
	*fd = 1234;
	*inode = 77;
	return 0;
}

static int give_netlink(int netns_fd, uint32_t groups, int *fd)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = groups };

	asked.calls++;
	asked.netns_fd = netns_fd;
	asked.groups = groups;
	*fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	assert_true(*fd >= 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return 0;
}

static int give_tunnel(int netns_fd, uint32_t ifindex, struct wireguard_device *out)
{
	asked.calls++;
	asked.netns_fd = netns_fd;
	asked.ifindex = ifindex;
	*out = (struct wireguard_device){ .listen_port = 51820 };
	return 0;
}

static int give_answer(const char *name, int *fd)
{
	asked.calls++;
	asked.name = name;
	*fd = take_fd(&asked.fd);
	return *fd < 0 ? -ECONNREFUSED : 0;
}

static int give_listener(const struct listener_address *address, int *fd)
{
	const struct privileged *before = privileged();
	int r;

	asked.calls++;
	privileged_set(NULL);
	r = listener_open(address, fd);
	privileged_set(before);
	return r;
}

static const struct privileged everything = {
	.netns_open = give_netns,
	.netlink = give_netlink,
	.tunnel = give_tunnel,
	.tunnel_answer = give_answer,
	.listen = give_listener,
};

static int ask_everybody(void **state)
{
	(void)state;
	memset(&asked, 0, sizeof(asked));
	asked.fd = -1;
	privileged_set(&everything);
	return 0;
}

static int ask_nobody(void **state)
{
	(void)state;
	privileged_set(NULL);
	return 0;
}

static void asks_for_namespaces_and_tunnels(void **state)
{
	struct wireguard_device device;
	uint64_t inode = 0;
	int fd = -1;

	(void)state;
	assert_int_equal(netns_open("/run/netns/pod", &fd, &inode), 0);
	assert_int_equal(fd, 1234);
	assert_int_equal(inode, 77);
	assert_string_equal(asked.path, "/run/netns/pod");

	assert_int_equal(wireguard_read(1234, 5, &device), 0);
	assert_int_equal(asked.netns_fd, 1234);
	assert_int_equal(asked.ifindex, 5);
	assert_int_equal(device.listen_port, 51820);
	assert_int_equal(asked.calls, 2);
}

static int count_row(void *user, const struct nlmsghdr *message)
{
	(void)message;
	(*(unsigned int *)user)++;
	return 0;
}

static void on_change(struct netlink_watch *watch)
{
	loop_stop(watch->loop);
}

static void asks_for_netlink(void **state)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg message;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
		            .nlmsg_type = RTM_GETLINK,
		            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.message = { .rtgen_family = AF_UNSPEC },
	};
	struct netlink_watch watch = NETLINK_WATCH_INIT;
	struct netlink netlink = NETLINK_INIT;
	unsigned int rows = 0;
	struct loop *loop;

	(void)state;
	assert_int_equal(netlink_open(&netlink, 99, NETLINK_ROUTE), 0);
	assert_int_equal(asked.netns_fd, 99);
	assert_int_equal(asked.groups, 0);
	assert_int_equal(netlink_request(&netlink, &request.header, count_row, &rows, NULL), 0);
	assert_true(rows > 0);
	netlink_close(&netlink);

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(netlink_watch_open(&watch, loop, 98, NETLINK_TOPIC_ADDRESSES, on_change),
	                 0);
	assert_int_equal(asked.netns_fd, 98);
	assert_int_equal(asked.groups, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
	fake_run("ip addr add 192.0.2.8/32 dev lo && ip addr del 192.0.2.8/32 dev lo");
	fake_loop_run(loop);
	netlink_watch_close(&watch);
	assert_int_equal(netlink_watch_open(&watch, loop, 98, NETLINK_TOPIC_ALL, on_change), 0);
	assert_true(asked.groups & RTMGRP_IPV4_ROUTE);
	netlink_watch_close(&watch);
	assert_null(loop_free(loop));
	assert_int_equal(asked.calls, 3);
}

static void on_tunnel(struct wireguard_query *query, int error,
                      const struct wireguard_device *device)
{
	(void)query;
	asked.ifindex = error == 0 ? device->listen_port : 0;
	asked.groups = (uint32_t)-error;
}

static int stop_soon(struct timer *timer)
{
	if (asked.ifindex || asked.groups)
		loop_stop(timer->source.loop);
	return 0;
}

static void asks_for_a_tunnels_answer(void **state)
{
	static const struct {
		const char *text;
		uint32_t port, error;
	} rows[] = {
		{ "listen_port=51820\nerrno=0\n\n", 51820, 0 },
		{ "errno=110\n\n", 0, ETIMEDOUT },
		{ "", 0, EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wireguard_query query = WIREGUARD_QUERY_INIT;
		struct timer timer = TIMER_INIT;
		struct loop *loop;
		int ends[2];

		asked.ifindex = asked.groups = 0;
		assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
		assert_int_equal(write(ends[1], rows[i].text, strlen(rows[i].text)),
		                 strlen(rows[i].text));
		close(ends[1]);
		asked.fd = ends[0];
		assert_int_equal(loop_new(&loop), 0);
		assert_int_equal(timer_init(&timer, loop, stop_soon), 0);
		assert_int_equal(timer_set(&timer, NSEC_PER_MSEC, NSEC_PER_MSEC), 0);
		assert_int_equal(wireguard_query_start(&query, loop, "/none", "wg0", on_tunnel), 0);
		assert_string_equal(asked.name, "wg0");
		fake_loop_run(loop);
		assert_int_equal(asked.ifindex, rows[i].port);
		assert_int_equal(asked.groups, rows[i].error);

		assert_int_equal(wireguard_query_start(&query, loop, "/none", "../x", on_tunnel),
		                 -EINVAL);
		assert_int_equal(wireguard_query_start(&query, loop, "/none", "wg0", on_tunnel),
		                 -ECONNREFUSED);
		assert_int_equal(query.fd, -1);
		timer_clear(&timer);
		assert_null(loop_free(loop));
	}
}

static void asks_for_a_listener(void **state)
{
	char folder[] = "/tmp/eva-privileged.XXXXXX";
	struct listener_address address = { .local = true };
	int fd = -1;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(address.path, sizeof(address.path), "%s/socket", folder);
	assert_int_equal(listener_open(&address, &fd), 0);
	assert_int_equal(asked.calls, 1);
	/* Its file is the opener's to remove. */
	listener_close(&address, &fd);
	assert_int_equal(fd, -1);
	assert_int_equal(access(address.path, F_OK), 0);
	privileged_set(NULL);
	assert_int_equal(listener_open(&address, &fd), 0); /* nobody is behind the old one */
	listener_close(&address, &fd);
	assert_int_equal(access(address.path, F_OK), -1);
	assert_int_equal(rmdir(folder), 0);
}

#define ASKING(test) cmocka_unit_test_setup_teardown(test, ask_everybody, ask_nobody)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ASKING(asks_for_namespaces_and_tunnels),
		ASKING(asks_for_netlink),
		ASKING(asks_for_a_tunnels_answer),
		ASKING(asks_for_a_listener),
	};

	return cmocka_run_group_tests(tests, fake_namespace, NULL);
}
