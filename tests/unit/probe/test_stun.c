#include "test.h"

#include <string.h>

#include "probe/echo.h"
#include "probe/stun.h"

static const struct stun_id id = { { 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
	                             0xdf, 0xae } };

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

/* The server's answer is what the client reads. */
static void answers_itself(void **state)
{
	static const char *const addresses[] = { "192.0.2.1",
		                                 "2001:db8:1234:5678:11:2233:4455:6677" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint8_t request[STUN_HEADER_LEN], answer[STUN_ANSWER_MAX];
		struct ip peer = ip_of(addresses[i]), out = { 0 };
		enum probe_outcome outcome;
		size_t n;

		stun_encode_request(&id, request);
		n = stun_answer(request, sizeof(request), &peer, 32853, answer);
		assert_int_equal(n, i == 0 ? 32 : 44);
		assert_int_equal(stun_decode_response(answer, n, &id, &outcome, &out), 0);
		assert_int_equal(outcome, PROBE_ANSWERED);
		assert_memory_equal(&out, &peer, sizeof(out));
	}
}

/* XOR-MAPPED-ADDRESS of the sample responses of RFC 5769, 2.2 and 2.3: same id, port 32853. */
static void encodes_as_the_rfc(void **state)
{
	static const uint8_t v4[] = { 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
		                      0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43 };
	static const uint8_t v6[] = { 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47,
		                      0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79,
		                      0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9 };
	uint8_t request[STUN_HEADER_LEN], answer[STUN_ANSWER_MAX];
	struct ip peer = ip_of("192.0.2.1");

	(void)state;
	stun_encode_request(&id, request);
	stun_answer(request, sizeof(request), &peer, 32853, answer);
	assert_memory_equal(answer + STUN_HEADER_LEN, v4, sizeof(v4));
	peer = ip_of("2001:db8:1234:5678:11:2233:4455:6677");
	stun_answer(request, sizeof(request), &peer, 32853, answer);
	assert_memory_equal(answer + STUN_HEADER_LEN, v6, sizeof(v6));
}

#define HEADER(type, len)                                                                     \
	0x01, type, 0, len, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, \
		0x86, 0xfa, 0x87, 0xdf, 0xae
#define MAPPED 0, 1, 0, 8, 0, 1, 0x80, 0x55, 192, 0, 2, 1
#define XOR_MAPPED 0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x44 /* 192.0.2.6 */
#define SOFTWARE 0x80, 0x22, 0, 5, 'e', 'c', 'h', 'o', '!', 0, 0, 0

static void reads_responses(void **state)
{
	static const struct {
		uint8_t data[64];
		size_t len;
		int r;
		enum probe_outcome outcome;
		const char *address;
	} rows[] = {
		{ { HEADER(1, 12), MAPPED }, 32, 0, PROBE_ANSWERED, "192.0.2.1" },
		{ { HEADER(1, 12), XOR_MAPPED }, 32, 0, PROBE_ANSWERED, "192.0.2.6" },
		{ { HEADER(1, 24), MAPPED, XOR_MAPPED }, 44, 0, PROBE_ANSWERED, "192.0.2.6" },
		{ { HEADER(1, 24), XOR_MAPPED, MAPPED }, 44, 0, PROBE_ANSWERED, "192.0.2.6" },
		{ { HEADER(1, 24), SOFTWARE, XOR_MAPPED }, 44, 0, PROBE_ANSWERED, "192.0.2.6" },
		{ { HEADER(1, 12), SOFTWARE }, 32, 0, PROBE_UNPARSEABLE, NULL },
		{ { HEADER(1, 0) }, 20, 0, PROBE_UNPARSEABLE, NULL },
		/* an attribute that runs past the end, one of the wrong length, of no family */
		{ { HEADER(1, 12), 0, 0x20, 0, 20, 0, 2 }, 32, 0, PROBE_UNPARSEABLE, NULL },
		{ { HEADER(1, 12), 0, 0x20, 0, 7, 0, 1 }, 32, 0, PROBE_UNPARSEABLE, NULL },
		{ { HEADER(1, 12), 0, 0x20, 0, 8, 0, 2 }, 32, 0, PROBE_UNPARSEABLE, NULL },
		{ { HEADER(1, 12), 0, 1, 0, 8, 0, 1, 0, 0, 127, 0, 0, 1 },
		  32,
		  0,
		  PROBE_IMPLAUSIBLE,
		  NULL },
		{ { HEADER(0x11, 8), 0, 9, 0, 4, 0, 0, 4, 20 }, 28, 0, PROBE_UNPARSEABLE, NULL },
		/* not an answer to us: a request, a wrong length, no cookie, another id, short */
		{ { 0x00, HEADER(1, 0) }, 20, -ENOMSG, 0, NULL },
		{ { HEADER(1, 8), MAPPED }, 32, -ENOMSG, 0, NULL },
		{ { HEADER(1, 16), MAPPED }, 32, -ENOMSG, 0, NULL },
		{ { 1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x43 }, 32, -ENOMSG, 0, NULL },
		{ { 1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 1 }, 32, -ENOMSG, 0, NULL },
		{ { HEADER(1, 0) }, 19, -ENOMSG, 0, NULL },
		{ { 0 }, 0, -ENOMSG, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum probe_outcome outcome = PROBE_SKIPPED;
		struct ip ip = { .b = { 77 } }, expected;

		assert_int_equal(stun_decode_response(rows[i].data, rows[i].len, &id, &outcome,
		                                      &ip),
		                 rows[i].r);
		assert_int_equal(outcome, rows[i].r < 0 ? PROBE_SKIPPED : rows[i].outcome);
		if (rows[i].address) {
			expected = ip_of(rows[i].address);
			assert_memory_equal(&ip, &expected, sizeof(ip));
		} else {
			assert_int_equal(ip.b[0], 77); /* untouched */
		}
	}
}

static void answers_only_requests(void **state)
{
	struct ip peer = ip_of("192.0.2.1");
	uint8_t request[32], answer[STUN_ANSWER_MAX];

	(void)state;
	stun_encode_request(&id, request);
	assert_int_equal(stun_answer(request, 20, &peer, 1, answer), 32);
	assert_int_equal(stun_answer(request, 19, &peer, 1, answer), 0);
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 0); /* the length says 0 */

	/* An attribute that must be understood and is not: 420, naming it. */
	memcpy(request + 20, (const uint8_t[]){ 0x7f, 0xff, 0, 0 }, 4);
	request[3] = 4;
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 36);
	assert_memory_equal(answer, ((const uint8_t[]){ 1, 0x11, 0, 16 }), 4);
	assert_memory_equal(answer + 20, ((const uint8_t[]){ 0, 9, 0, 4, 0, 0, 4, 20 }), 8);
	assert_memory_equal(answer + 28, ((const uint8_t[]){ 0, 10, 0, 2, 0x7f, 0xff }), 6);
	request[20] = 0x80; /* optional */
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 32);

	request[1] = 0x11; /* an indication, then a response */
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 0);
	request[0] = 1, request[1] = 1;
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 0);
	request[0] = 0, request[1] = 1, request[4] = 0; /* RFC 3489 */
	assert_int_equal(stun_answer(request, 24, &peer, 1, answer), 0);
}

