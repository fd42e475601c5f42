/*
 * Each test is a conversation: what the server did, what is asked next, and when.
 * Without randomness a pause is as short as it may be.
 */
#include "test.h"

#include <string.h>

#include "base/clock.h"
#include "kube/reflector.h"

#define MS NSEC_PER_MSEC
#define S NSEC_PER_SEC
#define START (1000 * S)

static struct kube_reflector r;
static uint64_t now_ns;

static int begin(void **state)
{
	(void)state;
	now_ns = START;
	kube_reflector_init(&r, START);
	return 0;
}

/* After exactly `pause_ns` this is asked. */
static void asks(uint64_t pause_ns, enum kube_ask ask, const char *version, const char *token,
                 unsigned int limit)
{
	struct kube_question question = { 0 };

	assert_false(r.busy);
	assert_int_equal(kube_reflector_due(&r), now_ns + pause_ns);
	if (pause_ns > 0)
		assert_int_equal(kube_reflector_tick(&r, now_ns + pause_ns - 1, 0, &question),
		                 KUBE_ACT_NONE);
	now_ns += pause_ns;
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_ASK);
	assert_int_equal(question.ask, ask);
	assert_string_equal(question.version, version);
	assert_string_equal(question.token, token);
	assert_int_equal(question.limit, limit);
	assert_int_equal(question.timeout_s, ask == KUBE_ASK_PAGE ? 0 : KUBE_WATCH_TIMEOUT_S);
	assert_true(r.busy);
}

static void streams(uint64_t pause_ns, const char *version)
{
	asks(pause_ns, KUBE_ASK_STREAM, version, "", 0);
}

static void watches(uint64_t pause_ns, const char *version)
{
	asks(pause_ns, KUBE_ASK_WATCH, version, "", 0);
}

static enum kube_act event(enum kube_frame_type type, const char *version)
{
	return kube_reflector_event(&r, now_ns, 0, type, version, false);
}

static enum kube_act end_of_list(const char *version)
{
	return kube_reflector_event(&r, now_ns, 0, KUBE_FRAME_BOOKMARK, version, true);
}

static enum kube_act page(const char *version, const char *token)
{
	return kube_reflector_page(&r, now_ns, 0, version, token);
}

static enum kube_act fails(enum kube_failure_kind kind)
{
	return kube_reflector_failed(&r, now_ns, 0, &(struct kube_failure){ .kind = kind });
}

static enum kube_act status_after(uint16_t code, uint32_t retry_after_s)
{
	return kube_reflector_failed(&r, now_ns, 0,
	                             &(struct kube_failure){ .kind = KUBE_FAILURE_STATUS,
	                                                     .code = code,
	                                                     .expired = code == 410,
	                                                     .retry_after_s = retry_after_s });
}

static enum kube_act status(uint16_t code)
{
	return status_after(code, 0);
}

static void ends(void)
{
	kube_reflector_ended(&r, now_ns, 0);
}

/* A complete list at version 100 and a watch on it that was answered. */
static void synced(void)
{
	begin(NULL);
	streams(0, "");
	assert_int_equal(end_of_list("100"), KUBE_ACT_COMMIT);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	now_ns += 5 * S;
	ends();
	watches(0, "100");
	kube_reflector_opened(&r, now_ns);
}

/* The list itself, streamed */

static void a_streamed_list_is_complete_at_its_bookmark(void **state)
{
	(void)state;
	assert_int_equal(r.state, KUBE_WATCH_WAITING);
	streams(0, "");
	kube_reflector_opened(&r, now_ns);
	/* These come in no order. */
	assert_int_equal(event(KUBE_FRAME_ADDED, "90"), KUBE_ACT_PUT);
	assert_true(r.listing);
	assert_int_equal(event(KUBE_FRAME_ADDED, "20"), KUBE_ACT_PUT);
	assert_int_equal(event(KUBE_FRAME_BOOKMARK, "95"), KUBE_ACT_NONE);
	assert_string_equal(r.version, "");
	assert_int_equal(r.state, KUBE_WATCH_WAITING);
	assert_int_equal(end_of_list("95"), KUBE_ACT_COMMIT);
	assert_string_equal(r.version, "95");
	assert_false(r.listing);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	/* The same stream goes on. */
	assert_int_equal(event(KUBE_FRAME_MODIFIED, "101"), KUBE_ACT_PUT);
	assert_int_equal(event(KUBE_FRAME_DELETED, "102"), KUBE_ACT_REMOVE);
	assert_false(r.listing);
	now_ns += 300 * S;
	ends();
	watches(0, "102");
}

