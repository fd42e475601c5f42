/* ldflags: -Wl,--wrap=clock_now,--wrap=timer_set */
#include "test.h"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "export/exporter.h"
#include "fake.h"
#include "io/kick.h"
#include "limits.h"

#define RECORDS 2000
#define LINES 200

static char folder[64];
static uint64_t later_ns; /* added to the clock */
static struct exporter *exporter;
static uint64_t waited_ns; /* by the exporter, as it thinks */

struct moment __real_clock_now(void);
struct moment __wrap_clock_now(void);
struct moment __wrap_clock_now(void)
{
	struct moment now = __real_clock_now();

	now.mono_ns += later_ns;
	return now;
}

/* The exporter's pauses are over at once, its intervals in a thousandth; a request has all the time it had. */
int __real_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	const char *block = (const char *)exporter, *at = (const char *)timer;
	bool its = exporter && at >= block && at < block + malloc_usable_size(exporter);

	if (period_ns >= 50 * NSEC_PER_SEC)
		return __real_timer_set(timer, delay_ns / 1000, period_ns / 1000);
	if (!its || period_ns || delay_ns <= EXPORT_DELAY_NS)
		return __real_timer_set(timer, delay_ns, period_ns);
	later_ns += delay_ns;
	waited_ns += delay_ns;
	return __real_timer_set(timer, 0, 0);
}

/* A spool in memory, asked as the real one is. */

struct spool_client {
	struct kick kick;
	bool asked, held; /* held: it answers when it is kicked again, without */
	int error;        /* of the next READ */
	int64_t after;
	uint32_t max_rows, max_bytes;
	spool_row_fn row;
	spool_end_fn end;
	void *user;
	size_t n; /* records that there are: numbers 10, 20 … */
	size_t body_len;
	int64_t done, read_from; /* the exporter knows only what it has sent itself */
	unsigned int reads;
};

static size_t write_record(size_t i, size_t len, char *out)
{
	int n = sprintf(out, "{\"attributes\":[{\"key\":\"uid-%zu\"}],\"body\":\"", i);

	while ((size_t)n + 2 < len)
		out[n++] = 'x';
	return (size_t)n + (size_t)sprintf(out + n, "\"}");
}

static int on_spool(struct kick *kick)
{
	struct spool_client *spool = container_of(kick, struct spool_client, kick);
	struct spool_row row = { .table = SPOOL_RECORD };
	char body[SPOOL_BODY_MAX + 64];
	size_t i = (size_t)spool->after / 10, rows = 0, bytes = 0;

	if (!spool->asked || spool->held)
		return 0;
	spool->asked = false;
	for (; i < spool->n && rows < spool->max_rows && !spool->error; i++, rows++) {
		row.len = write_record(i, spool->body_len, body);
		bytes += row.len;
		if (rows && bytes > spool->max_bytes)
			break;
		row.number = 10 * (int64_t)(i + 1);
		row.body = body;
		snprintf(row.key, sizeof(row.key), "key-%zu", i);
		if (spool->row)
			spool->row(spool->user, &row);
	}
	if (spool->end)
		spool->end(spool->user, spool->error, i < spool->n);
	return 0;
}

int spool_client_read(struct spool_client *spool, int64_t after, uint32_t max_rows,
                      uint32_t max_bytes, spool_row_fn row, spool_end_fn end, void *user)
{
	if (spool->asked)
		return -EBUSY;
	assert_true(after == spool->read_from);
	assert_in_range(max_rows, 1, EXPORT_RECORDS_MAX);
	spool->asked = true;
	spool->after = after;
	spool->max_rows = max_rows;
	spool->max_bytes = max_bytes;
	spool->row = row;
	spool->end = end;
	spool->user = user;
	spool->reads++;
	kick_now(&spool->kick);
	return 0;
}

void spool_client_done(struct spool_client *spool, int64_t number)
{
	assert_true(number > spool->done && number <= 10 * (int64_t)spool->n);
	spool->done = spool->read_from = number;
}

