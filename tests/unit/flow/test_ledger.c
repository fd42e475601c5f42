#include "test.h"

#include <netinet/in.h>
#include <string.h>

#include "flow/ledger.h"

#define OWNER (5u << FLOW_OWNER_BITS | 3)
#define GONE (4u << FLOW_OWNER_BITS | 3)
#define ETH0 2
#define WG0 3

static const struct moment now = { .mono_ns = 1000000, .wall_us = 5000000 };

struct seen {
	struct flow_table *table;
	struct ledger *ledger;
	unsigned int opened, new, failed;
	int error;
	struct flow_delta sum;
};

static int number(void *user, uint32_t owner)
{
	(void)user;
	return owner == OWNER ? 3 : -1;
}

static void on_opened(void *user, struct flow *flow, bool is_new)
{
	struct seen *seen = user;

	(void)flow;
	seen->opened++;
	seen->new += is_new;
}

static void on_updated(void *user, struct flow *flow, const struct flow_delta *delta)
{
	struct seen *seen = user;

	(void)flow;
	seen->sum.packets += delta->packets;
	seen->sum.bytes += delta->bytes;
	seen->sum.connections += delta->connections;
}

static void on_failed(void *user, struct flow *flow, int error)
{
	struct seen *seen = user;

	(void)flow;
	seen->failed++;
	seen->error = error;
}

static void begin_with(struct seen *seen, size_t max_flows)
{
	struct flow_reader_callbacks callbacks = { on_opened, on_updated, on_failed, seen };

	*seen = (struct seen){ 0 };
	assert_int_equal(flow_table_new(max_flows, &seen->table), 0);
	assert_int_equal(ledger_new(seen->table, 256, number, NULL, &callbacks, &seen->ledger), 0);
}

static void begin(struct seen *seen)
{
	begin_with(seen, 1000);
}

static void end(struct seen *seen)
{
	assert_null(ledger_free(seen->ledger));
	assert_null(flow_table_free(seen->table));
}

static struct flow_slot tcp(uint16_t port, uint64_t first_ns, uint64_t packets,
                            uint32_t connections)
{
	struct flow_slot slot = { .id = { .remote = { [10] = 0xff, [11] = 0xff, [12] = 192 },
		                          .owner = OWNER,
		                          .ifindex = WG0,
		                          .port = port,
		                          .protocol = IPPROTO_TCP },
		                  .connections = connections,
		                  .packets = packets,
		                  .bytes = packets * 100,
		                  .first_ns = first_ns };

	return slot;
}

static void open_slot(struct seen *seen, uint32_t index, struct flow_slot opened,
                      struct flow_slot victim)
{
	struct flow_opened record = { FLOW_RECORD_OPENED, index, opened, victim };

	ledger_record(seen->ledger, &record, sizeof(record), &now);
}

static void sweep(struct seen *seen, uint32_t index, struct flow_slot state)
{
	ledger_swept(seen->ledger, index, &state, &now);
}

static bool found(struct seen *seen, uint32_t index, struct flow_slot state)
{
	return ledger_found(seen->ledger, index, &state, &now);
}

static struct flow *flow_of(struct seen *seen, uint16_t port)
{
	struct flow_key key = { .remote.b = { [10] = 0xff, [11] = 0xff, [12] = 192 },
		                .subject = 3,
		                .ifindex = WG0,
		                .remote_port = port,
		                .protocol = IPPROTO_TCP };

	return flow_table_find(seen->table, &key);
}

static void assert_flow(struct seen *seen, uint16_t port, uint64_t packets, uint32_t connections)
{
	struct flow *flow = flow_of(seen, port);

	assert_non_null(flow);
	assert_int_equal(flow->packets, packets);
	assert_int_equal(flow->bytes, packets * 100);
	assert_int_equal(flow->connections, connections);
}

static const struct flow_slot none;

static void a_new_flow_is_opened_and_swept(void **state)
{
	struct seen s;

	(void)state;
	begin(&s);
	open_slot(&s, 9, tcp(443, 500, 1, 1), none);
	assert_flow(&s, 443, 1, 1);
	assert_int_equal(flow_of(&s, 443)->first.mono_ns, 500);
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, 500);

	sweep(&s, 9, tcp(443, 500, 1, 1)); /* did not move */
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, 500);
	sweep(&s, 9, tcp(443, 500, 10, 2));
	assert_flow(&s, 443, 10, 2);
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, now.mono_ns);
	assert_int_equal(s.opened, 1);
	assert_int_equal(s.sum.packets, 10);
	end(&s);
}

