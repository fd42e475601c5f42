#include "test.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "export/delivery.h"

#define RUNS 4000
#define RECORDS 600
#define MS NSEC_PER_MSEC

/*
 * A spool and a collector as small as can be, and time that passes by itself. What the
 * collector does is drawn: it answers anything, loses answers, refuses batches above a size, records that
 * it does not like, or everything; and in the end takes what it likes. What must hold
 * is checked at every step.
 */
struct world {
	uint32_t seed;
	uint64_t now_ns;
	struct delivery d;

	/* the spool: record i has number 3 i + 1 */
	size_t there; /* records that came */
	size_t gone;  /* records that it was told to forget */

	/* the batch as the exporter holds it */
	size_t first, n;
	bool resend; /* it must be sent as it is */

	/* the collector */
	bool broken;   /* draws what it answers */
	size_t size;   /* refuses more records at a time */
	size_t poison; /* refuses batches with a record whose index is a multiple; 0: none */
	bool refusing; /* everything */
	size_t taken;  /* records before this were taken at least once, in order, or given up */
	bool seen[RECORDS];
	unsigned int refused[RECORDS]; /* alone, while a witness was taken */
	size_t given_up;

	uint64_t vain_ns[32]; /* of the newest requests that brought nothing */
	size_t n_vain;
	uint64_t sends;
	uint32_t retry_after_s;
};

static uint32_t draw(struct world *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 17;
	w->seed ^= w->seed << 5;
	return w->seed;
}

static bool one_in(struct world *w, uint32_t n)
{
	return draw(w) % n == 0;
}

static int64_t number_of(size_t i)
{
	return (int64_t)(3 * i + 1);
}

static bool is_poison(const struct world *w, size_t i)
{
	return w->poison && i % w->poison == 1;
}

/* At most so many requests that bring nothing within a second: a search by halves, and a witness. */
static void count_vain(struct world *w)
{
	size_t most = sizeof(w->vain_ns) / sizeof(w->vain_ns[0]);
	uint64_t *oldest = &w->vain_ns[w->n_vain % most];

	if (w->n_vain >= most && w->now_ns - *oldest < NSEC_PER_SEC)
		fail_msg("%zu requests in vain within a second", most);
	*oldest = w->now_ns;
	w->n_vain++;
}

/* What a batch of n records from `first` meets. */
static enum export_result collect(struct world *w, size_t first, size_t n, bool witness)
{
	bool bad = n > w->size || w->refusing;

	w->retry_after_s = 0;
	if (w->broken && one_in(w, 4)) {
		w->retry_after_s = one_in(w, 3) ? draw(w) % 40 : 0;
		return EXPORT_RETRY;
	}
	if (w->broken && one_in(w, 6))
		return EXPORT_FAILED;
	for (size_t i = first; i < first + n && !witness; i++)
		bad |= is_poison(w, i);
	if (bad)
		return EXPORT_REFUSED;
	for (size_t i = first; i < first + n && !witness; i++) {
		/* None before it is missing: order is that of the first delivery. */
		if (!w->seen[i] && i > 0 && !w->seen[i - 1])
			fail_msg("record %zu before %zu", i, i - 1);
		w->seen[i] = true;
	}
	/* It took them, and nobody heard of it. */
	return w->broken && one_in(w, 8) ? EXPORT_FAILED : EXPORT_OK;
}

static void check(const struct world *w)
{
	assert_true(w->d.limit >= 1 && w->d.limit <= EXPORT_RECORDS_MAX);
	assert_true(w->d.done == (w->gone ? number_of(w->gone - 1) : 0));
	if (w->d.state == DELIVERY_IDLE)
		assert_true(w->gone == w->there);
	/* Never a long time without anything planned. */
	if (w->d.state == DELIVERY_WAIT)
		assert_true(w->d.due_ns <= w->now_ns + EXPORT_RETRY_AFTER_MAX_NS * 9 / 8);
}

static void leave(struct world *w)
{
	for (size_t i = w->first; i < w->first + w->n; i++)
		assert_true(w->seen[i]);
	w->gone = w->first + w->n;
	w->n = 0;
	w->resend = false;
}

static enum delivery_act send_batch(struct world *w)
{
	size_t n = w->n, first = w->first;
	enum export_result result;
	enum delivery_act act;

