/*
 * Serves the made-up node of the unit tests: `serve ADDRESS [hostile|healthy|
 * empty]`. Every second it opens or resolves a violation, so that a browser has
 * something to follow.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../unit/report/fixture.h"
#include "base/timer.h"
#include "io/http_server.h"

static struct fixture fixture;
static struct report_export on_its_way;

static int on_second(struct timer *timer)
{
	struct violation *last = &fixture.violations[1];

	(void)timer;
	last->open = !last->open;
	fixture.records[2].state = last->open ? STATE_PENDING : STATE_VERIFIED;
	report_violation(fixture.report, last, last->open ? VIOLATION_OPENED : VIOLATION_RESOLVED);
	return 0;
}

static void change(const char *how)
{
	if (strcmp(how, "hostile") == 0) {
		fixture.subjects[0].pod = (char *)"<script>document.title='owned'</script>";
		fixture.subjects[1].pod =
			(char *)"\"><img src=x onerror=alert(1)>'&\xff\xe2\x80\xae";
		fixture.violations[0].pod = fixture.subjects[1].pod;
		strcpy(fixture.violations[0].reason, "</p><script>document.title='owned'</script>");
	} else if (strcmp(how, "healthy") == 0) {
		fixture.n_violations = 0;
		fixture.n_subjects = 1;
		on_its_way.spool.state = (struct spool_state){ .bytes = 61440 };
		on_its_way.exporter.last_error[0] = '\0';
	} else if (strcmp(how, "empty") == 0) {
		fixture.n_violations = fixture.n_subjects = fixture.n_flows = 0;
	}
}

int main(int argc, char **argv)
{
	struct http_server_options options = { .handler = report_handle,
		                               .post = true,
		                               .check_host = true };
	struct timer timer = TIMER_INIT;
	struct http_server *server;
	struct loop *loop;
	int r;

	if (argc < 2)
		return 2;
	fixture_start(&fixture);
	on_its_way = fixture_made_up_export();
	fixture.on_its_way = &on_its_way;
	change(argc > 2 ? argv[2] : "");
	options.user = fixture.report;
	r = loop_new(&loop);
	assert(r == 0);
	r = http_server_new(loop, &options, &server);
	assert(r == 0);
	r = http_server_listen(server, argv[1], REPORT_ALL);
	if (r < 0) {
		fprintf(stderr, "serve: %s: %s\n", argv[1], strerror(-r));
		return 1;
	}
	if (argc > 3 && strcmp(argv[3], "live") == 0) {
		r = timer_init(&timer, loop, on_second);
		assert(r == 0);
		r = timer_set(&timer, NSEC_PER_SEC, NSEC_PER_SEC);
		assert(r == 0);
	}
	report_server(fixture.report, server);
	printf("%s\n", http_server_address(server, 0));
	fflush(stdout);
	return loop_run(loop) < 0;
}
