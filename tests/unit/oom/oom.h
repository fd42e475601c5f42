/*
 * Memory runs out: the n-th allocation of a piece of work fails, for every n
 * until the work needs no more than n of them.
 *
 * malloc() and its kin are defined here, in the program, so that every library
 * gets them too. A piece of work runs in a child, which tells by how it ends
 * whether it crashed, hung, or came to a wrong end; after each failure it must
 * succeed when it is repeated, and give back all it took.
 *
 * json-c before 0.17 crashes by itself when it finds no memory: where a trial
 * shows that, what it allocates for itself does not fail, and that is said.
 */
#pragma once

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#define OOM_SANITIZED 1
void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *old, size_t size);
void __lsan_do_leak_check(void);
const char *__lsan_default_suppressions(void);
/* The loader's own, which LeakSanitizer no longer knows by its caller; and what libcurl loses. */
const char *__lsan_default_suppressions(void)
{
	return "leak:_dl_map_object_deps\nleak:dl_open_worker\nleak:_dl_new_object\nleak:libcurl."
	       "so\n";
}
#define real_malloc __interceptor_malloc
#define real_calloc __interceptor_calloc
#define real_realloc __interceptor_realloc
#else
#define OOM_SANITIZED 0
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *old);
#define real_malloc __libc_malloc
#define real_calloc __libc_calloc
#define real_realloc __libc_realloc
#endif

#define OOM_FRAMES 14
#define OOM_SECONDS 60 /* of one repetition */

enum oom_mode {
	OOM_ONE,   /* only the n-th fails; libraries have run before */
	OOM_ALL,   /* the n-th and all after it */
	OOM_FIRST, /* only the n-th, in a process whose libraries have not run yet */
	_OOM_MODE_MAX
};

/* In memory that parent and child share. */
struct oom_shared {
	long n;      /* the repetition that runs */
	long points; /* allocations that the work needs */
	long exempt; /* of json-c, in the newest repetition */
	long leaked; /* blocks that were not given back */
	long lost;   /* times a library lost blocks of its own in a function that found no memory */
	bool finished;
	int frames;
	void *frame[OOM_FRAMES]; /* who asked for what failed */
};

static struct {
	bool armed, sticky, fired, exempt_json;
	long count, fail_at, live;
	char *json_begin, *json_end;
	const char *divides_by_zero; /* version of a libcurl that does when it finds no memory */
	struct oom_shared *shared;
} oom;

static void oom_remember(void)
{
	if (oom.fired)
		return;
	oom.fired = true;
	oom.armed = false; /* the unwinder may allocate */
	oom.shared->frames = backtrace(oom.shared->frame, OOM_FRAMES);
	oom.armed = true;
}

static bool oom_fails(const void *caller)
{
	const char *from = caller;
	long n;

	if (!oom.armed)
		return false;
	if (oom.exempt_json && from >= oom.json_begin && from < oom.json_end) {
		oom.shared->exempt++;
		return false;
	}
	n = oom.count++;
	if (n != oom.fail_at && !(oom.sticky && n > oom.fail_at))
		return false;
	oom_remember();
	errno = ENOMEM;
	return true;
}

static void *oom_counted(void *block)
{
	oom.live += block != NULL;
	return block;
}

