/*
 * What a confined process may still do, by letting it try.
 *
 * Each process is forked, confines itself and writes what every attempt gave
 * into memory it shares with the test, which meanwhile reads the kernel's own
 * words on it in /proc.
 */
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "broker/confine.h"

#define ATTEMPTS_MAX 96
#define DEADLINE_MS 60000

enum mode { WORKER, WORKER_OF_FOUR, BROKER, BROKER_OF_FOUR, SPOOL };

/* Made by the test as the broker would make it: what the process is handed. */
static struct handed {
	int netns, listener, stream, udp, udp_peer, seqpacket[2], pair[2], ring, file;
	struct sockaddr_in tcp_address, udp_address;
	char folder[64], inside[96], outside[64];
	char spool[96], above[80]; /* a folder that is not there yet, nor is the one above */
	pid_t test;
} handed;

/* Of the confined process, in shared memory. */
static struct outcome {
	int confined, files;
	char error[CONFINE_TEXT_MAX], warning[CONFINE_TEXT_MAX], files_warning[CONFINE_TEXT_MAX];
	int result[ATTEMPTS_MAX];
	pid_t worker;
} * outcome;

struct attempt {
	const char *what;
	int (*try)(void); /* 0, or a positive errno */
	int wanted;
};

static int code(long r)
{
	return r < 0 ? errno : 0;
}

/* Refused to the worker, to the broker, or to both */

static int open_for(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int try_shadow(void)
{
	return open_for("/etc/shadow", O_RDONLY);
}

static int try_outside(void)
{
	return open_for(handed.outside, O_RDONLY);
}

static int try_write(void)
{
	return open_for(handed.inside, O_WRONLY);
}

static int try_create(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/new", handed.folder);
	return open_for(path, O_WRONLY | O_CREAT);
}

static int try_environ(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)handed.test);
	return open_for(path, O_RDONLY);
}

static int try_escape(void)
{
	return open_for("/proc/self/root/etc/shadow", O_RDONLY);
}

/* A second call adds a layer and takes none away. */
static int try_widen(void)
{
	static const char *const more[] = { "/" };
	char warning[CONFINE_TEXT_MAX], error[CONFINE_TEXT_MAX] = "";

	if (confine_files(more, 1, warning, error) < 0)
		return 0; /* not the answer that is wanted */
	return try_outside();
}

static int try_setns(void)
{
	return code(setns(handed.netns, CLONE_NEWNET));
}

static int try_setns_any(void)
{
	return code(setns(handed.netns, 0));
}

static int try_bpf(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1
	};
	long fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));

	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

static int try_ptrace(void)
{
	return code(ptrace(PTRACE_ATTACH, handed.test, NULL, NULL));
}

static int try_vm_read(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { outcome, 1 };

	return code(process_vm_readv(handed.test, &here, 1, &there, 1, 0));
}

static int try_pidfd(void)
{
	return code(syscall(SYS_pidfd_open, handed.test, 0));
}

