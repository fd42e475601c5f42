/*
 * The ring's reader on memory laid out as the kernel lays it out, written by
 * the test, and on a ring of the kernel.
 */
#include "test.h"

#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "flow/ring.h"

#define RING_BYTES 4096u
#define BUSY BPF_RINGBUF_BUSY_BIT
#define DISCARD BPF_RINGBUF_DISCARD_BIT
#define TAKEN_MAX 512

/* What came out: each record's first bytes and its size. */
struct taken {
	size_t n;
	unsigned int room; /* stop after so many; 0: never */
	uint32_t values[TAKEN_MAX];
	size_t sizes[TAKEN_MAX];
};

static bool take(void *user, const void *data, size_t size)
{
	struct taken *taken = user;

	assert_true(taken->n < TAKEN_MAX && size <= RING_BYTES - RING_HEADER);
	taken->values[taken->n] = 0;
	memcpy(&taken->values[taken->n], data, size < 4 ? size : 4);
	taken->sizes[taken->n++] = size;
	return taken->n != taken->room;
}

struct fake {
	int fd;
	unsigned long *consumer, *producer;
	uint8_t *data;
	size_t page;
	struct taken taken;
	struct ring *ring;
};

/* The kernel has the data's pages in two places; a file has them once in each, so put() writes both. */
static int set_up(void **state)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	uint8_t *memory;

	fake->page = (size_t)sysconf(_SC_PAGESIZE);
	fake->fd = memfd_create("ring", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fake->fd, (off_t)(2 * fake->page + 2 * RING_BYTES)), 0);
	memory = mmap(NULL, 2 * fake->page + 2 * RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
	              fake->fd, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	fake->consumer = (unsigned long *)memory;
	fake->producer = (unsigned long *)(memory + fake->page);
	fake->data = memory + 2 * fake->page;
	assert_int_equal(ring_new(fake->fd, RING_BYTES, take, &fake->taken, &fake->ring), 0);
	*state = fake;
	return 0;
}

static int tear_down(void **state)
{
	struct fake *fake = *state;

	assert_null(ring_free(fake->ring));
	munmap(fake->consumer, 2 * fake->page + 2 * RING_BYTES);
	close(fake->fd);
	free(fake);
	return 0;
}

static void poke(struct fake *fake, unsigned long position, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t at = (position + i) % RING_BYTES;

		fake->data[at] = fake->data[at + RING_BYTES] = ((const uint8_t *)bytes)[i];
	}
}

static void put_header(struct fake *fake, unsigned long position, uint32_t len)
{
	uint32_t header[2] = { len, 0xffffffff };

	poke(fake, position, header, sizeof(header));
}

/* A record as bpf_ringbuf_reserve() and bpf_ringbuf_submit() leave it. Its position. */
static unsigned long put(struct fake *fake, uint32_t value, uint32_t size, uint32_t bits)
{
	unsigned long at = *fake->producer;

	put_header(fake, at, size | bits);
	poke(fake, at + RING_HEADER, &value, size < 4 ? size : 4);
	*fake->producer += RING_HEADER + (size + 7) / 8 * 8;
	return at;
}

static void start_at(struct fake *fake, unsigned long position)
{
	*fake->consumer = *fake->producer = position;
}

static void sizes_are_refused(void **state)
{
	static const uint32_t bad[] = { 0, 1, 2048, RING_BYTES + 8, 3 * RING_BYTES };
	struct fake *fake = *state;
	struct ring *ring = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ring_new(fake->fd, bad[i], take, NULL, &ring), -EINVAL);
	assert_int_equal(ring_new(-1, RING_BYTES, take, NULL, &ring), -EBADF);
	assert_null(ring);
}

static void records_come_in_order_and_once(void **state)
{
	struct fake *fake = *state;

	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 0);
	for (uint32_t i = 0; i < 20; i++)
		put(fake, i, 4 + i, 0);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 20);
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(fake->taken.values[i], i);
		assert_int_equal(fake->taken.sizes[i], 4 + i);
	}
	assert_int_equal(*fake->consumer, *fake->producer);
}

/* Every alignment of a record to the ring's end, and every position's wrap to zero. */
static void records_cross_the_end(void **state)
{
	struct fake *fake = *state;

	for (unsigned long start = RING_BYTES - 160; start <= RING_BYTES; start += 8) {
		for (int high = 0; high < 2; high++) {
			start_at(fake, high ? start - 2 * RING_BYTES : start);
			fake->taken.n = 0;
			for (uint32_t i = 0; i < 3; i++)
				put(fake, 1000 + i, 136, 0);
			assert_int_equal(ring_drain(fake->ring), 0);
			assert_int_equal(fake->taken.n, 3);
			assert_int_equal(fake->taken.values[2], 1002);
			assert_int_equal(*fake->consumer, *fake->producer);
		}
	}
	assert_int_equal(ring_broken(fake->ring), 0);
}

