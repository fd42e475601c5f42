#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "limits.h"
#include "report/metrics.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void formats_are_negotiated(void **state)
{
	static const struct {
		const char *accept;
		enum metrics_format format;
	} rows[] = {
		{ NULL, METRICS_TEXT },
		{ "", METRICS_TEXT },
		{ "*/*", METRICS_TEXT },
		{ "text/html", METRICS_TEXT },
		{ "application/openmetrics-text", METRICS_OPENMETRICS },
		{ "application/openmetrics-text; version=1.0.0", METRICS_OPENMETRICS },
		{ "APPLICATION/OpenMetrics-Text;VERSION=1.0.0", METRICS_OPENMETRICS },
		{ "application/openmetrics-text; version=0.0.1", METRICS_TEXT },
		{ "application/openmetrics-text; version=2.0.0", METRICS_TEXT },
		{ "application/openmetrics-text;q=0", METRICS_TEXT },
		{ "application/openmetrics-text;q=0.4,text/plain;q=0.5", METRICS_TEXT },
		{ "text/plain;q=0.5,application/openmetrics-text;q=0.501", METRICS_OPENMETRICS },
		{ "text/plain,application/openmetrics-text", METRICS_TEXT },
		/* Prometheus 3 */
		{ "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
		  "application/openmetrics-text;version=0.0.1;q=0.4,"
		  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
		  "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
		  METRICS_OPENMETRICS },
		{ "text/plain;version=1.0.0;q=0.9,application/openmetrics-text;q=0.1",
		  METRICS_OPENMETRICS },
		{ "application/openmetrics-text;q=2,text/plain;q=0.1", METRICS_TEXT },
		{ "application/openmetrics-text;q=,text/plain;q=0.1", METRICS_TEXT },
		{ "application/openmetrics-text;q=0.1234,text/plain;q=0.1", METRICS_TEXT },
		{ ",,;;=,application/openmetrics-text ; q=1.000 ,", METRICS_OPENMETRICS },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (metrics_negotiate(rows[i].accept) != rows[i].format)
			fail_msg("row %zu: %s", i, rows[i].accept);
}

static struct metrics *made_up(void)
{
	struct metrics *metrics;

	assert_int_equal(metrics_new(&metrics), 0);
	metrics_set(metrics, METRIC_BUILD_INFO, METRIC_LABELS("0.1.0", "abc"), 1);
	metrics_set(metrics, METRIC_SUBJECTS, METRIC_LABELS("violated"), 2);
	metrics_declare(metrics, METRIC_SUBJECTS, METRIC_LABELS("verified"));
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED,
	            METRIC_LABELS("a\"b", "back\\slash", "line\nbreak\xff"), 1);
	metrics_add(metrics, METRIC_FLOWS, METRIC_LABELS("direct"), 3);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 0.005);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 0.3);
	metrics_observe(metrics, METRIC_DETECTION, NULL, 1000);
	metrics_set(metrics, METRIC_PROCESS_CPU, NULL, 1.25);
	return metrics;
}

static const char golden_text[] =
	"# HELP egress_verifier_build_info Version of the program.\n"
	"# TYPE egress_verifier_build_info gauge\n"
	"egress_verifier_build_info{version=\"0.1.0\",commit=\"abc\"} 1\n"
	"# HELP egress_verifier_subjects Pods of this node that should use a gateway, by state.\n"
	"# TYPE egress_verifier_subjects gauge\n"
	"egress_verifier_subjects{state=\"violated\"} 2\n"
	"egress_verifier_subjects{state=\"verified\"} 0\n"
	"# HELP egress_verifier_subject_verified 1 while the pod's egress is verified, else 0.\n"
	"# TYPE egress_verifier_subject_verified gauge\n"
	"egress_verifier_subject_verified{namespace=\"a\\\"b\",pod=\"back\\\\slash\","
	"gateway=\"line\\nbreak\xef\xbf\xbd\"} 1\n"
	"# HELP egress_verifier_flows_total Flows of subjects that were seen, by the way they "
	"took.\n"
	"# TYPE egress_verifier_flows_total counter\n"
	"egress_verifier_flows_total{path=\"direct\"} 3\n"
	"# HELP egress_verifier_detection_seconds From the first offending packet to the open "
	"violation.\n"
	"# TYPE egress_verifier_detection_seconds histogram\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.005\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.01\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.025\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.05\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.1\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.25\"} 1\n"
	"egress_verifier_detection_seconds_bucket{le=\"0.5\"} 2\n"
	"egress_verifier_detection_seconds_bucket{le=\"1.0\"} 2\n"
	"egress_verifier_detection_seconds_bucket{le=\"5.0\"} 2\n"
	"egress_verifier_detection_seconds_bucket{le=\"30.0\"} 2\n"
	"egress_verifier_detection_seconds_bucket{le=\"120.0\"} 2\n"
	"egress_verifier_detection_seconds_bucket{le=\"+Inf\"} 3\n"
	"egress_verifier_detection_seconds_sum 1000.305\n"
	"egress_verifier_detection_seconds_count 3\n"
	"# HELP process_cpu_seconds_total User and system CPU time of the process.\n"
	"# TYPE process_cpu_seconds_total counter\n"
	"process_cpu_seconds_total 1.25\n";

