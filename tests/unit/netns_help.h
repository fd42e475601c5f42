/*
 * Network namespaces of a test's own, and waiting on the loop with a deadline.
 * Names start with "eva-" and the process id, so that tests run side by side.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timer.h"

#define NETNS_DIRECTORY "/run/netns"

static inline void skip_unless_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("not root: cannot make network namespaces\n");
	skip();
}

/* Exit status of a shell command. */
__attribute__((format(printf, 1, 2))) static inline int sh(const char *format, ...)
{
	char command[4096];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline const char *netns_name(const char *suffix, char name[static 64])
{
	snprintf(name, 64, "eva-%d-%s", (int)getpid(), suffix);
	return name;
}

static inline const char *netns_file(const char *suffix, char path[static 128])
{
	char name[64];

	snprintf(path, 128, NETNS_DIRECTORY "/%s", netns_name(suffix, name));
	return path;
}

/* The veth's other end is in the same namespace: nothing outside is touched. */
static inline void netns_add(const char *suffix)
{
	char name[64];

	netns_name(suffix, name);
	assert_int_equal(sh("ip netns add %s", name), 0);
}

static inline void netns_delete(const char *suffix)
{
	char name[64];

	netns_name(suffix, name);
	(void)sh("ip netns del %s 2>/dev/null", name);
}

/* `ip` in the namespace, with shell syntax. */
__attribute__((format(printf, 2, 3))) static inline void ip_in(const char *suffix,
                                                               const char *format, ...)
{
	char name[64], command[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	assert_int_equal(sh("ip -n %s %s", netns_name(suffix, name), command), 0);
}

/* eth0 with that address, as a pod has it; its peer is `peer` in the same namespace. */
static inline void netns_pod(const char *suffix, const char *address)
{
	netns_add(suffix);
	ip_in(suffix, "link set lo up");
	ip_in(suffix, "link add eth0 type veth peer name peer");
	ip_in(suffix, "link set peer up");
	ip_in(suffix, "link set eth0 up");
	ip_in(suffix, "addr add %s dev eth0", address);
}

struct waiting {
	struct timer timer;
	bool (*done)(void *arg);
	void *arg;
	uint64_t deadline_ns;
	bool happened;
};

static inline int on_waiting(struct timer *timer)
{
	struct waiting *waiting = container_of(timer, struct waiting, timer);

	waiting->happened = waiting->done(waiting->arg);
	if (waiting->happened || clock_now().mono_ns > waiting->deadline_ns)
		loop_stop(timer->source.loop);
	return 0;
}

/* For what has to happen, however loaded the machine is. */
#define WAIT_MS 30000

/* Runs the loop until done() or the deadline; how it ended. */
static inline bool wait_until(struct loop *loop, bool (*done)(void *arg), void *arg,
                              unsigned int limit_ms)
{
	struct waiting waiting = {
		.timer = TIMER_INIT,
		.done = done,
		.arg = arg,
		.deadline_ns = clock_now().mono_ns + limit_ms * NSEC_PER_MSEC,
	};

	int r;

	assert_int_equal(timer_init(&waiting.timer, loop, on_waiting), 0);
	assert_int_equal(timer_set(&waiting.timer, 0, NSEC_PER_MSEC), 0);
	r = loop_run(loop);
	timer_clear(&waiting.timer); /* before a failed assertion leaves its frame */
	assert_int_equal(r, 0);
	return waiting.happened;
}
