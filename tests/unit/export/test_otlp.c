#include "test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/otlp.h"
#include "export/otlp_flow.h"
#include "golden.h"
#include "limits.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define GOLDEN "tests/unit/export/golden/"
#define NOON 1795190400000000 /* 2026-11-20T16:00:00Z */
#define HEX "0123456789abcdef"

static const struct moment now = { 3600 * NSEC_PER_SEC, NOON };
static const struct otlp_resource resource = {
	.version = "0.1.0",
	.instance = "6f0f4b62-3a0a-4e0c-9a5c-1b7d2f1c8a11",
	.node = "worker-1",
	.node_uid = "0c1a9a2e-0a5d-4c52-8d6a-64c6c7c1d001",
	.namespace = "egress-verifier",
	.pod = "egress-verifier-x2x",
	.pod_uid = "5bb6d5a5-52b8-47b7-a1f3-6b1f5a0c0002",
};

static struct moment at(int64_t offset_us)
{
	return (struct moment){ 1, NOON + offset_us };
}

static struct violation made_up(void)
{
	return (struct violation){
		.id = "00000000000000000000000000abc123",
		.kind = GATEWAY_BYPASS,
		.namespace = (char *)"shop",
		.pod = (char *)"payments-0",
		.uid = (char *)"8d1f0a52-6c11-4f0e-9a3c-000000000001",
		.gateway_namespace = (char *)"shop",
		.gateway = (char *)"partner-bank",
		.first = at(-300123456),
		.last = at(-5000000),
		.opened = at(-300000001),
		.count = 9007199254740993, /* 2^53 + 1: no double holds it */
		.reason = "40 connections to 198.51.100.7 left by eth0 and not through the gateway",
		.remedy = "Restart the pod: kubectl -n shop delete pod payments-0",
		.evidence = (char *)"{\"kind\":\"gateway-bypass\",\"flows\":[{\"destination\":"
				    "\"198.51.100.7\",\"port\":443,\"protocol\":\"tcp\",\"path\":"
				    "\"direct\",\"packets\":12}]}",
		.open = true,
	};
}

static struct otlp_report made_up_report(void)
{
	return (struct otlp_report){
		.subjects = { [STATE_VIOLATED] = 1, [STATE_PENDING] = 2, [STATE_VERIFIED] = 247 },
		.violations = { [GATEWAY_BYPASS] = 1, [STALE_ROUTES] = 2 },
		.waiting = 18446744073709551615u,
		.dropped = 3,
		.rejected = 4,
		.spool_degraded = true,
		.ready = false,
		.lost = 34567,
		.started_us = NOON - 3600000000,
	};
}

static struct subject pod_of(const char *namespace, const char *pod, const char *uid,
                             const char *gateway)
{
	return (struct subject){ .namespace = (char *)namespace,
		                 .pod = (char *)pod,
		                 .uid = (char *)uid,
		                 .gateway_name = (char *)gateway };
}

static void record_of(struct judge_record *record)
{
	memset(record, 0, sizeof(*record));
	record->state = STATE_VIOLATED;
	record->state_since = at(-2000000);
	record->last_proof = at(-400000000);
	record->attribution = ATTRIBUTION_GATEWAY;
	assert_int_equal(ip_parse("203.0.113.17", &record->observed), 0);
	snprintf(record->attributed_to, sizeof(record->attributed_to), "shop/other");
	snprintf(record->reason, sizeof(record->reason),
	         "2 echoes saw 203.0.113.17, which is shop/other's");
}

/* Requests, as the exporter puts them together. */

struct request {
	struct buf record, body;
	char uid[OTLP_UID_MAX];
};

static struct request *request_new(void)
{
	struct request *request = calloc(1, sizeof(*request));

	assert_non_null(request);
	request->record = (struct buf)BUF_INIT(SPOOL_BODY_MAX);
	request->body = (struct buf)BUF_INIT(1 << 20);
	return request;
}

