#include "verdict/violations.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "limits.h"
#include "verdict/sentence.h"

struct entry {
	struct violation v; /* first: what others see */
	/* A fault that came back before it was resolved counts from one again. */
	uint64_t counted_before;
	struct moment finding_first;
	uint64_t finding_count;
	bool restored; /* of an earlier run, and nothing was known since that could resolve it */
};

struct list { /* in the order in which they came in */
	struct entry *items[VIOLATIONS_MAX];
	size_t n;
};

struct violations {
	violation_fn fn;
	void *user;
	struct list open, resolved;
	uint64_t total[_VIOLATION_KIND_MAX];
	uint64_t refused;
};

int violations_new(violation_fn fn, void *user, struct violations **out)
{
	struct violations *violations = calloc(1, sizeof(*violations));

	if (!violations)
		return -ENOMEM;
	violations->fn = fn;
	violations->user = user;
	*out = violations;
	return 0;
}

static struct entry *entry_free(struct entry *entry)
{
	if (!entry)
		return NULL;
	free(entry->v.namespace);
	free(entry->v.pod);
	free(entry->v.uid);
	free(entry->v.gateway_namespace);
	free(entry->v.gateway);
	free(entry->v.evidence);
	free(entry);
	return NULL;
}

DEFINE_FREEP(struct entry, entry);

struct violations *violations_free(struct violations *violations)
{
	if (!violations)
		return NULL;
	for (size_t i = 0; i < violations->open.n; i++)
		entry_free(violations->open.items[i]);
	for (size_t i = 0; i < violations->resolved.n; i++)
		entry_free(violations->resolved.items[i]);
	free(violations);
	return NULL;
}

static void list_push(struct list *list, struct entry *entry)
{
	assert(list->n < VIOLATIONS_MAX);
	list->items[list->n++] = entry;
}

static struct entry *list_take(struct list *list, size_t index)
{
	struct entry *entry = list->items[index];

	list->n--;
	memmove(&list->items[index], &list->items[index + 1],
	        (list->n - index) * sizeof(list->items[0]));
	return entry;
}

bool violations_kernel_timed(enum violation_kind kind)
{
	return kind == GATEWAY_BYPASS || kind == UNGOVERNED_EGRESS || kind == UNEXPECTED_GATEWAY;
}

/*
 * The beginning as the kernel's own clock has it where BPF brought it: exactly
 * the same number after a restart of the agent, while a wall time computed from
 * it differs by the reading of the clocks. Other kinds begin at a wall time from
 * the objects or from the agent; whole seconds are enough.
 */
static uint64_t beginning_of(enum violation_kind kind, const struct moment *first)
{
	if (violations_kernel_timed(kind))
		return first->mono_ns;
	return (uint64_t)(first->wall_us / 1000000);
}

static void make_id(const struct violation_subject *subject, const struct finding *finding,
                    char id[static 33])
{
	static const uint64_t seeds[2] = { HASH_SEED, 0x84222325cbf29ce4ULL };
	uint64_t begin = beginning_of(finding->kind, &finding->first), half[2];

	for (size_t i = 0; i < 2; i++) {
		uint64_t h = hash_text(seeds[i], subject->uid);

		h = hash_text(h, violation_kind_name(finding->kind));
		h = hash_text(h, subject->gateway_namespace);
		h = hash_text(h, subject->gateway);
		half[i] = hash_bytes(h, &begin, sizeof(begin));
	}
	snprintf(id, 33, "%016llx%016llx", (unsigned long long)half[0],
	         (unsigned long long)half[1]);
}

