/*
 * What a probe costs against a bare libcurl loop, in one run: CPU per request
 * in one process and, as the agent has it, in a worker whose sockets come from
 * a broker (both counted); and the time of one round of 250 subjects × 3 echoes.
 *
 *   probe HTTP_URL HTTPS_URL CA_BUNDLE
 */
#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/loop.h"
#include "broker/client.h"
#include "broker/processes.h"
#include "probe/prober.h"

#define SUBJECTS 250
#define ECHOES 3
/* Turns of each in alternation, so that a busy machine slows both alike; the least counts. */
#define TURNS 7

static const char *bundle;

static void die(const char *what);

/* CPU of the broker, once there is one: the parent. */
static double broker_us(void)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *file;

	if (!broker_client_started())
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)getppid());
	file = fopen(path, "re");
	if (!file || fscanf(file, "%llu", &ns) != 1)
		die("the broker's CPU time cannot be read");
	fclose(file);
	return (double)ns / 1e3;
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return broker_us() + (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void die(const char *what)
{
	fprintf(stderr, "bench probe: %s\n", what);
	exit(1);
}

/* libcurl and nothing else */

static size_t swallow(char *data, size_t size, size_t n, void *user)
{
	(void)data;
	*(size_t *)user += size * n;
	return size * n;
}

static double bare_us(const char *url, unsigned int n, bool resume)
{
	CURL *easy = curl_easy_init();
	size_t bytes = 0;
	double begin;

	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, resume ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_CAINFO, bundle);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, swallow);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &bytes);
	if (curl_easy_perform(easy) != CURLE_OK) /* loads the CA store */
		die("the bare loop gets no answer");

	begin = cpu_us();
	for (unsigned int i = 0; i < n; i++)
		if (curl_easy_perform(easy) != CURLE_OK)
			die("the bare loop gets no answer");
	begin = cpu_us() - begin;
	curl_easy_cleanup(easy);
	return begin / n;
}

/* The prober */

struct bench {
	struct loop *loop;
	struct prober *prober;
	size_t done, wanted;
};

static void on_result(void *user, const struct probe_result *result)
{
	struct bench *bench = user;

	if (result->outcome != PROBE_ANSWERED) {
		fprintf(stderr, "bench probe: %s: %s\n", probe_outcome_name(result->outcome),
		        result->detail);
		exit(1);
	}
	if (++bench->done == bench->wanted)
		loop_stop(bench->loop);
}

static void start(struct bench *bench, uint32_t subject, uint16_t echo)
{
	struct prober_request request = { .subject = subject, .generation = 1, .echo = echo };

	if (prober_start(bench->prober, &request) < 0)
		die("a probe cannot be started");
}

static void run(struct bench *bench, size_t wanted)
{
	bench->done = 0;
	bench->wanted = wanted;
	if (loop_run(bench->loop) < 0)
		die("the loop failed");
}

static void open_bench(struct bench *bench, const char *url, bool resume, unsigned int in_flight)
{
	struct prober_echo echoes[ECHOES];
	struct prober_options options = {
		.echoes = echoes,
		.n_echoes = ECHOES,
		.timeout_ns = 10 * NSEC_PER_SEC,
		.in_flight = in_flight,
		.ca_bundle = bundle,
		.resume_tls = resume,
	};

	for (int i = 0; i < ECHOES; i++)
		echoes[i] = (struct prober_echo){ .name = "bench", .url = url };
	*bench = (struct bench){ 0 };
	if (loop_new(&bench->loop) < 0 ||
	    prober_new(bench->loop, &options, on_result, bench, NULL, NULL, &bench->prober) < 0)
		die("no prober");
	start(bench, 0, 0);
	run(bench, 1); /* loads the CA store */
}

static void close_bench(struct bench *bench)
{
	prober_free(bench->prober);
	loop_free(bench->loop);
}

/* One at a time, as the bare loop does it. */
static double prober_us(const char *url, unsigned int n, bool resume)
{
	struct bench bench;
	double begin;

	open_bench(&bench, url, resume, 1);
	begin = cpu_us();
	for (unsigned int i = 0; i < n; i++)
		start(&bench, 0, 0);
	run(&bench, n);
	begin = cpu_us() - begin;
	close_bench(&bench);
	return begin / n;
}

