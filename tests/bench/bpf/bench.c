/*
 * What observing a packet costs, by candidate: ns per packet of a known and of
 * a new flow, and what is left of the workload. Interleaved rounds, medians.
 *
 *   bench BPFFS CANDIDATES.o POD_NETNS OUT_NETNS CGROUP [--json]
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include "flow/object.h"
#include "traffic.h"

#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47
#define ROUNDS 7
#define SECONDS 0.25
#define REPEAT 500000
#define NEW_FLOWS 20000
#define BATCH 1000 /* new flows between two drains: their records fit in the ring */
#define OWNER (1u << FLOW_OWNER_BITS | 1)

enum attach { ATTACH_NONE, ATTACH_TCX, ATTACH_CGROUP };

static struct candidate {
	const char *name;
	const char *program; /* in CANDIDATES.o; NULL: ours or none */
	enum attach attach;
	bool ours, conntrack;
	int fd, ingress_fd;
	double known, new, live_known, live_new;
	double rates[_WORKLOAD_MAX][ROUNDS];
} candidates[] = {
	{ .name = "nothing", .attach = ATTACH_NONE },
	{ .name = "tcx, empty", .program = "tcx_empty", .attach = ATTACH_TCX },
	{ .name = "tcx, slots (chosen)", .attach = ATTACH_TCX, .ours = true },
	{ .name = "tcx, LRU hash", .program = "tcx_lru", .attach = ATTACH_TCX },
	{ .name = "tcx, per-CPU LRU hash", .program = "tcx_percpu_lru", .attach = ATTACH_TCX },
	{ .name = "cgroup_skb, empty", .program = "cgroup_empty", .attach = ATTACH_CGROUP },
	{ .name = "cgroup_skb, LRU hash", .program = "cgroup_lru", .attach = ATTACH_CGROUP },
	{ .name = "cgroup_skb, socket storage",
	  .program = "cgroup_storage",
	  .attach = ATTACH_CGROUP },
	{ .name = "conntrack alone", .attach = ATTACH_NONE, .conntrack = true },
	{ .name = "tcx, conntrack NEW only",
	  .program = "tcx_conntrack",
	  .attach = ATTACH_TCX,
	  .conntrack = true },
	{ .name = "tcx, slots, with conntrack",
	  .attach = ATTACH_TCX,
	  .ours = true,
	  .conntrack = true },
};
#define N (sizeof(candidates) / sizeof(candidates[0]))

struct bench {
	struct object *object;
	struct bpf_object *others;
	struct ring_buffer *rings;
	int cgroup_fd, ifindex;
	char pod[64];
};

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *values, size_t n)
{
	double sorted[64];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return sorted[n / 2];
}

/* A UDP packet to 10.x.y.z in an Ethernet frame, which the kernel takes off for cgroup_skb. */
static size_t make_packet(uint8_t *packet, uint32_t flow)
{
	static const uint8_t ip[] = { 0x45, 0, 0,  92, 0, 1, 0,    0,    64, 17, 0, 0,  10, 77,
		                      0,    2, 10, 77, 0, 1, 0x30, 0x39, 0,  53, 0, 72, 0,  0 };
	size_t at = 14;

	memset(packet, 0, 128);
	packet[12] = 8;
	memcpy(packet + at, ip, sizeof(ip));
	packet[at + 17] = (uint8_t)(flow >> 16);
	packet[at + 18] = (uint8_t)(flow >> 8);
	packet[at + 19] = (uint8_t)flow;
	return at + 92;
}

static void test_run(int fd, const void *packet, size_t size, int repeat, double *ns)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = (uint32_t)size,
	            .repeat = repeat);

	if (bpf_prog_test_run_opts(fd, &opts) < 0)
		die("BPF_PROG_TEST_RUN");
	*ns = opts.duration;
}

static void measure_known(struct candidate *c)
{
	double values[ROUNDS];
	uint8_t packet[128];
	size_t size = make_packet(packet, 1);

	for (int i = 0; i < ROUNDS; i++)
		test_run(c->fd, packet, size, REPEAT, &values[i]);
	c->known = median(values, ROUNDS);
}

struct stats {
	uint64_t ns, runs;
};

