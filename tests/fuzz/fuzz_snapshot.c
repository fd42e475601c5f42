/* sources: agent/verdict/snapshot.c agent/verdict/verdict.c agent/kube/object.c */
/*
 * Whatever the disk brings: a record that is refused is left alone, and what is taken is written
 * and read again as the same.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "verdict/snapshot.h"

#define BOOT "a"

static const struct moment now = { .mono_ns = 5000000000000, .wall_us = 1795000000000000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_text(const char *text, size_t size)
{
	uint32_t c;

	assert(memchr(text, '\0', size));
	for (size_t n; *text; text += n) {
		n = utf8_read(text, &c);
		assert(n > 0);
	}
}

static void is_past(const struct moment *moment)
{
	assert(moment->mono_ns <= now.mono_ns);
	assert(moment->wall_us >= 0 && moment->wall_us <= INT64_MAX / 1000);
}

static void check_violation(const struct violation *v)
{
	assert(v->kind < _VIOLATION_KIND_MAX && strlen(v->id) == 32);
	assert(v->namespace && v->pod && v->uid && !v->gateway == !v->gateway_namespace);
	assert(v->opened.wall_us && v->open == !v->resolved.wall_us);
	is_text(v->reason, sizeof(v->reason));
	is_text(v->remedy, sizeof(v->remedy));
	is_past(&v->first);
	is_past(&v->last);
	is_past(&v->opened);
	is_past(&v->resolved);
}

static void same(const struct buf *a, const struct buf *b)
{
	assert(a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

static void try_violation(const char *data, size_t size)
{
	/* Escaped, a text of SPOOL_BODY_MAX may be six times as long; what is longer is not read again. */
	struct buf first = BUF_INIT(8 * SPOOL_BODY_MAX), second = BUF_INIT(8 * SPOOL_BODY_MAX);
	struct violation *v = NULL, *again = NULL;
	int r = snapshot_violation_read(data, size, BOOT, &now, &v);

	if (r < 0) {
		assert(r == -EINVAL && !v);
		return;
	}
	check_violation(v);
	snapshot_violation_write(v, BOOT, &first);
	assert(first.error == 0);
	if (first.len <= SPOOL_BODY_MAX) {
		assert(snapshot_violation_read(first.data, first.len, BOOT, &now, &again) == 0);
		snapshot_violation_write(again, BOOT, &second);
		same(&first, &second);
	}
	snapshot_violation_free(again);
	snapshot_violation_free(v);
	buf_clear(&first);
	buf_clear(&second);
}

static void try_subject(const char *data, size_t size)
{
	static const struct judge_record empty = { .state = STATE_UNVERIFIED };
	static struct judge_record record, again;
	struct buf first = BUF_INIT(8 * SPOOL_BODY_MAX), second = BUF_INIT(8 * SPOOL_BODY_MAX);
	int r;

	memcpy(&record, &empty, sizeof(record));
	r = snapshot_subject_read(data, size, BOOT, &now, &record);
	if (r < 0) {
		assert(r == -EINVAL && memcmp(&record, &empty, sizeof(record)) == 0);
		return;
	}
	assert(record.state < _STATE_MAX && record.attribution < _ATTRIBUTION_MAX);
	is_text(record.reason, sizeof(record.reason));
	is_text(record.round_reason, sizeof(record.round_reason));
	is_text(record.finding_reason, sizeof(record.finding_reason));
	is_text(record.attributed_to, sizeof(record.attributed_to));
	is_past(&record.state_since);
	is_past(&record.last_proof);
	snapshot_subject_write(&record, BOOT, &first);
	memcpy(&again, &empty, sizeof(again));
	assert(snapshot_subject_read(first.data, first.len, BOOT, &now, &again) == 0);
	snapshot_subject_write(&again, BOOT, &second);
	same(&first, &second);
	buf_clear(&first);
	buf_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_violation((const char *)data, size);
	try_subject((const char *)data, size);
	return 0;
}
