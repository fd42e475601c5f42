/* ldflags: -Wl,--wrap=timer_set */
#include "test.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/time_types.h>
#include <linux/wireguard.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "io/netns.h"
#include "io/wireguard.h"
#include "netns_help.h"

#define KEY_A "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"
#define KEY_B "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"
#define PRIVATE "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n"

static struct wireguard_device untouched(void)
{
	struct wireguard_device device;

	memset(&device, 0x5a, sizeof(device));
	return device;
}

static int parse(const char *text, struct wireguard_device *device)
{
	char copy[WIREGUARD_ANSWER_MAX];
	size_t len = strlen(text);

	memcpy(copy, text, len);
	return wireguard_uapi_parse(copy, len, device);
}

static void parses_a_userspace_answer(void **state)
{
	static const char text[] = PRIVATE
		"listen_port=12912\n"
		"fwmark=0\n"
		"public_key=" KEY_A "\n"
		"preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52\n"
		"protocol_version=1\n"
		"endpoint=[abcd:23::33%eth0]:51820\n"
		"last_handshake_time_nsec=500000\n"
		"last_handshake_time_sec=1795189791\n"
		"tx_bytes=38333\n"
		"rx_bytes=2224\n"
		"persistent_keepalive_interval=0\n"
		"allowed_ip=192.168.4.4/32\n"
		"allowed_ip=::/0\n"
		"public_key=" KEY_B "\n"
		"endpoint=182.122.22.19:3233\n"
		"some_later_key=what ever\n"
		"errno=0\n\n";
	struct wireguard_device device = untouched();
	char buf[IP_TEXT_MAX], cidr[CIDR_TEXT_MAX];

	(void)state;
	assert_int_equal(parse(text, &device), 0);
	assert_false(device.has_key);
	assert_int_equal(device.listen_port, 12912);
	assert_int_equal(device.n_peers, 2);
	assert_false(device.truncated);
	assert_int_equal(device.peers[0].key[0], 0xb8);
	assert_int_equal(device.peers[0].key[31], 0x33);
	assert_string_equal(ip_format(&device.peers[0].endpoint, buf), "abcd:23::33");
	assert_int_equal(device.peers[0].endpoint_port, 51820);
	assert_int_equal(device.peers[0].handshake_us, 1795189791000500);
	assert_int_equal(device.peers[0].tx_bytes, 38333);
	assert_int_equal(device.peers[0].rx_bytes, 2224);
	assert_int_equal(device.peers[0].n_allowed, 2);
	assert_string_equal(cidr_format(&device.peers[0].allowed[0], cidr), "192.168.4.4/32");
	assert_string_equal(ip_format(&device.peers[1].endpoint, buf), "182.122.22.19");
	assert_int_equal(device.peers[1].handshake_us, 0);
}

static void takes_what_is_valid(void **state)
{
	static const char *const good[] = {
		"errno=0\n\n",
		PRIVATE "errno=0\n\n",
		"listen_port=0\nerrno=0\n\n",
		"x=\nerrno=0\n\n",
	};
	struct wireguard_device device;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(parse(good[i], &device), 0);
}

