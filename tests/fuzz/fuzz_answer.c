/* sources: agent/probe/answer.c agent/probe/echo.c agent/probe/stun.c */
/* An answer is taken or left alone; what is taken is plausible and reads the same again. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/ip.h"
#include "probe/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct answer_format formats[] = { { 0 }, { .json = "ip" }, { .key = "ip" } };
	static const struct ip before = { .b = { 77, 78, 79 } };

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct ip ip = before, again;
		char text[IP_TEXT_MAX];
		enum probe_outcome outcome =
			answer_parse(&formats[i], (const char *)data, size, &ip);

		assert(outcome == PROBE_ANSWERED || outcome == PROBE_UNPARSEABLE ||
		       outcome == PROBE_TOO_LARGE || outcome == PROBE_IMPLAUSIBLE);
		if (outcome != PROBE_ANSWERED) {
			assert(memcmp(&ip, &before, sizeof(ip)) == 0);
			continue;
		}
		assert(answer_plausible(&ip));
		ip_format(&ip, text);
		assert(answer_parse(&formats[0], text, strlen(text), &again) == PROBE_ANSWERED);
		assert(memcmp(&ip, &again, sizeof(ip)) == 0);
	}
	return 0;
}
