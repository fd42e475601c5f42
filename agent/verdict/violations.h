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

/* The beginning comes from the kernel, exactly: the id is the same after a restart, whenever that is. */
bool violations_kernel_timed(enum violation_kind kind);

/* Open ones first, newest first; NULL past the end. */
const struct violation *violations_at(const struct violations *violations, size_t index);
size_t violations_open(const struct violations *violations, const char *uid); /* NULL: all */
uint64_t violations_total(const struct violations *violations, enum violation_kind kind);
uint64_t violations_refused(const struct violations *violations); /* opened past the limit */