static void rejects_a_userspace_answer(void **state)
{
	static const struct {
		const char *text;
		int result;
	} bad[] = {
		{ "", -EBADMSG },
		{ "\n", -EBADMSG },
		{ "errno=0", -EBADMSG },
		{ "errno=0\n", -EBADMSG },
		{ "errno=0\n\n\n", -EBADMSG },
		{ "errno=0\n\nx=1\n", -EBADMSG },
		{ "errno=x\n\n", -EBADMSG },
		{ "errno=1\n\n", -EPERM },
		{ "errno=-2\n\n", -EBADMSG },
		{ "listen_port=1\n", -EBADMSG },
		{ "listen_port=65536\nerrno=0\n\n", -EBADMSG },
		{ "listen_port= 1\nerrno=0\n\n", -EBADMSG },
		{ "no equals sign\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "0\nerrno=0\n\n", -EBADMSG },
		{ "public_key=g" KEY_A "\nerrno=0\n\n", -EBADMSG },
		{ "public_key=\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=1.2.3.4\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=[1.2.3.4]:5\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=::1:5\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=:5\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=[\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nendpoint=]:1\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nallowed_ip=1.2.3.4\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nrx_bytes=-1\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nrx_bytes=18446744073709551616\nerrno=0\n\n", -EBADMSG },
		{ "public_key=" KEY_A "\nlast_handshake_time_sec=9223372036854775807\nerrno=0\n\n",
		  -EBADMSG },
		{ "public_key=" KEY_A "\nlast_handshake_time_nsec=1000000000\nerrno=0\n\n",
		  -EBADMSG },
	};
	struct wireguard_device device = untouched(), before = untouched();
	char with_nul[] = "errno=0\n\n\0";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int r = parse(bad[i].text, &device);

		if (r != bad[i].result)
			fail_msg("%d for: %s", r, bad[i].text);
		assert_memory_equal(&device, &before, sizeof(device));
	}
	assert_int_equal(wireguard_uapi_parse(with_nul, sizeof(with_nul) - 1, &device), -EBADMSG);
}

static void bounds_a_userspace_answer(void **state)
{
	char text[WIREGUARD_ANSWER_MAX];
	struct wireguard_device device;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 2 * LIVE_PEERS_MAX; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "public_key=" KEY_A "\n");
		for (int j = 0; j < LIVE_ALLOWED_IPS_MAX + 1; j++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
			                      "allowed_ip=10.0.%d.0/24\n", j);
	}
	snprintf(text + n, sizeof(text) - n, "errno=0\n\n");
	assert_int_equal(parse(text, &device), 0);
	assert_int_equal(device.n_peers, LIVE_PEERS_MAX);
	assert_int_equal(device.peers[3].n_allowed, LIVE_ALLOWED_IPS_MAX);
	assert_true(device.truncated);
}

/* The kernel's answer, as Documentation/netlink/specs/wireguard describes it */

static _Alignas(struct nlmsghdr) char space[4096];

static struct nlmsghdr *device_message(void)
{
	struct genlmsghdr head = { .cmd = WG_CMD_GET_DEVICE, .version = 1 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(space);

	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(head)), &head, sizeof(head));
	return nlh;
}

static void put_allowed(struct nlmsghdr *nlh, uint16_t family, const void *address, size_t size,
                        uint8_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, 0);

	mnl_attr_put_u16(nlh, WGALLOWEDIP_A_FAMILY, family);
	mnl_attr_put(nlh, WGALLOWEDIP_A_IPADDR, size, address);
	mnl_attr_put_u8(nlh, WGALLOWEDIP_A_CIDR_MASK, len);
	mnl_attr_nest_end(nlh, nest);
}

static void put_peer(struct nlmsghdr *nlh, uint8_t key, bool whole, unsigned int first,
                     unsigned int n_allowed)
{
	struct nlattr *peer = mnl_attr_nest_start(nlh, 0), *list;
	struct sockaddr_in endpoint = { .sin_family = AF_INET,
		                        .sin_port = htons(6000),
		                        .sin_addr = { htonl(0x0a3200c8) } };
	struct __kernel_timespec handshake = { 1795189791, 250000000 };
	uint8_t bytes[32];

	memset(bytes, key, sizeof(bytes));
	mnl_attr_put(nlh, WGPEER_A_PUBLIC_KEY, sizeof(bytes), bytes);
	if (whole) {
		mnl_attr_put(nlh, WGPEER_A_PRESHARED_KEY, sizeof(bytes), bytes);
		mnl_attr_put(nlh, WGPEER_A_ENDPOINT, sizeof(endpoint), &endpoint);
		mnl_attr_put(nlh, WGPEER_A_LAST_HANDSHAKE_TIME, sizeof(handshake), &handshake);
		mnl_attr_put_u64(nlh, WGPEER_A_RX_BYTES, 3148);
		mnl_attr_put_u64(nlh, WGPEER_A_TX_BYTES, 3860);
	}
	list = mnl_attr_nest_start(nlh, WGPEER_A_ALLOWEDIPS);
	for (unsigned int i = first; i < first + n_allowed; i++) {
		uint8_t address[4] = { 10, 0, (uint8_t)i, 0 };

		put_allowed(nlh, AF_INET, address, sizeof(address), 24);
	}
	mnl_attr_nest_end(nlh, list);
	mnl_attr_nest_end(nlh, peer);
}

