/* ldflags: -Wl,--wrap=timer_set,--wrap=clock_now */
#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "inventory/live_reader.h"
#include "io/netns.h"
#include "limits.h"
#include "netns_help.h"

struct reading {
	struct loop *loop;
	struct live live;
	struct live_reader *reader;
	struct live_reader_stats stats;
	unsigned int changes;
	int netns_fd;
};

/*
 * How long it waits before it reads, and how time passes for it: a loaded machine adds to either, and what is
 * measured is not how loaded it is.
 */
static uint64_t waited_ns; /* the newest delay of those between readings */
static struct {
	bool crawls; /* since this moment, to a thousandth */
	struct moment since;
} crawl;

struct moment __real_clock_now(void);
struct moment __wrap_clock_now(void);
struct moment __wrap_clock_now(void)
{
	struct moment now = __real_clock_now();

	if (crawl.crawls)
		now.mono_ns = crawl.since.mono_ns + (now.mono_ns - crawl.since.mono_ns) / 1000;
	return now;
}

int __real_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	if (delay_ns == WIREGUARD_TIMEOUT_NS)
		delay_ns = 30 * NSEC_PER_SEC;
	else if (delay_ns >= LIVE_DEBOUNCE_NS && delay_ns < LIVE_TUNNEL_INTERVAL_NS)
		waited_ns = delay_ns;
	return __real_timer_set(timer, delay_ns, period_ns);
}

static void on_changed(void *user)
{
	((struct reading *)user)->changes++;
}

static void start(struct reading *reading, const char *suffix, const char *wireguard_dir)
{
	char path[128];
	uint64_t inode;
	struct live_reader_options options = {
		.wireguard_dir = wireguard_dir,
		.live = &reading->live,
		.user = reading,
		.changed = on_changed,
	};

	*reading = (struct reading){ 0 };
	assert_int_equal(loop_new(&reading->loop), 0);
	assert_int_equal(netns_open(netns_file(suffix, path), &reading->netns_fd, &inode), 0);
	options.netns_fd = reading->netns_fd;
	assert_int_equal(
		live_reader_new(reading->loop, &options, &reading->stats, &reading->reader), 0);
}

static void stop(struct reading *reading)
{
	reading->reader = live_reader_free(reading->reader);
	live_clear(&reading->live);
	close(reading->netns_fd);
	loop_free(reading->loop);
}

static uint32_t way_to(struct reading *reading, const char *address, uint32_t mark)
{
	const struct live_route *route;
	struct ip dst;
	bool certain;

	assert_int_equal(ip_parse(address, &dst), 0);
	route = live_route_lookup(&reading->live, &dst, mark, &certain);
	assert_true(certain);
	return route ? route->ifindex : 0;
}

/* The namespace that kube-egress-cni leaves behind; a tun that nobody serves is wg0. */
static void make_gateway_pod(const char *suffix)
{
	static const char *const commands[] = {
		"tuntap add dev wg0 mode tun",
		"link set wg0 alias wgfbc353e0",
		"link set wg0 up",
		"route flush dev eth0",
		"-6 route flush dev eth0",
		"route add 10.60.1.1 dev eth0 scope link",
		"-4 route add default via inet6 fe80::1 dev wg0",
		"route add 10.0.0.0/16 via 10.60.1.1 dev eth0 proto static",
		"route add 10.60.0.0/16 via 10.60.1.1 dev eth0 proto static",
		"rule add fwmark 0x2222 lookup 8738 pref 32765",
		"route add default via 10.60.1.1 dev eth0 table 8738",
		"route add unreachable 203.0.113.0/24",
	};

	netns_pod(suffix, "10.60.1.2/24");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		ip_in(suffix, "%s", commands[i]);
}

/* Which interface the kernel itself would take; 0: none. */
static uint32_t ask_kernel(const char *suffix, const char *address, uint32_t mark,
                           const struct live *live)
{
	char name[64], command[256], link[IF_NAMESIZE + 1] = "";
	const struct live_link *found;
	FILE *pipe;

	snprintf(
		command, sizeof(command),
		"ip -n %s route get %s mark %u 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p'",
		netns_name(suffix, name), address, mark);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	if (fscanf(pipe, "%16s", link) != 1)
		link[0] = '\0';
	pclose(pipe);
	found = live_link_by_name(live, link);
	return found && !found->loopback ? found->ifindex : 0;
}