static void request_free(struct request *request)
{
	buf_clear(&request->record);
	buf_clear(&request->body);
	free(request);
}

/* With OTLP_REQUESTS=FOLDER they are kept, for an independent decoder. */
static void keep(const struct request *request)
{
	static unsigned int n;
	const char *folder = getenv("OTLP_REQUESTS");
	char path[512];
	FILE *file;

	if (!folder)
		return;
	snprintf(path, sizeof(path), "%s/%05u.json", folder, n++);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(request->body.data, 1, request->body.len, file), request->body.len);
	assert_int_equal(fclose(file), 0);
}

static const char *finish(struct request *request, const struct otlp_resource *from)
{
	assert_int_equal(request->record.error, 0);
	assert_int_equal(strlen(request->uid), 32);
	assert_int_equal(strspn(request->uid, HEX), 32);
	otlp_logs_begin(from, &request->body);
	otlp_logs_add(&request->body, request->record.data, request->record.len);
	otlp_logs_end(&request->body);
	assert_int_equal(request->body.error, 0);
	keep(request);
	return request->body.data;
}

static void write_golden(const char *name, struct request *request)
{
	struct violation violation = made_up();
	struct otlp_report report = made_up_report();
	struct judge_record record;
	struct subject subject =
		pod_of(violation.namespace, violation.pod, violation.uid, "partner-bank");

	violation.resolved = at(-1000000);
	record_of(&record);
	if (strcmp(name, "violation_opened") == 0) {
		otlp_violation("worker-1", &violation, VIOLATION_OPENED, &now, &request->record,
		               request->uid);
	} else if (strcmp(name, "violation_resolved") == 0) {
		otlp_violation("worker-1", &violation, VIOLATION_RESOLVED, &now, &request->record,
		               request->uid);
	} else if (strcmp(name, "state_changed") == 0) {
		otlp_state("worker-1", &subject, &record, STATE_VERIFIED, &now, &request->record,
		           request->uid);
	} else if (strcmp(name, "state_first") == 0) {
		subject.gateway_name = NULL;
		record.state = STATE_PENDING;
		record.attribution = ATTRIBUTION_NONE;
		record.last_proof.wall_us = 0;
		otlp_state("worker-1", &subject, &record, _STATE_MAX, &now, &request->record,
		           request->uid);
	} else {
		otlp_node_report("worker-1", &report, &now, &request->record, request->uid);
	}
}

static void it_is_as_it_was(void **state)
{
	const char *name = *state;
	struct request *request = request_new();
	char path[128];

	write_golden(name, request);
	finish(request, &resource);
	snprintf(path, sizeof(path), GOLDEN "%s.json", name);
	golden_compare(path, request->body.data);
	request_free(request);
}

/* Reading it again */

static struct json_object *get(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	(void)json_object_object_get_ex(object, key, &value);
	return value;
}

static struct json_object *attributes_of(struct json_object *root)
{
	static const char *const path[] = { "resourceLogs", "scopeLogs", "logRecords" };

	for (size_t i = 0; i < COUNT(path); i++) {
		root = json_object_array_get_idx(get(root, path[i]), 0);
		assert_non_null(root);
	}
	return get(root, "attributes");
}

/* The text of its value whatever its type; NULL: it is not there. */
static const char *value_in(struct json_object *attributes, const char *key)
{
	for (size_t i = 0; i < json_object_array_length(attributes); i++) {
		struct json_object *attribute = json_object_array_get_idx(attributes, i);

		if (strcmp(json_object_get_string(get(attribute, "key")), key) != 0)
			continue;
		json_object_object_foreach(get(attribute, "value"), type, value)
		{
			(void)type;
			return json_object_get_string(value);
		}
	}
	return NULL;
}

