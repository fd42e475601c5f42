/* ldflags: -Wl,--wrap=timer_set */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timer.h"
#include "broker/tunnel_answer.h"
#include "limits.h"

#define KEY "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
#define PRIVATE "private_key=" KEY "\n"
#define PRESHARED "preshared_key=" KEY "\n"
#define PEER "public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33\n"
#define END "errno=0\n\n"

static char folder[] = "/tmp/eva-tunnel-answer.XXXXXX";

/* An implementation has half a second; where that is not what a row is about, what a loaded machine takes. */
static bool patient;

int __real_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns);
int __wrap_timer_set(struct timer *timer, uint64_t delay_ns, uint64_t period_ns)
{
	if (patient && delay_ns == WIREGUARD_TIMEOUT_NS)
		delay_ns = 30 * NSEC_PER_SEC;
	return __real_timer_set(timer, delay_ns, period_ns);
}

/* An implementation that says what it is told to, in pieces, and closes when it is told to. */
struct implementation {
	struct loop_source listener, connection;
	struct loop *loop;
	int fd, connected;
	const char *const *pieces;
	bool closes;
	size_t said;
	char asked[32];
	struct timer next;
};

static int say(struct timer *timer)
{
	struct implementation *one = container_of(timer, struct implementation, next);
	const char *piece = one->pieces[one->said];

	if (piece) {
		(void)!send(one->connected, piece, strlen(piece), MSG_NOSIGNAL);
		one->said++;
		return timer_set(&one->next, NSEC_PER_MSEC, 0);
	}
	if (one->closes)
		fd_closep(&one->connected);
	return 0;
}

static int on_question(struct loop_source *source, uint32_t events)
{
	struct implementation *one = container_of(source, struct implementation, connection);
	ssize_t n = read(one->connected, one->asked, sizeof(one->asked) - 1);

	(void)events;
	loop_remove(source);
	one->asked[n > 0 ? n : 0] = '\0';
	return timer_set(&one->next, 0, 0);
}

static int on_connection(struct loop_source *source, uint32_t events)
{
	struct implementation *one = container_of(source, struct implementation, listener);

	(void)events;
	loop_remove(source); /* whoever comes next waits in vain */
	one->connected = accept4(one->fd, NULL, NULL, SOCK_CLOEXEC);
	return loop_add(one->loop, &one->connection, one->connected, EPOLLIN, on_question);
}

