#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "report/page_style.h"

static char *page(struct fixture *f)
{
	struct http_server_response response = fixture_get(f, "/");

	assert_int_equal(response.status, 200);
	assert_string_equal(response.content_type, "text/html; charset=utf-8");
	assert_string_equal(response.headers[1].name, "Content-Security-Policy");
	assert_non_null(strstr(response.headers[1].value, "default-src 'none'"));
	assert_non_null(strstr(response.headers[1].value, PAGE_STYLE_HASH));
	assert_non_null(strstr(response.headers[1].value, PAGE_SCRIPT_HASH));
	return response.body.data;
}

static void it_says_what_matters(void **state)
{
	static const char *const wanted[] = {
		"2 open violations",
		"1 of 4 pods violated",
		"gateway-bypass",
		"kubectl -n shop delete pod payments-0",
		"shop/<wbr>checkout-7d9f-x2x",
		"<code>203.0.113.1</code>",
		"8 s ago",
		"inventory ok",
		"flow-events 12",
		"198.51.100.7</code> tcp port 443",
		"Resolved lately",
		"no quorum: ifconfig",
	};
	struct fixture f;
	char *html;

	(void)state;
	fixture_start(&f);
	html = page(&f);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!strstr(html, wanted[i]))
			fail_msg("not there: %s", wanted[i]);
	free(html);

	f.n_violations = 0;
	f.n_subjects = 1;
	html = page(&f);
	assert_non_null(strstr(html, "Egress of the one pod verified"));
	free(html);
	f.n_subjects = 0;
	html = page(&f);
	assert_non_null(strstr(html, "Nothing to verify"));
	free(html);
	fixture_stop(&f);
}

/* What is not observed is not praised. */
static void it_does_not_claim_what_nobody_watched(void **state)
{
	struct fixture f;
	char *html;

	(void)state;
	fixture_start(&f);
	f.n_violations = 0;
	for (size_t i = 0; i < 4; i++)
		f.records[i].state = STATE_VERIFIED;
	html = page(&f);
	assert_non_null(strstr(html, "the packets of 1 of 4 are not observed"));
	assert_null(strstr(html, "no packet was seen to leave another way"));
	free(html);
	fixture_stop(&f);
}

static void it_says_what_waits_for_the_collector(void **state)
{
	static const char *const wanted[] = {
		"badge warn\">sent 501, the last ",
		": 503 &lt;Service&gt; Unavailable</li>",
		"waiting 401, the oldest from ",
		"badge bad\">spool 402 MB, in memory only: the disk is full</li>",
		"reports 2",
	};
	struct report_export made_up = fixture_made_up_export();
	struct fixture f;
	char *html;

	(void)state;
	fixture_start(&f);
	html = page(&f);
	assert_null(strstr(html, "Reports to the collector"));
	free(html);

	f.on_its_way = &made_up;
	html = page(&f);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!strstr(html, wanted[i]))
			fail_msg("not there: %s in %s", wanted[i],
			         strstr(html, "Reports to the collector"));
	free(html);

	made_up.exporting = false;
	html = page(&f);
	assert_non_null(strstr(html, "no collector is configured"));
	assert_null(strstr(html, "waiting 401"));
	free(html);
	fixture_stop(&f);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static void hostile_names_stay_text(void **state)
{
	static const char hostile[] = "<script>x</script>\"'><img src=x onerror=y>&amp;\x01\xff"
				      "\xe2\x80\xae";
	struct fixture f;
	char *clean, *html;

	(void)state;
	fixture_start(&f);
	clean = page(&f);
	f.subjects[0].pod = f.subjects[0].namespace = (char *)hostile;
	f.subjects[1].gateway_name = (char *)hostile;
	f.gateways[0].egress_prefix = (char *)hostile;
	for (size_t i = 0; i < f.n_violations; i++) {
		f.violations[i].pod = f.violations[i].namespace = (char *)hostile;
		f.violations[i].gateway = (char *)hostile;
		strcpy(f.violations[i].reason, hostile);
		strcpy(f.violations[i].remedy, hostile);
	}
	strcpy(f.records[0].reason, hostile);
	strcpy(f.records[0].attributed_to, hostile);
	strcpy(f.links[1].name, "<b>\"'");
	html = page(&f);
	assert_int_equal(count(html, "<script"), count(clean, "<script"));
	assert_int_equal(count(html, "<img"), 0);
	assert_int_equal(count(html, "<b>\"'"), 0);
	assert_null(strchr(html, '\x01'));
	assert_null(strchr(html, '\xff'));
	assert_null(strstr(html, "\xe2\x80\xae"));
	assert_non_null(strstr(html, "&lt;script&gt;x&lt;/script&gt;&quot;&#39;&gt;&lt;img"));
	free(html);
	free(clean);
	fixture_stop(&f);
}

static void expect_hash(const char *text, const char *hash)
{
	char path[] = "/tmp/eva-page-XXXXXX", command[256], is[128];
	int fd = mkstemp(path);
	FILE *pipe;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	snprintf(command, sizeof(command), "openssl dgst -sha256 -binary %s | base64 -w0", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(is, sizeof(is), pipe));
	assert_int_equal(pclose(pipe), 0);
	unlink(path);
	assert_string_equal(is, hash + strlen("sha256-"));
}

static void the_policy_allows_exactly_style_and_script(void **state)
{
	(void)state;
	expect_hash(PAGE_STYLE, PAGE_STYLE_HASH);
	expect_hash(PAGE_SCRIPT, PAGE_SCRIPT_HASH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_what_matters),
		cmocka_unit_test(it_does_not_claim_what_nobody_watched),
		cmocka_unit_test(it_says_what_waits_for_the_collector),
		cmocka_unit_test(hostile_names_stay_text),
		cmocka_unit_test(the_policy_allows_exactly_style_and_script),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