void *malloc(size_t size)
{
	return oom_fails(__builtin_return_address(0)) ? NULL : oom_counted(real_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return oom_fails(__builtin_return_address(0)) ? NULL : oom_counted(real_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
	if (size > 0 && oom_fails(__builtin_return_address(0)))
		return NULL;
	oom.live += !old - (old && size == 0);
	return real_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	if (bytes > 0 && oom_fails(__builtin_return_address(0)))
		return NULL;
	oom.live += !old - (old && bytes == 0);
	return real_realloc(old, bytes);
}

static char *oom_copy(const char *text, size_t len)
{
	char *copy = oom_counted(real_malloc(len + 1));

	if (!copy)
		return NULL;
	copy[len] = '\0';
	return memcpy(copy, text, len);
}

/* libc's own call malloc() by themselves; here their caller counts. */
char *strdup(const char *text)
{
	return oom_fails(__builtin_return_address(0)) ? NULL : oom_copy(text, strlen(text));
}

char *strndup(const char *text, size_t len)
{
	return oom_fails(__builtin_return_address(0)) ? NULL : oom_copy(text, strnlen(text, len));
}

#if !OOM_SANITIZED
void free(void *old)
{
	oom.live -= old != NULL;
	__libc_free(old);
}
#endif

/* Around the work that memory is to be missing for. */
static inline void oom_begin(void)
{
	oom.count = 0;
	oom.shared->exempt = 0;
	oom.armed = true;
}

static inline void oom_end(void)
{
	oom.armed = false;
	if (!oom.fired)
		oom.shared->points = oom.count;
}

/* The test's own work in between. */
static inline void oom_pause(bool paused)
{
	oom.armed = !paused;
}

/* json-c */

static int oom_find_json(struct dl_phdr_info *info, size_t size, void *user)
{
	(void)size;
	(void)user;
	if (!strstr(info->dlpi_name, "libjson-c"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		char *begin = (char *)info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
			continue;
		oom.json_begin = begin;
		oom.json_end = begin + part->p_memsz;
	}
	return 1;
}

static void oom_json_alone(void)
{
	json_object_put(json_tokener_parse("{\"a\":[1,{\"b\":\"text\"}],\"c\":2.5}"));
}

static void oom_reset_signals(void)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_DFL);
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failed assertion ends the child */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The number of the first allocation whose failure json-c does not survive; -1: none. */
static long oom_json_crashes(void)
{
	for (long n = 0; n < 200; n++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			oom_reset_signals();
			oom.fail_at = n;
			fclose(stderr);
			oom_begin();
			oom_json_alone();
			oom_end();
			_exit(oom.fired ? 0 : 1);
		}
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
			return -1;
		if (WIFSIGNALED(status))
			return n;
	}
	return -1;
}

static int oom_set_up(void **state)
{
	void *frame[2];
	long n;

	(void)state;
	(void)backtrace(frame, 2); /* loads the unwinder */
	oom.shared = mmap(NULL, sizeof(*oom.shared), PROT_READ | PROT_WRITE,
	                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(oom.shared != MAP_FAILED);
	assert_int_equal(dl_iterate_phdr(oom_find_json, NULL), 1);
	assert_non_null(oom.json_begin);
	n = oom_json_crashes();
	oom.exempt_json = n >= 0 && json_c_version_num() < ((0 << 16) | (17 << 8));
	if (oom.exempt_json)
		printf("oom: json-c %s crashes by itself when its allocation %ld fails, which 0.17 "
		       "mends: what it allocates is exempt\n",
		       json_c_version(), n + 1);
	else if (n >= 0)
		fail_msg("json-c %s crashes when its allocation %ld fails", json_c_version(),
		         n + 1);
	return 0;
}

/* Running */

#define OOM_LOST_MAX 4 /* blocks */

/* It was libcurl that asked for what failed. */
static bool oom_in_libcurl(void)
{
	Dl_info info;

	for (int i = 3; i < 5 && i < oom.shared->frames; i++)
		if (dladdr(oom.shared->frame[i], &info) && strstr(info.dli_fname, "libcurl"))
			return true;
	return false;
}

/* A block or two that its function had already taken is lost, or found again: its affair, and told. */
static bool oom_lost_by_library(long blocks)
{
	return labs(blocks) <= OOM_LOST_MAX && oom_in_libcurl();
}

static bool oom_library_crashed(int status)
{
	return oom.divides_by_zero && WIFSIGNALED(status) && WTERMSIG(status) == SIGFPE &&
	       oom_in_libcurl();
}

static void oom_child(void (*run)(void), enum oom_mode mode, long from)
{
	oom_reset_signals();
	if (!getenv("OOM_LOG"))
		log_set_level(_LOG_MAX);
	oom.sticky = mode == OOM_ALL;
	for (int i = 0; mode != OOM_FIRST && i < 2; i++) {
		oom.fail_at = __LONG_MAX__;
		oom.shared->n = -1;
		oom.shared->frames = 0;
		alarm(OOM_SECONDS);
		run();
	}
	for (long n = from;; n++) {
		long before = oom.live;

		oom.shared->n = n;
		oom.shared->frames = 0;
		oom.fired = false;
		oom.fail_at = n;
		alarm(OOM_SECONDS);
		run();
		if (mode == OOM_FIRST || OOM_SANITIZED || oom.live == before) {
			/* nothing is told by the difference */
		} else if (oom_lost_by_library(oom.live - before)) {
			oom.shared->lost++;
		} else {
			oom.shared->leaked = oom.live - before;
			_exit(2);
		}
		oom.shared->finished = !oom.fired;
		if (!oom.fired || mode == OOM_FIRST)
			break;
	}
#if OOM_SANITIZED
	__lsan_do_leak_check();
#endif
	_exit(0);
}

static void oom_tell_frames(void)
{
	for (int i = 3; i < oom.shared->frames; i++) {
		char command[512];
		Dl_info info;

		if (!dladdr(oom.shared->frame[i], &info))
			continue;
		snprintf(command, sizeof(command), "addr2line -fpse %s 0x%tx | cut -c1-100 >&2",
		         info.dli_fname, (char *)oom.shared->frame[i] - 1 - (char *)info.dli_fbase);
		fprintf(stderr, "    %s: ", strrchr(info.dli_fname, '/') ?: info.dli_fname);
		fflush(stderr);
		if (system(command) != 0)
			fprintf(stderr, "?\n");
	}
}

static void oom_tell(const char *name, enum oom_mode mode, int status)
{
	static const char *const modes[] = { "fails", "and all after it fail",
		                             "fails in a fresh process" };

	fprintf(stderr, "%s: allocation %ld %s: ", name, oom.shared->n, modes[mode]);
	if (oom.shared->leaked)
		fprintf(stderr, "%ld blocks not given back\n", oom.shared->leaked);
	else if (WIFSIGNALED(status))
		fprintf(stderr, "%s\n", strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "exit status %d\n", WEXITSTATUS(status));
	oom_tell_frames();
}

/*
 * How many points failed. `least`: a work that needs fewer has not been done at
 * all. `last`: OOM_FIRST for one whose libraries keep what they made first.
 */
static inline void oom_run(const char *name, void (*run)(void), long least, enum oom_mode last)
{
	long failures = 0, crashes = 0, points[_OOM_MODE_MAX] = { 0 };

	/* A process for each costs too much with sanitizers. */
	if (OOM_SANITIZED)
		last = OOM_ALL;
	for (int mode = 0; mode <= (int)last; mode++) {
		long from = getenv("OOM_FROM") ? atol(getenv("OOM_FROM")) : 0;

		for (oom.shared->finished = false; !oom.shared->finished && failures < 10;) {
			pid_t pid;
			int status;

			oom.shared->leaked = 0;
			fflush(NULL);
			pid = fork();
			assert_true(pid >= 0);
			if (pid == 0)
				oom_child(run, (enum oom_mode)mode, from);
			waitpid(pid, &status, 0);
			if (oom_library_crashed(status)) {
				crashes++;
			} else if (status != 0) {
				failures++;
				oom_tell(name, (enum oom_mode)mode, status);
				if (oom.shared->n < 0)
					break;
			}
			from = oom.shared->n + 1;
		}
		points[mode] = from - 1;
	}
	printf("oom: %s: %ld allocations failed one by one, %ld with all after them, %ld in a "
	       "fresh process; %ld of json-c exempt\n",
	       name, points[OOM_ONE], points[OOM_ALL], points[OOM_FIRST], oom.shared->exempt);
	if (oom.shared->lost)
		printf("oom: %s: at %ld of them libcurl lost up to %d blocks of its own\n", name,
		       oom.shared->lost, OOM_LOST_MAX);
	if (crashes)
		printf("oom: %s: at %ld of them libcurl %s divided by zero: exempt\n", name,
		       crashes, oom.divides_by_zero);
	oom.shared->lost = 0;
	if (failures)
		fail_msg("%s: %ld failures", name, failures);
	if (points[OOM_ONE] < least)
		fail_msg("%s: %ld allocations, expected at least %ld", name, points[OOM_ONE],
		         least);
}
