/*
 * Giving up, for good, what a process will not need.
 *
 * Each function is called once by a single-threaded process and leaves it with
 * less; what it could not take away, and must, is an error, and the process is
 * not to go on. Tests, benches and builds with sanitizers (which read their
 * own /proc and make threads) do without: confine_possible().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONFINE_TEXT_MAX 256
/* nobody, nogroup: nothing belongs to them. */
#define CONFINE_ID 65534

/*
 * False in a build with AddressSanitizer: the functions below say so in `warning`
 * or the log, and a worker still dies with its parent, but that is all.
 */
bool confine_possible(void);

/*
 * In the forked child, before it reads anything: another user, no capability,
 * no new privileges, not dumpable, killed with `parent`, and the worker's
 * filter of system calls.
 *
 * Without CAP_SETUID and CAP_SETGID it stays the user it is and says so in
 * `warning` (else it is empty); confine_files() is what keeps other files from
 * it then. Returns 0 or -errno with a line in `error`.
 */
int confine_worker(pid_t parent, char warning[static CONFINE_TEXT_MAX],
                   char error[static CONFINE_TEXT_MAX]);

/*
 * In the worker, when it knows its configuration and has not yet heard the
 * network: from now on only what is beneath these files and folders can be
 * opened, for reading, and what the libraries need of the system (certificates,
 * time zones, /proc …). A path that is not there is passed over. Cannot be
 * widened later: what else is needed is asked of the broker.
 *
 * A kernel without Landlock (before 5.13, or built or started without it) is
 * an error only where the files' permissions do not protect them, because the
 * worker is still root; else it is a `warning`.
 */
int confine_files(const char *const *paths, size_t n, char warning[static CONFINE_TEXT_MAX],
                  char error[static CONFINE_TEXT_MAX]);

/*
 * In the parent after the fork, when no BPF file system remains to be mounted
 * and no program to be started: keeps CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF and
 * CAP_PERFMON, those it has; no new privileges, not dumpable, and the broker's
 * filter of system calls. 0 or -errno with a line in `error`.
 */
int confine_broker(char error[static CONFINE_TEXT_MAX]);

/*
 * In the forked process that keeps the spool: no capability, no new privileges, not
 * dumpable, and its filter of system calls. It stays the user it is, because
 * the files are to be that one's, and does not die with its parent: it ends when
 * everything that the worker had said is kept. 0 or -errno with a line in `error`.
 */
int confine_spool_start(char error[static CONFINE_TEXT_MAX]);

/*
 * In it, before the first file is opened: from now on only what is beneath this folder can be, and made, changed
 * and removed there. As long as it is not `there`, what is beneath the nearest folder above it that is, and the one
 * above that, but never all of /: so that it can be made, and found when it is mounted. Called again until it was
 * there. Without Landlock it says so in the log and goes on: reports matter more, and what comes from outside is parsed
 * in the worker. 0 or -errno with a line in `error`.
 */
int confine_spool_files(const char *directory, bool there, char error[static CONFINE_TEXT_MAX]);
