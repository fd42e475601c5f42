#include "test.h"

#include "fake.h"
#include "io/dns_client.h"

struct outcome {
	struct loop *loop;
	struct dns_answer answer;
	int calls;
};

static void on_answer(void *user, const struct dns_answer *answer)
{
	struct outcome *outcome = user;

	outcome->answer = *answer;
	outcome->calls++;
	loop_stop(outcome->loop);
}

static int count_sockets(void *user, int family, int type, int protocol,
                         const struct sockaddr *peer)
{
	(void)peer;
	(*(int *)user)++;
	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int no_socket(void *user, int family, int type, int protocol, const struct sockaddr *peer)
{
	(void)peer;
	(void)user;
	(void)family;
	(void)type;
	(void)protocol;
	return -EMFILE;
}

/* For what is answered: the time that a loaded machine takes. */
#define PATIENT_MS 30000

static void ask(struct loop *loop, const char *name, const struct dns_servers *servers,
                socket_fn open, uint64_t timeout_ms, struct outcome *outcome)
{
	int opened = 0;
	struct socket_opener opener = { .open = open ? open : count_sockets, .user = &opened };
	struct dns_request request = {
		.name = name,
		.servers = servers,
		.opener = &opener,
		.timeout_ns = timeout_ms * NSEC_PER_MSEC,
		.fn = on_answer,
		.user = outcome,
	};
	struct dns_query *query;

	*outcome = (struct outcome){ .loop = loop };
	assert_int_equal(dns_query_new(loop, &request, &query), 0);
	assert_int_equal(outcome->calls, 0); /* only from the loop */
	fake_loop_run(loop);
	assert_int_equal(outcome->calls, 1);
	assert_null(dns_query_free(query));
	if (!open)
		assert_true(opened > 0 || outcome->answer.outcome == DNS_BAD_NAME ||
		            outcome->answer.outcome == DNS_FOUND);
}

static void tells_outcomes_apart(void **state)
{
	static const struct {
		int manner;
		enum dns_outcome outcome;
		size_t n;
	} rows[] = {
		{ FAKE_DNS_ANSWER, DNS_FOUND, 2 },
		{ FAKE_DNS_CNAME, DNS_FOUND, 2 },
		{ FAKE_DNS_TRUNCATED, DNS_FOUND, 2 }, /* TCP, from the opener too */
		{ FAKE_DNS_EMPTY, DNS_NO_ADDRESS, 0 },
		{ FAKE_DNS_RCODE + 3, DNS_NO_NAME, 0 },
		{ FAKE_DNS_RCODE + 5, DNS_REFUSED, 0 },
		{ FAKE_DNS_RCODE + 2, DNS_SERVER_FAILED, 0 },
		{ FAKE_DNS_SILENT, DNS_TIMEOUT, 0 },
		{ FAKE_DNS_OTHER_ID, DNS_TIMEOUT, 0 }, /* a forger's guess */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fake_dns dns = { .manner = rows[i].manner,
			                .addresses = { "192.0.2.1", "192.0.2.2" } };
		struct dns_servers servers = { .n = 1, .address = { fake_ip("127.0.0.1") } };
		struct outcome outcome;
		struct loop *loop;

		assert_int_equal(loop_new(&loop), 0);
		fake_dns_start(&dns, loop, "127.0.0.1");
		servers.port[0] = dns.port;
		ask(loop, "echo.example.net", &servers, NULL,
		    rows[i].outcome == DNS_TIMEOUT ? 1000 : PATIENT_MS, &outcome);
		if (outcome.answer.outcome != rows[i].outcome)
			fail_msg("row %zu: %s", i, outcome.answer.detail);
		assert_int_equal(outcome.answer.n, rows[i].n);
		assert_string_equal(dns.name, "echo.example.net");
		assert_int_equal(dns.type, 1); /* A and nothing else */
		assert_non_null(outcome.answer.detail);
		fake_dns_stop(&dns);
		assert_null(loop_free(loop));
	}
}

static void garbage_is_no_answer(void **state)
{
	struct fake_dns dns = { .manner = FAKE_DNS_GARBAGE, .addresses = { "192.0.2.1" } };
	struct dns_servers servers = { .n = 1, .address = { fake_ip("127.0.0.1") } };
	struct outcome outcome;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	fake_dns_start(&dns, loop, "127.0.0.1");
	servers.port[0] = dns.port;
	ask(loop, "echo.example.net", &servers, NULL, 400, &outcome);
	assert_int_not_equal(outcome.answer.outcome, DNS_FOUND);
	fake_dns_stop(&dns);
	assert_null(loop_free(loop));
}

static void bounds_the_addresses(void **state)
{
	struct fake_dns dns = { 0 };
	struct dns_servers servers = { .n = 1, .address = { fake_ip("127.0.0.1") } };
	struct outcome outcome;
	struct loop *loop;

	(void)state;
	for (int i = 0; i < 12; i++)
		dns.addresses[i] = "192.0.2.1";
	assert_int_equal(loop_new(&loop), 0);
	fake_dns_start(&dns, loop, "127.0.0.1");
	servers.port[0] = dns.port;
	ask(loop, "echo.example.net", &servers, NULL, PATIENT_MS, &outcome);
	assert_int_equal(outcome.answer.outcome, DNS_FOUND);
	assert_int_equal(outcome.answer.n, DNS_ADDRESSES_MAX);
	fake_dns_stop(&dns);
	assert_null(loop_free(loop));
}

/* Without a server's help: literals, names that cannot be, dead servers, no sockets. */
static void answers_without_a_server(void **state)
{
	static const struct {
		const char *name, *server;
		socket_fn open;
		enum dns_outcome outcome;
	} rows[] = {
		{ "192.0.2.7", "127.0.0.1", NULL, DNS_FOUND },
		{ "a..b", "127.0.0.1", NULL, DNS_BAD_NAME },
		{ "echo.example.net", "127.0.0.1", NULL, DNS_UNREACHABLE },
		{ "echo.example.net", "198.51.100.1", NULL, DNS_UNREACHABLE },
		{ "echo.example.net", "203.0.113.1", NULL, DNS_UNREACHABLE },
		{ "echo.example.net", "127.0.0.1", no_socket, DNS_LOCAL_ERROR },
	};
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dns_servers servers = { .n = 1,
			                       .address = { fake_ip(rows[i].server) },
			                       .port = { 9 } };
		struct outcome outcome;

		ask(loop, rows[i].name, &servers, rows[i].open, PATIENT_MS, &outcome);
		if (outcome.answer.outcome != rows[i].outcome)
			fail_msg("row %zu: %s", i, outcome.answer.detail);
	}
	assert_null(loop_free(loop));
}