static void a_full_ring_is_read(void **state)
{
	struct fake *fake = *state;

	start_at(fake, 24);
	put(fake, 7, RING_BYTES - RING_HEADER, 0);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.sizes[0], RING_BYTES - RING_HEADER);
	for (uint32_t i = 0; i < RING_BYTES / 16; i++)
		put(fake, i, 8, 0);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 1 + RING_BYTES / 16);
}

static void empty_records_are_records(void **state)
{
	struct fake *fake = *state;

	put(fake, 0, 0, 0);
	put(fake, 5, 4, 0);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 2);
	assert_int_equal(fake->taken.sizes[0], 0);
	assert_int_equal(fake->taken.values[1], 5);
}

static void discarded_records_are_passed_over(void **state)
{
	struct fake *fake = *state;

	put(fake, 1, 40, DISCARD);
	put(fake, 2, 8, 0);
	put(fake, 3, 16, DISCARD);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 1);
	assert_int_equal(fake->taken.values[0], 2);
	assert_int_equal(*fake->consumer, *fake->producer);
}

static void a_busy_record_is_waited_for(void **state)
{
	struct fake *fake = *state;
	unsigned long busy;

	put(fake, 1, 8, 0);
	busy = put(fake, 2, 8, BUSY);
	put(fake, 3, 8, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ring_drain(fake->ring), 0);
		assert_int_equal(fake->taken.n, 1);
		assert_int_equal(*fake->consumer, busy);
	}
	put_header(fake, busy, 8);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 3);
	assert_int_equal(fake->taken.values[1], 2);
	assert_int_equal(fake->taken.values[2], 3);

	/* Given up by its program, but with a length that is only looked at then. */
	busy = put(fake, 4, 8, BUSY);
	put_header(fake, busy, BUSY | 0x3fffffff);
	assert_int_equal(ring_drain(fake->ring), 0);
	put_header(fake, busy, DISCARD | 8);
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 3);
	assert_int_equal(*fake->consumer, *fake->producer);
}

static void a_drain_ends_when_it_is_told(void **state)
{
	struct fake *fake = *state;

	for (uint32_t i = 0; i < 10; i++)
		put(fake, i, 8, i % 2 ? DISCARD : 0);
	fake->taken.room = 2;
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 2);
	assert_int_equal(*fake->consumer, 3 * 16); /* the producer has that room again */
	fake->taken.room = 0;
	assert_int_equal(ring_drain(fake->ring), 0);
	assert_int_equal(fake->taken.n, 5);
	assert_int_equal(fake->taken.values[4], 8);
}

static void lengths_beyond_the_ring(void **state)
{
	static const uint32_t lengths[] = {
		RING_BYTES,           RING_BYTES - 7, RING_BYTES + 1,
		0x3fffffff,           0x3ffffff8,     33, /* one more than was written */
		DISCARD | 0x3fffffff,
	};
	struct fake *fake = *state;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		unsigned long bad;

		fake->taken.n = 0;
		put(fake, 1, 8, 0);
		bad = put(fake, 2, 32, 0);
		put_header(fake, bad, lengths[i]);
		assert_int_equal(ring_drain(fake->ring), -EBADMSG);
		assert_int_equal(fake->taken.n, 1);
		assert_int_equal(ring_broken(fake->ring), i + 1);
		assert_int_equal(*fake->consumer, *fake->producer);

		/* What comes afterwards is read as ever. */
		put(fake, 3, 8, 0);
		assert_int_equal(ring_drain(fake->ring), 0);
		assert_int_equal(fake->taken.n, 2);
		assert_int_equal(fake->taken.values[1], 3);
	}
}

static void impossible_positions(void **state)
{
	static const struct {
		unsigned long consumer, producer;
	} rows[] = {
		{ 0, RING_BYTES + 8 },          /* more than there is room for */
		{ 16, 8 },                      /* read what was never written */
		{ 0, ~0UL },                    /* … */
		{ 8, 8 + 4 },                   /* half a header */
		{ 4, 64 },                      /* not where a record can begin */
		{ RING_BYTES, RING_BYTES + 1 }, /* … */
	};
	struct fake *fake = *state;
	uint64_t broken = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(fake->data, 0xff, 2 * RING_BYTES);
		for (unsigned long at = 0; at < RING_BYTES; at += 8)
			put_header(fake, at, 0);
		*fake->consumer = rows[i].consumer;
		*fake->producer = rows[i].producer;
		fake->taken.n = 0;
		assert_int_equal(ring_drain(fake->ring), -EBADMSG);
		assert_int_equal(fake->taken.n, 0);
		assert_int_equal(ring_broken(fake->ring), broken + 1);
		assert_int_equal(*fake->consumer, rows[i].producer);
		assert_int_equal(ring_drain(fake->ring), 0);

		/* With the kernel's position as it should be, records come again, at the latest the next. */
		*fake->producer = 64;
		put(fake, 9, 8, 0);
		(void)ring_drain(fake->ring);
		broken = ring_broken(fake->ring);
		put(fake, 10, 8, 0);
		assert_int_equal(ring_drain(fake->ring), 0);
		assert_int_equal(fake->taken.values[fake->taken.n - 1], 10);
	}
}

