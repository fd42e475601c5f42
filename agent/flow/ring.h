/*
 * Reading a BPF ring buffer through its memory alone.
 *
 * Not libbpf's reader: that asks bpf(2) what the map is like, and a process
 * without privilege may not. The descriptor and the size are enough
 * (Documentation/bpf/ringbuf.rst). Whoever writes the memory is the kernel, but
 * nothing it says is followed out of the ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

/* Bytes that a record takes beside its own, which are rounded up to 8. */
#define RING_HEADER 8

/* A record, valid only for the call. False: stop after this one. */
typedef bool (*ring_record_fn)(void *user, const void *data, size_t size);

/*
 * fd: the map, or whatever is laid out like one: a page for the consumer, a
 * page for the producer, the data and the same data again. bytes: of the data,
 * a power of two of pages. The descriptor is not needed any more afterwards.
 */
int ring_new(int fd, uint32_t bytes, ring_record_fn fn, void *user, struct ring **out);
struct ring *ring_free(struct ring *ring);

/*
 * Gives fn the records from where the last reader was up to the first one that
 * is still being written. Each is given back to the producer once fn has seen
 * it. -EBADMSG: something impossible was written; what the ring held is given up, and
 * the next drain begins after it.
 */
int ring_drain(struct ring *ring);
uint64_t ring_broken(const struct ring *ring); /* how often */
