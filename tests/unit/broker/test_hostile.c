/*
 * A worker that was taken over: everything it tries is refused, by the kernel
 * or by the broker, and the broker goes on answering.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "broker/client.h"
#include "broker/confine.h"
#include "broker/flow_client.h"
#include "broker/processes.h"
#include "flow/loader.h"
#include "io/privileged.h"
#include "netns_help.h"

#define LOST 77

/* Shared with the forked worker: it has no other way to say which attempt was wrong. */
struct report {
	char wrong[4096];
	uint64_t requests, granted;
};
static struct report *report;

static void complain(const char *what, long result, int error)
{
	size_t n = strlen(report->wrong);

	snprintf(report->wrong + n, sizeof(report->wrong) - n, "%s: %ld (%s)\n", what, result,
	         strerror(error));
}

/* Refused: -1 with one of these. */
static void refused(const char *what, long result, int expected)
{
	if (result != -1 || errno != expected)
		complain(what, result, errno);
}

static void denied(const char *what, int result, int expected)
{
	if (result != expected)
		complain(what, result, -result);
}

struct world {
	const char *folder, *host_netns, *pod_netns; /* the latter two below /run/netns */
	uint16_t port;                               /* a listener on the host's loopback */
	int netns_fd;                                /* of the pod's namespace */
	int host_udp; /* a socket of the host's namespace, as the broker might hand one over */
	unsigned int seed;
};

static struct broker_setup setup_of(const struct world *world)
{
	struct broker_setup setup = { .netns_dir = "/run/netns", .cgroup_root = "/sys/fs/cgroup" };

	snprintf(setup.node, sizeof(setup.node), "hostile-%d", (int)getppid());
	snprintf(setup.inventory_file, sizeof(setup.inventory_file), "%s/inventory", world->folder);
	setup.destinations[0] =
		(struct broker_destination){ .port = 443, .stream = true, .any = true };
	setup.n_destinations = 1;
	snprintf(setup.files[0], sizeof(setup.files[0]), "%s/token", world->folder);
	setup.n_files = 1;
	return setup;
}

static struct ip loopback_ip(void)
{
	struct ip ip;

	(void)ip_parse("127.0.0.1", &ip);
	return ip;
}

static void ask_the_kernel(const struct world *world)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		                  .sin_port = htons(world->port),
		                  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
	};
	struct msghdr message = { .msg_name = &to, .msg_namelen = sizeof(to) };
	char *const argv[] = { "/bin/true", NULL };

	refused("open(/etc/shadow)", open("/etc/shadow", O_RDONLY), EACCES);
	refused("setns", setns(world->netns_fd, CLONE_NEWNET), EPERM);
	refused("unshare", unshare(CLONE_NEWUSER), EPERM);
	refused("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)), EPERM);
	refused("ptrace(broker)", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL), EPERM);
	refused("socket(AF_PACKET)", socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	refused("socket(AF_INET)", socket(AF_INET, SOCK_STREAM, 0), EPERM);
	refused("execve", execv(argv[0], argv), EPERM);
	refused("setuid(0)", setresuid(0, 0, 0), EPERM);
	refused("kill(broker)", kill(getppid(), SIGKILL), EPERM);
	/* From the host's namespace, on a socket of it. */
	refused("connect", connect(world->host_udp, (struct sockaddr *)&to, sizeof(to)),
	        EINPROGRESS);
	refused("sendto", sendto(world->host_udp, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)),
	        EPERM);
	refused("sendmsg", sendmsg(world->host_udp, &message, 0), EPERM);
	refused("bind", bind(world->host_udp, (struct sockaddr *)&to, sizeof(to)), EPERM);
}

/* Of the folder that only root looks into one file, as it is now, and nothing else. */
static void ask_for_the_token(const struct world *world)
{
	char token[80], other[80], text[8] = "";
	int fd = -1;

	snprintf(token, sizeof(token), "%s/token", world->folder);
	snprintf(other, sizeof(other), "%s/token.old", world->folder);
	refused("open(token)", open(token, O_RDONLY), EACCES);
	denied("the token", privileged()->file(token, &fd), 0);
	if (read(fd, text, sizeof(text) - 1) != 6 || strcmp(text, "secret") != 0)
		complain("the token's text", 0, 0);
	close(fd);
	denied("beside the token", privileged()->file(other, &fd), -EPERM);
	denied("the token's folder", privileged()->file(world->folder, &fd), -EPERM);
}