	assert_true(n > 0 && first == w->gone);
	w->sends++;
	w->now_ns += draw(w) % 20 * MS;
	result = collect(w, first, n, false);
	if (result != EXPORT_OK)
		count_vain(w);
	act = delivery_answered(&w->d, w->now_ns, draw(w), result, w->retry_after_s);
	w->resend = result == EXPORT_RETRY || result == EXPORT_FAILED;
	switch (result) {
	case EXPORT_OK:
		assert_int_equal(act, DELIVERY_DONE);
		break;
	case EXPORT_REFUSED:
		assert_int_equal(act, n > 1 ? DELIVERY_SPLIT : DELIVERY_WITNESS);
		break;
	default:
		assert_int_equal(act, DELIVERY_NONE);
		/* Not at once, and not before the time that was asked for. */
		assert_true(w->d.due_ns >= w->now_ns + EXPORT_BACKOFF_NS / 2);
		assert_true(w->d.due_ns >= w->now_ns + w->retry_after_s * NSEC_PER_SEC);
	}
	return act;
}

static enum delivery_act send_witness(struct world *w)
{
	enum export_result result;
	enum delivery_act act;

	assert_int_equal(w->n, 1);
	w->now_ns += draw(w) % 20 * MS;
	result = collect(w, 0, 1, true);
	count_vain(w);
	if (result == EXPORT_OK)
		w->refused[w->first]++;
	act = delivery_witnessed(&w->d, w->now_ns, draw(w), result, w->retry_after_s);
	/* The rule: so often alone, while the collector took another. Not once less, nor more. */
	if (w->refused[w->first] == EXPORT_REFUSALS_MAX && result == EXPORT_OK) {
		assert_int_equal(act, DELIVERY_GIVE_UP);
		w->given_up++;
		w->seen[w->first] = true; /* as far as order goes */
	} else {
		assert_int_equal(act, DELIVERY_NONE);
		w->resend = true;
	}
	return act;
}

static enum delivery_act read_spool(struct world *w)
{
	size_t room = draw(w) % 3 ? EXPORT_RECORDS_MAX : 1 + draw(w) % 40; /* of bytes */
	size_t left = w->there - w->gone, n = left;
	bool more;

	assert_true(!w->resend && w->n == 0);
	if (w->broken && one_in(w, 20))
		return delivery_read(&w->d, w->now_ns, draw(w), -ENOMEM, 0, 0, false);
	n = n > w->d.limit ? w->d.limit : n;
	n = n > room ? room : n;
	more = n < left;
	w->first = w->gone;
	w->n = n;
	/* Meanwhile something comes. */
	if (w->there < RECORDS && one_in(w, 8)) {
		w->there++;
		delivery_kick(&w->d, w->now_ns);
	}
	return delivery_read(&w->d, w->now_ns, draw(w), 0, n, n ? number_of(w->first + n - 1) : 0,
	                     more);
}

static void perform(struct world *w, enum delivery_act act)
{
	while (act != DELIVERY_NONE) {
		switch (act) {
		case DELIVERY_READ:
			act = read_spool(w);
			continue;
		case DELIVERY_SEND:
			act = send_batch(w);
			continue;
		case DELIVERY_WITNESS:
			act = send_witness(w);
			continue;
		case DELIVERY_SPLIT:
			assert_true(w->n > 1);
			w->n = 0;
			break;
		default:
			leave(w);
		}
		act = DELIVERY_NONE;
	}
	check(w);
}

static void step(struct world *w)
{
	uint64_t due_ns = delivery_due(&w->d);

	if (due_ns != UINT64_MAX) {
		if (due_ns > w->now_ns) { /* not before its time */
			assert_int_equal(delivery_tick(&w->d, due_ns - 1), DELIVERY_NONE);
			w->now_ns = due_ns;
		}
		perform(w, delivery_tick(&w->d, w->now_ns));
	}
}

static void arrive(struct world *w)
{
	size_t n = one_in(w, 5) ? draw(w) % 300 : draw(w) % 4;

	w->there = w->there + n < RECORDS ? w->there + n : RECORDS;
	delivery_kick(&w->d, w->now_ns);
	check(w);
}

static void misbehave(struct world *w)
{
	w->broken = one_in(w, 2);
	w->refusing = one_in(w, 5);
	w->size = one_in(w, 3) ? 1 + draw(w) % 100 : SIZE_MAX;
}

static void play(struct world *w)
{
	for (int i = 0; i < 150; i++) {
		if (one_in(w, 6))
			arrive(w);
		if (one_in(w, 25))
			misbehave(w);
		step(w);
	}
}

/* It takes what it likes from now on: all of it is there soon, or given up. */
static void settle(struct world *w)
{
	uint64_t poisoned_ns = 0, from_ns = w->now_ns;

	w->broken = w->refusing = false;
	w->size = SIZE_MAX;
	for (size_t i = w->gone; i < w->there; i++)
		poisoned_ns += is_poison(w, i) * 100 * NSEC_PER_SEC;
	for (int i = 0; w->d.state != DELIVERY_IDLE; i++) {
		if (i > 20000)
			fail_msg("it does not end");
		step(w);
	}
	assert_int_equal(w->gone, w->there);
	/* One pause that had begun, and those of records that nobody takes. */
	assert_true(w->now_ns - from_ns <=
	            EXPORT_RETRY_AFTER_MAX_NS + 60 * NSEC_PER_SEC + poisoned_ns);
	for (size_t i = 0; i < w->there; i++)
		assert_int_equal(w->refused[i], is_poison(w, i) ? EXPORT_REFUSALS_MAX : 0);
}

