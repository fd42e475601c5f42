#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inventory/inventory.h"
#include "netns_help.h"

#define GIVEN(member, fallback) ((member) ? (member) : (fallback))

struct fixture {
	struct loop *loop;
	struct inventory *inventory;
	char story[8192]; /* what was told, in order: "+pa#0 ~pa:gateway -pa gateways " */
	struct subject *last;
	unsigned int added, changed, removed;
	char directory[64]; /* netns, cni and cgroup below it */
	char netns_dir[96], cni_dir[96], cgroup_root[96];
};

static void tell(struct fixture *f, const char *format, ...)
{
	size_t n = strlen(f->story);
	va_list args;

	va_start(args, format);
	vsnprintf(f->story + n, sizeof(f->story) - n, format, args);
	va_end(args);
}

static void on_added(void *user, struct subject *subject)
{
	struct fixture *f = user;

	tell(f, "+%s#%u ", subject->pod, subject->number);
	f->last = subject;
	f->added++;
}

static void on_changed(void *user, struct subject *subject, unsigned int what)
{
	struct fixture *f = user;

	tell(f, "~%s:%s%s%s%s ", subject->pod, what & INVENTORY_POD ? "p" : "",
	     what & INVENTORY_GATEWAY ? "g" : "", what & INVENTORY_NETNS ? "n" : "",
	     what & INVENTORY_LIVE ? "l" : "");
	f->changed++;
}

static void on_removed(void *user, struct subject *subject)
{
	struct fixture *f = user;

	tell(f, "-%s#%u ", subject->pod, subject->number);
	f->removed++;
}

static void on_gateways(void *user)
{
	tell(user, "gateways ");
}

static struct inventory_options options_of(struct fixture *f)
{
	return (struct inventory_options){ .node = "w1",
		                           .netns_dir = f->netns_dir,
		                           .cgroup_root = f->cgroup_root,
		                           .cni_dir = f->cni_dir,
		                           .wireguard_dir = "/nonexistent" };
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct inventory_events events = { f, on_added, on_changed, on_removed, on_gateways };
	struct inventory_options options;

