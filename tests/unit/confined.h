/*
 * A child that may not connect: its system calls go through a filter as the
 * worker's do, and what it needs of sockets it gets from a struct privileged
 * that plays the broker. That one's own calls carry a mark above the bits that
 * the kernel reads of an int, by which the filter knows them.
 */
#pragma once

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "io/privileged.h"
#include "io/probe_socket.h"

/* In the child nobody catches cmocka's jump. */
#define check(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(99);                                                      \
		}                                                                       \
	} while (0)

#define MARK (1L << 32)
#define LOW(n) (offsetof(struct seccomp_data, args[n]))
#define HIGH(n) (LOW(n) + 4)
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(at))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
/* The instruction's own place, and where it goes: jumps are told relative to the next. */
#define JUMP(how, at, value, yes, no) \
	BPF_JUMP(BPF_JMP | (how) | BPF_K, (value), (yes) - (at)-1, (no) - (at)-1)
#define IF(at, value, yes, no) JUMP(BPF_JEQ, at, value, yes, no)

/* Little endian, 64 bits. */
static inline void confine(void)
{
	enum { CONNECT = 11, SOCKET = 14, SENDTO = 16, SETSOCKOPT = 22, ALLOW = 25, DENY = 26 };
	static struct sock_filter rules[] = {
		LOAD(offsetof(struct seccomp_data, nr)),
		IF(1, __NR_connect, CONNECT, 2),
		IF(2, __NR_socket, SOCKET, 3),
		IF(3, __NR_sendto, SENDTO, 4),
		IF(4, __NR_setsockopt, SETSOCKOPT, 5),
		IF(5, __NR_sendmsg, DENY, 6),
		IF(6, __NR_sendmmsg, DENY, 7),
		IF(7, __NR_bind, DENY, 8),
		IF(8, __NR_listen, DENY, 9),
		IF(9, __NR_setns, DENY, 10),
		RETURN(SECCOMP_RET_ALLOW),

		[CONNECT] = LOAD(HIGH(2)),
		IF(CONNECT + 1, 1, ALLOW, CONNECT + 2),
		REFUSE(EINPROGRESS),

		[SOCKET] = LOAD(HIGH(2)),
		IF(SOCKET + 1, 1, ALLOW, DENY),

		/* To nobody but the peer, and no connecting by the way. */
		[SENDTO] = LOAD(LOW(4)),
		IF(SENDTO + 1, 0, SENDTO + 2, DENY),
		LOAD(HIGH(4)),
		IF(SENDTO + 3, 0, SENDTO + 4, DENY),
		LOAD(LOW(3)),
		JUMP(BPF_JSET, SENDTO + 5, MSG_FASTOPEN, DENY, ALLOW),

		[SETSOCKOPT] = LOAD(LOW(1)),
		IF(SETSOCKOPT + 1, IPPROTO_IP, DENY, SETSOCKOPT + 2),
		IF(SETSOCKOPT + 2, IPPROTO_IPV6, DENY, ALLOW),

		[ALLOW] = RETURN(SECCOMP_RET_ALLOW),
		[DENY] = REFUSE(EPERM),
	};
	const struct sock_fprog program = { sizeof(rules) / sizeof(rules[0]), rules };

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static inline int confined_connect(int netns_fd, int type, const struct ip *peer, uint16_t port,
                                   int *fd)
{
	struct sockaddr_storage to;
	socklen_t len = probe_socket_address(peer, port, &to);
	int opened;

	check(netns_fd == -1);
	opened = (int)syscall(SYS_socket, (long)to.ss_family,
	                      (long)(type | SOCK_NONBLOCK | SOCK_CLOEXEC), MARK);
	if (opened < 0)
		return -errno;
	if (syscall(SYS_connect, (long)opened, &to, (long)len | MARK) < 0 && errno != EINPROGRESS) {
		int error = errno;

		close(opened);
		return -error;
	}
	*fd = opened;
	return 0;
}

static inline int confined_on_exit(struct loop_source *source, uint32_t events)
{
	(void)events;
	loop_stop(source->loop);
	return 0;
}

/* Forks, runs fn(arg) confined while the loop's servers serve, and expects it to succeed. */
static inline void run_confined(struct loop *loop, const struct privileged *broker,
                                void (*fn)(void *arg), void *arg)
{
	struct loop_source source = { 0 };
	pid_t pid = fork();
	int fd, status, r;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		privileged_set(broker);
		confine();
		fn(arg);
		_exit(0);
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(fd >= 0);
	assert_int_equal(loop_add(loop, &source, fd, EPOLLIN, confined_on_exit), 0);
	r = fake_loop_try(loop);
	loop_remove(&source);
	close(fd);
	if (r < 0)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(r, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}
