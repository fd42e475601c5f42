/*
 * The process that keeps the spool: it waits for the disk, so that nobody else has to.
 *
 * A disk that is throttled takes seconds for an fsync(2). In the worker that would stop every
 * probe, and look like echoes that do not answer. Messages that wait are put into one transaction.
 */
#pragma once

#include "spool/spool.h"

/*
 * Runs until the worker's end of `fd` (owned) is closed and everything that it had said is kept.
 * Called in the forked child, confined but for the folder, which the first message names. Returns an exit status.
 */
int spool_serve(int fd, spool_confine_fn confine);
