#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static int saved, ends[2]; /* what stderr was; a pipe or socket pair in its place */

static void take_stderr(void)
{
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(saved >= 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
}

static int with_pipe(void **state)
{
	(void)state;
	assert_int_equal(pipe(ends), 0);
	take_stderr();
	return 0;
}

static int with_socket(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	take_stderr();
	return 0;
}

static int give_back(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[0]);
	return 0;
}

/* All that was logged since the last call; cut at what fits. */
static const char *logged(void)
{
	static char text[1 << 18];
	size_t len = 0;
	ssize_t n;

	while ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

/* Behind the time, which is checked. */
static const char *logged_line(void)
{
	const char *line = logged();
	int64_t us;
	char time[28];

	memcpy(time, line, 27);
	time[27] = '\0';
	assert_int_equal(clock_parse(time, &us), 0);
	assert_int_equal(line[27], ' ');
	return line + 28;
}

static void a_line_has_time_level_text_and_fields(void **state)
{
	(void)state;
	log_info("agent ready", "node", "w1", "subjects", "3", "none", NULL, NULL);
	assert_string_equal(logged_line(),
	                    "info agent ready node=\"w1\" subjects=\"3\" none=\"\"\n");
	log_debug("not shown", NULL);
	assert_string_equal(logged(), "");
	log_set_level(LOG_DEBUG);
	log_debug("shown", NULL);
	assert_string_equal(logged_line(), "debug shown\n");
	log_set_level(LOG_INFO);
}

static void a_command_speaks_by_its_name(void **state)
{
	(void)state;
	log_set_command("egress-verifier");
	log_error("inventory not read", "error", "x.yaml", NULL);
	log_set_command(NULL);
	assert_string_equal(logged(), "egress-verifier: inventory not read error=\"x.yaml\"\n");
}

static void a_value_cannot_leave_its_quotes(void **state)
{
	static const struct {
		const char *value, *shown;
	} rows[] = {
		{ "a\nb", "a\\x0ab" },
		{ "\r\x1b[2J\x7f", "\\x0d\\x1b[2J\\x7f" },
		{ "\" level=\"error", "\\\" level=\\\"error" },
		{ "\\", "\\\\" },
		{ "ä€\xf0\x9f\x98\x80", "ä€\xf0\x9f\x98\x80" },
		{ "\xc2\x9b"
		  "31m",
		  "\\xc2\\x9b31m" },                   /* CSI of eight bits */
		{ "\xe2\x80\xa8", "\\xe2\\x80\\xa8" }, /* line separator */
		{ "\xe2\x80\xae"
		  "txt",
		  "\\xe2\\x80\\xaetxt" }, /* right to left from here */
		{ "\xff\xc3", "\\xff\\xc3" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct log_site site = { 0 };
		char expected[200];

		log_line(&site, LOG_WARN, "odd", "v", rows[i].value, NULL);
		snprintf(expected, sizeof(expected), "warn odd v=\"%s\"\n", rows[i].shown);
		assert_string_equal(logged_line(), expected);
	}
}

static void a_long_line_is_cut_and_stays_one(void **state)
{
	static char value[10000], escapes[10000];

	(void)state;
	for (size_t fill = 1500; fill < 2100; fill++) {
		struct log_site site = { .window_start_ns = 0,
			                 .lines = 1,
			                 .suppressed = 4000000000 };
		const char *line;
		size_t len;

		memset(value, 'v', sizeof(value));
		value[fill] = '\0';
		memset(escapes, '\n', sizeof(escapes) - 1);
		log_line(&site, LOG_WARN, "long", "a", value, "b", escapes, "c", "never", NULL);
		line = logged();
		len = strlen(line);
		assert_true(len <= 2048 && len > 1000);
		assert_ptr_equal(strchr(line, '\n'), line + len - 1);
		assert_non_null(strstr(line, " suppressed=\"4000000000\"\n"));
		assert_true(fill > 1850 || strstr(line, "\\x0a…\" suppressed="));
		assert_null(strstr(line, "never"));
	}
}

static void a_site_that_repeats_is_limited(void **state)
{
	struct log_site site = { 0 }, other = { 0 };
	unsigned int lines = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		log_line(&site, LOG_WARN, "again", NULL);
	for (const char *at = logged(); (at = strstr(at, "again\n")); at++)
		lines++;
	assert_int_equal(lines, 20);

	log_line(&other, LOG_WARN, "another site", NULL);
	assert_non_null(strstr(logged(), "another site\n"));

	site.window_start_ns -= 11 * NSEC_PER_SEC;
	log_line(&site, LOG_WARN, "again", NULL);
	assert_string_equal(logged_line(), "warn again suppressed=\"80\"\n");
	log_line(&site, LOG_WARN, "again", NULL);
	assert_string_equal(logged_line(), "warn again\n");
}

static void flood(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct log_site site = { 0 };

		log_line(&site, LOG_ERROR, "flood", "i", "0123456789012345678901234567890123456789",
		         NULL);
	}
}

/* Fails by hanging when a write waits: then the alarm ends the test. */
static void nobody_reading_costs_lines_not_time(void **state)
{
	uint64_t before = log_lost(), lost;
	unsigned int arrived = 0;
	char expected[64];

	(void)state;
	alarm(120);
	flood(20000);
	alarm(0);
	lost = log_lost() - before;
	assert_true(lost > 0 && lost < 20000);

	for (const char *at = logged(); (at = strstr(at, "error flood i=\"")); at++)
		arrived++;
	assert_int_equal(arrived + lost, 20000);

	flood(1);
	snprintf(expected, sizeof(expected), "\" lost=\"%llu\"\n", (unsigned long long)lost);
	assert_non_null(strstr(logged(), expected));
	flood(1);
	assert_null(strstr(logged(), "lost"));
}

static void nobody_there_is_survived(void **state)
{
	uint64_t before = log_lost();

	(void)state;
	signal(SIGPIPE, SIG_DFL);
	close(ends[0]);
	flood(3);
	assert_int_equal(log_lost() - before, 3);
	close(STDERR_FILENO);
	flood(2);
	assert_int_equal(log_lost() - before, 5);
	ends[0] = -1;
}

int main(void)
{
#define ON(what, test)                                                   \
	{                                                                \
#test " (" #what ")", test, with_##what, give_back, NULL \
	}
	const struct CMUnitTest tests[] = {
		ON(pipe, a_line_has_time_level_text_and_fields),
		ON(pipe, a_command_speaks_by_its_name),
		ON(pipe, a_value_cannot_leave_its_quotes),
		ON(pipe, a_long_line_is_cut_and_stays_one),
		ON(pipe, a_site_that_repeats_is_limited),
		ON(pipe, nobody_reading_costs_lines_not_time),
		ON(socket, nobody_reading_costs_lines_not_time),
		ON(pipe, nobody_there_is_survived),
		ON(socket, nobody_there_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
