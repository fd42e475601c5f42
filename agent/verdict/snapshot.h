/*
 * What is remembered across restarts, as JSON: violations, and what was last known of a subject. Pure.
 *
 * Monotonic times are only worth something within one boot of the machine; `boot` (the kernel's
 * boot_id) tells whether they still are, else they are computed from the wall clock.
 */
#pragma once

#include "base/encode.h"
#include "verdict/judge.h"
#include "verdict/violations.h"

#define SNAPSHOT_BOOT_MAX 40 /* a UUID and NUL */

void snapshot_violation_write(const struct violation *violation, const char *boot, struct buf *out);
/*
 * A new violation, for snapshot_violation_free(). -EINVAL: not one that was written; -ENOMEM. Data is as untrusted as
 * the disk that it was on.
 */
int snapshot_violation_read(const char *data, size_t len, const char *boot,
                            const struct moment *now, struct violation **out);
struct violation *snapshot_violation_free(struct violation *violation);
/* Another one like it; -ENOMEM. */
int snapshot_violation_copy(const struct violation *violation, struct violation **out);

/* State, since when and why; last proof with the address and whose it is. */
void snapshot_subject_write(const struct judge_record *record, const char *boot, struct buf *out);
/* Into an initialised record; on error it is left alone. A proof of another boot is none. */
int snapshot_subject_read(const char *data, size_t len, const char *boot, const struct moment *now,
                          struct judge_record *record);