static int socket_of(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int try_packet(void)
{
	return socket_of(AF_PACKET, SOCK_RAW);
}

static int try_inet(void)
{
	return socket_of(AF_INET, SOCK_STREAM);
}

static int try_netlink(void)
{
	return socket_of(AF_NETLINK, SOCK_RAW);
}

static int try_unix(void)
{
	return socket_of(AF_UNIX, SOCK_STREAM);
}

static int try_socketpair(void)
{
	int pair[2];

	return code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

static int try_execve(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return code(execve("/bin/true", argv, argv));
}

static int try_execveat(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return code(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, argv, 0));
}

/* A child that should not be there ends at once. */
static int child_of(long pid)
{
	if (pid == 0)
		_exit(0);
	return code(pid);
}

static int try_fork(void)
{
	return child_of(fork());
}

static int try_clone(void)
{
	return child_of(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int try_thread(void)
{
	return code(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, NULL, NULL, NULL, NULL));
}

static int try_clone3(void)
{
	uint64_t arguments[8] = { 0 };

	return child_of(syscall(SYS_clone3, arguments, sizeof(arguments)));
}

static int try_connect(void)
{
	return code(connect(handed.stream, (struct sockaddr *)&handed.tcp_address,
	                    sizeof(handed.tcp_address)));
}

static int try_sendto_address(void)
{
	return code(sendto(handed.udp, "x", 1, 0, (struct sockaddr *)&handed.udp_address,
	                   sizeof(handed.udp_address)));
}

static int try_fastopen(void)
{
	return code(sendto(handed.stream, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, NULL, 0));
}

static int try_fastopen_address(void)
{
	return code(sendto(handed.stream, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL,
	                   (struct sockaddr *)&handed.tcp_address, sizeof(handed.tcp_address)));
}

static int try_sendmsg(void)
{
	struct iovec data = { (void *)"x", 1 };
	struct msghdr message = { .msg_name = &handed.udp_address,
		                  .msg_namelen = sizeof(handed.udp_address),
		                  .msg_iov = &data,
		                  .msg_iovlen = 1 };

	return code(syscall(SYS_sendmsg, handed.udp, &message, 0));
}

static int try_sendmmsg(void)
{
	struct iovec data = { (void *)"x", 1 };
	struct mmsghdr message = { .msg_hdr = { .msg_name = &handed.udp_address,
		                                .msg_namelen = sizeof(handed.udp_address),
		                                .msg_iov = &data,
		                                .msg_iovlen = 1 } };

	return code(sendmmsg(handed.udp, &message, 1, 0));
}

static int try_bind(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET };

	return code(bind(handed.udp, (struct sockaddr *)&any, sizeof(any)));
}

static int try_listen(void)
{
	return code(listen(handed.stream, 1));
}

static int try_ip_option(void)
{
	int ttl = 1;

	return code(setsockopt(handed.udp, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
}

static int try_ipv6_option(void)
{
	int hops = 1;

	return code(setsockopt(handed.udp, IPPROTO_IPV6, 16, &hops, sizeof(hops)));
}

static int try_device(void)
{
	return code(setsockopt(handed.udp, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
}

static int try_attach(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
	struct sock_fprog program = { 1, &all };

	return code(
		setsockopt(handed.udp, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
}

static int try_ulp(void)
{
	return code(setsockopt(handed.stream, IPPROTO_TCP, TCP_ULP, "tls", 4));
}

static int try_fastopen_connect(void)
{
	int on = 1;

	return code(setsockopt(handed.stream, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)));
}

static int try_mount(void)
{
	return code(mount("none", handed.folder, "tmpfs", 0, NULL));
}

static int try_unmount(void)
{
	return code(umount2(handed.folder, MNT_DETACH));
}

static int try_chroot(void)
{
	return code(chroot(handed.folder));
}

static int try_unshare_net(void)
{
	return code(unshare(CLONE_NEWNET));
}

static int try_unshare_user(void)
{
	return code(unshare(CLONE_NEWUSER));
}

static int try_kill(void)
{
	return code(kill(handed.test, 0));
}

static int try_tgkill(void)
{
	return code(syscall(SYS_tgkill, handed.test, handed.test, 0));
}

static int try_sigqueue(void)
{
	siginfo_t info = { .si_code = SI_QUEUE };

	return code(syscall(SYS_rt_sigqueueinfo, handed.test, SIGCONT, &info));
}

static int try_setuid(void)
{
	return code(syscall(SYS_setuid, 0));
}

static int try_capset(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return code(syscall(SYS_capset, &header, data));
}

static int try_io_uring(void)
{
	char parameters[256] = { 0 };

	return code(syscall(SYS_io_uring_setup, 1, parameters));
}

static int try_perf(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr) };

	return code(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int try_keys(void)
{
	return code(syscall(SYS_add_key, "user", "x", "x", 1, -3));
}

static int try_personality(void)
{
	return code(syscall(SYS_personality, 0x0400000));
}

static int try_module(void)
{
	return code(syscall(SYS_finit_module, handed.file, "", 0));
}

static int try_kexec(void)
{
	return code(syscall(SYS_kexec_load, 0, 0, NULL, 0));
}

static int try_userfaultfd(void)
{
	return code(syscall(SYS_userfaultfd, 1));
}

static int try_open_by_handle(void)
{
	return code(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
}

static int try_filter(void)
{
	return code(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int map_of(int protection)
{
	void *p = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, 4096);
	return 0;
}

static int try_code(void)
{
	return map_of(PROT_READ | PROT_EXEC);
}

static int try_make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (p == MAP_FAILED)
		return 0;
	r = code(mprotect(p, 4096, PROT_READ | PROT_EXEC));
	munmap(p, 4096);
	return r;
}

static int try_chmod(void)
{
	return code(chmod(handed.inside, 0777));
}

static int try_unlink(void)
{
	return code(unlink(handed.inside));
}

static int try_core(void)
{
	const struct rlimit more = { 1, 1 };

	return code(setrlimit(RLIMIT_CORE, &more));
}

/* What must go on */

static int inside(void)
{
	return open_for(handed.inside, O_RDONLY);
}

static int list_inside(void)
{
	DIR *dir = opendir(handed.folder);
	struct dirent *entry;
	int r = ENOENT;

	if (!dir)
		return errno;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, "inside") == 0)
			r = 0;
	closedir(dir);
	return r;
}

static int watch(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), r;

	if (fd < 0)
		return errno;
	r = code(inotify_add_watch(fd, handed.folder, IN_CREATE | IN_ONLYDIR));
	close(fd);
	return r;
}

static int look(void)
{
	struct statfs fs;
	struct stat st;

	return code(stat(handed.inside, &st)) ?: code(statfs(handed.folder, &fs));
}

static int own_proc(void)
{
	return open_for("/proc/self/statm", O_RDONLY) ?:
	       open_for("/proc/self/mountinfo", O_RDONLY) ?:
	       open_for("/proc/self/fd", O_RDONLY | O_DIRECTORY) ?:
	       open_for("/proc/sys/kernel/ostype", O_RDONLY);
}

static int certificates(void)
{
	return open_for("/etc/ssl/certs/ca-certificates.crt", O_RDONLY)
	               ?: open_for("/usr/lib/ssl/openssl.cnf", O_RDONLY);
}

static int system_files(void)
{
	return open_for("/dev/urandom", O_RDONLY) ?: open_for("/etc/resolv.conf", O_RDONLY) ?:
	       open_for("/sys/devices/system/cpu/online", O_RDONLY);
}

static int random_bytes(void)
{
	char byte;

	return getentropy(&byte, 1) < 0 ? errno : 0;
}

static int local_time(void)
{
	struct tm tm;
	time_t now = time(NULL);

	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	return localtime_r(&now, &tm) && tm.tm_gmtoff ? 0 : ENOENT;
}

static int large_blocks(void)
{
	char *block = malloc(64 << 20), *more;

	if (!block)
		return ENOMEM;
	memset(block, 1, 64 << 20);
	more = realloc(block, 128 << 20);
	free(more ?: block);
	return more ? 0 : ENOMEM;
}

static int timers(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1000 };
	struct epoll_event event = { .events = EPOLLIN };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int epoll = epoll_create1(EPOLL_CLOEXEC), r;
	uint64_t n;

	r = code(timerfd_settime(timer, 0, &soon, NULL))
	            ?: code(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event));
	if (r == 0 && epoll_wait(epoll, &event, 1, DEADLINE_MS) != 1)
		r = ETIMEDOUT;
	if (r == 0 && read(timer, &n, sizeof(n)) != sizeof(n))
		r = EIO;
	close(epoll);
	close(timer);
	return r;
}

static int signals(void)
{
	sigset_t set;
	struct signalfd_siginfo info;
	int fd, r = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return errno;
	raise(SIGUSR1);
	if (read(fd, &info, sizeof(info)) != sizeof(info))
		r = EIO;
	close(fd);
	return r;
}

static int events(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int descriptors(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data,
		                  .msg_iovlen = 1,
		                  .msg_control = &control,
		                  .msg_controllen = sizeof(control) };
	int fd;

	if (recvmsg(handed.seqpacket[1], &message, MSG_CMSG_CLOEXEC) != 1)
		return errno ?: EIO;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return read(fd, &byte, 1) == 1 && byte == 'r' ? 0 : EIO;
}

static int shared_map(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, handed.ring, 0);

	if (p == MAP_FAILED)
		return errno;
	p[0] = 1;
	munmap(p, 4096);
	return 0;
}

static int accepted(void)
{
	int fd = accept4(handed.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int socket_error(void)
{
	int error = 1;
	socklen_t len = sizeof(error);

	return code(getsockopt(handed.stream, SOL_SOCKET, SO_ERROR, &error, &len)) ?: error;
}

static int connected(void)
{
	char byte;
	struct iovec data = { (void *)"w", 1 };

	if (send(handed.pair[0], "s", 1, MSG_NOSIGNAL) != 1 ||
	    recv(handed.pair[1], &byte, 1, 0) != 1 || byte != 's')
		return errno ?: EIO;
	return writev(handed.pair[0], &data, 1) == 1 && read(handed.pair[1], &byte, 1) == 1 ? 0
	                                                                                    : EIO;
}

static int tcp_options(void)
{
	const struct linger linger = { 1, 0 };
	int on = 1;

	return code(setsockopt(handed.stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
	               ?: code(setsockopt(handed.stream, SOL_SOCKET, SO_LINGER, &linger,
	                                  sizeof(linger)));
}

static int flags(void)
{
	int fd = fcntl(handed.pair[0], F_DUPFD_CLOEXEC, 0);
	int r = code(fd) ?: code(fcntl(fd, F_SETFL, O_NONBLOCK)) ?: code(fcntl(fd, F_GETFL));

	close(fd);
	return r;
}

static int kill_itself(void)
{
	return code(kill(getpid(), 0));
}

static int descriptor_limit(void)
{
	struct rlimit limit;

	return code(getrlimit(RLIMIT_NOFILE, &limit)) ?: code(setrlimit(RLIMIT_NOFILE, &limit));
}

static const struct attempt worker_attempts[] = {
	{ "open /etc/shadow", try_shadow, EACCES },
	{ "open what everybody may read", try_outside, EACCES },
	{ "open another process' environment", try_environ, EACCES },
	{ "open by /proc/self/root", try_escape, EACCES },
	{ "permit more files later", try_widen, EACCES },
	{ "open for writing", try_write, EACCES },
	{ "create a file", try_create, EACCES },
	{ "chmod", try_chmod, EPERM },
	{ "unlink", try_unlink, EPERM },
	{ "open_by_handle_at", try_open_by_handle, EPERM },
	{ "setns", try_setns, EPERM },
	{ "bpf", try_bpf, EPERM },
	{ "ptrace", try_ptrace, EPERM },
	{ "process_vm_readv", try_vm_read, EPERM },
	{ "pidfd_open", try_pidfd, EPERM },
	{ "socket AF_PACKET", try_packet, EPERM },
	{ "socket AF_INET", try_inet, EPERM },
	{ "socket AF_NETLINK", try_netlink, EPERM },
	{ "socket AF_UNIX", try_unix, EPERM },
	{ "socketpair", try_socketpair, EPERM },
	{ "execve", try_execve, EPERM },
	{ "execveat", try_execveat, EPERM },
	{ "fork", try_fork, EPERM },
	{ "clone", try_clone, EPERM },
	{ "clone of a thread", try_thread, EPERM },
	{ "clone3", try_clone3, ENOSYS },
	{ "connect", try_connect, EINPROGRESS },
	{ "sendto an address", try_sendto_address, EPERM },
	{ "MSG_FASTOPEN", try_fastopen, EPERM },
	{ "MSG_FASTOPEN to an address", try_fastopen_address, EPERM },
	{ "TCP_FASTOPEN_CONNECT", try_fastopen_connect, EPERM },
	{ "sendmsg", try_sendmsg, EPERM },
	{ "sendmmsg", try_sendmmsg, EPERM },
	{ "bind", try_bind, EPERM },
	{ "listen", try_listen, EPERM },
	{ "option of IP", try_ip_option, EPERM },
	{ "option of IPv6", try_ipv6_option, EPERM },
	{ "SO_BINDTODEVICE", try_device, EPERM },
	{ "SO_ATTACH_FILTER", try_attach, EPERM },
	{ "TCP_ULP", try_ulp, EPERM },
	{ "mount", try_mount, EPERM },
	{ "umount2", try_unmount, EPERM },
	{ "chroot", try_chroot, EPERM },
	{ "unshare the network", try_unshare_net, EPERM },
	{ "unshare the users", try_unshare_user, EPERM },
	{ "kill the parent", try_kill, EPERM },
	{ "tgkill the parent", try_tgkill, EPERM },
	{ "rt_sigqueueinfo", try_sigqueue, EPERM },
	{ "setuid 0", try_setuid, EPERM },
	{ "capset", try_capset, EPERM },
	{ "io_uring_setup", try_io_uring, EPERM },
	{ "perf_event_open", try_perf, EPERM },
	{ "add_key", try_keys, EPERM },
	{ "personality", try_personality, EPERM },
	{ "finit_module", try_module, EPERM },
	{ "kexec_load", try_kexec, EPERM },
	{ "userfaultfd", try_userfaultfd, EPERM },
	{ "become dumpable", try_filter, EPERM },
	{ "map code", try_code, EPERM },
	{ "make code of data", try_make_code, EPERM },
	{ "raise RLIMIT_CORE", try_core, EPERM },
	{ "open a permitted file", inside, 0 },
	{ "list a permitted folder", list_inside, 0 },
	{ "watch a permitted folder", watch, 0 },
	{ "stat", look, 0 },
	{ "own /proc", own_proc, 0 },
	{ "certificates", certificates, 0 },
	{ "files of the system", system_files, 0 },
	{ "getrandom", random_bytes, 0 },
	{ "time zone", local_time, 0 },
	{ "large blocks", large_blocks, 0 },
	{ "timerfd, epoll", timers, 0 },
	{ "signalfd, raise", signals, 0 },
	{ "eventfd", events, 0 },
	{ "recvmsg with a descriptor", descriptors, 0 },
	{ "mmap of a handed map", shared_map, 0 },
	{ "accept4", accepted, 0 },
	{ "SO_ERROR", socket_error, 0 },
	{ "send on a connected socket", connected, 0 },
	{ "options of TCP and of a socket", tcp_options, 0 },
	{ "fcntl", flags, 0 },
	{ "kill itself", kill_itself, 0 },
	{ "descriptor limit", descriptor_limit, 0 },
};

static int connect_and_send(void)
{
	return try_connect() ?: try_sendto_address() ?: try_sendmsg();
}

static int folders(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/made", handed.folder);
	return code(mkdir(path, 0700)) ?: code(rmdir(path));
}

static const struct attempt broker_attempts[] = {
	{ "execve", try_execve, EPERM },
	{ "execveat", try_execveat, EPERM },
	{ "fork", try_fork, EPERM },
	{ "clone", try_clone, EPERM },
	{ "clone of a thread", try_thread, EPERM },
	{ "clone3", try_clone3, ENOSYS },
	{ "ptrace", try_ptrace, EPERM },
	{ "process_vm_readv", try_vm_read, EPERM },
	{ "mount", try_mount, EPERM },
	{ "umount2", try_unmount, EPERM },
	{ "chroot", try_chroot, EPERM },
	{ "setns without a kind", try_setns_any, EPERM },
	{ "unshare the network", try_unshare_net, EPERM },
	{ "unshare the users", try_unshare_user, EPERM },
	{ "setuid 0", try_setuid, EPERM },
	{ "capset", try_capset, EPERM },
	{ "io_uring_setup", try_io_uring, EPERM },
	{ "perf_event_open", try_perf, EPERM },
	{ "finit_module", try_module, EPERM },
	{ "kexec_load", try_kexec, EPERM },
	{ "open_by_handle_at", try_open_by_handle, EPERM },
	{ "become dumpable", try_filter, EPERM },
	{ "map code", try_code, EPERM },
	{ "make code of data", try_make_code, EPERM },
	{ "setns", try_setns, 0 },
	{ "bpf", try_bpf, 0 },
	{ "socket AF_INET", try_inet, 0 },
	{ "socket AF_NETLINK", try_netlink, 0 },
	{ "socket AF_UNIX", try_unix, 0 },
	{ "connect, send to an address", connect_and_send, 0 },
	{ "option of IP", try_ip_option, 0 },
	{ "mkdir, rmdir", folders, 0 },
	{ "open a file", inside, 0 },
	{ "list a folder", list_inside, 0 },
	{ "own /proc", own_proc, 0 },
	{ "large blocks", large_blocks, 0 },
	{ "timerfd, epoll", timers, 0 },
	{ "signalfd, raise", signals, 0 },
	{ "kill itself", kill_itself, 0 },
};

_Static_assert(sizeof(worker_attempts) / sizeof(worker_attempts[0]) <= ATTEMPTS_MAX, "room");

/* The process of the spool */

static const char *in_spool(const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", handed.spool, name);
	return path;
}

static int try_widen_spool(void)
{
	char error[CONFINE_TEXT_MAX] = "";

	if (confine_spool_files("/", true, error) < 0)
		return 0;
	return try_outside();
}

static int try_rename_out(void)
{
	char from[128], to[128];
	int r = open_for(in_spool("leaves", from), O_WRONLY | O_CREAT);

	snprintf(to, sizeof(to), "%s/left", handed.folder);
	return r ? EIO : code(rename(from, to));
}

static int try_rename_in(void)
{
	char to[128];

	return code(rename(handed.inside, in_spool("taken", to)));
}

static int try_remove(void)
{
	return code(unlink(handed.inside));
}

static int try_truncate_outside(void)
{
	return open_for(handed.inside, O_WRONLY | O_TRUNC);
}

static int try_folder(void)
{
	char path[128];

	return code(mkdir(in_spool("folder", path), 0700));
}

static int try_links(void)
{
	char from[128], to[128];

	in_spool("shadow", to);
	return code(link(in_spool("leaves", from), to)) == EPERM &&
	                       code(symlink("/etc/shadow", to)) == EPERM
	               ? EPERM
	               : 0;
}

static int try_device_file(void)
{
	char path[128];

	return code(mknod(in_spool("disk", path), S_IFBLK | 0600, makedev(8, 0)));
}

/* Whose a file is, and for whom: Landlock says nothing about either. */
static int try_owner(void)
{
	char path[128];
	int fd = open(in_spool("leaves", path), O_RDWR | O_CREAT, 0600);
	int all = code(chmod("/etc/passwd", 0666)) == EPERM &&
	          code(fchmodat(AT_FDCWD, "/etc/passwd", 0666, 0)) == EPERM &&
	          code(fchmod(fd, 04755)) == EPERM && code(chown("/etc/passwd", 1, 1)) == EPERM &&
	          code(fchown(fd, 0, 0)) == EPERM &&
	          code(utimensat(AT_FDCWD, "/etc/passwd", NULL, 0)) == EPERM;

	close(fd);
	return all ? EPERM : 0;
}

static int try_truncate_path(void)
{
	return code(truncate(handed.inside, 0));
}

static int try_descriptor(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec data = { (void *)"x", 1 };
	struct msghdr message = { .msg_iov = &data,
		                  .msg_iovlen = 1,
		                  .msg_control = &control,
		                  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &handed.file, sizeof(int));
	return code(sendmsg(handed.seqpacket[1], &message, 0));
}

static int try_room(void)
{
	int room = 1 << 20;

	return code(setsockopt(handed.pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)));
}

/* What a database does with its files. */
static int database(void)
{
	const struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	char from[128], to[128], bytes[4];
	int fd = open(in_spool("db", from), O_RDWR | O_CREAT | O_CLOEXEC, 0644), r;
	struct stat st;

	if (fd < 0)
		return errno;
	r = code(fcntl(fd, F_SETLK, &lock)) ?: code(pwrite(fd, "text", 4, 100));
	r = r ?: code(fdatasync(fd)) ?: code(fsync(fd)) ?: code(pread(fd, bytes, 4, 100));
	r = r ?: code(ftruncate(fd, 50)) ?: code(posix_fallocate(fd, 0, 60)) ?: code(fstat(fd, &st));
	close(fd);
	r = r ?: open_for(from, O_RDWR | O_TRUNC);
	r = r ?: code(rename(from, in_spool("db.corrupt", to))) ?: code(unlink(to));
	r = r ?: code(open_for(handed.spool, O_RDONLY | O_DIRECTORY));
	return r ?: (st.st_mode & 0777) == 0600 && st.st_uid == 0 ? 0 : EIO;
}

static int clean_up(void)
{
	char path[128];

	return code(unlink(in_spool("leaves", path)));
}

static int urandom(void)
{
	return open_for("/dev/urandom", O_RDONLY);
}

static const struct attempt spool_attempts[] = {
	{ "open /etc/shadow", try_shadow, EACCES },
	{ "open what everybody may read", try_outside, EACCES },
	{ "open by /proc/self/root", try_escape, EACCES },
	{ "open own /proc", own_proc, EACCES },
	{ "open another process' environment", try_environ, EACCES },
	{ "permit more files later", try_widen_spool, EACCES },
	{ "create outside", try_create, EACCES },
	{ "write outside", try_write, EACCES },
	{ "truncate outside", try_truncate_outside, EACCES },
	{ "truncate", try_truncate_path, EPERM },
	{ "remove outside", try_remove, EACCES },
	{ "rename out of the folder", try_rename_out, EACCES },
	{ "rename into the folder", try_rename_in, EACCES },
	{ "make a folder", try_folder, EACCES },
	{ "link, symlink", try_links, EPERM },
	{ "mknod", try_device_file, EPERM },
	{ "chmod, chown, utimensat", try_owner, EPERM },
	{ "open_by_handle_at", try_open_by_handle, EPERM },
	{ "setns", try_setns, EPERM },
	{ "bpf", try_bpf, EPERM },
	{ "ptrace", try_ptrace, EPERM },
	{ "process_vm_readv", try_vm_read, EPERM },
	{ "pidfd_open", try_pidfd, EPERM },
	{ "socket AF_PACKET", try_packet, EPERM },
	{ "socket AF_INET", try_inet, EPERM },
	{ "socket AF_NETLINK", try_netlink, EPERM },
	{ "socket AF_UNIX", try_unix, EPERM },
	{ "socketpair", try_socketpair, EPERM },
	{ "execve", try_execve, EPERM },
	{ "execveat", try_execveat, EPERM },
	{ "fork", try_fork, EPERM },
	{ "clone", try_clone, EPERM },
	{ "clone of a thread", try_thread, EPERM },
	{ "clone3", try_clone3, ENOSYS },
	{ "connect", try_connect, EPERM },
	{ "sendto an address", try_sendto_address, EPERM },
	{ "MSG_FASTOPEN", try_fastopen, EPERM },
	{ "MSG_FASTOPEN to an address", try_fastopen_address, EPERM },
	{ "sendmsg", try_sendmsg, EPERM },
	{ "sendmmsg", try_sendmmsg, EPERM },
	{ "hand over a descriptor", try_descriptor, EPERM },
	{ "options of a socket", try_room, EPERM },
	{ "bind", try_bind, EPERM },
	{ "listen", try_listen, EPERM },
	{ "mount", try_mount, EPERM },
	{ "umount2", try_unmount, EPERM },
	{ "chroot", try_chroot, EPERM },
	{ "unshare the network", try_unshare_net, EPERM },
	{ "unshare the users", try_unshare_user, EPERM },
	{ "kill the parent", try_kill, EPERM },
	{ "tgkill the parent", try_tgkill, EPERM },
	{ "rt_sigqueueinfo", try_sigqueue, EPERM },
	{ "setuid 0", try_setuid, EPERM },
	{ "capset", try_capset, EPERM },
	{ "io_uring_setup", try_io_uring, EPERM },
	{ "perf_event_open", try_perf, EPERM },
	{ "finit_module", try_module, EPERM },
	{ "kexec_load", try_kexec, EPERM },
	{ "become dumpable", try_filter, EPERM },
	{ "map code", try_code, EPERM },
	{ "make code of data", try_make_code, EPERM },
	{ "raise RLIMIT_CORE", try_core, EPERM },
	{ "a database's files", database, 0 },
	{ "remove a file", clean_up, 0 },
	{ "/dev/urandom", urandom, 0 },
	{ "getrandom", random_bytes, 0 },
	{ "time zone", local_time, 0 },
	{ "large blocks", large_blocks, 0 },
	{ "send on a connected socket", connected, 0 },
};

_Static_assert(sizeof(spool_attempts) / sizeof(spool_attempts[0]) <= ATTEMPTS_MAX, "room");

/* The process */

/* Its folder comes later than it does. */
static int enter_spool(void)
{
	int r = confine_spool_files(handed.spool, false, outcome->error);

	(void)mkdir(handed.above, 0755);
	if (r == 0 && mkdir(handed.spool, 0700) < 0 && errno != EEXIST)
		r = -errno;
	return r ?: confine_spool_files(handed.spool, true, outcome->error);
}

static int confine(enum mode mode)
{
	const char *const paths[] = { handed.folder, "/nowhere/at/all" };
	int r;

	if (mode == WORKER_OF_FOUR || mode == BROKER_OF_FOUR)
		assert(capabilities_keep(CAPABILITIES_KEPT) == 0);
	if (mode == BROKER || mode == BROKER_OF_FOUR)
		return confine_broker(outcome->error);
	if (mode == SPOOL)
		return confine_spool_start(outcome->error) ?: enter_spool();
	r = confine_worker(handed.test, outcome->warning, outcome->error);
	if (r < 0)
		return r;
	outcome->files = confine_files(paths, 2, outcome->files_warning, outcome->error);
	return 0;
}

static void run_confined(enum mode mode, const struct attempt *attempts, size_t n, int ready,
                         int go_on)
{
	char byte;

	outcome->confined = confine(mode);
	for (size_t i = 0; i < n && outcome->confined == 0; i++) {
		errno = 0;
		outcome->result[i] = attempts[i].try();
	}
	(void)!write(ready, "x", 1);
	(void)!read(go_on, &byte, 1);
	_exit(0);
}

/* Its status line `name`, without the name. */
static const char *line_of(const char *status, const char *name, char value[static 128])
{
	const char *line = strstr(status, name);

	assert_non_null(line);
	line += strlen(name);
	line += strspn(line, "\t ");
	snprintf(value, 128, "%.*s", (int)strcspn(line, "\n"), line);
	return value;
}

static void read_status(pid_t pid, char status[static 4096])
{
	char path[64];
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	n = fread(status, 1, 4095, file);
	status[n] = '\0';
	fclose(file);
}

static void wait_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
}

static void try_all(enum mode mode, const struct attempt *attempts, size_t n,
                    char status[static 4096])
{
	int ready[2], go_on[2], failed = 0, wait_status;
	pid_t pid;

	memset(outcome, 0, sizeof(*outcome));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go_on), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		run_confined(mode, attempts, n, ready[1], go_on[0]);

	wait_readable(ready[0]);
	read_status(pid, status);
	assert_int_equal(write(go_on[1], "x", 1), 1);
	close(go_on[0]);
	close(go_on[1]);
	assert_int_equal(waitpid(pid, &wait_status, 0), pid);
	assert_true(WIFEXITED(wait_status));
	close(ready[0]);
	close(ready[1]);

	assert_string_equal(outcome->error, "");
	assert_int_equal(outcome->confined, 0);
	for (size_t i = 0; i < n; i++)
		if (outcome->result[i] != attempts[i].wanted) {
			print_error("%s: %s, not %s\n", attempts[i].what,
			            strerror(outcome->result[i]), strerror(attempts[i].wanted));
			failed++;
		}
	assert_int_equal(failed, 0);
}

static void check_status(const char *status, const char *const (*lines)[2], size_t n)
{
	char value[128];

	for (size_t i = 0; i < n; i++) {
		line_of(status, lines[i][0], value);
		if (strcmp(value, lines[i][1]) != 0)
			fail_msg("%s %s, not %s", lines[i][0], value, lines[i][1]);
	}
}

/* What is handed over */

static int bound(int type, struct sockaddr_in *address)
{
	socklen_t len = sizeof(*address);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
		                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (struct sockaddr *)address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
	return fd;
}

static void write_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "r", 1), 1);
	close(fd);
}