/* The same in two processes */

struct split {
	const char *url;
	unsigned int n;
	bool resume;
	double *us; /* shared */
};

static int in_worker(void *arg)
{
	static struct broker_setup setup = { .node = "bench",
		                             .netns_dir = "/run/netns",
		                             .cgroup_root = "/sys/fs/cgroup" };
	static const uint16_t ports[] = { 8080, 8443 };
	struct split *split = arg;

	for (size_t i = 0; i < 2; i++) {
		setup.destinations[i].port = ports[i];
		setup.destinations[i].stream = true;
		ip_parse("127.0.0.1", &setup.destinations[i].ip);
	}
	setup.n_destinations = 2;
	if (broker_client_setup(&setup) < 0 || broker_client_seal() < 0)
		die("the broker does not answer");
	*split->us = prober_us(split->url, split->n, split->resume);
	return 0;
}

static double split_us(struct split *split)
{
	const struct processes_options options = { .config_path = "/nowhere",
		                                   .once = true,
		                                   .lost_status = 1 };
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(processes_run(&options, in_worker, split));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die("the two processes failed");
	return *split->us;
}

static void compare(const char *name, const char *url, unsigned int n, bool resume)
{
	struct split split = { url, n, resume,
		               mmap(NULL, sizeof(double), PROT_READ | PROT_WRITE,
		                    MAP_SHARED | MAP_ANONYMOUS, -1, 0) };
	double bare = 1e9, ours = 1e9, both = 1e9;

	for (int i = 0; i < TURNS; i++) {
		double a = bare_us(url, n, resume), b = prober_us(url, n, resume),
		       c = split_us(&split);

		bare = a < bare ? a : bare;
		ours = b < ours ? b : ours;
		both = c < both ? c : both;
	}
	munmap(split.us, sizeof(double));
	printf("cpu per probe, %-14s %7.1f us, bare libcurl %7.1f us, ratio %.2f (budget 1.30)\n",
	       name, ours, bare, ours / bare);
	printf("cpu per probe, %-14s %7.1f us in two processes, %.3f of one\n", name, both,
	       both / ours);
}

static void round_trip(const char *name, const char *url, bool resume, double budget_s)
{
	uint64_t best = UINT64_MAX;
	struct mallinfo2 before;
	struct bench bench;
	double cpu = 1e9;

	open_bench(&bench, url, resume, 0);
	before = mallinfo2();
	for (int turn = 0; turn < TURNS; turn++) {
		uint64_t begin = clock_now().mono_ns, took;
		double spent = cpu_us();

		for (uint32_t i = 0; i < SUBJECTS; i++)
			for (uint16_t echo = 0; echo < ECHOES; echo++)
				start(&bench, i, echo);
		run(&bench, SUBJECTS * ECHOES);
		took = clock_now().mono_ns - begin;
		spent = cpu_us() - spent;
		best = took < best ? took : best;
		cpu = spent < cpu ? spent : cpu;
	}
	printf("round of 250 x 3, %-14s  %6.3f s (budget %.1f), %5.0f us of CPU per probe, "
	       "heap kept %zd kB\n",
	       name, (double)best / 1e9, budget_s, cpu / (SUBJECTS * ECHOES),
	       ((ssize_t)mallinfo2().uordblks - (ssize_t)before.uordblks) / 1024);
	close_bench(&bench);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("usage: probe HTTP_URL HTTPS_URL CA_BUNDLE");
	bundle = argv[3];
	curl_global_init(CURL_GLOBAL_DEFAULT);

	compare("HTTP", argv[1], 2000, false);
	compare("HTTPS fresh", argv[2], 300, false);
	compare("HTTPS resumed", argv[2], 500, true);
	round_trip("HTTP", argv[1], false, 0.2);
	round_trip("HTTPS fresh", argv[2], false, 1.0);
	round_trip("HTTPS resumed", argv[2], true, 1.0);
	return 0;
}
