/*
 * The process of the spool as the agent has it: forked by the broker, confined, with the real disk; and
 * what becomes of the others when one of the three ends.
 */
#include "test.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "broker/confine.h"
#include "broker/processes.h"
#include "fake.h"
#include "spool/client.h"
#include "spool/serve.h"

#define LIMIT (64u << 20)
#define LOST 77
#define DEADLINE_MS 10000

static struct fixture {
	char folder[64], spool[96];
	int tell[2]; /* a pipe from the worker to the test */
} f;

struct told {
	pid_t broker, worker, spool;
	unsigned int records;
};

/* In the worker, where nobody catches cmocka's jump. */
#define check(condition)                                                                \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(99);                                                      \
		}                                                                       \
	} while (0)

static struct {
	struct loop *loop;
	struct spool_client *client;
	uint64_t kept, awaited;
	unsigned int rows;
} w;

static void on_kept(void *user, uint64_t token)
{
	(void)user;
	w.kept = token;
	if (w.kept >= w.awaited)
		loop_stop(w.loop);
}

static void on_gone(void *user)
{
	(void)user;
	loop_stop(w.loop);
}

static void on_row(void *user, const struct spool_row *row)
{
	(void)user;
	(void)row;
	w.rows++;
}

static void on_end(void *user, int r, bool more)
{
	(void)user;
	check(r == 0 && !more);
	loop_stop(w.loop);
}

static uint64_t put(unsigned int n)
{
	struct spool_row record = {
		.table = SPOOL_RECORD, .wall_us = clock_now().wall_us, .body = "{}", .len = 2
	};

	snprintf(record.key, sizeof(record.key), "%u", n);
	return spool_client_put(w.client, &record, 1);
}

static void open_spool(void)
{
	const struct spool_events events = { .kept = on_kept, .gone = on_gone };
	int fd = processes_spool_fd();

	check(fd >= 0);
	check(processes_spool_fd() == -1);
	check(loop_new(&w.loop) == 0);
	check(spool_client_new(w.loop, fd, &events, &w.client) == 0);
	check(spool_client_load(w.client, f.spool, LIMIT, on_row, NULL, NULL) == 0);
	check(!spool_client_stats(w.client)->state.degraded);
}

static unsigned int count_records(void)
{
	w.rows = 0;
	check(spool_client_read(w.client, 0, 10000, 1 << 20, on_row, on_end, NULL) == 0);
	check(loop_run(w.loop) == 0);
	return w.rows;
}

static int keep(int fd)
{
	return spool_serve(fd, confine_spool_files);
}

/* Tells who is who. The spool's process is found by the test. */
static void tell(unsigned int records)
{
	const struct told told = { .broker = getppid(), .worker = getpid(), .records = records };

	check(write(f.tell[1], &told, sizeof(told)) == sizeof(told));
}

static int works(void *arg)
{
	(void)arg;
	open_spool();
	for (unsigned int i = 0; i < 300; i++)
		w.awaited = put(i);
	check(loop_run(w.loop) == 0);
	check(w.kept == w.awaited);
	tell(count_records());
	w.client = spool_client_free(w.client);
	return 5;
}

static int counts(void *arg)
{
	(void)arg;
	open_spool();
	tell(count_records());
	w.client = spool_client_free(w.client);
	return 5;
}

static int waits(void *arg)
{
	(void)arg;
	open_spool();
	tell(count_records());
	while (pause() < 0) /* until it is killed */
		continue;
	return 0;
}

/* The spool's process is stopped by the test when it has been told; then comes what it does not hear. */
static int dies_talking(void *arg)
{
	int *go_on = arg;
	unsigned int said = 0;
	char byte;

	open_spool();
	tell(0);
	check(read(*go_on, &byte, 1) == 1);
	while (said < 50 && put(said) > 0)
		said++;
	tell(said);
	raise(SIGKILL);
	return 0;
}

static pid_t start(int (*worker)(void *arg), void *arg)
{
	const struct processes_options options = { .config_path = "/nowhere/config.yaml",
		                                   .once = true,
		                                   .lost_status = LOST,
		                                   .spool = keep };
	pid_t pid;

	assert_int_equal(pipe(f.tell), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(processes_run(&options, worker, arg));
	}
	close(f.tell[1]);
	return pid;
}

static int ended(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static pid_t child_named(pid_t parent, const char *name)
{
	char path[64], comm[32];
	pid_t child, found = 0;
	FILE *children;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	children = fopen(path, "re");
	assert_non_null(children);
	while (fscanf(children, "%d", &child) == 1) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/comm", (int)child);
		file = fopen(path, "re");
		if (file && fgets(comm, sizeof(comm), file) &&
		    strncmp(comm, name, strlen(name)) == 0)
			found = child;
		if (file)
			fclose(file);
	}
	fclose(children);
	return found;
}

