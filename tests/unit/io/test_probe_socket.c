#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "io/privileged.h"
#include "io/probe_socket.h"

static int get(int fd, int option, void *value, socklen_t size)
{
	return getsockopt(fd, SOL_SOCKET, option, value, &size);
}

/* No FIN handshake, whose last packets nobody could tell from the pod's. */
static void only_connections_end_with_a_reset(void **state)
{
	static const struct {
		int type;
		int reset;
	} rows[] = {
		{ SOCK_STREAM, 1 },
		{ SOCK_STREAM | SOCK_CLOEXEC, 1 },
		{ SOCK_DGRAM, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct linger linger = { .l_onoff = -1, .l_linger = -1 };
		int fd = probe_socket_open(NULL, AF_INET, rows[i].type, 0, NULL);

		assert_true(fd >= 0);
		assert_int_equal(get(fd, SO_LINGER, &linger, sizeof(linger)), 0);
		assert_int_equal(linger.l_onoff, rows[i].reset);
		assert_int_equal(linger.l_linger, 0);
		close(fd);
	}
}

static int refuse(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	(void)user;
	(void)family;
	(void)type;
	(void)protocol;
	return -ENOENT;
}

static void the_opener_decides(void **state)
{
	struct socket_opener opener = { .open = refuse };

	(void)state;
	assert_int_equal(probe_socket_open(&opener, AF_INET, SOCK_STREAM, 0, NULL), -ENOENT);
}

static void addresses_go_there_and_back(void **state)
{
	static const struct {
		const char *text;
		int family;
	} rows[] = {
		{ "192.0.2.1", AF_INET },
		{ "2001:db8::1", AF_INET6 },
		{ "::ffff:192.0.2.1", AF_INET },
	};
	struct sockaddr_storage storage;
	const struct sockaddr *address = (const struct sockaddr *)&storage;
	struct ip ip, back;
	uint16_t port = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(ip_parse(rows[i].text, &ip), 0);
		assert_int_equal(probe_socket_address(&ip, 443, &storage),
		                 rows[i].family == AF_INET ? sizeof(struct sockaddr_in)
		                                           : sizeof(struct sockaddr_in6));
		assert_int_equal(address->sa_family, rows[i].family);
		assert_true(probe_socket_is_to(address, &ip));
		assert_int_equal(probe_socket_peer(address, &back, &port), 0);
		assert_memory_equal(&back, &ip, sizeof(ip));
		assert_int_equal(port, 443);
		ip.b[15] ^= 1;
		assert_false(probe_socket_is_to(address, &ip));
	}
	storage.ss_family = AF_UNIX;
	port = 7;
	assert_int_equal(probe_socket_peer(address, &back, &port), -EAFNOSUPPORT);
	assert_int_equal(port, 7);
	assert_false(probe_socket_is_to(address, &back));
}

/* Only who asks another process for a socket may hear from it what connect(2) said. */
static void tells_whose_fault_it_is(void **state)
{
	static const struct privileged somebody;
	static const struct {
		int error;
		bool refused;
	} rows[] = {
		{ ECONNREFUSED, true },  { ENETUNREACH, true }, { EHOSTUNREACH, true },
		{ EADDRNOTAVAIL, true }, { EACCES, true },      { EPERM, true },
		{ EINVAL, true },        { EMFILE, false },     { ENOMEM, false },
		{ ESTALE, false },       { ENOENT, false },     { EAGAIN, false },
		{ EPIPE, false },        { ETIMEDOUT, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_false(probe_socket_refused(rows[i].error));
		privileged_set(&somebody);
		assert_int_equal(probe_socket_refused(rows[i].error), rows[i].refused);
		privileged_set(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_connections_end_with_a_reset),
		cmocka_unit_test(the_opener_decides),
		cmocka_unit_test(addresses_go_there_and_back),
		cmocka_unit_test(tells_whose_fault_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
