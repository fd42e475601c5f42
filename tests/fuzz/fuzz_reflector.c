/* sources: agent/kube/reflector.c agent/kube/version.c */
/*
 * A script plays a server, right or wrong, against the reflector, and a store as small as
 * can be: eight objects, each there or not, and a history of what happened to them.
 *
 * The server's answers are true (what it says at a version is what its history has) but
 * whatever else goes wrong: streams break and expire, lists end early, pages are throttled,
 * versions are forgotten, nothing comes. The store does what the reflector says and
 * nothing else. Whenever a list is complete the store is what the server had at that
 * version; whenever it follows a watch it is what the server had at the newest version
 * that came. And whatever happened, a server that behaves from then on is in step soon.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "kube/reflector.h"

#define HISTORY_MAX 4096
#define PAGE_ITEMS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	const uint8_t *data;
	size_t size;
	struct kube_reflector r;
	struct kube_question question;
	char version[KUBE_VERSION_MAX + 1], token[KUBE_CONTINUE_MAX + 1]; /* as asked */
	uint64_t now_ns;
	uint32_t random;

	uint8_t at[HISTORY_MAX];     /* which objects are there, by version */
	unsigned int newest, oldest; /* versions the server has */

	uint8_t store, fresh; /* what is there; what a list under way has */
	bool begun;
	unsigned int sent; /* of the stream: the newest version that it was told */
	uint8_t initial;   /* what a streamed list still has to send */
	bool in_initial;
	unsigned int store_at; /* the version that the store is of */
	unsigned int page_at;  /* the version that the pages are of */
	bool gone;             /* the resource is absent */
};

static unsigned int next(struct world *w)
{
	if (w->size == 0)
		return 0;
	w->size--;
	return *w->data++;
}

static void change(struct world *w, unsigned int which)
{
	if (w->newest == HISTORY_MAX - 1)
		return;
	w->at[w->newest + 1] = (uint8_t)(w->at[w->newest] ^ 1u << which % 8);
	w->newest++;
}

static const char *text_of(unsigned int version)
{
	static char text[2][16];
	static unsigned int turn;

	turn ^= 1;
	snprintf(text[turn], sizeof(text[turn]), "%u", version);
	return text[turn];
}

static unsigned int number_of(const char *text)
{
	unsigned int number = 0;

	for (; *text >= '0' && *text <= '9' && number < HISTORY_MAX; text++)
		number = number * 10 + (unsigned int)(*text - '0');
	return number;
}

static void check_bounds(const struct world *w)
{
	assert(w->r.state < _KUBE_WATCH_STATE_MAX);
	assert(w->r.state != KUBE_WATCH_SYNCED || w->r.known);
	assert(!w->r.known || w->r.state == KUBE_WATCH_SYNCED || w->r.state == KUBE_WATCH_STALE ||
	       w->r.state == KUBE_WATCH_ABSENT || w->r.state == KUBE_WATCH_FORBIDDEN);
	/* Never more than a few minutes without a question or an end of one. */
	if (!w->r.busy)
		assert(w->r.due_ns <= w->now_ns + 200 * NSEC_PER_SEC);
}

/* What the store is to do; what only a list's end may do is looked at. */
static void act(struct world *w, enum kube_act act, unsigned int which, unsigned int version)
{
	uint8_t bit = (uint8_t)(1u << which % 8);

	switch (act) {
	case KUBE_ACT_PUT:
		if (w->r.next != KUBE_NEXT_WATCH) {
			assert(w->r.listing);
			w->begun = true;
			w->fresh |= bit;
		} else {
			w->store |= bit;
			w->store_at = version;
		}
		break;
	case KUBE_ACT_REMOVE:
		assert(w->r.next == KUBE_NEXT_WATCH && !w->begun);
		w->store &= (uint8_t)~bit;
		w->store_at = version;
		break;
	case KUBE_ACT_COMMIT:
		w->store = w->fresh;
		w->store_at = version;
		assert(w->store == w->at[version]);
		w->fresh = 0;
		w->begun = false;
		break;
	case KUBE_ACT_EMPTY:
		w->store = 0;
		w->store_at = 0;
		break;
	default:
		break;
	}
	if (!w->r.listing) {
		w->begun = false;
		w->fresh = 0;
	}
	check_bounds(w);
}

