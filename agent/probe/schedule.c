#include "probe/schedule.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"

#define NODE_SLOT SUBJECTS_MAX
#define SLOTS (SUBJECTS_MAX + 1)
/* First rounds spread over this, so that a restart does not ask everything at once. */
#define SPREAD_NS (2 * NSEC_PER_SEC)
/* Pause after the n-th 429 in a row without Retry-After: interval × 2^n. */
#define BACKOFF_SHIFT_MAX 8

static_assert(ECHOES_MAX <= 16, "echo sets are 16 bits");

struct slot {
	bool used;
	uint64_t generation;
	uint64_t hash;      /* of the uid */
	uint32_t round;     /* of the round that runs or ran last */
	uint64_t due_ns;    /* when the next round starts */
	uint64_t begun_ns;  /* when this round did; 0: none yet */
	uint64_t asked_ns;  /* last round on request; 0: none */
	uint64_t served_ns; /* beginning of the last round in which an echo was asked; 0: never */
	uint64_t turn_ns;   /* served_ns when this round began: who waited longest goes first */
	uint16_t pending, running; /* echoes to ask, and asked without a result */
	uint8_t order[ECHOES_MAX];
	uint64_t paused_until_ns[ECHOES_MAX]; /* by 429 */
	uint8_t strikes[ECHOES_MAX];
};

/* Requests that may be sent now, in billionths, so that no rate rounds to nothing. */
struct bucket {
	uint64_t nano_tokens, filled_ns;
	uint32_t rate_per_s;
};

struct schedule {
	struct schedule_settings settings;
	struct bucket buckets[ECHOES_MAX];
	struct slot slots[SLOTS];
};

DEFINE_FREEP(struct schedule, schedule)

/* Numbers without a generator's state: splitmix64 of what they are for. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a + b * 0x9e3779b97f4a7c15ULL + 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Budgets */

static void bucket_fill(struct bucket *bucket, uint64_t now_ns)
{
	uint64_t full = ECHO_BURST * NSEC_PER_SEC, passed;

	if (now_ns <= bucket->filled_ns)
		return;
	/* After a burst's worth of time it is full; that also keeps the product small. */
	passed = min_u64(now_ns - bucket->filled_ns, full);
	bucket->nano_tokens = min_u64(full, bucket->nano_tokens + passed * bucket->rate_per_s);
	bucket->filled_ns = now_ns;
}

static bool bucket_ready(const struct bucket *bucket)
{
	return bucket->nano_tokens >= NSEC_PER_SEC;
}

static uint64_t bucket_ready_ns(const struct bucket *bucket)
{
	uint64_t missing = NSEC_PER_SEC - min_u64(bucket->nano_tokens, NSEC_PER_SEC);

	return bucket->filled_ns + (missing + bucket->rate_per_s - 1) / bucket->rate_per_s;
}

/* Rounds */

static uint32_t slot_of(uint32_t subject)
{
	return subject == PROBE_SUBJECT_NODE ? NODE_SLOT : subject;
}

/* 0.9 to 1.1 of the interval, by subject and round. */
static uint64_t next_interval(const struct schedule *schedule, const struct slot *slot)
{
	uint64_t interval = schedule->settings.interval_ns, spread = interval / 5;

	return interval - interval / 10 + (spread ? mix(slot->hash, slot->round) % spread : 0);
}

static void shuffle(const struct schedule *schedule, struct slot *slot)
{
	size_t n = schedule->settings.n_echoes;

	for (size_t i = 0; i < n; i++)
		slot->order[i] = (uint8_t)i;
	for (size_t i = n; i > 1; i--) {
		size_t j = mix(slot->hash ^ slot->round, i) % i;
		uint8_t other = slot->order[j];

		slot->order[j] = slot->order[i - 1];
		slot->order[i - 1] = other;
	}
}

static bool round_runs(const struct slot *slot)
{
	return slot->pending || slot->running;
}

static void begin_round(struct schedule *schedule, struct slot *slot, uint64_t now_ns)
{
	slot->round++;
	slot->begun_ns = now_ns;
	slot->turn_ns = slot->served_ns;
	slot->pending = (uint16_t)((1u << schedule->settings.n_echoes) - 1);
	shuffle(schedule, slot);
	/* From now, not from when it was due: a clock that jumped is not made up for. */
	slot->due_ns = now_ns + next_interval(schedule, slot);
}

