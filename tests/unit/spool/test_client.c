/*
 * Both ends: the worker's in this process, the spool's in a child that may be stopped, which is
 * what a disk that does not answer looks like from here, and killed.
 */
#include "test.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "fake.h"
#include "spool/client.h"
#include "spool/serve.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define LIMIT (64u << 20)

static struct fixture {
	char folder[64];
	struct loop *loop;
	struct spool_client *client;
	pid_t pid; /* of the spool; 0: none */
	int peer;  /* its end, where the test plays it */
	/* heard */
	uint64_t kept, awaited;
	unsigned int gone, ends, rows, open, subjects;
	int end;
	bool more;
	int64_t newest;
	char key[SPOOL_KEY_MAX], body[64];
} f;

static void on_kept(void *user, uint64_t token)
{
	(void)user;
	assert_true(token > f.kept);
	f.kept = token;
	if (f.awaited && token >= f.awaited)
		loop_stop(f.loop);
}

static void on_gone(void *user)
{
	(void)user;
	f.gone++;
	loop_stop(f.loop);
}

static void on_row(void *user, const struct spool_row *row)
{
	(void)user;
	f.rows++;
	f.open += row->table == SPOOL_VIOLATION;
	f.subjects += row->table == SPOOL_SUBJECT;
	f.newest = row->number;
	snprintf(f.key, sizeof(f.key), "%s", row->key);
	snprintf(f.body, sizeof(f.body), "%.*s", (int)row->len, row->body);
}

static void on_end(void *user, int r, bool more)
{
	(void)user;
	f.ends++;
	f.end = r;
	f.more = more;
	loop_stop(f.loop);
}

static const struct spool_events events = { .kept = on_kept, .gone = on_gone };

static void begin(int *theirs)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(spool_client_new(f.loop, pair[0], &events, &f.client), 0);
	f.kept = f.awaited = 0;
	f.gone = f.ends = f.rows = f.open = f.subjects = 0;
	*theirs = pair[1];
}

static pid_t spool_process(int fd, int worker_fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* As in the agent, where it is forked first: it has not the other end. */
		if (worker_fd >= 0)
			close(worker_fd);
		close_range(3, (unsigned int)fd - 1, 0);
		close_range((unsigned int)fd + 1, ~0U, 0);
		_exit(spool_serve(fd, NULL));
	}
	close(fd);
	return pid;
}

/* A spool process on the same folder as the last one. */
static void start(void)
{
	int theirs;

	begin(&theirs);
	f.pid = spool_process(theirs, -1);
	assert_int_equal(spool_client_load(f.client, f.folder, LIMIT, on_row, NULL, NULL), 0);
}

static int ended(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void stop(void)
{
	f.client = spool_client_free(f.client);
	assert_int_equal(ended(f.pid), 0);
	f.pid = 0;
}

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.peer = -1;
	fake_folder(f.folder, sizeof(f.folder), "eva-spool-client");
	return loop_new(&f.loop);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	if (f.pid > 0)
		kill(f.pid, SIGKILL);
	f.client = spool_client_free(f.client);
	if (f.pid > 0)
		waitpid(f.pid, NULL, 0);
	fd_closep(&f.peer);
	f.loop = loop_free(f.loop);
	snprintf(command, sizeof(command), "rm -r %s", f.folder);
	fake_run(command);
	return 0;
}

static struct spool_row row(enum spool_table table, const char *key, int64_t wall_us,
                            const char *body)
{
	struct spool_row made = {
		.table = table, .wall_us = wall_us, .body = body, .len = body ? strlen(body) : 0
	};

	snprintf(made.key, sizeof(made.key), "%s", key);
	return made;
}

static int64_t now_us(void)
{
	return clock_now().wall_us;
}

static uint64_t put_record(unsigned int n, size_t len)
{
	static char body[SPOOL_BODY_MAX];
	struct spool_row record = { .table = SPOOL_RECORD, .wall_us = now_us(), .len = len };

	memset(body, 'x', len);
	snprintf(record.key, sizeof(record.key), "%032u", n);
	record.body = body;
	return spool_client_put(f.client, &record, 1);
}

static void wait_kept(uint64_t token)
{
	f.awaited = token;
	if (f.kept < token)
		fake_loop_run(f.loop);
	assert_int_equal(f.gone, 0);
	assert_true(f.kept >= token);
}

