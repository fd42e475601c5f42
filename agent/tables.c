#include "tables.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/buf.h"
#include "commands.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Reading */

static struct json_object *member_of(struct json_object *object, va_list names)
{
	const char *name;

	while ((name = va_arg(names, const char *)))
		if (!json_object_object_get_ex(object, name, &object))
			return NULL;
	return object;
}

static struct json_object *member(struct json_object *object, ...) __attribute__((sentinel));
static struct json_object *member(struct json_object *object, ...)
{
	struct json_object *found;
	va_list names;

	va_start(names, object);
	found = member_of(object, names);
	va_end(names);
	return found;
}

const char *tables_text(struct json_object *object, ...)
{
	struct json_object *found;
	va_list names;

	va_start(names, object);
	found = member_of(object, names);
	va_end(names);
	return json_object_is_type(found, json_type_string) ? json_object_get_string(found) : NULL;
}

static uint64_t number(struct json_object *object)
{
	return json_object_is_type(object, json_type_int) ? json_object_get_uint64(object) : 0;
}

static const char *plural(struct json_object *count)
{
	return number(count) == 1 ? "" : "s";
}

static bool is_true(struct json_object *object)
{
	return json_object_is_type(object, json_type_boolean) && json_object_get_boolean(object);
}

struct json_object *tables_items(struct json_object *list)
{
	struct json_object *items = member(list, "items", NULL);

	return json_object_is_type(items, json_type_array) ? items : NULL;
}

static size_t length(struct json_object *items)
{
	return json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0;
}

/* "NAMESPACE/NAME" into buf. */
static const char *pair(char buf[static 520], const char *namespace, const char *name)
{
	snprintf(buf, 520, "%.256s/%.256s", namespace ? namespace : "?", name ? name : "?");
	return buf;
}

static const char *subject_name(char buf[static 520], struct json_object *object)
{
	if (!tables_text(object, "pod", NULL))
		return NULL;
	return pair(buf, tables_text(object, "namespace", NULL), tables_text(object, "pod", NULL));
}

/* 2026-11-20T15:59:52.123456Z as 15:59:52Z of that day. */
static const char *short_time(char buf[static 40], const char *time)
{
	if (!time || strlen(time) < 20)
		return NULL;
	snprintf(buf, 40, "%.10s %.8sZ", time, time + 11);
	return buf;
}

static enum tone tone_of_state(const char *state)
{
	if (!state)
		return TONE_PLAIN;
	if (strcmp(state, "verified") == 0)
		return TONE_GOOD;
	if (strcmp(state, "violated") == 0)
		return TONE_BAD;
	return strcmp(state, "unverified") == 0 ? TONE_WARN : TONE_DIM;
}

static const char *const states[] = { "violated", "unverified", "pending", "verified" };

/* For where a text must be. */
#define SHOWN(...) or_dash(tables_text(__VA_ARGS__, NULL))

static const char *or_dash(const char *text)
{
	return text ? text : "-";
}

/* Writing */