static struct stats stats_of(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		die("program info");
	return (struct stats){ info.run_time_ns, info.run_cnt };
}

static double per_run(struct stats before, struct stats after)
{
	return after.runs == before.runs
	               ? 0
	               : (double)(after.ns - before.ns) / (double)(after.runs - before.runs);
}

static int ignore(void *user, void *data, size_t size)
{
	(void)user, (void)data, (void)size;
	return 0;
}

static void open_rings(struct bench *bench)
{
	bench->rings = ring_buffer__new(object_ring_fd(bench->object), ignore, NULL, NULL);
	if (!bench->rings ||
	    ring_buffer__add(bench->rings, bpf_object__find_map_fd_by_name(bench->others, "ring"),
	                     ignore, NULL) < 0)
		die("ring");
}

/* Every packet another flow; with the kernel's own statistics, as one run is too short to time from here. */
static void measure_new(const struct bench *bench, struct candidate *c, uint32_t first)
{
	struct stats before = stats_of(c->fd);
	uint8_t packet[128];
	double ignored;

	for (uint32_t i = 0; i < NEW_FLOWS; i++) {
		size_t size = make_packet(packet, first + i);

		test_run(c->fd, packet, size, 1, &ignored);
		if (i % BATCH == BATCH - 1)
			ring_buffer__consume(bench->rings);
	}
	c->new = per_run(before, stats_of(c->fd));
}

static void conntrack(const struct bench *bench, bool on)
{
	char command[256];

	snprintf(command, sizeof(command),
	         "ip netns exec %s iptables -%c OUTPUT -m conntrack --ctstate INVALID", bench->pod,
	         on ? 'A' : 'D');
	if (system(command) != 0)
		die("iptables");
}

struct attached {
	int fds[3];
};

static struct attached attach(const struct bench *bench, const struct candidate *c)
{
	struct attached attached = { { -1, -1, -1 } };

	if (c->conntrack)
		conntrack(bench, true);
	if (c->attach == ATTACH_TCX)
		attached.fds[0] = bpf_link_create(c->fd, bench->ifindex, ATTACH_TCX_EGRESS, NULL);
	if (c->attach == ATTACH_CGROUP)
		attached.fds[0] =
			bpf_link_create(c->fd, bench->cgroup_fd, BPF_CGROUP_INET_EGRESS, NULL);
	if (c->attach != ATTACH_NONE && attached.fds[0] < 0)
		die(c->name);
	if (c->ours) {
		attached.fds[1] =
			bpf_link_create(c->ingress_fd, bench->ifindex, ATTACH_TCX_INGRESS, NULL);
		if (attached.fds[1] < 0 ||
		    object_watch_failures(bench->object, &attached.fds[2]) < 0)
			die(c->name);
	}
	return attached;
}

static void detach(const struct bench *bench, const struct candidate *c, struct attached attached)
{
	for (int i = 0; i < 3; i++) {
		if (attached.fds[i] >= 0)
			close(attached.fds[i]);
	}
	if (c->conntrack)
		conntrack(bench, false);
}

static void measure_live(const struct bench *bench, struct candidate *c)
{
	struct attached attached;
	struct stats before;

	if (c->attach == ATTACH_NONE)
		return;
	attached = attach(bench, c);
	before = stats_of(c->fd);
	traffic_run(WORKLOAD_UDP, SECONDS);
	c->live_known = per_run(before, stats_of(c->fd));
	before = stats_of(c->fd);
	for (unsigned int i = 0; i < NEW_FLOWS; i += BATCH) {
		if (traffic_ports(10000 + i, BATCH) < 0)
			die("sending");
		ring_buffer__consume(bench->rings);
	}
	c->live_new = per_run(before, stats_of(c->fd));
	detach(bench, c, attached);
}

/* Each round in another order, so that no candidate always runs first. */
static void measure_effect(const struct bench *bench)
{
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t k = 0; k < N; k++) {
			struct candidate *c = &candidates[(k * 7 + (size_t)round * 3) % N];
			struct attached attached = attach(bench, c);

			for (int w = 0; w < _WORKLOAD_MAX; w++) {
				c->rates[w][round] = traffic_run((enum workload)w, SECONDS);
				if (c->rates[w][round] < 0)
					die("traffic");
			}
			detach(bench, c, attached);
		}
	}
}

