#include "kube/reflector.h"

#include <string.h>

#include "base/clock.h"
#include "kube/version.h"

/* A server that goes back would have us see again what we saw. */
static void advance(struct kube_reflector *r, const char *version)
{
	if (kube_version_ok(version) && !kube_version_is_older(version, r->version))
		memcpy(r->version, version, strlen(version) + 1);
}

/* Pauses */

/* Of a server that is back: 6.4 s. */
#define BACK_PAUSES 3

static uint64_t stretched(uint64_t ns, uint32_t random)
{
	return ns + ((ns >> 8) * (random >> 8) >> 16);
}

static void pause_for(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                      uint32_t retry_after_s)
{
	uint64_t asked_ns = retry_after_s * NSEC_PER_SEC, base_ns;

	if (now_ns > r->pause_end_ns + KUBE_BACKOFF_RESET_NS)
		r->pauses = 0;
	base_ns = KUBE_BACKOFF_NS << (r->pauses < 6 ? r->pauses : 6);
	if (base_ns > KUBE_BACKOFF_MAX_NS)
		base_ns = KUBE_BACKOFF_MAX_NS;
	if (asked_ns > KUBE_RETRY_AFTER_MAX_NS)
		asked_ns = KUBE_RETRY_AFTER_MAX_NS;

	r->pauses++;
	r->due_ns = now_ns + stretched(base_ns, random);
	if (asked_ns > base_ns)
		r->due_ns += asked_ns - base_ns;
	r->pause_end_ns = r->due_ns;
}

static void poll_later(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	bool slow = now_ns - r->refused_ns >= KUBE_POLL_SLOW_AFTER_NS;

	r->due_ns = now_ns + stretched(slow ? KUBE_POLL_SLOW_NS : KUBE_POLL_NS, random);
}

/* States */

static void in_trouble(struct kube_reflector *r)
{
	r->state = r->known ? KUBE_WATCH_STALE : KUBE_WATCH_FAILING;
}

static void in_order(struct kube_reflector *r)
{
	r->trouble_ns = r->refused_ns = 0;
	r->absent_sure = false;
	if (r->known)
		r->state = KUBE_WATCH_SYNCED;
}

static void drop_list(struct kube_reflector *r)
{
	r->listing = r->unpaged = false;
	r->token[0] = r->list_version[0] = '\0';
	r->pages = r->page_tries = 0;
}

static void list_anew(struct kube_reflector *r, enum kube_next next)
{
	drop_list(r);
	r->next = next;
	r->trouble_ns = 0;
}

static void list_complete(struct kube_reflector *r, const char *version)
{
	memcpy(r->version, version, strlen(version) + 1);
	r->version_lost = false;
	r->known = true;
	r->emptied = false;
	r->stream_failures = 0;
	drop_list(r);
	r->next = KUBE_NEXT_WATCH;
	in_order(r);
}

void kube_reflector_init(struct kube_reflector *r, uint64_t first_ns)
{
	memset(r, 0, sizeof(*r));
	r->due_ns = first_ns;
}

/* When */