static void decodes_the_kernels_answer(void **state)
{
	struct wireguard_device device = { 0 };
	uint8_t private[32], public[32];
	struct nlmsghdr *nlh;
	struct nlattr *list;
	char buf[CIDR_TEXT_MAX];

	(void)state;
	memset(private, 0xee, sizeof(private));
	memset(public, 0x11, sizeof(public));
	nlh = device_message();
	mnl_attr_put(nlh, WGDEVICE_A_PRIVATE_KEY, sizeof(private), private);
	mnl_attr_put(nlh, WGDEVICE_A_PUBLIC_KEY, sizeof(public), public);
	mnl_attr_put_u16(nlh, WGDEVICE_A_LISTEN_PORT, 52512);
	list = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	put_peer(nlh, 0xaa, true, 0, 2);
	put_peer(nlh, 0xbb, true, 0, 1);
	mnl_attr_nest_end(nlh, list);
	assert_int_equal(wireguard_decode(nlh, &device), 0);

	/* The last peer goes on in the next message. */
	nlh = device_message();
	list = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	put_peer(nlh, 0xbb, false, 1, 3);
	mnl_attr_nest_end(nlh, list);
	assert_int_equal(wireguard_decode(nlh, &device), 0);

	assert_true(device.has_key);
	assert_memory_equal(device.key, public, sizeof(public));
	assert_int_equal(device.listen_port, 52512);
	assert_int_equal(device.n_peers, 2);
	assert_int_equal(device.peers[0].n_allowed, 2);
	assert_int_equal(device.peers[1].n_allowed, 4);
	assert_string_equal(cidr_format(&device.peers[1].allowed[3], buf), "10.0.3.0/24");
	assert_string_equal(ip_format(&device.peers[0].endpoint, buf), "10.50.0.200");
	assert_int_equal(device.peers[0].endpoint_port, 6000);
	assert_int_equal(device.peers[0].handshake_us, 1795189791250000);
	assert_int_equal(device.peers[0].rx_bytes, 3148);
	assert_int_equal(device.peers[0].tx_bytes, 3860);
	/* No secret anywhere in what we keep. */
	assert_null(memmem(&device, sizeof(device), private, sizeof(private)));
}

static void bounds_the_kernels_answer(void **state)
{
	struct wireguard_device device = { 0 };
	struct nlmsghdr *nlh = device_message();
	struct nlattr *list = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
	int r;

	(void)state;
	put_peer(nlh, 1, false, 0, LIVE_ALLOWED_IPS_MAX + 1);
	mnl_attr_nest_end(nlh, list);
	assert_int_equal(wireguard_decode(nlh, &device), 0);
	assert_int_equal(device.peers[0].n_allowed, LIVE_ALLOWED_IPS_MAX);
	assert_true(device.truncated);

	for (uint8_t i = 2;; i++) {
		nlh = device_message();
		list = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
		put_peer(nlh, i, false, 0, 0);
		mnl_attr_nest_end(nlh, list);
		r = wireguard_decode(nlh, &device);
		if (r != 0)
			break;
	}
	assert_int_equal(r, 1);
	assert_int_equal(device.n_peers, LIVE_PEERS_MAX);
}