static void fail(struct world *w, const struct kube_failure *failure)
{
	act(w, kube_reflector_failed(&w->r, w->now_ns, w->random, failure), 0, 0);
	assert(!w->r.busy);
}

static void fail_status(struct world *w, uint16_t code, uint32_t retry_after_s)
{
	fail(w, &(struct kube_failure){ .kind = KUBE_FAILURE_STATUS,
	                                .code = code,
	                                .expired = code == 410,
	                                .retry_after_s = retry_after_s });
}

/* Time passes until the reflector wants something. */
static void tick(struct world *w)
{
	uint64_t due_ns = kube_reflector_due(&w->r);
	enum kube_act what;

	if (due_ns == UINT64_MAX)
		return;
	if (due_ns > w->now_ns)
		w->now_ns = due_ns;
	what = kube_reflector_tick(&w->r, w->now_ns, w->random, &w->question);
	if (what == KUBE_ACT_SILENT) {
		assert(!w->r.busy);
		act(w, KUBE_ACT_NONE, 0, 0);
		return;
	}
	assert(what == KUBE_ACT_ASK && w->r.busy);
	snprintf(w->version, sizeof(w->version), "%s", w->question.version);
	snprintf(w->token, sizeof(w->token), "%s", w->question.token);
	assert(!w->version[0] || !w->token[0]);
	assert(w->question.ask == KUBE_ASK_PAGE || w->question.timeout_s >= KUBE_WATCH_TIMEOUT_S);
	assert(w->question.ask != KUBE_ASK_WATCH || w->version[0]);
	w->in_initial = w->question.ask == KUBE_ASK_STREAM;
	w->initial = w->at[w->newest];
	w->sent = w->in_initial ? w->newest : number_of(w->version);
	/* What is watched is what the store is. */
	assert(w->question.ask != KUBE_ASK_WATCH || w->at[w->sent] == w->store);
}

/* True: the server cannot serve this version. */
static bool turned_away(struct world *w)
{
	unsigned int version = number_of(w->version);

	if (w->gone) {
		fail_status(w, 404, 0);
	} else if (w->version[0] && version > w->newest) {
		fail(w, &(struct kube_failure){
				.kind = KUBE_FAILURE_STATUS, .code = 504, .too_large = true });
	} else if (w->question.ask == KUBE_ASK_WATCH && version < w->oldest) {
		fail_status(w, 410, 0);
	} else {
		return false;
	}
	return true;
}

static void send_event(struct world *w)
{
	uint8_t changed;
	unsigned int which = 0, version;
	bool there;

	if (w->in_initial && w->initial) {
		while (!(w->initial >> which & 1))
			which++;
		w->initial &= (uint8_t) ~(1u << which);
		act(w,
		    kube_reflector_event(&w->r, w->now_ns, w->random, KUBE_FRAME_ADDED,
		                         text_of(next(w) % (w->sent + 1)), false),
		    which, w->sent);
		return;
	}
	if (w->in_initial) {
		w->in_initial = false;
		act(w,
		    kube_reflector_event(&w->r, w->now_ns, w->random, KUBE_FRAME_BOOKMARK,
		                         text_of(w->sent), true),
		    0, w->sent);
		return;
	}
	if (w->sent == w->newest) {
		kube_reflector_event(&w->r, w->now_ns, w->random, KUBE_FRAME_BOOKMARK,
		                     text_of(w->sent), false);
		w->store_at = w->sent;
		return;
	}
	version = ++w->sent;
	changed = w->at[version] ^ w->at[version - 1];
	while (!(changed >> which & 1))
		which++;
	there = w->at[version] >> which & 1;
	act(w,
	    kube_reflector_event(&w->r, w->now_ns, w->random,
	                         there ? KUBE_FRAME_ADDED : KUBE_FRAME_DELETED, text_of(version),
	                         false),
	    which, version);
	assert(w->store == w->at[version]);
	assert(number_of(w->r.version) >= version);
}

