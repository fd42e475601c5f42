/*
 * The filters of system calls: lists of what each process does, and nothing else.
 *
 * What is not listed fails with EPERM; the process lives on, so that a library
 * of another version that tries something new loses that and not everything.
 */
#pragma once

/* They return 0 or -errno. The caller has set no_new_privs. */
int seccomp_worker(void);
int seccomp_broker(void);
int seccomp_spool(void);