/* Keys are unique, values of one type, and none is empty. */
static void check_attributes(struct json_object *attributes)
{
	size_t n = json_object_array_length(attributes);

	for (size_t i = 0; i < n; i++) {
		struct json_object *attribute = json_object_array_get_idx(attributes, i);
		const char *key = json_object_get_string(get(attribute, "key"));
		struct json_object *value = get(attribute, "value");

		assert_true(key && *key);
		assert_int_equal(json_object_object_length(attribute), 2);
		assert_int_equal(json_object_object_length(value), 1);
		assert_string_not_equal(value_in(attributes, key), "");
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(
				json_object_get_string(
					get(json_object_array_get_idx(attributes, k), "key")),
				key);
	}
}

static void uids_stay_and_differ(void **state)
{
	struct violation violation = made_up(), again = made_up(), other = made_up();
	struct otlp_report report = made_up_report();
	struct subject subject = pod_of("shop", "payments-0", "u1", "g");
	static struct judge_record record;
	char uid[11][OTLP_UID_MAX], same[OTLP_UID_MAX];
	struct buf out = BUF_INIT(1 << 20), twice = BUF_INIT(1 << 20);
	const struct moment later = { now.mono_ns, NOON + 60000000 };

	(void)state;
	record_of(&record);
	again.opened = at(-1);
	strcpy(other.id, "00000000000000000000000000abc124");
	violation.resolved = at(-2);
	otlp_violation("worker-1", &violation, VIOLATION_OPENED, &now, &out, uid[0]);
	otlp_violation("worker-1", &violation, VIOLATION_OPENED, &now, &twice, same);
	assert_string_equal(uid[0], same);
	assert_string_equal(out.data, twice.data);
	/* When it is written does not matter, what it is about does. */
	otlp_violation("worker-1", &violation, VIOLATION_OPENED, &later, &out, same);
	assert_string_equal(uid[0], same);
	otlp_violation("worker-1", &violation, VIOLATION_RESOLVED, &now, &out, uid[1]);
	otlp_violation("worker-1", &again, VIOLATION_OPENED, &now, &out, uid[2]);
	otlp_violation("worker-1", &other, VIOLATION_OPENED, &now, &out, uid[3]);
	otlp_violation("worker-2", &violation, VIOLATION_OPENED, &now, &out, uid[4]);
	violation.resolved = at(-1);
	otlp_violation("worker-1", &violation, VIOLATION_RESOLVED, &now, &out, uid[5]);
	otlp_state("worker-1", &subject, &record, STATE_VERIFIED, &now, &out, uid[6]);
	otlp_state("worker-1", &subject, &record, _STATE_MAX, &now, &out, uid[7]);
	record.state_since = at(-1);
	otlp_state("worker-1", &subject, &record, STATE_VERIFIED, &now, &out, uid[8]);
	otlp_node_report("worker-1", &report, &now, &out, uid[9]);
	otlp_node_report("worker-1", &report, &later, &out, uid[10]);
	for (size_t i = 0; i < COUNT(uid); i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(uid[i], uid[k]);
	buf_clear(&out);
	buf_clear(&twice);
}

/* NULL: there must be none. */
static void same_text(const char *is, const char *expected)
{
	if (expected && is)
		assert_string_equal(is, expected);
	else
		assert_ptr_equal(is, expected);
}

/* logs.proto: fixed64; 0 is unknown, which is not written. */
static void times_are_unsigned(void **state)
{
	static const struct {
		int64_t opened, now;
		const char *time, *observed, *first;
	} rows[] = {
		{ NOON, NOON + 1, "1795190400000000000", "1795190400000001000",
		  "2026-11-20T16:00:00.000000Z" },
		{ 0, NOON, "1795190400000000000", "1795190400000000000", NULL },
		{ -5, NOON, "1795190400000000000", "1795190400000000000", NULL },
		{ INT64_MIN, INT64_MIN, NULL, NULL, NULL },
		{ 1, 0, "1000", NULL, "1970-01-01T00:00:00.000001Z" },
		{ INT64_MAX, 18446744073709551, NULL, "18446744073709551000", NULL },
		{ 18446744073709552, 18446744073709552, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct violation violation = made_up();
		struct request *request = request_new();
		const struct moment when = { 0, rows[i].now };
		struct json_object *root, *record;

		violation.opened.wall_us = violation.first.wall_us = rows[i].opened;
		otlp_violation("n", &violation, VIOLATION_OPENED, &when, &request->record,
		               request->uid);
		root = golden_parse(finish(request, &resource));
		record = golden_parse(request->record.data);
		same_text(json_object_get_string(get(record, "timeUnixNano")), rows[i].time);
		same_text(json_object_get_string(get(record, "observedTimeUnixNano")),
		          rows[i].observed);
		same_text(value_in(attributes_of(root), "egress_verifier.violation.first"),
		          rows[i].first);
		json_object_put(root);
		json_object_put(record);
		request_free(request);
	}
}

/* Hostile content */

static uint32_t draw(void)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 32);
}

