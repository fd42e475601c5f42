#include "test.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "kube/event.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW 1795190400123456 /* 2026-11-20T16:00:00.123456Z */
#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X250 X50 X50 X50 X50 X50
#define U_FFFD "\xef\xbf\xbd"

static const struct kube_event opened = {
	.regarding = { "v1", "Pod", "team", "app-7d", "0d2c-1" },
	.related = { "egressgateway.kubernetes.azure.com/v1alpha1", "StaticGatewayConfiguration",
	             "team", "blue", "0d2c-2" },
	.warning = true,
	.reason = "GatewayBypass",
	.action = "Verify",
	.note = "left by eth0",
};

static const char *field(struct json_object *object, const char *first, const char *second)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, first, &value))
		return NULL;
	if (second && !json_object_object_get_ex(value, second, &value))
		return NULL;
	return json_object_get_string(value);
}

static bool is_subdomain(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > 253 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len)
		return false;
	return !strstr(text, "..") && !strstr(text, ".-") && !strstr(text, "-.") &&
	       !strchr(".-", text[0]) && !strchr(".-", text[len - 1]);
}

static bool is_short(const char *text)
{
	return text && *text && strlen(text) <= 128;
}

static bool is_plain(const char *text)
{
	while (*text) {
		uint32_t c;
		size_t n = utf8_read(text, &c);

		if (n == 0 || !utf8_visible(c))
			return false;
		text += n;
	}
	return true;
}

/* kubernetes, pkg/apis/core/validation/events.go: what a create is checked for. */
static const char *refused_by_server(struct json_object *event)
{
	static const char *const unset[] = { "deprecatedSource", "deprecatedFirstTimestamp",
		                             "deprecatedLastTimestamp", "deprecatedCount" };
	const char *namespace = field(event, "metadata", "namespace");
	const char *of = field(event, "regarding", "namespace"),
		   *time = field(event, "eventTime", NULL);
	struct json_object *series = NULL, *count = NULL;
	int64_t us;

	for (size_t i = 0; i < COUNT(unset); i++)
		if (json_object_object_get_ex(event, unset[i], NULL))
			return unset[i];
	if (!is_subdomain(field(event, "metadata", "name")))
		return "metadata.name";
	if (of ? strcmp(namespace, of) != 0 : strcmp(namespace, "default") != 0)
		return "metadata.namespace";
	if (!time || strlen(time) != 27 || clock_parse(time, &us) < 0)
		return "eventTime";
	if (!kube_event_is_controller(field(event, "reportingController", NULL)))
		return "reportingController";
	if (!is_short(field(event, "reportingInstance", NULL)) ||
	    !is_short(field(event, "action", NULL)) || !is_short(field(event, "reason", NULL)))
		return "reportingInstance, action or reason";
	if (strlen(field(event, "note", NULL)) > 1024 || !is_plain(field(event, "note", NULL)))
		return "note";
	if (strcmp(field(event, "type", NULL), "Warning") != 0 &&
	    strcmp(field(event, "type", NULL), "Normal") != 0)
		return "type";
	if (json_object_object_get_ex(event, "series", &series) &&
	    (!json_object_object_get_ex(series, "count", &count) ||
	     json_object_get_int64(count) < 2 || json_object_get_int64(count) > INT32_MAX ||
	     !field(series, "lastObservedTime", NULL)))
		return "series";
	return NULL;
}

static struct json_object *written(const struct kube_event *event, const char *instance,
                                   uint32_t count)
{
	struct kube_event_times times = { NOW, NOW + 5000000, count };
	cleanup(buf_clearp) struct buf out = BUF_INIT(KUBE_EVENT_BYTES_MAX);
	char name[KUBE_NAME_MAX + 1];
	struct json_object *object;

	kube_event_name(event->regarding.name, 0xabc, name);
	kube_event_write(event, name, "egress-verifier", instance, &times, &out);
	assert_int_equal(out.error, 0);
	object = json_tokener_parse(out.data);
	assert_non_null(object);
	return object;
}