static void slot_start(struct schedule *schedule, uint32_t index, uint64_t generation,
                       const char *uid, uint64_t now_ns)
{
	struct slot *slot = &schedule->slots[index];

	*slot = (struct slot){
		.used = true,
		.generation = generation,
		.hash = mix(hash_text(HASH_SEED, uid), schedule->settings.seed),
	};
	slot->due_ns = now_ns + slot->hash % min_u64(SPREAD_NS, schedule->settings.interval_ns);
}

int schedule_new(const struct schedule_settings *settings, uint64_t now_ns, struct schedule **out)
{
	cleanup(schedule_freep) struct schedule *schedule = NULL;

	if (settings->n_echoes > ECHOES_MAX || settings->interval_ns == 0)
		return -EINVAL;
	schedule = calloc(1, sizeof(*schedule));
	if (!schedule)
		return -ENOMEM;

	schedule->settings = *settings;
	for (size_t i = 0; i < settings->n_echoes; i++)
		schedule->buckets[i] = (struct bucket){
			.nano_tokens = ECHO_BURST * NSEC_PER_SEC,
			.filled_ns = now_ns,
			.rate_per_s =
				settings->rate_per_s[i] ? settings->rate_per_s[i] : ECHO_RATE_PER_S,
		};
	if (settings->node_control)
		slot_start(schedule, NODE_SLOT, 0, "node", now_ns);

	*out = take_ptr(schedule);
	return 0;
}

struct schedule *schedule_free(struct schedule *schedule)
{
	free(schedule);
	return NULL;
}

void schedule_add(struct schedule *schedule, uint32_t subject, uint64_t generation, const char *uid,
                  uint64_t now_ns)
{
	const struct slot *slot = &schedule->slots[slot_of(subject)];

	assert(subject < SUBJECTS_MAX);
	if (!slot->used || slot->generation != generation)
		slot_start(schedule, subject, generation, uid, now_ns);
}

void schedule_remove(struct schedule *schedule, uint32_t subject)
{
	schedule->slots[slot_of(subject)] = (struct slot){ 0 };
}

void schedule_cancel(struct schedule *schedule, uint32_t subject)
{
	struct slot *slot = &schedule->slots[slot_of(subject)];

	slot->pending = slot->running = 0;
}

/* Not before `gap_ns` has passed since the last round began. */
static void bring_forward(struct slot *slot, uint64_t gap_ns, uint64_t now_ns)
{
	uint64_t soonest = slot->begun_ns ? slot->begun_ns + gap_ns : now_ns;

	slot->due_ns = min_u64(slot->due_ns, soonest > now_ns ? soonest : now_ns);
}

void schedule_soon(struct schedule *schedule, uint32_t subject, uint64_t now_ns)
{
	struct slot *slot = &schedule->slots[slot_of(subject)];

	if (slot->used)
		bring_forward(slot, PROBE_ROUND_GAP_NS, now_ns);
}

uint64_t schedule_request(struct schedule *schedule, uint32_t subject, uint64_t now_ns)
{
	struct slot *slot = &schedule->slots[slot_of(subject)];

	if (!slot->used)
		return UINT64_MAX;
	if (slot->asked_ns && now_ns < slot->asked_ns + PROBE_REQUEST_GAP_NS)
		return slot->asked_ns + PROBE_REQUEST_GAP_NS - now_ns;

	slot->asked_ns = now_ns;
	bring_forward(slot, PROBE_ROUND_GAP_NS, now_ns);
	return 0;
}

/* What is due */

static const char paused[] = "the echo asked for a pause (429)";

/* The first echo in the slot's order that can be asked or must be given up now; -1: none. */
static int pick_echo(const struct schedule *schedule, const struct slot *slot, uint64_t now_ns,
                     const char **skip)
{
	bool overdue = now_ns >= slot->due_ns;

	for (size_t i = 0; i < schedule->settings.n_echoes; i++) {
		int echo = slot->order[i];

		if (!(slot->pending & 1u << echo))
			continue;
		*skip = NULL;
		if (now_ns < slot->paused_until_ns[echo])
			*skip = paused;
		else if (!bucket_ready(&schedule->buckets[echo]) && overdue)
			*skip = "over the budget of requests to this echo";
		if (*skip || bucket_ready(&schedule->buckets[echo]))
			return echo;
	}
	return -1;
}

