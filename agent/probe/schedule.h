/*
 * Which subject asks which echo, and when. Pure.
 *
 * A round of a subject is one question to each echo, in an order of its own.
 * Rounds start every interval, moved by up to a tenth either way by a hash of
 * the subject's uid, so that neither the subjects of a node nor the nodes of a
 * cluster fall into step. Each echo has a budget; what does not fit waits, and
 * what still waits when the next round is due is skipped. Time that jumps
 * forward costs one late round, never a burst of missed ones.
 *
 * The caller takes due probes with schedule_next(), asks them, and reports
 * every one with schedule_done(), which says when the round is complete.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "probe/result.h"

struct schedule;

struct schedule_settings {
	uint64_t interval_ns;
	size_t n_echoes;
	bool node_control;               /* one more subject: PROBE_SUBJECT_NODE */
	uint64_t seed;                   /* differs per node: order and phase */
	uint32_t rate_per_s[ECHOES_MAX]; /* 0: ECHO_RATE_PER_S */
};

struct schedule_probe {
	uint32_t subject; /* or PROBE_SUBJECT_NODE */
	uint64_t generation;
	uint32_t round;
	uint16_t echo;
	bool skip;       /* do not ask: record it as PROBE_SKIPPED and report it done */
	const char *why; /* with skip; constant */
	bool paused;     /* with skip: for the echo's answer that there were too many */
};

int schedule_new(const struct schedule_settings *settings, uint64_t now_ns, struct schedule **out);
struct schedule *schedule_free(struct schedule *schedule);

/* `subject` < SUBJECTS_MAX. A known number with another generation starts anew. */
void schedule_add(struct schedule *schedule, uint32_t subject, uint64_t generation, const char *uid,
                  uint64_t now_ns);
void schedule_remove(struct schedule *schedule, uint32_t subject);
/* Forgets the running round (its probes were cancelled); the next comes at its time. */
void schedule_cancel(struct schedule *schedule, uint32_t subject);

/* A round as soon as may be, because something changed: at most one per PROBE_ROUND_GAP_NS. */
void schedule_soon(struct schedule *schedule, uint32_t subject, uint64_t now_ns);
/*
 * A round because someone asks: 0 when it is accepted, else the nanoseconds to
 * wait (PROBE_REQUEST_GAP_NS per subject). UINT64_MAX: no such subject.
 */
uint64_t schedule_request(struct schedule *schedule, uint32_t subject, uint64_t now_ns);

/* True and *out while something is due. */
bool schedule_next(struct schedule *schedule, uint64_t now_ns, struct schedule_probe *out);
/* When schedule_next() may have something again; UINT64_MAX: not before another call. */
uint64_t schedule_wake_ns(const struct schedule *schedule, uint64_t now_ns);

/*
 * Reports one probe. True when it was the last of its subject's round. False
 * also for what is no longer known: removed, reborn, cancelled.
 */
bool schedule_done(struct schedule *schedule, const struct schedule_probe *probe,
                   enum probe_outcome outcome, uint32_t retry_after_s, uint64_t now_ns);
/* The same, from a result. */
bool schedule_result(struct schedule *schedule, const struct probe_result *result, uint64_t now_ns);