static void rejects_the_kernels_answer(void **state)
{
	static const uint8_t bytes[64];
	static const struct {
		uint16_t type;
		size_t size;
	} peers[] = {
		{ WGPEER_A_PUBLIC_KEY, 31 }, { WGPEER_A_ENDPOINT, 16 },
		{ WGPEER_A_ENDPOINT, 3 },    { WGPEER_A_LAST_HANDSHAKE_TIME, 8 },
		{ WGPEER_A_RX_BYTES, 4 },
	};
	struct wireguard_device device;
	struct nlattr *list, *peer;
	struct nlmsghdr *nlh;

	(void)state;
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		device = (struct wireguard_device){ 0 };
		nlh = device_message();
		list = mnl_attr_nest_start(nlh, WGDEVICE_A_PEERS);
		peer = mnl_attr_nest_start(nlh, 0);
		mnl_attr_put(nlh, peers[i].type, peers[i].size, bytes);
		mnl_attr_nest_end(nlh, peer);
		mnl_attr_nest_end(nlh, list);
		assert_int_equal(wireguard_decode(nlh, &device), -EBADMSG);
	}
	nlh = device_message();
	mnl_attr_put(nlh, WGDEVICE_A_PUBLIC_KEY, 16, bytes);
	assert_int_equal(wireguard_decode(nlh, &device), -EBADMSG);
	nlh = device_message();
	mnl_attr_put(nlh, WGDEVICE_A_LISTEN_PORT, 1, bytes);
	assert_int_equal(wireguard_decode(nlh, &device), -EBADMSG);
	nlh->nlmsg_len = NLMSG_HDRLEN;
	assert_int_equal(wireguard_decode(nlh, &device), -EBADMSG);
}

/* Asking */

struct asked {
	struct wireguard_query query;
	bool answered;
	int error;
	struct wireguard_device device;
};

static void on_answered(struct wireguard_query *query, int error,
                        const struct wireguard_device *device)
{
	struct asked *asked = container_of(query, struct asked, query);

	asked->answered = true;
	asked->error = error;
	if (error == 0)
		asked->device = *device;
	else
		assert_null(device);
}

/* Where it is answered: what a loaded machine takes. */
static bool patient;

int __real_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	if (patient && delay_ns == WIREGUARD_TIMEOUT_NS)
		delay_ns = 30 * NSEC_PER_SEC;
	return __real_timer_set(timer, delay_ns, period_ns);
}

static bool is_answered(void *arg)
{
	return ((struct asked *)arg)->answered;
}

static int listen_at(const char *directory, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", directory, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void asks_and_gives_up(void **state)
{
	struct asked asked = { .query = WIREGUARD_QUERY_INIT };
	char directory[] = "/tmp/eva-wg-XXXXXX", question[32];
	int listener, peer;
	struct loop *loop;
	ssize_t n;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 -ENOENT);
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "../wg0",
	                                       on_answered),
	                 -EINVAL);
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "", on_answered),
	                 -EINVAL);
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "..", on_answered),
	                 -EINVAL);

	listener = listen_at(directory, "wg0");
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 0);
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 -EBUSY);
	/* Never answered: the deadline ends it. */
	assert_true(wait_until(loop, is_answered, &asked, WAIT_MS));
	assert_int_equal(asked.error, -ETIMEDOUT);
	close(accept(listener, NULL, NULL));

	/* An answer in two parts, then the connection stays open. */
	patient = true;
	asked.answered = false;
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 0);
	peer = accept(listener, NULL, NULL);
	n = read(peer, question, sizeof(question));
	assert_int_equal(n, 7);
	assert_memory_equal(question, "get=1\n\n", 7);
	assert_int_equal(write(peer, "listen_port=7\nerr", 17), 17);
	assert_int_equal(write(peer, "no=0\n\n", 6), 6);
	assert_true(wait_until(loop, is_answered, &asked, WAIT_MS));
	assert_int_equal(asked.error, 0);
	assert_int_equal(asked.device.listen_port, 7);
	close(peer);

	/* Half an answer. */
	asked.answered = false;
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 0);
	peer = accept(listener, NULL, NULL);
	assert_int_equal(write(peer, "listen_port=7\n", 14), 14);
	assert_int_equal(read(peer, question, sizeof(question)), 7);
	close(peer);
	assert_true(wait_until(loop, is_answered, &asked, WAIT_MS));
	assert_int_equal(asked.error, -EBADMSG);

	/* Cancelled: nothing is told. */
	asked.answered = false;
	assert_int_equal(wireguard_query_start(&asked.query, loop, directory, "wg0", on_answered),
	                 0);
	wireguard_query_cancel(&asked.query);
	wireguard_query_cancel(&asked.query);
	assert_false(asked.answered);

	close(listener);
	loop_free(loop);
	(void)sh("rm -r %s", directory);
}