/* Of all that could go on, the one that was served longest ago; else the lower index. */
static struct slot *pick_slot(struct schedule *schedule, uint64_t now_ns, int *echo,
                              const char **skip)
{
	struct slot *best = NULL;

	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &schedule->slots[i];
		const char *why;
		int found;

		if (!slot->used)
			continue;
		if (!round_runs(slot) && now_ns >= slot->due_ns)
			begin_round(schedule, slot, now_ns);
		if (!slot->pending || (best && best->turn_ns <= slot->turn_ns))
			continue;
		found = pick_echo(schedule, slot, now_ns, &why);
		if (found < 0)
			continue;
		best = slot;
		*echo = found;
		*skip = why;
	}
	return best;
}

bool schedule_next(struct schedule *schedule, uint64_t now_ns, struct schedule_probe *out)
{
	const char *skip = NULL;
	struct slot *slot;
	size_t index;
	int echo = -1;

	for (size_t i = 0; i < schedule->settings.n_echoes; i++)
		bucket_fill(&schedule->buckets[i], now_ns);

	slot = pick_slot(schedule, now_ns, &echo, &skip);
	if (!slot)
		return false;

	slot->pending &= (uint16_t) ~(1u << echo);
	slot->running |= (uint16_t)(1u << echo);
	if (!skip) {
		schedule->buckets[echo].nano_tokens -= NSEC_PER_SEC;
		slot->served_ns = slot->begun_ns;
	}

	index = (size_t)(slot - schedule->slots);
	*out = (struct schedule_probe){
		.subject = index == NODE_SLOT ? PROBE_SUBJECT_NODE : (uint32_t)index,
		.generation = slot->generation,
		.round = slot->round,
		.echo = (uint16_t)echo,
		.skip = skip != NULL,
		.why = skip,
		.paused = skip == paused,
	};
	return true;
}

/* When this slot may have something; UINT64_MAX: only after a result. */
static uint64_t slot_wake_ns(const struct schedule *schedule, const struct slot *slot,
                             uint64_t now_ns)
{
	uint64_t wake = slot->due_ns;

	if (!slot->pending)
		return slot->running ? UINT64_MAX : wake;
	for (size_t i = 0; i < schedule->settings.n_echoes; i++) {
		if (!(slot->pending & 1u << i))
			continue;
		if (now_ns < slot->paused_until_ns[i])
			return now_ns;
		wake = min_u64(wake, bucket_ready_ns(&schedule->buckets[i]));
	}
	return wake;
}

uint64_t schedule_wake_ns(const struct schedule *schedule, uint64_t now_ns)
{
	uint64_t wake = UINT64_MAX;

	if (schedule->settings.n_echoes == 0)
		return wake;
	for (size_t i = 0; i < SLOTS; i++)
		if (schedule->slots[i].used)
			wake = min_u64(wake, slot_wake_ns(schedule, &schedule->slots[i], now_ns));
	return wake;
}

/* Results */

/*
 * The pause is the subject's own: an echo counts by source address, which
 * differs per gateway, and one pod that uses an echo up must not blind the rest.
 */
static void note_outcome(const struct schedule *schedule, struct slot *slot, uint16_t echo,
                         enum probe_outcome outcome, uint32_t retry_after_s, uint64_t now_ns)
{
	uint64_t pause;

	if (outcome == PROBE_SKIPPED)
		return;
	if (outcome != PROBE_RATE_LIMITED) {
		slot->strikes[echo] = 0;
		return;
	}

	if (slot->strikes[echo] < BACKOFF_SHIFT_MAX)
		slot->strikes[echo]++;
	pause = retry_after_s ? retry_after_s * NSEC_PER_SEC
	                      : schedule->settings.interval_ns << slot->strikes[echo];
	slot->paused_until_ns[echo] = now_ns + min_u64(pause, ECHO_BACKOFF_MAX_NS);
}

bool schedule_done(struct schedule *schedule, const struct schedule_probe *probe,
                   enum probe_outcome outcome, uint32_t retry_after_s, uint64_t now_ns)
{
	struct slot *slot = &schedule->slots[slot_of(probe->subject)];

	if (!slot->used || slot->generation != probe->generation || slot->round != probe->round ||
	    !(slot->running & 1u << probe->echo))
		return false;

	slot->running &= (uint16_t) ~(1u << probe->echo);
	note_outcome(schedule, slot, probe->echo, outcome, retry_after_s, now_ns);
	return !round_runs(slot);
}

bool schedule_result(struct schedule *schedule, const struct probe_result *result, uint64_t now_ns)
{
	const struct schedule_probe probe = {
		.subject = result->subject,
		.generation = result->generation,
		.round = result->round,
		.echo = result->echo,
	};

	return schedule_done(schedule, &probe, result->outcome, result->retry_after_s, now_ns);
}
