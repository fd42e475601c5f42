/* Configuration and inventory when memory runs out: wholly read, or not at all. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "config.h"
#include "inventory/inventory_parts.h"
#include "inventory/source_file.h"
#include "netns_help.h"
#include "oom/oom.h"

static char folder[64] = /* no disk: files are written often */ "/dev/shm/eva-oom.XXXXXX", path[96],
	    netns_dir[96], cni_dir[96];
static char made_a[128], made_b[128];
static char netns_a[128], netns_b[128]; /* links, to be found by address and by annotation */

static void write_file(const char *name, const char *text)
{
	char file[160];
	int fd;

	snprintf(file, sizeof(file), "%s/%s", folder, name);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Whatever waits a second to try again waits 2 ms here. */
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	struct itimerspec soon = *new;
	struct timespec *times[] = { &soon.it_value, &soon.it_interval };

	for (size_t i = 0; i < 2; i++) {
		int64_t ns = (times[i]->tv_sec * 1000000000LL + times[i]->tv_nsec + 499) / 500;

		*times[i] = (struct timespec){ ns / 1000000000, ns % 1000000000 };
	}
	return (int)syscall(SYS_timerfd_settime, fd, flags, &soon, old);
}

/* Configuration */

static const char rich[] =
	"node: worker-1\n"
	"inventory: {source: file, file: inventory.yaml, netnsDir: /run/netns,\n"
	"            cgroupRoot: /sys/fs/cgroup, kubeconfig: ''}\n"
	"policy:\n"
	"  clusterCidrs: [10.0.0.0/16, 10.224.0.0/12, 'fd00::/8']\n"
	"  requireGateway:\n"
	"    - {namespace: shop, podSelector: {app: checkout, tier: front}}\n"
	"    - {namespace: billing}\n"
	"  pendingGrace: 5m\n"
	"probe:\n"
	"  interval: 30s\n"
	"  timeout: 5s\n"
	"  quorum: 2\n"
	"  nodeControl: true\n"
	"  echoes:\n"
	"    - {name: a, url: 'https://echo.example.net/ip', resolve: 198.51.100.1}\n"
	"    - {name: b, url: 'https://echo.example.net/?format=json', json: ip}\n"
	"    - {name: c, url: 'https://echo.example.net/trace', key: ip}\n"
	"    - {name: d, stun: 'echo.example.net:3478'}\n"
	"collector:\n"
	"  endpoint: 'https://collector.example.net:4318'\n"
	"  spool: {directory: /var/lib/egress-verifier, maxBytes: 64Mi}\n"
	"http:\n"
	"  listen: ['127.0.0.1:9466', '[::1]:9466', 'unix:/run/x.sock']\n"
	"  metrics: ['0.0.0.0:9467']\n";

static void load_configuration(void)
{
	struct config *config = NULL;
	char file[128], error[512] = "";
	int r;

	snprintf(file, sizeof(file), "%s/config.yaml", folder);
	for (int again = 0; again < 2; again++) {
		if (!again)
			oom_begin();
		r = config_load(file, &config, error);
		oom_end();
		if (r < 0) {
			assert_false(again);
			assert_int_equal(r, -ENOMEM);
			assert_null(config);
			assert_non_null(strstr(error, strerror(ENOMEM)));
			continue;
		}
		assert_int_equal(config->n_echoes, 4);
		assert_string_equal(config->echoes[3].stun, "echo.example.net:3478");
		assert_int_equal(config->n_cluster, 3);
		assert_string_equal(config->require[1].namespace, "billing");
		assert_int_equal(config->require[0].n_labels, 2);
		assert_int_equal(config->n_listen, 3);
		assert_int_equal(config->n_metrics, 1);
		config = config_free(config);
	}
}

/* Inventory */

#define META(name) "metadata: {namespace: shop, name: " name ", uid: u-" name
#define GATEWAY_OF(name)                                                   \
	", labels: {app: x, tier: y}, annotations: {kubernetes.azure.com/" \
	"static-gateway-configuration: " name
#define SPEC "spec: {nodeName: w1}, status: {phase: Running, podIP: "
#define POD(name, gateway, more, ip) \
	"- {apiVersion: v1, kind: Pod, " META(name) GATEWAY_OF(gateway) more "}}, " SPEC ip "}}\n"
#define GROUP "apiVersion: egressgateway.kubernetes.azure.com/v1alpha1, "
#define GATEWAY(name, exceptions, prefix)                                                \
	"- {" GROUP "kind: StaticGatewayConfiguration, " META(                           \
		name) "}, spec: {"                                                       \
		      "gatewayNodepoolName: g, provisionPublicIps: true, excludeCidrs: " \
		      "[" exceptions "]}, "                                              \
		      "status: {egressIpPrefix: " prefix "}}\n"