/* All records there are; their number. */
static unsigned int read_all(void)
{
	unsigned int total = 0;
	int64_t after = 0;

	do {
		f.rows = 0;
		assert_int_equal(
			spool_client_read(f.client, after, 500, 1 << 20, on_row, on_end, NULL), 0);
		fake_loop_run(f.loop);
		assert_int_equal(f.end, 0);
		total += f.rows;
		assert_true(f.rows > 0 || !f.more);
		after = f.newest;
	} while (f.more);
	return total;
}

/* With the process */

static void test_life(void **state)
{
	struct spool_row rows[] = { row(SPOOL_RECORD, "uid", now_us(), "{\"n\":1}"),
		                    row(SPOOL_VIOLATION, "v1", 0, "{\"open\":true}"),
		                    row(SPOOL_SUBJECT, "pod", now_us(), "{}") };
	uint64_t token;

	(void)state;
	start();
	assert_int_equal(f.rows, 0);
	assert_false(spool_client_stats(f.client)->state.degraded);
	token = spool_client_put(f.client, rows, 3);
	assert_true(token > 0);
	wait_kept(token);
	assert_int_equal(spool_client_stats(f.client)->state.waiting, 1);
	stop();

	start();
	assert_int_equal(f.open, 1);
	assert_int_equal(f.subjects, 1);
	assert_int_equal(f.rows, 2);
	assert_int_equal(read_all(), 1);
	assert_string_equal(f.key, "uid");
	assert_string_equal(f.body, "{\"n\":1}");
	spool_client_done(f.client, f.newest);
	assert_int_equal(read_all(), 0);
	assert_int_equal(spool_client_stats(f.client)->state.waiting, 0);

	/* Resolved, and the pod gone. */
	rows[1] = row(SPOOL_VIOLATION, "v1", now_us(), "{\"open\":false}");
	rows[2] = row(SPOOL_SUBJECT, "pod", 0, NULL);
	wait_kept(spool_client_put(f.client, rows + 1, 2));
	f.rows = f.open = 0;
	assert_int_equal(spool_client_history(f.client, 0, INT64_MAX, 10, on_row, on_end, NULL), 0);
	fake_loop_run(f.loop);
	assert_int_equal(f.open, 1);
	assert_string_equal(f.body, "{\"open\":false}");
	stop();

	start();
	assert_int_equal(f.rows, 0);
	stop();
}

/* In their order, page after page. */
static void test_many(void **state)
{
	uint64_t token = 0;

	(void)state;
	start();
	for (unsigned int i = 0; i < 3000; i++) {
		uint64_t next = put_record(i, 1000);

		assert_true(next > token);
		token = next;
	}
	wait_kept(token);
	assert_int_equal(read_all(), 3000);
	assert_int_equal(spool_client_stats(f.client)->queued_bytes, 0);
	stop();
}