static void delivers_all_in_order(void **state)
{
	static struct world w;
	size_t given_up = 0, there = 0;
	uint64_t sends = 0;

	(void)state;
	for (uint32_t run = 1; run <= RUNS; run++) {
		memset(&w, 0, sizeof(w));
		w.seed = run * 2654435761u;
		w.now_ns = 1000 * NSEC_PER_SEC;
		w.size = SIZE_MAX;
		w.poison = one_in(&w, 3) ? 2 + draw(&w) % 200 : 0;
		delivery_init(&w.d);
		play(&w);
		settle(&w);
		given_up += w.given_up;
		there += w.there;
		sends += w.sends;
	}
	print_message("%u runs: %zu records, %zu given up, %llu requests\n", RUNS, there, given_up,
	              (unsigned long long)sends);
	assert_true(given_up > RUNS / 10 && given_up < there / 10);
}

/* Single moves */

static struct delivery waiting(size_t n)
{
	struct delivery d;

	delivery_init(&d);
	delivery_kick(&d, 0);
	assert_int_equal(delivery_due(&d), EXPORT_DELAY_NS);
	assert_int_equal(delivery_tick(&d, EXPORT_DELAY_NS), DELIVERY_READ);
	assert_int_equal(delivery_read(&d, 0, 0, 0, n, (int64_t)n, false), DELIVERY_SEND);
	return d;
}

static void doubles_its_pauses(void **state)
{
	static const uint64_t wanted_s[] = { 1, 2, 4, 8, 16, 30, 30, 30 };
	struct delivery d = waiting(1);

	(void)state;
	for (size_t i = 0; i < sizeof(wanted_s) / sizeof(wanted_s[0]); i++) {
		struct delivery least = d, most = d;

		delivery_answered(&least, 0, 0, EXPORT_RETRY, 0);
		delivery_answered(&most, 0, UINT32_MAX, EXPORT_FAILED, 0);
		assert_int_equal(delivery_due(&least), wanted_s[i] * NSEC_PER_SEC / 2);
		assert_in_range(delivery_due(&most), wanted_s[i] * NSEC_PER_SEC * 149 / 100,
		                wanted_s[i] * NSEC_PER_SEC * 3 / 2);
		delivery_answered(&d, 0, 0, EXPORT_RETRY, 0);
		assert_int_equal(delivery_tick(&d, delivery_due(&d)), DELIVERY_SEND);
	}
	/* A success makes them short again. */
	assert_int_equal(delivery_answered(&d, 0, 0, EXPORT_OK, 0), DELIVERY_DONE);
	assert_int_equal(d.state, DELIVERY_IDLE);
	delivery_kick(&d, 0);
	assert_int_equal(delivery_tick(&d, EXPORT_DELAY_NS), DELIVERY_READ);
	assert_int_equal(delivery_read(&d, 0, 0, 0, 1, 2, false), DELIVERY_SEND);
	delivery_answered(&d, 0, 0, EXPORT_RETRY, 0);
	assert_int_equal(delivery_due(&d), NSEC_PER_SEC / 2);
}

