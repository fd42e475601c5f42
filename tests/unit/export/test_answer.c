#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "export/answer.h"

#define JSON "application/json"

static struct export_answer read_answer(const struct http_response *response, uint64_t sent)
{
	struct export_answer answer;

	memset(&answer, 0x5a, sizeof(answer));
	export_answer_read(response, EXPORT_LOGS, sent, &answer);
	return answer;
}

static void reads_answers(void **state)
{
	static const struct {
		uint16_t status;
		const char *type, *body;
		enum export_result result;
		uint64_t rejected;
		const char *message;
	} rows[] = {
		{ 200, JSON, "{}", EXPORT_OK, 0, "" },
		{ 200, JSON, "", EXPORT_OK, 0, "" },
		{ 204, NULL, "", EXPORT_OK, 0, "" },
		{ 202, JSON, "{\"partialSuccess\":{}}", EXPORT_OK, 0, "" },
		{ 200, JSON, "{\"partialSuccess\":null}", EXPORT_OK, 0, "" },
		{ 200, JSON, "{\"partialSuccess\":{\"rejectedLogRecords\":\"3\"}}", EXPORT_OK, 3,
		  "" },
		{ 200, JSON,
		  "{\"partialSuccess\":{\"rejectedLogRecords\":2,\"errorMessage\":\"too old\"}}",
		  EXPORT_OK, 2, "too old" },
		/* No more than there were. */
		{ 200, JSON, "{\"partialSuccess\":{\"rejectedLogRecords\":\"11\"}}", EXPORT_OK, 10,
		  "" },
		{ 200, JSON, "{\"partialSuccess\":{\"errorMessage\":\"deprecated\"}}", EXPORT_OK, 0,
		  "deprecated" },
		{ 200, JSON, "{\"partialSuccess\":{\"rejectedLogRecords\":-1}}", EXPORT_OK, 0,
		  "success with a count that is none: rejectedLogRecords" },
		{ 200, JSON, "{\"partialSuccess\":{\"rejectedLogRecords\":\"x\"}}", EXPORT_OK, 0,
		  "success with a count that is none: rejectedLogRecords" },
		{ 200, JSON, "{\"partialSuccess\":{\"rejectedDataPoints\":\"3\"}}", EXPORT_OK, 0,
		  "" },
		/* Said before: it would be there twice. */
		{ 200, "text/html", "<html>", EXPORT_OK, 0,
		  "success with a body that is no answer: not JSON at byte 0: unexpected "
		  "character" },
		{ 200, JSON, "{\"partial", EXPORT_OK, 0,
		  "success with a body that is no answer: the JSON ends early" },
		{ 400, JSON, "{\"code\":3,\"message\":\"bad\\nid\"}", EXPORT_REFUSED, 0,
		  "400: bad id" },
		{ 413, "text/plain", "request body too large\n", EXPORT_REFUSED, 0,
		  "413: request body too large" },
		{ 401, "text/html", "<html>", EXPORT_REFUSED, 0, "401" },
		{ 404, "text/plain; charset=utf-8", "404 page not found", EXPORT_REFUSED, 0,
		  "404: 404 page not found" },
		{ 415, "application/x-protobuf", "\x08\x03\x12\x01x", EXPORT_REFUSED, 0, "415" },
		{ 500, JSON, "{\"message\":7}", EXPORT_REFUSED, 0, "500" },
		{ 501, NULL, "\x1b[31mno\xff", EXPORT_REFUSED, 0, "501: [31mno?" },
		{ 301, NULL, "", EXPORT_REFUSED, 0, "301" },
		{ 100, NULL, "", EXPORT_REFUSED, 0, "100" },
		{ 408, NULL, "", EXPORT_REFUSED, 0, "408" },
		{ 429, JSON, "{\"message\":\"slow down\"}", EXPORT_RETRY, 0, "429: slow down" },
		{ 502, NULL, "", EXPORT_RETRY, 0, "502" },
		{ 503, NULL, "", EXPORT_RETRY, 0, "503" },
		{ 504, NULL, "", EXPORT_RETRY, 0, "504" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct http_response response = {
			.status = rows[i].status,
			.retry_after_s = 7,
			.content_type = rows[i].type,
			.body = rows[i].body,
			.body_len = strlen(rows[i].body),
		};
		struct export_answer answer = read_answer(&response, 10);

		assert_string_equal(answer.message, rows[i].message);
		assert_int_equal(answer.result, rows[i].result);
		assert_int_equal(answer.rejected, rows[i].rejected);
		assert_int_equal(answer.retry_after_s, 7);
	}
}

static void reads_what_broke(void **state)
{
	static const struct {
		enum http_error error;
		uint16_t status;
		enum export_result result;
		const char *message;
	} rows[] = {
		{ HTTP_CONNECT_REFUSED, 0, EXPORT_FAILED, "connection refused: why" },
		{ HTTP_TLS_VERIFY, 0, EXPORT_FAILED, "the certificate does not verify: why" },
		/* What it was going to say nobody knows. */
		{ HTTP_RESET, 200, EXPORT_FAILED, "the connection ended early: why" },
		{ HTTP_TIMEOUT, 400, EXPORT_FAILED, "no complete answer in time: why" },
		/* What it said is enough. */
		{ HTTP_TOO_LARGE, 200, EXPORT_OK, "the answer is too large: why" },
		{ HTTP_PROTOCOL, 200, EXPORT_OK, "the answer is not HTTP: why" },
		{ HTTP_TOO_LARGE, 503, EXPORT_RETRY, "503: the answer is too large: why" },
		{ HTTP_TOO_LARGE, 400, EXPORT_REFUSED, "400: the answer is too large: why" },
		{ HTTP_PROTOCOL, 0, EXPORT_FAILED, "the answer is not HTTP: why" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct http_response response = { .error = rows[i].error,
			                                .status = rows[i].status,
			                                .body = "",
			                                .detail = "why" };
		struct export_answer answer = read_answer(&response, 10);

		assert_string_equal(answer.message, rows[i].message);
		assert_int_equal(answer.result, rows[i].result);
		assert_int_equal(answer.rejected, 0);
	}
}

static void reads_metrics(void **state)
{
	static const char body[] = "{\"partialSuccess\":{\"rejectedDataPoints\":\"9\","
				   "\"rejectedLogRecords\":\"1\"}}";
	const struct http_response response = { .status = 200,
		                                .body = body,
		                                .body_len = strlen(body) };
	struct export_answer answer;

	(void)state;
	export_answer_read(&response, EXPORT_METRICS, UINT64_MAX, &answer);
	assert_int_equal(answer.rejected, 9);
}

/* Neither a long message nor much JSON costs much. */
static void bounds_what_it_reads(void **state)
{
	cleanup(mem_freep) char *body = malloc(EXPORT_ANSWER_JSON_MAX + 64);
	struct http_response response = { .status = 400, .body = body };
	struct export_answer answer;
	int n;

	(void)state;
	assert_non_null(body);
	n = sprintf(body, "{\"message\":\"");
	memset(body + n, 'x', 2000);
	strcpy(body + n + 2000, "\"}");
	response.body_len = strlen(body);
	answer = read_answer(&response, 1);
	assert_int_equal(strlen(answer.message), EXPORT_MESSAGE_MAX);
	assert_memory_equal(answer.message, "400: xxx", 8);

	memset(body, ' ', EXPORT_ANSWER_JSON_MAX + 63);
	memcpy(body, "{\"message\":\"y\"}", 15);
	response.body_len = EXPORT_ANSWER_JSON_MAX;
	response.content_type = JSON;
	assert_string_equal(read_answer(&response, 1).message, "400: y");
	response.body_len++;
	assert_string_equal(read_answer(&response, 1).message, "400");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_answers),
		cmocka_unit_test(reads_what_broke),
		cmocka_unit_test(reads_metrics),
		cmocka_unit_test(bounds_what_it_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