	strcpy(f->directory, "/tmp/eva-inventory-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->netns_dir, sizeof(f->netns_dir), "%s/netns", f->directory);
	snprintf(f->cni_dir, sizeof(f->cni_dir), "%s/cni", f->directory);
	snprintf(f->cgroup_root, sizeof(f->cgroup_root), "%s/cgroup", f->directory);
	assert_int_equal(sh("mkdir %s %s %s", f->netns_dir, f->cni_dir, f->cgroup_root), 0);
	assert_int_equal(
		sh("echo '{\"type\":\"kube-egress-cni\",\"excludedCIDRs\":[\"10.0.0.0/16\"]"
	           "}' > %s/01-egress.conf",
	           f->cni_dir),
		0);
	options = options_of(f);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(inventory_new(f->loop, &options, &events, &f->inventory), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->inventory = inventory_free(f->inventory);
	loop_free(f->loop);
	(void)sh("rm -r %s", f->directory);
	free(f);
	return 0;
}

struct pod {
	const char *name, *uid, *node, *gateway, *ip, *netns, *cgroup, *label;
	bool finished, deleted, host_network;
};

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct kube_pod kube_pod_of(const struct pod *pod)
{
	struct kube_pod made = {
		.namespace = strdup("payments"),
		.name = strdup(pod->name),
		.uid = strdup(GIVEN(pod->uid, pod->name)),
		.node = strdup(GIVEN(pod->node, "w1")),
		.gateway = copy(pod->gateway),
		.netns = copy(pod->netns),
		.cgroup = copy(pod->cgroup),
		.has_ip = pod->ip != NULL,
		.running = true,
		.finished = pod->finished,
		.host_network = pod->host_network,
		.deleted_us = pod->deleted ? 1000 : 0,
		.created_us = 1000,
	};

	if (pod->ip)
		assert_int_equal(ip_parse(pod->ip, &made.ip), 0);
	if (pod->label) {
		made.labels = calloc(1, sizeof(*made.labels));
		made.labels[0] = (struct kube_label){ strdup("app"), strdup(pod->label) };
		made.n_labels = 1;
	}
	return made;
}

static int put(struct fixture *f, struct pod pod)
{
	struct kube_pod made = kube_pod_of(&pod);
	int r = inventory_put_pod(f->inventory, &made);

	assert_null(made.name);
	return r;
}

static void put_gateway(struct fixture *f, const char *name, bool default_to_gateway,
                        const char *exception)
{
	struct kube_gateway gateway = {
		.namespace = strdup("payments"),
		.name = strdup(name),
		.uid = strdup(name),
		.default_to_gateway = default_to_gateway,
		.created_us = 5000,
	};

	if (exception) {
		gateway.exceptions = calloc(1, sizeof(struct cidr));
		assert_int_equal(cidr_parse(exception, gateway.exceptions), 0);
		gateway.n_exceptions = 1;
	}
	assert_int_equal(inventory_put_gateway(f->inventory, &gateway), 0);
	assert_null(gateway.name);
}

static void put_node(struct fixture *f, const char *name, const char *ip)
{
	struct kube_node node = { .name = strdup(name), .has_ip = true };

	assert_int_equal(ip_parse(ip, &node.internal_ip), 0);
	assert_int_equal(inventory_put_node(f->inventory, &node), 0);
}

static void commit(struct fixture *f)
{
	struct moment now = clock_now();

	f->story[0] = '\0';
	inventory_commit(f->inventory, &now);
}

static void commit_pods(struct fixture *f, const struct pod *pods, size_t n)
{
	inventory_begin(f->inventory);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(put(f, pods[i]), 0);
	commit(f);
}

#define COMMIT(f, ...)                                      \
	commit_pods(f, (const struct pod[]){ __VA_ARGS__ }, \
	            sizeof((const struct pod[]){ __VA_ARGS__ }) / sizeof(struct pod))

/* Which pods are subjects, and what is told of them. */
static void tells_exactly_what_changed(void **state)
{
	struct fixture *f = *state;

	COMMIT(f, { .name = "pa", .gateway = "blue" }, { .name = "pb" },
	       { .name = "pc", .gateway = "" }, { .name = "pd", .gateway = "blue", .node = "w2" },
	       { .name = "pe", .gateway = "red", .finished = true });
	assert_string_equal(f->story, "+pa#0 ");
	assert_int_equal(inventory_count(f->inventory), 1);
	assert_non_null(inventory_find(f->inventory, "payments", "pa"));
	assert_ptr_equal(inventory_subject(f->inventory, 0), f->last);
	assert_null(inventory_find(f->inventory, "payments", "pb"));
	assert_null(inventory_find(f->inventory, "other", "pa"));
	assert_null(inventory_subject(f->inventory, 1));
	assert_null(inventory_subject(f->inventory, SUBJECTS_MAX));
	assert_int_equal(inventory_stats(f->inventory).pods_elsewhere, 1);
	assert_true(inventory_lists_pod(f->inventory, "payments", "pb"));
	assert_false(inventory_lists_pod(f->inventory, "payments", "pd"));

	COMMIT(f, { .name = "pa", .gateway = "blue" }, { .name = "pb" });
	assert_string_equal(f->story, "");
	COMMIT(f, { .name = "pa", .gateway = "blue", .ip = "10.60.1.2" }, { .name = "pb" });
	assert_string_equal(f->story, "~pa:p ");
	COMMIT(f, { .name = "pa", .gateway = "red", .ip = "10.60.1.2" }, { .name = "pb" });
	assert_string_equal(f->story, "~pa:p ");
	COMMIT(f, { .name = "pa", .gateway = "red", .ip = "10.60.1.2" },
	       { .name = "pb", .gateway = "red" });
	assert_string_equal(f->story, "+pb#1 ");
	COMMIT(f, { .name = "pb", .gateway = "red" });
	assert_string_equal(f->story, "-pa#0 ");
	COMMIT(f, { .name = "pb", .gateway = "red", .finished = true });
	assert_string_equal(f->story, "-pb#1 ");
	assert_int_equal(inventory_count(f->inventory), 0);
}

static void a_reborn_pod_is_another_one(void **state)
{
	struct fixture *f = *state;
	uint64_t generation;

	COMMIT(f, { .name = "pa", .uid = "1", .gateway = "blue" });
	generation = f->last->generation;
	COMMIT(f, { .name = "pa", .uid = "2", .gateway = "blue" });
	assert_string_equal(f->story, "-pa#0 +pa#1 ");
	assert_true(f->last->generation > generation);
	assert_string_equal(f->last->uid, "2");
}

static void an_aborted_list_never_was(void **state)
{
	struct fixture *f = *state;

	COMMIT(f, { .name = "pa", .gateway = "blue" });
	inventory_begin(f->inventory);
	put(f, (struct pod){ .name = "pb", .gateway = "blue" });
	put_gateway(f, "blue", true, NULL);
	f->story[0] = '\0';
	inventory_abort(f->inventory);
	assert_string_equal(f->story, "");
	assert_int_equal(inventory_count(f->inventory), 1);
	assert_int_equal(inventory_gateway_count(f->inventory), 0);

	/* What follows is one by one again. */
	put(f, (struct pod){ .name = "pc", .gateway = "blue" });
	assert_string_equal(f->story, "+pc#1 ");
	put(f, (struct pod){ .name = "pc", .gateway = "blue", .node = "w2" });
	assert_string_equal(f->story, "+pc#1 -pc#1 ");
	inventory_remove_pod(f->inventory, "payments", "pa");
	inventory_remove_pod(f->inventory, "payments", "never");
	assert_string_equal(f->story, "+pc#1 -pc#1 -pa#0 ");
}

static void gateways_come_and_go(void **state)
{
	struct fixture *f = *state;
	const struct kube_gateway *gateway;
	int64_t changed_us;

	inventory_begin(f->inventory);
	put(f, (struct pod){ .name = "pa", .gateway = "blue" });
	put(f, (struct pod){ .name = "pb", .gateway = "red" });
	put_gateway(f, "blue", true, "10.50.0.0/16");
	commit(f);
	assert_string_equal(f->story, "gateways +pa#0 +pb#1 ");
	f->last = inventory_find(f->inventory, "payments", "pa");
	gateway = f->last->gateway;
	assert_ptr_equal(gateway, inventory_gateway_find(f->inventory, "payments", "blue"));
	assert_int_equal(f->last->gateway_changed_us, 5000); /* it was there before us */
	assert_int_equal(f->last->policy.default_path, PATH_GATEWAY);
	assert_int_equal(f->last->policy.n_exceptions, 2); /* its own and the CNI's */
	assert_true(f->last->cni_known);
	assert_null(inventory_find(f->inventory, "payments", "pb")->gateway);

	/* Another mode: the CNI's exceptions do not count. */
	f->story[0] = '\0';
	put_gateway(f, "blue", false, "10.50.0.0/16");
	assert_string_equal(f->story, "gateways ~pa:g ");
	assert_ptr_equal(f->last->gateway, gateway);
	assert_int_equal(f->last->policy.default_path, PATH_DIRECT);
	assert_int_equal(f->last->policy.n_exceptions, 1);
	assert_true(f->last->gateway_changed_us > 5000);
	f->story[0] = '\0';
	put_gateway(f, "blue", false, "10.50.0.0/16");
	assert_string_equal(f->story, "");

	/* Gone, and there again. */
	changed_us = f->last->gateway_changed_us;
	inventory_remove_gateway(f->inventory, "payments", "blue");
	assert_string_equal(f->story, "gateways ~pa:g ");
	assert_null(f->last->gateway);
	assert_int_equal(f->last->policy.n_exceptions, 1);
	assert_true(f->last->gateway_changed_us >= changed_us);
	f->story[0] = '\0';
	inventory_begin(f->inventory);
	put(f, (struct pod){ .name = "pa", .gateway = "blue" });
	put(f, (struct pod){ .name = "pb", .gateway = "red" });
	put_gateway(f, "red", true, NULL);
	put_gateway(f, "blue", true, NULL);
	put_gateway(f, "a-first", true, NULL);
	commit(f);
	assert_string_equal(f->story, "gateways ~pa:g ~pb:g ");
	assert_int_equal(inventory_gateway_count(f->inventory), 3);
	assert_string_equal(inventory_gateway(f->inventory, 0)->name, "a-first");
	assert_string_equal(inventory_gateway(f->inventory, 1)->name, "blue");
	assert_string_equal(inventory_gateway(f->inventory, 2)->name, "red");
}

static void commit_kind(struct fixture *f, enum inventory_kind kind)
{
	struct moment now = clock_now();

	inventory_commit_kind(f->inventory, kind, &now);
}

/* A list of one kind says nothing about the others. */
static void kinds_are_replaced_one_by_one(void **state)
{
	struct fixture *f = *state;

	inventory_begin_kind(f->inventory, INVENTORY_GATEWAYS);
	inventory_begin_kind(f->inventory, INVENTORY_NODES);
	put_gateway(f, "blue", true, NULL);
	put_gateway(f, "red", true, NULL);
	put_node(f, "w1", "10.50.0.4");
	assert_string_equal(f->story, "");
	commit_kind(f, INVENTORY_GATEWAYS);
	assert_string_equal(f->story, "gateways ");
	assert_null(inventory_node(f->inventory));
	commit_kind(f, INVENTORY_NODES);
	assert_non_null(inventory_node(f->inventory));

	f->story[0] = '\0';
	inventory_begin_kind(f->inventory, INVENTORY_PODS);
	put(f, (struct pod){ .name = "pa", .gateway = "blue" });
	put(f, (struct pod){ .name = "pb", .gateway = "red" });
	put_gateway(f, "green", true, NULL); /* an event of another kind meanwhile */
	assert_string_equal(f->story, "gateways ");
	commit_kind(f, INVENTORY_PODS);
	assert_string_equal(f->story, "gateways +pa#0 +pb#1 ");
	assert_int_equal(inventory_gateway_count(f->inventory), 3);
	assert_non_null(inventory_find(f->inventory, "payments", "pa")->gateway);

	/* A list that broke off changes nothing; one without red takes it away. */
	f->story[0] = '\0';
	inventory_begin_kind(f->inventory, INVENTORY_GATEWAYS);
	put_gateway(f, "blue", true, NULL);
	inventory_abort_kind(f->inventory, INVENTORY_GATEWAYS);
	assert_string_equal(f->story, "");
	inventory_begin_kind(f->inventory, INVENTORY_GATEWAYS);
	put_gateway(f, "blue", true, NULL);
	commit_kind(f, INVENTORY_GATEWAYS);
	assert_string_equal(f->story, "gateways ~pb:g ");
	assert_int_equal(inventory_gateway_count(f->inventory), 1);
	assert_non_null(inventory_find(f->inventory, "payments", "pa")->gateway);

	f->story[0] = '\0';
	inventory_begin_kind(f->inventory, INVENTORY_PODS);
	put(f, (struct pod){ .name = "pb", .gateway = "red" });
	commit_kind(f, INVENTORY_PODS);
	assert_string_equal(f->story, "-pa#0 ");
	assert_int_equal(inventory_gateway_count(f->inventory), 1);
}

/* That a gateway is not listed means something only when gateways are listed. */
static void unlisted_is_not_missing_while_nothing_is_listed(void **state)
{
	struct fixture *f = *state;
	const struct subject *pa, *pb;

	inventory_gateways_known(f->inventory, false);
	COMMIT(f, { .name = "pa", .gateway = "blue" }, { .name = "pb", .gateway = "red" });
	pa = inventory_find(f->inventory, "payments", "pa");
	pb = inventory_find(f->inventory, "payments", "pb");
	assert_true(pa->gateway_unknown);

	f->story[0] = '\0';
	put_gateway(f, "blue", true, NULL);
	assert_string_equal(f->story, "gateways ~pa:g ");
	assert_non_null(pa->gateway);
	assert_false(pa->gateway_unknown);
	assert_true(pb->gateway_unknown);

	f->story[0] = '\0';
	inventory_gateways_known(f->inventory, true);
	assert_string_equal(f->story, "~pb:g ");
	assert_false(pb->gateway_unknown);
	inventory_gateways_known(f->inventory, true);
	assert_string_equal(f->story, "~pb:g ");
}

static void nodes_are_found_by_address(void **state)
{
	struct fixture *f = *state;
	struct ip ip;

	assert_null(inventory_node(f->inventory));
	put_node(f, "w1", "10.50.0.4");
	put_node(f, "gw1", "10.50.0.10");
	assert_string_equal(f->story, "gateways gateways ");
	assert_string_equal(inventory_node(f->inventory)->name, "w1");
	assert_int_equal(ip_parse("10.50.0.10", &ip), 0);
	assert_string_equal(inventory_node_by_ip(f->inventory, &ip)->name, "gw1");
	inventory_remove_node(f->inventory, "gw1");
	assert_null(inventory_node_by_ip(f->inventory, &ip));
}

static void numbers_outlive_the_agent(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(inventory_reserve(f->inventory, 0, "uid-b"), 0);
	assert_int_equal(inventory_reserve(f->inventory, 7, "uid-a"), 0);
	assert_int_equal(inventory_reserve(f->inventory, 3, "uid-gone"), 0);
	assert_int_equal(inventory_reserve(f->inventory, 7, "uid-c"), -EEXIST);
	assert_int_equal(inventory_reserve(f->inventory, SUBJECTS_MAX, "uid-d"), -ERANGE);
	COMMIT(f, { .name = "pa", .uid = "uid-a", .gateway = "g" },
	       { .name = "pb", .uid = "uid-b", .gateway = "g" },
	       { .name = "pc", .uid = "uid-c", .gateway = "g" });
	assert_int_equal(inventory_find(f->inventory, "payments", "pa")->number, 7);
	assert_int_equal(inventory_find(f->inventory, "payments", "pb")->number, 0);
	assert_int_equal(inventory_find(f->inventory, "payments", "pc")->number, 1);
}

static void new_rules_make_new_subjects(void **state)
{
	struct fixture *f = *state;
	struct inventory_options options = options_of(f);
	struct inventory_selector require = {
		.namespace = "payments",
		.labels = { { (char *)"app", (char *)"web" } },
		.n_labels = 1,
	};
	struct cidr cluster;

	COMMIT(f, { .name = "pa", .gateway = "g" }, { .name = "pb", .label = "web" },
	       { .name = "pc", .label = "db" });
	assert_string_equal(f->story, "+pa#0 ");

	options.require = &require;
	options.n_require = 1;
	f->story[0] = '\0';
	assert_int_equal(inventory_reconfigure(f->inventory, &options), 0);
	assert_string_equal(f->story, "+pb#1 ");
	assert_true(f->last->required);
	assert_null(f->last->gateway_name);
	assert_int_equal(f->last->policy.default_path, PATH_DIRECT);

	assert_int_equal(cidr_parse("10.0.0.0/8", &cluster), 0);
	options.cluster = &cluster;
	options.n_cluster = 1;
	f->story[0] = '\0';
	assert_int_equal(inventory_reconfigure(f->inventory, &options), 0);
	assert_string_equal(f->story, "~pa:g ~pb:g ");
	assert_int_equal(f->last->policy.n_cluster, 1);

	options.n_require = 0;
	f->story[0] = '\0';
	assert_int_equal(inventory_reconfigure(f->inventory, &options), 0);
	assert_string_equal(f->story, "-pb#1 ");

	options.node = "w2";
	f->story[0] = '\0';
	assert_int_equal(inventory_reconfigure(f->inventory, &options), -EINVAL);
	assert_string_equal(f->story, "");
}

static void limits_are_refused_and_counted(void **state)
{
	struct fixture *f = *state;
	char name[32];

	inventory_begin(f->inventory);
	for (int i = 0; i < SUBJECTS_MAX + 2; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(put(f, (struct pod){ .name = name, .gateway = "g" }), 0);
	}
	commit(f);
	assert_int_equal(inventory_count(f->inventory), SUBJECTS_MAX);
	assert_int_equal(inventory_stats(f->inventory).refused, 2);
	assert_int_equal(inventory_stats(f->inventory).netns_unknown, SUBJECTS_MAX);

	/* Room for one more: it is taken. */
	inventory_remove_pod(f->inventory, "payments", "p0");
	assert_int_equal(inventory_count(f->inventory), SUBJECTS_MAX);
	assert_non_null(inventory_find(f->inventory, "payments", "p512"));
}

/* Of the processor: what others take of it is not the inventory's. */
static uint64_t spent_ns(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static void pods_of_other_nodes_are_cheap(void **state)
{
	struct fixture *f = *state;
	uint64_t began, spent = 0;
	char name[32];

	inventory_begin(f->inventory);
	for (int i = 0; i < PODS_MAX; i++) {
		struct kube_pod pod;

		snprintf(name, sizeof(name), "p%d", i);
		pod = kube_pod_of(&(struct pod){ .name = name, .node = "w2", .gateway = "g" });
		began = spent_ns();
		assert_int_equal(inventory_put_pod(f->inventory, &pod), 0);
		spent += spent_ns() - began;
	}
	began = spent_ns();
	commit(f);
	spent += spent_ns() - began;
	print_message("%d pods of other nodes: %d us\n", PODS_MAX, (int)(spent / NSEC_PER_USEC));
	assert_int_equal(inventory_stats(f->inventory).pods_elsewhere, PODS_MAX);
	assert_in_range(spent, 0, 200 * NSEC_PER_MSEC);
}

/* With namespaces */

static void mount_as(struct fixture *f, const char *suffix, const char *name)
{
	char path[128];

	assert_int_equal(sh(": > %s/%s && mount --bind %s %s/%s", f->netns_dir, name,
	                    netns_file(suffix, path), f->netns_dir, name),
	                 0);
}

static void unmount(struct fixture *f, const char *name)
{
	assert_int_equal(sh("umount %s/%s && rm %s/%s", f->netns_dir, name, f->netns_dir, name), 0);
}

static bool story_ends(struct fixture *f, const char *end)
{
	size_t n = strlen(f->story), m = strlen(end);

	return n >= m && strcmp(f->story + n - m, end) == 0;
}

struct ending {
	struct fixture *f;
	const char *text;
};

static bool has_ended(void *arg)
{
	struct ending *ending = arg;

	return story_ends(ending->f, ending->text);
}

static void expect(struct fixture *f, const char *end)
{
	struct ending ending = { f, end };

	if (!wait_until(f->loop, has_ended, &ending, WAIT_MS))
		fail_msg("expected \"%s\" at the end of \"%s\"", end, f->story);
	f->story[0] = '\0';
}

static bool has_path(void *arg)
{
	struct ending *ending = arg;
	const char *path = ending->f->last->netns_path;

	return path && strcmp(path, ending->text) == 0;
}

/* However many steps it takes: the old one is lost and the new one found, in any order. */
static void expect_path(struct fixture *f, const char *name)
{
	char path[128];
	struct ending ending = { f, path };

	snprintf(path, sizeof(path), "%s/%s", f->netns_dir, name);
	if (!wait_until(f->loop, has_path, &ending, WAIT_MS))
		fail_msg("expected %s, found %s", path, f->last->netns_path);
	f->story[0] = '\0';
}

static size_t n_open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void finds_the_namespace_and_follows_it(void **state)
{
	struct fixture *f = *state;
	char path[128];

	skip_unless_root();
	netns_pod("a", "10.60.1.2/24");
	COMMIT(f, { .name = "pa", .gateway = "g", .ip = "10.60.1.2" });
	assert_int_equal(f->last->netns_fd, -1);
	assert_false(f->last->live.readable);
	assert_int_equal(inventory_stats(f->inventory).netns_unknown, 1);

	mount_as(f, "a", "cni-a");
	expect(f, "~pa:nl ");
	assert_true(f->last->netns_fd >= 0);
	assert_true(f->last->live.readable);
	snprintf(path, sizeof(path), "%s/cni-a", f->netns_dir);
	assert_string_equal(f->last->netns_path, path);
	assert_int_equal(inventory_stats(f->inventory).netns_unknown, 0);

	ip_in("a", "route add 10.77.0.0/16 dev eth0");
	expect(f, "~pa:l ");

	/* A newer namespace with the address, of one who took it: the pod's own stays its own. */
	netns_pod("b", "10.60.1.2/24");
	mount_as(f, "b", "cni-b");
	ip_in("a", "route add 10.78.0.0/16 dev eth0");
	expect(f, "~pa:l ");
	snprintf(path, sizeof(path), "%s/cni-a", f->netns_dir);
	assert_string_equal(f->last->netns_path, path);
	assert_int_equal(inventory_stats(f->inventory).netns_ambiguous, 0);

	/* It loses the address: then the other one has it. */
	ip_in("a", "addr del 10.60.1.2/24 dev eth0");
	expect_path(f, "cni-b");
	ip_in("a", "addr add 10.60.1.2/24 dev eth0");
	unmount(f, "cni-b");
	expect_path(f, "cni-a");

	/* The namespace loses the pod's address before it goes: it is nobody's. */
	ip_in("a", "link del eth0");
	expect(f, "~pa:nl ");
	assert_int_equal(f->last->netns_fd, -1);
	assert_null(f->last->netns_path);
	assert_int_equal(f->last->live.n_links, 0);
	unmount(f, "cni-a");
	netns_delete("a"), netns_delete("b");
}

static void a_deleted_pod_ends_with_its_namespace(void **state)
{
	struct fixture *f = *state;
	struct pod pod = { .name = "pa", .gateway = "g", .ip = "10.60.1.2" };

	skip_unless_root();
	netns_pod("c", "10.60.1.2/24");
	mount_as(f, "c", "cni-c");
	(void)wait_until(f->loop, has_ended, &(struct ending){ f, "never" }, 50);
	commit_pods(f, &pod, 1);
	assert_true(f->last->netns_fd >= 0);

	pod.deleted = true;
	commit_pods(f, &pod, 1);
	assert_string_equal(f->story, "");
	unmount(f, "cni-c");
	expect(f, "-pa#0 ");
	/* Still listed, with a later status: it does not come back; its successor does. */
	pod.ip = NULL;
	commit_pods(f, &pod, 1);
	assert_string_equal(f->story, "");
	pod = (struct pod){ .name = "pa", .uid = "2", .gateway = "g" };
	commit_pods(f, &pod, 1);
	assert_string_equal(f->story, "+pa#1 ");
	netns_delete("c");
}

static void annotations_replace_what_a_runtime_tells(void **state)
{
	struct fixture *f = *state;
	char path[128], cgroup[160];

	skip_unless_root();
	netns_pod("d", "10.60.1.2/24");
	assert_int_equal(sh("mkdir -p %s/pods/x %s/kubepods/burstable/poduid-h", f->cgroup_root,
	                    f->cgroup_root),
	                 0);
	COMMIT(f,
	       { .name = "pa", .gateway = "g", .netns = netns_file("d", path), .cgroup = "pods/x" },
	       { .name = "pb", .gateway = "g", .netns = "/etc/passwd", .cgroup = "../x" },
	       { .name = "ph",
	         .uid = "uid-h",
	         .gateway = "g",
	         .ip = "10.60.1.2",
	         .host_network = true });
	f->last = inventory_find(f->inventory, "payments", "pa");
	assert_true(f->last->netns_fd >= 0);
	assert_true(f->last->live.readable);
	snprintf(cgroup, sizeof(cgroup), "%s/pods/x", f->cgroup_root);
	assert_string_equal(f->last->cgroup_path, cgroup);

	f->last = inventory_find(f->inventory, "payments", "pb");
	assert_int_equal(f->last->netns_fd, -1);
	assert_null(f->last->cgroup_path);

	f->last = inventory_find(f->inventory, "payments", "ph");
	assert_int_equal(f->last->netns_fd, -1);
	snprintf(cgroup, sizeof(cgroup), "%s/kubepods/burstable/poduid-h", f->cgroup_root);
	assert_string_equal(f->last->cgroup_path, cgroup);
	assert_int_equal(inventory_stats(f->inventory).netns_unknown, 1); /* pb */

	/* Outside the watched folder a namespace's end is told too. */
	netns_delete("d");
	expect(f, "~pa:nl ");
}

/* Exceptions of the CNI configuration, changed while running. */
static void follows_the_cni_configuration(void **state)
{
	struct fixture *f = *state;

	inventory_begin(f->inventory);
	put(f, (struct pod){ .name = "pa", .gateway = "blue" });
	put_gateway(f, "blue", true, NULL);
	commit(f);
	assert_int_equal(f->last->policy.n_exceptions, 1);
	f->story[0] = '\0';
	assert_int_equal(sh("rm %s/01-egress.conf", f->cni_dir), 0);
	expect(f, "~pa:g ");
	assert_false(f->last->cni_known);
	assert_int_equal(f->last->policy.n_exceptions, 0);
	assert_string_not_equal(inventory_cni_state(f->inventory), "");
}

static void churn_leaks_nothing(void **state)
{
	struct fixture *f = *state;
	char path[2][128];
	size_t before = 0;

	skip_unless_root();
	netns_pod("e", "10.60.1.2/24");
	netns_pod("f", "10.60.1.3/24");
	for (int i = 0; i < 200; i++) {
		char uid[16];

		snprintf(uid, sizeof(uid), "%d", i);
		COMMIT(f,
		       { .name = "pa",
		         .uid = uid,
		         .gateway = "g",
		         .netns = netns_file(i % 2 ? "e" : "f", path[0]) },
		       { .name = "pb", .gateway = "g", .netns = netns_file("e", path[1]) });
		assert_true(f->last->netns_fd >= 0);
		COMMIT(f, { .name = "pc" });
		assert_int_equal(inventory_count(f->inventory), 0);
		if (i == 0)
			before = n_open_files();
	}
	assert_int_equal(n_open_files(), before);
	assert_int_equal(f->added, f->removed);
	assert_int_equal(f->added, 400);
	netns_delete("e"), netns_delete("f");
}

static void measures(void **state)
{
	enum { N = 250 };
	struct fixture *f = *state;
	char path[128], name[32];
	uint64_t began;

	skip_unless_root();
	netns_pod("m", "10.60.1.2/24");
	inventory_begin(f->inventory);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		put(f,
		    (struct pod){ .name = name, .gateway = "g", .netns = netns_file("m", path) });
	}
	began = clock_now().mono_ns;
	commit(f);
	print_message("%d subjects with their namespaces: %d us\n", N,
	              (int)((clock_now().mono_ns - began) / NSEC_PER_USEC));
	assert_int_equal(inventory_count(f->inventory), N);
	netns_delete("m");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(tells_exactly_what_changed),
		TEST(a_reborn_pod_is_another_one),
		TEST(an_aborted_list_never_was),
		TEST(gateways_come_and_go),
		TEST(kinds_are_replaced_one_by_one),
		TEST(unlisted_is_not_missing_while_nothing_is_listed),
		TEST(nodes_are_found_by_address),
		TEST(numbers_outlive_the_agent),
		TEST(new_rules_make_new_subjects),
		TEST(limits_are_refused_and_counted),
		TEST(pods_of_other_nodes_are_cheap),
		TEST(finds_the_namespace_and_follows_it),
		TEST(a_deleted_pod_ends_with_its_namespace),
		TEST(annotations_replace_what_a_runtime_tells),
		TEST(follows_the_cni_configuration),
		TEST(churn_leaks_nothing),
		TEST(measures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
