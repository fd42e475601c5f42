/*
 * What the agent is measured under: traffic of pods, and its own start.
 *
 *   load rates POD_NETNS OUT_NETNS SECONDS     three rates per second of CPU time: connections, UDP, bulk
 *   load flows FIRST COUNT PER_SECOND NETNS…   one datagram to each of COUNT addresses from 100.64.0.0 + FIRST on,
 *                                              taking the namespaces in turn
 *   load once ADDRESS PORT NETNS               one datagram; prints the time just before it
 *   load ready SOCKET ARGV…                    runs a command; prints ms until GET /readyz on SOCKET gives 200
 *   load tunnels GATEWAY_NETNS [NETNS IP]…     a tun "wg0" in each, all joined to a tun "bench0" in the first; prints
 *                                              "ready" and carries packets until it is ended
 *   load get SOCKET PATH COUNT                 prints ms and bytes of each GET
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "traffic.h"

#define NETNS_MAX 512
#define FIRST_ADDRESS 0x64400000u /* 100.64.0.0/10: shared address space, RFC 6598 */
#define START_DEADLINE_NS 20000000000ULL

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(netns);
	close(fd);
}

static int rates(char **argv)
{
	int out = open(argv[1], O_RDONLY | O_CLOEXEC);
	double seconds = atof(argv[2]);

	if (out < 0)
		die(argv[1]);
	enter(argv[0]);
	if (traffic_serve(out) < 0)
		die("servers");
	for (int w = 0; w < _WORKLOAD_MAX; w++) {
		double rate = traffic_run((enum workload)w, seconds);

		if (rate < 0)
			die("traffic");
		printf("%.1f%c", rate, w + 1 < _WORKLOAD_MAX ? ' ' : '\n');
	}
	return 0;
}

static int datagram_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static void send_one(int fd, uint32_t address, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		                  .sin_port = htons(port),
		                  .sin_addr.s_addr = htonl(address) };

	if (sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("sendto");
}

static int flows(int argc, char **argv)
{
	uint32_t first = (uint32_t)atoi(argv[0]), count = (uint32_t)atoi(argv[1]);
	uint64_t per_second = (uint64_t)atoi(argv[2]), begin;
	int fds[NETNS_MAX], n = argc - 3;

	if (n < 1 || n > NETNS_MAX || !per_second)
		return 2;
	for (int i = 0; i < n; i++) {
		enter(argv[3 + i]);
		fds[i] = datagram_socket();
	}
	begin = now_ns(CLOCK_MONOTONIC);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t due = begin + i * 1000000000ULL / per_second;
		struct timespec at = { (time_t)(due / 1000000000), (long)(due % 1000000000) };

		/* In bursts of a millisecond, as sleeping costs more than sending. */
		if (due > now_ns(CLOCK_MONOTONIC) + 1000000)
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		send_one(fds[i % (uint32_t)n], FIRST_ADDRESS + first + i, 9);
	}
	return 0;
}

static int once(char **argv)
{
	struct in_addr address;
	uint64_t before;
	int fd;

	if (inet_pton(AF_INET, argv[0], &address) != 1)
		return 2;
	enter(argv[2]);
	fd = datagram_socket();
	before = now_ns(CLOCK_REALTIME);
	send_one(fd, ntohl(address.s_addr), (uint16_t)atoi(argv[1]));
	printf("%.6f\n", (double)before / 1e9);
	return 0;
}

struct tunnel {
	int fd;
	uint32_t address; /* network order; 0: the gateway's */
};

static struct tunnel open_tunnel(const char *netns, const char *name, uint32_t address)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct tunnel tunnel = { .address = address };

	enter(netns); /* opening decides where the device will be */
	tunnel.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	/* Persistent: they go with their namespaces, together, where closing one takes 40 ms. */
	if (tunnel.fd < 0 || ioctl(tunnel.fd, TUNSETIFF, &request) < 0 ||
	    ioctl(tunnel.fd, TUNSETPERSIST, 1) < 0)
		die("tun");
	return tunnel;
}