static void pass_descriptor(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec data = { (void *)"x", 1 };
	struct msghdr message = { .msg_iov = &data,
		                  .msg_iovlen = 1,
		                  .msg_control = &control,
		                  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &handed.file, sizeof(int));
	assert_int_equal(sendmsg(handed.seqpacket[0], &message, 0), 1);
}

/* A map of the kind that the worker reads flows from; where bpf(2) is not permitted, plain memory. */
static int map_to_share(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY,
		                .key_size = 4,
		                .value_size = 4096,
		                .max_entries = 1,
		                .map_flags = BPF_F_MMAPABLE };
	int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));

	if (fd < 0) {
		fd = memfd_create("map", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fd, 4096), 0);
	}
	return fd;
}

static int set_up(void **state)
{
	struct sockaddr_in ignored;

	(void)state;
	snprintf(handed.folder, sizeof(handed.folder), "/tmp/eva-confine-XXXXXX");
	assert_non_null(mkdtemp(handed.folder));
	assert_int_equal(chmod(handed.folder, 0755), 0);
	snprintf(handed.inside, sizeof(handed.inside), "%s/inside", handed.folder);
	write_file(handed.inside);
	snprintf(handed.outside, sizeof(handed.outside), "/etc/passwd");
	snprintf(handed.above, sizeof(handed.above), "%s/a", handed.folder);
	snprintf(handed.spool, sizeof(handed.spool), "%s/spool", handed.above);
	handed.test = getpid();
	handed.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	handed.listener = bound(SOCK_STREAM, &handed.tcp_address);
	assert_int_equal(listen(handed.listener, 4), 0);
	handed.udp_peer = bound(SOCK_DGRAM, &handed.udp_address);
	handed.udp = bound(SOCK_DGRAM, &ignored);
	handed.stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, handed.seqpacket),
	                 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, handed.pair), 0);
	handed.ring = map_to_share();
	handed.file = open(handed.inside, O_RDONLY | O_CLOEXEC);
	pass_descriptor();
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	               -1, 0);
	assert_true(outcome != MAP_FAILED);
	return 0;
}

