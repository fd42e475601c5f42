#include "broker/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>

#include "base/cleanup.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/*
 * What all do, whatever its arguments. More than a trace of one run shows: glibc
 * 2.36 and 2.41 differ in which of several calls they use, and so do
 * architectures.
 */
static const char *const all[] = {
	/* descriptors */
	"close", "close_range", "dup", "dup2", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait",
	"epoll_pwait2", "epoll_wait", "eventfd2", "lseek", "pipe2", "poll", "ppoll", "pread64",
	"pselect6", "read", "readv", "select", "signalfd4", "timerfd_create", "timerfd_gettime",
	"timerfd_settime", "write", "writev",
	/* files; whose and which is not told by a filter */
	"access", "faccessat", "faccessat2", "fstat", "fstatfs", "fsync", "getcwd", "getdents64",
	"inotify_add_watch", "inotify_init1", "inotify_rm_watch", "lstat", "newfstatat", "open",
	"openat", "readlink", "readlinkat", "stat", "statfs", "statx",
	/* sockets that are there */
	"accept", "accept4", "getpeername", "getsockname", "getsockopt", "recvfrom", "recvmsg",
	"shutdown",
	/* memory */
	"brk", "madvise", "mremap", "munmap",
	/* time */
	"clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time",
	"times",
	/* itself */
	"exit", "exit_group", "futex", "getegid", "geteuid", "getgid", "getgroups", "getpid",
	"getppid", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "gettid",
	"getuid", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack", "sysinfo", "uname",
	"capget"
};

static const char *const worker_only[] = {
	/* Takes more away, never gives back. */
	"landlock_add_rule",
	"landlock_create_ruleset",
	"landlock_restrict_self",
};

static const char *const broker_only[] = {
	"bind", "bpf", "connect", "listen", "sendmsg", "setsockopt", "socket",
	/* netlink through libmnl and libbpf */
	"sendto",
	/* pins and the files of unix sockets */
	"flock", "mkdir", "mkdirat", "openat2", "rmdir", "umask", "unlink", "unlinkat",
	/* libbpf from 1.4 on: a placeholder for each map to come */
	"memfd_create",
	/* the worker */
	"kill", "sched_setaffinity", "wait4", "waitid"
};

/*
 * A database's files, in the one folder that Landlock leaves. Landlock does not know
 * who owns a file and who may read it: nothing here changes that.
 */
static const char *const spool_only[] = { "fallocate",
	                                  "fdatasync",
	                                  "ftruncate",
	                                  "landlock_add_rule",
	                                  "landlock_create_ruleset",
	                                  "landlock_restrict_self",
	                                  "mkdir",
	                                  "mkdirat",
	                                  "pwrite64",
	                                  "pwritev",
	                                  "rename",
	                                  "renameat",
	                                  "renameat2",
	                                  "umask",
	                                  "unlink",
	                                  "unlinkat" };

/* One value that an argument may have; level and option name of setsockopt(2). */
struct value {
	int level, name;
};

/* What libraries set on sockets they did not open. IP and IPv6 have no option that they need. */
static const struct value worker_options[] = {
	{ SOL_SOCKET, SO_KEEPALIVE },        { SOL_SOCKET, SO_LINGER },
	{ SOL_SOCKET, SO_PRIORITY },         { SOL_SOCKET, SO_RCVBUF },
	{ SOL_SOCKET, SO_RCVTIMEO },         { SOL_SOCKET, SO_REUSEADDR },
	{ SOL_SOCKET, SO_SNDBUF },           { SOL_SOCKET, SO_SNDTIMEO },
	{ IPPROTO_TCP, TCP_CORK },           { IPPROTO_TCP, TCP_KEEPCNT },
	{ IPPROTO_TCP, TCP_KEEPIDLE },       { IPPROTO_TCP, TCP_KEEPINTVL },
	{ IPPROTO_TCP, TCP_NODELAY },        { IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS }, { SOL_NETLINK, NETLINK_EXT_ACK },
	{ SOL_NETLINK, NETLINK_CAP_ACK },    { SOL_NETLINK, NETLINK_GET_STRICT_CHK },
};

static const int fcntl_commands[] = {
	F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL,
};

/* Of records in files: who else has the database. */
static const int lock_commands[] = { F_GETLK, F_SETLK };

static const unsigned long all_requests[] = { FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ };
/* What a descriptor is of, and an interface's name and number. */
static const unsigned long broker_requests[] = {
	NS_GET_NSTYPE,
	SIOCGIFHWADDR,
	SIOCGIFINDEX,
	SIOCGIFNAME,
};

static void release(scmp_filter_ctx *filter)
{
	if (*filter)
		seccomp_release(*filter);
}