static void ask_the_broker(const struct world *world)
{
	static struct broker_setup setup;
	const struct privileged *broker = privileged();
	struct ip loopback = loopback_ip(), metadata, peer;
	struct listener_address address = { .ip = loopback, .port = 0 };
	uint64_t inode;
	int fd = -1, pod = -1;

	setup = setup_of(world);
	(void)ip_parse("169.254.169.254", &metadata);
	(void)ip_parse("192.0.2.1", &peer);
	denied("connect before the setup", broker->connect(-1, SOCK_STREAM, &peer, 443, &fd),
	       -EOPNOTSUPP);
	denied("setup", broker_client_setup(&setup), 0);
	denied("seal", broker_client_seal(), 0);

	denied("second setup", broker_client_setup(&setup), -EPERM);
	denied("listen after the seal", broker->listen(&address, &fd), -EPERM);
	denied("file /etc/shadow", broker->file("/etc/shadow", &fd), -EPERM);
	denied("file with steps back", broker->file("/etc/cni/net.d/../../shadow", &fd), -EINVAL);
	denied("netns of init", broker->netns_open("/proc/1/ns/net", &fd, &inode), -EPERM);
	denied("netns of the host", broker->netns_open(world->host_netns, &fd, &inode), -EPERM);
	denied("netns unheard of", broker->connect(world->netns_fd, SOCK_STREAM, &peer, 443, &fd),
	       -ESTALE);
	denied("host, loopback", broker->connect(-1, SOCK_STREAM, &loopback, world->port, &fd),
	       -EOPNOTSUPP);
	denied("host, another port", broker->connect(-1, SOCK_STREAM, &peer, 80, &fd), -EOPNOTSUPP);
	denied("host, UDP", broker->connect(-1, SOCK_DGRAM, &peer, 443, &fd), -EOPNOTSUPP);
	denied("host, metadata", broker->connect(-1, SOCK_STREAM, &metadata, 443, &fd),
	       -EOPNOTSUPP);
	denied("host, neighbours", broker->netlink(-1, RTMGRP_NEIGH, &fd), -EPERM);

	ask_for_the_token(world);

	/* A pod's namespace is what a worker is for, but not its loopback and not the platform. */
	denied("netns of a pod", broker->netns_open(world->pod_netns, &pod, &inode), 0);
	denied("pod, loopback", broker->connect(pod, SOCK_STREAM, &loopback, 443, &fd),
	       -EOPNOTSUPP);
	denied("pod, metadata", broker->connect(pod, SOCK_STREAM, &metadata, 80, &fd), -EOPNOTSUPP);
	if (broker->connect(pod, SOCK_DGRAM, &peer, 3478, &fd) != -ENETUNREACH)
		complain("pod without a route", 0, 0);
	denied("pod, netlink", broker->netlink(pod, RTMGRP_LINK, &fd), 0);
	close(fd);
	close(pod);
}

/* Bytes of any kind and length, most of them near a request. */
static void fuzz_the_broker(const struct world *world, int broker_fd)
{
	static struct broker_request request;
	static struct broker_reply reply;
	unsigned int seed = world->seed;
	struct pollfd pollfd = { .fd = broker_fd, .events = POLLIN };

	for (int i = 0; i < 20000; i++) {
		uint32_t operation = (uint32_t)rand_r(&seed) % (_BROKER_OPERATION_MAX + 2);
		size_t size = broker_request_size(operation);
		uint8_t *bytes = (uint8_t *)&request;

		for (size_t at = offsetof(struct broker_request, cpu); at < sizeof(request);
		     at += 1 + (size_t)rand_r(&seed) % 64)
			bytes[at] = (uint8_t)rand_r(&seed);
		request.operation = operation;
		request.sequence = (uint32_t)i;
		if (rand_r(&seed) % 4 == 0)
			size = (size_t)rand_r(&seed) % (sizeof(request) + 1);
		/* Its own end and the seal would end the test, not the broker. */
		if (send(broker_fd, bytes, size ?: 1, MSG_NOSIGNAL) < 0) {
			complain("the broker is gone", i, errno);
			return;
		}
		if (poll(&pollfd, 1, 20000) != 1 ||
		    recv(broker_fd, &reply, sizeof(reply), 0) < 12) {
			complain("no reply", i, errno);
			return;
		}
		report->requests++;
		report->granted += reply.result == 0;
	}
}

