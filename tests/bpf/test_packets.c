/*
 * Crafted packets through BPF_PROG_TEST_RUN: what is a flow, what is counted as
 * what, and that nothing a sender can write makes the program do anything but
 * pass the packet on.
 *
 *   test_packets DIRECTORY   with a BPF file system mounted on it
 */
#include "../unit/test.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flow/object.h"

#define OWNER (1u << FLOW_OWNER_BITS | 3)
#define PASS_ON ((uint32_t)-1)

static const char *directory;
static struct object *object;
static struct ring_buffer *ring;
static int egress_fd = -1, ingress_fd = -1;
static struct flow_opened last;
static unsigned int records;

static int on_record(void *user, void *data, size_t size)
{
	(void)user;
	assert_int_equal(size, sizeof(last));
	memcpy(&last, data, size);
	records++;
	return 0;
}

static void open_object(void)
{
	struct object_options options = { .maps_dir = directory };
	struct flow_loader_error error;

	assert_int_equal(object_new(&options, &error, &object), 0);
	assert_int_equal(object_program(object, PROGRAM_EGRESS, OWNER, 14, &egress_fd), 0);
	assert_int_equal(object_program(object, PROGRAM_INGRESS, OWNER, 14, &ingress_fd), 0);
	ring = ring_buffer__new(object_ring_fd(object), on_record, NULL, NULL);
	assert_non_null(ring);
}

/* The kernel itself refuses to run a packet that ends before its IP header does. */
static void run(int program, const void *packet, size_t size)
{
	uint8_t out[2048];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = (uint32_t)size,
	            .data_out = out, .data_size_out = sizeof(out));

	int r = bpf_prog_test_run_opts(program, &opts);

	if (r == -EINVAL && size < 14 + 40)
		return;
	assert_int_equal(r, 0);
	assert_int_equal(opts.retval, PASS_ON);
	assert_int_equal(opts.data_size_out, size);
	assert_memory_equal(out, packet, size);
}

enum outcome { FLOW, UNPARSED, FRAGMENT, CONTROL, RESET, NOTHING };

static const struct {
	enum flow_count count;
} counted_as[] = {
	[UNPARSED] = { FLOW_COUNT_UNPARSED },
	[FRAGMENT] = { FLOW_COUNT_FRAGMENT },
	[CONTROL] = { FLOW_COUNT_CONTROL },
	[RESET] = { FLOW_COUNT_RESET },
};

static enum outcome outcome_of(const void *packet, size_t size)
{
	uint64_t before[_FLOW_COUNT_MAX], after[_FLOW_COUNT_MAX];

	records = 0;
	assert_int_equal(object_counts(object, before), 0);
	run(egress_fd, packet, size);
	assert_int_equal(object_counts(object, after), 0);
	ring_buffer__consume(ring);
	assert_true(records <= 1);
	if (records)
		return FLOW;
	for (int i = UNPARSED; i < NOTHING; i++) {
		if (after[counted_as[i].count] != before[counted_as[i].count])
			return (enum outcome)i;
	}
	return NOTHING;
}

#define MACS "\2\0\0\0\0\1\2\0\0\0\0\2"
#define V4 MACS "\x08\x00"
#define V6 MACS "\x86\xdd"
/* From 10.1.0.2. */
#define IP4(first, fragment, protocol, dst)                     \
	V4 first "\0\0\x40\0\1" fragment "\x40" protocol "\0\0" \
		 "\x0a\1\0\2" dst
#define TO "\xcb\0\x71\x09" /* 203.0.113.9 */
#define IP6(next, dst) V6 "\x60\0\0\0\0\x20" next "\x40" SRC6 dst
#define SRC6 "\xfd\1\0\0\0\0\0\0\0\0\0\0\0\0\0\2"
#define TO6 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09"
#define TCP(sport, dport, flags) sport dport "\0\0\0\1\0\0\0\0\x50" flags "\x10\0\0\0\0\0"
#define UDP(sport, dport) sport dport "\0\x10\0\0"
#define SYN "\x02"
#define SYN_ACK "\x12"
#define ACK "\x10"
#define RST "\x14"
#define P443 "\1\xbb"
#define P53 "\0\x35"