static void agrees_with_the_kernel(void **state)
{
	static const struct {
		const char *address;
		uint32_t mark;
	} cases[] = {
		{ "8.8.8.8", 0 },     { "10.0.5.5", 0 },     { "10.60.1.99", 0 },
		{ "10.60.1.1", 0 },   { "8.8.8.8", 0x2222 }, { "8.8.8.8", 0x2223 },
		{ "203.0.113.7", 0 }, { "10.60.1.2", 0 },    { "127.0.0.1", 0 },
		{ "2001:db8::1", 0 },
	};
	struct reading reading;

	(void)state;
	skip_unless_root();
	make_gateway_pod("k");
	start(&reading, "k", "/nonexistent");
	assert_true(reading.live.readable);
	assert_false(reading.live.truncated);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(way_to(&reading, cases[i].address, cases[i].mark),
		                 ask_kernel("k", cases[i].address, cases[i].mark, &reading.live));
	assert_int_equal(reading.live.tunnel_ifindex,
	                 live_link_by_name(&reading.live, "wg0")->ifindex);
	assert_false(reading.live.tunnel.readable);
	assert_string_not_equal(reading.live.tunnel_error, "");
	assert_int_equal(reading.stats.readings, 1);
	stop(&reading);
	netns_delete("k");
}

struct expected {
	struct reading *reading;
	uint32_t ifindex;
};

static bool leads_there(void *arg)
{
	struct expected *expected = arg;

	return way_to(expected->reading, "8.8.8.8", 0) == expected->ifindex;
}

static uint64_t now_us(void)
{
	return clock_now().mono_ns / NSEC_PER_USEC;
}