static void test_one_question_at_a_time(void **state)
{
	(void)state;
	start();
	wait_kept(put_record(1, 10));
	f.rows = 0;
	assert_int_equal(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
	assert_int_equal(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL), -EBUSY);
	assert_int_equal(spool_client_history(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
	assert_int_equal(spool_client_history(f.client, 0, 1, 1, on_row, on_end, NULL), -EBUSY);
	spool_client_forget_history(f.client);
	fake_loop_run(f.loop);
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.rows, 1);
	/* Forgotten, and free again when it was answered: KEPT comes after that. */
	wait_kept(put_record(2, 10));
	assert_int_equal(f.ends, 1);
	assert_int_equal(spool_client_history(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
	fake_loop_run(f.loop);
	assert_int_equal(f.ends, 2);
	stop();
}

static void test_refused(void **state)
{
	struct spool_row rows[SPOOL_ROWS_MAX + 1];
	char *body = calloc(1, SPOOL_BODY_MAX + 1);

	(void)state;
	start();
	for (size_t i = 0; i < COUNT(rows); i++)
		rows[i] = row(SPOOL_SUBJECT, "pod", 1, "{}");
	assert_int_equal(spool_client_put(f.client, rows, 0), 0);
	assert_int_equal(spool_client_put(f.client, rows, COUNT(rows)), 0);
	assert_int_equal(spool_client_stats(f.client)->refused, 0); /* no record among them */
	rows[0] = row(SPOOL_RECORD, "uid", 1, body);
	rows[0].len = SPOOL_BODY_MAX + 1;
	assert_int_equal(spool_client_put(f.client, rows, 1), 0);
	assert_int_equal(spool_client_stats(f.client)->refused, 1);
	wait_kept(put_record(1, SPOOL_BODY_MAX));
	assert_int_equal(read_all(), 1);
	stop();
	free(body);
}

/* Numbers of records, of all that there are: as put_record() made their keys. */
static struct {
	unsigned int n, first, last;
	bool gap; /* somewhere after the first */
} numbers;

static void on_number(void *user, const struct spool_row *row)
{
	unsigned int number = (unsigned int)strtoul(row->key, NULL, 10);

	(void)user;
	numbers.gap = numbers.gap || (numbers.n > 0 && number != numbers.last + 1);
	numbers.first = numbers.n ? numbers.first : number;
	numbers.last = number;
	numbers.n++;
}

/*
 * A disk that does not answer: the worker goes on, to a bound. Then the oldest that wait here give way; what
 * was under way, and all that is newer, is kept.
 */
static void test_slow_disk(void **state)
{
	const unsigned int beyond = 300;
	uint64_t token = 0, next, begin_ns = clock_now().mono_ns;
	unsigned int taken = 0, sent = 0;

	(void)state;
	start();
	assert_int_equal(spool_client_stats(f.client)->waits_ns, 0);
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	alarm(20); /* a call that waits would wait for ever */
	while (spool_client_stats(f.client)->refused < beyond) {
		next = put_record(taken++, 2000);
		assert_true(next > token);
		token = next;
		sent += spool_client_stats(f.client)->queued_bytes == 0;
		assert_true(taken < SPOOL_QUEUE_BYTES_MAX / 1000);
	}
	assert_true(sent > 0);
	assert_true(taken > SPOOL_QUEUE_BYTES_MAX / 4000);
	assert_int_equal(spool_client_stats(f.client)->refused, beyond);
	assert_in_range(spool_client_stats(f.client)->waits_ns, begin_ns, clock_now().mono_ns);
	assert_in_range(spool_client_stats(f.client)->refused_ns,
	                spool_client_stats(f.client)->waits_ns, clock_now().mono_ns);
	assert_in_range(spool_client_stats(f.client)->queued_bytes, SPOOL_QUEUE_BYTES_MAX - 5000,
	                SPOOL_QUEUE_BYTES_MAX);
	/* A question, too, waits without anybody waiting for it. */
	assert_int_equal(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
	spool_client_done(f.client, -1);
	alarm(0);
	assert_int_equal(f.kept, 0);
	assert_int_equal(kill(f.pid, SIGCONT), 0);
	fake_loop_run(f.loop);
	assert_int_equal(f.ends, 1);
	wait_kept(token);
	assert_int_equal(spool_client_stats(f.client)->queued_bytes, 0);
	assert_int_equal(spool_client_stats(f.client)->waits_ns, 0);

	memset(&numbers, 0, sizeof(numbers));
	assert_int_equal(spool_client_read(f.client, 0, sent, UINT32_MAX, on_number, on_end, NULL),
	                 0);
	fake_loop_run(f.loop);
	assert_int_equal(numbers.n, sent); /* what the socket had */
	assert_int_equal(numbers.first, 0);
	assert_false(numbers.gap);
	assert_int_equal(read_all(), taken - beyond);
	memset(&numbers, 0, sizeof(numbers));
	assert_int_equal(
		spool_client_read(f.client, sent, taken, UINT32_MAX, on_number, on_end, NULL), 0);
	fake_loop_run(f.loop);
	assert_int_equal(numbers.n, taken - beyond - sent);
	assert_int_equal(numbers.first, sent + beyond);
	assert_int_equal(numbers.last, taken - 1);
	assert_false(numbers.gap);
	stop();
}

static void test_killed(void **state)
{
	(void)state;
	start();
	wait_kept(put_record(1, 10));
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	assert_int_equal(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
	assert_true(put_record(2, 10) > 0);
	assert_int_equal(kill(f.pid, SIGKILL), 0);
	fake_loop_run(f.loop);
	assert_int_equal(f.gone, 1);
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.end, -EPIPE);
	assert_int_equal(put_record(3, 10), 0);
	assert_int_equal(spool_client_stats(f.client)->refused, 1);
	assert_int_equal(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL), -EPIPE);
	assert_int_equal(ended(f.pid), -SIGKILL);
	f.pid = 0;
	f.client = spool_client_free(f.client);

	start(); /* what was told to be kept is */
	assert_true(read_all() >= 1);
	stop();
}

/* What waits at the end is said before it. */
static void test_free_says_the_rest(void **state)
{
	unsigned int taken = 0;

	(void)state;
	start();
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	while (taken < 500 && put_record(taken, 2000) > 0)
		taken++;
	assert_int_equal(taken, 500);
	assert_true(spool_client_stats(f.client)->queued_bytes > 0);
	assert_int_equal(kill(f.pid, SIGCONT), 0);
	stop();
	start();
	assert_int_equal(read_all(), taken);
	stop();
}

/* And not for ever. */
static void test_free_gives_up(void **state)
{
	uint64_t begin_ns = clock_now().mono_ns;
	unsigned int taken = 0;

	(void)state;
	start();
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	while (spool_client_stats(f.client)->refused == 0)
		assert_true(put_record(taken++, 2000) > 0);
	alarm(20);
	f.client = spool_client_free(f.client);
	alarm(0);
	assert_true(clock_now().mono_ns - begin_ns >= SPOOL_CLOSE_MS * NSEC_PER_MSEC);
}

/* Of the last ones it is known, too, whether they are kept. */
static void test_finish(void **state)
{
	uint64_t last = 0;

	(void)state;
	start();
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	for (unsigned int i = 0; i < 500; i++)
		last = put_record(i, 2000);
	assert_true(last > 0);
	assert_true(f.kept < last);
	assert_int_equal(kill(f.pid, SIGCONT), 0);
	assert_int_equal(spool_client_finish(f.client), 0);
	assert_true(f.kept == last);
	assert_false(spool_client_stats(f.client)->gone);
	assert_int_equal(put_record(1000, 10), 0);
	stop();
	start();
	assert_int_equal(read_all(), 500);
	assert_int_equal(spool_client_finish(f.client), 0);
	stop();
}

static void test_finish_without_the_process(void **state)
{
	uint64_t token;

	(void)state;
	start();
	wait_kept(put_record(1, 10));
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	token = put_record(2, 10);
	assert_true(token > 0);
	assert_int_equal(kill(f.pid, SIGKILL), 0);
	assert_int_equal(ended(f.pid), -SIGKILL);
	f.pid = 0;
	assert_int_equal(spool_client_finish(f.client), -EPIPE);
	assert_true(f.kept < token);
	assert_true(spool_client_stats(f.client)->gone);
	f.client = spool_client_free(f.client);
}

/* A put after its death is what says it first. */
static void test_gone_is_known_at_once(void **state)
{
	(void)state;
	start();
	assert_int_equal(kill(f.pid, SIGKILL), 0);
	assert_int_equal(ended(f.pid), -SIGKILL);
	f.pid = 0;
	assert_false(spool_client_stats(f.client)->gone);
	assert_int_equal(put_record(1, 10), 0);
	assert_true(spool_client_stats(f.client)->gone);
	f.client = spool_client_free(f.client);
}

/* A worker that is killed has said what its socket took. */
static void test_worker_killed(void **state)
{
	struct pollfd answered = { .events = POLLIN };
	int pair[2], count[2], worker;
	uint64_t said = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(count), 0);
	f.pid = spool_process(pair[1], pair[0]);
	answered.fd = pair[0];
	worker = fork();
	if (worker == 0) {
		close(count[0]);
		assert(spool_client_new(f.loop, pair[0], &events, &f.client) == 0);
		assert(spool_client_load(f.client, f.folder, LIMIT, on_row, NULL, NULL) == 0);
		/* With an answer that nobody is going to read. */
		assert(spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL) == 0);
		assert(poll(&answered, 1, 10000) == 1);
		kill(f.pid, SIGSTOP);
		while (spool_client_stats(f.client)->queued_bytes == 0 && put_record(said, 500))
			said++;
		said--; /* the last one waits here */
		(void)!write(count[1], &said, sizeof(said));
		raise(SIGKILL);
	}
	close(pair[0]);
	close(count[1]);
	assert_int_equal(read(count[0], &said, sizeof(said)), sizeof(said));
	close(count[0]);
	assert_int_equal(ended(worker), -SIGKILL);
	assert_true(said > 10);
	assert_int_equal(kill(f.pid, SIGCONT), 0);
	assert_int_equal(ended(f.pid), 0);

	start();
	assert_int_equal(read_all(), said);
	stop();
}

static void test_remove(void **state)
{
	char command[160];

	(void)state;
	start();
	wait_kept(put_record(1, 10));
	assert_int_equal(spool_client_remove(f.client), 0);
	snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"", f.folder);
	fake_run(command);
	/* It says nothing of what comes then, and is there. */
	assert_true(put_record(2, 10) > 0);
	assert_int_equal(read_all(), 0);
	stop();
}