static int copy_text(const char *text, char **out)
{
	char *copy;

	if (!text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	*out = copy;
	return 0;
}

static int entry_new(const struct violation_subject *subject, const struct finding *finding,
                     struct entry **out)
{
	cleanup(entry_freep) struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	if (copy_text(subject->namespace, &entry->v.namespace) < 0 ||
	    copy_text(subject->pod, &entry->v.pod) < 0 ||
	    copy_text(subject->uid, &entry->v.uid) < 0 ||
	    copy_text(subject->gateway_namespace, &entry->v.gateway_namespace) < 0 ||
	    copy_text(subject->gateway, &entry->v.gateway) < 0)
		return -ENOMEM;
	entry->v.kind = finding->kind;
	entry->v.first = finding->first;
	make_id(subject, finding, entry->v.id);
	*out = take_ptr(entry);
	return 0;
}

/* Room for one more: a resolved one makes place, an open one never does. */
static bool make_room(struct violations *violations)
{
	if (violations->open.n + violations->resolved.n < VIOLATIONS_MAX)
		return true;
	if (violations->resolved.n == 0) {
		violations->refused++;
		return false;
	}
	entry_free(list_take(&violations->resolved, 0));
	return true;
}

static void absorb(struct entry *entry, struct finding *finding)
{
	struct violation *v = &entry->v;

	entry->restored = false;
	/* It went and came again: what was counted stays counted. */
	if (finding->first.mono_ns > entry->finding_first.mono_ns &&
	    finding->count < entry->finding_count)
		entry->counted_before += entry->finding_count;
	entry->finding_first = finding->first;
	entry->finding_count = finding->count;

	if (entry->counted_before + finding->count > v->count)
		v->count = entry->counted_before + finding->count;
	if (finding->last.mono_ns > v->last.mono_ns)
		v->last = finding->last;
	memcpy(v->reason, finding->reason, sizeof(v->reason));
	memcpy(v->remedy, finding->remedy, sizeof(v->remedy));
	free(v->evidence);
	v->evidence = take_ptr(finding->evidence);
}

/* The same beginning found again, as after a tunnel that came and went: one violation, reopened. */
static struct entry *take_resolved(struct violations *violations, const char *id)
{
	for (size_t i = violations->resolved.n; i-- > 0;)
		if (strcmp(violations->resolved.items[i]->v.id, id) == 0)
			return list_take(&violations->resolved, i);
	return NULL;
}

static void report(struct violations *violations, const struct entry *entry,
                   enum violation_change change)
{
	if (violations->fn)
		violations->fn(violations->user, &entry->v, change);
}

static int open_entry(struct violations *violations, const struct violation_subject *subject,
                      struct finding *finding, const struct moment *now)
{
	struct entry *entry, *again;
	int r;

	r = entry_new(subject, finding, &entry);
	if (r < 0)
		return r;
	again = take_resolved(violations, entry->v.id);
	if (again) {
		entry_free(entry);
		entry = again;
		entry->v.resolved = (struct moment){ 0 };
	} else if (!make_room(violations)) {
		entry_free(entry);
		return 0;
	}

	entry->v.open = true;
	entry->v.opened = *now;
	absorb(entry, finding);
	list_push(&violations->open, entry);
	violations->total[entry->v.kind]++;
	report(violations, entry, VIOLATION_OPENED);
	return 0;
}

static void resolve(struct violations *violations, size_t index, const struct moment *now)
{
	struct entry *entry = list_take(&violations->open, index);

	entry->v.open = false;
	entry->v.resolved = *now;
	list_push(&violations->resolved, entry);
	report(violations, entry, VIOLATION_RESOLVED);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Another gateway is another violation: the old one then has no finding and resolves. */
static bool is_of(const struct entry *entry, const struct violation_subject *subject,
                  enum violation_kind kind)
{
	return entry->v.kind == kind && strcmp(entry->v.uid, subject->uid) == 0 &&
	       same_text(entry->v.gateway_namespace, subject->gateway_namespace) &&
	       same_text(entry->v.gateway, subject->gateway);
}

static struct entry *find_open(struct violations *violations,
                               const struct violation_subject *subject, enum violation_kind kind)
{
	for (size_t i = 0; i < violations->open.n; i++)
		if (is_of(violations->open.items[i], subject, kind))
			return violations->open.items[i];
	return NULL;
}

static bool is_found(const struct entry *entry, const struct violation_subject *subject,
                     const struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_of(entry, subject, findings[i].kind))
			return true;
	return false;
}

static bool is_quiet(const struct entry *entry, uint64_t quiet_ns, const struct moment *now)
{
	return now->mono_ns >= entry->v.last.mono_ns &&
	       now->mono_ns - entry->v.last.mono_ns >= quiet_ns;
}

int violations_update(struct violations *violations, const struct violation_subject *subject,
                      struct finding *findings, size_t n, uint64_t quiet_ns,
                      const struct moment *now)
{
	int result = 0;

	for (size_t i = violations->open.n; i-- > 0;) {
		const struct entry *entry = violations->open.items[i];

		if (strcmp(entry->v.uid, subject->uid) == 0 && !entry->restored &&
		    !is_found(entry, subject, findings, n) && is_quiet(entry, quiet_ns, now))
			resolve(violations, i, now);
	}
	for (size_t i = 0; i < n; i++) {
		struct entry *entry = find_open(violations, subject, findings[i].kind);
		int r = 0;

		if (entry)
			absorb(entry, &findings[i]);
		else
			r = open_entry(violations, subject, &findings[i], now);
		if (r < 0)
			result = r;
		free(take_ptr(findings[i].evidence));
	}
	return result;
}

void violations_forget(struct violations *violations, const char *uid, const struct moment *now)
{
	for (size_t i = violations->open.n; i-- > 0;) {
		struct entry *entry = violations->open.items[i];
		char before[REASON_MAX];

		if (strcmp(entry->v.uid, uid) != 0)
			continue;
		memcpy(before, entry->v.reason, sizeof(before));
		sentence_set(entry->v.reason, sizeof(entry->v.reason),
		             "the pod is gone; before: %s", before);
		resolve(violations, i, now);
	}
}

static int entry_of(const struct violation *violation, struct entry **out)
{
	const struct violation_subject subject = {
		.namespace = violation->namespace,
		.pod = violation->pod,
		.uid = violation->uid,
		.gateway_namespace = violation->gateway_namespace,
		.gateway = violation->gateway,
	};
	const struct finding finding = { .kind = violation->kind, .first = violation->first };
	cleanup(entry_freep) struct entry *entry = NULL;
	int r;

	r = entry_new(&subject, &finding, &entry);
	r = r ?: copy_text(violation->evidence, &entry->v.evidence);
	if (r < 0)
		return r;
	memcpy(entry->v.id, violation->id, sizeof(entry->v.id));
	memcpy(entry->v.reason, violation->reason, sizeof(entry->v.reason));
	memcpy(entry->v.remedy, violation->remedy, sizeof(entry->v.remedy));
	entry->v.last = violation->last;
	entry->v.opened = violation->opened;
	entry->v.count = violation->count;
	entry->v.open = true;
	/* What is found next goes on counting where the kernel's counters do, or begins again. */
	entry->finding_first = violation->first;
	entry->finding_count = violation->count;
	entry->restored = true;
	*out = take_ptr(entry);
	return 0;
}

int violations_restore(struct violations *violations, const struct violation *violation)
{
	struct entry *entry;
	int r;

	for (size_t i = 0; i < violations->open.n; i++)
		if (strcmp(violations->open.items[i]->v.id, violation->id) == 0)
			return -EEXIST;
	r = entry_of(violation, &entry);
	if (r < 0)
		return r;
	if (!make_room(violations)) {
		entry_free(entry);
		return -ENOBUFS;
	}
	list_push(&violations->open, entry);
	return 0;
}

void violations_decide(struct violations *violations, const char *uid, uint32_t kinds)
{
	for (size_t i = 0; i < violations->open.n; i++) {
		struct entry *entry = violations->open.items[i];

		if (entry->restored && kinds & 1u << entry->v.kind &&
		    strcmp(entry->v.uid, uid) == 0)
			entry->restored = false;
	}
}

const struct violation *violations_at(const struct violations *violations, size_t index)
{
	const struct list *list = &violations->open;

	if (index >= list->n) {
		index -= list->n;
		list = &violations->resolved;
	}
	return index < list->n ? &list->items[list->n - 1 - index]->v : NULL;
}

size_t violations_open(const struct violations *violations, const char *uid)
{
	size_t n = 0;

	for (size_t i = 0; i < violations->open.n; i++)
		n += !uid || strcmp(violations->open.items[i]->v.uid, uid) == 0;
	return n;
}

uint64_t violations_total(const struct violations *violations, enum violation_kind kind)
{
	return violations->total[kind];
}

uint64_t violations_refused(const struct violations *violations)
{
	return violations->refused;
}
