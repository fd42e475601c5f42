/*
 * Servers that misbehave on request, on the loop of the test that uses them,
 * and a network namespace of the test's own to put them in.
 */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ip.h"
#include "base/loop.h"
#include "base/timer.h"

static inline void fake_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline void fake_run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* A folder in memory, named by us; what runs that crashed left of that name goes. */
static inline void fake_folder(char *path, size_t size, const char *name)
{
	char command[256];

	snprintf(command, sizeof(command),
	         "for d in /dev/shm/%.32s-*; do [ -d \"/proc/${d##*-}\" ] || rm -rf \"$d\"; done",
	         name);
	fake_run(command);
	snprintf(path, size, "/dev/shm/%.32s-%d", name, (int)getpid());
	assert_int_equal(mkdir(path, 0700), 0);
}

/*
 * A namespace with lo up, 192.0.2.1 to .9 on it and routes that go nowhere;
 * 203.0.113.0/24 has none.
 */
static inline int fake_namespace(void **state)
{
	unsigned int uid = getuid(), gid = getgid();
	char map[64];

	(void)state;
	if (unshare(CLONE_NEWNET) < 0) {
		assert_int_equal(unshare(CLONE_NEWUSER | CLONE_NEWNET), 0);
		fake_write("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		fake_write("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %u 1", gid);
		fake_write("/proc/self/gid_map", map);
	}
	fake_run("ip link set lo up && for i in 1 2 3; do ip addr add 192.0.2.$i/32 dev lo; done &&"
	         "ip route add unreachable 198.51.100.1 && ip route add prohibit 198.51.100.2 &&"
	         "ip route add blackhole 198.51.100.3");
	return 0;
}

static inline struct ip fake_ip(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static inline int fake_bind(int type, const char *address, uint16_t *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(*port) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(inet_pton(AF_INET, address, &in.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

/* However loaded the machine is. */
#define FAKE_DEADLINE_NS (60 * NSEC_PER_SEC)

static inline int fake_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

/* -ETIMEDOUT: the loop does not stop by itself. For who has something to put away before that fails the test. */
static inline int fake_loop_try(struct loop *loop)
{
	struct timer timer = TIMER_INIT;
	int r;

	assert_int_equal(timer_init(&timer, loop, fake_deadline), 0);
	assert_int_equal(timer_set(&timer, FAKE_DEADLINE_NS, 0), 0);
	r = loop_run(loop);
	timer_clear(
		&timer); /* a failed assertion leaves this frame, and the loop would be used after it */
	return r;
}

static inline void fake_loop_run(struct loop *loop)
{
	assert_int_equal(fake_loop_try(loop), 0);
}

/* HTTP, or whatever `reply` says */

enum fake_manner {
	FAKE_REPLY,   /* send `reply`, close */
	FAKE_SILENT,  /* take the request, say nothing */
	FAKE_HALF,    /* send `reply`, leave it open */
	FAKE_RESET,   /* RST as soon as the request is there */
	FAKE_ENDLESS, /* `reply`, then 'x' for as long as they are taken */
};

struct fake_http {
	struct loop_source source;
	int fd;
	uint16_t port;
	enum fake_manner manner;
	const char *reply;
	char request[4096]; /* of the last connection */
	unsigned int accepted;
	size_t sent;
	struct fake_connection *connections;
};

struct fake_connection {
	struct loop_source source;
	struct fake_http *server;
	struct fake_connection *next;
	size_t len;
};

static inline int fake_feed(struct fake_connection *connection)
{
	static const char x[65536];
	ssize_t n;

	while ((n = send(connection->source.fd, x, sizeof(x), MSG_NOSIGNAL)) > 0)
		connection->server->sent += (size_t)n;
	if (errno == EAGAIN)
		return loop_modify(&connection->source, EPOLLOUT);
	return loop_modify(&connection->source, 0);
}

static inline int fake_on_request(struct loop_source *source, uint32_t events)
{
	struct fake_connection *connection = container_of(source, struct fake_connection, source);
	struct fake_http *server = connection->server;
	struct linger reset = { .l_onoff = 1 };
	int fd = source->fd;
	ssize_t n;

	if (events & EPOLLOUT)
		return fake_feed(connection);
	n = read(fd, server->request + connection->len,
	         sizeof(server->request) - 1 - connection->len);
	if (n <= 0) /* closed by them: keep the descriptor until the end */
		return n < 0 && errno == EAGAIN ? 0 : loop_modify(source, 0);
	connection->len += (size_t)n;
	server->request[connection->len] = '\0';
	if (!strstr(server->request, "\r\n\r\n"))
		return 0;

	if (server->manner == FAKE_REPLY || server->manner == FAKE_HALF ||
	    server->manner == FAKE_ENDLESS)
		(void)!send(fd, server->reply, strlen(server->reply), MSG_NOSIGNAL);
	if (server->manner == FAKE_RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (server->manner == FAKE_ENDLESS)
		return fake_feed(connection);
	if (server->manner == FAKE_REPLY || server->manner == FAKE_RESET) {
		loop_remove(source);
		close(fd);
		source->fd = -1;
	}
	return 0;
}

static inline int fake_on_connect(struct loop_source *source, uint32_t events)
{
	struct fake_http *server = container_of(source, struct fake_http, source);
	struct fake_connection *connection = calloc(1, sizeof(*connection));
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	assert_non_null(connection);
	assert_true(fd >= 0);
	server->accepted++;
	connection->server = server;
	connection->next = server->connections;
	server->connections = connection;
	return loop_add(source->loop, &connection->source, fd, EPOLLIN, fake_on_request);
}

static inline void fake_http_start(struct fake_http *server, struct loop *loop, const char *address)
{
	server->fd = fake_bind(SOCK_STREAM, address, &server->port);
	assert_int_equal(listen(server->fd, 64), 0);
	assert_int_equal(loop_add(loop, &server->source, server->fd, EPOLLIN, fake_on_connect), 0);
}

static inline void fake_http_stop(struct fake_http *server)
{
	while (server->connections) {
		struct fake_connection *connection = server->connections;

		server->connections = connection->next;
		loop_remove(&connection->source);
		if (connection->source.fd >= 0)
			close(connection->source.fd);
		free(connection);
	}
	loop_remove(&server->source);
	close(server->fd);
	*server = (struct fake_http){ 0 };
}

/* DNS */

enum fake_dns_manner {
	FAKE_DNS_ANSWER,
	FAKE_DNS_EMPTY, /* no error, no record */
	FAKE_DNS_CNAME, /* an alias, then the records of its target */
	FAKE_DNS_SILENT,
	FAKE_DNS_OTHER_ID,
	FAKE_DNS_GARBAGE,
	FAKE_DNS_TRUNCATED, /* over UDP; over TCP it answers */
	FAKE_DNS_RCODE,     /* this and the numbers above: FAKE_DNS_RCODE + rcode */
};

struct fake_dns {
	struct loop_source udp, tcp, connection;
	int udp_fd, tcp_fd, connection_fd;
	uint16_t port;
	int manner;
	const char *addresses[16];
	unsigned int asked;
	char name[256]; /* last asked, with dots */
	uint16_t type;
};

/* Writes the answer to `q` behind it; its length, or 0. */
static inline size_t fake_dns_answer(struct fake_dns *dns, uint8_t *q, size_t len, bool tcp)
{
	size_t at = 12, n = 0, name = 12;
	int manner = dns->manner == FAKE_DNS_TRUNCATED && tcp ? FAKE_DNS_ANSWER : dns->manner;

	dns->asked++;
	while (at < len && q[at]) {
		memcpy(dns->name + n, q + at + 1, q[at]);
		n += q[at];
		dns->name[n++] = '.';
		at += q[at] + 1u;
	}
	dns->name[n ? n - 1 : 0] = '\0';
	dns->type = (uint16_t)(q[at + 1] << 8 | q[at + 2]);
	at += 5;

	q[2] = 0x85, q[3] = 0x80; /* answer, authoritative, recursion */
	memset(q + 6, 0, 6);
	if (manner == FAKE_DNS_SILENT)
		return 0;
	if (manner == FAKE_DNS_OTHER_ID)
		q[0] ^= 0xff;
	if (manner >= FAKE_DNS_RCODE) {
		q[3] |= (uint8_t)(manner - FAKE_DNS_RCODE);
		return at;
	}
	if (manner == FAKE_DNS_TRUNCATED) {
		q[2] |= 2;
		return at;
	}
	if (manner == FAKE_DNS_EMPTY)
		return at;
	if (manner == FAKE_DNS_CNAME) {
		memcpy(q + at, "\xc0\x0c\0\5\0\1\0\0\0\1\0\7\4real\xc0\x0c", 19);
		name = at + 12;
		at += 19;
		q[7]++;
	}
	for (size_t i = 0; dns->addresses[i]; i++) {
		memcpy(q + at, "\xc0\x0c\0\1\0\1\0\0\0\1\0\4", 12);
		q[at + 1] = (uint8_t)name;
		inet_pton(AF_INET, dns->addresses[i], q + at + 12);
		at += 16;
		q[7]++;
	}
	if (manner == FAKE_DNS_GARBAGE)
		memset(q + 12, 0xff, at - 12);
	return at;
}

static inline int fake_dns_on_udp(struct loop_source *source, uint32_t events)
{
	struct fake_dns *dns = container_of(source, struct fake_dns, udp);
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t packet[1024];
	ssize_t n = recvfrom(source->fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
	size_t len;

	(void)events;
	if (n < 12)
		return 0;
	len = fake_dns_answer(dns, packet, (size_t)n, false);
	if (len)
		sendto(source->fd, packet, len, 0, (struct sockaddr *)&from, from_len);
	return 0;
}

static inline int fake_dns_on_stream(struct loop_source *source, uint32_t events)
{
	struct fake_dns *dns = container_of(source, struct fake_dns, connection);
	uint8_t packet[1024];
	ssize_t n = read(source->fd, packet, 512);
	size_t len;

	(void)events;
	if (n < 14) {
		loop_remove(source);
		return 0;
	}
	len = fake_dns_answer(dns, packet + 2, (size_t)n - 2, true);
	packet[0] = (uint8_t)(len >> 8);
	packet[1] = (uint8_t)len;
	assert_int_equal(send(source->fd, packet, len + 2, MSG_NOSIGNAL), len + 2);
	return 0;
}

static inline int fake_dns_on_accept(struct loop_source *source, uint32_t events)
{
	struct fake_dns *dns = container_of(source, struct fake_dns, tcp);

	(void)events;
	dns->connection_fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return loop_add(source->loop, &dns->connection, dns->connection_fd, EPOLLIN,
	                fake_dns_on_stream);
}

static inline void fake_dns_start(struct fake_dns *dns, struct loop *loop, const char *address)
{
	dns->connection_fd = -1;
	dns->udp_fd = fake_bind(SOCK_DGRAM, address, &dns->port);
	dns->tcp_fd = fake_bind(SOCK_STREAM, address, &dns->port);
	assert_int_equal(listen(dns->tcp_fd, 4), 0);
	assert_int_equal(loop_add(loop, &dns->udp, dns->udp_fd, EPOLLIN, fake_dns_on_udp), 0);
	assert_int_equal(loop_add(loop, &dns->tcp, dns->tcp_fd, EPOLLIN, fake_dns_on_accept), 0);
}

static inline void fake_dns_stop(struct fake_dns *dns)
{
	loop_remove(&dns->udp);
	loop_remove(&dns->tcp);
	loop_remove(&dns->connection);
	close(dns->udp_fd);
	close(dns->tcp_fd);
	if (dns->connection_fd >= 0)
		close(dns->connection_fd);
	*dns = (struct fake_dns){ 0 };
}