static void test_folder_names(void **state)
{
	char *longer = calloc(1, SPOOL_DIRECTORY_MAX + 2);
	int theirs;

	(void)state;
	begin(&theirs);
	f.peer = theirs;
	memset(longer, '/', SPOOL_DIRECTORY_MAX);
	assert_int_equal(spool_client_load(f.client, "relative", 1, on_row, NULL, NULL), -EINVAL);
	assert_int_equal(spool_client_load(f.client, "", 1, on_row, NULL, NULL), -EINVAL);
	assert_int_equal(spool_client_load(f.client, longer, 1, on_row, NULL, NULL), -ENAMETOOLONG);
	free(longer);
}

/* The process, and a worker that says what it never should */

static int serve_these(const struct spool_message *messages, size_t n, const char *raw)
{
	const struct spool_row rows[] = { row(SPOOL_RECORD, "k", 1, "body") };
	char *out = malloc(SPOOL_MESSAGE_MAX);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f.pid = spool_process(pair[1], pair[0]);
	for (size_t i = 0; i < n; i++) {
		struct spool_message message = messages[i];
		size_t len;

		snprintf(message.directory, sizeof(message.directory), "%s", f.folder);
		assert_int_equal(spool_message_write(&message, rows, out, &len), 0);
		(void)send(pair[0], out, len, MSG_NOSIGNAL);
	}
	if (raw)
		(void)send(pair[0], raw, strlen(raw), MSG_NOSIGNAL);
	close(pair[0]);
	free(out);
	n = (size_t)ended(f.pid);
	f.pid = 0;
	return (int)n;
}