static uint64_t processor_ns(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void sees_a_route_change_within_50_ms(void **state)
{
	struct reading reading;
	struct expected expected = { &reading, 0 };
	uint32_t wg0, eth0;

	(void)state;
	skip_unless_root();
	make_gateway_pod("r");
	start(&reading, "r", "/nonexistent");
	wg0 = live_link_by_name(&reading.live, "wg0")->ifindex;
	eth0 = live_link_by_name(&reading.live, "eth0")->ifindex;
	assert_int_equal(way_to(&reading, "8.8.8.8", 0), wg0);

	for (int i = 0; i < 4; i++) {
		const char *link = i % 2 ? "wg0" : "eth0";
		uint64_t began;

		expected.ifindex = i % 2 ? wg0 : eth0;
		ip_in("r", "-4 route replace default via inet6 fe80::1 dev %s", link);
		began = processor_ns();
		assert_true(wait_until(reading.loop, leads_there, &expected, WAIT_MS));
		if (i == 0)
			assert_in_range(waited_ns + processor_ns() - began, LIVE_DEBOUNCE_NS,
			                50 * NSEC_PER_MSEC);
	}
	stop(&reading);
	netns_delete("r");
}

struct readings {
	struct reading *reading;
	uint64_t more_than;
};

static bool was_read(void *arg)
{
	struct readings *readings = arg;

	return readings->reading->stats.readings > readings->more_than;
}

/* A pod that changes its routes all the time is read less and less often. */
static void a_storm_does_not_keep_us_busy(void **state)
{
	struct reading reading;
	struct readings readings = { .reading = &reading };
	uint64_t expected_ns = LIVE_DEBOUNCE_NS;
	unsigned int storms = 0;
	char name[64];

	(void)state;
	skip_unless_root();
	make_gateway_pod("s");
	start(&reading, "s", "/nonexistent");
	crawl.since = clock_now();
	crawl.crawls = true; /* a change follows each reading at once */
	while (expected_ns < LIVE_DEBOUNCE_MAX_NS) {
		bool read;

		readings.more_than = reading.stats.readings;
		waited_ns = 0;
		assert_int_equal(sh("for j in $(seq 100); do echo route add 10.77.$j.0/24 dev "
		                    "eth0 metric %u; done | ip -n %s -batch -",
		                    ++storms, netns_name("s", name)),
		                 0);
		read = wait_until(reading.loop, was_read, &readings, WAIT_MS / 1000);
		crawl.crawls = crawl.crawls && read;
		assert_true(read);
		if (reading.stats.readings > 2)
			assert_in_range(waited_ns, 2 * expected_ns, 8 * LIVE_DEBOUNCE_MAX_NS);
		expected_ns = waited_ns;
	}
	crawl.crawls = false;
	assert_in_range(reading.stats.readings, 4, 20);
	assert_int_equal(reading.stats.errors, 0);
	stop(&reading);
	netns_delete("s");
}

static void says_when_it_saw_a_part_only(void **state)
{
	struct reading reading;
	char name[64];
	uint64_t began;

	(void)state;
	skip_unless_root();
	netns_pod("t", "10.60.1.2/24");
	assert_int_equal(
		sh("i=0; while [ $i -lt 6000 ]; do echo route add 10.$((64+i/256)).$((i%%256"
	           ")).0/24 dev eth0; i=$((i+1)); done | ip -n %s -batch -",
	           netns_name("t", name)),
		0);
	began = now_us();
	start(&reading, "t", "/nonexistent");
	print_message("a reading that stops at %d routes: %d us\n", LIVE_ROUTES_MAX,
	              (int)(now_us() - began));
	assert_true(reading.live.readable);
	assert_true(reading.live.truncated);
	assert_int_equal(reading.live.n_routes, LIVE_ROUTES_MAX);
	assert_true(reading.live.n_rules > 0);
	stop(&reading);
	netns_delete("t");
}

static bool tunnel_is_readable(void *arg)
{
	return ((struct reading *)arg)->live.tunnel.readable;
}

static int answer_at(const char *directory, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", directory, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* The link is renamed in the pod; the socket has the name that is its alias now. */
static void asks_a_userspace_tunnel_by_its_alias(void **state)
{
	char directory[] = "/tmp/eva-live-XXXXXX", question[16];
	struct reading reading;
	int listener, peer;

	(void)state;
	skip_unless_root();
	make_gateway_pod("u");
	assert_non_null(mkdtemp(directory));
	listener = answer_at(directory, "wgfbc353e0");
	start(&reading, "u", directory);
	assert_true(reading.live.readable);
	assert_false(reading.live.tunnel.readable); /* asked, not answered yet */

	peer = accept(listener, NULL, NULL);
	assert_int_equal(read(peer, question, sizeof(question)), 7);
	assert_int_equal(write(peer, "listen_port=52512\nerrno=0\n\n", 27), 27);
	assert_true(wait_until(reading.loop, tunnel_is_readable, &reading, WAIT_MS));
	assert_int_equal(reading.changes, 1);
	assert_int_equal(reading.live.tunnel.listen_port, 52512);
	assert_true(reading.live.tunnel.read_at.mono_ns > reading.live.read_at.mono_ns);
	assert_string_equal(reading.live.tunnel_error, "");
	close(peer);

	/* Read again because of a route: what was known holds until the answer comes. */
	ip_in("u", "route add 10.5.0.0/16 dev eth0");
	peer = -1;
	assert_true(wait_until(reading.loop, was_read, &(struct readings){ &reading, 1 }, WAIT_MS));
	assert_true(reading.live.tunnel.readable);
	assert_int_equal(reading.live.tunnel.listen_port, 52512);

	close(listener);
	stop(&reading);
	(void)sh("rm -r %s", directory);
	netns_delete("u");
}

static void measures(void **state)
{
	enum { N = 1000 };
	struct live live = { 0 };
	char path[128];
	uint64_t inode, began;
	int fd;

	(void)state;
	skip_unless_root();
	make_gateway_pod("m");
	assert_int_equal(netns_open(netns_file("m", path), &fd, &inode), 0);
	began = now_us();
	for (int i = 0; i < N; i++)
		assert_int_equal(live_read(fd, &live), 0);
	print_message("one reading of a pod (%zu routes, %zu rules): %d us\n", live.n_routes,
	              live.n_rules, (int)((now_us() - began) / N));
	live_clear(&live);
	close(fd);
	netns_delete("m");
}

/* A descriptor that is no namespace any more: told, and nothing pretended. */
static void a_failed_reading_is_not_readable(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct live live = { .readable = true };

	(void)state;
	assert_int_equal(live_read(fd, &live), -EINVAL);
	assert_false(live.readable);
	assert_int_equal(live.error, -EINVAL);
	assert_true(live.read_at.mono_ns > 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_kernel),
		cmocka_unit_test(sees_a_route_change_within_50_ms),
		cmocka_unit_test(a_storm_does_not_keep_us_busy),
		cmocka_unit_test(says_when_it_saw_a_part_only),
		cmocka_unit_test(asks_a_userspace_tunnel_by_its_alias),
		cmocka_unit_test(measures),
		cmocka_unit_test(a_failed_reading_is_not_readable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