/* A page of the present version, or of the version that the first page was of. */
static void send_page(struct world *w, bool whole)
{
	unsigned int from = number_of(w->token), which = from, n = 0;
	char token[16] = "";

	if (!w->token[0])
		w->page_at = w->newest;
	for (; which < 8; which++) {
		if (!(w->at[w->page_at] >> which & 1))
			continue;
		if (w->question.limit && n++ == PAGE_ITEMS)
			break;
		w->begun = true;
		w->fresh |= (uint8_t)(1u << which);
	}
	if (!whole) { /* it breaks in the middle */
		fail(w, &(struct kube_failure){ .kind = KUBE_FAILURE_PROTOCOL });
		return;
	}
	if (which < 8)
		snprintf(token, sizeof(token), "%u", which);
	act(w, kube_reflector_page(&w->r, w->now_ns, w->random, text_of(w->page_at), token), 0,
	    w->page_at);
}

static void answer(struct world *w, bool whole)
{
	if (turned_away(w))
		return;
	if (w->question.ask == KUBE_ASK_PAGE) {
		if (w->token[0] && w->page_at < w->oldest)
			fail_status(w, 410, 0);
		else
			send_page(w, whole);
		return;
	}
	kube_reflector_opened(&w->r, w->now_ns);
	send_event(w);
}

/* Stream or page, it goes wrong. */
static void misbehave(struct world *w, unsigned int how)
{
	static const uint16_t codes[] = { 400, 401, 403, 404, 409, 410, 422,
		                          429, 500, 501, 502, 503, 504, 0 };

	switch (how % 6) {
	case 0:
		fail(w, &(struct kube_failure){ .kind = next(w) % 4 });
		break;
	case 1:
		fail_status(w, codes[next(w) % (sizeof(codes) / sizeof(codes[0]))], next(w));
		break;
	case 2:
		if (w->question.ask != KUBE_ASK_PAGE) {
			kube_reflector_ended(&w->r, w->now_ns, w->random);
			act(w, KUBE_ACT_NONE, 0, 0);
		}
		break;
	case 3:
		tick(w); /* nothing comes */
		break;
	case 4:
		if (w->question.ask == KUBE_ASK_PAGE)
			answer(w, false);
		break;
	case 5:
		if (w->question.ask != KUBE_ASK_PAGE) /* an unknown kind of news */
			kube_reflector_event(&w->r, w->now_ns, w->random, KUBE_FRAME_OTHER, NULL,
			                     false);
		break;
	}
}

static void play(struct world *w)
{
	while (w->size > 0) {
		unsigned int code = next(w);

		w->random = w->random * 1664525u + code;
		switch (code % 8) {
		case 0:
			change(w, code / 8);
			break;
		case 1:
			w->oldest = w->newest - (w->newest - w->oldest) * (code / 8) / 32;
			break;
		case 2:
			w->now_ns += (uint64_t)(code / 8) * (code / 8) * NSEC_PER_SEC / 4;
			if (w->now_ns >= kube_reflector_due(&w->r))
				tick(w);
			break;
		case 3:
			if (w->r.busy)
				misbehave(w, code / 8);
			break;
		case 4:
			w->gone = code / 8 == 7;
			break;
		default:
			if (w->r.busy)
				answer(w, true);
			else
				tick(w);
		}
	}
}

/* Within so many steps and so much time the store is what the server has. */
static void settle(struct world *w)
{
	uint64_t from_ns = w->now_ns;

	w->gone = false;
	for (unsigned int i = 0; i < 2 * HISTORY_MAX; i++) {
		if (w->r.state == KUBE_WATCH_SYNCED && w->r.busy && w->sent == w->newest &&
		    w->r.next == KUBE_NEXT_WATCH && w->question.ask != KUBE_ASK_PAGE)
			break;
		if (w->r.busy)
			answer(w, true);
		else
			tick(w);
	}
	assert(w->r.state == KUBE_WATCH_SYNCED && w->r.next == KUBE_NEXT_WATCH);
	assert(w->store == w->at[w->newest]);
	assert(w->now_ns - from_ns < 300 * NSEC_PER_SEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	memset(&w, 0, sizeof(w));
	w.data = data;
	w.size = size;
	w.now_ns = 1000 * NSEC_PER_SEC;
	w.newest = w.oldest = 1;
	w.at[1] = 0x5a;
	kube_reflector_init(&w.r, w.now_ns);
	play(&w);
	settle(&w);
	return 0;
}