static void a_victim_gets_the_rest_of_its_counts(void **state)
{
	struct seen s;

	(void)state;
	begin(&s);
	open_slot(&s, 9, tcp(443, 500, 1, 1), none);
	sweep(&s, 9, tcp(443, 500, 10, 2));
	open_slot(&s, 9, tcp(80, 600, 1, 1), tcp(443, 500, 15, 3));
	assert_flow(&s, 443, 15, 3);
	assert_flow(&s, 80, 1, 1);
	/* The old occupant's state, read just before the slot changed hands. */
	sweep(&s, 9, tcp(443, 500, 15, 3));
	assert_flow(&s, 443, 15, 3);
	/* And it comes back, elsewhere. */
	open_slot(&s, 10, tcp(443, 700, 1, 1), none);
	assert_flow(&s, 443, 16, 4);
	assert_int_equal(s.opened, 3);
	assert_int_equal(s.new, 2);
	end(&s);
}

static void one_flow_on_two_cpus(void **state)
{
	struct seen s;

	(void)state;
	begin(&s);
	open_slot(&s, 9, tcp(443, 500, 1, 1), none);
	open_slot(&s, 109, tcp(443, 400, 2, 0), none);
	sweep(&s, 9, tcp(443, 500, 5, 1));
	sweep(&s, 109, tcp(443, 400, 7, 0));
	assert_flow(&s, 443, 12, 1);
	assert_int_equal(flow_of(&s, 443)->first.mono_ns, 400);
	assert_int_equal(s.new, 1);
	end(&s);
}

/* What it does next leaves a record: the agent may not live until it knows what to think of it. */
static void found_flows_are_watched(void **state)
{
	struct flow_slot watched = tcp(80, 100, 5, 1);
	struct seen s;

	(void)state;
	begin(&s);
	watched.watched = 1;
	assert_false(found(&s, 1, watched));
	assert_true(found(&s, 2, tcp(443, 100, 5, 1)));
	assert_false(found(&s, 2, tcp(443, 100, 5, 1)));
	assert_flow(&s, 443, 5, 1);
	end(&s);
}

/* All its packets were there at the start; only the record tells that they were sent a moment ago. */
static void found_flow_resumed_meanwhile(void **state)
{
	struct flow_resumed record = { FLOW_RECORD_RESUMED, 9, 700, tcp(443, 100, 5, 1) };
	struct seen s;

	(void)state;
	begin(&s);
	found(&s, 9, tcp(443, 100, 5, 1));
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, 100);
	ledger_record(s.ledger, &record, sizeof(record), &now);
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, 700);
	assert_flow(&s, 443, 5, 1);
	/* An older one tells nothing new, and one of another occupation of the slot is not its own. */
	record.time_ns = 600;
	ledger_record(s.ledger, &record, sizeof(record), &now);
	record.time_ns = 900;
	record.now.first_ns = 200;
	ledger_record(s.ledger, &record, sizeof(record), &now);
	assert_int_equal(flow_of(&s, 443)->last.mono_ns, 700);
	end(&s);
}

/* Started when the slot was C's; the ring still tells how it went from A to B to C. */
static void records_older_than_what_was_found(void **state)
{
	struct seen s;

	(void)state;
	begin(&s);
	found(&s, 9, tcp(3, 300, 7, 1));
	open_slot(&s, 9, tcp(2, 200, 1, 1), tcp(1, 100, 11, 2));
	open_slot(&s, 9, tcp(3, 300, 1, 1), tcp(2, 200, 13, 4));
	assert_flow(&s, 1, 11, 2);
	assert_flow(&s, 2, 13, 4);
	assert_flow(&s, 3, 7, 1);
	sweep(&s, 9, tcp(3, 300, 8, 1));
	assert_flow(&s, 3, 8, 1);
	open_slot(&s, 9, tcp(4, 400, 1, 1), tcp(3, 300, 9, 2));
	assert_flow(&s, 3, 9, 2);
	assert_int_equal(s.sum.packets, 11 + 13 + 9 + 1);
	end(&s);
}

/* The slot changed hands while it was being read at the start, so it was not found. */
/* Records were lost: every slot is looked at, those that are known too. */
static void what_is_found_again_is_counted_once(void **state)
{
	struct seen seen;

	(void)state;
	begin(&seen);
	found(&seen, 7, tcp(80, 500, 10, 1));
	found(&seen, 7, tcp(80, 500, 10, 1));
	found(&seen, 7, tcp(80, 500, 12, 2));
	assert_flow(&seen, 80, 12, 2);
	assert_int_equal(seen.opened, 1);
	found(&seen, 7, tcp(81, 600, 3, 1)); /* the slot's new flow, which nothing told of */
	assert_flow(&seen, 81, 3, 1);
	assert_flow(&seen, 80, 12, 2);
	assert_int_equal(seen.sum.packets, 15);
	end(&seen);
}

