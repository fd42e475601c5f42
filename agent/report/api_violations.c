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

static bool read_filter(struct call *call, struct violation_filter *filter)
{
	const char *state = http_server_param(call->request, "state");
	const char *kind = http_server_param(call->request, "kind");

	*filter = (struct violation_filter){
		.any_kind = !kind, .namespace = http_server_param(call->request, "namespace")
	};
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

bool violation_passes(const struct violation_filter *filter, const struct violation *violation)
{
	if (!(violation->open ? filter->open : filter->resolved))
		return false;
	if (!filter->any_kind && filter->kind != violation->kind)
		return false;
	return !filter->namespace || strcmp(filter->namespace, violation->namespace) == 0;
}

void violation_key(bool open, int64_t wall_us, const char *id, char key[static VIOLATION_KEY_MAX])
{
	uint64_t age = UINT64_MAX - (uint64_t)wall_us;

	snprintf(key, VIOLATION_KEY_MAX, "%d%016" PRIx64 "%.46s", !open, age, id);
}

int violation_by_key(const void *a, const void *b)
{
	return strcmp(((const struct violation_item *)a)->key,
	              ((const struct violation_item *)b)->key);
}

static size_t gather(const struct report_sources *s, const struct violation_filter *filter,
                     struct violation_item *items, size_t max)
{
	const struct violation *violation;
	size_t n = 0;

	for (size_t i = 0; n < max && (violation = s->violation(s->user, i)); i++) {
		if (!violation_passes(filter, violation))
			continue;
		violation_key(violation->open, violation->opened.wall_us, violation->id,
		              items[n].key);
		items[n++].violation = violation;
	}
	qsort(items, n, sizeof(*items), violation_by_key);
	return n;
}

int route_violations(struct call *call)
{
	const char *since = http_server_param(call->request, "since");
	cleanup(mem_freep) struct violation_item *items = NULL;
	struct violation_filter filter;
	struct list list;
	size_t n;

	if (!list_begin(call, &list) || !read_filter(call, &filter))
		return 0;
	if (since)
		return history_answer(call, &list, &filter, since);
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
