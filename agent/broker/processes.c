#include "broker/processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/timer.h"
#include "broker/broker.h"
#include "broker/client.h"
#include "broker/confine.h"
#include "flow/pins.h"
#include "io/netns.h"
#include "limits.h"

struct parent {
	const struct processes_options *options;
	struct loop *loop;
	struct broker *broker;
	struct loop_source signals;
	struct timer deadline; /* until the worker must have ended, and then the spool */
	int signal_fd;
	pid_t worker, spool; /* 0: ended, or there is none */
	bool spool_lost;
	int status; /* for exit(3) */
};

/* The worker's end; one per process, as the broker's is. */
static int spool_fd = -1;

static void tell(const struct processes_options *options, const char *event, const char *text)
{
	if (options->once)
		fprintf(stderr, "egress-verifier: %s\n", text);
	else
		log_warn(event, "what", text, NULL);
}

/*
 * A subject holds three descriptors and each probe in flight one or two; the
 * usual soft limit of 1024 ends at 300 subjects.
 */
static void raise_descriptor_limit(const struct processes_options *options)
{
	char text[160];
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS_WANTED)
		return;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == DESCRIPTORS_WANTED)
		return;
	snprintf(text, sizeof(text),
	         "%llu descriptors are allowed, expected %d: some pods may stay unwatched; raise "
	         "LimitNOFILE or ulimit -n",
	         (unsigned long long)limit.rlim_cur, DESCRIPTORS_WANTED);
	tell(options, "few descriptors", text);
}

/* What will not work, before somebody wonders why. */
static void tell_missing(const struct processes_options *options)
{
	const struct capability *missing[CAPABILITIES_MAX];
	uint64_t have = 0;
	char text[256];
	uint64_t wanted = CAPABILITIES_KEPT;
	size_t n;

	if (capabilities_effective(&have) < 0)
		return;
	/* Who is not root has no other user's rights to give up. */
	if (geteuid() == 0)
		wanted |= CAPABILITIES_IDENTITY;
	n = capabilities_missing(have, wanted, missing);
	for (size_t i = 0; i < n; i++) {
		capability_sentence(missing[i], text);
		tell(options, "a capability is missing", text);
	}
	if (n && geteuid() != 0)
		tell(options, "not root", "start it as root, or with these capabilities");
	/* It has the capability, and a seccomp profile that does not know of it. */
	if (have & CAPABILITY_BIT(CAP_SYS_ADMIN) && netns_enterable() < 0)
		tell(options, "a system call is refused",
		     "setns(2) is refused by the seccomp profile that this was started with: no "
		     "pod's network namespace can be entered: nothing is probed and no packets are "
		     "observed");
}

/* The broker */

static void must_end_soon(struct parent *parent, uint64_t within_ns)
{
	(void)timer_set(&parent->deadline, within_ns, 0);
}

static void signal_worker(const struct parent *parent, int number)
{
	if (parent->worker > 0) /* 0 would be everybody in the group */
		(void)kill(parent->worker, number);
}

/*
 * A spool that waits for its disk is left alone: no signal ends that wait, and on a
 * node it may yet keep what it was told. In a container the kernel takes it along.
 */
static int on_deadline(struct timer *timer)
{
	struct parent *parent = container_of(timer, struct parent, deadline);

	if (parent->worker > 0) {
		log_error("the worker does not end; killing it", NULL);
		signal_worker(parent, SIGKILL);
		return 0;
	}
	log_warn("the process of the spool still waits for its disk, and is left alone", NULL);
	loop_stop(parent->loop);
	return 0;
}

static void on_reload(void *user)
{
	signal_worker(user, SIGHUP);
}

static void on_gone(void *user)
{
	struct parent *parent = user;

	if (parent->worker > 0)
		must_end_soon(parent, BROKER_GONE_NS);
}