/* Whatever is in the memory, nothing is read outside of it and every drain ends. */
static void noise(void **state)
{
	struct fake *fake = *state;
	uint64_t x = 0x9e3779b97f4a7c15ULL;

	for (int round = 0; round < 20000; round++) {
		for (int i = 0; i < 4; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			put_header(fake, x % RING_BYTES & ~7UL, (uint32_t)(x >> 32) >> (x % 28));
		}
		*fake->producer += x % 3 ? (x >> 8) % RING_BYTES & ~7UL : (x >> 8);
		fake->taken.n = 0;
		(void)ring_drain(fake->ring);
	}
	assert_true(ring_broken(fake->ring) > 0);
}

/* Writes one more whenever it reads one, up to a number. */
struct writer {
	struct fake *fake;
	uint32_t n;
};

static bool take_and_put(void *user, const void *data, size_t size)
{
	struct writer *writer = user;

	(void)data;
	(void)size;
	if (++writer->n < 1000)
		put(writer->fake, writer->n, 56, 0);
	return true;
}

static void what_goes_on_is_read_in_the_same_drain(void **state)
{
	struct fake *fake = *state;
	struct writer writer = { fake, 0 };
	struct ring *ring;

	assert_int_equal(ring_new(fake->fd, RING_BYTES, take_and_put, &writer, &ring), 0);
	put(fake, 0, 56, 0);
	assert_int_equal(ring_drain(ring), 0);
	assert_int_equal(writer.n, 1000);
	ring_free(ring);
}

/* Puts the length of its packet into the ring, as 8 bytes; returns what bpf_ringbuf_output() did. */
static int load_producer(int map)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_LDX | BPF_W | BPF_MEM, .dst_reg = 2, .src_reg = 1 }, /* skb->len */
		{ .code = BPF_STX | BPF_DW | BPF_MEM, .dst_reg = 10, .src_reg = 2, .off = -8 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
		  .dst_reg = 1,
		  .src_reg = BPF_PSEUDO_MAP_FD,
		  .imm = map },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4, .imm = BPF_RB_NO_WAKEUP },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "ring_test", "GPL", program,
	                     sizeof(program) / sizeof(program[0]), NULL);
}

static int produce(int program, uint32_t value)
{
	uint8_t packet[1024] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = value);

	assert_int_equal(bpf_prog_test_run_opts(program, &opts), 0);
	return (int)opts.retval;
}

/* The real thing: filled until it refuses, and read round and round. */
static void a_ring_of_the_kernel(void **state)
{
	cleanup(fd_closep) int map = -1, program = -1;
	struct taken taken = { 0 };
	struct ring *ring = NULL;
	uint32_t bytes = (uint32_t)sysconf(_SC_PAGESIZE), n = 0;

	(void)state;
	map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring_test", 0, 0, bytes, NULL);
	if (map < 0 && (errno == EPERM || errno == ENOSYS)) {
		print_message("skipped: bpf(2) is not permitted here (%s)\n", strerror(errno));
		skip();
	}
	assert_true(map >= 0);
	program = load_producer(map);
	assert_true(program >= 0);
	assert_int_equal(ring_new(map, bytes, take, &taken, &ring), 0);

	while (produce(program, 100 + n) == 0)
		n++;
	assert_in_range(n, bytes / 16 - 1, bytes / 16);
	assert_int_equal(ring_drain(ring), 0);
	assert_int_equal(taken.n, n);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(taken.values[i], 100 + i);
		assert_int_equal(taken.sizes[i], 8);
	}
	for (uint32_t i = 0; i < 3 * bytes / 16; i++) {
		taken.n = 0;
		assert_int_equal(produce(program, 100 + i % 800), 0);
		if (i % 3 == 0) {
			assert_int_equal(ring_drain(ring), 0);
			assert_int_equal(taken.values[taken.n - 1], 100 + i % 800);
		}
	}
	/* Another reader goes on where this one was. */
	ring_free(ring);
	assert_int_equal(produce(program, 77), 0);
	taken.n = 0;
	assert_int_equal(ring_new(map, bytes, take, &taken, &ring), 0);
	assert_int_equal(ring_drain(ring), 0);
	assert_in_range(taken.n, 1, 3);
	assert_int_equal(taken.values[taken.n - 1], 77);
	assert_int_equal(ring_broken(ring), 0);
	ring_free(ring);
}

int main(void)
{
#define ON_FAKE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		ON_FAKE(sizes_are_refused),
		ON_FAKE(records_come_in_order_and_once),
		ON_FAKE(records_cross_the_end),
		ON_FAKE(a_full_ring_is_read),
		ON_FAKE(empty_records_are_records),
		ON_FAKE(discarded_records_are_passed_over),
		ON_FAKE(a_busy_record_is_waited_for),
		ON_FAKE(a_drain_ends_when_it_is_told),
		ON_FAKE(what_goes_on_is_read_in_the_same_drain),
		ON_FAKE(lengths_beyond_the_ring),
		ON_FAKE(impossible_positions),
		ON_FAKE(noise),
		cmocka_unit_test(a_ring_of_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