/* A pod's packets go to the gateway, the gateway's to the pod they are for; what is full or unknown is dropped. */
static void carry(const struct tunnel *tunnels, int n, const struct tunnel *from)
{
	char packet[2048];
	ssize_t size;

	while ((size = read(from->fd, packet, sizeof(packet))) >= 20) {
		const struct tunnel *to = &tunnels[0];
		uint32_t address;

		memcpy(&address, packet + 16, sizeof(address));
		for (int i = 1; from == &tunnels[0] && i < n; i++) {
			if (tunnels[i].address == address)
				to = &tunnels[i];
		}
		if (to != from && write(to->fd, packet, (size_t)size) < 0 && errno == EBADF)
			die("carrying");
	}
}

static int tunnels(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), n = 1 + (argc - 1) / 2;
	struct tunnel all[NETNS_MAX];
	struct epoll_event event;
	struct in_addr address;

	if (n < 2 || n > NETNS_MAX)
		return 2;
	all[0] = open_tunnel(argv[0], "bench0", 0);
	for (int i = 1; i < n; i++) {
		if (inet_pton(AF_INET, argv[2 * i], &address) != 1)
			return 2;
		all[i] = open_tunnel(argv[2 * i - 1], "wg0", address.s_addr);
	}
	for (int i = 0; i < n; i++) {
		event = (struct epoll_event){ .events = EPOLLIN, .data.ptr = &all[i] };
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) < 0)
			die("epoll");
	}
	printf("ready\n");
	fflush(stdout);
	while (epoll_wait(epoll, &event, 1, -1) >= 0 || errno == EINTR)
		carry(all, n, event.data.ptr);
	die("epoll");
	return 1;
}

/* Bytes of the answer, 0: none yet. */
static size_t get(const char *path, const char *target, bool *ok)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), n;
	char buffer[65536], request[256];
	size_t total = 0;
	ssize_t got;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	n = snprintf(request, sizeof(request),
	             "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", target);
	*ok = false;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    write(fd, request, (size_t)n) == n) {
		while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
			if (total == 0)
				*ok = got > 12 && memcmp(buffer + 8, " 200", 4) == 0;
			total += (size_t)got;
		}
	}
	close(fd);
	return total;
}

static int gets(char **argv)
{
	for (int i = atoi(argv[2]); i > 0; i--) {
		uint64_t begin = now_ns(CLOCK_MONOTONIC);
		bool ok;
		size_t size = get(argv[0], argv[1], &ok);

		if (!ok)
			die(argv[1]);
		printf("%.3f %zu\n", (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e6, size);
	}
	return 0;
}

static int ready(char **argv)
{
	uint64_t begin = now_ns(CLOCK_MONOTONIC);
	struct timespec pause = { 0, 500000 };
	bool ok = false;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		execv(argv[1], argv + 1);
		die(argv[1]);
	}
	while (!ok && now_ns(CLOCK_MONOTONIC) - begin < START_DEADLINE_NS) {
		get(argv[0], "/readyz", &ok);
		if (!ok)
			nanosleep(&pause, NULL); /* there is no event to wait for */
	}
	printf("%.2f\n", (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e6);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (strcmp(what, "rates") == 0 && argc == 5)
		return rates(argv + 2);
	if (strcmp(what, "flows") == 0 && argc > 5)
		return flows(argc - 2, argv + 2);
	if (strcmp(what, "once") == 0 && argc == 5)
		return once(argv + 2);
	if (strcmp(what, "tunnels") == 0 && argc > 4)
		return tunnels(argc - 2, argv + 2);
	if (strcmp(what, "get") == 0 && argc == 5)
		return gets(argv + 2);
	if (strcmp(what, "ready") == 0 && argc > 3)
		return ready(argv + 2);
	fprintf(stderr, "load: see the head of its source\n");
	return 2;
}
