#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS "10.77.0.1"
#define PORT_CONNECTIONS 7001
#define PORT_UDP 7002
#define PORT_BULK 7003
#define BATCH 64

static struct sockaddr_in address_of(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ADDRESS, &address.sin_addr);
	return address;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int bound(int type, uint16_t port)
{
	struct sockaddr_in address = address_of(port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	if (type == SOCK_STREAM && listen(fd, 1024) < 0)
		return -1;
	return fd;
}

static void swallow(int listener)
{
	static char buffer[1 << 18];
	int fd = accept(listener, NULL, NULL);

	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
	close(fd);
}

/* Both ends of the short connections are ours: no other process is waited for. */
static int connections_fd = -1;

static void serve_bulk(int listener)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to(1);
	for (;;)
		swallow(listener);
}

int traffic_serve(int out_fd)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), bulk;

	if (home < 0 || setns(out_fd, CLONE_NEWNET) < 0)
		return -errno;
	bulk = bound(SOCK_STREAM, PORT_BULK);
	connections_fd = bound(SOCK_STREAM, PORT_CONNECTIONS);
	/* Datagrams must find a socket, which nobody reads: no "port unreachable" comes back. */
	if (bulk < 0 || connections_fd < 0 || bound(SOCK_DGRAM, PORT_UDP) < 0 ||
	    setns(home, CLONE_NEWNET) < 0)
		return -errno;
	close(home);

	switch (fork()) {
	case -1:
		return -errno;
	case 0:
		serve_bulk(bulk);
		_exit(0);
	default:
		pin_to(0);
		return 0;
	}
}

/* Of this thread: what else the machine does is not to be measured. veth delivers within send(). */
static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int connected(int type, uint16_t port)
{
	struct sockaddr_in address = address_of(port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool one_connection(void)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	int ours = connected(SOCK_STREAM, PORT_CONNECTIONS);
	int theirs = accept(connections_fd, NULL, NULL);
	char byte = 'x';
	bool ok = ours >= 0 && theirs >= 0 && write(ours, &byte, 1) == 1 &&
	          read(theirs, &byte, 1) == 1 && write(theirs, &byte, 1) == 1 &&
	          read(ours, &byte, 1) == 1;

	/* No TIME_WAIT: ports must not run out. */
	setsockopt(ours, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(ours);
	close(theirs);
	return ok;
}

static double run_connections(double seconds)
{
	double begin = cpu_now();
	unsigned long n = 0;

	while (cpu_now() - begin < seconds) {
		if (!one_connection())
			return -1;
		n++;
	}
	return (double)n / (cpu_now() - begin);
}

static double run_stream(int type, uint16_t port, size_t size, bool count_bytes, double seconds)
{
	static char buffer[1 << 17];
	int fd = connected(type, port);
	double begin = cpu_now();
	unsigned long n = 0;

	if (fd < 0)
		return -1;
	while (cpu_now() - begin < seconds) {
		for (int i = 0; i < BATCH; i++) {
			ssize_t sent = send(fd, buffer, size, 0);

			n += sent > 0 ? (count_bytes ? (unsigned long)sent : 1) : 0;
		}
	}
	close(fd);
	return (double)n / (cpu_now() - begin);
}

double traffic_run(enum workload workload, double seconds)
{
	switch (workload) {
	case WORKLOAD_CONNECTIONS:
		return run_connections(seconds);
	case WORKLOAD_UDP:
		return run_stream(SOCK_DGRAM, PORT_UDP, 64, false, seconds);
	default:
		return run_stream(SOCK_STREAM, PORT_BULK, 1 << 17, true, seconds);
	}
}

int traffic_ports(unsigned int first, unsigned int n)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (unsigned int i = 0; i < n; i++) {
		struct sockaddr_in address = address_of((uint16_t)(first + i));

		if (sendto(fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)) < 0 &&
		    errno != ECONNREFUSED) {
			close(fd);
			return -errno;
		}
	}
	close(fd);
	return 0;
}