static void load(struct bench *bench, const char *maps, const char *file)
{
	struct object_options options = { .maps_dir = maps };
	struct flow_loader_error error;

	if (object_new(&options, &error, &bench->object) < 0) {
		fprintf(stderr, "bench: %s\n", error.text);
		exit(1);
	}
	bench->others = bpf_object__open_file(file, NULL);
	if (!bench->others || bpf_object__load(bench->others) < 0)
		die(file);
	for (size_t i = 0; i < N; i++) {
		struct candidate *c = &candidates[i];

		c->fd = -1;
		if (c->program)
			c->fd = bpf_program__fd(
				bpf_object__find_program_by_name(bench->others, c->program));
		if (c->ours && (object_program(bench->object, PROGRAM_EGRESS, OWNER + (uint32_t)i,
		                               14, &c->fd) < 0 ||
		                object_program(bench->object, PROGRAM_INGRESS, OWNER + (uint32_t)i,
		                               14, &c->ingress_fd) < 0))
			die(c->name);
	}
}

static void measure_programs(const struct bench *bench)
{
	int stats_fd;

	for (size_t i = 0; i < N; i++) {
		if (candidates[i].attach != ATTACH_NONE)
			measure_known(&candidates[i]);
	}
	stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	for (size_t i = 0; i < N; i++) {
		if (candidates[i].attach == ATTACH_NONE)
			continue;
		measure_new(bench, &candidates[i], (uint32_t)(i + 1) * 100000);
		measure_live(bench, &candidates[i]);
	}
	close(stats_fd);
}

static double ratio(const struct candidate *c, int workload)
{
	return median(c->rates[workload], ROUNDS) / median(candidates[0].rates[workload], ROUNDS);
}

static void print_row(const struct candidate *c, bool json)
{
	double r[_WORKLOAD_MAX];

	for (int w = 0; w < _WORKLOAD_MAX; w++)
		r[w] = ratio(c, w);
	if (json)
		printf("{\"candidate\":\"%s\",\"knownNs\":%.0f,\"newNs\":%.0f,\"liveKnownNs\":%.0f,"
		       "\"liveNewNs\":%.0f,\"connections\":%.3f,\"udp\":%.3f,\"bulk\":%.3f}\n",
		       c->name, c->known, c->new, c->live_known, c->live_new, r[0], r[1], r[2]);
	else
		printf("%-30s %6.0f %6.0f %11.0f %9.0f %12.2f %6.2f %6.2f\n", c->name, c->known,
		       c->new, c->live_known, c->live_new, r[0], r[1], r[2]);
}

static void enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die(path);
}

int main(int argc, char **argv)
{
	bool json = argc > 6 && strcmp(argv[6], "--json") == 0;
	struct bench bench = { 0 };
	char path[128];
	int out_fd;

	if (argc < 6)
		return 2;
	snprintf(bench.pod, sizeof(bench.pod), "%s", argv[3]);
	snprintf(path, sizeof(path), "/run/netns/%s", argv[4]);
	out_fd = open(path, O_RDONLY | O_CLOEXEC);
	bench.cgroup_fd = open(argv[5], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (out_fd < 0 || bench.cgroup_fd < 0 || traffic_serve(out_fd) < 0)
		die("set-up");
	snprintf(path, sizeof(path), "/run/netns/%s", argv[3]);
	enter(path);
	bench.ifindex = (int)if_nametoindex("eth0");

	load(&bench, argv[1], argv[2]);
	open_rings(&bench);
	measure_programs(&bench);
	measure_effect(&bench);

	if (!json)
		printf("%-30s %6s %6s %11s %9s %12s %6s %6s\n", "ns per packet; ratios to nothing",
		       "known", "new", "known, live", "new, live", "connections", "udp", "bulk");
	for (size_t i = 0; i < N; i++)
		print_row(&candidates[i], json);
	ring_buffer__free(bench.rings);
	bpf_object__close(bench.others);
	object_free(bench.object);
	return 0;
}