/* The descriptors that a fuzzed request may be granted are lost with recv(2): the socket is found by its kind. */
static int find_broker(void)
{
	for (int fd = 3; fd < 64; fd++) {
		int type = 0, domain = 0;
		socklen_t len = sizeof(type);

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 &&
		    type == SOCK_SEQPACKET &&
		    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX)
			return fd;
	}
	return -1;
}

static int hostile(void *arg)
{
	const struct world *world = arg;

	ask_the_kernel(world);
	ask_the_broker(world);
	return 5;
}

static int fuzzing(void *arg)
{
	const struct world *world = arg;
	struct broker_setup setup = setup_of(world);
	uint64_t inode;
	int fd;

	denied("setup", broker_client_setup(&setup), 0);
	denied("seal", broker_client_seal(), 0);
	fuzz_the_broker(world, find_broker());
	/* And it is as sane as before. */
	denied("netns after all", privileged()->netns_open("/proc/1/ns/net", &fd, &inode), -EPERM);
	denied("pod after all", privileged()->netns_open(world->pod_netns, &fd, &inode), 0);
	return 6;
}

/* In a process of its own: the broker confines itself for good. */
static int run(int (*worker)(void *arg), struct world *world)
{
	const struct processes_options options = { .config_path = "/nowhere/config.yaml",
		                                   .once = true,
		                                   .lost_status = LOST };
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(processes_run(&options, worker, world));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct fixture {
	struct world world;
	char folder[64], host[128], pod[128];
	int listener, udp;
};

static uint16_t listen_here(struct fixture *f)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(address);

	f->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	for (;;) { /* a port that nobody has, of both protocols */
		address.sin_port = 0;
		f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(f->listener, (struct sockaddr *)&address, len), 0);
		assert_int_equal(listen(f->listener, 16), 0);
		assert_int_equal(getsockname(f->listener, (struct sockaddr *)&address, &len), 0);
		if (bind(f->udp, (struct sockaddr *)&address, len) == 0)
			return ntohs(address.sin_port);
		assert_int_equal(errno, EADDRINUSE);
		close(f->listener);
	}
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	assert_true(report != MAP_FAILED);
	strcpy(f->folder, "/tmp/eva-hostile-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	assert_int_equal(sh("umask 077; printf secret >%s/token; cp %s/token %s/token.old",
	                    f->folder, f->folder, f->folder),
	                 0);
	netns_add("pod");
	netns_file("pod", f->pod);
	/* The host's own namespace, where a worker may hope to find a pod's. */
	assert_int_equal(sh("ip netns attach eva-%d-host %d", (int)getpid(), (int)getpid()), 0);
	netns_file("host", f->host);
	f->world = (struct world){
		.folder = f->folder,
		.host_netns = f->host,
		.pod_netns = f->pod,
		.port = listen_here(f),
		.netns_fd = open(f->pod, O_RDONLY | O_CLOEXEC),
		.host_udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		.seed = (unsigned int)time(NULL),
	};
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	close(f->listener);
	close(f->udp);
	close(f->world.netns_fd);
	close(f->world.host_udp);
	netns_delete("pod");
	netns_delete("host");
	assert_int_equal(sh("rm -r %s", f->folder), 0);
	munmap(report, sizeof(*report));
	free(f);
	return 0;
}