static void a_server_without_streamed_lists_is_asked_for_pages(void **state)
{
	static const uint16_t codes[] = { 400, 405, 406, 415, 422, 501 };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		begin(NULL);
		streams(0, "");
		assert_int_equal(status(codes[i]), KUBE_ACT_NONE);
		assert_int_equal(r.state, KUBE_WATCH_WAITING);
		asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
		assert_int_equal(page("50", NULL), KUBE_ACT_COMMIT);
		watches(0, "50");
		/* It is remembered, for a while. */
		status(410);
		asks(800 * MS, KUBE_ASK_PAGE, "", "", KUBE_PAGE_ITEMS);
		page("60", "");
		watches(0, "60");
		now_ns += KUBE_STREAM_REFUSED_NS;
		kube_reflector_opened(&r, now_ns);
		status(410);
		streams(800 * MS, "");
	}
}

static void a_server_that_ignores_the_wish_is_found_out(void **state)
{
	struct kube_question question;

	(void)state;
	/* It goes quiet without the bookmark. */
	streams(0, "");
	kube_reflector_opened(&r, now_ns);
	now_ns += 10 * S;
	event(KUBE_FRAME_ADDED, "20");
	assert_int_equal(kube_reflector_due(&r), now_ns + KUBE_INITIAL_QUIET_NS);
	now_ns += KUBE_INITIAL_QUIET_NS;
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_SILENT);
	assert_false(r.listing);
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);

	/* It never goes quiet. */
	begin(NULL);
	streams(0, "");
	for (int i = 0; i < 120; i++, now_ns += S)
		assert_int_equal(event(KUBE_FRAME_MODIFIED, "20"), KUBE_ACT_PUT);
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_SILENT);
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);

	/* What happens is told before the list's end. */
	begin(NULL);
	streams(0, "");
	event(KUBE_FRAME_ADDED, "20");
	assert_int_equal(event(KUBE_FRAME_DELETED, "21"), KUBE_ACT_STOP);
	assert_false(r.listing);
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);

	/* It ends in good order, too early. */
	begin(NULL);
	streams(0, "");
	event(KUBE_FRAME_ADDED, "20");
	ends();
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
}

static void a_stream_that_breaks_begins_again(void **state)
{
	(void)state;
	streams(0, "");
	event(KUBE_FRAME_ADDED, "20");
	fails(KUBE_FAILURE_BROKEN);
	assert_false(r.listing);
	assert_int_equal(r.state, KUBE_WATCH_FAILING);
	streams(800 * MS, "");
	/* For memory and broken connections streams are not to blame. */
	for (int i = 0; i < 5; i++) {
		fails(i % 2 ? KUBE_FAILURE_BROKEN : KUBE_FAILURE_MEMORY);
		now_ns = kube_reflector_due(&r);
		streams(0, "");
	}
	for (int i = 0; i < KUBE_STREAM_TRIES; i++) {
		fails(KUBE_FAILURE_PROTOCOL);
		now_ns = kube_reflector_due(&r);
		if (i < KUBE_STREAM_TRIES - 1)
			streams(0, "");
	}
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
	/* Until a list was complete. */
	page("30", NULL);
	watches(0, "30");
	fails(KUBE_FAILURE_PROTOCOL);
	now_ns = kube_reflector_due(&r);
	streams(0, "30");
}

