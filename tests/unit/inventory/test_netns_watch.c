#include "test.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "inventory/netns_watch.h"
#include "netns_help.h"

static char directory[64];

struct found {
	struct netns_watch *watch;
	const char *address, *name;
	size_t candidates;
	unsigned int changes;
};

static void on_changed(void *user)
{
	((struct found *)user)->changes++;
}

/* The file of namespace `suffix` in a folder of our own, as a runtime makes it. */
static void mount_as(const char *suffix, const char *name)
{
	char path[128];

	assert_int_equal(sh(": > %s/%s && mount --bind %s %s/%s", directory, name,
	                    netns_file(suffix, path), directory, name),
	                 0);
}

static void unmount(const char *name)
{
	assert_int_equal(sh("umount %s/%s && rm %s/%s", directory, name, directory, name), 0);
}

static bool is_found(void *arg)
{
	struct found *found = arg;
	const char *path = "";
	uint64_t inode = 0;
	struct stat st;
	struct ip ip;
	size_t n;

	assert_int_equal(ip_parse(found->address, &ip), 0);
	n = netns_watch_find(found->watch, &ip, &path, &inode);
	if (n != found->candidates)
		return false;
	if (n == 0)
		return true;
	return strcmp(path + strlen(directory) + 1, found->name) == 0 && stat(path, &st) == 0 &&
	       st.st_ino == inode && netns_watch_has(found->watch, path, inode);
}

static void expect(struct loop *loop, struct found *found, const char *address, size_t candidates,
                   const char *name)
{
	found->address = address;
	found->candidates = candidates;
	found->name = name;
	if (!wait_until(loop, is_found, found, WAIT_MS))
		fail_msg("%s: not %zu times, last %s", address, candidates,
		         name ? name : "nowhere");
}

static void follows_namespaces(void **state)
{
	struct found found = { 0 };
	struct loop *loop;

	(void)state;
	skip_unless_root();
	netns_pod("a", "10.60.1.2/24");
	netns_pod("b", "10.60.1.3/24");
	netns_add("c");
	mount_as("a", "cni-a");
	assert_int_equal(sh(": > %s/plain", directory), 0);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(netns_watch_new(loop, directory, on_changed, &found, &found.watch), 0);
	assert_int_equal(found.changes, 0);

	/* There from the start; made later; addressed later. */
	expect(loop, &found, "10.60.1.2", 1, "cni-a");
	expect(loop, &found, "10.60.1.3", 0, NULL);
	mount_as("b", "cni-b");
	expect(loop, &found, "10.60.1.3", 1, "cni-b");
	mount_as("c", "cni-c");
	ip_in("c", "link add eth0 type veth peer name peer");
	ip_in("c", "addr add 10.60.1.4/24 dev eth0");
	expect(loop, &found, "10.60.1.4", 1, "cni-c");

	/* Addresses that are everywhere are nobody's. */
	ip_in("c", "link set lo up");
	expect(loop, &found, "127.0.0.1", 0, NULL);
	expect(loop, &found, "::1", 0, NULL);

	/* The same address twice: the newer one, and never one that is gone. */
	ip_in("c", "addr add 10.60.1.2/24 dev eth0");
	expect(loop, &found, "10.60.1.2", 2, "cni-c");
	unmount("cni-c");
	expect(loop, &found, "10.60.1.2", 1, "cni-a");
	expect(loop, &found, "10.60.1.4", 0, NULL);

	/* Another namespace under the same name. */
	assert_int_equal(sh("umount %s/cni-b", directory), 0);
	expect(loop, &found, "10.60.1.3", 0, NULL);
	mount_as("c", "cni-b");
	expect(loop, &found, "10.60.1.4", 1, "cni-b");

	/* An address that the pod loses is not its any more. */
	ip_in("c", "addr del 10.60.1.4/24 dev eth0");
	expect(loop, &found, "10.60.1.4", 0, NULL);

	unmount("cni-a");
	unmount("cni-b");
	expect(loop, &found, "10.60.1.2", 0, NULL);
	found.watch = netns_watch_free(found.watch);
	loop_free(loop);
	netns_delete("a"), netns_delete("b"), netns_delete("c");
}

static void a_settled_one_is_left_alone(void **state)
{
	struct found found = { 0 };
	struct loop *loop;
	struct ip ip;
	const char *path;
	uint64_t inode;

	(void)state;
	skip_unless_root();
	netns_pod("d", "10.60.1.2/24");
	mount_as("d", "cni-d");
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(netns_watch_new(loop, directory, on_changed, &found, &found.watch), 0);
	assert_int_equal(ip_parse("10.60.1.2", &ip), 0);
	assert_int_equal(netns_watch_find(found.watch, &ip, &path, &inode), 1);

	netns_watch_settle(found.watch, inode, true);
	ip_in("d", "addr add 10.60.1.9/24 dev eth0");
	ip_in("d", "addr del 10.60.1.2/24 dev eth0");
	ip_in("d", "addr add 10.60.1.9/24 dev peer");
	expect(loop, &found, "10.60.1.2", 1, "cni-d");
	assert_int_equal(found.changes, 0);

	/* Given back: asked again at once. */
	netns_watch_settle(found.watch, inode, false);
	expect(loop, &found, "10.60.1.9", 1, "cni-d");
	expect(loop, &found, "10.60.1.2", 0, NULL);

	unmount("cni-d");
	found.watch = netns_watch_free(found.watch);
	loop_free(loop);
	netns_delete("d");
}

static void a_folder_that_comes_late(void **state)
{
	struct found found = { 0 };
	struct loop *loop;

	(void)state;
	skip_unless_root();
	assert_int_equal(rmdir(directory), 0);
	netns_pod("e", "10.60.1.2/24");
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(netns_watch_new(loop, directory, on_changed, &found, &found.watch), 0);
	expect(loop, &found, "10.60.1.2", 0, NULL);
	assert_int_equal(sh("mkdir %s", directory), 0);
	mount_as("e", "cni-e");
	expect(loop, &found, "10.60.1.2", 1, "cni-e");

	/* Gone with everything in it, and there again. */
	unmount("cni-e");
	assert_int_equal(sh("rmdir %s && mkdir %s", directory, directory), 0);
	expect(loop, &found, "10.60.1.2", 0, NULL);
	mount_as("e", "cni-f");
	expect(loop, &found, "10.60.1.2", 1, "cni-f");

	unmount("cni-f");
	found.watch = netns_watch_free(found.watch);
	loop_free(loop);
	netns_delete("e");
}

/* Every mount of the machine is told to who looks at its mount table: ours are in one of our own. */
static int leave_the_others(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0; /* every test is skipped */
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	return 0;
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/eva-netns-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return sh("umount %s/* 2>/dev/null; rm -rf %s", directory, directory);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(follows_namespaces),
		IN_FOLDER(a_settled_one_is_left_alone),
		IN_FOLDER(a_folder_that_comes_late),
	};

	return cmocka_run_group_tests(tests, leave_the_others, NULL);
}