static void test_hostile_worker(void **state)
{
	static const struct spool_message open_twice[] = {
		{ .kind = SPOOL_OPEN, .limit = LIMIT },
		{ .kind = SPOOL_PUT, .n_rows = 1, .token = 2 },
		{ .kind = SPOOL_OPEN, .limit = LIMIT },
	};
	static const struct spool_message cases[] = {
		{ .kind = SPOOL_PUT, .n_rows = 1 },
		{ .kind = SPOOL_READ },
		{ .kind = SPOOL_DONE },
		{ .kind = SPOOL_HISTORY },
		{ .kind = SPOOL_REMOVE },
		{ .kind = SPOOL_KEPT },
		{ .kind = SPOOL_ROWS, .n_rows = 1 },
		{ .kind = SPOOL_END },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) /* before it is opened */
		assert_int_equal(serve_these(&cases[i], 1, NULL), 1);
	assert_int_equal(serve_these(NULL, 0, "nonsense"), 1);
	assert_int_equal(serve_these(NULL, 0, NULL), 0);
	assert_int_equal(serve_these(open_twice, 2, "nonsense"), 1);
	assert_int_equal(serve_these(open_twice, 3, NULL), 1);
	assert_int_equal(serve_these(open_twice, 2, NULL), 0);
	/* Kept each time all the same. */
	start();
	assert_int_equal(read_all(), 3);
	stop();
}

/* One that asks and does not listen: its end ends the wait. */
static void test_deaf_worker(void **state)
{
	static struct spool_message messages[60] = { { .kind = SPOOL_OPEN, .limit = LIMIT } };

	(void)state;
	start();
	for (unsigned int i = 0; i < 20; i++)
		wait_kept(put_record(i, SPOOL_BODY_MAX));
	stop();
	for (size_t i = 1; i < COUNT(messages); i++)
		messages[i] = (struct spool_message){ .kind = i % 2 ? SPOOL_READ : SPOOL_PUT,
			                              .n_rows = i % 2 == 0,
			                              .token = i,
			                              .max_rows = 20,
			                              .max_bytes = UINT32_MAX };
	assert_int_equal(serve_these(messages, COUNT(messages), NULL), 0);
	start();
	assert_int_equal(read_all(), 20 + 29);
	stop();
}

