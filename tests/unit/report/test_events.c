/* Events over a real connection. */
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/timer.h"
#include "fixture.h"

struct reader {
	struct loop_source source;
	struct loop *loop;
	int fd;
	bool closed;
	size_t len;
	char data[1 << 20];
};

struct place {
	struct fixture f;
	struct loop *loop;
	struct http_server *server;
	struct timer deadline;
	uint16_t port;
};

static int on_deadline(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static void start(struct place *p)
{
	struct http_server_options options = { .handler = report_handle };

	fixture_start(&p->f);
	options.user = p->f.report;
	assert_int_equal(loop_new(&p->loop), 0);
	assert_int_equal(http_server_new(p->loop, &options, &p->server), 0);
	assert_int_equal(http_server_listen(p->server, "127.0.0.1:0", REPORT_ALL), 0);
	p->port = (uint16_t)atoi(strrchr(http_server_address(p->server, 0), ':') + 1);
	report_server(p->f.report, p->server);
	p->deadline = (struct timer)TIMER_INIT;
	assert_int_equal(timer_init(&p->deadline, p->loop, on_deadline), 0);
	assert_int_equal(timer_set(&p->deadline, 60 * NSEC_PER_SEC, 0), 0);
}

static void stop(struct place *p)
{
	http_server_free(p->server);
	fixture_stop(&p->f);
	timer_clear(&p->deadline);
	assert_null(loop_free(p->loop));
}

static int on_bytes(struct loop_source *source, uint32_t events)
{
	struct reader *reader = container_of(source, struct reader, source);
	ssize_t n = read(reader->fd, reader->data + reader->len,
	                 sizeof(reader->data) - 1 - reader->len);

	(void)events;
	if (n > 0)
		reader->len += (size_t)n;
	if (n == 0) {
		reader->closed = true;
		loop_remove(source);
	}
	loop_stop(reader->loop);
	return 0;
}

static struct reader *reader_open(struct place *p, const char *headers)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(p->port) };
	struct reader *reader = calloc(1, sizeof(*reader));
	char request[512];

	assert_non_null(reader);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	reader->loop = p->loop;
	reader->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(reader->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(fcntl(reader->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(loop_add(p->loop, &reader->source, reader->fd, EPOLLIN, on_bytes), 0);
	snprintf(request, sizeof(request), "GET /v1/events HTTP/1.1\r\nHost: x\r\n%s\r\n", headers);
	assert_int_equal(write(reader->fd, request, strlen(request)), strlen(request));
	return reader;
}

static void reader_close(struct reader *reader)
{
	loop_remove(&reader->source);
	close(reader->fd);
	free(reader);
}

static void expect(struct place *p, struct reader *reader, const char *text)
{
	while (!strstr(reader->data, text)) {
		assert_false(reader->closed);
		if (loop_run(p->loop) < 0)
			fail_msg("%s does not come: %s", text, reader->data);
	}
}

static void tell_state(struct place *p, enum subject_state from)
{
	cleanup(buf_clearp) struct buf json = BUF_INIT(EVENT_BYTES_MAX);

	events_state_write(&p->f.subjects[1], &p->f.records[1], from, &json);
	report_state(p->f.report, &json);
}

static void changes_are_told(void **state)
{
	struct reader *reader;
	struct place p;

	(void)state;
	start(&p);
	reader = reader_open(&p, "");
	expect(&p, reader, "text/event-stream");
	expect(&p, reader, "retry: 2000\n\n");
	assert_null(strstr(reader->data, "data:"));

	tell_state(&p, STATE_VERIFIED);
	report_violation(p.f.report, &p.f.violations[1], VIOLATION_RESOLVED);
	expect(&p, reader,
	       "event: subject.state_changed\ndata: {\"subject\":{\"namespace\":\"shop\",\"pod\":"
	       "\"payments-0\",\"uid\":\"uid-1\"},\"gateway\":{\"namespace\":\"shop\",\"name\":"
	       "\"partner-bank\"},\"from\":\"verified\",\"state\":\"violated\",");
	expect(&p, reader, "event: violation.resolved\ndata: {\"id\":");
	reader_close(reader);
	stop(&p);
}

/* The fixture published two events before anybody listened. */
static void a_reader_that_comes_back_misses_nothing(void **state)
{
	char id[64], headers[128];
	struct reader *reader;
	struct place p;
	char *found;

	(void)state;
	start(&p);
	reader = reader_open(&p, "Last-Event-ID: something else\r\n");
	expect(&p, reader, "event: resync\ndata: {}\n\n");
	found = strstr(reader->data, "id: ");
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(found + 4, "-"), found + 4);
	reader_close(reader);

	snprintf(headers, sizeof(headers), "Last-Event-ID: %s-1\r\n", id);
	reader = reader_open(&p, headers);
	expect(&p, reader, "-2\nevent: violation.opened\n");
	assert_null(strstr(reader->data, "resync"));
	assert_null(strstr(reader->data, "-1\nevent:"));
	reader_close(reader);

	snprintf(headers, sizeof(headers), "Last-Event-ID: %s-3\r\n", id); /* not sent yet */
	reader = reader_open(&p, headers);
	expect(&p, reader, "event: resync");
	reader_close(reader);

	for (size_t i = 0; i < EVENTS_KEPT_MAX; i++)
		tell_state(&p, STATE_PENDING);
	snprintf(headers, sizeof(headers), "Last-Event-ID: %s-1\r\n", id); /* forgotten */
	reader = reader_open(&p, headers);
	expect(&p, reader, "event: resync");
	reader_close(reader);
	stop(&p);
}

static void readers_end_with_the_report(void **state)
{
	struct reader *reader;
	struct place p;

	(void)state;
	start(&p);
	reader = reader_open(&p, "");
	expect(&p, reader, "retry:");
	reader_close(reader);
	reader = reader_open(&p, "");
	expect(&p, reader, "retry:");
	loop_remove(&reader->source);
	stop(&p);
	close(reader->fd);
	free(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_are_told),
		cmocka_unit_test(a_reader_that_comes_back_misses_nothing),
		cmocka_unit_test(readers_end_with_the_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
