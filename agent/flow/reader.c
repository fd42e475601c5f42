#include "flow/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/timer.h"
#include "flow/ledger.h"
#include "flow/ring.h"
#include "limits.h"

/*
 * Slots are mapped a window at a time and only while they are read: the whole
 * map would be 4 MiB of our resident memory for work of a millisecond.
 */
#define WINDOW_SLOTS 4096

struct flow_reader {
	struct flow_source source;
	struct flow_table *table; /* borrowed */
	struct ledger *ledger;
	struct ring *ring;
	struct timer drain, sweep;
	struct moment now;         /* of the drain that runs */
	unsigned int records;      /* of the drain that runs */
	unsigned int ring_records; /* that fit in the ring */
	bool hurried;              /* drained every FLOW_DRAIN_HURRIED_MS */
	uint32_t total_slots;
};

DEFINE_FREEP(struct flow_reader, flow_reader)

static bool on_record(void *user, const void *data, size_t size)
{
	struct flow_reader *reader = user;

	ledger_record(reader->ledger, data, size, &reader->now);
	return ++reader->records < FLOW_DRAIN_MAX;
}

/* False while the slot is empty or changes hands. The programs write first_ns before and after. */
static bool read_slot(const struct flow_slot *slot, struct flow_slot *out)
{
	uint64_t first_ns = __atomic_load_n(&slot->first_ns, __ATOMIC_ACQUIRE);

	if (!first_ns)
		return false;
	*out = *(const volatile struct flow_slot *)slot;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&slot->first_ns, __ATOMIC_RELAXED) == first_ns &&
	       out->first_ns == first_ns;
}

/* True: watch this slot. */
typedef bool (*slot_fn)(struct ledger *ledger, uint32_t slot, const struct flow_slot *state,
                        const struct moment *now);

static int read_window(struct flow_reader *reader, uint32_t first, bool only_known, slot_fn fn)
{
	uint32_t n = reader->total_slots - first < WINDOW_SLOTS ? reader->total_slots - first
	                                                        : WINDOW_SLOTS;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = (n * sizeof(struct flow_slot) + page - 1) / page * page;
	struct flow_slot *window;

	if (only_known && !ledger_count(reader->ledger, first, n))
		return 0;
	window = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reader->source.slots_fd,
	              (off_t)(first * sizeof(struct flow_slot)));
	if (window == MAP_FAILED)
		return -errno;

	for (uint32_t i = 0; i < n; i++) {
		struct flow_slot state;

		if (only_known && !ledger_knows(reader->ledger, first + i))
			continue;
		if (read_slot(&window[i], &state) &&
		    fn(reader->ledger, first + i, &state, &reader->now))
			__atomic_store_n(&window[i].watched, 1, __ATOMIC_RELAXED);
	}
	munmap(window, bytes);
	return 0;
}

static int read_slots(struct flow_reader *reader, bool only_known, slot_fn fn)
{
	reader->now = clock_now();
	for (uint32_t first = 0; first < reader->total_slots; first += WINDOW_SLOTS) {
		int r = read_window(reader, first, only_known, fn);

		if (r < 0)
			return r;
	}
	return 0;
}

/* A flood of new flows would fill the ring before the next drain: come back sooner while it lasts. */
static int set_pace(struct flow_reader *reader)
{
	bool hurry = reader->records > reader->ring_records / 4;
	uint64_t period_ns = (hurry ? FLOW_DRAIN_HURRIED_MS : FLOW_DRAIN_MS) * NSEC_PER_MSEC;

	/* Back to normal only after a drain that was slow at the hurried pace, too. */
	if (reader->hurried && !hurry &&
	    reader->records > reader->ring_records / 4 * FLOW_DRAIN_HURRIED_MS / FLOW_DRAIN_MS)
		return 0;
	if (hurry == reader->hurried)
		return 0;
	reader->hurried = hurry;
	return timer_set(&reader->drain, period_ns, period_ns);
}

static int drain(struct flow_reader *reader)
{
	int r;

	reader->now = clock_now();
	reader->records = 0;
	r = ring_drain(reader->ring);
	if (r != -EBADMSG)
		return r;
	/* The flows whose records are lost have slots. */
	log_error("the ring of flows makes no sense: looking at every slot", NULL);
	return read_slots(reader, false, ledger_found);
}

