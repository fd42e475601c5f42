#include "test.h"

#include <string.h>

#include "fake.h"
#include "io/dns_servers.h"

static void reads_resolv_conf(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *first, *last;
	} rows[] = {
		{ "", 1, "127.0.0.1", "127.0.0.1" },
		{ "nameserver 10.0.0.10\n", 1, "10.0.0.10", "10.0.0.10" },
		{ "nameserver 10.0.0.10", 1, "10.0.0.10", "10.0.0.10" },
		{ "nameserver\t10.0.0.10\r\n", 1, "10.0.0.10", "10.0.0.10" },
		{ "# nameserver 10.0.0.9\nsearch a b\noptions ndots:5\nnameserver 10.0.0.10 # x\n",
		  1, "10.0.0.10", "10.0.0.10" },
		{ "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver "
		  "4.4.4.4\n",
		  3, "1.1.1.1", "3.3.3.3" },
		{ "nameserver fe80::1%eth0\nnameserver ::1\n", 1, "::1", "::1" },
		{ "nameservers 10.0.0.10\nnameserver\nnameserver x\n", 1, "127.0.0.1",
		  "127.0.0.1" },
	};
	struct dns_servers servers = { .n = 77 };
	char text[IP_TEXT_MAX], path[] = "/tmp/eva-resolv-XXXXXX";

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(dns_servers_parse(rows[i].text, strlen(rows[i].text), &servers),
		                 0);
		assert_int_equal(servers.n, rows[i].n);
		assert_string_equal(ip_format(&servers.address[0], text), rows[i].first);
		assert_string_equal(ip_format(&servers.address[servers.n - 1], text), rows[i].last);
	}

	servers.n = 77;
	assert_int_equal(dns_servers_parse("nameserver 1.1.1.1\0\n", 20, &servers), -EINVAL);
	assert_int_equal(dns_servers_load("/nonexistent", &servers), -ENOENT);
	assert_int_equal(servers.n, 77); /* untouched */

	close(mkstemp(path));
	fake_write(path, "nameserver 10.0.0.10\n");
	assert_int_equal(dns_servers_load(path, &servers), 0);
	assert_int_equal(servers.n, 1);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_resolv_conf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
