/*
 * A round of probes when memory runs out: over HTTP, DNS and UDP, from the
 * request to the verdict. A question that could not be asked for want of memory
 * is nobody's fault but ours, and proves nothing.
 */
#include "test.h"

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "fake.h"
#include "io/http_client.h"
#include "io/udp_server.h"
#include "oom/oom.h"
#include "probe/prober.h"
#include "probe/stun.h"
#include "verdict/world.h"

#define TIMEOUT_NS (150 * NSEC_PER_MSEC)
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"

static char folder[64] = "/dev/shm/eva-oom.XXXXXX", resolv_conf[96];

/*
 * Time stands still: it goes on to the next timer when nothing else is left to be done. So nobody waits for what
 * does not come, and nothing comes too late, however loaded the machine is.
 */

#define DESCRIPTORS_MAX 1024

static struct {
	uint64_t now_ns;
	struct {
		uint64_t due_ns, period_ns;
	} timer[DESCRIPTORS_MAX]; /* by descriptor; 0: not set, or closed since */
} still = { .now_ns = 1000 * NSEC_PER_SEC };

int clock_gettime(clockid_t clock, struct timespec *out)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_RAW)
		return (int)syscall(SYS_clock_gettime, clock, out);
	still.now_ns += 10 * NSEC_PER_USEC; /* who looks at it all the time is not held for ever */
	*out = (struct timespec){ (time_t)(still.now_ns / NSEC_PER_SEC),
		                  (long)(still.now_ns % NSEC_PER_SEC) };
	return 0;
}

static int expire(int fd)
{
	static const struct itimerspec soon = { .it_value.tv_nsec = 1 };

	return (int)syscall(SYS_timerfd_settime, fd, 0, &soon, NULL);
}

int timerfd_create(int clock, int flags)
{
	int fd = (int)syscall(SYS_timerfd_create, clock, flags);

	assert_true(fd < DESCRIPTORS_MAX);
	if (fd >= 0)
		still.timer[fd].due_ns = 0;
	return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	static const struct itimerspec never;
	uint64_t delay_ns =
		(uint64_t) new->it_value.tv_sec *NSEC_PER_SEC + (uint64_t) new->it_value.tv_nsec;

	still.timer[fd].period_ns = (uint64_t) new->it_interval.tv_sec *NSEC_PER_SEC +
	                            (uint64_t) new->it_interval.tv_nsec;
	still.timer[fd].due_ns = delay_ns > 1 ? still.now_ns + delay_ns : 0;
	if (delay_ns == 1)
		return expire(fd);
	return (int)syscall(SYS_timerfd_settime, fd, flags, &never, old);
}

static int next_timer(void)
{
	int next = -1;

	for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
		if (still.timer[fd].due_ns &&
		    (next < 0 || still.timer[fd].due_ns < still.timer[next].due_ns))
			next = fd;
	return next;
}

/* Goes on to what is due next; false: nothing is. */
static bool go_on(void)
{
	for (int fd; (fd = next_timer()) >= 0;) {
		uint64_t due_ns = still.timer[fd].due_ns, period_ns = still.timer[fd].period_ns;

		still.timer[fd].due_ns = period_ns ? due_ns + period_ns : 0;
		if (expire(fd) == 0) {
			if (due_ns > still.now_ns)
				still.now_ns = due_ns;
			return true;
		}
		still.timer[fd].due_ns = 0; /* it is no timer any more */
	}
	return false;
}

/* How long nothing has to happen until nothing is left to be done: with all its memory an answer does come. */
static int quiet_ms(int fd)
{
	if (fd < 0)
		return -1;
	if (still.timer[fd].due_ns < still.now_ns + TIMEOUT_NS / 5)
		return 1; /* a library's own pause */
	return oom.armed && oom.fired ? 20 : 10000;
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	int n = epoll_pwait(epoll, events, max, 0, NULL);

	if (n != 0 || timeout == 0)
		return n;
	n = epoll_pwait(epoll, events, max, quiet_ms(next_timer()), NULL);
	return n != 0 || !go_on() ? n : epoll_pwait(epoll, events, max, timeout, NULL);
}

/* The other end: on our loop, without memory of its own. */

#define SERVERS 3
#define CONNECTIONS_MAX 16

static struct server {
	struct loop_source listener, connections[CONNECTIONS_MAX];
	int fd;
	const char *reply;
} servers[SERVERS] = { { .reply = OK_HEAD GOOD "\n" },
	               { .reply = OK_HEAD "{\"ip\":\"" GOOD "\"}" },
	               { .reply = OK_HEAD "a=b\nip=" GOOD "\n" } };
