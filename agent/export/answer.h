/*
 * What a collector's answer means (opentelemetry-proto, docs/specification.md, "OTLP/HTTP
 * Response"). Pure.
 *
 * A status is what the server decided; a body only tells more. A 200 whose body is not what the
 * specification says is a 200: sent again it would be there twice.
 */
#pragma once

#include "export/exporter.h"
#include "io/http_response.h"

struct export_answer {
	enum export_result result;
	uint64_t rejected;      /* of what was sent, by partialSuccess; with EXPORT_OK */
	uint32_t retry_after_s; /* 0: not said */
	/* What was wrong, in the collector's words if it has any; one line; "": nothing. */
	char message[EXPORT_MESSAGE_MAX + 1];
};

/* `sent`: records or data points in the request; UINT64_MAX: not known. */
void export_answer_read(const struct http_response *response, enum export_signal signal,
                        uint64_t sent, struct export_answer *out);
