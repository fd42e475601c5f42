/*
 * A round of probes when memory runs out: over HTTP, DNS and UDP, from the
 * request to the verdict. A question that could not be asked for want of memory
 * is nobody's fault but ours, and proves nothing.
 */
#include "test.h"

#include <fcntl.h>
#include <sys/time.h>

#include "fake.h"
#include "io/http_client.h"
#include "io/udp_server.h"
#include "oom/oom.h"
#include "probe/prober.h"
#include "probe/stun.h"
#include "verdict/world.h"

#define TIMEOUT_NS (150 * NSEC_PER_MSEC)
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"

static char folder[64] = "/dev/shm/test_oom.XXXXXX", resolv_conf[96];

/* The other end, in a process of its own: its memory is not ours. */

static size_t answer_stun(void *user, const uint8_t *data, size_t len, const struct ip *peer,
                          uint16_t port, uint8_t out[static UDP_ANSWER_MAX])
{
	const struct ip seen = fake_ip(GOOD2);

	(void)user;
	(void)peer;
	return stun_answer(data, len, &seen, port, out);
}

/* One at a time: who was cut off for want of memory goes at once. */
static void serve_http(int listener, const char *reply)
{
	struct timeval patience = { .tv_usec = 200000 };
	char request[4096];

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		if (recv(fd, request, sizeof(request), 0) > 0)
			(void)!send(fd, reply, strlen(reply), MSG_NOSIGNAL);
		close(fd);
	}
}

static void serve_datagrams(int ready)
{
	static struct fake_dns dns = { .port = 53, .addresses = { "192.0.2.1" } };
	struct ip any = fake_ip("0.0.0.0");
	struct udp_server *server;
	struct loop *loop;

	assert_int_equal(loop_new(&loop), 0);
	fake_dns_start(&dns, loop, "192.0.2.1");
	assert_int_equal(udp_server_new(loop, &any, 3478, answer_stun, NULL, &server), 0);
	assert_int_equal(write(ready, "x", 1), 1);
	loop_run(loop);
}

static void start_servers(void)
{
	static const char *const replies[] = { OK_HEAD GOOD "\n", OK_HEAD "{\"ip\":\"" GOOD "\"}",
		                               OK_HEAD "a=b\nip=" GOOD "\n" };
	int ends[2];
	char c;

	assert_int_equal(pipe(ends), 0);
	for (uint16_t i = 0; i < 4; i++) {
		uint16_t port = (uint16_t)(8080 + i);
		int listener = i < 3 ? fake_bind(SOCK_STREAM, "192.0.2.1", &port) : -1;

		if (i < 3) {
			fcntl(listener, F_SETFL, 0);
			assert_int_equal(listen(listener, 64), 0);
		}
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			setenv("CMOCKA_TEST_ABORT", "1", 1);
			if (i < 3)
				serve_http(listener, replies[i]);
			serve_datagrams(ends[1]);
			_exit(1);
		}
		if (i < 3)
			close(listener);
	}
	assert_int_equal(read(ends[0], &c, 1), 1);
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
	start_servers();
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