static bool in_initial(const struct kube_reflector *r)
{
	return r->ask == KUBE_ASK_STREAM && r->next != KUBE_NEXT_WATCH;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When a stream that says nothing is given up. A page has a bound as a request. */
static uint64_t silence_ns(const struct kube_reflector *r)
{
	uint64_t end_ns = r->asked_ns + r->timeout_s * NSEC_PER_SEC + KUBE_WATCH_GRACE_NS;

	if (r->ask == KUBE_ASK_PAGE)
		return UINT64_MAX;
	if (!r->opened)
		return r->asked_ns + KUBE_WATCH_OPEN_NS;
	if (in_initial(r))
		return earlier(r->heard_ns + KUBE_INITIAL_QUIET_NS, r->asked_ns + KUBE_INITIAL_NS);
	/* One bookmark may be by chance; with two the server sends them every minute. */
	return r->bookmarks >= 2 ? earlier(end_ns, r->heard_ns + KUBE_WATCH_SILENCE_NS) : end_ns;
}

uint64_t kube_reflector_due(const struct kube_reflector *r)
{
	return r->busy ? silence_ns(r) : r->due_ns;
}

/* What */

static void ask_pages(struct kube_reflector *r, struct kube_question *question)
{
	bool any = r->version_lost;

	question->ask = KUBE_ASK_PAGE;
	question->token = r->token;
	/* With a token a version is refused. "0" is whatever the server has in memory. */
	if (r->token[0] || any)
		question->version = "";
	else
		question->version = r->version[0] ? r->version : "0";
	/* A limit would keep the server from answering out of its memory. */
	if (!r->unpaged && (r->paginated || any || r->token[0] || !r->version[0]))
		question->limit = KUBE_PAGE_ITEMS;
}

static enum kube_act ask(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                         struct kube_question *question)
{
	bool stream = r->next == KUBE_NEXT_LIST && !r->listing && !r->unpaged &&
	              now_ns >= r->stream_after_ns && r->stream_failures < KUBE_STREAM_TRIES;

	*question = (struct kube_question){ .version = "", .token = "" };
	if (r->next != KUBE_NEXT_WATCH && !stream) {
		ask_pages(r, question);
	} else {
		question->ask = stream ? KUBE_ASK_STREAM : KUBE_ASK_WATCH;
		question->version = stream && r->version_lost ? "" : r->version;
		question->timeout_s = KUBE_WATCH_TIMEOUT_S + random % KUBE_WATCH_TIMEOUT_S;
	}

	r->ask = question->ask;
	r->timeout_s = question->timeout_s;
	r->asked_version = question->version[0] && strcmp(question->version, "0") != 0;
	r->synthetic = r->ask == KUBE_ASK_WATCH && !r->asked_version;
	r->opened = false;
	r->frames = r->bookmarks = 0;
	r->asked_ns = r->heard_ns = now_ns;
	r->busy = true;
	return KUBE_ACT_ASK;
}

/* The server does not stream lists, or answers as if nobody had asked for the list. */
static void refuse_stream(struct kube_reflector *r, uint64_t now_ns)
{
	r->stream_after_ns = now_ns + KUBE_STREAM_REFUSED_NS;
	list_anew(r, KUBE_NEXT_PAGES);
	r->due_ns = now_ns;
}

static enum kube_act silent(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	r->busy = false;
	if (in_initial(r) && r->opened) {
		refuse_stream(r, now_ns);
	} else if (in_initial(r)) {
		list_anew(r, KUBE_NEXT_PAGES);
		in_trouble(r);
		pause_for(r, now_ns, random, 0);
	} else {
		in_trouble(r);
		if (r->opened)
			r->due_ns = now_ns;
		else
			pause_for(r, now_ns, random, 0);
	}
	return KUBE_ACT_SILENT;
}

enum kube_act kube_reflector_tick(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                                  struct kube_question *question)
{
	if (now_ns < kube_reflector_due(r))
		return KUBE_ACT_NONE;
	return r->busy ? silent(r, now_ns, random) : ask(r, now_ns, random, question);
}

/* What came */

void kube_reflector_opened(struct kube_reflector *r, uint64_t now_ns)
{
	if (!r->busy || r->opened)
		return;
	r->opened = true;
	r->heard_ns = now_ns;
	if (r->ask == KUBE_ASK_WATCH)
		in_order(r);
}

static enum kube_act stop(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	kube_reflector_failed(r, now_ns, random,
	                      &(struct kube_failure){ .kind = KUBE_FAILURE_PROTOCOL });
	return KUBE_ACT_STOP;
}

/* Of a list that is not complete: only its end tells a version, items come in no order. */
static enum kube_act initial_event(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                                   enum kube_frame_type type, const char *version, bool end)
{
	if (type == KUBE_FRAME_ADDED || type == KUBE_FRAME_MODIFIED) {
		r->listing = true;
		return KUBE_ACT_PUT;
	}
	if (type == KUBE_FRAME_DELETED) { /* live already, so its list has no end */
		r->busy = false;
		refuse_stream(r, now_ns);
		return KUBE_ACT_STOP;
	}
	if (type != KUBE_FRAME_BOOKMARK || !end)
		return KUBE_ACT_NONE;
	if (!kube_version_ok(version))
		return stop(r, now_ns, random);
	list_complete(r, version);
	return KUBE_ACT_COMMIT;
}

enum kube_act kube_reflector_event(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                                   enum kube_frame_type type, const char *version,
                                   bool initial_events_end)
{
	kube_reflector_opened(r, now_ns);
	r->heard_ns = now_ns;
	r->frames++;
	if (type == KUBE_FRAME_BOOKMARK)
		r->bookmarks++;
	if (in_initial(r))
		return initial_event(r, now_ns, random, type, version, initial_events_end);

	if (type != KUBE_FRAME_ADDED)
		r->synthetic = false;
	if (!r->synthetic && type < KUBE_FRAME_ERROR)
		advance(r, version);
	switch (type) {
	case KUBE_FRAME_ADDED:
	case KUBE_FRAME_MODIFIED:
		return KUBE_ACT_PUT;
	case KUBE_FRAME_DELETED:
		return KUBE_ACT_REMOVE;
	default:
		return KUBE_ACT_NONE;
	}
}

enum kube_act kube_reflector_page(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                                  const char *version, const char *token)
{
	bool first = !r->token[0];

	if (token && !*token)
		token = NULL;
	/* The same page again and again would never end. */
	if (!kube_version_ok(version) ||
	    (token && (strlen(token) > KUBE_CONTINUE_MAX || strcmp(token, r->token) == 0 ||
	               r->pages >= KUBE_PAGES_MAX)))
		return stop(r, now_ns, random);

	r->busy = false;
	r->due_ns = now_ns;
	if (first) /* what changed while the others came is watched from here */
		memcpy(r->list_version, version, strlen(version) + 1);
	if (token) {
		r->paginated |= first && !r->asked_version && !r->version_lost;
		memcpy(r->token, token, strlen(token) + 1);
		r->listing = true;
		r->next = KUBE_NEXT_PAGES;
		r->pages++;
		r->page_tries = 0;
		return KUBE_ACT_NONE;
	}
	list_complete(r, r->list_version);
	return KUBE_ACT_COMMIT;
}

/* The watch goes on, but never more often than once a second: not in a circle with a broken server. */
static void resume(struct kube_reflector *r, uint64_t due_ns)
{
	uint64_t least_ns = r->asked_ns + KUBE_WATCH_SHORT_NS;

	r->due_ns = due_ns > least_ns ? due_ns : least_ns;
}

static bool brought_nothing(const struct kube_reflector *r, uint64_t now_ns)
{
	return r->frames == 0 && now_ns - r->asked_ns < KUBE_WATCH_SHORT_NS;
}

void kube_reflector_ended(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	r->busy = false;
	if (in_initial(r)) {
		refuse_stream(r, now_ns);
	} else if (brought_nothing(r, now_ns)) {
		in_trouble(r);
		pause_for(r, now_ns, random, 0);
	} else {
		resume(r, now_ns);
	}
}

/* What went wrong */

static bool is_throttled(const struct kube_reflector *r, const struct kube_failure *failure)
{
	return failure->kind == KUBE_FAILURE_STATUS &&
	       (failure->code == 429 ||
	        (failure->code >= 500 && failure->retry_after_s > 0 && r->ask == KUBE_ASK_PAGE));
}

/* The same again, later. Of pages the present one, of which nothing was taken. */
static void again_later(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                        uint32_t retry_after_s)
{
	if (r->ask != KUBE_ASK_PAGE || r->page_tries >= KUBE_PAGE_TRIES) {
		if (r->next != KUBE_NEXT_WATCH)
			list_anew(r, r->next);
	} else if (r->token[0]) {
		r->page_tries++;
	}
	in_trouble(r);
	pause_for(r, now_ns, random, retry_after_s);
}

static enum kube_act refused(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	if (r->state != KUBE_WATCH_FORBIDDEN || r->refused_ns == 0)
		r->refused_ns = now_ns;
	r->state = KUBE_WATCH_FORBIDDEN;
	if (r->next != KUBE_NEXT_WATCH)
		list_anew(r, KUBE_NEXT_LIST);
	poll_later(r, now_ns, random);
	return KUBE_ACT_NONE;
}

/* A path that is not there, or an option of it: a plain list tells. */
static enum kube_act absent(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	bool sure = r->ask == KUBE_ASK_PAGE || r->absent_sure;

	if (!sure) {
		list_anew(r, KUBE_NEXT_PAGES);
		r->due_ns = now_ns;
		return KUBE_ACT_NONE;
	}
	if (r->state != KUBE_WATCH_ABSENT || r->refused_ns == 0)
		r->refused_ns = now_ns;
	r->state = KUBE_WATCH_ABSENT;
	r->absent_sure = true;
	/* What comes back under this name has versions of its own. */
	r->version_lost = true;
	list_anew(r, KUBE_NEXT_LIST);
	poll_later(r, now_ns, random);
	if (r->emptied || now_ns - r->refused_ns < KUBE_ABSENT_NS)
		return KUBE_ACT_NONE;
	r->known = false;
	r->emptied = true;
	return KUBE_ACT_EMPTY;
}

/* At once where that helps, for it leads to another question; else later. */
static void expired(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	bool pages = r->ask == KUBE_ASK_PAGE && r->token[0];
	bool other = r->ask != KUBE_ASK_WATCH && (pages ? !r->unpaged : r->asked_version);

	if (!pages)
		r->version_lost = true;
	list_anew(r, pages ? KUBE_NEXT_PAGES : KUBE_NEXT_LIST);
	r->unpaged = pages;
	in_trouble(r);
	if (other)
		r->due_ns = now_ns;
	else
		pause_for(r, now_ns, random, 0);
}

static bool refuses_streams(const struct kube_reflector *r, const struct kube_failure *failure)
{
	static const uint16_t codes[] = { 400, 405, 406, 415, 422, 501 };

	if (r->ask != KUBE_ASK_STREAM || r->next == KUBE_NEXT_WATCH)
		return false;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (failure->code == codes[i])
			return true;
	return false;
}

static void broken(struct kube_reflector *r, uint64_t now_ns, uint32_t random)
{
	if (r->next == KUBE_NEXT_WATCH && r->opened && !brought_nothing(r, now_ns)) {
		resume(r, now_ns + (KUBE_RECONNECT_NS >> 8) * (random >> 8 & 0xffff) / 256);
		return;
	}
	if (r->next != KUBE_NEXT_WATCH)
		list_anew(r, KUBE_NEXT_LIST);
	in_trouble(r);
	pause_for(r, now_ns, random, 0);
}

/* Something that may be the server's for a while (5xx), or will not change by asking again. */
static void otherwise(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                      const struct kube_failure *failure)
{
	bool passes = failure->kind == KUBE_FAILURE_STATUS && failure->code >= 500;

	if (r->next == KUBE_NEXT_WATCH && passes) {
		if (r->trouble_ns == 0)
			r->trouble_ns = now_ns;
		if (now_ns - r->trouble_ns >= KUBE_WATCH_TROUBLE_NS)
			list_anew(r, KUBE_NEXT_LIST);
	} else {
		if (r->ask == KUBE_ASK_STREAM && r->next != KUBE_NEXT_WATCH &&
		    failure->kind != KUBE_FAILURE_MEMORY)
			r->stream_failures++;
		if (failure->kind == KUBE_FAILURE_STATUS && !passes)
			r->version_lost = true;
		list_anew(r, KUBE_NEXT_LIST);
	}
	in_trouble(r);
	pause_for(r, now_ns, random, failure->retry_after_s);
}

enum kube_act kube_reflector_failed(struct kube_reflector *r, uint64_t now_ns, uint32_t random,
                                    const struct kube_failure *failure)
{
	bool status = failure->kind == KUBE_FAILURE_STATUS;

	r->busy = false;
	/*
	 * Who answers again is asked sooner: how long nobody did says nothing about it. Not
	 * from the beginning, for it may be one that answers every other time.
	 */
	if (r->unreached && status && r->pauses > BACK_PAUSES)
		r->pauses = BACK_PAUSES;
	r->unreached = failure->kind == KUBE_FAILURE_BROKEN;
	if (failure->kind == KUBE_FAILURE_BROKEN) {
		broken(r, now_ns, random);
	} else if (status && (failure->expired || failure->too_large)) {
		expired(r, now_ns, random);
	} else if (is_throttled(r, failure)) {
		again_later(r, now_ns, random, failure->retry_after_s);
	} else if (status && (failure->code == 401 || failure->code == 403)) {
		return refused(r, now_ns, random);
	} else if (status && failure->code == 404) {
		return absent(r, now_ns, random);
	} else if (status && refuses_streams(r, failure)) {
		refuse_stream(r, now_ns);
	} else {
		otherwise(r, now_ns, random, failure);
	}
	return KUBE_ACT_NONE;
}
