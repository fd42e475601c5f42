/* /metrics as a whole: what is there from the start, and whether strict readers take it. */
#include "test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

#define OPEN "application/openmetrics-text;version=1.0.0"

static char *scrape(struct fixture *f, const char *accept)
{
	struct http_server_response response =
		fixture_ask(f, "GET", "/metrics", accept, REPORT_METRICS);

	assert_int_equal(response.status, 200);
	assert_string_equal(response.content_type,
	                    accept ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	                           : "text/plain; version=0.0.4; charset=utf-8");
	assert_int_equal(response.body.error, 0);
	return response.body.data;
}

static void series_exist_from_the_start(void **state)
{
	static const char *const wanted[] = {
		"egress_verifier_build_info{version=\"0.1.0\",commit=\"0123456789ab\"} 1\n",
		"egress_verifier_subjects{state=\"pending\"} 1\n",
		"egress_verifier_subject_verified{namespace=\"shop\",pod=\"checkout-7d9f-x2x\","
		"gateway="
		"\"partner-bank\"} 1\n",
		"egress_verifier_subject_verified{namespace=\"billing\",pod=\"export-1\",gateway="
		"\"\"} 0\n",
		"egress_verifier_subject_last_verified_timestamp_seconds{namespace=\"shop\",pod="
		"\"checkout-7d9f-x2x\",gateway=\"partner-bank\"} 1795190392\n",
		"egress_verifier_violations_open{kind=\"stale-routes\",namespace=\"shop\",gateway="
		"\"partner-bank\"} 0\n",
		"egress_verifier_violations_open{kind=\"stale-routes\",namespace=\"\",gateway=\"\"}"
		" 0\n",
		"egress_verifier_violations_open{kind=\"gateway-bypass\",namespace=\"shop\","
		"gateway="
		"\"partner-bank\"} 1\n",
		"egress_verifier_violations_total{kind=\"wrong-source-address\",namespace=\"shop\","
		"gateway="
		"\"partner-bank\"} 1\n",
		"egress_verifier_probe_attempts_total{echo=\"ifconfig\"} 2\n",
		"egress_verifier_probe_attempts_total{echo=\"udp\"} 0\n",
		"egress_verifier_probe_failures_total{echo=\"ifconfig\",reason=\"connect-timeout\"}"
		" 1\n",
		"egress_verifier_probe_failures_total{echo=\"udp\",reason=\"unparseable\"} 0\n",
		"egress_verifier_probe_duration_seconds_count{phase=\"tls\"} 0\n",
		"egress_verifier_probe_duration_seconds_count{phase=\"total\"} 2\n",
		"egress_verifier_flows_total{path=\"reply\"} 1\n",
		"egress_verifier_flow_bytes_total{path=\"gateway\"} 4500000\n",
		"egress_verifier_flow_events_lost_total 12\n",
		"egress_verifier_detection_seconds_count 1\n",
		"egress_verifier_condition{condition=\"export\"} 1\n",
		"egress_verifier_lost_total{what=\"flow-evictions\"} 34567\n",
		"egress_verifier_event_readers 0\n",
		"process_start_time_seconds 1795186800\n",
	};
	struct fixture f;
	char *text;

	(void)state;
	fixture_start(&f);
	text = scrape(&f, NULL);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!strstr(text, wanted[i]))
			fail_msg("not there: %s", wanted[i]);
	assert_null(strstr(text, "_failures_total{echo=\"udp\",reason=\"answered\"}"));
	assert_null(strstr(text, "198.51.100."));
	free(text);
	fixture_stop(&f);
}

static const struct report_kube made_up_kube = {
	.client = { .requests = 101,
	            .bytes = 102,
	            .renewed = 103,
	            .credential_errors = 104,
	            .warnings = 105 },
	.recorder = { .sent = 201,
	              .series = 202,
	              .coalesced = 203,
	              .throttled = 204,
	              .dropped = 205,
	              .rejected = 206 },
	.watches[REPORT_GATEWAYS] = { .synced = true,
	                              .heard_us = FIXTURE_US,
	                              .stats = { .lists = 301,
	                                         .watches = 302,
	                                         .events = 303,
	                                         .bookmarks = 304,
	                                         .expired = 305,
	                                         .throttled = 306,
	                                         .errors = 307,
	                                         .silences = 308,
	                                         .refused = 309 } },
};