static struct fake_dns dns;
static struct loop_source stun;

static void hang_up(struct loop_source *connection)
{
	int fd = connection->fd;

	if (!connection->loop)
		return;
	loop_remove(connection);
	close(fd);
}

static const char *reply_of(const struct loop_source *connection)
{
	for (size_t i = 0; i < SERVERS; i++)
		if (connection >= servers[i].connections &&
		    connection < servers[i].connections + CONNECTIONS_MAX)
			return servers[i].reply;
	return NULL;
}

static int on_request(struct loop_source *connection, uint32_t events)
{
	const char *reply = reply_of(connection);
	char request[4096];

	(void)events;
	if (recv(connection->fd, request, sizeof(request), 0) > 0)
		(void)!send(connection->fd, reply, strlen(reply), MSG_NOSIGNAL);
	hang_up(connection);
	return 0;
}

static int on_connection(struct loop_source *listener, uint32_t events)
{
	struct server *server = container_of(listener, struct server, listener);
	int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0) /* who came has left */
		return 0;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (!server->connections[i].loop)
			return loop_add(listener->loop, &server->connections[i], fd, EPOLLIN,
			                on_request);
	fail_msg("more than %d connections", CONNECTIONS_MAX);
	return -EMFILE;
}

static int on_stun(struct loop_source *source, uint32_t events)
{
	const struct ip seen = fake_ip(GOOD2);
	uint8_t question[UDP_ANSWER_MAX], answer[UDP_ANSWER_MAX];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(source->fd, question, sizeof(question), 0, (struct sockaddr *)&from,
	                     &from_len);
	size_t len;

	(void)events;
	if (n <= 0)
		return 0;
	len = stun_answer(question, (size_t)n, &seen, ntohs(from.sin_port), answer);
	(void)!sendto(source->fd, answer, len, 0, (struct sockaddr *)&from, from_len);
	return 0;
}

static void start_servers(struct loop *loop)
{
	uint16_t port;

	for (uint16_t i = 0; i < SERVERS; i++) {
		port = (uint16_t)(8080 + i);
		servers[i].fd = fake_bind(SOCK_STREAM, "192.0.2.1", &port);
		assert_int_equal(listen(servers[i].fd, 64), 0);
		assert_int_equal(loop_add(loop, &servers[i].listener, servers[i].fd, EPOLLIN,
		                          on_connection),
		                 0);
	}
	port = 3478;
	assert_int_equal(loop_add(loop, &stun, fake_bind(SOCK_DGRAM, "192.0.2.1", &port), EPOLLIN,
	                          on_stun),
	                 0);
	dns = (struct fake_dns){ .port = 53, .addresses = { "192.0.2.1" } };
	fake_dns_start(&dns, loop, "192.0.2.1");
}

static void stop_servers(void)
{
	for (size_t i = 0; i < SERVERS; i++) {
		for (size_t k = 0; k < CONNECTIONS_MAX; k++)
			hang_up(&servers[i].connections[k]);
		hang_up(&servers[i].listener);
	}
	hang_up(&stun);
	fake_dns_stop(&dns);
}

/* Our end */

struct round {
	struct loop *loop;
	struct prober *prober;
	struct timer deadline;
	struct probe_result results[WORLD_ECHOES];
	size_t n, wanted;
};

static void on_result(void *user, const struct probe_result *result)
{
	struct round *round = user;

	assert_true(round->n < WORLD_ECHOES);
	round->results[round->n++] = *result;
	if (round->n == round->wanted)
		loop_stop(round->loop);
}

static int open_round(struct round *round)
{
	static const struct prober_echo echoes[] = {
		{ .name = "text", .url = "http://192.0.2.1:8080/ip" },
		{ .name = "json",
		  .url = "http://echo.example.net:8081/?format=json",
		  .json = "ip" },
		{ .name = "key", .url = "http://192.0.2.1:8082/", .key = "ip" },
		{ .name = "udp", .stun = "echo.example.net:3478" },
	};
	const struct prober_options options = { .echoes = echoes,
		                                .n_echoes = WORLD_ECHOES,
		                                .timeout_ns = TIMEOUT_NS,
		                                .resolv_conf = resolv_conf,
		                                .ca_bundle = "/nonexistent" };

	return prober_new(round->loop, &options, on_result, round, NULL, NULL, &round->prober);
}

