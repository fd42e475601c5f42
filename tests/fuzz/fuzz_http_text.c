/* sources: agent/report/negotiate.c agent/report/list.c agent/io/http_check.c agent/io/listener.c agent/report/exposition.c agent/report/metrics.c */
/*
 * Small texts that strangers send: Accept, Host, Origin, targets, tokens,
 * addresses. Whatever a token reads to must be written to the same token.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "io/http_check.h"
#include "io/listener.h"
#include "report/report_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not of interest here: what list.c says to a caller. */
int call_problem(struct call *call, uint16_t status, const char *format, ...)
{
	(void)call;
	(void)status;
	(void)format;
	return 0;
}

const char *http_server_param(const struct http_server_request *request, const char *name)
{
	(void)request;
	(void)name;
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf again = BUF_INIT(4096);
	struct listener_address address;
	char text[2048], key[LIST_KEY_MAX], written[LISTENER_TEXT_MAX];

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	(void)metrics_negotiate(text);
	(void)http_host_is_loopback(text);
	(void)http_origin_is_loopback(text);
	if (listener_parse(text, &address) == 0)
		assert(listener_parse(listener_format(&address, written), &address) == 0);
	if (token_read(text, key) == 0) {
		token_write(key, &again);
		assert(strcmp(again.data, text) == 0);
		buf_clear(&again);
	}
	assert(http_unescape(text) <= size);
	return 0;
}