/* A dead first server costs a try, not the answer. */
static void asks_the_next_server(void **state)
{
	static const int first[] = { FAKE_DNS_SILENT, FAKE_DNS_RCODE + 2, FAKE_DNS_RCODE + 5 };

	(void)state;
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		struct fake_dns bad = { .manner = first[i] };
		struct fake_dns good = { .addresses = { "192.0.2.1" } };
		struct dns_servers servers = {
			.n = 2, .address = { fake_ip("127.0.0.1"), fake_ip("127.0.0.1") }
		};
		struct outcome outcome;
		struct loop *loop;

		assert_int_equal(loop_new(&loop), 0);
		fake_dns_start(&bad, loop, "127.0.0.1");
		fake_dns_start(&good, loop, "127.0.0.1");
		servers.port[0] = bad.port;
		servers.port[1] = good.port;
		ask(loop, "echo.example.net", &servers, NULL, 8000, &outcome);
		assert_int_equal(outcome.answer.outcome, DNS_FOUND);
		fake_dns_stop(&bad);
		fake_dns_stop(&good);
		assert_null(loop_free(loop));
	}
}

/* No callback after the query is gone, and no descriptor left in the loop. */
static void cancels(void **state)
{
	struct fake_dns dns = { .manner = FAKE_DNS_SILENT };
	struct dns_servers servers = { .n = 1, .address = { fake_ip("127.0.0.1") } };
	struct outcome outcome = { 0 };
	struct dns_query *query;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	fake_dns_start(&dns, loop, "127.0.0.1");
	servers.port[0] = dns.port;
	assert_int_equal(dns_query_new(loop,
	                               &(struct dns_request){ .name = "echo.example.net",
	                                                      .servers = &servers,
	                                                      .timeout_ns = NSEC_PER_SEC,
	                                                      .fn = on_answer,
	                                                      .user = &outcome },
	                               &query),
	                 0);
	assert_null(dns_query_free(query));
	assert_null(dns_query_free(NULL));
	assert_int_equal(outcome.calls, 0);
	fake_dns_stop(&dns);
	assert_null(loop_free(loop)); /* asserts that no source is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_outcomes_apart), cmocka_unit_test(garbage_is_no_answer),
		cmocka_unit_test(bounds_the_addresses), cmocka_unit_test(answers_without_a_server),
		cmocka_unit_test(asks_the_next_server), cmocka_unit_test(cancels),
	};

	return cmocka_run_group_tests(tests, fake_namespace, NULL);
}