/* What differs there: TYPE first, UNIT, families without suffix, the end. */
static const char *const golden_open[] = {
	"# TYPE egress_verifier_build info\n# HELP egress_verifier_build Version of the program.\n"
	"egress_verifier_build_info{version=\"0.1.0\",commit=\"abc\"} 1\n",
	"# TYPE egress_verifier_flows counter\n# HELP egress_verifier_flows Flows of subjects that "
	"were seen, by the way they took.\negress_verifier_flows_total{path=\"direct\"} 3\n",
	"# TYPE egress_verifier_detection_seconds histogram\n"
	"# UNIT egress_verifier_detection_seconds seconds\n"
	"# HELP egress_verifier_detection_seconds From",
	"# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\n"
	"# HELP process_cpu_seconds User and system CPU time of the process.\n"
	"process_cpu_seconds_total 1.25\n# EOF\n",
};

static void both_formats_are_exact(void **state)
{
	struct buf text = BUF_INIT(1 << 20), open = BUF_INIT(1 << 20);
	struct metrics *metrics = made_up();

	(void)state;
	metrics_render(metrics, METRICS_TEXT, &text);
	metrics_render(metrics, METRICS_OPENMETRICS, &open);
	assert_string_equal(text.data, golden_text);
	for (size_t i = 0; i < COUNT(golden_open); i++)
		if (!strstr(open.data, golden_open[i]))
			fail_msg("not there: %s\nin %s", golden_open[i], open.data);
	assert_string_equal(open.data + open.len - 6, "# EOF\n");
	assert_null(strstr(open.data, "\n\n"));
	buf_clear(&text);
	buf_clear(&open);
	assert_null(metrics_free(metrics));
}

static void swept_series_disappear_and_others_stay(void **state)
{
	struct metrics *metrics = made_up();
	double value = -7;

	(void)state;
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", "stays", "g"), 1);
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", "goes", "g"), 1);
	metrics_sweep_begin(metrics, METRIC_SUBJECT_VERIFIED);
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", "stays", "g"), 0);
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", "new", "g"), 1);
	metrics_sweep_end(metrics, METRIC_SUBJECT_VERIFIED);
	assert_int_equal(metrics_value(metrics, METRIC_SUBJECT_VERIFIED,
	                               METRIC_LABELS("n", "goes", "g"), &value),
	                 -ENOENT);
	assert_true(value == -7);
	assert_int_equal(metrics_value(metrics, METRIC_SUBJECT_VERIFIED,
	                               METRIC_LABELS("n", "stays", "g"), &value),
	                 0);
	assert_true(value == 0);
	assert_int_equal(metrics_value(metrics, METRIC_SUBJECT_VERIFIED,
	                               METRIC_LABELS("n", "new", "g"), &value),
	                 0);
	assert_int_equal(metrics_value(metrics, METRIC_FLOWS, METRIC_LABELS("direct"), &value), 0);
	assert_true(value == 3);
	/* Sweeping all, then adding again: the list's end is right. */
	metrics_sweep_begin(metrics, METRIC_SUBJECT_VERIFIED);
	metrics_sweep_end(metrics, METRIC_SUBJECT_VERIFIED);
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", "again", "g"), 1);
	assert_int_equal(metrics_value(metrics, METRIC_SUBJECT_VERIFIED,
	                               METRIC_LABELS("n", "again", "g"), &value),
	                 0);
	metrics_free(metrics);
}

static void series_are_capped_and_refusals_counted(void **state)
{
	struct metrics *metrics;
	char pod[32], huge[2 * METRIC_LABEL_MAX];
	double value;

	(void)state;
	assert_int_equal(metrics_new(&metrics), 0);
	memset(huge, 'x', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", huge, ""), 1);
	metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", huge, ""), 1);
	for (int i = 1; i < METRIC_SERIES_MAX + 10; i++) {
		snprintf(pod, sizeof(pod), "pod-%d", i);
		metrics_set(metrics, METRIC_SUBJECT_VERIFIED, METRIC_LABELS("n", pod, ""), 1);
	}
	assert_int_equal(metrics_refused(metrics), 10);
	assert_int_equal(metrics_value(metrics, METRIC_SUBJECT_VERIFIED,
	                               METRIC_LABELS("n", pod, ""), &value),
	                 -ENOENT);
	metrics_free(metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_negotiated),
		cmocka_unit_test(both_formats_are_exact),
		cmocka_unit_test(swept_series_disappear_and_others_stay),
		cmocka_unit_test(series_are_capped_and_refusals_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
