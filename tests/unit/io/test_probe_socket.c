#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_connections_end_with_a_reset),
		cmocka_unit_test(the_opener_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