static void one_is_written_whole(void **state)
{
	static const char golden[] =
		"{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{\"name\":"
		"\"app-7d.000000000000002a\",\"namespace\":\"team\"},\"eventTime\":"
		"\"2026-11-20T16:00:00.123456Z\",\"reportingController\":\"egress-verifier\","
		"\"reportingInstance\":\"worker-1\",\"action\":\"Verify\",\"reason\":"
		"\"GatewayBypass\",\"regarding\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
		"\"namespace\":\"team\",\"name\":\"app-7d\",\"uid\":\"0d2c-1\"},\"related\":{"
		"\"apiVersion\":\"egressgateway.kubernetes.azure.com/v1alpha1\",\"kind\":"
		"\"StaticGatewayConfiguration\",\"namespace\":\"team\",\"name\":\"blue\",\"uid\":"
		"\"0d2c-2\"},\"note\":\"left by "
		"eth0\",\"type\":\"Warning\",\"series\":{\"count\":3,"
		"\"lastObservedTime\":\"2026-11-20T16:00:05.123456Z\"}}";
	static const char patch[] = "{\"series\":{\"count\":3,\"lastObservedTime\":"
				    "\"2026-11-20T16:00:05.123456Z\"}}";
	struct kube_event_times times = { NOW, NOW + 5000000, 3 };
	cleanup(buf_clearp) struct buf out = BUF_INIT(KUBE_EVENT_BYTES_MAX);
	char name[KUBE_NAME_MAX + 1];

	(void)state;
	kube_event_name("app-7d", 42, name);
	kube_event_write(&opened, name, "egress-verifier", "worker-1", &times, &out);
	assert_string_equal(out.data, golden);
	buf_reset(&out);
	kube_event_write_series(&times, &out);
	assert_string_equal(out.data, patch);
	buf_reset(&out);
	times.count = UINT32_MAX; /* the field is an int32 */
	kube_event_write_series(&times, &out);
	assert_non_null(strstr(out.data, "\"count\":2147483647,"));
}

