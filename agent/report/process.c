#include "report/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/parse.h"

static double seconds(const struct timeval *time)
{
	return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

/* The second number of statm, in pages (proc(5)). */
static uint64_t resident_bytes(void)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(256);
	uint64_t pages;
	char *number, *rest;

	if (file_read(AT_FDCWD, "/proc/self/statm", &text) < 0 || !text.data)
		return 0;
	rest = text.data;
	strsep(&rest, " ");
	number = strsep(&rest, " ");
	if (!number || parse_u64(number, UINT64_MAX / 65536, &pages) < 0)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint64_t n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n - 1; /* the directory itself */
}

struct process process_read(void)
{
	struct rusage usage = { 0 };

	(void)getrusage(RUSAGE_SELF, &usage);
	return (struct process){
		.cpu_seconds = seconds(&usage.ru_utime) + seconds(&usage.ru_stime),
		.resident_bytes = resident_bytes(),
		.open_fds = open_fds(),
	};
}