/* The worker, and a process that says what it never should */

static void answer(const struct spool_message *message, const struct spool_row *rows)
{
	static char out[SPOOL_MESSAGE_MAX];
	size_t len;

	assert_int_equal(spool_message_write(message, rows, out, &len), 0);
	assert_int_equal(send(f.peer, out, len, MSG_NOSIGNAL), len);
}

static void test_hostile_process(void **state)
{
	/* Tokens: READ is 1, HISTORY 2, PUT 3. */
	static const struct {
		const char *what;
		struct spool_message message;
		struct spool_row row;
	} cases[] = {
		{ "rows nobody asked for",
		  { .kind = SPOOL_ROWS, .n_rows = 1, .token = 9 },
		  { .body = "b", .len = 1 } },
		{ "an end of nothing",
		  { .kind = SPOOL_END, .token = 3 },
		  { .body = "b", .len = 1 } },
		{ "KEPT of what was not said",
		  { .kind = SPOOL_KEPT, .token = 4 },
		  { .body = "b", .len = 1 } },
		{ "a question", { .kind = SPOOL_READ, .token = 1 }, { .body = "b", .len = 1 } },
		{ "a row that is none",
		  { .kind = SPOOL_ROWS, .n_rows = 1, .token = 1 },
		  { .table = SPOOL_RECORD, .number = 6 } },
		{ "a violation as record",
		  { .kind = SPOOL_ROWS, .n_rows = 1, .token = 1 },
		  { .table = SPOOL_VIOLATION, .number = 6, .body = "b", .len = 1 } },
		{ "a record twice",
		  { .kind = SPOOL_ROWS, .n_rows = 2, .token = 1 },
		  { .table = SPOOL_RECORD, .number = 6, .body = "b", .len = 1 } },
		{ "a record from before",
		  { .kind = SPOOL_ROWS, .n_rows = 1, .token = 1 },
		  { .table = SPOOL_RECORD, .number = 5, .body = "b", .len = 1 } },
		{ "a subject as history",
		  { .kind = SPOOL_ROWS, .n_rows = 1, .token = 2 },
		  { .table = SPOOL_SUBJECT, .body = "b", .len = 1 } },
		{ "more rows than asked for",
		  { .kind = SPOOL_ROWS, .n_rows = 2, .token = 2 },
		  { .table = SPOOL_VIOLATION, .body = "b", .len = 1 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct spool_row rows[2] = { cases[i].row, cases[i].row };

		begin(&f.peer);
		assert_int_equal(spool_client_read(f.client, 5, 4, 1, on_row, on_end, NULL), 0);
		assert_int_equal(spool_client_history(f.client, 0, 1, 1, on_row, on_end, NULL), 0);
		assert_int_equal(put_record(1, 10), 3);
		answer(&cases[i].message, rows);
		fake_loop_run(f.loop);
		if (f.gone != 1 || f.ends != 2 || f.end != -EPROTO)
			fail_msg("%s: gone %u, ends %u with %d", cases[i].what, f.gone, f.ends,
			         f.end);
		f.client = spool_client_free(f.client);
		fd_closep(&f.peer);
	}
}

/* Bytes that are no message, too long ones, and an end in the middle of an answer. */
static void test_broken_process(void **state)
{
	const struct spool_message rows = { .kind = SPOOL_ROWS, .n_rows = 1, .token = 1 };
	const struct spool_row record = { .number = 6, .key = "k", .body = "b", .len = 1 };
	char *raw = calloc(1, SPOOL_MESSAGE_MAX + 1);

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		begin(&f.peer);
		assert_int_equal(spool_client_read(f.client, 5, 4, 1, on_row, on_end, NULL), 0);
		if (i < 2)
			assert_int_equal(send(f.peer, raw, i ? SPOOL_MESSAGE_MAX + 1 : 8, 0),
			                 i ? SPOOL_MESSAGE_MAX + 1 : 8);
		else
			answer(&rows, &record); /* and what was asked is unread */
		if (i == 2)
			fd_closep(&f.peer);
		fake_loop_run(f.loop);
		assert_int_equal(f.gone, 1);
		assert_int_equal(f.ends, 1);
		assert_int_equal(f.end, i < 2 ? -EPROTO : -EPIPE);
		assert_int_equal(f.rows, i == 2);
		f.client = spool_client_free(f.client);
		fd_closep(&f.peer);
	}
	free(raw);
}

/* Before the loop runs the caller is told, and the loop's owner when it does. */
static void test_load_fails(void **state)
{
	const struct spool_message kept = { .kind = SPOOL_KEPT, .token = 77 };

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		begin(&f.peer);
		if (i)
			answer(&kept, NULL);
		else
			fd_closep(&f.peer);
		assert_int_equal(spool_client_load(f.client, f.folder, LIMIT, on_row, NULL, NULL),
		                 i ? -EPROTO : -EPIPE);
		assert_int_equal(f.gone, 0);
		fake_loop_run(f.loop);
		assert_int_equal(f.gone, 1);
		f.client = spool_client_free(f.client);
		fd_closep(&f.peer);
	}
}