static void assert_nobody_came(const struct fixture *f)
{
	char byte;

	assert_int_equal(accept(f->listener, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(recv(f->udp, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static void test_everything_is_refused(void **state)
{
	struct fixture *f = *state;
	int status;

	skip_unless_root();
	if (!confine_possible()) {
		print_message("a build with sanitizers is not confined\n");
		skip();
	}
	status = run(hostile, &f->world);
	assert_string_equal(report->wrong, "");
	assert_int_equal(status, 5);
	assert_nobody_came(f);
}

static void test_broker_survives_noise(void **state)
{
	struct fixture *f = *state;
	int status;

	skip_unless_root();
	print_message("seed %u\n", f->world.seed);
	status = run(fuzzing, &f->world);
	assert_string_equal(report->wrong, "");
	assert_int_equal(status, 6);
	assert_int_equal(report->requests, 20000);
	print_message("%llu requests, %llu granted\n", (unsigned long long)report->requests,
	              (unsigned long long)report->granted);
	assert_nobody_came(f);
}

static int dies(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL); /* cmocka has a handler */
	raise(SIGSEGV);
	return 0;
}

static int waits(void *arg)
{
	int *pid_pipe = arg;
	pid_t pids[2] = { getppid(), getpid() };

	if (write(pid_pipe[1], pids, sizeof(pids)) != sizeof(pids))
		return 1;
	for (;;)
		pause();
}

static void test_worker_dies(void **state)
{
	struct fixture *f = *state;

	skip_unless_root();
	assert_int_equal(run(dies, &f->world), LOST);
}

/* Nobody is left behind, and a signal to the broker reaches the worker. */
static void test_broker_dies(void **state)
{
	static const int signals[] = { SIGKILL, SIGTERM };
	const struct processes_options options = { .config_path = "/nowhere",
		                                   .once = true,
		                                   .lost_status = LOST };
	int ends[2], status;

	(void)state;
	skip_unless_root();
	for (size_t i = 0; i < 2; i++) {
		pid_t pids[2], pid;
		struct pollfd worker;

		assert_int_equal(pipe(ends), 0);
		pid = fork();
		if (pid == 0)
			_exit(processes_run(&options, waits, ends));
		assert_int_equal(read(ends[0], pids, sizeof(pids)), sizeof(pids));
		assert_int_equal(pids[0], pid);
		worker = (struct pollfd){ .fd = (int)syscall(SYS_pidfd_open, pids[1], 0),
			                  .events = POLLIN };
		assert_true(worker.fd >= 0);
		assert_int_equal(kill(pid, signals[i]), 0);
		assert_int_equal(poll(&worker, 1, 30000), 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (signals[i] == SIGTERM) /* it ended by the signal, having no handler */
			assert_int_equal(WEXITSTATUS(status), LOST);
		close(worker.fd);
		close(ends[0]);
		close(ends[1]);
	}
}

/* Of a process that is not the worker, but a child of the broker as an orphan in a container is. */
struct orphan {
	pid_t pid;
	int ends[2];
};

static int sees_orphan_reaped(void *arg)
{
	const struct orphan *orphan = arg;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", (int)orphan->pid);
	if (write(orphan->ends[1], "x", 1) != 1) /* now it ends */
		return 1;
	for (int i = 0; i < 3000; i++) {
		if (access(path, F_OK) < 0)
			return errno == ENOENT ? 8 : 2;
		(void)poll(NULL, 0, 10);
	}
	return 3;
}

static void test_orphans_are_reaped(void **state)
{
	const struct processes_options options = { .config_path = "/nowhere",
		                                   .once = true,
		                                   .lost_status = LOST };
	struct orphan orphan;
	int status;
	pid_t pid;

	(void)state;
	skip_unless_root();
	assert_int_equal(pipe(orphan.ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char byte;

		orphan.pid = fork();
		if (orphan.pid == 0)
			_exit(read(orphan.ends[0], &byte, 1) == 1 ? 0 : 1);
		_exit(processes_run(&options, sees_orphan_reaped, &orphan));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 8);
	close(orphan.ends[0]);
	close(orphan.ends[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_everything_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broker_survives_noise, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_worker_dies, set_up, tear_down),
		cmocka_unit_test(test_broker_dies),
		cmocka_unit_test(test_orphans_are_reaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