static void a_victim_nobody_knew(void **state)
{
	struct seen s;

	(void)state;
	begin(&s);
	open_slot(&s, 9, tcp(2, 200, 1, 1), tcp(1, 100, 11, 2));
	assert_flow(&s, 1, 11, 2);
	assert_flow(&s, 2, 1, 1);
	end(&s);
}

static void other_protocols_are_one_connection(void **state)
{
	struct flow_slot udp = tcp(53, 500, 1, 1);
	struct seen s;

	(void)state;
	udp.id.protocol = IPPROTO_UDP;
	begin(&s);
	open_slot(&s, 9, udp, none);
	open_slot(&s, 109, udp, none);
	udp.packets = 5;
	udp.bytes = 500;
	sweep(&s, 9, udp);
	assert_int_equal(s.sum.connections, 1);
	assert_int_equal(s.sum.packets, 6);
	end(&s);
}

static void answers_are_kept_by_local_port(void **state)
{
	struct flow_slot answer = tcp(8080, 500, 1, 1);
	struct flow_key key = { .remote.b = { [10] = 0xff, [11] = 0xff, [12] = 192 },
		                .subject = 3,
		                .ifindex = WG0,
		                .local_port = 8080,
		                .protocol = IPPROTO_TCP,
		                .origin = FLOW_REMOTE };
	struct seen s;

	(void)state;
	answer.id.opened_by = FLOW_BY_REMOTE;
	begin(&s);
	open_slot(&s, 9, answer, none);
	assert_non_null(flow_table_find(s.table, &key));
	assert_null(flow_of(&s, 8080));
	end(&s);
}

static void subjects_that_are_gone_are_ignored(void **state)
{
	struct flow_slot gone = tcp(443, 500, 1, 1);
	struct seen s;

	(void)state;
	gone.id.owner = GONE;
	begin(&s);
	found(&s, 8, gone);
	open_slot(&s, 9, gone, none);
	open_slot(&s, 9, tcp(80, 600, 1, 1), gone);
	assert_int_equal(flow_table_count(s.table), 1);
	assert_int_equal(ledger_refused(s.ledger), 0);
	/* Forgotten once it moves. */
	open_slot(&s, 10, gone, none);
	gone.packets = 9;
	sweep(&s, 10, gone);
	assert_false(ledger_knows(s.ledger, 10));
	end(&s);
}

/* One place for two flows that both go on. */
static void a_flow_that_was_evicted_comes_back(void **state)
{
	struct seen s;

	(void)state;
	begin_with(&s, 1);
	open_slot(&s, 9, tcp(443, 500, 1, 1), none);
	open_slot(&s, 10, tcp(80, 600, 1, 1), none);
	assert_null(flow_of(&s, 443));
	sweep(&s, 9, tcp(443, 500, 4, 1));
	assert_flow(&s, 443, 3, 0);
	assert_int_equal(s.sum.packets, 5);
	assert_int_equal(s.new, 3);
	end(&s);
}

/* Bad traffic that comes back must not wait for the sweep; everything else may. */
static void a_quiet_wrong_flow_is_watched(void **state)
{
	static const struct moment then = { .mono_ns = 5000, .wall_us = 1000000 };
	struct flow_slot slot = tcp(443, 1000, 4, 1), more = tcp(443, 1000, 7, 2);
	struct flow_resumed record = { FLOW_RECORD_RESUMED, 1, 4000, more };
	struct seen seen;

	(void)state;
	begin(&seen);
	open_slot(&seen, 1, slot, none);
	assert_false(ledger_swept(seen.ledger, 1, &slot, &then));
	flow_of(&seen, 443)->offending = true;
	assert_true(ledger_swept(seen.ledger, 1, &slot, &then));
	slot.watched = 1;
	assert_false(ledger_swept(seen.ledger, 1, &slot, &then));
	assert_false(ledger_swept(seen.ledger, 2, &slot, &then));

	/* Its next packet, with its own time. */
	ledger_record(seen.ledger, &record, sizeof(record), &then);
	assert_flow(&seen, 443, 7, 2);
	assert_int_equal(flow_of(&seen, 443)->last.mono_ns, 4000);
	/* Told twice, or by a sweep before; and of an occupant that is gone. */
	ledger_record(seen.ledger, &record, sizeof(record), &then);
	record.now.packets = 6;
	ledger_record(seen.ledger, &record, sizeof(record), &then);
	record.now = tcp(443, 999, 20, 3);
	ledger_record(seen.ledger, &record, sizeof(record), &then);
	record.slot = 9;
	ledger_record(seen.ledger, &record, sizeof(record), &then);
	assert_flow(&seen, 443, 7, 2);
	assert_int_equal(ledger_refused(seen.ledger), 0);
	more.packets = 8;
	assert_false(ledger_swept(seen.ledger, 1, &more, &then));
	end(&seen);
}