static struct told hear(void)
{
	struct pollfd pollfd = { .fd = f.tell[0], .events = POLLIN };
	struct told told;

	assert_int_equal(poll(&pollfd, 1, DEADLINE_MS), 1);
	assert_int_equal(read(f.tell[0], &told, sizeof(told)), sizeof(told));
	told.spool = child_named(told.broker, "egress-spool");
	return told;
}

/* The pipe's last writer, of the three, is gone. */
static void all_gone(void)
{
	struct pollfd pollfd = { .fd = f.tell[0], .events = POLLIN };

	assert_int_equal(poll(&pollfd, 1, DEADLINE_MS), 1);
	assert_int_equal(pollfd.revents & POLLHUP, POLLHUP);
	close(f.tell[0]);
}

static unsigned int records_there(void)
{
	pid_t pid = start(counts, NULL);
	unsigned int n = hear().records;

	assert_int_equal(ended(pid), 5);
	all_gone();
	return n;
}

static int set_up(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	fake_folder(f.folder, sizeof(f.folder), "eva-spool-process");
	/* Nobody has made it. */
	snprintf(f.spool, sizeof(f.spool), "%s/deep/spool", f.folder);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	if (geteuid() != 0)
		return 0;
	snprintf(command, sizeof(command), "rm -r %s", f.folder);
	fake_run(command);
	return 0;
}

static void skip_unless_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("skipped: not root\n");
	skip();
}

/* With nothing but its list of system calls and its folder it does all that there is to do. */
static void test_works_confined(void **state)
{
	struct stat st;
	char path[128];
	pid_t pid;

	(void)state;
	skip_unless_root();
	pid = start(works, NULL);
	assert_int_equal(hear().records, 300);
	assert_int_equal(ended(pid), 5);
	all_gone();
	snprintf(path, sizeof(path), "%s/spool.db", f.spool);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	if (confine_possible())
		assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(records_there(), 300);
}

/* ^C at a terminal, and systemd, tell all three. */
static void test_not_by_signals(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE };
	struct told told;
	pid_t pid;

	(void)state;
	skip_unless_root();
	pid = start(waits, NULL);
	told = hear();
	assert_true(told.spool > 0);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(kill(told.spool, signals[i]), 0);
	assert_int_equal(kill(told.worker, SIGTERM), 0);
	/* The worker died, not the spool's process: it ended as it should. */
	assert_int_equal(ended(pid), LOST);
	all_gone();
	assert_int_equal(records_there(), 0);
}

static void test_one_is_killed(void **state)
{
	(void)state;
	skip_unless_root();
	for (unsigned int which = 0; which < 3; which++) {
		pid_t pid = start(waits, NULL);
		struct told told = hear();
		const pid_t pids[] = { told.broker, told.worker, told.spool };

		assert_true(told.spool > 0);
		assert_int_equal(kill(pids[which], SIGKILL), 0);
		assert_int_equal(ended(pid), which == 0 ? -SIGKILL : LOST);
		all_gone();
	}
}

/* The broker waits, and what the worker had said is kept. */
static void test_last_words(void **state)
{
	int go_on[2];
	struct told told;
	pid_t pid, waited;

	(void)state;
	skip_unless_root();
	assert_int_equal(pipe(go_on), 0);
	pid = start(dies_talking, &go_on[0]);
	told = hear();
	assert_int_equal(kill(told.spool, SIGSTOP), 0);
	assert_int_equal(write(go_on[1], "x", 1), 1);
	told = hear();
	assert_int_equal(told.records, 50);
	/* Killed, and the broker is there as long as the other is. */
	while (child_named(told.broker, "egress-worker") > 0)
		assert_int_equal(sched_yield(), 0);
	waited = waitpid(pid, NULL, WNOHANG);
	assert_int_equal(waited, 0);
	assert_int_equal(kill(told.spool, SIGCONT), 0);
	assert_int_equal(ended(pid), LOST);
	all_gone();
	close(go_on[0]);
	close(go_on[1]);
	assert_int_equal(records_there(), 50);
}

/* But not for ever: it is left to its disk. */
static void test_stuck_disk(void **state)
{
	struct told told;
	pid_t pid;

	(void)state;
	skip_unless_root();
	pid = start(waits, NULL);
	told = hear();
	assert_int_equal(kill(told.spool, SIGSTOP), 0);
	assert_int_equal(kill(told.worker, SIGKILL), 0);
	assert_int_equal(ended(pid), LOST);
	assert_int_equal(kill(told.spool, SIGCONT), 0);
	all_gone();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_works_confined), TEST(test_not_by_signals), TEST(test_one_is_killed),
		TEST(test_last_words),     TEST(test_stuck_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