static void the_server_takes_whatever_the_texts(void **state)
{
	static const struct {
		const char *namespace, *name, *instance, *note;
	} rows[] = {
		{ "team", "app", "worker-1", "" },
		{ "team", "app", "worker-1", NULL },
		{ "", "node-1", "worker-1", "of the cluster" },
		{ NULL, "node-1", "worker-1", "of the cluster" },
		{ "team", X250 "abc", X250, X250 X250 X250 X250 X250 },
		{ "team", "a.b-c", "worker-1", "\x1b[2J\x7f\r\n\t\x01" },
		{ "team", "../../secrets?x=1", "\xff\xfe", "\xff\xc0\x80\xed\xa0\x80" },
		{ "team", "UPPER", "w\"o\\rker", "\xe2\x80\xae\"quoted\\\" \xe2\x80\x8b" },
		{ "team", ".app", "-", "\xf0\x9f\x98\x80" X250 },
		{ "team", "a..b", "w", "\xf4\x90\x80\x80 beyond Unicode" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct kube_event event = opened;
		struct json_object *object;
		const char *refused;

		event.regarding.namespace = rows[i].namespace;
		event.regarding.name = rows[i].name;
		event.note = rows[i].note;
		assert_null(kube_event_fault(&event));
		object = written(&event, rows[i].instance, i % 2 ? 1 : 2);
		refused = refused_by_server(object);
		if (refused)
			fail_msg("row %zu: %s: %s", i, refused, json_object_to_json_string(object));
		json_object_put(object);
	}
}

static void what_cannot_be_mended_is_a_fault(void **state)
{
	static const struct {
		const char *reason, *action, *kind, *namespace, *name;
		bool good;
	} rows[] = {
		{ "GatewayBypass", "Verify", "Pod", "team", "app", true },
		{ "GatewayBypass", "Verify", "Node", "", "node-1", true },
		{ "GatewayBypass", "Verify", "Node", NULL, "node-1", true },
		{ X50 X50 X10 X10 "12345678", "Verify", "Pod", "team", "app", true },
		{ X50 X50 X10 X10 "123456789", "Verify", "Pod", "team", "app", false },
		{ "", "Verify", "Pod", "team", "app", false },
		{ NULL, "Verify", "Pod", "team", "app", false },
		{ "GatewayBypass", "", "Pod", "team", "app", false },
		{ "GatewayBypass", "Verify", NULL, "team", "app", false },
		{ "GatewayBypass", "Verify", "Pod", "team", "", false },
		{ "GatewayBypass", "Verify", "Pod", "team", NULL, false },
		{ "GatewayBypass", "Verify", "Pod", "team/../../x", "app", false },
		{ "GatewayBypass", "Verify", "Pod", "te.am", "app", false },
		{ "GatewayBypass", "Verify", "Pod", "-team", "app", false },
		{ "GatewayBypass", "Verify", "Pod", "TEAM", "app", false },
		{ "GatewayBypass", "Verify", "Pod", X50 X10 "1234", "app", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct kube_event event = {
			.regarding = { "v1", rows[i].kind, rows[i].namespace, rows[i].name, "u" },
			.reason = rows[i].reason,
			.action = rows[i].action,
		};

		if (!kube_event_fault(&event) != rows[i].good)
			fail_msg("row %zu: %s", i, kube_event_fault(&event));
	}
}

static void names_are_subdomains(void **state)
{
	static const struct {
		const char *of, *name;
	} rows[] = {
		{ "app", "app.00000000000000ff" },
		{ "a.b-c.d0", "a.b-c.d0.00000000000000ff" },
		{ X250, X50 X50 X50 X50 X10 X10 X10 "xxxxxx.00000000000000ff" },
		/* Cut where a label would end in a dash or be empty. */
		{ X50 X50 X50 X50 X10 X10 X10 "xxxx-.xxxxxxxxxx", NULL },
		{ X50 X50 X50 X50 X10 X10 X10 "xx--x-xxxxxxxxxxx",
		  X50 X50 X50 X50 X10 X10 X10 "xx--x.00000000000000ff" },
		{ X50 X50 X50 X50 X10 X10 X10 "xx.a.xxxxxxxxxx",
		  X50 X50 X50 X50 X10 X10 X10 "xx.a.x.00000000000000ff" },
		{ NULL, "event.00000000000000ff" },
		{ "", "event.00000000000000ff" },
		{ "Pod", "event.00000000000000ff" },
		{ "a b", "event.00000000000000ff" },
		{ "a/b", "event.00000000000000ff" },
		{ "a..b", "event.00000000000000ff" },
		{ "a.-b", "event.00000000000000ff" },
		{ "a-.b", "event.00000000000000ff" },
		{ "a-", "event.00000000000000ff" },
		{ "a.", "event.00000000000000ff" },
		{ X250 "1234", "event.00000000000000ff" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *expected = rows[i].name ? rows[i].name : "event.00000000000000ff";
		char name[KUBE_NAME_MAX + 1];

		kube_event_name(rows[i].of, 0xff, name);
		assert_true(is_subdomain(name));
		if (strcmp(name, expected) != 0)
			fail_msg("row %zu: %s", i, name);
	}
}

static void texts_are_cleaned_and_cut(void **state)
{
	static const struct {
		const char *text;
		size_t max;
		const char *clean;
	} rows[] = {
		{ NULL, 10, "" },
		{ "", 10, "" },
		{ "plain", 10, "plain" },
		{ "0123456789", 10, "0123456789" },
		{ "0123456789a", 10, "0123456..." },
		{ "a\nb\rc\td", 10, "a b c d" },
		{ "\x1b[0m", 10, U_FFFD "[0m" },
		{ "\x7f", 10, U_FFFD },
		{ "\xc3\xa4", 10, "\xc3\xa4" },
		{ "\xc2\x9b", 10, U_FFFD },     /* CSI in one character */
		{ "\xe2\x80\xae", 10, U_FFFD }, /* right to left from here */
		{ "\xff\xff", 10, U_FFFD U_FFFD },
		{ "\xc3", 10, U_FFFD },
		{ "\xe2\x82", 10, U_FFFD U_FFFD },
		{ "012345678\xc3\xa4", 11, "012345678\xc3\xa4" },
		{ "012345678\xc3\xa4", 10, "0123456..." },
		{ "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", 7, "\xc3\xa4\xc3\xa4..." },
		{ "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", 6, "\xc3\xa4..." },
		{ "abc", 2, ".." },
		{ "\xf0\x9f\x98\x80", 3, "..." },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[16];

		memset(out, '#', sizeof(out));
		kube_event_clean(rows[i].text, rows[i].max, out);
		if (strcmp(out, rows[i].clean) != 0)
			fail_msg("row %zu: %s", i, out);
		for (size_t k = rows[i].max + 1; k < sizeof(out); k++)
			assert_int_equal(out[k], '#');
	}
}

static void controllers_are_qualified_names(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{ "egress-verifier", true },
		{ "example.com/agent", true },
		{ "A_b.C", true },
		{ "", false },
		{ "/agent", false },
		{ "example.com/", false },
		{ "example.com/a/b", false },
		{ "Example.com/agent", false },
		{ "-agent", false },
		{ "agent.", false },
		{ "a b", false },
		{ "\xc3\xa4", false },
		{ X50 X10 "123", true },
		{ X50 X10 "1234", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (kube_event_is_controller(rows[i].text) != rows[i].good)
			fail_msg("row %zu: %s", i, rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_is_written_whole),
		cmocka_unit_test(the_server_takes_whatever_the_texts),
		cmocka_unit_test(what_cannot_be_mended_is_a_fault),
		cmocka_unit_test(names_are_subdomains),
		cmocka_unit_test(texts_are_cleaned_and_cut),
		cmocka_unit_test(controllers_are_qualified_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
