#include <errno.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker/guard.h"

#define CONFIG "/etc/egress-verifier/config.yaml"

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct broker_setup usual(void)
{
	struct broker_setup setup = {
		.node = "worker-1",
		.netns_dir = "/var/lib/ns/",
		.cgroup_root = "/sys/fs/cgroup/",
		.inventory_file = "/srv/inventory.yaml",
	};

	setup.destinations[0] =
		(struct broker_destination){ .ip = ip_of("127.0.0.53"), .port = 53 };
	setup.destinations[1] = (struct broker_destination){ .ip = ip_of("127.0.0.53"),
		                                             .port = 53,
		                                             .stream = true };
	setup.destinations[2] =
		(struct broker_destination){ .port = 443, .stream = true, .any = true };
	setup.destinations[3] = (struct broker_destination){ .port = 3478, .any = true };
	setup.destinations[4] = (struct broker_destination){
		.port = 6443, .stream = true, .any = true, .cluster = true
	};
	setup.destinations[5] =
		(struct broker_destination){ ip_of("10.244.0.1"), 8443, true, false, true };
	setup.n_destinations = 6;
	strcpy(setup.files[0], "/root/.kube/config");
	strcpy(setup.files[1], "/var/run/secrets/kubernetes.io/serviceaccount/..data/token");
	setup.n_files = 2;
	assert_int_equal(cidr_parse("10.244.0.0/16", &setup.cluster[0]), 0);
	setup.n_cluster = 1;
	return setup;
}

static struct guard sealed(void)
{
	struct guard guard;
	struct broker_setup setup = usual();

	guard_init(&guard, CONFIG);
	assert_int_equal(guard_setup(&guard, &setup), 0);
	guard_seal(&guard);
	return guard;
}

static void test_setup_once(void **state)
{
	struct broker_setup setup = usual(), other = usual();
	struct listener_address address = { .port = 9800 };
	struct guard guard;

	(void)state;
	guard_init(&guard, CONFIG);
	assert_int_equal(guard_listen(&guard, &address), 0);
	assert_int_equal(guard_setup(&guard, &setup), 0);
	guard_seal(&guard);
	strcpy(other.netns_dir, "/proc/1/ns");
	assert_int_equal(guard_setup(&guard, &other), -EPERM);
	assert_string_equal(guard.setup.netns_dir, "/var/lib/ns/");
	assert_int_equal(guard_listen(&guard, &address), -EPERM);

	/* The operator's signal opens it for what SIGHUP may change, which listening is not. */
	guard_reopen(&guard);
	assert_int_equal(guard_listen(&guard, &address), -EPERM);
	setup.n_destinations = 1;
	assert_int_equal(guard_setup(&guard, &setup), 0);
	assert_int_equal(guard.setup.n_destinations, 1);
	guard_seal(&guard);
	assert_int_equal(guard_setup(&guard, &setup), -EPERM);
}

/* A reload changes whom the node may ask, not which files and namespaces there are. */
static void test_reload_moves_nothing(void **state)
{
	static const struct {
		size_t at;
		const char *to;
	} rows[] = {
		{ offsetof(struct broker_setup, node), "worker-2" },
		{ offsetof(struct broker_setup, netns_dir), "/proc/1/ns" },
		{ offsetof(struct broker_setup, cgroup_root), "/" },
		{ offsetof(struct broker_setup, inventory_file), "/etc/shadow" },
		{ offsetof(struct broker_setup, files[1]), "/etc/shadow" },
	};
	struct broker_setup setup = usual();
	struct guard guard = sealed();

	(void)state;
	guard_reopen(&guard);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct broker_setup other = usual();

		strcpy((char *)&other + rows[i].at, rows[i].to);
		assert_int_equal(guard_setup(&guard, &other), -EPERM);
		assert_memory_equal(&guard.setup, &setup, sizeof(setup));
	}
	for (uint32_t n = 0; n <= BROKER_FILES_MAX; n++) {
		struct broker_setup other = usual();

		for (uint32_t i = other.n_files; i < n; i++)
			strcpy(other.files[i], "/etc/shadow");
		other.n_files = n;
		assert_int_equal(guard_setup(&guard, &other), n == 2 ? 0 : -EPERM);
	}
	assert_int_equal(guard_setup(&guard, &setup), 0);
}