#define VM(name)                                                                              \
	"- {" GROUP                                                                           \
	"kind: GatewayVMConfiguration, " META(name) "}, status: {"                            \
						    "gatewayVMProfiles: [{nodeName: gw-1, "   \
						    "primaryIP: 10.0.1.4}, {nodeName: gw-2, " \
						    "primaryIP: 10.0.1.5}]}}\n"
#define NODE(name, ip)                                                                    \
	"- {apiVersion: v1, kind: Node, metadata: {name: " name "}, status: {addresses: " \
	"[{type: InternalIP, address: " ip "}]}}\n"

static const char first_items[] = "apiVersion: v1\nkind: List\nitems:\n" NODE("w1", "10.0.0.4")
	GATEWAY("blue", "10.50.0.0/16, 10.51.0.0/16", "203.0.113.0/31")
		GATEWAY("red", "", "203.0.113.4/31") VM("blue") POD("pa", "blue", "", "10.60.1.2")
			POD("pb", "red", ", egress-verifier.io/netns: '%s'", "10.60.1.3")
				POD("pc", "blue", "", "10.60.1.4");
/* Another prefix and exception, a gateway and a pod less, one more of each. */
static const char second_items[] = "apiVersion: v1\nkind: List\nitems:\n" NODE("w1", "10.0.0.5")
	NODE("w2", "10.0.0.6") GATEWAY("blue", "10.50.0.0/16", "203.0.113.2/31")
		GATEWAY("green", "10.9.0.0/16", "203.0.113.8/31") VM("blue") VM("green")
			POD("pa", "blue", "", "10.60.1.2")
				POD("pb", "green", ", egress-verifier.io/netns: '%s'", "10.60.1.3")
					POD("pd", "green", "", "10.60.1.5");
static const char empty[] = "apiVersion: v1\nkind: List\nitems: []\n";
static const char empty_state[] = "0 subjects, node none, vms 00\n";
static char first[4096], second[4096], first_state[4096], second_state[4096], netns_state[4096];

struct place {
	struct loop *loop;
	struct inventory *inventory;
	struct source_file *source;
};

static int open_place(struct place *place)
{
	const struct cidr cluster = { { { 10 } }, 104 };
	const struct inventory_selector require = { "shop", { { "app", "x" } }, 1 };
	const struct inventory_options options = { .node = "w1",
		                                   .netns_dir = netns_dir,
		                                   .cgroup_root = folder,
		                                   .cni_dir = cni_dir,
		                                   .wireguard_dir = "/nonexistent",
		                                   .cluster = &cluster,
		                                   .n_cluster = 1,
		                                   .require = &require,
		                                   .n_require = 1 };
	const struct inventory_events events = { 0 };
	int r;

	r = loop_new(&place->loop);
	if (r == 0)
		r = inventory_new(place->loop, &options, &events, &place->inventory);
	if (r == 0)
		r = source_file_new(place->loop, path, place->inventory, &place->source);
	return r;
}

static void close_place(struct place *place)
{
	source_file_free(place->source);
	inventory_free(place->inventory);
	loop_free(place->loop);
	*place = (struct place){ 0 };
}

/* What the file says, as the inventory has it; numbers and readings are no part of it. */
static void describe(struct place *place, char text[static 4096])
{
	struct inventory *inventory = place->inventory;
	static const char *const pods[] = { "pa", "pb", "pc", "pd" };
	const struct kube_node *node = inventory_node(inventory);
	char ip[IP_TEXT_MAX];
	size_t n;

	n = (size_t)sprintf(text, "%zu subjects, node %s, vms %d%d\n", inventory_count(inventory),
	                    node ? ip_format(&node->internal_ip, ip) : "none",
	                    inventory_gateway_vm_find(inventory, "shop", "blue") != NULL,
	                    inventory_gateway_vm_find(inventory, "shop", "green") != NULL);
	for (size_t i = 0; i < inventory_gateway_count(inventory); i++)
		n += (size_t)sprintf(text + n, "gateway %s %s\n",
		                     inventory_gateway(inventory, i)->name,
		                     inventory_gateway(inventory, i)->egress_prefix);
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++) {
		const struct subject *s = inventory_find(inventory, "shop", pods[i]);

		if (s)
			n += (size_t)sprintf(text + n,
			                     "%s %s %s %s path %d %zu exceptions cni %d netns %d\n",
			                     s->pod, s->uid, s->gateway_name,
			                     s->gateway ? s->gateway->egress_prefix : "none",
			                     s->policy.default_path, s->policy.n_exceptions,
			                     s->cni_known, s->netns_fd >= 0);
	}
}