static int tear_down(void **state)
{
	const int all[] = { handed.netns,        handed.listener, handed.stream,
		            handed.udp,          handed.udp_peer, handed.seqpacket[0],
		            handed.seqpacket[1], handed.pair[0],  handed.pair[1],
		            handed.ring,         handed.file };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		close(all[i]);
	munmap(outcome, sizeof(*outcome));
	unlink(handed.inside);
	(void)rmdir(handed.spool);
	(void)rmdir(handed.above);
	assert_int_equal(rmdir(handed.folder), 0); /* nothing was left there */
	return 0;
}

static bool here(void)
{
	if (geteuid() != 0) {
		print_message("skipped: not root\n");
		skip();
	}
	return confine_possible();
}

/* The only connection is the one that the test made for accept4(2). */
static void connect_once(struct sockaddr_in *from)
{
	socklen_t len = sizeof(*from);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (struct sockaddr *)&handed.tcp_address, sizeof(handed.tcp_address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)from, &len), 0);
	close(fd);
}

static void nothing_arrived(void)
{
	char byte;

	assert_int_equal(accept(handed.listener, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(recv(handed.udp_peer, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const no_capability[][2] = {
	{ "CapInh:", "0000000000000000" },
	{ "CapPrm:", "0000000000000000" },
	{ "CapEff:", "0000000000000000" },
	{ "CapAmb:", "0000000000000000" },
	{ "NoNewPrivs:", "1" },
	{ "Seccomp:", "2" },
};

static void test_worker(void **state)
{
	static const char *const nobody[][2] = {
		{ "Uid:", "65534\t65534\t65534\t65534" },
		{ "Gid:", "65534\t65534\t65534\t65534" },
		{ "Groups:", "" },
		{ "CapBnd:", "0000000000000000" },
	};
	struct sockaddr_in from;
	char status[4096];

	(void)state;
	if (!here())
		return;
	connect_once(&from);
	try_all(WORKER, worker_attempts, COUNT(worker_attempts), status);
	assert_string_equal(outcome->warning, "");
	assert_int_equal(outcome->files, 0);
	assert_string_equal(outcome->files_warning, "");
	check_status(status, no_capability, COUNT(no_capability));
	check_status(status, nobody, COUNT(nobody));
	nothing_arrived();
}

/* Root by name only. */
static void test_worker_of_four(void **state)
{
	static const char *const root[][2] = { { "Uid:", "0\t0\t0\t0" }, { "Gid:", "0\t0\t0\t0" } };
	struct sockaddr_in from;
	char status[4096];

	(void)state;
	if (!here())
		return;
	connect_once(&from);
	try_all(WORKER_OF_FOUR, worker_attempts, COUNT(worker_attempts), status);
	assert_non_null(strstr(outcome->warning, "CAP_SETUID is missing: "));
	assert_int_equal(outcome->files, 0);
	check_status(status, no_capability, COUNT(no_capability));
	check_status(status, root, COUNT(root));
	nothing_arrived();
}

static const char *const four_capabilities[][2] = {
	{ "CapInh:", "0000000000000000" },
	{ "CapPrm:", "000000c000201000" },
	{ "CapEff:", "000000c000201000" },
	{ "CapAmb:", "0000000000000000" },
	{ "NoNewPrivs:", "1" },
	{ "Seccomp:", "2" },
};

/* The real user is the worker's: else it could not be told to end. */
static void test_broker(void **state)
{
	static const char *const lines[][2] = {
		{ "Uid:", "65534\t0\t0\t0" },
		{ "Gid:", "0\t0\t0\t0" },
		{ "CapBnd:", "000000c000201000" },
	};
	char status[4096];

	(void)state;
	if (!here())
		return;
	try_all(BROKER, broker_attempts, COUNT(broker_attempts), status);
	check_status(status, four_capabilities, COUNT(four_capabilities));
	check_status(status, lines, COUNT(lines));
}

static void test_broker_of_four(void **state)
{
	static const char *const lines[][2] = { { "Uid:", "0\t0\t0\t0" } };
	char status[4096];

	(void)state;
	if (!here())
		return;
	try_all(BROKER_OF_FOUR, broker_attempts, COUNT(broker_attempts), status);
	check_status(status, four_capabilities, COUNT(four_capabilities));
	check_status(status, lines, COUNT(lines));
}

/* Root, so that the files are root's, and nothing else of root's. */
static void test_spool(void **state)
{
	static const char *const lines[][2] = {
		{ "Uid:", "0\t0\t0\t0" },
		{ "CapBnd:", "0000000000000000" },
	};
	char status[4096];
	struct stat st;

	(void)state;
	if (!here())
		return;
	try_all(SPOOL, spool_attempts, COUNT(spool_attempts), status);
	check_status(status, no_capability, COUNT(no_capability));
	check_status(status, lines, COUNT(lines));
	assert_int_equal(stat(handed.spool, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	nothing_arrived();
}

/* It waits for it: what is above may be used meanwhile, and no other file of root's is its own for that. */
static void test_spool_without_folder(void **state)
{
	static const char *const roots[] = { "/nowhere", "/nowhere/at/all", "relative", "/" };

	(void)state;
	if (!here())
		return;
	for (size_t i = 0; i <= COUNT(roots); i++) {
		const char *folder = i < COUNT(roots) ? roots[i] : handed.spool;

		memset(outcome, 0, sizeof(*outcome));
		if (fork() == 0) {
			outcome->confined = confine_spool_start(outcome->error);
			outcome->confined =
				outcome->confined
					?: confine_spool_files(folder, false, outcome->error);
			outcome->result[0] = try_shadow();
			outcome->result[1] = try_outside();
			outcome->result[2] = code(mkdir(handed.above, 0700));
			outcome->result[3] = try_device_file();
			_exit(0);
		}
		assert_true(wait(NULL) > 0);
		assert_int_equal(outcome->confined, 0);
		assert_int_equal(outcome->result[0], EACCES);
		assert_int_equal(outcome->result[1], EACCES);
		/* Never all of /. */
		assert_int_equal(outcome->result[2], i < COUNT(roots) ? EACCES : 0);
		assert_true(outcome->result[3] == EPERM || outcome->result[3] == EACCES);
	}
}

/* ENOSYS: a kernel without Landlock, as far as this process can tell; EPERM: a container whose profile does not know it. */
static void hide_landlock(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(filter), filter };

	assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void without_landlock(enum mode mode, int error)
{
	int status;
	pid_t pid;

	memset(outcome, 0, sizeof(*outcome));
	pid = fork();
	if (pid == 0) {
		hide_landlock(error);
		outcome->confined = confine(mode);
		outcome->result[0] = try_shadow();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
}

static void test_without_landlock(void **state)
{
	static const struct {
		int error;
		const char *why;
	} rows[] = {
		{ ENOSYS, "this kernel has no Landlock" },
		{ EOPNOTSUPP, "this kernel has no Landlock" },
		{ EPERM, "the seccomp profile it was started with refuses Landlock" },
	};

	(void)state;
	if (!here())
		return;
	for (size_t i = 0; i < COUNT(rows); i++) {
		without_landlock(WORKER, rows[i].error);
		assert_int_equal(outcome->confined, 0);
		assert_int_equal(outcome->files, 0);
		assert_non_null(strstr(outcome->files_warning, rows[i].why));
		assert_int_equal(outcome->result[0], EACCES);

		without_landlock(WORKER_OF_FOUR, rows[i].error);
		assert_int_equal(outcome->confined, 0);
		assert_int_equal(outcome->files, -rows[i].error);
		assert_non_null(strstr(outcome->error, rows[i].why));

		/* It goes on: without files of its own nothing would be kept at all. */
		without_landlock(SPOOL, rows[i].error);
		assert_int_equal(outcome->confined, 0);
	}
}

/*
 * A broker with a worker of its own: signals reach it, and it ends with the
 * broker. The worker holds the pipe's only writing end.
 */
static void run_pair(enum mode mode, int signal, int alive)
{
	pid_t broker = getpid(), worker;
	int ready[2];
	char byte;

	if (mode == BROKER_OF_FOUR)
		assert(capabilities_keep(CAPABILITIES_KEPT) == 0);
	assert(pipe(ready) == 0);
	worker = fork();
	if (worker == 0) {
		outcome->files = confine_worker(broker, outcome->warning, outcome->error);
		(void)!write(ready[1], "x", 1);
		close(ready[1]);
		for (;;) /* until it is killed */
			(void)!poll(NULL, 0, -1);
	}
	close(alive);
	outcome->worker = worker;
	outcome->confined = confine_broker(outcome->error);
	(void)!read(ready[0], &byte, 1);
	outcome->result[0] = signal ? code(kill(worker, signal)) : 0;
	_exit(0);
}

/* Nobody has the writing end any more. */
static bool ends(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, DEADLINE_MS) == 1;
}

static void end_pair(enum mode mode, int signal)
{
	int alive[2], status;
	pid_t broker;
	bool ended;

	memset(outcome, 0, sizeof(*outcome));
	assert_int_equal(pipe(alive), 0);
	broker = fork();
	if (broker == 0) {
		close(alive[0]);
		run_pair(mode, signal, alive[1]);
	}
	close(alive[1]);
	assert_int_equal(waitpid(broker, &status, 0), broker);
	assert_true(WIFEXITED(status));
	assert_int_equal(outcome->files, 0);
	assert_int_equal(outcome->confined, 0);
	assert_int_equal(outcome->result[0], 0);
	ended = ends(alive[0]); /* the worker is gone */
	if (!ended)
		kill(outcome->worker, SIGKILL);
	assert_true(ended);
	close(alive[0]);
}

static void test_ends_together(void **state)
{
	(void)state;
	if (!here())
		return;
	end_pair(BROKER, 0);
	end_pair(BROKER_OF_FOUR, 0);
	end_pair(BROKER, SIGTERM);
	end_pair(BROKER_OF_FOUR, SIGTERM);
}

static void test_other_parent(void **state)
{
	char warning[CONFINE_TEXT_MAX], error[CONFINE_TEXT_MAX] = "";
	int status;
	pid_t pid;

	(void)state;
	if (!here())
		return;
	pid = fork();
	if (pid == 0)
		_exit(confine_worker(getpid(), warning, error) == -ESRCH && error[0] ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A build with sanitizers says that it does nothing. */
static void test_sanitized(void **state)
{
	char warning[CONFINE_TEXT_MAX] = "", error[CONFINE_TEXT_MAX] = "";

	(void)state;
	if (confine_possible())
		return;
	assert_int_equal(confine_worker(getppid(), warning, error), 0);
	assert_non_null(strstr(warning, "not confined"));
	assert_int_equal(confine_files(NULL, 0, warning, error), 0);
	assert_int_equal(confine_broker(error), 0);
	assert_int_equal(confine_spool_start(error), 0);
	assert_int_equal(confine_spool_files("/nowhere/at/all", true, error), 0);
	assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	assert_string_equal(error, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_worker, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_worker_of_four, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broker, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broker_of_four, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_spool, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_spool_without_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_landlock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ends_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_parent, set_up, tear_down),
		cmocka_unit_test(test_sanitized),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
