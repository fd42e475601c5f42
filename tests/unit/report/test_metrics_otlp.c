#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "golden.h"
#include "report/metrics_parts.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define GOLDEN "tests/unit/export/golden/metrics.json"
#define START_US (FIXTURE_US - 3600000000)

static struct metrics *made_up(void)
{
	struct metrics *metrics;

	assert_int_equal(metrics_new(&metrics), 0);
	metrics_set(metrics, METRIC_BUILD_INFO, METRIC_LABELS("0.1.0", "abc"), 1);
	metrics_set(metrics, METRIC_SUBJECTS, METRIC_LABELS("violated"), 2);
	metrics_declare(metrics, METRIC_SUBJECTS, METRIC_LABELS("verified"));
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED,
	            METRIC_LABELS("a\"b", "back\\slash", "line\nbreak\xff"), 1);
	metrics_set(metrics, METRIC_SUBJECT_LAST_VERIFIED, METRIC_LABELS("n", "p", ""),
	            1795190400.123456);
	metrics_add(metrics, METRIC_FLOWS, METRIC_LABELS("direct"), (1ULL << 53) + 1);
	metrics_add(metrics, METRIC_FLOWS, METRIC_LABELS("gateway"), UINT64_MAX);
	metrics_set(metrics, METRIC_KUBE_RECEIVED, NULL, 123456789);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 0.005);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 0.3);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 1000);
	metrics_set(metrics, METRIC_PROCESS_CPU, NULL, 1.25);
	return metrics;
}

struct span {
	const struct metrics *metrics;
	int64_t start_us, now_us;
};

static void render(void *user, struct encode *e)
{
	const struct span *span = user;

	metrics_render_otlp(span->metrics, span->start_us, span->now_us, e);
}

static char *request_of(otlp_metrics_fn fn, void *user)
{
	const struct otlp_resource resource = { .version = "0.1.0", .node = "worker-1" };
	struct buf out = BUF_INIT(EXPORT_REQUEST_MAX);

	otlp_metrics(&resource, fn, user, &out);
	assert_int_equal(out.error, 0);
	return take_ptr(out.data);
}

static void they_are_as_they_were(void **state)
{
	struct metrics *metrics = made_up();
	struct span span = { metrics, START_US, FIXTURE_US };
	char *json = request_of(render, &span);

	(void)state;
	golden_compare(GOLDEN, json);
	free(json);
	metrics_free(metrics);
}

static struct json_object *get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	(void)json_object_object_get_ex(object, key, &value);
	return value;
}

static struct json_object *list_in(struct json_object *root)
{
	root = json_object_array_get_idx(get(root, "resourceMetrics"), 0);
	root = json_object_array_get_idx(get(root, "scopeMetrics"), 0);
	root = get(root, "metrics");
	assert_true(json_object_is_type(root, json_type_array));
	return root;
}

static struct json_object *first_point(struct json_object *metric)
{
	static const char *const kinds[] = { "sum", "gauge", "histogram" };

	for (size_t i = 0; i < COUNT(kinds); i++)
		if (get(metric, kinds[i]))
			return json_object_array_get_idx(get(get(metric, kinds[i]), "dataPoints"),
			                                 0);
	fail_msg("%s has no data", json_object_to_json_string(metric));
	return NULL;
}

/* Both are made from one table; a name that only one of them has is a rule that never fires. */
static void names_are_those_of_prometheus(void **state)
{
	static struct fixture fixture;
	struct json_object *root, *list;
	struct buf text;
	size_t families = 0;
	char *json;

	(void)state;
	fixture_start(&fixture);
	json = request_of(report_metrics_otlp, fixture.report);
	root = golden_parse(json);
	list = list_in(root);
	text = fixture_get(&fixture, "/metrics").body;
	for (const char *p = text.data; (p = strstr(p, "# TYPE ")); p++)
		families++;
	assert_in_range(families, 20, 200);
	assert_int_equal(json_object_array_length(list), families);
	for (size_t i = 0; i < families; i++) {
		struct json_object *metric = json_object_array_get_idx(list, i);
		const char *name = json_object_get_string(get(metric, "name"));
		const char *unit = json_object_get_string(get(metric, "unit"));
		char line[256];

		snprintf(line, sizeof(line), "# TYPE %s %s\n", name,
		         get(metric, "sum")         ? "counter"
		         : get(metric, "histogram") ? "histogram"
		                                    : "gauge");
		if (!strstr(text.data, line))
			fail_msg("Prometheus is told no %s", line);
		assert_true(*json_object_get_string(get(metric, "description")));
		assert_string_equal(unit, strstr(name, "_seconds") ? "s"
		                          : strstr(name, "_bytes") ? "By"
		                                                   : "1");
	}
	json_object_put(root);
	free(json);
	buf_clear(&text);
	fixture_stop(&fixture);
}

/* What is counted, and since when, is of now: gauges are collected for it as for a scrape. */
static void it_is_of_now_and_since_the_start(void **state)
{
	static struct fixture fixture;
	struct json_object *root, *list;
	char *json;
	bool seen = false;

	(void)state;
	fixture_start(&fixture);
	json = request_of(report_metrics_otlp, fixture.report);
	root = golden_parse(json);
	list = list_in(root);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *metric = json_object_array_get_idx(list, i);
		struct json_object *point = first_point(metric);
		bool since = !get(metric, "gauge");

		assert_string_equal(json_object_get_string(get(point, "timeUnixNano")),
		                    "1795190400000000000");
		if (since)
			assert_string_equal(json_object_get_string(get(point, "startTimeUnixNano")),
			                    "1795186800000000000");
		else
			assert_null(get(point, "startTimeUnixNano"));
		if (strcmp(json_object_get_string(get(metric, "name")),
		           "egress_verifier_subjects") == 0) {
			assert_true(json_object_get_double(get(point, "asDouble")) == 1);
			seen = true;
		}
	}
	assert_true(seen);
	json_object_put(root);
	free(json);
	fixture_stop(&fixture);
}

/* A start after the end is no cumulative value; times that are none are left out. */
static void a_clock_that_was_set_back(void **state)
{
	static const struct {
		int64_t start_us, now_us;
		const char *start, *now;
	} rows[] = {
		{ FIXTURE_US + 5, FIXTURE_US, "1795190400000000000", "1795190400000000000" },
		{ -7, FIXTURE_US, NULL, "1795190400000000000" },
		{ 0, 0, NULL, NULL },
	};
	struct metrics *metrics;

	(void)state;
	assert_int_equal(metrics_new(&metrics), 0);
	metrics_declare(metrics, METRIC_FLOWS, METRIC_LABELS("direct"));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span span = { metrics, rows[i].start_us, rows[i].now_us };
		char *json = request_of(render, &span);
		struct json_object *root = golden_parse(json), *point;
		const char *start, *now;

		point = first_point(json_object_array_get_idx(list_in(root), 0));
		start = json_object_get_string(get(point, "startTimeUnixNano"));
		now = json_object_get_string(get(point, "timeUnixNano"));
		assert_string_equal(start ? start : "none", rows[i].start ? rows[i].start : "none");
		assert_string_equal(now ? now : "none", rows[i].now ? rows[i].now : "none");
		assert_string_equal(json_object_get_string(get(point, "asInt")), "0");
		json_object_put(root);
		free(json);
	}
	metrics_free(metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_are_as_they_were),
		cmocka_unit_test(names_are_those_of_prometheus),
		cmocka_unit_test(it_is_of_now_and_since_the_start),
		cmocka_unit_test(a_clock_that_was_set_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
