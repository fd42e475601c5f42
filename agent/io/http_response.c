#include "io/http_response.h"

#include <errno.h>

static const char *const texts[] = {
	[HTTP_OK] = "ok",
	[HTTP_BAD_URL] = "not a URL that can be asked",
	[HTTP_RESOLVE_FAILED] = "the host has no address",
	[HTTP_CONNECT_REFUSED] = "connection refused",
	[HTTP_CONNECT_TIMEOUT] = "no connection in time",
	[HTTP_UNREACHABLE] = "unreachable",
	[HTTP_TLS_FAILED] = "the TLS handshake failed",
	[HTTP_TLS_VERIFY] = "the certificate does not verify",
	[HTTP_TIMEOUT] = "no complete answer in time",
	[HTTP_RESET] = "the connection ended early",
	[HTTP_PROTOCOL] = "the answer is not HTTP",
	[HTTP_TOO_LARGE] = "the answer is too large",
	[HTTP_ABORTED] = "stopped",
	[HTTP_LOCAL_ERROR] = "the request could not be made",
};

const char *http_error_text(enum http_error error)
{
	return error < _HTTP_ERROR_MAX ? texts[error] : "unknown";
}

enum http_error http_error_of_errno(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return HTTP_CONNECT_REFUSED;
	case ETIMEDOUT:
		return HTTP_CONNECT_TIMEOUT;
	case ECONNRESET:
		return HTTP_RESET;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case ENOENT: /* a unix socket that is not there */
		return HTTP_LOCAL_ERROR;
	default: /* no route, prohibited, blackholed, rejected by a rule */
		return HTTP_UNREACHABLE;
	}
}

static uint32_t span_us(int64_t from, int64_t to)
{
	if (to <= from)
		return 0;
	return to - from > UINT32_MAX ? UINT32_MAX : (uint32_t)(to - from);
}

void http_response_set_times(struct http_response *response, const struct http_times *times)
{
	int64_t ready = times->secured_us > 0 ? times->secured_us : times->connected_us;

	response->connected = times->connected_us > 0;
	response->secured = times->secured_us > 0;
	response->first_byte = times->first_byte_us > 0 && response->status != 0;

	response->connect_us = span_us(times->resolved_us, times->connected_us);
	response->tls_us = response->secured ? span_us(times->connected_us, times->secured_us) : 0;
	response->first_byte_us = response->first_byte ? span_us(ready, times->first_byte_us) : 0;
	response->total_us = span_us(0, times->total_us);
}