/* Each with 0 until something came, for every resource; then with what was counted for this one. */
static void what_the_api_server_brings_is_counted(void **state)
{
#define SGC "{resource=\"staticgatewayconfigurations\""
	static const struct {
		const char *series;
		const char *value;
	} rows[] = {
		{ "kube_watch_synced" SGC "}", "1" },
		{ "kube_watch_last_heard_timestamp_seconds" SGC "}", "1795190400" },
		{ "kube_watch_lists_total" SGC "}", "301" },
		{ "kube_watch_watches_total" SGC "}", "302" },
		{ "kube_watch_events_total" SGC "}", "303" },
		{ "kube_watch_bookmarks_total" SGC "}", "304" },
		{ "kube_watch_errors_total" SGC ",reason=\"expired\"}", "305" },
		{ "kube_watch_errors_total" SGC ",reason=\"throttled\"}", "306" },
		{ "kube_watch_errors_total" SGC ",reason=\"failed\"}", "307" },
		{ "kube_watch_errors_total" SGC ",reason=\"silent\"}", "308" },
		{ "kube_watch_refused_total" SGC "}", "309" },
		{ "kube_requests_total", "101" },
		{ "kube_received_bytes_total", "102" },
		{ "kube_credentials_renewed_total", "103" },
		{ "kube_credential_errors_total", "104" },
		{ "kube_warnings_total", "105" },
		{ "kube_events_total{result=\"sent\"}", "201" },
		{ "kube_events_total{result=\"series\"}", "202" },
		{ "kube_events_total{result=\"coalesced\"}", "203" },
		{ "kube_events_total{result=\"throttled\"}", "204" },
		{ "kube_events_total{result=\"dropped\"}", "205" },
		{ "kube_events_total{result=\"rejected\"}", "206" },
		/* Others are not touched by it. */
		{ "kube_watch_synced{resource=\"pods\"}", "0" },
		{ "kube_watch_events_total{resource=\"nodes\"}", "0" },
		{ "kube_watch_refused_total{resource=\"gatewayvmconfigurations\"}", "0" },
	};
	struct fixture f;

	(void)state;
	fixture_start(&f);
	for (int full = 0; full < 2; full++) {
		char *text;

		f.kube = full ? &made_up_kube : NULL;
		text = scrape(&f, NULL);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			char line[160];

			snprintf(line, sizeof(line), "\negress_verifier_%s %s\n", rows[i].series,
			         full ? rows[i].value : "0");
			if (!strstr(text, line))
				fail_msg("not there: %s", line + 1);
		}
		free(text);
	}
	fixture_stop(&f);
}

static bool is_name(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalpha((unsigned char)text[i]) && text[i] != '_' &&
		    !(i && isdigit((unsigned char)text[i])))
			return false;
	return len > 0;
}

/* NAME[{LABEL="VALUE",…}] NUMBER; returns the length of the series' part. */
static size_t read_sample(const char *line)
{
	const char *p = line + strcspn(line, "{ "), *label;
	char *end;

	assert_true(is_name(line, (size_t)(p - line)));
	if (*p == '{') {
		do {
			label = ++p;
			p += strcspn(p, "=");
			assert_true(is_name(label, (size_t)(p - label)));
			assert_int_equal(*++p, '"');
			for (p++; *p != '"'; p++) {
				assert_int_not_equal(*p, '\0');
				if (*p == '\\')
					assert_non_null(strchr("\\n\"", *++p));
			}
			p++;
		} while (*p == ',');
		assert_int_equal(*p++, '}');
	}
	assert_int_equal(*p, ' ');
	(void)strtod(p + 1, &end);
	assert_int_equal(*end, '\0');
	return (size_t)(p - line);
}

/* Samples belong to the family announced last; no family and no series twice. */
static void read_strictly(char *text, bool open)
{
	char *seen[8192], family[128] = "", *line;
	size_t n_seen = 0, n_families = 0;
	bool ended = false;
	char *families[128];

	assert_int_equal(text[strlen(text) - 1], '\n');
	while ((line = strsep(&text, "\n")) && (text || *line)) {
		size_t len;

		if (strcmp(line, "# EOF") == 0) {
			assert_true(open && *text == '\0');
			ended = true;
			break;
		}
		if (strncmp(line, "# ", 2) == 0) {
			const char *name = line + 7, *lead = open ? "# TYPE " : "# HELP ";

			assert_true(strncmp(line, "# TYPE ", 7) == 0 ||
			            strncmp(line, "# HELP ", 7) == 0 ||
			            (open && strncmp(line, "# UNIT ", 7) == 0));
			len = strcspn(name, " ");
			if (strncmp(line, lead, 7) == 0) {
				snprintf(family, sizeof(family), "%.*s", (int)len, name);
				for (size_t i = 0; i < n_families; i++)
					assert_string_not_equal(families[i], family);
				families[n_families++] = strdup(family);
			}
			assert_int_equal(strlen(family), len);
			assert_memory_equal(family, name, len);
			continue;
		}
		len = read_sample(line);
		assert_memory_equal(line, family, strlen(family));
		line[len] = '\0';
		for (size_t i = 0; i < n_seen; i++)
			assert_string_not_equal(seen[i], line);
		assert_true(n_seen < 8192);
		seen[n_seen++] = line;
	}
	assert_int_equal(ended, open);
	for (size_t i = 0; i < n_families; i++)
		free(families[i]);
}