/* `size` with its NUL; mostly of what JSON, terminals and decoders stumble over. */
static char *draw_text(size_t size, char *out)
{
	static const char *const pieces[] = {
		"\"",
		"\\",
		"\n",
		"\x01",
		"\x7f",
		"\xff",
		"\xc3",
		"\xc3\xa9",
		"\xe2\x80\xae",
		"\xed\xa0\x80",
		"\xf0\x9f\x92\xa9",
		"\xef\xbf\xbf",
		"\xc2\xad",
		"/",
		"a",
		"</script>",
		"\\u0000",
		"{}",
		"%s",
		"\xf4\x90\x80\x80",
		"\xc0\x80",
		"-",
		" ",
	};
	size_t n = draw() % size, len = 0;

	while (len < n) {
		const char any[2] = { (char)(draw() % 255 + 1), 0 };
		const char *piece = draw() % 4 ? pieces[draw() % COUNT(pieces)] : any;

		len += (size_t)snprintf(out + len, size - len, "%s", piece);
		if (len >= size)
			len = size - 1;
	}
	out[len] = '\0';
	return out;
}

struct texts {
	char namespace[300], pod[300], uid[300], gateway[ANNOTATION_MAX];
	char evidence[EVIDENCE_MAX];
};

static struct violation draw_violation(struct texts *texts)
{
	struct violation violation = made_up();

	violation.kind = (enum violation_kind)(draw() % _VIOLATION_KIND_MAX);
	violation.namespace = draw_text(sizeof(texts->namespace), texts->namespace);
	violation.pod = draw_text(sizeof(texts->pod), texts->pod);
	violation.uid = draw_text(sizeof(texts->uid), texts->uid);
	violation.gateway = draw_text(sizeof(texts->gateway), texts->gateway);
	if (draw() % 2)
		violation.evidence = draw_text(sizeof(texts->evidence), texts->evidence);
	draw_text(sizeof(violation.reason), violation.reason);
	draw_text(sizeof(violation.remedy), violation.remedy);
	violation.count = (uint64_t)draw() << 32 | draw();
	violation.resolved = at((int32_t)draw());
	return violation;
}

static void whatever_it_is_about_it_is_a_record(void **state)
{
	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct texts *texts = calloc(1, sizeof(*texts));
		struct judge_record *record = calloc(1, sizeof(*record));
		struct request *request = request_new();
		struct violation violation;
		struct json_object *root, *attributes;

		assert_true(texts && record);
		violation = draw_violation(texts);
		if (i % 3) {
			otlp_violation(texts->pod, &violation, (enum violation_change)(i % 2), &now,
			               &request->record, request->uid);
		} else {
			struct subject subject =
				pod_of(texts->namespace, texts->pod, texts->uid, texts->gateway);

			record->state = (enum subject_state)(draw() % _STATE_MAX);
			record->attribution = (enum attribution)(draw() % _ATTRIBUTION_MAX);
			draw_text(sizeof(record->attributed_to), record->attributed_to);
			draw_text(sizeof(record->reason), record->reason);
			otlp_state(texts->pod, &subject, record, STATE_PENDING, &now,
			           &request->record, request->uid);
		}
		root = golden_parse(finish(request, &resource));
		attributes = attributes_of(root);
		check_attributes(attributes);
		assert_string_equal(value_in(attributes, "log.record.uid"), request->uid);
		json_object_put(root);
		request_free(request);
		free(texts);
		free(record);
	}
}