static void line(const struct terminal *terminal, size_t indent, enum tone tone, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
static void line(const struct terminal *terminal, size_t indent, enum tone tone, const char *format,
                 ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	terminal_wrap(terminal, indent, tone, text);
}

static void subject_row(struct table *table, struct json_object *subject)
{
	const char *state = tables_text(subject, "state", NULL);
	const char *address = tables_text(subject, "observed", "address", NULL);
	const char *whose = tables_text(subject, "observed", "attribution", NULL);
	char name[520], seen[200];
	enum tone tones[4] = { tone_of_state(state) };

	snprintf(seen, sizeof(seen), "%.60s", address ? address : "");
	if (address && whose && strcmp(whose, "expected") != 0)
		snprintf(seen, sizeof(seen), "%.60s (%.60s)", address, whose);
	table_row(table,
	          (const char *[]){ state, subject_name(name, subject), seen,
	                            tables_text(subject, "reason", NULL) },
	          tones);
}

void tables_subjects(const struct terminal *terminal, struct json_object *items)
{
	struct table *table =
		table_new((const char *[]){ "STATE", "POD", "SEEN AS", "REASON", NULL });

	for (size_t s = 0; s < COUNT(states); s++) {
		for (size_t i = 0; i < length(items); i++) {
			struct json_object *item = json_object_array_get_idx(items, i);
			const char *state = tables_text(item, "state", NULL);

			if (state && strcmp(state, states[s]) == 0)
				subject_row(table, item);
		}
	}
	table_print(table, terminal);
	table_free(table);
}

static void violation(const struct terminal *terminal, struct json_object *v)
{
	const char *state = tables_text(v, "state", NULL), *gateway;
	bool open = state && strcmp(state, "open") == 0;
	char name[520], first[40], last[40];
	const char *subject = subject_name(name, member(v, "subject", NULL));

	gateway = tables_text(v, "gateway", "name", NULL);
	line(terminal, 0, open ? TONE_BAD : TONE_DIM, "%s  %s%s%.256s%s", SHOWN(v, "kind"),
	     subject ? subject : "-", gateway ? "  gateway " : "", gateway ? gateway : "",
	     open ? "" : "  (resolved)");
	line(terminal, 2, TONE_PLAIN, "%s", SHOWN(v, "reason"));
	if (tables_text(v, "remedy", NULL))
		line(terminal, 2, TONE_BOLD, "To do: %s", SHOWN(v, "remedy"));
	line(terminal, 2, TONE_DIM, "%" PRIu64 " time%s, first %s, last %s",
	     number(member(v, "count", NULL)), plural(member(v, "count", NULL)),
	     or_dash(short_time(first, tables_text(v, "firstSeen", NULL))),
	     or_dash(short_time(last, tables_text(v, "lastSeen", NULL))));
	line(terminal, 2, TONE_DIM, "id %s", SHOWN(v, "id"));
}

void tables_violations(const struct terminal *terminal, struct json_object *items)
{
	if (length(items) == 0)
		terminal_wrap(terminal, 0, TONE_GOOD, "No violations.");
	for (size_t i = 0; i < length(items); i++) {
		if (i > 0)
			fputc('\n', terminal->out);
		violation(terminal, json_object_array_get_idx(items, i));
	}
}

static const char *bytes_text(char buf[static 32], uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit < COUNT(units) - 1) {
		value /= 1000;
		unit++;
	}
	snprintf(buf, 32, unit && value < 100 ? "%.1f%s" : "%.0f%s", value, units[unit]);
	return buf;
}

static void flow_row(struct table *table, struct json_object *flow)
{
	const char *address = tables_text(flow, "destination", NULL);
	bool offending = is_true(member(flow, "offending", NULL));
	char name[520], to[96], path[64], packets[32], bytes[32];
	enum tone tones[TABLE_COLUMNS_MAX] = { TONE_PLAIN };
	uint64_t port = number(member(flow, "port", NULL));

	snprintf(to, sizeof(to), address && strchr(address, ':') && port ? "[%.60s]" : "%.60s",
	         address ? address : "-");
	if (port)
		snprintf(to + strlen(to), 24, ":%" PRIu64, port);
	snprintf(path, sizeof(path), "%.40s%s", SHOWN(flow, "path"), offending ? " (wrong)" : "");
	snprintf(packets, sizeof(packets), "%" PRIu64, number(member(flow, "packets", NULL)));
	tones[4] = offending ? TONE_BAD : TONE_PLAIN;
	table_row(table,
	          (const char *[]){ subject_name(name, member(flow, "subject", NULL)),
	                            tables_text(flow, "protocol", NULL), to,
	                            tables_text(flow, "interface", NULL), path, packets,
	                            bytes_text(bytes, number(member(flow, "bytes", NULL))) },
	          tones);
}

void tables_flows(const struct terminal *terminal, struct json_object *items)
{
	struct table *table = table_new((const char *[]){ "POD", "PROTO", "DESTINATION", "BY",
	                                                  "PATH", ">PACKETS", ">BYTES", NULL });

	if (length(items) == 0)
		terminal_wrap(terminal, 0, TONE_PLAIN, "No flows were seen.");
	for (size_t i = 0; i < length(items); i++)
		flow_row(table, json_object_array_get_idx(items, i));
	table_print(table, terminal);
	table_free(table);
}

static void join(struct buf *out, struct json_object *texts)
{
	for (size_t i = 0; i < length(texts); i++) {
		struct json_object *text = json_object_array_get_idx(texts, i);

		buf_format(out, "%s%.64s", i ? ", " : "",
		           json_object_is_type(text, json_type_string)
		                   ? json_object_get_string(text)
		                   : "?");
	}
}