static void test_setup_is_checked(void **state)
{
	static const char *const bad[] = { "", "relative", "/a/../b", "/a/..", "/../a" };
	struct guard guard;
	struct broker_setup setup;

	(void)state;
	guard_init(&guard, CONFIG);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup = usual();
		strcpy(setup.netns_dir, bad[i]);
		assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
		setup = usual();
		strcpy(setup.cgroup_root, bad[i]);
		assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
		setup = usual();
		strcpy(setup.inventory_file, bad[i]);
		assert_int_equal(guard_setup(&guard, &setup), i == 0 ? 0 : -EINVAL);
		guard.has_setup = false;
		setup = usual();
		strcpy(setup.files[1], bad[i]);
		assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	}
	setup = usual();
	memset(setup.node, 'a', sizeof(setup.node));
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	setup = usual();
	memset(setup.cgroup_root, '/', sizeof(setup.cgroup_root));
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	setup = usual();
	setup.n_destinations = BROKER_DESTINATIONS_MAX + 1;
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	setup = usual();
	setup.n_cluster = UINT32_MAX;
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	setup = usual();
	setup.n_files = BROKER_FILES_MAX + 1;
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	setup = usual();
	memset(setup.files[1], '/', sizeof(setup.files[1]));
	assert_int_equal(guard_setup(&guard, &setup), -EINVAL);
	assert_false(guard.has_setup);
}