static char *filled(size_t len, char c)
{
	char *text = calloc(1, len + 1);

	assert_non_null(text);
	memset(text, c, len);
	return text;
}

/* Each byte becomes six of JSON: names far too long, sentences, and evidence of a byte that is escaped once. */
static void the_largest_fits_a_row_of_the_spool(void **state)
{
	static const struct {
		char byte;
		size_t len;
		bool kept;
	} rows[] = {
		{ '"', EVIDENCE_MAX - 1, true },
		{ 'x', EVIDENCE_MAX - 1, true },
		{ '\x01', EVIDENCE_MAX - 1, false },
		{ 'x', 100000, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *evidence = filled(rows[i].len, rows[i].byte), *name = filled(100000, '\x01');
		struct violation violation = made_up();
		struct request *request = request_new();
		struct json_object *root;
		const char *is;

		violation.namespace = violation.pod = violation.uid = name;
		violation.gateway_namespace = violation.gateway = name;
		violation.evidence = evidence;
		memset(violation.reason, 1, REASON_MAX - 1);
		memset(violation.remedy, 1, REMEDY_MAX - 1);
		otlp_violation(name, &violation, VIOLATION_RESOLVED, &now, &request->record,
		               request->uid);
		assert_in_range(request->record.len, 17000, SPOOL_BODY_MAX);
		root = golden_parse(finish(request, &resource));
		is = value_in(attributes_of(root), "egress_verifier.violation.evidence");
		same_text(is, rows[i].kept ? evidence : NULL);
		is = value_in(attributes_of(root),
		              "egress_verifier.violation.evidence_omitted_bytes");
		assert_int_equal(is ? strtoul(is, NULL, 10) : 0, rows[i].kept ? 0 : rows[i].len);
		is = value_in(attributes_of(root), "k8s.pod.name");
		assert_int_equal(strlen(is), 255);
		assert_string_equal(is + 250, "\x01\x01...");
		json_object_put(root);
		request_free(request);
		free(evidence);
		free(name);
	}
}

static void names_are_cut_between_characters(void **state)
{
	char name[400];
	struct judge_record record = { .state = STATE_VERIFIED };

	(void)state;
	for (size_t shift = 0; shift < 5; shift++) {
		struct request *request = request_new();
		struct subject subject = pod_of("n", name, "u", NULL);
		struct json_object *root;
		const char *is;
		size_t len = shift;

		memset(name, 'a', len);
		while (len < 300)
			len += (size_t)snprintf(name + len, sizeof(name) - len, "\xf0\x9f\x92\xa9");
		otlp_state("n", &subject, &record, _STATE_MAX, &now, &request->record,
		           request->uid);
		root = golden_parse(finish(request, &resource));
		is = value_in(attributes_of(root), "k8s.pod.name");
		len = (252 - shift) / 4 * 4 + shift;
		assert_int_equal(strlen(is), len + 3);
		assert_memory_equal(is, name, len);
		assert_string_equal(is + len, "...");
		json_object_put(root);
		request_free(request);
	}
	/* 255 bytes are no more than there is room for. */
	{
		struct request *request = request_new();
		struct subject subject = pod_of("n", name, "u", NULL);
		struct json_object *root;

		memset(name, 'b', 255);
		name[255] = '\0';
		otlp_state("n", &subject, &record, _STATE_MAX, &now, &request->record,
		           request->uid);
		root = golden_parse(finish(request, &resource));
		assert_string_equal(value_in(attributes_of(root), "k8s.pod.name"), name);
		json_object_put(root);
		request_free(request);
	}
}

/* A row with less room than there must be: an error that stays, and nothing half-written is taken. */
static void no_room_is_an_error(void **state)
{
	struct violation violation = made_up();
	char uid[OTLP_UID_MAX];

	(void)state;
	for (size_t max = 0; max < 1000; max += 7) {
		struct buf out = BUF_INIT(max);

		otlp_violation("n", &violation, VIOLATION_OPENED, &now, &out, uid);
		assert_int_equal(out.error, -EOVERFLOW);
		buf_clear(&out);
	}
}

static void flows_are_read_from_evidence(void **state)
{
	static const struct {
		const char *evidence;
		int r;
		const char *destination, *transport;
		uint16_t port;
	} rows[] = {
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\",\"port\":443,\"protocol\":\"tcp\"}"
		  ","
		  "{\"destination\":\"198.51.100.8\"}]}",
		  0, "198.51.100.7", "tcp", 443 },
		{ "{\"flows\":[{\"destination\":\"2001:DB8::0:1\",\"port\":53,\"protocol\":\"udp\"}"
		  "]}",
		  0, "2001:db8::1", "udp", 53 },
		{ "{\"flows\":[{\"destination\":\"::1\",\"protocol\":\"icmpv6\"}]}", 0, "::1", "",
		  0 },
		{ "{\"flows\":[{\"destination\":\"::1\",\"protocol\":\"41\",\"port\":null}]}", 0,
		  "::1", "", 0 },
		{ "{\"flows\":[]}", -ENOENT, NULL, NULL, 0 },
		{ "{}", -ENOENT, NULL, NULL, 0 },
		{ "", -EINVAL, NULL, NULL, 0 },
		{ "[]", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":{}}", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":[7]}", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":[null]}", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":[{}]}", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\\u0000\"}]}", -EINVAL, NULL, NULL,
		  0 },
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\",\"port\":65536}]}", -EINVAL, NULL,
		  NULL, 0 },
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\",\"port\":\"443\"}]}", -EINVAL,
		  NULL, NULL, 0 },
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\"}]} {}", -EINVAL, NULL, NULL, 0 },
		{ "{\"flows\":[{\"destination\":\"198.51.100.7\"}]", -EINVAL, NULL, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct otlp_flow flow = { .port = 9, .transport = "left" };
		char text[IP_TEXT_MAX];

		if (otlp_flow_read(rows[i].evidence, &flow) != rows[i].r)
			fail_msg("row %zu", i);
		if (rows[i].r == 0)
			assert_string_equal(ip_format(&flow.destination, text),
			                    rows[i].destination);
		assert_string_equal(flow.transport, rows[i].r ? "left" : rows[i].transport);
		assert_int_equal(flow.port, rows[i].r ? 9 : rows[i].port);
	}
}