static void expect_state(struct place *place, const char *expected, const char *when)
{
	char text[4096];

	describe(place, text);
	if (strcmp(text, expected) != 0)
		fail_msg("%s:\n%sexpected:\n%s", when, text, expected);
}

/* No pod loses what the file says it has because nobody had memory to look it up. */
static void expect_no_loss(struct place *place)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct subject *s = inventory_subject(place->inventory, i);
		const struct kube_gateway *gateway;

		if (!s || !s->gateway)
			continue;
		gateway = inventory_gateway_find(place->inventory, "shop", s->gateway_name);
		assert_ptr_equal(gateway, s->gateway);
		assert_true(s->policy.n_exceptions >= gateway->n_exceptions);
	}
}

/* What the inventory does by itself after a while. */
struct expectation {
	struct place *place;
	const char *state;
};

static bool is_as_expected(void *arg)
{
	const struct expectation *expectation = arg;
	char text[4096];

	describe(expectation->place, text);
	return strcmp(text, expectation->state) == 0;
}

static void expect_soon(struct place *place, const char *expected, const char *when)
{
	struct expectation expectation = { place, expected };

	if (!is_as_expected(&expectation) &&
	    !wait_until(place->loop, is_as_expected, &expectation, WAIT_MS))
		expect_state(place, expected, when);
}

static void make_inventory(void)
{
	struct place place = { 0 };
	int r;

	write_file("inventory.yaml", empty);
	oom_begin();
	r = open_place(&place);
	oom_end();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		close_place(&place);
		assert_int_equal(open_place(&place), 0);
	} else if (source_file_stats(place.source)->reloads == 0) {
		assert_non_null(
			strstr(source_file_stats(place.source)->last_error, strerror(ENOMEM)));
	}
	write_file("inventory.yaml", first);
	assert_int_equal(source_file_reload(place.source), 0);
	expect_soon(&place, first_state, "after loading");
	close_place(&place);
}

static void read_after(const char *before, const char *before_state, const char *after,
                       const char *after_state)
{
	static struct place place; /* one per process: to close an inotify(7) waits */
	int r;

	write_file("inventory.yaml", before);
	if (!place.loop)
		assert_int_equal(open_place(&place), 0);
	assert_int_equal(source_file_reload(place.source), 0);
	expect_state(&place, before_state, "before");
	write_file("inventory.yaml", after);
	oom_begin();
	r = source_file_reload(place.source);
	oom_end();
	expect_no_loss(&place);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_non_null(
			strstr(source_file_stats(place.source)->last_error, strerror(ENOMEM)));
		expect_state(&place, before_state, "after a failed reading");
		assert_int_equal(source_file_reload(place.source), 0);
	}
	assert_string_equal(source_file_stats(place.source)->last_refusal, "");
	expect_soon(&place, after_state, "after a reading");
}

static void load_inventory(void)
{
	read_after(empty, empty_state, first, first_state);
}

static void reload_inventory(void)
{
	read_after(first, first_state, second, second_state);
}

/* The same file read again, other cluster CIDRs: nothing is to be known anew. */
static void reconfigure_inventory(void)
{
	static const struct cidr cluster[2] = { { { { 11 } }, 104 }, { { { 12 } }, 104 } };
	static const struct inventory_selector require = { "shop", { { "tier", "y" } }, 1 };
	const struct inventory_options options = { .node = "w1",
		                                   .netns_dir = netns_dir,
		                                   .cgroup_root = folder,
		                                   .cni_dir = cni_dir,
		                                   .wireguard_dir = "/nonexistent",
		                                   .cluster = cluster,
		                                   .n_cluster = 2,
		                                   .require = &require,
		                                   .n_require = 1 };
	struct place place = { 0 };
	int r;

	write_file("inventory.yaml", first);
	assert_int_equal(open_place(&place), 0);
	oom_begin();
	r = inventory_reconfigure(place.inventory, &options);
	oom_end();
	expect_no_loss(&place);
	assert_true(r == 0 || r == -ENOMEM);
	assert_int_equal(inventory_subject(place.inventory, 0)->policy.n_cluster, r ? 1 : 2);
	if (r < 0)
		assert_int_equal(inventory_reconfigure(place.inventory, &options), 0);
	expect_soon(&place, first_state, "after a new configuration");
	assert_int_equal(inventory_subject(place.inventory, 0)->policy.n_cluster, 2);
	close_place(&place);
}

