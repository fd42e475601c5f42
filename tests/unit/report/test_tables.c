/* Text for people, from the JSON that the API really writes. The files are not in any archive. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "tables.c"
#include "terminal.c"

static struct json_object *ask(struct fixture *f, const char *target)
{
	struct http_server_response response = fixture_get(f, target);
	struct json_object *object = json_tokener_parse(response.body.data);

	assert_non_null(object);
	buf_clear(&response.body);
	return object;
}

struct capture {
	struct terminal terminal;
	char *text;
	size_t len;
};

static void capture_begin(struct capture *capture, size_t width)
{
	*capture = (struct capture){ .terminal = { .width = width } };
	capture->terminal.out = open_memstream(&capture->text, &capture->len);
	assert_non_null(capture->terminal.out);
}

static void capture_end(struct capture *capture)
{
	fclose(capture->terminal.out);
}

static void subjects_are_golden_at_80(void **state)
{
	static const char golden[] =
		"STATE       POD                     SEEN AS                REASON\n"
		"violated    shop/payments-0         192.0.2.55 (outbound)  40 connections to\n"
		"                                                           198.51.100.7 left by\n"
		"                                                           eth0 and not through\n"
		"                                                           the gateway\n"
		"unverified  billing/export-1        -                      no quorum: ifconfig\n"
		"                                                           connect-timeout, udp\n"
		"                                                           connect-timeout\n"
		"pending     shop/reports-5c-q       -                      the pod started 20 s\n"
		"                                                           ago, and no round is\n"
		"                                                           complete\n"
		"verified    shop/checkout-7d9f-x2x  203.0.113.1            2 of 2 echoes saw\n"
		"                                                           203.0.113.1, which is\n"
		"                                                           in the gateway's\n"
		"                                                           prefix\n";
	struct json_object *list;
	struct capture capture;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	list = ask(&f, "/v1/subjects");
	capture_begin(&capture, 80);
	tables_subjects(&capture.terminal, tables_items(list));
	capture_end(&capture);
	assert_string_equal(capture.text, golden);
	free(capture.text);
	json_object_put(list);
	fixture_stop(&f);
}

static void violations_are_golden_at_40(void **state)
{
	static const char golden[] = "gateway-bypass  shop/payments-0  gateway\n"
				     "partner-bank\n"
				     "  40 connections to 198.51.100.7 left by\n"
				     "  eth0 and not through the gateway\n"
				     "  To do: Restart the pod, its routes\n"
				     "  were changed after it started: kubectl\n"
				     "  -n shop delete pod payments-0\n"
				     "  40 times, first 2026-11-20 15:55:00Z,\n"
				     "  last 2026-11-20 15:59:55Z\n"
				     "  id 0000000000000000000000000000abc0\n";
	struct json_object *list;
	struct capture capture;
	struct fixture f;

	(void)state;
	fixture_start(&f);
	list = ask(&f, "/v1/violations?kind=gateway-bypass");
	capture_begin(&capture, 40);
	tables_violations(&capture.terminal, tables_items(list));
	capture_end(&capture);
	assert_string_equal(capture.text, golden);
	free(capture.text);
	json_object_put(list);
	fixture_stop(&f);
}

static void check_lines(const char *text, size_t width)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (columns_of(text, len) > width)
			fail_msg("wider than %zu: %.*s", width, (int)len, text);
		for (size_t i = 0; i < len; i++)
			assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
		text += len + (text[len] == '\n');
	}
}

static void show_all(struct fixture *f, const struct terminal *terminal)
{
	struct json_object *o;

	o = ask(f, "/v1/status");
	tables_status(terminal, o);
	json_object_put(o);
	o = ask(f, "/v1/subjects");
	tables_subjects(terminal, tables_items(o));
	json_object_put(o);
	o = ask(f, "/v1/violations");
	tables_violations(terminal, tables_items(o));
	json_object_put(o);
	o = ask(f, "/v1/flows");
	tables_flows(terminal, tables_items(o));
	json_object_put(o);
	o = ask(f, "/v1/gateways");
	tables_gateways(terminal, tables_items(o));
	json_object_put(o);
	o = ask(f, "/v1/explain?pod=shop/reports-5c-q&to=198.51.100.7");
	tables_explain(terminal, o);
	json_object_put(o);
}

/* Names without a place to break, of wide characters, with escape sequences: every width holds. */
static void nothing_is_wider_than_the_terminal(void **state)
{
	static const size_t widths[] = { 40, 60, 80, 200 };
	char long_name[254];
	struct fixture f;

	(void)state;
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
		struct capture capture;

		fixture_start(&f);
		f.subjects[0].pod = long_name;
		f.subjects[1].pod = (char *)"\033[2Jcleared\007\xc2\x9b\xe2\x80\xae";
		f.subjects[3].pod =
			(char *)"\xe5\x80\xa4\xe5\x80\xa4\xe5\x80\xa4\xe5\x80\xa4\xe5\x80"
				"\xa4\xe5\x80\xa4\xe5\x80\xa4\xe5\x80\xa4\xe5\x80\xa4";
		f.violations[0].pod = f.subjects[1].pod;
		f.broken = true;
		capture_begin(&capture, widths[i]);
		show_all(&f, &capture.terminal);
		capture_end(&capture);
		check_lines(capture.text, widths[i]);
		assert_null(strstr(capture.text, "\xc2\x9b"));
		assert_non_null(strstr(capture.text, "not ready: inventory"));
		free(capture.text);
		fixture_stop(&f);
	}
}