static void a_list_needs_a_version(void **state)
{
	static const char *const bad[] = { NULL,
		                           "",
		                           "a b",
		                           "\x01",
		                           "7\n",
		                           "12345678901234567890123456789012345678901234567890"
		                           "123456789012345" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin(NULL);
		streams(0, "");
		assert_int_equal(end_of_list(bad[i]), KUBE_ACT_STOP);
		assert_int_equal(r.state, KUBE_WATCH_FAILING);
		streams(800 * MS, "");
		status(422);
		asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
		assert_int_equal(page(bad[i], NULL), KUBE_ACT_STOP);
		assert_false(r.busy);
	}
}

/* Pages */

static void pages(void)
{
	begin(NULL);
	streams(0, "");
	status(422);
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
}

static void pages_are_asked_for_to_the_end(void **state)
{
	(void)state;
	pages();
	assert_int_equal(page("50", "t1"), KUBE_ACT_NONE);
	assert_true(r.listing);
	/* Version and token exclude each other. */
	asks(0, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	assert_int_equal(page("50", "t2"), KUBE_ACT_NONE);
	asks(0, KUBE_ASK_PAGE, "", "t2", KUBE_PAGE_ITEMS);
	/* What the first page did not know is watched. */
	assert_int_equal(page("57", NULL), KUBE_ACT_COMMIT);
	assert_false(r.listing);
	watches(0, "50");
	/* It pages what others answer out of their memory: the limit stays. */
	fails(KUBE_FAILURE_PROTOCOL);
	asks(800 * MS, KUBE_ASK_PAGE, "50", "", KUBE_PAGE_ITEMS);
}

static void a_later_list_is_not_limited(void **state)
{
	(void)state;
	pages();
	page("50", NULL);
	watches(0, "50");
	fails(KUBE_FAILURE_PROTOCOL);
	asks(800 * MS, KUBE_ASK_PAGE, "50", "", 0);
}

static void pages_that_expire_are_asked_for_all_at_once(void **state)
{
	(void)state;
	pages();
	page("50", "t1");
	asks(0, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	status(410);
	assert_false(r.listing);
	asks(0, KUBE_ASK_PAGE, "0", "", 0);
	/* A server that pages all the same, and lets them expire, is not asked in a hurry. */
	page("51", "t2");
	asks(0, KUBE_ASK_PAGE, "", "t2", 0);
	status(410);
	asks(800 * MS, KUBE_ASK_PAGE, "0", "", 0);
	page("52", NULL);
	watches(0, "52");
}

static void a_page_that_is_throttled_is_asked_for_again(void **state)
{
	(void)state;
	pages();
	page("50", "t1");
	asks(0, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	status_after(429, 7);
	assert_true(r.listing);
	asks(7 * S, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	status_after(503, 9);
	assert_true(r.listing);
	asks(9 * S, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	page("50", "t2");
	asks(0, KUBE_ASK_PAGE, "", "t2", KUBE_PAGE_ITEMS);
	for (unsigned int i = 0; i < KUBE_PAGE_TRIES; i++) {
		status(429);
		now_ns = kube_reflector_due(&r);
		asks(0, KUBE_ASK_PAGE, "", "t2", KUBE_PAGE_ITEMS);
	}
	status(429);
	assert_false(r.listing);
	now_ns = kube_reflector_due(&r);
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
}

static void a_page_that_breaks_begins_the_list_again(void **state)
{
	static const enum kube_failure_kind kinds[] = { KUBE_FAILURE_BROKEN, KUBE_FAILURE_PROTOCOL,
		                                        KUBE_FAILURE_MEMORY };

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		pages();
		page("50", "t1");
		asks(0, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
		fails(kinds[i]);
		assert_false(r.listing);
		asks(800 * MS, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
	}
}

static void pages_have_an_end(void **state)
{
	static char token[KUBE_CONTINUE_MAX + 2];

	(void)state;
	pages();
	page("50", "t1");
	asks(0, KUBE_ASK_PAGE, "", "t1", KUBE_PAGE_ITEMS);
	assert_int_equal(page("50", "t1"), KUBE_ACT_STOP);

	pages();
	memset(token, 'x', sizeof(token) - 1);
	assert_int_equal(page("50", token), KUBE_ACT_STOP);
	assert_false(r.listing);

	pages();
	for (unsigned int i = 0; i < KUBE_PAGES_MAX; i++) {
		assert_int_equal(page("50", i % 2 ? "odd" : "even"), KUBE_ACT_NONE);
		asks(0, KUBE_ASK_PAGE, "", i % 2 ? "odd" : "even", KUBE_PAGE_ITEMS);
	}
	assert_int_equal(page("50", "more"), KUBE_ACT_STOP);
}

/* Versions */

static void the_version_follows_what_comes(void **state)
{
	static const struct {
		enum kube_frame_type type;
		const char *version, *then;
	} rows[] = {
		{ KUBE_FRAME_ADDED, "101", "101" },
		{ KUBE_FRAME_MODIFIED, "102", "102" },
		{ KUBE_FRAME_BOOKMARK, "110", "110" },
		{ KUBE_FRAME_DELETED, "111", "111" },
		{ KUBE_FRAME_MODIFIED, NULL, "111" },
		{ KUBE_FRAME_BOOKMARK, "", "111" },
		{ KUBE_FRAME_BOOKMARK, "1 2", "111" },
		{ KUBE_FRAME_MODIFIED, "99", "111" }, /* backwards */
		{ KUBE_FRAME_MODIFIED, "111", "111" },
		{ KUBE_FRAME_MODIFIED, "opaque", "opaque" },
		{ KUBE_FRAME_MODIFIED, "7", "7" }, /* who knows */
	};

	(void)state;
	synced();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		event(rows[i].type, rows[i].version);
		assert_string_equal(r.version, rows[i].then);
	}
	/* A marker outside of a list is a bookmark. */
	assert_int_equal(end_of_list("200"), KUBE_ACT_NONE);
	assert_string_equal(r.version, "200");
}

/* A server that was restored from a backup. */
static void a_complete_list_may_go_back(void **state)
{
	(void)state;
	synced();
	status(410);
	streams(800 * MS, "");
	assert_int_equal(end_of_list("40"), KUBE_ACT_COMMIT);
	assert_string_equal(r.version, "40");
}

static void synthetic_events_of_a_watch_at_any_version_tell_none(void **state)
{
	(void)state;
	pages();
	page("0", NULL);
	watches(0, "0");
	event(KUBE_FRAME_ADDED, "50");
	event(KUBE_FRAME_ADDED, "20");
	assert_string_equal(r.version, "0");
	event(KUBE_FRAME_MODIFIED, "51");
	assert_string_equal(r.version, "51");
	event(KUBE_FRAME_ADDED, "52");
	assert_string_equal(r.version, "52");
}

/* Watches that end */

static void an_expired_version_leads_to_a_list_at_any(void **state)
{
	static const struct kube_failure failures[] = {
		{ .kind = KUBE_FAILURE_STATUS, .code = 410, .expired = true },
		{ .kind = KUBE_FAILURE_STATUS, .code = 500, .expired = true },
		{ .kind = KUBE_FAILURE_STATUS, .code = 504, .too_large = true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		synced();
		assert_int_equal(kube_reflector_failed(&r, now_ns, 0, &failures[i]), KUBE_ACT_NONE);
		assert_int_equal(r.state, KUBE_WATCH_STALE);
		/* Not at once: every watch of a server that was restarted ends so. */
		streams(800 * MS, "");
		end_of_list("300");
		assert_int_equal(r.state, KUBE_WATCH_SYNCED);

		/* A list that is not older than the last one is asked for at any version at once. */
		now_ns += 5 * S;
		fails(KUBE_FAILURE_PROTOCOL);
		now_ns = kube_reflector_due(&r);
		streams(0, "300");
		kube_reflector_failed(&r, now_ns, 0, &failures[i]);
		streams(0, "");
		/* But not in a circle. */
		kube_reflector_failed(&r, now_ns, 0, &failures[i]);
		assert_true(kube_reflector_due(&r) >= now_ns + 800 * MS);
		now_ns = kube_reflector_due(&r);
		streams(0, "");
	}
}

static void a_page_at_an_expired_version_is_asked_for_at_any(void **state)
{
	(void)state;
	pages();
	page("50", NULL);
	watches(0, "50");
	fails(KUBE_FAILURE_PROTOCOL);
	asks(800 * MS, KUBE_ASK_PAGE, "50", "", 0);
	status(410);
	asks(0, KUBE_ASK_PAGE, "", "", KUBE_PAGE_ITEMS);
	status(410);
	asks(1600 * MS, KUBE_ASK_PAGE, "", "", KUBE_PAGE_ITEMS);
}

static void a_throttled_or_refused_watch_keeps_its_version(void **state)
{
	(void)state;
	synced();
	event(KUBE_FRAME_MODIFIED, "120");
	status(429);
	assert_int_equal(r.state, KUBE_WATCH_STALE);
	watches(800 * MS, "120");
	status_after(429, 20);
	watches(20 * S, "120");
	fails(KUBE_FAILURE_BROKEN);
	watches(3200 * MS, "120");
	fails(KUBE_FAILURE_BROKEN);
	watches(6400 * MS, "120");
	for (int i = 0; i < 100; i++) { /* an hour */
		fails(KUBE_FAILURE_BROKEN);
		now_ns = kube_reflector_due(&r);
		watches(0, "120");
	}
	assert_int_equal(r.state, KUBE_WATCH_STALE);
	kube_reflector_opened(&r, now_ns);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
}

static void a_stream_that_was_complete_and_is_throttled_is_watched(void **state)
{
	(void)state;
	streams(0, "");
	end_of_list("95");
	status(429);
	watches(800 * MS, "95");
}

static void a_watch_that_the_server_fails_is_listed_after_a_while(void **state)
{
	static const uint16_t codes[] = { 500, 502, 503, 504 };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		uint64_t since_ns;

		synced();
		since_ns = now_ns;
		do {
			status(codes[i]);
			assert_int_equal(r.state, KUBE_WATCH_STALE);
			now_ns = kube_reflector_due(&r);
			if (r.next == KUBE_NEXT_WATCH)
				watches(0, "100");
		} while (r.next == KUBE_NEXT_WATCH && now_ns < since_ns + 300 * S);
		assert_true(now_ns - since_ns >= KUBE_WATCH_TROUBLE_NS);
		assert_true(now_ns - since_ns < 2 * KUBE_WATCH_TROUBLE_NS);
		streams(0, "100");
	}
}

static void other_errors_of_a_watch_lead_to_a_list(void **state)
{
	static const uint16_t codes[] = { 0, 302, 400, 405, 406, 409, 415, 422 };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		synced();
		status(codes[i]);
		assert_int_equal(r.state, KUBE_WATCH_STALE);
		streams(800 * MS, "");
	}
	synced();
	fails(KUBE_FAILURE_PROTOCOL);
	streams(800 * MS, "100");
	synced();
	fails(KUBE_FAILURE_MEMORY);
	streams(800 * MS, "100");
}

static void a_watch_that_ends_is_opened_again(void **state)
{
	(void)state;
	synced();
	event(KUBE_FRAME_MODIFIED, "120");
	ends(); /* at once, but it brought something */
	watches(KUBE_WATCH_SHORT_NS, "120");
	kube_reflector_opened(&r, now_ns);
	event(KUBE_FRAME_BOOKMARK, "120");
	fails(KUBE_FAILURE_BROKEN);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	watches(KUBE_WATCH_SHORT_NS, "120");
	now_ns += KUBE_WATCH_SHORT_NS;
	ends(); /* nothing, but it lasted */
	watches(0, "120");
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	now_ns += KUBE_WATCH_SHORT_NS - 1;
	ends(); /* very short */
	assert_int_equal(r.state, KUBE_WATCH_STALE);
	watches(800 * MS, "120");
	ends();
	watches(1600 * MS, "120");
}

static void a_connection_that_breaks_is_made_again_soon(void **state)
{
	uint64_t before_ns;

	(void)state;
	synced();
	now_ns += 10 * S;
	fails(KUBE_FAILURE_BROKEN);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	watches(0, "100");
	/* Not by all nodes at once. */
	kube_reflector_opened(&r, now_ns);
	now_ns += 10 * S;
	before_ns = now_ns;
	kube_reflector_failed(&r, now_ns, UINT32_MAX,
	                      &(struct kube_failure){ .kind = KUBE_FAILURE_BROKEN });
	assert_true(kube_reflector_due(&r) > before_ns + KUBE_RECONNECT_NS * 9 / 10);
	assert_true(kube_reflector_due(&r) <= before_ns + KUBE_RECONNECT_NS);
}

/* Pauses */

static void pauses_grow_and_are_forgotten(void **state)
{
	static const uint64_t pauses_ms[] = { 800,   1600,  3200,  6400, 12800,
		                              25600, 30000, 30000, 30000 };

	(void)state;
	synced();
	for (size_t i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
		status(429);
		watches(pauses_ms[i] * MS, "100");
	}
	now_ns += KUBE_BACKOFF_RESET_NS + 1;
	status(429);
	watches(800 * MS, "100");
	now_ns += KUBE_BACKOFF_RESET_NS;
	status(429);
	watches(1600 * MS, "100");
}

/* A server that is back is not to be waited for as long as it was away. */
static void who_answers_again_is_asked_sooner(void **state)
{
	(void)state;
	synced();
	for (int i = 0; i < 10; i++) {
		fails(KUBE_FAILURE_BROKEN);
		now_ns = kube_reflector_due(&r);
		watches(0, "100");
	}
	status_after(429, 1);
	watches(6400 * MS, "100");
	status_after(429, 1);
	watches(12800 * MS, "100");
	/* Nor does one that fails in turns get more than that. */
	fails(KUBE_FAILURE_BROKEN);
	watches(25600 * MS, "100");
	status(503);
	watches(6400 * MS, "100");
	/* What was short stays short. */
	synced();
	fails(KUBE_FAILURE_BROKEN);
	now_ns = kube_reflector_due(&r);
	watches(0, "100");
	status(429);
	watches(1600 * MS, "100");
}

static void pauses_are_stretched_up_to_twice(void **state)
{
	(void)state;
	for (uint32_t random = 0; random < UINT32_MAX - 0x10000000; random += 0x10000000) {
		uint64_t due_ns;

		synced();
		kube_reflector_failed(&r, now_ns, random,
		                      &(struct kube_failure){ .kind = KUBE_FAILURE_STATUS,
		                                              .code = 429 });
		due_ns = kube_reflector_due(&r) - now_ns;
		assert_true(due_ns >= 800 * MS + 800 * MS * (random >> 16) / 65536 - MS);
		assert_true(due_ns <= 800 * MS + 800 * MS * (random >> 16) / 65536 + MS);
	}
}

static void a_retry_after_is_bounded(void **state)
{
	(void)state;
	synced();
	status_after(429, UINT32_MAX);
	watches(KUBE_RETRY_AFTER_MAX_NS, "100");
	status_after(429, 1);
	watches(1600 * MS, "100");
}

/* Silence */

static void watch_is_given_up_at(uint64_t after_ns)
{
	struct kube_question question;

	assert_int_equal(kube_reflector_due(&r), now_ns + after_ns);
	now_ns += after_ns - 1;
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_NONE);
	now_ns++;
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_SILENT);
	assert_int_equal(r.state, KUBE_WATCH_STALE);
}

static void a_watch_is_given_up_past_its_end(void **state)
{
	(void)state;
	synced();
	watch_is_given_up_at((KUBE_WATCH_TIMEOUT_S + 30) * S);
	watches(0, "100");
	kube_reflector_opened(&r, now_ns);
	/* One bookmark is no promise. */
	event(KUBE_FRAME_BOOKMARK, "110");
	watch_is_given_up_at((KUBE_WATCH_TIMEOUT_S + 30) * S);
	watches(0, "110");
}

static void a_watch_with_bookmarks_is_given_up_without_them(void **state)
{
	(void)state;
	synced();
	event(KUBE_FRAME_BOOKMARK, "110");
	now_ns += 60 * S;
	event(KUBE_FRAME_BOOKMARK, "111");
	watch_is_given_up_at(150 * S);
	watches(0, "111");
	/* The next one has to show its own. */
	kube_reflector_opened(&r, now_ns);
	event(KUBE_FRAME_BOOKMARK, "112");
	watch_is_given_up_at((KUBE_WATCH_TIMEOUT_S + 30) * S);
	/* And never past its end. */
	watches(0, "112");
	kube_reflector_opened(&r, now_ns);
	now_ns += 200 * S;
	event(KUBE_FRAME_BOOKMARK, "113");
	event(KUBE_FRAME_BOOKMARK, "114");
	watch_is_given_up_at(130 * S);
}

static void a_request_that_is_never_answered_is_given_up(void **state)
{
	struct kube_question question;

	(void)state;
	synced();
	ends();
	now_ns = kube_reflector_due(&r);
	watches(0, "100");
	watch_is_given_up_at(KUBE_WATCH_OPEN_NS);
	assert_false(r.busy);
	now_ns = kube_reflector_due(&r);
	watches(0, "100");

	begin(NULL);
	streams(0, "");
	now_ns += KUBE_WATCH_OPEN_NS;
	assert_int_equal(kube_reflector_tick(&r, now_ns, 0, &question), KUBE_ACT_SILENT);
	assert_int_equal(r.state, KUBE_WATCH_FAILING);
	/* What answers nothing at all may answer something else. */
	asks(800 * MS, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
	assert_int_equal(kube_reflector_due(&r), UINT64_MAX); /* the request has its own bound */
}

/* Absent and forbidden */

static void what_is_absent_is_asked_for_again(void **state)
{
	(void)state;
	streams(0, "");
	status(404);
	/* It could be the option. */
	asks(0, KUBE_ASK_PAGE, "0", "", KUBE_PAGE_ITEMS);
	assert_int_equal(r.state, KUBE_WATCH_WAITING);
	status(404);
	assert_int_equal(r.state, KUBE_WATCH_ABSENT);
	for (uint64_t passed_ns = 0; passed_ns < KUBE_POLL_SLOW_AFTER_NS; passed_ns += 5 * S) {
		streams(5 * S, "");
		/* After a minute it is known that there is none. */
		assert_int_equal(status(404), passed_ns + 5 * S == KUBE_ABSENT_NS ? KUBE_ACT_EMPTY
		                                                                  : KUBE_ACT_NONE);
	}
	streams(30 * S, "");
	kube_reflector_failed(&r, now_ns, UINT32_MAX,
	                      &(struct kube_failure){ .kind = KUBE_FAILURE_STATUS, .code = 404 });
	assert_true(kube_reflector_due(&r) > now_ns + 59 * S);
	assert_true(kube_reflector_due(&r) <= now_ns + 60 * S);
	now_ns = kube_reflector_due(&r);
	/* It appears. */
	streams(0, "");
	event(KUBE_FRAME_ADDED, "1000");
	assert_int_equal(end_of_list("1001"), KUBE_ACT_COMMIT);
	assert_int_equal(r.state, KUBE_WATCH_SYNCED);
}

static void what_is_gone_for_a_minute_is_empty(void **state)
{
	unsigned int empties = 0;
	uint64_t since_ns;

	(void)state;
	synced();
	assert_int_equal(status(404), KUBE_ACT_NONE);
	asks(0, KUBE_ASK_PAGE, "100", "", 0);
	assert_int_equal(status(404), KUBE_ACT_NONE);
	assert_int_equal(r.state, KUBE_WATCH_ABSENT);
	since_ns = now_ns;
	for (int i = 0; i < 30; i++) {
		streams(5 * S, "");
		if (status(404) == KUBE_ACT_EMPTY) {
			empties++;
			assert_int_equal(now_ns, since_ns + KUBE_ABSENT_NS);
		}
	}
	assert_int_equal(empties, 1);
	assert_int_equal(r.state, KUBE_WATCH_ABSENT);
	/* An outage while it is gone is nothing that was complete. */
	streams(5 * S, "");
	fails(KUBE_FAILURE_BROKEN);
	assert_int_equal(r.state, KUBE_WATCH_FAILING);
}

static void what_is_forbidden_is_asked_for_again(void **state)
{
	static const uint16_t codes[] = { 401, 403 };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		begin(NULL);
		streams(0, "");
		status(codes[i]);
		assert_int_equal(r.state, KUBE_WATCH_FORBIDDEN);
		streams(5 * S, "");
		end_of_list("7");
		assert_int_equal(r.state, KUBE_WATCH_SYNCED);

		/* Later: what is known stays, and so does the version. */
		synced();
		status(codes[i]);
		assert_int_equal(r.state, KUBE_WATCH_FORBIDDEN);
		watches(5 * S, "100");
		now_ns += KUBE_POLL_SLOW_AFTER_NS;
		status(codes[i]);
		watches(30 * S, "100");
		kube_reflector_opened(&r, now_ns);
		assert_int_equal(r.state, KUBE_WATCH_SYNCED);
	}
}

static void the_first_question_waits_for_its_time(void **state)
{
	struct kube_question question;

	(void)state;
	kube_reflector_init(&r, START + 7 * S);
	assert_int_equal(kube_reflector_tick(&r, START, 0, &question), KUBE_ACT_NONE);
	streams(7 * S, "");
	/* A watch is 5 to 10 minutes long. */
	end_of_list("1");
	now_ns += 2 * S;
	ends();
	assert_int_equal(kube_reflector_tick(&r, now_ns, UINT32_MAX, &question), KUBE_ACT_ASK);
	assert_true(question.timeout_s >= 300 && question.timeout_s < 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, begin)
		T(a_streamed_list_is_complete_at_its_bookmark),
		T(a_server_without_streamed_lists_is_asked_for_pages),
		T(a_server_that_ignores_the_wish_is_found_out),
		T(a_stream_that_breaks_begins_again),
		T(a_list_needs_a_version),
		T(pages_are_asked_for_to_the_end),
		T(a_later_list_is_not_limited),
		T(pages_that_expire_are_asked_for_all_at_once),
		T(a_page_that_is_throttled_is_asked_for_again),
		T(a_page_that_breaks_begins_the_list_again),
		T(pages_have_an_end),
		T(the_version_follows_what_comes),
		T(a_complete_list_may_go_back),
		T(synthetic_events_of_a_watch_at_any_version_tell_none),
		T(an_expired_version_leads_to_a_list_at_any),
		T(a_page_at_an_expired_version_is_asked_for_at_any),
		T(who_answers_again_is_asked_sooner),
		T(a_throttled_or_refused_watch_keeps_its_version),
		T(a_stream_that_was_complete_and_is_throttled_is_watched),
		T(a_watch_that_the_server_fails_is_listed_after_a_while),
		T(other_errors_of_a_watch_lead_to_a_list),
		T(a_watch_that_ends_is_opened_again),
		T(a_connection_that_breaks_is_made_again_soon),
		T(pauses_grow_and_are_forgotten),
		T(pauses_are_stretched_up_to_twice),
		T(a_retry_after_is_bounded),
		T(a_watch_is_given_up_past_its_end),
		T(a_watch_with_bookmarks_is_given_up_without_them),
		T(a_request_that_is_never_answered_is_given_up),
		T(what_is_absent_is_asked_for_again),
		T(what_is_gone_for_a_minute_is_empty),
		T(what_is_forbidden_is_asked_for_again),
		T(the_first_question_waits_for_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