/* With all the memory it wants it happens; without it may not, and nothing says so. */
static bool happens_or_not(void *arg)
{
	static uint64_t since_ns;
	uint64_t now_ns = clock_now().mono_ns;

	if (!oom.fired)
		since_ns = now_ns;
	return is_as_expected(arg) || now_ns - since_ns > 20 * NSEC_PER_MSEC;
}

/* Namespaces appear, as the folder's watch tells; what it then needs memory for is in several modules. */
static void find_namespaces(void)
{
	struct place place = { 0 };
	struct expectation expectation = { &place, netns_state };

	write_file("inventory.yaml", first);
	assert_int_equal(open_place(&place), 0);
	expect_state(&place, first_state, "before");
	assert_int_equal(symlink(made_b, netns_b), 0);
	assert_int_equal(symlink(made_a, netns_a), 0);
	oom_begin();
	assert_true(wait_until(place.loop, happens_or_not, &expectation, WAIT_MS));
	oom_end();
	expect_soon(&place, netns_state, "with namespaces");
	unlink(netns_a);
	unlink(netns_b);
	close_place(&place);
}

static void configuration(void **state)
{
	(void)state;
	oom_run("configuration", load_configuration, 150, OOM_FIRST);
}

static void inventory_made(void **state)
{
	(void)state;
	oom_run("inventory, made", make_inventory, 30, OOM_FIRST);
}

static void inventory_first(void **state)
{
	(void)state;
	oom_run("inventory, first reading", load_inventory, 500, OOM_ALL);
}

static void inventory_again(void **state)
{
	(void)state;
	oom_run("inventory, reading again", reload_inventory, 400, OOM_ALL);
}

static void inventory_options_again(void **state)
{
	(void)state;
	oom_run("inventory, new options", reconfigure_inventory, 5, OOM_ALL);
}

static void inventory_namespaces(void **state)
{
	(void)state;
	oom_run("inventory, namespaces found", find_namespaces, 15, OOM_ALL);
}

static void references(void)
{
	struct place place = { 0 };

	write_file("inventory.yaml", first);
	assert_int_equal(open_place(&place), 0);
	describe(&place, first_state);
	strcpy(netns_state, first_state);
	strstr(strstr(netns_state, "pa u-pa"), "netns 0")[6] = '1';
	strstr(strstr(netns_state, "pb u-pb"), "netns 0")[6] = '1';
	write_file("inventory.yaml", second);
	assert_int_equal(source_file_reload(place.source), 0);
	describe(&place, second_state);
	assert_non_null(strstr(first_state, "pa u-pa blue 203.0.113.0/31 path"));
	assert_non_null(strstr(first_state, "3 exceptions cni 1 netns 0"));
	assert_non_null(strstr(second_state, "pd u-pd green"));
	assert_null(strstr(second_state, "red"));
	close_place(&place);
}

static int set_up(void **state)
{
	if (geteuid() != 0)
		return 0;
	assert_int_equal(oom_set_up(state), 0);
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/inventory.yaml", folder);
	snprintf(netns_dir, sizeof(netns_dir), "%s/netns", folder);
	snprintf(cni_dir, sizeof(cni_dir), "%s/cni", folder);
	assert_int_equal(mkdir(netns_dir, 0700) | mkdir(cni_dir, 0700), 0);
	write_file("config.yaml", rich);
	write_file("cni/01-egress.conf",
	           "{\"type\":\"kube-egress-cni\",\"excludedCIDRs\":[\"10.0.0.0/16\"]}");
	netns_pod("a", "10.60.1.2/24");
	netns_pod("b", "10.60.1.3/24");
	netns_file("a", made_a);
	netns_file("b", made_b);
	snprintf(netns_a, sizeof(netns_a), "%s/a", netns_dir);
	snprintf(netns_b, sizeof(netns_b), "%s/b", folder);
	snprintf(first, sizeof(first), first_items, netns_b);
	snprintf(second, sizeof(second), second_items, netns_b);
	references();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	(void)sh("rm -r %s", folder);
	netns_delete("a");
	netns_delete("b");
	return 0;
}

static int need_root(void **state)
{
	(void)state;
	skip_unless_root();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(configuration, need_root),
		cmocka_unit_test_setup(inventory_made, need_root),
		cmocka_unit_test_setup(inventory_first, need_root),
		cmocka_unit_test_setup(inventory_again, need_root),
		cmocka_unit_test_setup(inventory_options_again, need_root),
		cmocka_unit_test_setup(inventory_namespaces, need_root),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