/* A call that this architecture, or this libseccomp, does not have cannot be made either. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned int n,
               const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number < 0)
		return 0;
	return seccomp_rule_add_array(filter, action, number, n, args);
}

static int allow_all(scmp_filter_ctx filter, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = add(filter, SCMP_ACT_ALLOW, names[i], 0, NULL);
	return r;
}

/* Memory that is executed was mapped by the dynamic linker, before there was a filter. */
static int allow_memory(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int r;

	r = add(filter, SCMP_ACT_ALLOW, "mmap", 1, &no_code);
	r = r ?: add(filter, SCMP_ACT_ALLOW, "mmap2", 1, &no_code);
	return r ?: add(filter, SCMP_ACT_ALLOW, "mprotect", 1, &no_code);
}

static int allow_fcntl(scmp_filter_ctx filter, const int *commands, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct scmp_arg_cmp command = SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i]);

		r = add(filter, SCMP_ACT_ALLOW, "fcntl", 1, &command);
		r = r ?: add(filter, SCMP_ACT_ALLOW, "fcntl64", 1, &command);
	}
	return r;
}

/* abort(3) and raise(3); the limits that the kernel lets anybody lower. */
static int allow_on_itself(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp self = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
	const struct scmp_arg_cmp zero = SCMP_A0(SCMP_CMP_EQ, 0);
	int r;

	r = add(filter, SCMP_ACT_ALLOW, "tgkill", 1, &self);
	return r ?: add(filter, SCMP_ACT_ALLOW, "prlimit64", 1, &zero);
}

static int allow_requests(scmp_filter_ctx filter, const unsigned long *requests, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct scmp_arg_cmp request = SCMP_A1(SCMP_CMP_EQ, requests[i]);

		r = add(filter, SCMP_ACT_ALLOW, "ioctl", 1, &request);
	}
	return r;
}

/*
 * glibc falls back from clone3 to clone only on ENOSYS. Neither is granted:
 * nothing here makes threads.
 */
static int allow_common(scmp_filter_ctx filter)
{
	int r;

	r = allow_all(filter, all, COUNT(all));
	r = r ?: allow_memory(filter);
	r = r ?: allow_fcntl(filter, fcntl_commands, COUNT(fcntl_commands));
	r = r ?: allow_on_itself(filter);
	r = r ?: allow_requests(filter, all_requests, COUNT(all_requests));
	return r ?: add(filter, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
}

/*
 * To nobody but the peer: sendmsg(2) carries an address where no filter can
 * see it, and MSG_FASTOPEN is another name of connect(2).
 */
static int allow_to_peer(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp connected[] = {
		SCMP_A3(SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, 0),
		SCMP_A4(SCMP_CMP_EQ, 0),
	};

	return add(filter, SCMP_ACT_ALLOW, "sendto", COUNT(connected), connected);
}

/*
 * Sockets come connected, or on their way. Who calls connect(2) all the same
 * (libcurl, c-ares) is told what a non-blocking one says, and waits.
 */
static int worker_sockets(scmp_filter_ctx filter)
{
	int r;

	r = add(filter, SCMP_ACT_ERRNO(EINPROGRESS), "connect", 0, NULL);
	r = r ?: allow_to_peer(filter);
	for (size_t i = 0; i < COUNT(worker_options) && r == 0; i++) {
		const struct scmp_arg_cmp option[] = {
			SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)worker_options[i].level),
			SCMP_A2(SCMP_CMP_EQ, (scmp_datum_t)worker_options[i].name),
		};

		r = add(filter, SCMP_ACT_ALLOW, "setsockopt", COUNT(option), option);
	}
	return r;
}

static int worker_rules(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp self = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
	int r;

	r = allow_common(filter);
	r = r ?: allow_all(filter, worker_only, COUNT(worker_only));
	r = r ?: worker_sockets(filter);
	return r ?: add(filter, SCMP_ACT_ALLOW, "kill", 1, &self);
}

static int broker_rules(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp network = SCMP_A1(SCMP_CMP_EQ, CLONE_NEWNET);
	int r;

	r = allow_common(filter);
	r = r ?: allow_all(filter, broker_only, COUNT(broker_only));
	r = r ?: add(filter, SCMP_ACT_ALLOW, "setns", 1, &network);
	return r ?: allow_requests(filter, broker_requests, COUNT(broker_requests));
}

static int spool_rules(scmp_filter_ctx filter)
{
	int r;

	r = allow_common(filter);
	r = r ?: allow_all(filter, spool_only, COUNT(spool_only));
	r = r ?: allow_fcntl(filter, lock_commands, COUNT(lock_commands));
	return r ?: allow_to_peer(filter);
}

static int load(int (*rules)(scmp_filter_ctx filter))
{
	cleanup(release) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!filter)
		return -ENOMEM;
	/* Calls in another architecture's numbers: none of ours. */
	r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* A search tree: the list is walked for every system call. */
	r = r ?: seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	r = r ?: rules(filter);
	return r ?: seccomp_load(filter);
}

int seccomp_worker(void)
{
	return load(worker_rules);
}

int seccomp_broker(void)
{
	return load(broker_rules);
}

int seccomp_spool(void)
{
	return load(spool_rules);
}
