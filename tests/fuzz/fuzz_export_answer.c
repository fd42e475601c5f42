/* sources: agent/export/answer.c agent/kube/object.c agent/kube/status.c agent/io/http_response.c */
/*
 * Whatever a collector answers: the status decides, a message is one line of visible characters
 * within its bound, and no more is rejected than was sent.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "export/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visible(const char *text)
{
	uint32_t c;

	for (size_t n; *text; text += n) {
		n = utf8_read(text, &c);
		assert(n > 0 && utf8_visible(c));
	}
}

static enum export_result result_of(uint16_t status)
{
	if (status >= 200 && status < 300)
		return EXPORT_OK;
	return status == 429 || (status >= 502 && status <= 504) ? EXPORT_RETRY : EXPORT_REFUSED;
}

static void check(const struct http_response *response, enum export_signal signal, uint64_t sent)
{
	struct export_answer answer;

	export_answer_read(response, signal, sent, &answer);
	assert(memchr(answer.message, '\0', sizeof(answer.message)));
	visible(answer.message);
	assert(answer.rejected <= sent);
	assert(answer.rejected == 0 || answer.result == EXPORT_OK);
	if (response->error == HTTP_OK)
		assert(answer.result == result_of(response->status));
	if (answer.result == EXPORT_REFUSED || answer.result == EXPORT_RETRY)
		assert(answer.message[0]);
}

/* A byte for the error, two for the status, one for the kind; the rest is the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = { NULL, "application/json", "text/plain", "text/html" };
	struct http_response response = { .detail = "" };
	char *body;

	if (size < 4)
		return 0;
	body = malloc(size - 3);
	assert(body);
	memcpy(body, data + 4, size - 4);
	body[size - 4] = '\0';
	response.error = data[0] < 200 ? HTTP_OK : (enum http_error)(data[0] % _HTTP_ERROR_MAX);
	response.status = (uint16_t)(100 + (data[1] << 8 | data[2]) % 500);
	response.content_type = types[data[3] % 4];
	response.body = body;
	response.body_len = size - 4;
	check(&response, data[3] & 4 ? EXPORT_METRICS : EXPORT_LOGS, data[3] & 8 ? 1 : UINT64_MAX);
	response.detail = body;
	check(&response, EXPORT_LOGS, 10);
	free(body);
	return 0;
}
