/*
 * What the kernel knows of this process, for process_* metrics.
 */
#pragma once

#include <stdint.h>

struct process {
	double cpu_seconds;
	uint64_t resident_bytes, open_fds; /* 0: could not be read */
};

struct process process_read(void);