/* wireguard-go in a namespace of our own, configured by wg(8). */
static void asks_wireguard_go(void **state)
{
	struct asked asked = { .query = WIREGUARD_QUERY_INIT };
	char netns[64], link[32], buf[CIDR_TEXT_MAX];
	struct loop *loop;

	(void)state;
	skip_unless_root();
	if (sh("command -v wireguard-go >/dev/null && command -v wg >/dev/null && "
	       "test -c /dev/net/tun") != 0) {
		print_message("wireguard-go, wg or /dev/net/tun is missing\n");
		skip();
	}
	netns_add("wg");
	netns_name("wg", netns);
	snprintf(link, sizeof(link), "evawg%d", (int)(getpid() % 1000000));
	/* It puts itself into the background when the interface is there. */
	assert_int_equal(sh("ip netns exec %s wireguard-go %s >/dev/null 2>&1", netns, link), 0);
	assert_int_equal(sh("umask 077; wg genkey > /tmp/%s.key && peer=$(wg genkey | wg pubkey) "
	                    "&& ip netns "
	                    "exec %s wg set "
	                    "%s private-key /tmp/%s.key listen-port 51999 peer $peer endpoint "
	                    "192.0.2.1:6000 "
	                    "allowed-ips 0.0.0.0/0,::/0; r=$?; rm -f /tmp/%s.key; exit $r",
	                    netns, netns, link, netns, netns),
	                 0);

	assert_int_equal(loop_new(&loop), 0);
	patient = true;
	assert_int_equal(wireguard_query_start(&asked.query, loop, "/var/run/wireguard", link,
	                                       on_answered),
	                 0);
	assert_true(wait_until(loop, is_answered, &asked, WAIT_MS));
	assert_int_equal(asked.error, 0);
	assert_false(asked.device.has_key);
	assert_int_equal(asked.device.listen_port, 51999);
	assert_int_equal(asked.device.n_peers, 1);
	assert_string_equal(ip_format(&asked.device.peers[0].endpoint, buf), "192.0.2.1");
	assert_int_equal(asked.device.peers[0].endpoint_port, 6000);
	assert_int_equal(asked.device.peers[0].n_allowed, 2);
	assert_int_equal(asked.device.peers[0].handshake_us, 0);

	loop_free(loop);
	ip_in("wg", "link del %s", link); /* ends wireguard-go */
	netns_delete("wg");
}

/* Not every kernel has the module; ours says so, or answers for a link that is none. */
static void asks_a_kernel_that_has_none(void **state)
{
	struct wireguard_device device = untouched(), before = untouched();
	int r;

	(void)state;
	skip_unless_root();
	r = wireguard_read(-1, 1, &device);
	assert_true(r == -ENOENT || r == -EOPNOTSUPP);
	assert_memory_equal(&device, &before, sizeof(device));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_userspace_answer),
		cmocka_unit_test(takes_what_is_valid),
		cmocka_unit_test(rejects_a_userspace_answer),
		cmocka_unit_test(bounds_a_userspace_answer),
		cmocka_unit_test(decodes_the_kernels_answer),
		cmocka_unit_test(bounds_the_kernels_answer),
		cmocka_unit_test(rejects_the_kernels_answer),
		cmocka_unit_test(asks_and_gives_up),
		cmocka_unit_test(asks_wireguard_go),
		cmocka_unit_test(asks_a_kernel_that_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