void spool_client_forget_read(struct spool_client *spool)
{
	spool->row = NULL;
	spool->end = NULL;
}

/* Files */

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fake_write(path, text);
}

static void copy(const char *from, const char *to)
{
	char command[512];

	snprintf(command, sizeof(command), "cp %s/%s %s/%s.new && mv %s/%s.new %s/%s", folder, from,
	         folder, to, folder, to, folder, to);
	fake_run(command);
}

static char *path_of(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* Two authorities; of each a server's certificate, of the first a client's. */
static int make_files(void **state)
{
	char command[2048];

	fake_namespace(state);
	fake_folder(folder, sizeof(folder), "test_export_exporter");
	snprintf(
		command, sizeof(command),
		"cd %s && exec 2>/dev/null; k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';"
		"for i in 1 2; do openssl req -x509 $k -days 2 -subj /CN=ca$i -keyout ca$i.key "
		"-out ca$i.pem && echo subjectAltName=IP:127.0.0.1 > ext &&"
		"openssl req $k -subj /CN=server$i -keyout s.key -out s.csr && openssl x509 -req "
		"-in s.csr -days 2 -CA ca$i.pem -CAkey ca$i.key -CAcreateserial -extfile ext "
		"-out s.crt && cat s.crt s.key > server$i.pem || exit 1; done; for n in one two; "
		"do "
		"openssl req $k -subj /CN=$n -keyout $n.key -out c.csr && openssl x509 -req -in "
		"c.csr -days 2 -CA ca1.pem -CAkey ca1.key -CAcreateserial -out $n.crt || exit 1; "
		"done",
		folder);
	fake_run(command);
	return 0;
}

static int remove_files(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	fake_run(command);
	return 0;
}

/* The collector, and what it was asked */

struct setup {
	struct loop *loop;
	struct spool_client spool;
	struct export_settings settings;
	struct timer poll;
	bool (*until)(struct setup *setup);
	size_t wanted;
	pid_t pid;
	int stdin_fd;
	unsigned int port;
	char *log, *line[LINES];
	size_t n_lines;
	unsigned int witnesses, metrics;
};

static void start_collector(struct setup *setup, const char *how)
{
	int in[2], out[2];
	char port[16] = "";

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	setup->pid = fork();
	assert_true(setup->pid >= 0);
	if (setup->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execlp("python3", "python3", "-B", "tests/unit/export/collector.py", folder, how,
		       (char *)NULL);
		_exit(127);
	}
	close(in[0]), close(out[1]);
	setup->stdin_fd = in[1];
	assert_true(read(out[0], port, sizeof(port) - 1) > 0);
	close(out[0]);
	setup->port = (unsigned int)strtoul(port, NULL, 10);
	assert_true(setup->port > 0);
}

static void read_log(struct setup *setup)
{
	cleanup(mem_freep) char *path = path_of("log");
	FILE *file = fopen(path, "re");
	size_t size = 0;

	free(setup->log);
	setup->log = NULL;
	setup->n_lines = 0;
	if (!file)
		return;
	if (getdelim(&setup->log, &size, '\0', file) < 0)
		setup->log[0] = '\0';
	fclose(file);
	for (char *at = setup->log, *end; (end = strchr(at, '\n')); at = end + 1) {
		*end = '\0';
		assert_true(setup->n_lines < LINES);
		setup->line[setup->n_lines++] = at;
	}
}

static int on_poll(struct timer *timer)
{
	struct setup *setup = container_of(timer, struct setup, poll);

	if (setup->until(setup))
		loop_stop(setup->loop);
	return 0;
}

static void run_until(struct setup *setup, bool (*until)(struct setup *setup), size_t wanted)
{
	setup->until = until;
	setup->wanted = wanted;
	assert_int_equal(timer_set(&setup->poll, 0, 5 * NSEC_PER_MSEC), 0);
	fake_loop_run(setup->loop);
	assert_int_equal(timer_stop(&setup->poll), 0);
	read_log(setup);
}

static bool is_done(struct setup *setup)
{
	return setup->spool.done == 10 * (int64_t)setup->spool.n && exporter_idle(exporter);
}

static uint64_t requests_of(enum export_signal signal)
{
	uint64_t sum = 0;

	for (int i = 0; i < _EXPORT_RESULT_MAX; i++)
		sum += exporter_stats(exporter)->requests[signal][i];
	return sum;
}

static bool has_begun(struct setup *setup)
{
	return setup->spool.asked;
}

static bool has_answered(struct setup *setup)
{
	return !setup->spool.asked;
}

static bool has_been_asked(struct setup *setup)
{
	read_log(setup);
	return setup->n_lines >= setup->wanted;
}

static bool has_asked(struct setup *setup)
{
	return requests_of(EXPORT_LOGS) >= setup->wanted;
}

static bool has_sent_metrics(struct setup *setup)
{
	return requests_of(EXPORT_METRICS) >= setup->wanted;
}

static void has(const struct setup *setup, size_t i, const char *text)
{
	if (i >= setup->n_lines || !strstr(setup->line[i], text))
		fail_msg("no %s in request %zu: %s", text, i,
		         i < setup->n_lines ? setup->line[i] : "(none)");
}

static void counts(uint64_t ok, uint64_t retry, uint64_t refused, uint64_t failed)
{
	const uint64_t *got = exporter_stats(exporter)->requests[EXPORT_LOGS];

	assert_int_equal(got[EXPORT_OK], ok);
	assert_int_equal(got[EXPORT_RETRY], retry);
	assert_int_equal(got[EXPORT_REFUSED], refused);
	assert_int_equal(got[EXPORT_FAILED], failed);
}

static int set_up(void **state)
{
	struct setup *setup = calloc(1, sizeof(*setup));
	char command[256];

	assert_non_null(setup);
	later_ns = waited_ns = 0;
	snprintf(command, sizeof(command), "cd %s && rm -f script poison size refusing log",
	         folder);
	fake_run(command);
	copy("server1.pem", "server.pem");
	copy("ca1.pem", "ca.crt");
	copy("one.crt", "tls.crt");
	copy("one.key", "tls.key");
	assert_int_equal(loop_new(&setup->loop), 0);
	setup->spool.kick = (struct kick)KICK_INIT;
	setup->spool.body_len = 200;
	assert_int_equal(kick_init(&setup->spool.kick, setup->loop, on_spool), 0);
	setup->poll = (struct timer)TIMER_INIT;
	assert_int_equal(timer_init(&setup->poll, setup->loop, on_poll), 0);
	*state = setup;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *setup = *state;

	exporter = exporter_free(exporter);
	kick_clear(&setup->spool.kick);
	timer_clear(&setup->poll);
	export_settings_clear(&setup->settings);
	assert_null(loop_free(setup->loop));
	free(setup->log);
	if (setup->pid) {
		close(setup->stdin_fd);
		kill(setup->pid, SIGKILL);
		assert_int_equal(waitpid(setup->pid, NULL, 0), setup->pid);
	}
	free(setup);
	return 0;
}

/* The exporter */

static int on_witness(void *user, struct buf *out)
{
	struct setup *setup = user;

	setup->witnesses++;
	buf_text(out, "{\"eventName\":\"witness\"}");
	return 0;
}

static void on_metrics(void *user, struct encode *e)
{
	struct setup *setup = user;

	setup->metrics++;
	encode_object(e, NULL);
	encode_text(e, "name", "egress_up");
	encode_object_end(e);
}

static void set_target(struct export_target *target, const char *scheme, unsigned int port,
                       const char *path)
{
	assert_true(asprintf(&target->url, "%s://127.0.0.1:%u%s", scheme, port, path) > 0);
	target->timeout_ns = 60 * NSEC_PER_SEC;
	target->gzip = true;
}

static void start(struct setup *setup)
{
	const struct exporter_events events = { setup, on_witness, on_metrics };
	static const struct otlp_resource resource = { .node = "node-1", .instance = "i-1" };
	char error[512] = "";

	if (exporter_new(setup->loop, &setup->settings, &resource, &setup->spool, &events,
	                 &exporter, error) != 0)
		fail_msg("%s", error);
}

/* Over plain http, with so many records that wait. */
static void begin(struct setup *setup, size_t records)
{
	struct export_target *logs = &setup->settings.target[EXPORT_LOGS];

	start_collector(setup, "plain");
	setup->spool.n = records;
	set_target(logs, "http", setup->port, "/v1/logs");
	logs->header[logs->n_headers++] = strdup("X-Scope-OrgID: tenant");
	start(setup);
}

static void sends_what_waits(void **state)
{
	struct setup *setup = *state;
	const struct exporter_stats *stats;

	begin(setup, 1200);
	assert_false(exporter_idle(exporter));
	run_until(setup, is_done, 0);
	stats = exporter_stats(exporter);
	assert_int_equal(setup->n_lines, 3);
	has(setup, 0, "\"line\": \"POST /v1/logs HTTP/1.1\"");
	has(setup, 0, "\"n\": 512, \"witness\": false, \"first\": 0,");
	has(setup, 1, "\"n\": 512, \"witness\": false, \"first\": 512,");
	has(setup, 2, "\"n\": 176,");
	has(setup, 2, "\"taken\": 1200, \"ordered\": true");
	has(setup, 2, "\"connections\": 1");
	has(setup, 0, "\"packed\": true");
	has(setup, 0, "\"content-type\": \"application/json\"");
	has(setup, 0, "\"content-encoding\": \"gzip\"");
	has(setup, 0, "\"accept\": \"application/json\"");
	has(setup, 0, "\"x-scope-orgid\": \"tenant\"");
	has(setup, 0, "\"user-agent\": \"egress-verifier/");
	has(setup, 0, " OTel-OTLP-Exporter-C/");
	assert_null(strstr(setup->line[0], "authorization"));
	assert_int_equal(stats->sent, 1200);
	assert_true(stats->sent_bytes > 1000 && stats->sent_bytes < 1200 * 200 / 5);
	assert_true(stats->last_success_us > 0);
	assert_string_equal(stats->last_error, "");

	setup->spool.n++;
	exporter_kick(exporter);
	assert_false(exporter_idle(exporter));
	run_until(setup, is_done, 0);
	has(setup, 3, "\"n\": 1,");
	counts(4, 0, 0, 0);
	assert_int_equal(setup->spool.reads, 4);
}

/* As large as may be: no request is beyond its bound. */
static void bounds_its_requests(void **state)
{
	struct setup *setup = *state;
	size_t records = 0;

	setup->spool.body_len = SPOOL_BODY_MAX;
	start_collector(setup, "plain");
	setup->spool.n = 200;
	set_target(&setup->settings.target[EXPORT_LOGS], "http", setup->port, "/v1/logs");
	setup->settings.target[EXPORT_LOGS].gzip = false;
	start(setup);
	run_until(setup, is_done, 0);
	assert_int_equal(setup->n_lines, 3);
	for (size_t i = 0; i < setup->n_lines; i++) {
		const char *bytes = strstr(setup->line[i], "\"bytes\": ");
		const char *n = strstr(setup->line[i], "\"n\": ");

		assert_true(strtoul(bytes + 9, NULL, 10) <= EXPORT_REQUEST_MAX);
		records += strtoul(n + 5, NULL, 10);
	}
	assert_int_equal(records, 200);
}

static void sends_unpacked(void **state)
{
	struct setup *setup = *state;
	struct export_target *logs = &setup->settings.target[EXPORT_LOGS];

	start_collector(setup, "plain");
	setup->spool.n = 2;
	set_target(logs, "http", setup->port, "/any/path/?key=value");
	logs->gzip = false;
	logs->header[logs->n_headers++] = strdup("user-agent: mine");
	start(setup);
	run_until(setup, is_done, 0);
	has(setup, 0, "\"line\": \"POST /any/path/?key=value HTTP/1.1\"");
	has(setup, 0, "\"packed\": false");
	has(setup, 0, "\"user-agent\": \"mine\"");
	assert_null(strstr(setup->line[0], "content-encoding"));
}

/* The same bytes, until they are taken; a lost answer makes duplicates, and no loss. */
static void sends_the_same_again(void **state)
{
	struct setup *setup = *state;
	const char *hash;
	char same[64];

	put("script", "503\nafter 40\ndate 60\n502 text\n504\ncut\nreset\nok\n");
	begin(setup, 20);
	run_until(setup, is_done, 0);
	assert_int_equal(setup->n_lines, 8);
	hash = strstr(setup->line[0], "\"hash\"");
	snprintf(same, sizeof(same), "%.50s", hash);
	for (size_t i = 1; i < setup->n_lines; i++)
		has(setup, i, same);
	has(setup, 5, "\"taken\": 20"); /* of which nobody heard */
	has(setup, 7, "\"taken\": 20, \"ordered\": true");
	counts(1, 5, 0, 2);
	assert_int_equal(exporter_stats(exporter)->sent, 20);
	/* At least what was asked for; the date has no fractions of a second. */
	assert_true(waited_ns >= (40 + 58) * NSEC_PER_SEC);
	assert_true(waited_ns <= 300 * NSEC_PER_SEC);
}

static void splits_what_is_too_large(void **state)
{
	struct setup *setup = *state;

	put("size", "100");
	begin(setup, 1000);
	run_until(setup, is_done, 0);
	has(setup, setup->n_lines - 1, "\"taken\": 1000, \"ordered\": true");
	assert_int_equal(setup->witnesses, 0);
	assert_int_equal(exporter_stats(exporter)->sent, 1000);
	assert_int_equal(waited_ns, 0);
	assert_in_range(setup->n_lines, 16, 24);
}

/* Standard error is a pipe meanwhile. */
static void run_logged(struct setup *setup, char *lines, size_t size)
{
	int pipe_fd[2], kept = dup(2);
	ssize_t n;

	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(dup2(pipe_fd[1], 2), 2);
	run_until(setup, is_done, 0);
	dup2(kept, 2);
	n = read(pipe_fd[0], lines, size - 1);
	lines[n > 0 ? n : 0] = '\0';
	close(kept), close(pipe_fd[0]), close(pipe_fd[1]);
}

static void gives_up_what_nobody_takes(void **state)
{
	struct setup *setup = *state;
	char lines[16384];
	size_t witnesses = 0;

	put("poison", "37");
	begin(setup, 100);
	run_logged(setup, lines, sizeof(lines));
	has(setup, setup->n_lines - 1, "\"taken\": 99, \"ordered\": true");
	for (size_t i = 0; i < setup->n_lines; i++)
		witnesses += strstr(setup->line[i], "\"witness\": true") != NULL;
	assert_int_equal(witnesses, EXPORT_REFUSALS_MAX);
	assert_int_equal(exporter_stats(exporter)->rejected, 1);
	assert_int_equal(exporter_stats(exporter)->sent, 99);
	assert_non_null(strstr(lines, "a record is given up"));
	assert_non_null(strstr(lines, "uid=\"key-37\" reason=\"400: no such attribute\""));
	assert_string_equal(exporter_stats(exporter)->last_error, "");
	assert_in_range(waited_ns, 7 * NSEC_PER_SEC, 25 * NSEC_PER_SEC);
}

/* A wrong token empties nothing. */
static void keeps_what_is_refused(void **state)
{
	struct setup *setup = *state;
	const struct exporter_stats *stats;

	put("refusing", "yes");
	begin(setup, 100);
	stats = exporter_stats(exporter);
	run_until(setup, has_asked, 60);
	assert_int_equal(setup->spool.done, 0);
	assert_int_equal(stats->rejected, 0);
	assert_true(stats->refusing);
	assert_string_equal(stats->last_error, "401");
	assert_true(setup->witnesses >= 20);
	put("refusing", "");
	run_until(setup, is_done, 0);
	assert_false(stats->refusing);
	has(setup, setup->n_lines - 1, "\"taken\": 100, \"ordered\": true");
	/* Both halves of the last: what was asked for alone, and all the rest. */
	has(setup, setup->n_lines - 1, "\"n\": 99,");
	assert_int_equal(stats->rejected, 0);
	assert_int_equal(stats->sent, 100);
}

static void counts_what_was_rejected(void **state)
{
	struct setup *setup = *state;
	char lines[8192];
	const char *first;

	put("script",
	    "200 {\"partialSuccess\":{\"rejectedLogRecords\":\"3\",\"errorMessage\":\"old\"}}\n"
	    "200 {\"partialSuccess\":{\"errorMessage\":\"move on\"}}\n"
	    "200 {\"partialSuccess\":{\"errorMessage\":\"move on\"}}\n"
	    "200 what\n");
	begin(setup, 2000);
	run_logged(setup, lines, sizeof(lines));
	assert_int_equal(setup->n_lines, 4); /* none is sent again */
	assert_int_equal(exporter_stats(exporter)->rejected, 3);
	assert_int_equal(exporter_stats(exporter)->sent, 1997);
	assert_non_null(strstr(lines, "count=\"3\" reason=\"old\""));
	first = strstr(lines, "move on");
	assert_non_null(first);
	assert_null(strstr(first + 1, "move on"));
	assert_non_null(strstr(lines, "success with a body that is no answer"));
}

/* 64 MiB of nothing in 64 kB: it was taken, and no more is read of it. */
static void survives_a_bomb(void **state)
{
	struct setup *setup = *state;

	put("script", "bomb\n");
	begin(setup, 5);
	run_until(setup, is_done, 0);
	assert_int_equal(setup->n_lines, 1);
	counts(1, 0, 0, 0);
	assert_int_equal(exporter_stats(exporter)->sent, 5);
	assert_true(mallinfo2().uordblks < 16u << 20);
}

static void waits_no_longer_than_it_should(void **state)
{
	struct setup *setup = *state;
	char lines[8192];

	put("script", "silent\n");
	start_collector(setup, "plain");
	setup->spool.n = 5;
	set_target(&setup->settings.target[EXPORT_LOGS], "http", setup->port, "/v1/logs");
	setup->settings.target[EXPORT_LOGS].timeout_ns = 2 * NSEC_PER_SEC;
	start(setup);
	run_logged(setup, lines, sizeof(lines));
	assert_int_equal(setup->n_lines, 2);
	counts(1, 0, 0, 1);
	assert_non_null(strstr(lines, "no complete answer in time"));
}

static void survives_a_collector_that_is_gone(void **state)
{
	struct setup *setup = *state;

	begin(setup, 5);
	kill(setup->pid, SIGKILL);
	assert_int_equal(waitpid(setup->pid, NULL, 0), setup->pid);
	close(setup->stdin_fd);
	setup->pid = 0;
	run_until(setup, has_asked, 12);
	assert_int_equal(setup->spool.done, 0);
	counts(0, 0, 0, exporter_stats(exporter)->requests[EXPORT_LOGS][EXPORT_FAILED]);
	assert_non_null(strstr(exporter_stats(exporter)->last_error, "connection refused"));
	assert_false(exporter_stats(exporter)->refusing);
	/* One try a pause, and no pause longer than the bound. */
	assert_true(waited_ns >= 60 * NSEC_PER_SEC);
}

static void survives_a_spool_that_fails(void **state)
{
	struct setup *setup = *state;

	setup->spool.error = -EIO;
	begin(setup, 5);
	while (setup->spool.reads < 3)
		run_until(setup, has_asked, 0);
	assert_int_equal(requests_of(EXPORT_LOGS), 0);
	setup->spool.error = 0;
	run_until(setup, is_done, 0);
	assert_int_equal(exporter_stats(exporter)->sent, 5);
}

static void shows_its_certificate(void **state)
{
	struct setup *setup = *state;
	struct export_target *logs = &setup->settings.target[EXPORT_LOGS];

	start_collector(setup, "tls");
	setup->spool.n = 5;
	set_target(logs, "https", setup->port, "/v1/logs");
	logs->ca = path_of("ca.crt");
	logs->certificate = path_of("tls.crt");
	logs->key = path_of("tls.key");
	start(setup);
	run_until(setup, is_done, 0);
	has(setup, 0, "\"peer\": [\"one\"]");
	has(setup, 0, "\"connections\": 1");

	/* All of it is renewed, and nobody restarts anything. */
	copy("server2.pem", "server.pem");
	copy("ca2.pem", "ca.crt");
	copy("two.crt", "tls.crt");
	copy("two.key", "tls.key");
	later_ns += KUBE_CREDENTIALS_NS;
	setup->spool.n = 6;
	exporter_kick(exporter);
	run_until(setup, is_done, 0);
	has(setup, 1, "\"peer\": [\"two\"]");
	counts(2, 0, 0, 0);
}

static void believes_nobody_else(void **state)
{
	struct setup *setup = *state;
	struct export_target *logs = &setup->settings.target[EXPORT_LOGS];

	copy("server2.pem", "server.pem");
	start_collector(setup, "tls");
	setup->spool.n = 5;
	set_target(logs, "https", setup->port, "/v1/logs");
	logs->ca = path_of("ca.crt");
	start(setup);
	run_until(setup, has_asked, 2);
	assert_int_equal(setup->n_lines, 0);
	assert_int_equal(setup->spool.done, 0);
	assert_non_null(
		strstr(exporter_stats(exporter)->last_error, "the certificate does not verify"));
	copy("ca2.pem", "ca.crt");
	run_until(setup, is_done, 0);
	assert_int_equal(exporter_stats(exporter)->sent, 5);
}

/* Of now: what was not taken is not sent again. */
static void sends_metrics(void **state)
{
	struct setup *setup = *state;
	const uint64_t *requests;

	put("script", "ok\n503\n400 {\"message\":\"no\"}\ncut\nok\n");
	start_collector(setup, "plain");
	setup->settings.metrics_interval_ns = 60 * NSEC_PER_SEC;
	set_target(&setup->settings.target[EXPORT_METRICS], "http", setup->port, "/v1/metrics");
	start(setup);
	/* Logs are off, and stay so. */
	setup->spool.n = 5;
	exporter_kick(exporter);
	assert_true(exporter_idle(exporter));
	requests = exporter_stats(exporter)->requests[EXPORT_METRICS];
	run_until(setup, has_sent_metrics, 5);
	assert_true(requests[EXPORT_OK] >= 2);
	assert_int_equal(requests[EXPORT_RETRY], 1);
	assert_int_equal(requests[EXPORT_REFUSED], 1);
	assert_int_equal(requests[EXPORT_FAILED], 1);
	has(setup, 0, "\"line\": \"POST /v1/metrics HTTP/1.1\"");
	has(setup, 0, "\"packed\": true");
	assert_true(setup->metrics >= 5);
	assert_int_equal(setup->spool.reads, 0);
	assert_int_equal(exporter_stats(exporter)->sent, 0);
	assert_string_equal(exporter_stats(exporter)->last_error, "");
}

/* Both signals go to one server: over the connections of one client. */
static void shares_a_connection(void **state)
{
	struct setup *setup = *state;

	start_collector(setup, "plain");
	setup->settings.metrics_interval_ns = 50 * NSEC_PER_SEC;
	set_target(&setup->settings.target[EXPORT_LOGS], "http", setup->port, "/v1/logs");
	set_target(&setup->settings.target[EXPORT_METRICS], "http", setup->port, "/v1/metrics");
	start(setup);
	run_until(setup, has_sent_metrics, 1);
	setup->spool.n = 5;
	exporter_kick(exporter);
	run_until(setup, is_done, 0);
	run_until(setup, has_sent_metrics, 6);
	has(setup, setup->n_lines - 1, "\"taken\": 5");
	/* Two at most: they may have been under way at the same time. */
	if (!strstr(setup->line[setup->n_lines - 1], "\"connections\": 1") &&
	    !strstr(setup->line[setup->n_lines - 1], "\"connections\": 2"))
		fail_msg("%s", setup->line[setup->n_lines - 1]);
}

/* Freed at any moment, and another one in its place. */
static void ends_without_a_word(void **state)
{
	struct setup *setup = *state;

	/* While the spool is asked, */
	setup->spool.held = true;
	begin(setup, 5);
	run_until(setup, has_begun, 0);
	exporter = exporter_free(exporter);
	setup->spool.held = false;
	kick_now(&setup->spool.kick);
	run_until(setup, has_answered, 0);
	assert_int_equal(setup->n_lines, 0);

	/* while the collector is, */
	put("script", "silent\n");
	start(setup);
	run_until(setup, has_been_asked, 1);
	exporter = exporter_free(exporter);
	assert_int_equal(setup->spool.done, 0);

	/* and the next one sends it. */
	start(setup);
	run_until(setup, is_done, 0);
	has(setup, 1, "\"taken\": 5, \"ordered\": true");
}

static void needs_good_files(void **state)
{
	struct setup *setup = *state;
	struct export_target *logs = &setup->settings.target[EXPORT_LOGS];
	const struct otlp_resource resource = { .node = "n" };
	const struct exporter_events events = { setup, on_witness, on_metrics };
	char error[512] = "";

	set_target(logs, "https", 1, "/v1/logs");
	logs->ca = path_of("none.crt");
	assert_true(exporter_new(setup->loop, &setup->settings, &resource, &setup->spool, &events,
	                         &exporter, error) < 0);
	assert_null(exporter);
	assert_non_null(strstr(error, "/none.crt: expected a certificate authority"));

	/* Said beforehand, too; and both signals are looked at. */
	error[0] = '\0';
	assert_true(exporter_check(setup->loop, &setup->settings, error) < 0);
	assert_non_null(strstr(error, "/none.crt: expected a certificate authority"));
	free(take_ptr(logs->ca));
	assert_int_equal(exporter_check(setup->loop, &setup->settings, error), 0);
	set_target(&setup->settings.target[EXPORT_METRICS], "https", 1, "/v1/metrics");
	setup->settings.target[EXPORT_METRICS].ca = path_of("no.crt");
	assert_true(exporter_check(setup->loop, &setup->settings, error) < 0);
	assert_non_null(strstr(error, "/no.crt: expected a certificate authority"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(sends_what_waits),
		TEST(bounds_its_requests),
		TEST(sends_unpacked),
		TEST(sends_the_same_again),
		TEST(splits_what_is_too_large),
		TEST(gives_up_what_nobody_takes),
		TEST(keeps_what_is_refused),
		TEST(counts_what_was_rejected),
		TEST(survives_a_bomb),
		TEST(waits_no_longer_than_it_should),
		TEST(survives_a_collector_that_is_gone),
		TEST(survives_a_spool_that_fails),
		TEST(shows_its_certificate),
		TEST(believes_nobody_else),
		TEST(sends_metrics),
		TEST(shares_a_connection),
		TEST(ends_without_a_word),
		TEST(needs_good_files),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
