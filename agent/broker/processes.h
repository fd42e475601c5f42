/*
 * One program as two processes: the broker, which is the parent and keeps the
 * capabilities, and the worker, which has none and does everything else.
 *
 * When either ends, so does the other, with a reason on stderr; who started
 * the agent starts it again, and the packet programs count on meanwhile.
 */
#pragma once

#include <stdbool.h>

struct processes_options {
	const char *config_path; /* absolute: the broker may have to open it for the worker */
	bool once;               /* check: nothing stays in the kernel */
	int lost_status;         /* exit status when the worker did not end by itself */
};

/*
 * Forks. In the worker it runs `worker` and returns what that returned, in the
 * broker the worker's exit status: both are for exit(3).
 */
int processes_run(const struct processes_options *options, int (*worker)(void *arg), void *arg);

/*
 * Before that, in a program of our own: what was inherited of who started it,
 * beside standard output and error, is closed, and nobody types into the worker.
 */
void processes_detach(void);