static void count_states(struct buf *out, struct json_object *subjects)
{
	for (size_t s = 0; s < COUNT(states); s++) {
		size_t n = 0;

		for (size_t i = 0; i < length(subjects); i++) {
			const char *state =
				tables_text(json_object_array_get_idx(subjects, i), "state", NULL);

			n += state && strcmp(state, states[s]) == 0;
		}
		if (n)
			buf_format(out, "%s%zu %s", out->len ? ", " : "", n, states[s]);
	}
	if (out->len == 0)
		buf_text(out, "none here");
}

static void gateway_row(struct table *table, struct json_object *gateway)
{
	cleanup(buf_clearp) struct buf allowed = BUF_INIT(65536), pods = BUF_INIT(256);
	uint64_t open = number(member(gateway, "violationsOpen", NULL));
	enum tone tones[4] = { TONE_PLAIN };
	char name[520], violations[32];

	join(&allowed, member(gateway, "allowed", NULL));
	count_states(&pods, member(gateway, "subjects", NULL));
	snprintf(violations, sizeof(violations), "%" PRIu64, open);
	tones[2] = open ? TONE_BAD : TONE_PLAIN;
	table_row(table,
	          (const char *[]){ pair(name, tables_text(gateway, "namespace", NULL),
	                                 tables_text(gateway, "name", NULL)),
	                            allowed.data, violations, pods.data },
	          tones);
}

void tables_gateways(const struct terminal *terminal, struct json_object *items)
{
	struct table *table =
		table_new((const char *[]){ "GATEWAY", "ALLOWED", ">VIOLATIONS", "PODS", NULL });

	if (length(items) == 0)
		terminal_wrap(terminal, 0, TONE_PLAIN, "No StaticGatewayConfiguration is known.");
	for (size_t i = 0; i < length(items); i++)
		gateway_row(table, json_object_array_get_idx(items, i));
	table_print(table, terminal);
	table_free(table);
}

void tables_explain(const struct terminal *terminal, struct json_object *answer)
{
	const char *agreement = tables_text(answer, "agreement", NULL);
	const char *route = tables_text(answer, "live", "route", NULL);
	const char *interface = tables_text(answer, "expected", "interface", NULL);
	char name[520];
	bool differs = agreement && strcmp(agreement, "differs") == 0;
	bool agrees = agreement && strcmp(agreement, "agrees") == 0;

	line(terminal, 0, TONE_BOLD, "%s to %s",
	     or_dash(subject_name(name, member(answer, "subject", NULL))), SHOWN(answer, "to"));
	line(terminal, 2, TONE_PLAIN, "must take: %s%s%.64s", SHOWN(answer, "expected", "path"),
	     interface ? ", by " : "", interface ? interface : "");
	line(terminal, 2, TONE_PLAIN, "because: %s", SHOWN(answer, "expected", "rule"));
	line(terminal, 2, TONE_PLAIN, "live routes: %s", route ? route : "no route leads there");
	line(terminal, 2, TONE_PLAIN,
	     "seen: %" PRIu64 " flow%s, %" PRIu64 " packet%s, %" PRIu64 " bytes",
	     number(member(answer, "seen", "flows", NULL)),
	     plural(member(answer, "seen", "flows", NULL)),
	     number(member(answer, "seen", "packets", NULL)),
	     plural(member(answer, "seen", "packets", NULL)),
	     number(member(answer, "seen", "bytes", NULL)));
	if (tables_text(answer, "seen", "interface", NULL))
		line(terminal, 2, TONE_PLAIN, "last seen leaving by: %s",
		     SHOWN(answer, "seen", "interface"));
	line(terminal, 2,
	     differs  ? TONE_BAD
	     : agrees ? TONE_GOOD
	              : TONE_WARN,
	     "verdict: %s", SHOWN(answer, "verdict"));
}

static void conditions(const struct terminal *terminal, struct json_object *status)
{
	struct json_object *all = member(status, "conditions", NULL);
	struct json_object_iterator it, end;

	if (!json_object_is_type(all, json_type_object))
		return;
	it = json_object_iter_begin(all);
	for (end = json_object_iter_end(all); !json_object_iter_equal(&it, &end);
	     json_object_iter_next(&it)) {
		struct json_object *condition = json_object_iter_peek_value(&it);

		if (!is_true(member(condition, "ok", NULL)))
			line(terminal, 0, TONE_BAD, "not ready: %s: %s",
			     json_object_iter_peek_name(&it), SHOWN(condition, "reason"));
	}
}