/* Resource and envelope */

static void ours_win_and_nothing_is_there_twice(void **state)
{
	static const struct otlp_attribute more[] = {
		{ "service.name", "checkout-guard" },
		{ "service.version", "none" },
		{ "k8s.node.name", "elsewhere" },
		{ "k8s.cluster.name", "first" },
		{ "deployment.environment.name", "prod\xff\"" },
		{ "k8s.cluster.name", "last" },
		{ "k8s.cluster.uid", "" },
		{ "", "no key" },
		{ NULL, "no key" },
		{ "no.value", NULL },
	};
	static const struct {
		const char *name, *version, *expected_name, *expected_version;
	} rows[] = {
		{ NULL, "0.1.0", "checkout-guard", "0.1.0" },
		{ "", "", "checkout-guard", "none" },
		{ "ours", NULL, "ours", "none" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct otlp_resource from = resource;
		struct buf out = BUF_INIT(1 << 20);
		struct json_object *root, *attributes, *outer;

		from.service_name = rows[i].name;
		from.version = rows[i].version;
		from.pod_uid = NULL;
		from.attributes = more;
		from.n_attributes = COUNT(more);
		otlp_logs_begin(&from, &out);
		otlp_logs_end(&out);
		assert_int_equal(out.error, 0);
		root = golden_parse(out.data);
		outer = json_object_array_get_idx(get(root, "resourceLogs"), 0);
		attributes = get(get(outer, "resource"), "attributes");
		check_attributes(attributes);
		assert_string_equal(value_in(attributes, "service.name"), rows[i].expected_name);
		assert_string_equal(value_in(attributes, "service.version"),
		                    rows[i].expected_version);
		assert_string_equal(value_in(attributes, "k8s.node.name"), "worker-1");
		assert_string_equal(value_in(attributes, "k8s.cluster.name"), "last");
		assert_string_equal(value_in(attributes, "deployment.environment.name"),
		                    "prod\xef\xbf\xbd\"");
		assert_null(value_in(attributes, "k8s.pod.uid"));
		assert_null(value_in(attributes, "telemetry.sdk.name"));
		assert_int_equal(json_object_array_length(attributes), 9);
		json_object_put(root);
		buf_clear(&out);
	}
}

static void many_records_are_one_request(void **state)
{
	struct otlp_report report = made_up_report();
	struct buf out = BUF_INIT(1 << 20), record = BUF_INIT(SPOOL_BODY_MAX);
	struct json_object *root, *list;
	char uid[3][OTLP_UID_MAX];

	(void)state;
	otlp_logs_begin(&resource, &out);
	for (size_t i = 0; i < 3; i++) {
		const struct moment when = at((int64_t)i);

		buf_reset(&record);
		otlp_node_report("worker-1", &report, &when, &record, uid[i]);
		otlp_logs_add(&out, record.data, record.len);
	}
	otlp_logs_end(&out);
	root = golden_parse(out.data);
	list = json_object_array_get_idx(get(root, "resourceLogs"), 0);
	assert_string_equal(json_object_get_string(get(list, "schemaUrl")),
	                    "https://opentelemetry.io/schemas/1.44.0");
	list = json_object_array_get_idx(get(list, "scopeLogs"), 0);
	assert_string_equal(json_object_get_string(get(list, "schemaUrl")),
	                    "https://opentelemetry.io/schemas/1.44.0");
	list = get(list, "logRecords");
	assert_int_equal(json_object_array_length(list), 3);
	for (size_t i = 0; i < 3; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		assert_string_equal(value_in(get(item, "attributes"), "log.record.uid"), uid[i]);
	}
	json_object_put(root);
	buf_clear(&out);
	buf_clear(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "violation_opened", it_is_as_it_was, NULL, NULL, (void *)"violation_opened" },
		{ "violation_resolved", it_is_as_it_was, NULL, NULL, (void *)"violation_resolved" },
		{ "state_changed", it_is_as_it_was, NULL, NULL, (void *)"state_changed" },
		{ "state_first", it_is_as_it_was, NULL, NULL, (void *)"state_first" },
		{ "node_report", it_is_as_it_was, NULL, NULL, (void *)"node_report" },
		cmocka_unit_test(uids_stay_and_differ),
		cmocka_unit_test(times_are_unsigned),
		cmocka_unit_test(whatever_it_is_about_it_is_a_record),
		cmocka_unit_test(the_largest_fits_a_row_of_the_spool),
		cmocka_unit_test(names_are_cut_between_characters),
		cmocka_unit_test(no_room_is_an_error),
		cmocka_unit_test(flows_are_read_from_evidence),
		cmocka_unit_test(ours_win_and_nothing_is_there_twice),
		cmocka_unit_test(many_records_are_one_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