static void test_paths(void **state)
{
	static const struct {
		const char *path;
		int file, netns, cgroup;
		bool folder;
	} rows[] = {
		{ CONFIG, 0, -EPERM, -EPERM, false },
		{ "/srv/inventory.yaml", 0, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d", 0, -EPERM, -EPERM, true },
		{ "/etc/cni/net.d/01.conflist", 0, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/10-azure.conf", 0, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/a.json", 0, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/calico-kubeconfig", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/multus.kubeconfig", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/multus.d/a.conf", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/resolv.conf", 0, -EPERM, -EPERM, false },
		/* For the API server, and nothing beside them. */
		{ "/root/.kube/config", 0, -EPERM, -EPERM, false },
		{ "/root/.kube", -EPERM, -EPERM, -EPERM, false },
		{ "/root/.kube/config/a", -EPERM, -EPERM, -EPERM, false },
		{ "/root/.kube/./config", -EPERM, -EPERM, -EPERM, false },
		{ "/var/run/secrets/kubernetes.io/serviceaccount/..data/token", 0, -EPERM, -EPERM,
		  false },
		{ "/var/run/secrets/kubernetes.io/serviceaccount/token", -EPERM, -EPERM, -EPERM,
		  false },
		{ "/etc/cni/net.d/a/b", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/cni/net.dx", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/shadow", -EPERM, -EPERM, -EPERM, false },
		{ "/etc/cni/net.d/../../shadow", -EINVAL, -EINVAL, -EINVAL, false },
		{ "/var/lib/ns/", 0, -EPERM, -EPERM, true },
		{ "/var/lib/ns/cni-1", -EPERM, 0, -EPERM, false },
		{ "/var/lib/ns/..", -EINVAL, -EINVAL, -EINVAL, false },
		{ "/var/lib/ns/.", -EPERM, -EPERM, -EPERM, false },
		{ "/var/lib/ns/a/b", -EPERM, -EPERM, -EPERM, false },
		{ "/run/netns/blue", -EPERM, 0, -EPERM, false },
		{ "/var/run/netns/blue", -EPERM, 0, -EPERM, false },
		{ "/proc/1/ns/net", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup/kubepods/pod1", -EPERM, -EPERM, 0, false },
		{ "/sys/fs/cgroup/", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup/.", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup//", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup/.//./", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup//a/", -EPERM, -EPERM, 0, false },
		{ "/sys/fs/cgroup/.a", -EPERM, -EPERM, 0, false },
		{ "/sys/fs/cgroup", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroupx/a", -EPERM, -EPERM, -EPERM, false },
		{ "/sys/fs/cgroup/../bpf", -EINVAL, -EINVAL, -EINVAL, false },
		{ "", -EINVAL, -EINVAL, -EINVAL, false },
		{ "etc/shadow", -EINVAL, -EINVAL, -EINVAL, false },
	};
	struct guard guard = sealed(), fresh;
	char path[BROKER_PATH_MAX];

	(void)state;
	guard_init(&fresh, CONFIG);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool folder = false;

		memset(path, 'x', sizeof(path));
		snprintf(path, sizeof(path), "%s", rows[i].path);
		assert_int_equal(guard_file(&guard, path, &folder), rows[i].file);
		assert_int_equal(folder, rows[i].folder);
		assert_int_equal(guard_netns(&guard, path), rows[i].netns);
		assert_int_equal(guard_cgroup(&guard, path), rows[i].cgroup);
		/* Without a setup only the configuration itself, and CNI's, can be read. */
		assert_true(guard_netns(&fresh, path) < 0 && guard_cgroup(&fresh, path) < 0);
	}
	memset(path, '/', sizeof(path)); /* no end */
	assert_int_equal(guard_netns(&guard, path), -EINVAL);
}

static void test_connect(void **state)
{
	static const struct {
		const char *peer;
		uint16_t port;
		bool stream;
		int home, pod;
	} rows[] = {
		{ "192.0.2.10", 443, true, 0, 0 },
		{ "192.0.2.10", 443, false, -EPERM, 0 },
		{ "192.0.2.10", 80, true, -EPERM, 0 },
		{ "192.0.2.10", 3478, false, 0, 0 },
		{ "10.0.0.5", 443, true, 0, 0 },
		{ "10.244.3.4", 443, true, -EPERM, 0 }, /* the cluster */
		/* The API server: by its name wherever it is, by its address there only. */
		{ "10.244.3.4", 6443, true, 0, 0 },
		{ "192.0.2.10", 6443, true, 0, 0 },
		{ "192.0.2.10", 6443, false, -EPERM, 0 },
		{ "127.0.0.1", 6443, true, -EPERM, -EPERM },
		{ "169.254.169.254", 6443, true, -EPERM, -EPERM },
		{ "10.244.0.1", 8443, true, 0, 0 },
		{ "10.244.0.2", 8443, true, -EPERM, 0 },
		{ "10.244.0.1", 8443, false, -EPERM, 0 },
		{ "127.0.0.53", 53, false, 0, -EPERM },
		{ "127.0.0.53", 53, true, 0, -EPERM },
		{ "127.0.0.1", 443, true, -EPERM, -EPERM },
		{ "127.255.0.1", 443, true, -EPERM, -EPERM },
		{ "::1", 443, true, -EPERM, -EPERM },
		{ "169.254.169.254", 443, true, -EPERM, -EPERM },
		{ "169.254.169.254", 80, true, -EPERM, -EPERM },
		{ "169.254.20.10", 53, false, -EPERM, 0 }, /* a name server of the node */
		{ "168.63.129.16", 80, true, -EPERM, -EPERM },
		{ "168.63.129.16", 53, false, -EPERM, 0 },
		{ "fe80::1", 443, true, -EPERM, -EPERM },
		{ "2001:db8::1", 443, true, 0, 0 },
		{ "0.0.0.0", 443, true, -EINVAL, -EINVAL },
		{ "0.1.2.3", 443, true, -EINVAL, -EINVAL },
		{ "::", 443, true, -EINVAL, -EINVAL },
		{ "224.0.0.1", 443, true, -EINVAL, -EINVAL },
		{ "255.255.255.255", 443, true, -EINVAL, -EINVAL },
		{ "ff02::1", 443, true, -EINVAL, -EINVAL },
		{ "192.0.2.10", 0, true, -EINVAL, -EINVAL },
	};
	struct guard guard = sealed(), fresh;

	(void)state;
	guard_init(&fresh, CONFIG);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct broker_connect connect = { 0, ip_of(rows[i].peer), rows[i].port,
			                          rows[i].stream };

		assert_int_equal(guard_connect(&guard, &connect), rows[i].home);
		assert_int_equal(guard_connect(&fresh, &connect), -EPERM);
		connect.netns = 4026532000;
		assert_int_equal(guard_connect(&guard, &connect), rows[i].pod);
	}
}

static void test_attach_and_netlink(void **state)
{
	struct guard guard = sealed();
	struct broker_attach good = { 4026532000, 1, 2, "uid", { { 0 } } }, attach = good;
	struct broker_attach_cgroup cgroup = { 1, "uid", "/sys/fs/cgroup/pod1" };

	(void)state;
	assert_int_equal(guard_attach(&attach), 0);
	attach.netns = 0;
	assert_int_equal(guard_attach(&attach), -EINVAL);
	attach = good;
	attach.number = SUBJECTS_MAX;
	assert_int_equal(guard_attach(&attach), -EINVAL);
	attach = good;
	attach.n_links = LIVE_LINKS_MAX + 1;
	assert_int_equal(guard_attach(&attach), -EINVAL);
	attach = good;
	attach.uid[0] = '\0';
	assert_int_equal(guard_attach(&attach), -EINVAL);
	memset(attach.uid, 'u', sizeof(attach.uid));
	assert_int_equal(guard_attach(&attach), -EINVAL);

	assert_int_equal(guard_attach_cgroup(&guard, &cgroup), 0);
	cgroup.number = SUBJECTS_MAX;
	assert_int_equal(guard_attach_cgroup(&guard, &cgroup), -EINVAL);

	assert_int_equal(guard_netlink(&(struct broker_netlink){ .groups = 0 }), 0);
	assert_int_equal(guard_netlink(&(struct broker_netlink){ .groups = RTMGRP_LINK }), 0);
	assert_int_equal(guard_netlink(&(struct broker_netlink){ .groups = RTMGRP_NEIGH }), -EPERM);
}

static void test_rate(void **state)
{
	struct guard guard = sealed();
	struct moment now = { .mono_ns = 5 * NSEC_PER_SEC };
	unsigned int granted = 0;

	(void)state;
	while (guard_rate(&guard, BROKER_FLOWS_START, &now) == 0)
		assert_true(++granted < 100);
	assert_int_equal(granted, 4);
	now.mono_ns += NSEC_PER_SEC - NSEC_PER_MSEC;
	assert_int_equal(guard_rate(&guard, BROKER_FLOWS_START, &now), -EAGAIN);
	now.mono_ns += NSEC_PER_MSEC;
	assert_int_equal(guard_rate(&guard, BROKER_FLOWS_START, &now), 0);
	assert_int_equal(guard_rate(&guard, BROKER_FLOWS_START, &now), -EAGAIN);
	/* The others have their own, and what was not used does not add up without end. */
	assert_int_equal(guard_rate(&guard, BROKER_CONNECT, &now), 0);
	now.mono_ns += 1000000 * NSEC_PER_SEC;
	for (granted = 0; guard_rate(&guard, BROKER_FLOWS_START, &now) == 0; granted++)
		assert_true(granted < 100);
	assert_int_equal(granted, 4);
	granted = 4;
	/* Asked all the time, it still fills up: what is less than a millisecond is not lost. */
	for (uint64_t end = now.mono_ns + 10 * NSEC_PER_SEC; now.mono_ns < end;
	     now.mono_ns += 300000)
		granted += guard_rate(&guard, BROKER_FLOWS_START, &now) == 0;
	assert_in_range(granted, 4 + 9, 4 + 10);
}

/* A worker that was taken over must not flood others from the pods' namespaces. */
static void test_rate_of_connections(void **state)
{
	struct guard guard = sealed();
	struct moment now = { .mono_ns = 5 * NSEC_PER_SEC };
	unsigned int granted = 0, needed = ECHOES_MAX * ECHO_RATE_PER_S;

	(void)state;
	while (guard_rate(&guard, BROKER_CONNECT, &now) == 0)
		granted++;
	assert_in_range(granted, ECHOES_MAX * ECHO_BURST, 10000);
	granted = 0;
	for (int ms = 0; ms < 10000; ms++) {
		now.mono_ns += NSEC_PER_MSEC;
		while (guard_rate(&guard, BROKER_CONNECT, &now) == 0)
			granted++;
	}
	assert_in_range(granted, 10 * needed, 10 * 20 * needed);
}

/* One that comes while another is being followed is followed after it: the file may be newer. */
static void test_signals_are_not_lost(void **state)
{
	struct guard guard;
	struct broker_setup setup = usual();

	(void)state;
	guard_init(&guard, CONFIG);
	assert_false(guard_reopen(&guard)); /* the worker does not listen yet */
	assert_false(guard_again(&guard));
	assert_int_equal(guard_setup(&guard, &setup), 0);
	guard_seal(&guard);
	assert_true(guard_again(&guard));
	assert_false(guard_again(&guard));
	assert_int_equal(guard.state, GUARD_OPEN);

	assert_false(guard_reopen(&guard));
	assert_false(guard_reopen(&guard));
	assert_int_equal(guard_setup(&guard, &setup), 0);
	guard_seal(&guard);
	assert_true(guard_again(&guard));
	guard_seal(&guard);
	assert_false(guard_again(&guard));
	assert_true(guard_reopen(&guard));
	guard_seal(&guard);
	assert_false(guard_again(&guard));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_setup_once),
		cmocka_unit_test(test_reload_moves_nothing),
		cmocka_unit_test(test_setup_is_checked),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_attach_and_netlink),
		cmocka_unit_test(test_signals_are_not_lost),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_rate_of_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
