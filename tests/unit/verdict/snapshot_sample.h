/* What tests of snapshots share: one of each, written and read. */
#pragma once

#include "world.h"

#include "limits.h"
#include "verdict/snapshot.h"

#define BOOT "8f1b9d3e-6a53-4d6e-9a4c-3f2f0c9f7d11"
#define NOW at(100)

/* Borrowed texts: never to be freed. */
static inline struct violation sample(void)
{
	return (struct violation){ .id = "0123456789abcdef0123456789abcdef",
		                   .kind = GATEWAY_BYPASS,
		                   .namespace = (char *)"team",
		                   .pod = (char *)"app-6d5f-x2x",
		                   .uid = (char *)"7c0d-u-1",
		                   .gateway_namespace = (char *)"team",
		                   .gateway = (char *)"blue",
		                   .first = at(1.25),
		                   .last = at(90),
		                   .opened = at(2),
		                   .count = 77,
		                   .reason = "TCP 192.0.2.1 port 443 left by eth0",
		                   .remedy = "restart it",
		                   .evidence = (char *)"{\"totals\":{\"flows\":1}}",
		                   .open = true };
}

static inline struct buf written(const struct violation *violation, const char *boot)
{
	struct buf out = BUF_INIT(SPOOL_BODY_MAX);

	snapshot_violation_write(violation, boot, &out);
	assert_int_equal(out.error, 0);
	return out;
}

static inline int read_text(const char *text, size_t len, struct violation **out)
{
	struct moment now = NOW;

	/* A copy of exactly that size, so that a sanitizer sees each byte too far. */
	cleanup(mem_freep) char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	return snapshot_violation_read(copy, len, BOOT, &now, out);
}

static inline struct judge_record sample_record(void)
{
	struct moment begun = at(0);
	struct judge_record record;

	judge_record_init(&record, &begun);
	record.state = STATE_VERIFIED;
	record.state_since = at(20);
	record.last_proof = at(99);
	record.observed = ip_of(GOOD);
	record.attribution = ATTRIBUTION_GATEWAY;
	snprintf(record.attributed_to, sizeof(record.attributed_to), "team/red");
	snprintf(record.reason, sizeof(record.reason), "\"all\" is well\n");
	snprintf(record.round_reason, sizeof(record.round_reason), "3 of 3");
	snprintf(record.finding_reason, sizeof(record.finding_reason), "was bad");
	return record;
}

static inline struct buf written_subject(const struct judge_record *record)
{
	struct buf out = BUF_INIT(SPOOL_BODY_MAX);

	snapshot_subject_write(record, BOOT, &out);
	assert_int_equal(out.error, 0);
	return out;
}

/* `fill` between {"a":" and "}. */
static inline void fill_evidence(char out[static EVIDENCE_MAX + 1], const char *fill)
{
	size_t n = strlen(fill), len = EVIDENCE_MAX - 8, at = 6;

	memcpy(out, "{\"a\":\"", 6);
	for (; at - 6 + n <= len; at += n)
		memcpy(out + at, fill, n);
	for (; at - 6 < len; at++)
		out[at] = 'x';
	memcpy(out + at, "\"}", 3);
	assert_int_equal(strlen(out), EVIDENCE_MAX);
}
