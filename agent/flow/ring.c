#include "flow/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/bpf.h>

#include "base/cleanup.h"

/* include/uapi/linux/bpf.h: before every record; the second half is the kernel's own. */
struct header {
	uint32_t len; /* of the record, and the two bits */
	uint32_t page;
};
_Static_assert(sizeof(struct header) == RING_HEADER, "header changed size");
_Static_assert(BPF_RINGBUF_HDR_SZ == RING_HEADER, "the kernel's header is another");

#define LEN_BITS (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)

struct ring {
	unsigned long *consumer;       /* position; ours to write */
	const unsigned long *producer; /* position; positions count on for ever, and wrap */
	const uint8_t *data;           /* twice, so that a record is always in one piece */
	size_t page;
	uint32_t bytes;
	uint64_t broken;
	ring_record_fn fn;
	void *user;
};

DEFINE_FREEP(struct ring, ring)

/* What the kernel lets be mapped (kernel/bpf/ringbuf.c, ringbuf_map_mmap_kern()): only the first page for writing. */
static int map_memory(struct ring *ring, int fd)
{
	size_t rest = ring->page + 2 * (size_t)ring->bytes;
	void *memory = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	ring->consumer = memory;
	memory = mmap(NULL, rest, PROT_READ, MAP_SHARED, fd, (off_t)ring->page);
	if (memory == MAP_FAILED)
		return -errno;
	ring->producer = memory;
	ring->data = (const uint8_t *)memory + ring->page;
	return 0;
}

int ring_new(int fd, uint32_t bytes, ring_record_fn fn, void *user, struct ring **out)
{
	cleanup(ring_freep) struct ring *ring = NULL;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int r;

	if (bytes < page || (bytes & (bytes - 1)))
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->page = page;
	ring->bytes = bytes;
	ring->fn = fn;
	ring->user = user;
	r = map_memory(ring, fd);
	if (r < 0)
		return r;
	*out = take_ptr(ring);
	return 0;
}

struct ring *ring_free(struct ring *ring)
{
	if (!ring)
		return NULL;

	if (ring->producer)
		munmap((void *)(uintptr_t)ring->producer, ring->page + 2 * (size_t)ring->bytes);
	if (ring->consumer)
		munmap(ring->consumer, ring->page);
	free(ring);
	return NULL;
}

/* The producer may write over what is before it: only once that was read. */
static void move_to(struct ring *ring, unsigned long position)
{
	__atomic_store_n(ring->consumer, position, __ATOMIC_RELEASE);
}

enum step {
	STEP_ON,
	STEP_LAST, /* there is more, but not in this drain */
	STEP_BUSY,
	STEP_BROKEN,
};

/* One record at `position`, of which there are at most `left` bytes. */
static enum step take(struct ring *ring, unsigned long *position, unsigned long left)
{
	const uint8_t *at = ring->data + (*position & (ring->bytes - 1));
	const struct header *header = (const void *)at;
	bool go_on = true;
	uint32_t len, size;

	if (left < RING_HEADER)
		return STEP_BROKEN;
	/* Whoever submits a record clears the busy bit after its last byte was written. */
	len = __atomic_load_n(&header->len, __ATOMIC_ACQUIRE);
	if (len & BPF_RINGBUF_BUSY_BIT)
		return STEP_BUSY;
	size = len & ~LEN_BITS;
	if (size > left - RING_HEADER || ((size + 7) & ~7U) > left - RING_HEADER)
		return STEP_BROKEN;
	if (!(len & BPF_RINGBUF_DISCARD_BIT))
		go_on = ring->fn(ring->user, at + RING_HEADER, size);
	*position += RING_HEADER + ((size + 7) & ~7U);
	move_to(ring, *position);
	return go_on ? STEP_ON : STEP_LAST;
}

int ring_drain(struct ring *ring)
{
	unsigned long position = __atomic_load_n(ring->consumer, __ATOMIC_RELAXED), end;
	enum step step = STEP_ON;

	/* New ones may come while the last ones are read. */
	while (step == STEP_ON) {
		end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
		if (end == position)
			return 0;
		if (end - position > ring->bytes || position % 8)
			step = STEP_BROKEN;
		while (step == STEP_ON && position != end)
			step = take(ring, &position, end - position);
	}
	if (step != STEP_BROKEN)
		return 0;
	ring->broken++;
	move_to(ring, end);
	return -EBADMSG;
}

uint64_t ring_broken(const struct ring *ring)
{
	return ring->broken;
}