static void losses(const struct terminal *terminal, struct json_object *status)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(4096);
	struct json_object *all = member(status, "lost", NULL);
	struct json_object_iterator it, end;

	if (!json_object_is_type(all, json_type_object))
		return;
	it = json_object_iter_begin(all);
	for (end = json_object_iter_end(all); !json_object_iter_equal(&it, &end);
	     json_object_iter_next(&it)) {
		uint64_t n = number(json_object_iter_peek_value(&it));

		if (n)
			buf_format(&text, "%s%s %" PRIu64, text.len ? ", " : "lost or dropped: ",
			           json_object_iter_peek_name(&it), n);
	}
	if (text.data)
		terminal_wrap(terminal, 0, TONE_WARN, text.data);
}

void tables_status(const struct terminal *terminal, struct json_object *status)
{
	char started[40], round[40], reason[TABLES_REASON_MAX];
	const char *last = short_time(round, tables_text(status, "lastRound", NULL));
	int verdict = tables_judge_status(status, reason);

	line(terminal, 0, TONE_BOLD, "%s", SHOWN(status, "node"));
	line(terminal, 0, TONE_DIM, "egress-verifier %s, running since %s, last round %s",
	     SHOWN(status, "version"),
	     or_dash(short_time(started, tables_text(status, "started", NULL))),
	     last ? last : "none yet");
	line(terminal, 0,
	     verdict == 0   ? TONE_GOOD
	     : verdict == 1 ? TONE_BAD
	                    : TONE_WARN,
	     "%s", reason);
	conditions(terminal, status);
	losses(terminal, status);
}

/* Judging */

/* `status` is told when there is no pod: whether there may be some that are not known. */
static int weigh(uint64_t open, uint64_t verified, uint64_t total, struct json_object *status,
                 char reason[static TABLES_REASON_MAX])
{
	struct json_object *listed = member(status, "conditions", "inventory", "ok", NULL);

	if (open) {
		snprintf(reason, TABLES_REASON_MAX,
		         "%" PRIu64 " open violation%s; %" PRIu64 " of %" PRIu64 " pods verified",
		         open, open == 1 ? "" : "s", verified, total);
		return EXIT_VIOLATED;
	}
	if (total == 0) {
		snprintf(reason, TABLES_REASON_MAX, "nothing to decide: %s",
		         listed && !is_true(listed) ? "not all is known of the pods of this node"
		                                    : "no pod here uses a gateway or must use one");
		return EXIT_UNDECIDED;
	}
	snprintf(reason, TABLES_REASON_MAX, "%" PRIu64 " of %" PRIu64 " pods verified", verified,
	         total);
	return verified == total ? EXIT_VERIFIED : EXIT_UNDECIDED;
}

int tables_judge_status(struct json_object *status, char reason[static TABLES_REASON_MAX])
{
	return weigh(number(member(status, "violations", "open", NULL)),
	             number(member(status, "subjects", "verified", NULL)),
	             number(member(status, "subjects", "total", NULL)), status, reason);
}

int tables_judge_check(struct json_object *check, char reason[static TABLES_REASON_MAX])
{
	struct json_object *subjects = member(check, "subjects", NULL);
	size_t n = length(subjects), verified = 0;

	for (size_t i = 0; i < n; i++) {
		const char *state =
			tables_text(json_object_array_get_idx(subjects, i), "state", NULL);

		verified += state && strcmp(state, "verified") == 0;
	}
	return weigh(length(member(check, "violations", NULL)), verified, n,
	             member(check, "status", NULL), reason);
}

void tables_check(const struct terminal *terminal, struct json_object *check)
{
	struct json_object *violations = member(check, "violations", NULL);
	char reason[TABLES_REASON_MAX];
	int verdict = tables_judge_check(check, reason);

	if (length(member(check, "subjects", NULL))) {
		tables_subjects(terminal, member(check, "subjects", NULL));
		fputc('\n', terminal->out);
	}
	if (length(violations)) {
		tables_violations(terminal, violations);
		fputc('\n', terminal->out);
	}
	conditions(terminal, member(check, "status", NULL));
	terminal_wrap(terminal, 0,
	              verdict == 0   ? TONE_GOOD
	              : verdict == 1 ? TONE_BAD
	                             : TONE_WARN,
	              reason);
}
