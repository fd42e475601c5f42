#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/report_parts.h"

void write_violation(struct encode *e, const char *key, const struct violation *violation)
{
	encode_object(e, key);
	encode_text(e, "id", violation->id);
	encode_text(e, "kind", violation_kind_name(violation->kind));
	encode_text(e, "state", violation->open ? "open" : "resolved");
	write_subject_name(e, "subject", violation->namespace, violation->pod, violation->uid);
	write_gateway_name(e, "gateway", violation->gateway_namespace, violation->gateway);
	encode_time(e, "firstSeen", violation->first.wall_us);
	encode_time(e, "lastSeen", violation->last.wall_us);
	encode_time(e, "opened", violation->opened.wall_us);
	encode_time(e, "resolved", violation->resolved.wall_us);
	encode_u64(e, "count", violation->count);
	encode_text(e, "reason", violation->reason);
	encode_text(e, "remedy", violation->remedy);
	if (violation->evidence)
		encode_raw(e, "evidence", violation->evidence);
	else
		encode_null(e, "evidence");
	encode_object_end(e);
}

struct filter {
	bool open, resolved, any_kind;
	enum violation_kind kind;
	const char *namespace; /* NULL: any */
};

static bool read_filter(struct call *call, struct filter *filter)
{
	const char *state = http_server_param(call->request, "state");
	const char *kind = http_server_param(call->request, "kind");

	*filter = (struct filter){ .any_kind = !kind,
		                   .namespace = http_server_param(call->request, "namespace") };
	if (state && strcmp(state, "open") != 0 && strcmp(state, "resolved") != 0) {
		call_problem(call, 400, "state: expected open or resolved");
		return false;
	}
	filter->open = !state || strcmp(state, "open") == 0;
	filter->resolved = !state || strcmp(state, "resolved") == 0;
	if (kind && !violation_kind_parse(kind, &filter->kind)) {
		call_problem(call, 400, "kind: no kind of violation is called %.64s", kind);
		return false;
	}
	return true;
}

static bool passes(const struct filter *filter, const struct violation *violation)
{
	if (!(violation->open ? filter->open : filter->resolved))
		return false;
	if (!filter->any_kind && filter->kind != violation->kind)
		return false;
	return !filter->namespace || strcmp(filter->namespace, violation->namespace) == 0;
}

/* Open ones first, the newest first: the order of the keys. */
static void key_of(const struct violation *violation, char key[static LIST_KEY_MAX])
{
	uint64_t age = UINT64_MAX - (uint64_t)violation->opened.wall_us;

	snprintf(key, LIST_KEY_MAX, "%d%016" PRIx64 "%s", !violation->open, age, violation->id);
}

struct item {
	const struct violation *violation;
	char key[64]; /* a digit, 16 digits, the id */
};

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->key, ((const struct item *)b)->key);
}

static size_t gather(const struct report_sources *s, const struct filter *filter,
                     struct item *items, size_t max)
{
	const struct violation *violation;
	char key[LIST_KEY_MAX];
	size_t n = 0;

	for (size_t i = 0; n < max && (violation = s->violation(s->user, i)); i++) {
		if (!passes(filter, violation))
			continue;
		key_of(violation, key);
		items[n].violation = violation;
		snprintf(items[n].key, sizeof(items[n].key), "%.63s", key);
		n++;
	}
	qsort(items, n, sizeof(*items), by_key);
	return n;
}

int route_violations(struct call *call)
{
	cleanup(mem_freep) struct item *items = NULL;
	struct filter filter;
	struct list list;
	size_t n;

	if (!list_begin(call, &list) || !read_filter(call, &filter))
		return 0;
	items = malloc(VIOLATIONS_MAX * sizeof(*items));
	if (!items)
		return -ENOMEM;
	n = gather(call->sources, &filter, items, VIOLATIONS_MAX);
	list_open(call);
	for (size_t i = 0; i < n; i++)
		if (list_takes(&list, items[i].key))
			write_violation(&call->e, NULL, items[i].violation);
	list_close(call, &list);
	return 0;
}
