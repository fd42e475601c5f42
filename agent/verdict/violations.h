/*
 * Violations: findings over time.
 *
 * A violation opens once, counts repeats and resolves by itself after the
 * fault stayed away for its quiet time; it never flaps per probe. Open ones
 * are never evicted. Pure: time comes in, changes go out by callback.
 */
#pragma once

#include "verdict/verdict.h"

struct violations;

struct violation {
	char id[33]; /* stable: same pod, kind, gateway and beginning give the same id, also after a restart */
	enum violation_kind kind;
	char *namespace, *pod, *uid;                 /* owned */
	char *gateway_namespace, *gateway;           /* owned; NULL: none */
	struct moment first, last, opened, resolved; /* resolved.wall_us 0: open */
	uint64_t count;
	char reason[REASON_MAX];
	char remedy[REMEDY_MAX];
	char *evidence; /* owned; JSON */
	bool open;
};

enum violation_change { VIOLATION_OPENED, VIOLATION_RESOLVED };

typedef void (*violation_fn)(void *user, const struct violation *violation,
                             enum violation_change change);

struct violation_subject {
	const char *namespace, *pod, *uid;
	const char *gateway_namespace, *gateway; /* NULL: none */
};

int violations_new(violation_fn fn, void *user, struct violations **out);
struct violations *violations_free(struct violations *violations);

/*
 * All findings that hold for the subject now. Takes their evidence. A kind
 * that is absent resolves once its newest evidence is quiet_ns old and it was
 * absent in this call.
 */
int violations_update(struct violations *violations, const struct violation_subject *subject,
                      struct finding *findings, size_t n, uint64_t quiet_ns,
                      const struct moment *now);
/* The pod is gone: everything of it resolves at once, with that reason. */
void violations_forget(struct violations *violations, const char *uid, const struct moment *now);

/*
 * An open one of an earlier run, copied; nothing is reported. It goes on when it is found again, and
 * resolves as any other, but not before violations_decide() says that its kind can be
 * told: an agent that has just started has seen nothing yet, which is no evidence. -EEXIST: it is
 * there; -ENOBUFS: no room (counted); -ENOMEM.
 */
int violations_restore(struct violations *violations, const struct violation *violation);
/* `kinds`: bits of those whose absence means something for this subject (judge_decided()). */
void violations_decide(struct violations *violations, const char *uid, uint32_t kinds);

/* The beginning comes from the kernel, exactly: the id is the same after a restart, whenever that is. */
bool violations_kernel_timed(enum violation_kind kind);

/* Open ones first, newest first; NULL past the end. */
const struct violation *violations_at(const struct violations *violations, size_t index);
size_t violations_open(const struct violations *violations, const char *uid); /* NULL: all */
uint64_t violations_total(const struct violations *violations, enum violation_kind kind);
uint64_t violations_refused(const struct violations *violations); /* opened past the limit */