/* No answer larger than 1.5 times its question with headers, and none to an answer. */
static void echo_is_no_weapon(void **state)
{
	static const char *const peers[] = { "1.1.1.1", "203.0.113.255", "2001:db8::1",
		                             "2001:db8:1111:2222:3333:4444:5555:6666" };
	uint8_t data[64] = "hello, is anybody there?", out[STUN_ANSWER_MAX];

	(void)state;
	for (size_t p = 0; p < 4; p++) {
		struct ip peer = ip_of(peers[p]);
		size_t headers = p < 2 ? 28 : 48;
		bool answered = false;

		for (size_t len = 0; len < sizeof(data); len++) {
			size_t n = echo_datagram(data, len, &peer, 4711, out);

			assert_true(n == 0 || (headers + n) * 2 <= (headers + len) * 3);
			answered |= n > 0;
			/* What comes back gets no answer, from whoever. */
			if (n > 0)
				assert_int_equal(echo_datagram(out, n, &peer, 4711, data), 0);
			memcpy(data, "hello, is anybody there?", 24);
		}
		assert_true(answered);
	}
}

static void echo_answers(void **state)
{
	struct ip peer = ip_of("203.0.113.255");
	uint8_t out[STUN_ANSWER_MAX], request[STUN_HEADER_LEN];
	static const char *const no[] = { "10.0.0.1\n", " 10.0.0.1 ", "127.0.0.1" };

	(void)state;
	assert_int_equal(echo_datagram((const uint8_t *)"hi", 2, &peer, 4711, out), 14);
	assert_memory_equal(out, "203.0.113.255\n", 14);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_int_equal(
			echo_datagram((const uint8_t *)no[i], strlen(no[i]), &peer, 4711, out), 0);

	stun_encode_request(&id, request);
	assert_int_equal(echo_datagram(request, sizeof(request), &peer, 4711, out), 32);
	/* from a service that would answer us */
	assert_int_equal(echo_datagram(request, sizeof(request), &peer, 1023, out), 0);
	assert_int_equal(echo_datagram((const uint8_t *)"hi", 2, &peer, 19, out), 0);
	assert_int_equal(echo_datagram(request, sizeof(request), &peer, 1024, out), 32);
	assert_int_equal(echo_datagram(out, 32, &peer, 4711, out), 0);
}

static void echo_pages(void **state)
{
	static const struct {
		const char *path, *format, *body, *type;
		int r;
	} rows[] = {
		{ "/", NULL, "192.0.2.1\n", "text/plain; charset=utf-8", 0 },
		{ "/anything", NULL, "192.0.2.1\n", "text/plain; charset=utf-8", 0 },
		{ "/json", NULL, "{\"ip\":\"192.0.2.1\"}\n", "application/json", 0 },
		{ "/", "json", "{\"ip\":\"192.0.2.1\"}\n", "application/json", 0 },
		{ "/json", "text", "192.0.2.1\n", "text/plain; charset=utf-8", 0 },
		{ "/trace", NULL, "ip=192.0.2.1\nport=7\n", "text/plain; charset=utf-8", 0 },
		{ "/", "xml", NULL, NULL, -EINVAL },
	};
	struct ip peer = ip_of("192.0.2.1");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup(buf_clearp) struct buf body = BUF_INIT(1024);
		const char *type = NULL;

		assert_int_equal(echo_page(rows[i].path, rows[i].format, &peer, 7, &body, &type),
		                 rows[i].r);
		if (rows[i].r < 0)
			continue;
		assert_string_equal(body.data, rows[i].body);
		assert_string_equal(type, rows[i].type);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_itself),    cmocka_unit_test(encodes_as_the_rfc),
		cmocka_unit_test(reads_responses),   cmocka_unit_test(answers_only_requests),
		cmocka_unit_test(echo_is_no_weapon), cmocka_unit_test(echo_answers),
		cmocka_unit_test(echo_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