/* All that is asked brings one result; what could not be asked is skipped, as the agent does. */
static void ask_all(struct round *round, const struct world *w)
{
	round->n = 0;
	round->wanted = WORLD_ECHOES;
	for (uint16_t i = 0; i < WORLD_ECHOES; i++) {
		struct prober_request request = { .subject = w->subject.number,
			                          .generation = w->subject.generation,
			                          .echo = i };
		int r = prober_start(round->prober, &request);

		if (r == 0)
			continue;
		assert_int_equal(r, -ENOMEM);
		probe_result_skipped(round->prober, &request, strerror(-r),
		                     &round->results[round->n++]);
	}
	if (round->n < round->wanted)
		assert_int_equal(loop_run(round->loop), 0);
	assert_int_equal(round->n, WORLD_ECHOES);
	assert_int_equal(prober_pending(round->prober), 0);
}

static size_t check_results(const struct round *round, bool fired)
{
	struct ip good = fake_ip(GOOD), good2 = fake_ip(GOOD2);
	size_t answered = 0;

	for (size_t i = 0; i < round->n; i++) {
		const struct probe_result *result = &round->results[i];

		switch (result->outcome) {
		case PROBE_ANSWERED:
			answered++;
			assert_memory_equal(&result->observed, result->udp ? &good2 : &good,
			                    sizeof(good));
			break;
		case PROBE_SKIPPED:
		case PROBE_LOCAL_ERROR: /* what it is */
			assert_true(fired);
			break;
		default:
			fail_msg("echo %u: %s in %s: %s", result->echo,
			         probe_outcome_name(result->outcome),
			         probe_phase_name(result->phase), result->detail);
		}
	}
	return answered;
}

/* What the answers are worth, with memory for the judge and without. */
static void judge_results(struct round *round, size_t answered)
{
	struct world world;
	struct moment now = at(10);
	enum subject_state state;
	size_t over_udp = 0;

	world_init(&world);
	for (size_t i = 0; i < round->n; i++) {
		over_udp += round->results[i].udp && round->results[i].outcome == PROBE_ANSWERED;
		round->results[i].started = at(9);
		round->results[i].finished = at(9.5);
	}
	judge_round(&world.record, &world.input, round->results, round->n, &now);
	state = world_judge(&world, 10);
	/* Each protocol has a quorum of its own, of what it has: two of three, one of one. */
	assert_true(state != STATE_VERIFIED || over_udp > 0 ||
	            answered - over_udp >= world.settings.quorum);
	assert_true(state == STATE_VERIFIED || answered < WORLD_ECHOES);
	assert_int_equal(world.n_findings, 0);
	assert_int_equal(world.n_changes, 0);
	world_clear(&world);
}

static void probe_round(void)
{
	struct round round = { 0 };
	struct world world;
	size_t answered;
	int r;

	world_init(&world);
	assert_int_equal(loop_new(&round.loop), 0);
	start_servers(round.loop);
	oom_begin();
	r = open_round(&round);
	if (r == 0)
		ask_all(&round, &world);
	oom_end();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(open_round(&round), 0);
	} else {
		answered = check_results(&round, oom.fired);
		judge_results(&round, answered);
	}
	ask_all(&round, &world);
	assert_int_equal(check_results(&round, false), WORLD_ECHOES);
	judge_results(&round, WORLD_ECHOES);
	assert_null(prober_free(round.prober));
	stop_servers();
	assert_null(loop_free(round.loop));
	world_clear(&world);
}

/* Of the libraries' own beginnings, most allocations are OpenSSL's. */
static void make_prober(void)
{
	struct round round = { 0 };
	int r;

	assert_int_equal(loop_new(&round.loop), 0);
	oom_begin();
	r = open_round(&round);
	oom_end();
	assert_true(r == 0 || r == -ENOMEM);
	if (r < 0)
		assert_int_equal(open_round(&round), 0);
	assert_null(prober_free(round.prober));
	assert_null(loop_free(round.loop));
}

static void prober_made(void **state)
{
	(void)state;
	oom_run("prober, made", make_prober, 15, OOM_FIRST);
}

static void round_of_probes(void **state)
{
	(void)state;
	/* libcurl 7.88.1 keeps a socket whose table of transfers found no memory, and divides by its size. */
	if (http_client_version()[0] == '7')
		oom.divides_by_zero = http_client_version();
	oom_run("round of probes", probe_round, 200, OOM_ALL);
}

static int set_up(void **state)
{
	assert_int_equal(oom_set_up(state), 0);
	assert_non_null(mkdtemp(folder));
	snprintf(resolv_conf, sizeof(resolv_conf), "%s/resolv.conf", folder);
	fake_write(resolv_conf, "nameserver 192.0.2.1\n");
	fake_namespace(state);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(resolv_conf);
	rmdir(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prober_made),
		cmocka_unit_test(round_of_probes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