/* As the API server's: with 0 from the start, then what was counted, and the sum of it. */
static void what_is_on_its_way_is_counted(void **state)
{
	static const struct {
		const char *series;
		const char *value;
	} rows[] = {
		{ "export_configured", "1" },
		{ "export_queue_records", "401" },
		{ "export_oldest_record_timestamp_seconds", "1795189800" },
		{ "export_spooled_bytes", "402000000" },
		{ "export_spool_degraded", "1" },
		{ "export_spool_errors_total", "407" },
		{ "export_told_early_total", "409" },
		{ "export_unread_rows_total", "410" },
		{ "export_sent_total", "501" },
		{ "export_rejected_total", "502" },
		{ "export_dropped_total{reason=\"full\"}", "403" },
		{ "export_dropped_total{reason=\"age\"}", "404" },
		{ "export_dropped_total{reason=\"corrupt\"}", "405" },
		{ "export_dropped_total{reason=\"failed\"}", "406" },
		{ "export_dropped_total{reason=\"queue\"}", "408" },
		{ "export_requests_total{signal=\"logs\",result=\"ok\"}", "600" },
		{ "export_requests_total{signal=\"logs\",result=\"retry\"}", "601" },
		{ "export_requests_total{signal=\"metrics\",result=\"refused\"}", "612" },
		{ "export_requests_total{signal=\"metrics\",result=\"failed\"}", "613" },
		{ "export_sent_bytes_total", "503" },
		{ "export_last_success_timestamp_seconds", "1795190340" },
		{ "lost_total{what=\"reports\"}", "2528" },
	};
	const struct report_export made_up = fixture_made_up_export();
	struct fixture f;

	(void)state;
	fixture_start(&f);
	for (int full = 0; full < 2; full++) {
		char *text;

		f.on_its_way = full ? &made_up : NULL;
		text = scrape(&f, NULL);
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			char line[160];

			snprintf(line, sizeof(line), "\negress_verifier_%s %s\n", rows[i].series,
			         full ? rows[i].value : "0");
			if (!strstr(text, line))
				fail_msg("not there: %s", line + 1);
		}
		read_strictly(text, false);
		free(text);
		text = scrape(&f, OPEN);
		read_strictly(text, true);
		free(text);
	}
	fixture_stop(&f);
}

/* Whoever may create pods may name any number of gateways. */
static void names_that_are_gone_leave_no_series(void **state)
{
	char name[32];
	struct fixture f;
	char *text;

	(void)state;
	fixture_start(&f);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "no-such-%d", i);
		f.subjects[0].gateway_name = name;
		free(scrape(&f, NULL));
	}
	text = scrape(&f, NULL);
	assert_non_null(strstr(text, "what=\"series\"} 0\n"));
	assert_non_null(strstr(text, "gateway=\"no-such-999\""));
	assert_null(strstr(text, "gateway=\"no-such-998\""));
	free(text);
	fixture_stop(&f);
}

static void strict_readers_take_both(void **state)
{
	struct fixture f;
	char *text;

	(void)state;
	fixture_start(&f);
	f.subjects[0].pod = (char *)"quote\"back\\slash\nline\xff";
	text = scrape(&f, NULL);
	read_strictly(text, false);
	free(text);
	text = scrape(&f, OPEN);
	read_strictly(text, true);
	free(text);
	fixture_stop(&f);
}

static void promtool_takes_it(void **state)
{
	struct fixture f;
	FILE *promtool;
	char *text;

	(void)state;
	if (system("command -v promtool >/dev/null") != 0) {
		print_message("promtool is not installed: the scrape was NOT checked by it\n");
		skip();
	}
	fixture_start(&f);
	text = scrape(&f, NULL);
	promtool = popen("promtool check metrics", "w");
	assert_non_null(promtool);
	assert_int_equal(fputs(text, promtool) >= 0, 1);
	assert_int_equal(pclose(promtool), 0);
	free(text);
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(series_exist_from_the_start),
		cmocka_unit_test(what_the_api_server_brings_is_counted),
		cmocka_unit_test(what_is_on_its_way_is_counted),
		cmocka_unit_test(names_that_are_gone_leave_no_series),
		cmocka_unit_test(strict_readers_take_both),
		cmocka_unit_test(promtool_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