#define PACKET(p) p, sizeof(p) - 1

static const struct row {
	const char *what;
	const char *packet;
	size_t size;
	enum outcome outcome;
	uint16_t port;
	uint8_t protocol, opened_by;
} rows[] = {
	{ "tcp syn", PACKET(IP4("\x45", "\0\0", "\6", TO) TCP("\x30\1", P443, SYN)), FLOW, 443,
	  IPPROTO_TCP, FLOW_BY_POD },
	{ "tcp syn+ack", PACKET(IP4("\x45", "\0\0", "\6", TO) TCP("\x30\2", P443, SYN_ACK)), FLOW,
	  0x3002, IPPROTO_TCP, FLOW_BY_REMOTE },
	{ "tcp ack of nobody's", PACKET(IP4("\x45", "\0\0", "\6", TO) TCP("\x30\3", "\1\xbc", ACK)),
	  FLOW, 444, IPPROTO_TCP, FLOW_BY_POD },
	{ "tcp rst", PACKET(IP4("\x45", "\0\0", "\6", TO) TCP("\x30\4", "\1\xbd", RST)), RESET, 0,
	  0, 0 },
	{ "tcp with ip options",
	  PACKET(IP4("\x46", "\0\0", "\6", TO) "\1\1\1\1" TCP("\x30\5", "\1\xbe", SYN)), FLOW, 446,
	  IPPROTO_TCP, FLOW_BY_POD },
	{ "udp", PACKET(IP4("\x45", "\0\0", "\x11", TO) UDP("\x30\6", P53)), FLOW, 53, IPPROTO_UDP,
	  FLOW_BY_POD },
	{ "sctp", PACKET(IP4("\x45", "\0\0", "\x84", TO) UDP("\x30\7", P53)), FLOW, 53,
	  IPPROTO_SCTP, FLOW_BY_POD },
	{ "icmp echo request", PACKET(IP4("\x45", "\0\0", "\1", TO) "\x08\0\0\0\0\0\0\0"), FLOW, 0,
	  IPPROTO_ICMP, FLOW_BY_POD },
	{ "icmp echo reply", PACKET(IP4("\x45", "\0\0", "\1", TO) "\0\0\0\0\0\0\0\0"), FLOW, 0,
	  IPPROTO_ICMP, FLOW_BY_REMOTE },
	{ "icmp unreachable",
	  PACKET(IP4("\x45", "\0\0", "\1", "\xcb\0\x71\x0a") "\3\3\0\0\0\0\0\0"), FLOW, 0,
	  IPPROTO_ICMP, FLOW_BY_REMOTE },
	{ "gre", PACKET(IP4("\x45", "\0\0", "\x2f", TO) "\0\0\0\0"), FLOW, 0, IPPROTO_GRE,
	  FLOW_BY_POD },
	{ "igmp", PACKET(IP4("\x45", "\0\0", "\2", TO) "\0\0\0\0\0\0\0\0"), CONTROL, 0, 0, 0 },
	{ "mdns", PACKET(IP4("\x45", "\0\0", "\x11", "\xe0\0\0\xfb") UDP("\x14\xe9", "\x14\xe9")),
	  CONTROL, 0, 0, 0 },
	{ "dhcp", PACKET(IP4("\x45", "\0\0", "\x11", "\xff\xff\xff\xff") UDP("\0\x44", "\0\x43")),
	  CONTROL, 0, 0, 0 },
	{ "first fragment", PACKET(IP4("\x45", "\x20\0", "\x11", TO) UDP("\x30\6", "\0\x36")), FLOW,
	  54, IPPROTO_UDP, FLOW_BY_POD },
	{ "later fragment", PACKET(IP4("\x45", "\0\1", "\x11", TO) UDP("\x30\6", "\0\x37")),
	  FRAGMENT, 0, 0, 0 },
	{ "header length below five",
	  PACKET(IP4("\x44", "\0\0", "\6", TO) TCP("\x30\1", P443, SYN)), UNPARSED, 0, 0, 0 },
	{ "header longer than the packet", PACKET(IP4("\x4f", "\0\0", "\6", TO) "12345678"),
	  UNPARSED, 0, 0, 0 },
	{ "version 6 in a v4 frame", PACKET(IP4("\x65", "\0\0", "\6", TO) TCP("\x30\1", P443, SYN)),
	  UNPARSED, 0, 0, 0 },
	{ "tcp cut in the ports", PACKET(IP4("\x45", "\0\0", "\6", TO) "\x30\1"), UNPARSED, 0, 0,
	  0 },
	{ "icmp without a type", PACKET(IP4("\x45", "\0\0", "\1", TO)), UNPARSED, 0, 0, 0 },
	{ "arp", PACKET(MACS "\x08\x06\0\1\x08\0\6\4\0\1aaaaaabbbbccccccdddd"), NOTHING, 0, 0, 0 },
	{ "v6 tcp syn", PACKET(IP6("\6", TO6) TCP("\x30\1", P443, SYN)), FLOW, 443, IPPROTO_TCP,
	  FLOW_BY_POD },
	{ "v6 udp behind hop-by-hop and destination options",
	  PACKET(IP6("\0", TO6) "\x3c\0\1\4\0\0\0\0"
	                        "\x11\1aaaaaaaaaaaaaa" UDP("\x30\1", P53)),
	  FLOW, 53, IPPROTO_UDP, FLOW_BY_POD },
	{ "v6 tcp behind an authentication header",
	  PACKET(IP6("\x33", TO6) "\6\4aaaaaaaaaaaaaaaaaaaaaa" TCP("\x30\1", "\1\xbc", SYN)), FLOW,
	  444, IPPROTO_TCP, FLOW_BY_POD },
	{ "v6 first fragment",
	  PACKET(IP6("\x2c", TO6) "\x11\0\0\1\0\0\0\1" UDP("\x30\1", "\0\x36")), FLOW, 54,
	  IPPROTO_UDP, FLOW_BY_POD },
	{ "v6 later fragment",
	  PACKET(IP6("\x2c", TO6) "\x11\0\0\x08\0\0\0\1" UDP("\x30\1", "\0\x37")), FRAGMENT, 0, 0,
	  0 },
	{ "v6 six extension headers",
	  PACKET(IP6("\x3c", TO6) "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x11\0aaaaaa" UDP("\x30\1", "\0\x38")),
	  FLOW, 56, IPPROTO_UDP, FLOW_BY_POD },
	{ "v6 too many extension headers",
	  PACKET(IP6("\x3c", TO6) "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x3c\0aaaaaa"
	                          "\x11\0aaaaaa" UDP("\x30\1", "\0\x39")),
	  UNPARSED, 0, 0, 0 },
	{ "v6 extension header beyond the packet",
	  PACKET(IP6("\x3c", TO6) "\x11\xff"
	                          "aaaaaa"),
	  UNPARSED, 0, 0, 0 },
	{ "v6 neighbour solicitation", PACKET(IP6("\x3a", TO6) "\x87\0\0\0\0\0\0\0"), CONTROL, 0, 0,
	  0 },
	{ "v6 echo request", PACKET(IP6("\x3a", TO6) "\x80\0\0\0\0\0\0\0"), FLOW, 0, IPPROTO_ICMPV6,
	  FLOW_BY_POD },
	{ "v6 link-local",
	  PACKET(IP6("\x11", "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1") UDP("\x30\1", P53)), CONTROL,
	  0, 0, 0 },
	{ "v6 all routers",
	  PACKET(IP6("\x11", "\xff\2\0\0\0\0\0\0\0\0\0\0\0\0\0\2") UDP("\x30\1", P53)), CONTROL, 0,
	  0, 0 },
	{ "v6 site multicast",
	  PACKET(IP6("\x11", "\xff\5\0\0\0\0\0\0\0\0\0\0\0\0\0\2") UDP("\x30\1", P53)), FLOW, 53,
	  IPPROTO_UDP, FLOW_BY_POD },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void every_kind_of_packet(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		const struct row *row = &rows[i];
		enum outcome outcome = outcome_of(row->packet, row->size);

		if (outcome != row->outcome)
			fail_msg("%s: outcome %d", row->what, outcome);
		if (outcome != FLOW)
			continue;
		if (last.now.id.port != row->port || last.now.id.protocol != row->protocol ||
		    last.now.id.opened_by != row->opened_by)
			fail_msg("%s: port %u protocol %u opened by %u", row->what,
			         last.now.id.port, last.now.id.protocol, last.now.id.opened_by);
		assert_int_equal(last.now.id.owner, OWNER);
		assert_int_equal(last.now.packets, 1);
		assert_int_equal(last.now.bytes, row->size - 14);
		/* Known now: the same packet again is no news. */
		assert_int_equal(outcome_of(row->packet, row->size), NOTHING);
	}
}