/* A disk that does not answer is waited for, to a bound; then all goes on without, and its rows come from the loop. */
static void test_load_of_a_slow_disk(void **state)
{
	struct spool_row violation = row(SPOOL_VIOLATION, "v1", 0, "{}");
	uint64_t begin_ns, token;
	int theirs;

	(void)state;
	start();
	wait_kept(spool_client_put(f.client, &violation, 1));
	stop();

	begin(&theirs);
	f.pid = spool_process(theirs, -1);
	assert_int_equal(kill(f.pid, SIGSTOP), 0);
	begin_ns = clock_now().mono_ns;
	assert_int_equal(spool_client_load(f.client, f.folder, LIMIT, on_row, on_end, NULL),
	                 -EINPROGRESS);
	assert_true(clock_now().mono_ns - begin_ns >= SPOOL_OPEN_MS * NSEC_PER_MSEC);
	assert_true(spool_client_stats(f.client)->state.degraded);
	assert_non_null(strstr(spool_client_stats(f.client)->state.reason, "does not answer"));
	token = put_record(1, 10);
	assert_true(token > 0);
	assert_int_equal(f.ends, 0);
	assert_int_equal(kill(f.pid, SIGCONT), 0);
	fake_loop_run(f.loop); /* to the end */
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.end, 0);
	assert_int_equal(f.open, 1);
	assert_false(spool_client_stats(f.client)->state.degraded);
	wait_kept(token);
	assert_int_equal(read_all(), 1);
	stop();
}

/* One that says that its disk cannot be read yet. */
static void test_load_comes_later(void **state)
{
	const struct spool_message later = { .kind = SPOOL_END,
		                             .token = 1,
		                             .more = true,
		                             .state = { .degraded = true, .reason = "no folder" } },
				   rows = { .kind = SPOOL_ROWS, .n_rows = 1, .token = 1 },
				   end = { .kind = SPOOL_END, .token = 1 };
	const struct spool_row violation = row(SPOOL_VIOLATION, "v1", 0, "{}");

	(void)state;
	begin(&f.peer);
	answer(&later, NULL);
	assert_int_equal(spool_client_load(f.client, f.folder, LIMIT, on_row, on_end, NULL),
	                 -EINPROGRESS);
	assert_string_equal(spool_client_stats(f.client)->state.reason, "no folder");
	assert_true(put_record(1, 10) > 0);
	assert_int_equal(f.ends, 0);
	answer(&rows, &violation);
	answer(&end, NULL);
	fake_loop_run(f.loop);
	assert_int_equal(f.gone, 0);
	assert_int_equal(f.ends, 1);
	assert_int_equal(f.open, 1);
	assert_false(spool_client_stats(f.client)->state.degraded);
	/* And no more after that. */
	answer(&rows, &violation);
	fake_loop_run(f.loop);
	assert_int_equal(f.gone, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_life),
		TEST(test_many),
		TEST(test_one_question_at_a_time),
		TEST(test_refused),
		TEST(test_slow_disk),
		TEST(test_killed),
		TEST(test_free_says_the_rest),
		TEST(test_free_gives_up),
		TEST(test_finish),
		TEST(test_finish_without_the_process),
		TEST(test_gone_is_known_at_once),
		TEST(test_worker_killed),
		TEST(test_remove),
		TEST(test_folder_names),
		TEST(test_hostile_worker),
		TEST(test_deaf_worker),
		TEST(test_hostile_process),
		TEST(test_broken_process),
		TEST(test_load_fails),
		TEST(test_load_of_a_slow_disk),
		TEST(test_load_comes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
