#include "test.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "io/netns.h"
#include "netns_help.h"

static void refuses_what_is_no_network_namespace(void **state)
{
	char plain[] = "/tmp/eva-netns-XXXXXX";
	const struct {
		const char *path;
		int result;
	} cases[] = {
		{ "/run/netns/eva-does-not-exist", -ENOENT },
		{ plain, -EINVAL },
		{ "/proc/self/ns/mnt", -EINVAL },
		{ "/proc/self/ns/user", -EINVAL },
		{ "/dev/null", -EINVAL },
		{ "/tmp", -EINVAL },
	};
	uint64_t inode = 77;
	int fd = 78;

	(void)state;
	close(mkstemp(plain));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(netns_open(cases[i].path, &fd, &inode), cases[i].result);
		assert_int_equal(fd, 78);
		assert_int_equal(inode, 77);
	}
	unlink(plain);
}

/* Opening may do something, as with a watchdog: what is no namespace is not opened. */
static void looks_before_it_opens(void **state)
{
	char plain[] = "/tmp/eva-netns-XXXXXX", event[512];
	int watch = inotify_init1(IN_NONBLOCK), fd;
	uint64_t inode;

	(void)state;
	close(mkstemp(plain));
	assert_true(inotify_add_watch(watch, plain, IN_OPEN) > 0);
	assert_int_equal(netns_open(plain, &fd, &inode), -EINVAL);
	assert_int_equal(read(watch, event, sizeof(event)), -1);
	assert_int_equal(errno, EAGAIN);
	close(watch);
	unlink(plain);
}

static uint64_t own_inode(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	return st.st_ino;
}

static void opens_our_own(void **state)
{
	uint64_t inode;
	int fd;

	(void)state;
	assert_int_equal(netns_open("/proc/self/ns/net", &fd, &inode), 0);
	assert_int_equal(inode, own_inode());
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static int see_inode(void *arg)
{
	*(uint64_t *)arg = own_inode();
	return 7;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len), 0);
	return cookie;
}

static void acts_inside_and_comes_home(void **state)
{
	uint64_t home = own_inode(), inode, seen = 0;
	int fd, inside, outside;
	char path[128];

	(void)state;
	skip_unless_root();
	netns_add("a");
	assert_int_equal(netns_open(netns_file("a", path), &fd, &inode), 0);
	assert_int_not_equal(inode, home);

	assert_int_equal(netns_run(fd, see_inode, &seen), 7);
	assert_int_equal(seen, inode);
	assert_int_equal(own_inode(), home);

	assert_int_equal(netns_socket(fd, AF_INET, SOCK_DGRAM, 0, &inside), 0);
	assert_int_equal(netns_socket(-1, AF_INET, SOCK_DGRAM, 0, &outside), 0);
	assert_int_not_equal(cookie_of(inside), cookie_of(outside));
	assert_true(fcntl(inside, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(inside, F_GETFL) & O_NONBLOCK);
	assert_int_equal(own_inode(), home);

	/* What fails inside is told, and we are home all the same. */
	assert_int_equal(netns_socket(fd, 9999, SOCK_DGRAM, 0, &inside), -EAFNOSUPPORT);
	assert_int_equal(own_inode(), home);
	/* A file that is no namespace any more, or never was. */
	assert_int_equal(netns_run(outside, see_inode, &seen), -EINVAL);

	close(inside), close(outside), close(fd);
	netns_delete("a");
}

/* Whoever made the mount can take it away while we hold what was under it. */
static void keeps_no_mount_busy(void **state)
{
	char path[128], file[] = "/tmp/eva-netns-XXXXXX";
	uint64_t inode;
	int fd;

	(void)state;
	skip_unless_root();
	netns_add("b");
	close(mkstemp(file));
	assert_int_equal(sh("mount --bind %s %s", netns_file("b", path), file), 0);
	assert_int_equal(netns_open(file, &fd, &inode), 0);
	assert_int_equal(sh("umount %s", file), 0);
	netns_delete("b");
	/* It lives as long as it is held. */
	assert_int_equal(netns_run(fd, see_inode, &inode), 7);
	close(fd);
	unlink(file);
}

static void minus_one_is_home(void **state)
{
	uint64_t seen = 0;

	(void)state;
	assert_int_equal(netns_run(-1, see_inode, &seen), 7);
	assert_int_equal(seen, own_inode());
}

static int enterable_without_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	return syscall(SYS_capset, &header, none) < 0 ? -errno : netns_enterable();
}

static void knows_whether_it_may_enter(void **state)
{
	uint64_t before = own_inode();
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(netns_enterable(), 0);
	assert_int_equal(own_inode(), before);
	pid = fork();
	if (pid == 0)
		_exit(-enterable_without_capabilities());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_no_network_namespace),
		cmocka_unit_test(looks_before_it_opens),
		cmocka_unit_test(opens_our_own),
		cmocka_unit_test(acts_inside_and_comes_home),
		cmocka_unit_test(keeps_no_mount_busy),
		cmocka_unit_test(minus_one_is_home),
		cmocka_unit_test(knows_whether_it_may_enter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