/* How it died, when it did not end as it should. */
static const char *death(int status, char text[static 64])
{
	if (WIFSIGNALED(status))
		return strsignal(WTERMSIG(status));
	snprintf(text, 64, "none: exit status %d", WEXITSTATUS(status));
	return text;
}

/* What it said last is being kept. */
static void worker_ended(struct parent *parent, int status)
{
	char text[64];

	parent->worker = 0;
	if (WIFSIGNALED(status) && !parent->spool_lost)
		log_error("the worker died; the agent ends, to be started anew", "signal",
		          death(status, text), NULL);
	parent->status = WIFEXITED(status) && !parent->spool_lost ? WEXITSTATUS(status)
	                                                          : parent->options->lost_status;
	if (parent->spool > 0)
		must_end_soon(parent, SPOOL_END_NS);
	else
		loop_stop(parent->loop);
}

/* With 0 it ends when the worker has closed its end, which may be reaped later. */
static void spool_ended(struct parent *parent, int status)
{
	char text[64];

	parent->spool = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		log_error("the process of the spool died; the agent ends, to be started anew",
		          "signal", death(status, text), NULL);
		parent->spool_lost = true;
		parent->status = parent->options->lost_status;
	}
	if (parent->worker == 0) {
		loop_stop(parent->loop);
	} else if (parent->spool_lost) {
		must_end_soon(parent, BROKER_STOP_NS);
		signal_worker(parent, SIGTERM);
	}
}

/* All of them: the first process of a container inherits what an exec into it leaves behind. */
static void reap(struct parent *parent)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == parent->worker)
			worker_ended(parent, status);
		else if (pid == parent->spool)
			spool_ended(parent, status);
}

static void take_signal(struct parent *parent, int number)
{
	switch (number) {
	case SIGCHLD:
		reap(parent);
		return;
	case SIGHUP:
		broker_reload(parent->broker);
		return;
	default:
		if (parent->worker > 0)
			must_end_soon(parent, BROKER_STOP_NS);
		signal_worker(parent, number);
		return;
	}
}

static int on_signal(struct loop_source *source, uint32_t events)
{
	struct parent *parent = container_of(source, struct parent, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(parent->signal_fd, &info, sizeof(info)) == sizeof(info))
		take_signal(parent, (int)info.ssi_signo);
	return 0;
}

static int prepare(struct parent *parent, int fd, const sigset_t *signals)
{
	const struct broker_events events = { parent, on_gone, on_reload };
	const struct broker_options options = { .config_path = parent->options->config_path,
		                                .once = parent->options->once };
	int r;

	r = loop_new(&parent->loop);
	r = r ?: timer_init(&parent->deadline, parent->loop, on_deadline);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = broker_new(parent->loop, fd, &options, &events, &parent->broker);
	if (r < 0)
		return r;
	parent->signal_fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (parent->signal_fd < 0)
		return -errno;
	return loop_add(parent->loop, &parent->signals, parent->signal_fd, EPOLLIN, on_signal);
}

static int run_broker(struct parent *parent, int fd, const sigset_t *signals)
{
	char error[CONFINE_TEXT_MAX] = "";
	int r;

	(void)prctl(PR_SET_NAME, "egress-broker");
	signal(SIGPIPE, SIG_IGN);
	r = prepare(parent, fd, signals);
	r = r ?: confine_broker(error);
	r = r ?: loop_run(parent->loop);
	if (r < 0) {
		log_error("the broker cannot go on", "reason", error[0] ? error : strerror(-r),
		          NULL);
		/* Its last word to the worker, which must not outlive it. */
		signal_worker(parent, SIGKILL);
	}
	broker_free(parent->broker);
	timer_clear(&parent->deadline);
	loop_remove(&parent->signals);
	fd_closep(&parent->signal_fd);
	loop_free(parent->loop);
	return r < 0 ? parent->options->lost_status : parent->status;
}

/* The spool */

