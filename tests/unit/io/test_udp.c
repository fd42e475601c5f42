#include "test.h"

#include "fake.h"
#include "io/udp_client.h"
#include "io/udp_server.h"

struct outcome {
	struct loop *loop;
	enum udp_outcome outcome;
	int error, calls;
	char data[64];
	const char *wanted;
};

struct service {
	unsigned int silent_for; /* so many questions get no answer */
	unsigned int asked;
	struct ip peer;
};

static bool on_accept(void *user, const uint8_t *data, size_t len)
{
	struct outcome *outcome = user;

	snprintf(outcome->data, sizeof(outcome->data), "%.*s", (int)len, (const char *)data);
	return strcmp(outcome->data, outcome->wanted) == 0;
}

static void on_done(void *user, enum udp_outcome outcome, int error)
{
	struct outcome *result = user;

	result->outcome = outcome;
	result->error = error;
	result->calls++;
	loop_stop(result->loop);
}

static size_t on_datagram(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                          uint16_t port, uint8_t out[static UDP_ANSWER_MAX])
{
	struct service *service = user;

	assert_true(port > 0);
	service->peer = *peer;
	if (service->asked++ < service->silent_for)
		return 0;
	memcpy(out, data, len);
	return len;
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

struct patience {
	uint64_t timeout_ms, retransmit_ms;
	unsigned int retransmits;
};

/* Nothing is lost on loopback: once is enough, however long a loaded machine takes. */
static const struct patience patient = { 30000, 20000, 2 };

static void ask(struct loop *loop, const struct patience *patience, const char *peer, uint16_t port,
                const char *wanted, struct outcome *outcome)
{
	struct udp_request request = {
		.peer = fake_ip(peer),
		.port = port,
		.data = "hello",
		.len = 5,
		.timeout_ns = patience->timeout_ms * NSEC_PER_MSEC,
		.retransmit_ns = patience->retransmit_ms * NSEC_PER_MSEC,
		.retransmits = patience->retransmits,
		.accept = on_accept,
		.done = on_done,
		.user = outcome,
	};
	struct udp_exchange *exchange;

	*outcome = (struct outcome){ .loop = loop, .wanted = wanted };
	assert_int_equal(udp_exchange_new(loop, &request, &exchange), 0);
	assert_int_equal(outcome->calls, 0); /* only from the loop */
	fake_loop_run(loop);
	assert_int_equal(outcome->calls, 1);
	assert_null(udp_exchange_free(exchange));
}

static void asks_again(void **state)
{
	static const struct {
		unsigned int silent_for;
		const char *wanted;
		enum udp_outcome outcome;
		unsigned int asked;
		struct patience patience;
	} rows[] = {
		{ 0, "hello", UDP_ANSWERED, 1, { 30000, 20000, 2 } },
		{ 1, "hello", UDP_ANSWERED, 2, { 30000, 50, 1 } },
		{ 2, "hello", UDP_ANSWERED, 3, { 30000, 50, 2 } },
		{ 9, "hello", UDP_TIMEOUT, 3, { 1000, 50, 2 } },
		/* datagrams that are no answer */
		{ 0, "other", UDP_TIMEOUT, 3, { 1000, 50, 2 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct service service = { .silent_for = rows[i].silent_for };
		struct ip any = fake_ip("0.0.0.0"), from = fake_ip("192.0.2.2");
		struct udp_server_stats stats;
		struct udp_server *server;
		struct outcome outcome;
		struct loop *loop;

		assert_int_equal(loop_new(&loop), 0);
		assert_int_equal(udp_server_new(loop, &any, 4321, on_datagram, &service, &server),
		                 0);
		/* Bound to all: the answer must leave from the address that was asked. */
		ask(loop, &rows[i].patience, "192.0.2.2", 4321, rows[i].wanted, &outcome);
		assert_int_equal(outcome.outcome, rows[i].outcome);
		assert_int_equal(service.asked, rows[i].asked);
		assert_memory_equal(&service.peer, &from, sizeof(from));
		stats = udp_server_stats(server);
		assert_int_equal(stats.received, stats.answered + stats.ignored);
		assert_null(udp_server_free(server));
		assert_null(loop_free(loop));
	}
}

static void takes_both_families(void **state)
{
	struct service service = { 0 };
	struct ip any = fake_ip("::"), v4 = fake_ip("192.0.2.3"), v6 = fake_ip("::1");
	struct udp_server *server;
	struct outcome outcome;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(udp_server_new(loop, &any, 4321, on_datagram, &service, &server), 0);
	ask(loop, &patient, "192.0.2.3", 4321, "hello", &outcome);
	assert_int_equal(outcome.outcome, UDP_ANSWERED);
	assert_memory_equal(&service.peer, &v4, sizeof(v4));
	ask(loop, &patient, "::1", 4321, "hello", &outcome);
	assert_int_equal(outcome.outcome, UDP_ANSWERED);
	assert_memory_equal(&service.peer, &v6, sizeof(v6));
	assert_null(udp_server_free(server));
	assert_null(loop_free(loop));
}

static void tells_why_not(void **state)
{
	static const struct {
		const char *peer;
		enum udp_outcome outcome;
	} rows[] = {
		{ "192.0.2.1", UDP_REFUSED },        { "198.51.100.1", UDP_UNREACHABLE },
		{ "198.51.100.2", UDP_UNREACHABLE }, { "198.51.100.3", UDP_UNREACHABLE },
		{ "203.0.113.1", UDP_UNREACHABLE },
	};
	struct outcome outcome;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ask(loop, &patient, rows[i].peer, 9, "hello", &outcome);
		if (outcome.outcome != rows[i].outcome)
			fail_msg("%s: %s", rows[i].peer, strerror(outcome.error));
	}
	assert_null(loop_free(loop));
}

static void fails_and_cancels(void **state)
{
	struct socket_opener opener = { no_socket, NULL };
	struct outcome outcome = { .wanted = "" };
	struct udp_request request = {
		.peer = fake_ip("192.0.2.1"),
		.port = 9,
		.data = "hello",
		.len = 5,
		.timeout_ns = NSEC_PER_SEC,
		.opener = &opener,
		.accept = on_accept,
		.done = on_done,
		.user = &outcome,
	};
	struct udp_exchange *exchange = NULL;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(udp_exchange_new(loop, &request, &exchange), -EMFILE);
	assert_null(exchange);
	request.opener = NULL;
	request.len = UDP_REQUEST_MAX + 1;
	assert_int_equal(udp_exchange_new(loop, &request, &exchange), -EMSGSIZE);
	request.len = 5;
	assert_int_equal(udp_exchange_new(loop, &request, &exchange), 0);
	assert_null(udp_exchange_free(exchange));
	assert_int_equal(outcome.calls, 0);
	assert_null(loop_free(loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_again),
		cmocka_unit_test(takes_both_families),
		cmocka_unit_test(tells_why_not),
		cmocka_unit_test(fails_and_cancels),
	};

	return cmocka_run_group_tests(tests, fake_namespace, NULL);
}