static void implement(struct implementation *one, struct loop *loop, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	one->loop = loop;
	one->connected = -1;
	one->next = (struct timer)TIMER_INIT;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", folder, name);
	unlink(address.sun_path);
	one->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(one->fd >= 0);
	assert_int_equal(bind(one->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(one->fd, 512), 0);
	assert_int_equal(timer_init(&one->next, loop, say), 0);
	assert_int_equal(loop_add(loop, &one->listener, one->fd, EPOLLIN, on_connection), 0);
}

static void give_up(struct implementation *one)
{
	loop_remove(&one->listener);
	loop_remove(&one->connection);
	timer_clear(&one->next);
	fd_closep(&one->connected);
	fd_closep(&one->fd);
}

/* The worker: reads until it is closed. */
struct reader {
	struct loop_source source;
	char text[WIREGUARD_ANSWER_MAX + 64];
	size_t len;
};

static int on_text(struct loop_source *source, uint32_t events)
{
	struct reader *reader = container_of(source, struct reader, source);
	ssize_t n =
		read(source->fd, reader->text + reader->len, sizeof(reader->text) - reader->len);

	(void)events;
	if (n > 0)
		reader->len += (size_t)n;
	else
		loop_stop(source->loop);
	return 0;
}

static int on_late(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static void read_all(struct loop *loop, int fd, struct reader *reader)
{
	struct timer timer = TIMER_INIT;
	int r;

	memset(reader, 0, sizeof(*reader));
	assert_int_equal(timer_init(&timer, loop, on_late), 0);
	assert_int_equal(timer_set(&timer, 60 * NSEC_PER_SEC, 0), 0);
	assert_int_equal(loop_add(loop, &reader->source, fd, EPOLLIN, on_text), 0);
	r = loop_run(loop);
	loop_remove(&reader->source);
	timer_clear(&timer);
	close(fd);
	assert_int_equal(r, 0);
}

static void keeps_the_keys(void **state)
{
	static char large[WIREGUARD_ANSWER_MAX + 2], full[WIREGUARD_ANSWER_MAX + 1];
	static struct reader reader;
	const struct {
		const char *pieces[6];
		bool closes;
		const char *text;
	} rows[] = {
		{ { PRIVATE "listen_port=1\n" PEER PRESHARED "rx_bytes=5\n" END },
		  false,
		  "listen_port=1\n" PEER "rx_bytes=5\n" END },
		/* torn anywhere */
		{ { "priv", "ate_key=" KEY, "\nlisten_port=1\npreshared", "_key=" KEY "\n", END },
		  false,
		  "listen_port=1\n" END },
		{ { PRIVATE END }, true, END },
		/* ended early: what a key was begun of stays here too */
		{ { "listen_port=1\n" PRIVATE PRESHARED "private_key=e84b" },
		  true,
		  "listen_port=1\n" },
		{ { PRIVATE "listen_port=1\npublic" }, true, "listen_port=1\npublic" },
		{ { PRIVATE PRIVATE PRESHARED }, true, "" },
		{ { NULL }, true, "" },
		{ { "\n\n" }, false, "\n\n" },
		{ { "errno=5\n\n" }, false, "errno=5\n\n" },
		/* no answer in time; too much of one; just not too much */
		{ { PRIVATE "listen_port=1\n" }, false, "errno=110\n\n" },
		{ { large }, false, "errno=27\n\n" },
		{ { full }, false, full },
	};

	(void)state;
	memset(large, 'a', sizeof(large) - 1);
	memset(full, 'a', sizeof(full) - 1);
	memcpy(full + sizeof(full) - 3, "\n\n", 2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct implementation one = { .pieces = rows[i].pieces, .closes = rows[i].closes };
		struct tunnel_answers *answers;
		struct loop *loop;
		int fd = -1;

		assert_int_equal(loop_new(&loop), 0);
		assert_int_equal(tunnel_answers_new(loop, &answers), 0);
		tunnel_answers_look_in(answers, folder);
		implement(&one, loop, "wg0");
		patient = strcmp(rows[i].text, "errno=110\n\n") != 0;
		assert_int_equal(tunnel_answers_start(answers, "wg0", &fd), 0);
		patient = false;
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		read_all(loop, fd, &reader);
		if (strcmp(reader.text, rows[i].text) != 0)
			fail_msg("row %zu: got \"%.200s\"", i, reader.text);
		assert_null(strstr(reader.text, "private_key"));
		assert_null(strstr(reader.text, KEY));
		assert_string_equal(one.asked, "get=1\n\n");
		assert_int_equal(tunnel_answers_stats(answers).started, 1);
		assert_int_equal(tunnel_answers_stats(answers).failed,
		                 strcmp(rows[i].text, "errno=110\n\n") == 0 ||
		                         strcmp(rows[i].text, "errno=27\n\n") == 0);
		give_up(&one);
		assert_null(tunnel_answers_free(answers));
		assert_null(loop_free(loop));
	}
}

static void says_why_not(void **state)
{
	static const struct {
		const char *name;
		int error;
	} rows[] = {
		{ "", -EINVAL },           { "../wg0", -EINVAL }, { ".wg0", -EINVAL },
		{ "wg/0", -EINVAL },       { "wg 0", -EINVAL },   { "none", -ENOENT },
		{ "dead", -ECONNREFUSED },
	};
	struct implementation dead = { 0 };
	struct tunnel_answers *answers;
	struct loop *loop;
	int fd = 77;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(tunnel_answers_new(loop, &answers), 0);
	tunnel_answers_look_in(answers, folder);
	implement(&dead, loop, "dead");
	give_up(&dead);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(tunnel_answers_start(answers, rows[i].name, &fd), rows[i].error);
	assert_int_equal(fd, 77);
	assert_int_equal(tunnel_answers_stats(answers).started, 0);
	assert_null(tunnel_answers_free(answers));
	assert_null(loop_free(loop));
}

static unsigned int count_descriptors(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Those who asked are gone; the implementation never answers. */
static void bounds_what_is_open(void **state)
{
	static const char *const nothing[] = { NULL };
	struct implementation one = { .pieces = nothing };
	struct tunnel_answers *answers;
	unsigned int before;
	struct loop *loop;
	int fd = -1;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	implement(&one, loop, "wg0");
	before = count_descriptors();
	assert_int_equal(tunnel_answers_new(loop, &answers), 0);
	tunnel_answers_look_in(answers, folder);
	for (int i = 0; i < TUNNEL_ANSWERS_MAX; i++) {
		assert_int_equal(tunnel_answers_start(answers, "wg0", &fd), 0);
		close(fd);
	}
	assert_int_equal(tunnel_answers_start(answers, "wg0", &fd), -EBUSY);
	assert_int_equal(tunnel_answers_stats(answers).busy, 1);
	assert_null(tunnel_answers_free(answers));
	assert_int_equal(count_descriptors(), before);
	give_up(&one);
	assert_null(loop_free(loop));
}

/* A reader that went away costs nothing, and its place is free again. */
static void a_lost_reader_is_forgotten(void **state)
{
	static const char *const answer[] = { PRIVATE END, NULL };
	struct implementation one = { .pieces = answer };
	static struct reader reader;
	struct tunnel_answers *answers;
	struct loop *loop;
	int fd = -1;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(tunnel_answers_new(loop, &answers), 0);
	tunnel_answers_look_in(answers, folder);
	implement(&one, loop, "wg0");
	assert_int_equal(tunnel_answers_start(answers, "wg0", &fd), 0);
	close(fd);
	assert_int_equal(tunnel_answers_start(answers, "none", &fd), -ENOENT);
	assert_int_equal(tunnel_answers_start(answers, "wg0", &fd), 0);
	read_all(loop, fd, &reader); /* the second times out: the first was served alone */
	assert_int_equal(tunnel_answers_stats(answers).started, 2);
	assert_true(tunnel_answers_stats(answers).failed >= 1);
	give_up(&one);
	assert_null(tunnel_answers_free(answers));
	assert_null(loop_free(loop));
}

static int make_folder(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN); /* as the broker does */
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_keys),
		cmocka_unit_test(says_why_not),
		cmocka_unit_test(bounds_what_is_open),
		cmocka_unit_test(a_lost_reader_is_forgotten),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
