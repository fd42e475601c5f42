/*
 * The exporter when memory runs out: its settings are read whole or refused, a request is made
 * whole or not at all, and an answer without room for its words still is what its status says.
 */
#include "test.h"

#include "export/answer.h"
#include "export/batch.h"
#include "export/settings.h"
#include "oom/oom.h"

static const char *environment(const char *name)
{
	static const char *const variables[][2] = {
		{ "OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/base" },
		{ "OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,tenant=1,tenant=2" },
		{ "OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem" },
		{ "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/tls.crt" },
		{ "OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key" },
		{ "OTEL_RESOURCE_ATTRIBUTES", "a=b,c=d,a=e,service.name=s" },
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		if (strcmp(variables[i][0], name) == 0)
			return variables[i][1];
	return NULL;
}

static void check_settings(const struct export_settings *settings)
{
	for (size_t i = 0; i < _EXPORT_SIGNAL_MAX; i++) {
		const struct export_target *target = &settings->target[i];

		assert_string_equal(target->header[0], "authorization: Bearer x");
		assert_string_equal(target->header[1], "tenant: 2");
		assert_int_equal(target->n_headers, 2);
		assert_string_equal(target->key, "/tls.key");
	}
	assert_string_equal(settings->target[EXPORT_METRICS].url,
	                    "https://collector:4318/base/v1/metrics");
	assert_int_equal(settings->n_attributes, 2);
	assert_string_equal(settings->attributes[0].value, "e");
	assert_string_equal(settings->service_name, "s");
	assert_string_equal(settings->warning, "");
}

static void read_settings(void)
{
	struct export_settings settings;
	char error[512] = "";
	int r;

	oom_begin();
	r = export_settings_load("", environment, &settings, error);
	oom_end();
	if (r < 0) {
		assert_true(oom.fired);
		assert_int_equal(r, -ENOMEM);
		assert_non_null(strstr(error, strerror(ENOMEM)));
		assert_int_equal(export_settings_load("", environment, &settings, error), 0);
	}
	check_settings(&settings);
	export_settings_clear(&settings);
}

static void settings_read(void **state)
{
	(void)state;
	oom_run("settings, read", read_settings, 25, OOM_ALL);
}

static int write_batch(struct batch *batch, bool gzip)
{
	static const struct otlp_resource resource = { .node = "node-1", .instance = "i" };
	char record[600];
	uint32_t noise = 1;

	batch_begin(batch, &resource, gzip);
	for (int i = 0; i < 100; i++) {
		memcpy(record, "{\"body\":\"", 9);
		for (size_t k = 9; k < sizeof(record) - 2; k++) {
			noise = noise * 1664525u + 1013904223u;
			record[k] = (char)('a' + (noise >> 24) % 26);
		}
		memcpy(record + sizeof(record) - 2, "\"}", 2);
		batch_add(batch, record, sizeof(record));
	}
	return batch_end(batch);
}

static void make_batches(void)
{
	for (int gzip = 0; gzip < 2; gzip++) {
		struct batch batch = { 0 };
		size_t len;
		int r;

		assert_int_equal(write_batch(&batch, gzip), 0);
		len = batch_body(&batch)->len;
		assert_true(len > 20000);
		batch_clear(&batch);

		oom_begin();
		r = write_batch(&batch, gzip);
		oom_end();
		assert_true(r == 0 || (r == -ENOMEM && oom.fired));
		if (r == 0)
			assert_int_equal(batch_body(&batch)->len, len);
		/* What it was in the middle of is forgotten. */
		assert_int_equal(write_batch(&batch, gzip), 0);
		assert_int_equal(batch_body(&batch)->len, len);
		batch_clear(&batch);
	}
}

static void batches_made(void **state)
{
	(void)state;
	oom_run("batches, made", make_batches, 6, OOM_ALL);
}

static void read_answer(void)
{
	static const char body[] = "{\"partialSuccess\":{\"rejectedLogRecords\":\"3\"}}";
	const struct http_response response = { .status = 200,
		                                .body = body,
		                                .body_len = strlen(body) };
	struct export_answer answer;

	oom_begin();
	export_answer_read(&response, EXPORT_LOGS, 10, &answer);
	oom_end();
	assert_int_equal(answer.result, EXPORT_OK);
	if (oom.fired)
		assert_true(answer.rejected == 3 || answer.message[0]);
	else
		assert_int_equal(answer.rejected, 3);
}

static void answer_read(void **state)
{
	(void)state;
	oom_run("answer, read", read_answer, 0, OOM_ALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_read),
		cmocka_unit_test(batches_made),
		cmocka_unit_test(answer_read),
	};

	return cmocka_run_group_tests(tests, oom_set_up, NULL);
}
