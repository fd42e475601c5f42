/* sources: agent/probe/answer.c agent/probe/echo.c agent/probe/stun.c */
/* What our server answers our client reads; no answer outgrows its question or gets one itself. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/ip.h"
#include "probe/echo.h"
#include "probe/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_client(const uint8_t *data, size_t size)
{
	static const struct ip before = { .b = { 77, 78, 79 } };
	enum probe_outcome outcome = PROBE_SKIPPED;
	struct ip ip = before;
	struct stun_id id;

	if (size < STUN_HEADER_LEN)
		return;
	memcpy(&id, data + 8, sizeof(id));
	if (stun_decode_response(data, size, &id, &outcome, &ip) < 0)
		assert(outcome == PROBE_SKIPPED);
	if (outcome != PROBE_ANSWERED)
		assert(memcmp(&ip, &before, sizeof(ip)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const peers[] = { "203.0.113.255",
		                             "2001:db8:1111:2222:3333:4444:5555:6666" };

	check_client(data, size);
	for (size_t i = 0; i < 2; i++) {
		uint8_t out[STUN_ANSWER_MAX], none[STUN_ANSWER_MAX];
		size_t headers = i == 0 ? 28 : 48, n;
		enum probe_outcome outcome;
		struct ip peer, ip;
		struct stun_id id;

		assert(ip_parse(peers[i], &peer) == 0);
		n = echo_datagram(data, size, &peer, 4711, out);
		assert(n <= sizeof(out));
		if (n == 0)
			continue;
		assert((headers + n) * 2 <= (headers + size) * 3);
		assert(echo_datagram(out, n, &peer, 4711, none) == 0);

		n = stun_answer(data, size, &peer, 4711, out);
		if (n == 0)
			continue;
		memcpy(&id, data + 8, sizeof(id));
		assert(stun_decode_response(out, n, &id, &outcome, &ip) == 0);
		if (outcome == PROBE_ANSWERED)
			assert(memcmp(&ip, &peer, sizeof(ip)) == 0);
	}
	return 0;
}