static void waits_as_asked(void **state)
{
	static const struct {
		uint32_t asked_s;
		uint64_t least_ns, most_ns;
	} rows[] = {
		{ 1, 1 * NSEC_PER_SEC, 3 * NSEC_PER_SEC / 2 },
		{ 60, 60 * NSEC_PER_SEC, 68 * NSEC_PER_SEC },
		{ UINT32_MAX, EXPORT_RETRY_AFTER_MAX_NS, EXPORT_RETRY_AFTER_MAX_NS * 9 / 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct delivery least = waiting(1), most = waiting(1);

		delivery_answered(&least, 0, 0, EXPORT_RETRY, rows[i].asked_s);
		delivery_answered(&most, 0, UINT32_MAX, EXPORT_RETRY, rows[i].asked_s);
		assert_int_equal(delivery_due(&least), rows[i].least_ns);
		assert_in_range(delivery_due(&most), rows[i].least_ns + 1, rows[i].most_ns);
	}
}

/* Of 512 the one that is refused is found in ten requests, and those before it are delivered. */
static void finds_the_one(void **state)
{
	struct delivery d;
	int64_t bad = 300;
	int requests = 0;

	(void)state;
	delivery_init(&d);
	delivery_kick(&d, 0);
	assert_int_equal(delivery_tick(&d, EXPORT_DELAY_NS), DELIVERY_READ);
	for (;;) {
		int64_t last = d.done + (int64_t)d.limit < 512 ? d.done + (int64_t)d.limit : 512;
		bool refused = d.done < bad && bad <= last;
		enum delivery_act act;

		assert_int_equal(delivery_read(&d, 0, 0, 0, (size_t)(last - d.done), last,
		                               last < 512),
		                 DELIVERY_SEND);
		requests++;
		act = delivery_answered(&d, 0, 0, refused ? EXPORT_REFUSED : EXPORT_OK, 0);
		if (act == DELIVERY_WITNESS)
			break;
		assert_int_equal(act, refused ? DELIVERY_SPLIT : DELIVERY_DONE);
		assert_int_equal(delivery_tick(&d, 0), DELIVERY_READ); /* at once */
	}
	assert_int_equal(d.done, bad - 1);
	assert_in_range(requests, 10, 20);
	/* Given up in the end, and then the rest goes as it would have. */
	for (int i = 1; i < EXPORT_REFUSALS_MAX; i++) {
		assert_int_equal(delivery_witnessed(&d, 0, 0, EXPORT_OK, 0), DELIVERY_NONE);
		assert_int_equal(delivery_tick(&d, delivery_due(&d)), DELIVERY_SEND);
		assert_int_equal(delivery_answered(&d, 0, 0, EXPORT_REFUSED, 0), DELIVERY_WITNESS);
	}
	assert_int_equal(delivery_witnessed(&d, 0, 0, EXPORT_OK, 0), DELIVERY_GIVE_UP);
	assert_int_equal(d.done, bad);
	assert_int_equal(d.limit, EXPORT_RECORDS_MAX);
}

/* A wrong token, for a year. */
static void gives_up_nothing_while_all_is_refused(void **state)
{
	static const enum export_result witness[] = { EXPORT_REFUSED, EXPORT_RETRY, EXPORT_FAILED };
	struct delivery d = waiting(1);
	uint64_t now_ns = 0, year_ns = 365 * 86400 * NSEC_PER_SEC;
	uint64_t requests = 0;

	(void)state;
	for (; now_ns < year_ns; requests += 2) {
		assert_int_equal(delivery_answered(&d, now_ns, 7u << 28, EXPORT_REFUSED, 0),
		                 DELIVERY_WITNESS);
		assert_int_equal(delivery_witnessed(&d, now_ns, 7u << 28, witness[requests / 2 % 3],
		                                    0),
		                 DELIVERY_NONE);
		now_ns = delivery_due(&d);
		assert_int_equal(delivery_tick(&d, now_ns), DELIVERY_SEND);
	}
	assert_int_equal(d.refusals, 0);
	assert_true(requests / 2 < year_ns / (EXPORT_BACKOFF_MAX_NS / 2));
	assert_int_equal(delivery_answered(&d, now_ns, 0, EXPORT_OK, 0), DELIVERY_DONE);
	assert_int_equal(d.done, 1);
}

/* A collector with a bound of its own is not sent too much with every second request. */
static void grows_slowly(void **state)
{
	struct delivery d;
	int refused = 0, taken = 0;

	(void)state;
	delivery_init(&d);
	delivery_kick(&d, 0);
	assert_int_equal(delivery_tick(&d, EXPORT_DELAY_NS), DELIVERY_READ);
	while (taken < 1000) {
		size_t n = d.limit;
		bool large = n > 100;

		assert_int_equal(delivery_read(&d, 0, 0, 0, n, d.done + (int64_t)n, true),
		                 DELIVERY_SEND);
		delivery_answered(&d, 0, 0, large ? EXPORT_REFUSED : EXPORT_OK, 0);
		refused += large;
		taken += !large;
		assert_int_equal(delivery_tick(&d, 0), DELIVERY_READ);
	}
	assert_in_range(refused, 10, 1000 / 8 + 3);
	d.accepted = 0;
	for (int i = 0; i < 40; i++) { /* and it is found out when the bound is gone */
		size_t n = d.limit;

		assert_int_equal(delivery_read(&d, 0, 0, 0, n, d.done + (int64_t)n, true),
		                 DELIVERY_SEND);
		delivery_answered(&d, 0, 0, EXPORT_OK, 0);
		assert_int_equal(delivery_tick(&d, 0), DELIVERY_READ);
	}
	assert_int_equal(d.limit, EXPORT_RECORDS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivers_all_in_order),
		cmocka_unit_test(doubles_its_pauses),
		cmocka_unit_test(waits_as_asked),
		cmocka_unit_test(finds_the_one),
		cmocka_unit_test(gives_up_nothing_while_all_is_refused),
		cmocka_unit_test(grows_slowly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