/*
 * It ends by itself, when the worker's end of the socket is closed and everything is kept:
 * not by a terminal's ^C, nor by what systemd sends to all of a service.
 */
static int run_spool(const struct processes_options *options, int fd, const sigset_t *before)
{
	char error[CONFINE_TEXT_MAX] = "";
	int r;

	(void)prctl(PR_SET_NAME, "egress-spool");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is a full disk */
	signal(SIGPIPE, SIG_IGN);
	(void)sigprocmask(SIG_SETMASK, before, NULL);
	r = confine_spool_start(error);
	if (r == 0)
		return options->spool(fd);
	log_error("the process of the spool cannot be confined", "reason", error, NULL);
	close(fd);
	return options->lost_status;
}

/* Room for the longest message, whatever net.core.wmem_max is. */
static void make_room(int fd)
{
	const int room = SPOOL_SOCKET_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

/* Its id, 0 in the child, -1 with errno. *fd: this process's end. */
static pid_t fork_spool(int *fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	make_room(pair[0]);
	make_room(pair[1]);
	pid = fork();
	*fd = pair[pid == 0];
	close(pair[pid != 0]);
	return pid;
}

int processes_spool_fd(void)
{
	return take_fd(&spool_fd);
}

/* The worker */

static int run_worker(const struct processes_options *options, pid_t parent, int fd,
                      const sigset_t *before, int (*worker)(void *arg), void *arg)
{
	char error[CONFINE_TEXT_MAX] = "", warning[CONFINE_TEXT_MAX] = "";
	int r;

	(void)prctl(PR_SET_NAME, "egress-worker");
	(void)sigprocmask(SIG_SETMASK, before, NULL);
	r = confine_worker(parent, warning, error);
	if (warning[0])
		log_warn("the worker is less confined than it should be", "reason", warning, NULL);
	if (r < 0) {
		log_error("the worker cannot be confined", "reason", error, NULL);
		return options->lost_status;
	}
	broker_client_start(fd);
	return worker(arg);
}

static int lost(const struct processes_options *options, const char *what)
{
	log_error("cannot start", "what", what, "reason", strerror(errno), NULL);
	return options->lost_status;
}

/* The broker and the worker */
static int run_two(struct parent *parent, const sigset_t *signals, const sigset_t *before,
                   int (*worker)(void *arg), void *arg)
{
	const struct processes_options *options = parent->options;
	pid_t self = getpid();
	int pair[2];

	tell_missing(options);
	raise_descriptor_limit(options);
	pins_prepare();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return lost(options, "socketpair");
	parent->worker = fork();
	if (parent->worker < 0)
		return lost(options, "fork");
	if (parent->worker == 0) {
		close(pair[0]);
		return run_worker(options, self, pair[1], before, worker, arg);
	}
	close(pair[1]);
	fd_closep(&spool_fd);
	return run_broker(parent, pair[0], signals);
}

int processes_run(const struct processes_options *options, int (*worker)(void *arg), void *arg)
{
	struct parent parent = { .options = options,
		                 .signal_fd = -1,
		                 .deadline = TIMER_INIT,
		                 .status = options->lost_status };
	sigset_t signals, before;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &signals, &before) < 0)
		return lost(options, "sigprocmask");
	if (!options->spool)
		return run_two(&parent, &signals, &before, worker, arg);
	/* First of all: of what is opened from now on it has nothing. */
	parent.spool = fork_spool(&spool_fd);
	if (parent.spool < 0)
		return lost(options, "the process of the spool");
	if (parent.spool == 0)
		return run_spool(options, take_fd(&spool_fd), &before);
	return run_two(&parent, &signals, &before, worker, arg);
}

void processes_detach(void)
{
	int nothing = open("/dev/null", O_RDONLY);

	if (nothing > STDIN_FILENO)
		(void)dup2(nothing, STDIN_FILENO);
	/* Where the kernel (before 5.9) has no such call they stay, as they would have anyway. */
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
}
