/*
 * One program as two processes: the broker, which is the parent and keeps the
 * capabilities, and the worker, which has none and does everything else; and,
 * where there is a spool, a third that keeps what the worker says.
 *
 * When one ends, so do the others, with a reason on stderr; who started
 * the agent starts it again, and the packet programs count on meanwhile.
 */
#pragma once

#include <stdbool.h>

struct processes_options {
	const char *config_path; /* absolute: the broker may have to open it for the worker */
	bool once;               /* check: nothing stays in the kernel */
	int lost_status;         /* exit status when the worker did not end by itself */
	/*
	 * What keeps the spool, with its end of a socket; returns an exit status when the other
	 * end, the worker's, is closed. NULL: there is none.
	 */
	int (*spool)(int fd);
};

/*
 * Forks. In the worker it runs `worker` and returns what that returned, in the
 * process of the spool what `spool` did, in the broker the worker's exit status: all are for exit(3).
 */
int processes_run(const struct processes_options *options, int (*worker)(void *arg), void *arg);

/* In the worker: its end of that socket, which is the caller's from now on. -1: there is none. */
int processes_spool_fd(void);

/*
 * Before that, in a program of our own: what was inherited of who started it,
 * beside standard output and error, is closed, and nobody types into the worker.
 */
void processes_detach(void);