static void every_truncation_passes(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ROWS; i++) {
		for (size_t size = 14; size < rows[i].size; size++)
			outcome_of(rows[i].packet, size);
	}
}

static uint64_t random_state = 88172645463325252ULL;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

/* Good packets with bytes changed, and plain noise. */
static void noise_passes(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 20000; round++) {
		const struct row *row = &rows[random_u32() % N_ROWS];
		uint8_t packet[256];
		size_t size = row->size;

		memcpy(packet, row->packet, size);
		for (unsigned int n = random_u32() % 6; n > 0; n--)
			packet[12 + random_u32() % (size - 12)] = (uint8_t)random_u32();
		if (round % 8 == 0) {
			size = 14 + random_u32() % 200;
			for (size_t i = 14; i < size; i++)
				packet[i] = (uint8_t)random_u32();
		}
		outcome_of(packet, size);
		run(ingress_fd, packet, size);
	}
}

#define QUERY_IN V4 "\x45\0\0\x40\0\1\0\0\x40\x11\0\0" TO "\x0a\1\0\2" UDP("\x40\1", "\x13\x88")
#define ANSWER_OUT IP4("\x45", "\0\0", "\x11", TO) UDP("\x13\x88", "\x40\1")
#define QUERY_OUT IP4("\x45", "\0\0", "\x11", TO) UDP("\x13\x89", "\x40\2")
#define ANSWER_IN V4 "\x45\0\0\x40\0\1\0\0\x40\x11\0\0" TO "\x0a\1\0\2" UDP("\x40\2", "\x13\x89")

static void who_sent_first_is_remembered(void **state)
{
	(void)state;
	run(ingress_fd, QUERY_IN, sizeof(QUERY_IN) - 1);
	assert_int_equal(outcome_of(ANSWER_OUT, sizeof(ANSWER_OUT) - 1), FLOW);
	assert_int_equal(last.now.id.opened_by, FLOW_BY_REMOTE);
	assert_int_equal(last.now.id.port, 5000);

	assert_int_equal(outcome_of(QUERY_OUT, sizeof(QUERY_OUT) - 1), FLOW);
	assert_int_equal(last.now.id.opened_by, FLOW_BY_POD);
	run(ingress_fd, ANSWER_IN, sizeof(ANSWER_IN) - 1);
	assert_int_equal(outcome_of(QUERY_OUT, sizeof(QUERY_OUT) - 1), NOTHING);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_packet),
		cmocka_unit_test(every_truncation_passes),
		cmocka_unit_test(who_sent_first_is_remembered),
		cmocka_unit_test(noise_passes),
	};
	int failed;

	if (argc != 2)
		return 2;
	directory = argv[1];
	open_object();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	ring_buffer__free(ring);
	close(egress_fd), close(ingress_fd);
	object_free(object);
	return failed;
}