/* A stranger's answer: members missing, of other types, nested where text is expected. */
static void foreign_json_is_shown_without_harm(void **state)
{
	static const char *const answers[] = {
		"{}",
		"{\"items\":[]}",
		"{\"items\":{}}",
		"{\"items\":[1,null,\"x\",[],{\"state\":7},{\"state\":\"violated\",\"pod\":[]}]}",
		"{\"items\":[{\"state\":\"violated\",\"observed\":{\"address\":{},\"attribution\":"
		"1}}]}",
		"{\"conditions\":{\"bpf\":3},\"lost\":{\"a\":\"b\"},\"subjects\":[],\"violations\":"
		"{}}",
		"{\"items\":[{\"allowed\":[1,{}],\"subjects\":{\"a\":1},\"violationsOpen\":-1}]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct json_object *o = json_tokener_parse(answers[i]);
		char reason[TABLES_REASON_MAX];
		struct capture capture;

		assert_non_null(o);
		capture_begin(&capture, 80);
		tables_status(&capture.terminal, o);
		tables_subjects(&capture.terminal, tables_items(o));
		tables_violations(&capture.terminal, tables_items(o));
		tables_flows(&capture.terminal, tables_items(o));
		tables_gateways(&capture.terminal, tables_items(o));
		tables_explain(&capture.terminal, o);
		tables_check(&capture.terminal, o);
		capture_end(&capture);
		check_lines(capture.text, 80);
		assert_null(strstr(capture.text, "(null)"));
		assert_int_equal(tables_judge_status(o, reason), 3);
		free(capture.text);
		json_object_put(o);
	}
}

static void exit_statuses(void **state)
{
	static const struct {
		const char *status;
		int exit;
		const char *reason;
	} rows[] = {
		{ "{\"subjects\":{\"total\":2,\"verified\":2},\"violations\":{\"open\":0}}", 0,
		  "2 of 2 pods verified" },
		{ "{\"subjects\":{\"total\":2,\"verified\":2},\"violations\":{\"open\":1}}", 1,
		  "1 open violation; 2 of 2 pods verified" },
		{ "{\"subjects\":{\"total\":2,\"verified\":1},\"violations\":{\"open\":0}}", 3,
		  "1 of 2 pods verified" },
		{ "{\"subjects\":{\"total\":0,\"verified\":0},\"violations\":{\"open\":0}}", 3,
		  "nothing to decide: no pod here uses a gateway or must use one" },
		{ "{\"subjects\":{\"total\":0},\"conditions\":{\"inventory\":{\"ok\":true}}}", 3,
		  "nothing to decide: no pod here uses a gateway or must use one" },
		{ "{\"subjects\":{\"total\":0},\"conditions\":{\"inventory\":{\"ok\":false}}}", 3,
		  "nothing to decide: not all is known of the pods of this node" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *o = json_tokener_parse(rows[i].status);
		char reason[TABLES_REASON_MAX];

		assert_int_equal(tables_judge_status(o, reason), rows[i].exit);
		assert_string_equal(reason, rows[i].reason);
		json_object_put(o);
	}
}

static void json_moves_no_terminal(void **state)
{
	static const struct {
		const char *text, *printed;
	} rows[] = {
		{ "{\"a\":[1,\"\\u001b\"]}", "{\"a\":[1,\"\\u001b\"]}" },
		{ "{\"a\":\"gr\xc3\xbc\xc3\x9f\"}", "{\"a\":\"gr\xc3\xbc\xc3\x9f\"}" },
		{ "{\"a\":\"\xc2\x9b"
		  "2J\x7f\xe2\x80\xae\"}",
		  "{\"a\":\"\\u009b2J\\u007f\\u202e\"}" },
		{ "{\"a\":\"\xff\"}", "{\"a\":\"\xef\xbf\xbd\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct capture capture;

		capture_begin(&capture, 80);
		terminal_json(capture.terminal.out, rows[i].text);
		capture_end(&capture);
		assert_string_equal(capture.text, rows[i].printed);
		free(capture.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_moves_no_terminal),
		cmocka_unit_test(subjects_are_golden_at_80),
		cmocka_unit_test(violations_are_golden_at_40),
		cmocka_unit_test(nothing_is_wider_than_the_terminal),
		cmocka_unit_test(foreign_json_is_shown_without_harm),
		cmocka_unit_test(exit_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