static void failures_find_their_flow(void **state)
{
	static const struct {
		uint32_t owner, ifindex;
		uint16_t port;
		uint8_t remote;
		unsigned int failed;
	} rows[] = {
		{ OWNER, WG0, 443, 192, 1 },  { OWNER, 0, 443, 192, 1 },
		{ OWNER, ETH0, 443, 192, 1 }, { OWNER, WG0, 80, 192, 0 },
		{ OWNER, WG0, 443, 193, 0 },  { GONE, WG0, 443, 192, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct flow_failed record = {
			.kind = FLOW_RECORD_FAILED,
			.owner = rows[i].owner,
			.remote = { [10] = 0xff, [11] = 0xff, [12] = rows[i].remote },
			.port = rows[i].port,
			.error = ECONNREFUSED,
			.ifindex = rows[i].ifindex
		};
		struct seen s;

		begin(&s);
		open_slot(&s, 9, tcp(443, 500, 1, 1), none);
		ledger_record(s.ledger, &record, sizeof(record), &now);
		assert_int_equal(s.failed, rows[i].failed);
		assert_int_equal(flow_of(&s, 443)->failed, rows[i].failed);
		assert_int_equal(s.error, rows[i].failed ? ECONNREFUSED : 0);
		end(&s);
	}
}

static void records_that_make_no_sense_are_refused(void **state)
{
	struct flow_opened record = { FLOW_RECORD_OPENED, 9, tcp(443, 500, 1, 1), none };
	struct seen s;

	(void)state;
	begin(&s);
	for (size_t size = 0; size < sizeof(record); size++)
		ledger_record(s.ledger, &record, size, &now);
	record.kind = 77;
	ledger_record(s.ledger, &record, sizeof(record), &now);
	record.kind = FLOW_RECORD_OPENED;
	record.now.first_ns = 0;
	ledger_record(s.ledger, &record, sizeof(record), &now);
	record.now = tcp(443, 500, 1, 1);
	record.now.id.opened_by = 2;
	ledger_record(s.ledger, &record, sizeof(record), &now);
	assert_int_equal(ledger_refused(s.ledger), sizeof(record) + 3);
	assert_int_equal(flow_table_count(s.table), 0);

	/* A slot beyond the map: the flow is known, its slot cannot be. */
	open_slot(&s, 256, tcp(443, 500, 1, 1), none);
	assert_int_equal(ledger_refused(s.ledger), sizeof(record) + 4);
	assert_flow(&s, 443, 1, 1);
	end(&s);
}

static void the_earliest_record_is_known(void **state)
{
	struct flow_resumed resumed = { FLOW_RECORD_RESUMED, 9, 450, tcp(443, 100, 2, 1) };
	struct flow_failed failed = { .kind = FLOW_RECORD_FAILED, .owner = OWNER, .time_ns = 1 };
	struct seen s;

	(void)state;
	begin(&s);
	found(&s, 9, tcp(443, 100, 1, 1));
	ledger_record(s.ledger, &failed, sizeof(failed), &now); /* of a flow that has its own */
	assert_true(ledger_earliest_ns(s.ledger) == UINT64_MAX);
	open_slot(&s, 10, tcp(80, 500, 1, 1), none);
	assert_int_equal(ledger_earliest_ns(s.ledger), 500);
	/* Those of two CPUs are not in order. */
	ledger_record(s.ledger, &resumed, sizeof(resumed), &now);
	open_slot(&s, 11, tcp(81, 700, 1, 1), none);
	assert_int_equal(ledger_earliest_ns(s.ledger), 450);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_flow_is_opened_and_swept),
		cmocka_unit_test(a_victim_gets_the_rest_of_its_counts),
		cmocka_unit_test(one_flow_on_two_cpus),
		cmocka_unit_test(found_flows_are_watched),
		cmocka_unit_test(found_flow_resumed_meanwhile),
		cmocka_unit_test(records_older_than_what_was_found),
		cmocka_unit_test(what_is_found_again_is_counted_once),
		cmocka_unit_test(a_victim_nobody_knew),
		cmocka_unit_test(other_protocols_are_one_connection),
		cmocka_unit_test(answers_are_kept_by_local_port),
		cmocka_unit_test(subjects_that_are_gone_are_ignored),
		cmocka_unit_test(a_flow_that_was_evicted_comes_back),
		cmocka_unit_test(a_quiet_wrong_flow_is_watched),
		cmocka_unit_test(failures_find_their_flow),
		cmocka_unit_test(records_that_make_no_sense_are_refused),
		cmocka_unit_test(the_earliest_record_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