int flow_reader_flush(struct flow_reader *reader)
{
	int r = drain(reader);

	return r ?: read_slots(reader, true, ledger_swept);
}

static int on_drain(struct timer *timer)
{
	struct flow_reader *reader = container_of(timer, struct flow_reader, drain);
	int r = drain(reader);

	return r ?: set_pace(reader);
}

static int on_sweep(struct timer *timer)
{
	int r = read_slots(container_of(timer, struct flow_reader, sweep), true, ledger_swept);

	/* Without memory for the window this time there is the next time. */
	return r == -ENOMEM ? 0 : r;
}

static int set_timers(struct flow_reader *reader, struct loop *loop)
{
	uint64_t drain_ns = FLOW_DRAIN_MS * NSEC_PER_MSEC, sweep_ns = FLOW_SWEEP_MS * NSEC_PER_MSEC;
	int r = timer_init(&reader->drain, loop, on_drain);

	r = r ?: timer_init(&reader->sweep, loop, on_sweep);
	r = r ?: timer_set(&reader->drain, drain_ns, drain_ns);
	return r ?: timer_set(&reader->sweep, sweep_ns, sweep_ns);
}

static int mark_unjudged(void *user, struct flow *flow)
{
	const struct flow_reader *reader = user;

	flow->unjudged = flow->last.mono_ns >= ledger_earliest_ns(reader->ledger);
	return 0;
}

/*
 * What there is from before: first the slots as they are, then the records, which may be older.
 * The agent before read every record to its end: what was sent since the first one that is still
 * there nobody has judged, however long ago it is.
 */
static int catch_up(struct flow_reader *reader)
{
	int r;

	if (!reader->source.adopted)
		return drain(reader);
	r = read_slots(reader, false, ledger_found);
	r = r ?: drain(reader);
	return r ?: flow_table_each(reader->table, mark_unjudged, reader);
}

int flow_reader_new(const struct flow_source *source, struct loop *loop, struct flow_table *table,
                    const struct flow_reader_callbacks *callbacks, struct flow_reader **out)
{
	cleanup(flow_reader_freep) struct flow_reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	reader->source = *source;
	reader->table = table;
	reader->drain = reader->sweep = (struct timer)TIMER_INIT;
	reader->total_slots = source->cpus * (source->slots + FLOW_SHARED_SLOTS);
	reader->ring_records =
		source->ring_bytes / ((unsigned int)sizeof(struct flow_opened) + RING_HEADER);
	r = ledger_new(table, reader->total_slots, source->number, source->user, callbacks,
	               &reader->ledger);
	r = r ?: ring_new(source->ring_fd, source->ring_bytes, on_record, reader, &reader->ring);
	r = r ?: catch_up(reader);
	r = r ?: set_timers(reader, loop);
	if (r < 0)
		return r;

	*out = take_ptr(reader);
	return 0;
}

struct flow_reader *flow_reader_free(struct flow_reader *reader)
{
	if (!reader)
		return NULL;

	timer_clear(&reader->drain);
	timer_clear(&reader->sweep);
	ring_free(reader->ring);
	ledger_free(reader->ledger);
	free(reader);
	return NULL;
}

void flow_reader_remove_subject(struct flow_reader *reader, uint32_t number)
{
	flow_reader_flush(reader);
	flow_table_remove_subject(reader->table, number);
}

struct flow_reader_stats flow_reader_stats(struct flow_reader *reader)
{
	struct flow_reader_stats stats = {
		.events = ledger_events(reader->ledger),
		.refused = ledger_refused(reader->ledger) + ring_broken(reader->ring),
		.evictions = flow_table_evictions(reader->table),
	};
	uint64_t counts[_FLOW_COUNT_MAX];

	if (reader->source.counts(reader->source.user, counts) < 0)
		return stats;
	stats.lost = counts[FLOW_COUNT_LOST];
	stats.unparsed = counts[FLOW_COUNT_UNPARSED];
	stats.fragments = counts[FLOW_COUNT_FRAGMENT];
	stats.link_control = counts[FLOW_COUNT_CONTROL];
	stats.resets = counts[FLOW_COUNT_RESET];
	stats.probes = counts[FLOW_COUNT_PROBE];
	stats.busy = counts[FLOW_COUNT_BUSY];
	return stats;
}
