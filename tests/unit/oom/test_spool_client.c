/*
 * The worker's end of the spool when memory runs out while the socket is full: what was taken arrives, in its
 * order and once, what was not is counted, and what is at the collector is said later.
 */
#include "test.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/timer.h"
#include "oom/oom.h"
#include "spool/client.h"

#define PUTS 150 /* more than the socket holds */
#define BODY 2000

static struct {
	struct loop *loop;
	struct spool_client *client;
	struct loop_source source; /* of the other end */
	int peer;
	uint64_t expected[PUTS], newest; /* tokens that were given */
	unsigned int n, seen, lost;
	bool done, kept, ended;
} f;

static void stop_when_complete(void)
{
	if (f.seen == f.n && f.done && f.kept && f.ended)
		loop_stop(f.loop);
}

static void on_kept(void *user, uint64_t token)
{
	(void)user;
	assert_int_equal(token, f.newest);
	f.kept = true;
	stop_when_complete();
}

static void on_gone(void *user)
{
	(void)user;
	fail_msg("gone");
}

static void on_row(void *user, const struct spool_row *row)
{
	(void)user;
	(void)row;
	fail_msg("a row");
}

static void on_end(void *user, int r, bool more)
{
	(void)user;
	assert_int_equal(r, 0);
	assert_false(more);
	f.ended = true;
	stop_when_complete();
}

static void answer(enum spool_kind kind, uint64_t token)
{
	static char out[SPOOL_MESSAGE_MAX];
	const struct spool_message message = { .kind = kind, .token = token };
	size_t len;

	assert_int_equal(spool_message_write(&message, NULL, out, &len), 0);
	assert_int_equal(send(f.peer, out, len, MSG_NOSIGNAL), len);
}

static int on_peer(struct loop_source *source, uint32_t events)
{
	static char in[SPOOL_MESSAGE_MAX];
	struct spool_row rows[SPOOL_ROWS_MAX];
	struct spool_message message;
	ssize_t len = recv(f.peer, in, sizeof(in), 0);

	(void)source;
	(void)events;
	assert_true(len > 0);
	assert_int_equal(spool_message_read(in, (size_t)len, &message, rows), 0);
	switch (message.kind) {
	case SPOOL_PUT:
		assert_true(f.seen < f.n);
		assert_int_equal(message.token, f.expected[f.seen++]);
		if (f.seen == f.n)
			answer(SPOOL_KEPT, message.token);
		break;
	case SPOOL_READ:
		answer(SPOOL_END, message.token);
		break;
	case SPOOL_DONE:
		assert_int_equal(message.after, 7);
		f.done = true;
		break;
	default:
		fail_msg("kind %u", message.kind);
	}
	stop_when_complete();
	return 0;
}

static int too_long(struct timer *timer)
{
	(void)timer;
	return -ETIMEDOUT;
}

static void put_all(void)
{
	static char body[BODY];
	const struct spool_row record = { .key = "k", .body = body, .len = sizeof(body) };

	for (unsigned int i = 0; i < PUTS; i++) {
		uint64_t token = spool_client_put(f.client, &record, 1);

		f.lost += token == 0;
		if (token)
			f.expected[f.n++] = f.newest = token;
	}
	assert_int_equal(spool_client_stats(f.client)->refused, f.lost);
	assert_true(f.n > 0);
}

static void work(void)
{
	const struct spool_events events = { .kept = on_kept, .gone = on_gone };
	struct timer deadline = TIMER_INIT;
	int pair[2], r;

	memset(&f, 0, sizeof(f));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f.peer = pair[1];
	assert_int_equal(loop_new(&f.loop), 0);
	oom_begin();
	r = spool_client_new(f.loop, pair[0], &events, &f.client);
	if (r == 0) {
		put_all();
		spool_client_done(f.client, 7);
		r = spool_client_read(f.client, 0, 1, 1, on_row, on_end, NULL);
		f.ended = r < 0; /* it is not coming */
		assert_true(r == 0 || r == -ENOMEM);
		oom_pause(true);
		assert_int_equal(loop_add(f.loop, &f.source, f.peer, EPOLLIN, on_peer), 0);
		assert_int_equal(timer_init(&deadline, f.loop, too_long), 0);
		assert_int_equal(timer_set(&deadline, 45000000000ULL, 0), 0);
		assert_int_equal(loop_run(f.loop), 0);
		assert_int_equal(spool_client_stats(f.client)->queued_bytes, 0);
		oom_pause(false);
		spool_client_free(f.client);
	} else {
		assert_int_equal(r, -ENOMEM);
	}
	oom_end();
	timer_clear(&deadline);
	loop_remove(&f.source);
	close(f.peer);
	loop_free(f.loop);
}

static void test_full_socket(void **state)
{
	(void)state;
	oom_run("the spool's client", work, 50, OOM_ALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_full_socket) };

	return cmocka_run_group_tests(tests, oom_set_up, NULL);
}
