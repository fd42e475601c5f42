/*
 * What to ask the API server next, and when: list, watch, and again.
 *
 * Knows no sockets, no clock and no objects. It is told what came and answers what that
 * means; times, and randomness for what must not happen on all nodes at once, are
 * handed in. The rules are client-go's (tools/cache/reflector.go, tools/pager) and
 * KEP-3157's, but where they would list anew after a connection that broke: a watch
 * at the last version brings what was missed, and a list costs the server much more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube/object.h"
#include "kube/watch.h"
#include "limits.h"

enum kube_ask {
	KUBE_ASK_STREAM, /* a watch that begins with the list */
	KUBE_ASK_PAGE,   /* a list, or the next page of one */
	KUBE_ASK_WATCH,
};

struct kube_question {
	enum kube_ask ask;
	const char *version; /* borrowed, "": none */
	const char *token;   /* borrowed; "continue", "": none */
	unsigned int limit;  /* 0: none */
	unsigned int timeout_s;
};

/* What becomes of the objects. */
enum kube_act {
	KUBE_ACT_NONE,
	KUBE_ACT_PUT,
	KUBE_ACT_REMOVE,
	KUBE_ACT_COMMIT, /* the list is complete */
	KUBE_ACT_EMPTY,  /* the resource is gone: an empty list */
	KUBE_ACT_STOP,   /* end this request; its failure has been noted */
	KUBE_ACT_ASK,    /* the question is to be asked */
	KUBE_ACT_SILENT, /* end this request: nothing came for too long; that has been noted */
};

enum kube_failure_kind {
	KUBE_FAILURE_BROKEN,   /* no connection, or it broke */
	KUBE_FAILURE_STATUS,   /* the server said so, before or in a stream */
	KUBE_FAILURE_PROTOCOL, /* what came is not what was asked for */
	KUBE_FAILURE_MEMORY,   /* there was no room for what came */
};

struct kube_failure {
	enum kube_failure_kind kind;
	uint16_t code; /* of a status, as in HTTP */
	bool expired, too_large;
	uint32_t retry_after_s;
};

enum kube_next { KUBE_NEXT_LIST, KUBE_NEXT_PAGES, KUBE_NEXT_WATCH };

/* Open only to be embedded. */
struct kube_reflector {
	enum kube_watch_state state;
	enum kube_next next;
	bool busy;       /* a request is out */
	uint64_t due_ns; /* of the next question, while none is out */

	char version[KUBE_VERSION_MAX + 1]; /* "": none was seen */
	bool version_lost;                  /* the server does not have it: ask for any */
	bool known;                         /* a list was complete, so there may be objects */
	bool emptied; /* it is known that there are none: the resource is not there */

	/* the list under way */
	bool listing;                            /* its objects are not the whole yet */
	char list_version[KUBE_VERSION_MAX + 1]; /* of its first page */
	char token[KUBE_CONTINUE_MAX + 1];       /* of its next page */
	unsigned int pages, page_tries;
	bool unpaged;   /* its pages expired: all of it at once */
	bool paginated; /* the server pages what it is asked for at version 0 */

	/* whether lists are streamed */
	uint64_t stream_after_ns; /* the server refused before */
	unsigned int stream_failures;

	/* the request that is out */
	enum kube_ask ask;
	bool asked_version, opened, synthetic;
	unsigned int timeout_s, frames, bookmarks;
	uint64_t asked_ns, heard_ns;

	unsigned int pauses; /* in a row */
	bool unreached;      /* the newest failure was that of the connection */
	uint64_t pause_end_ns;
	uint64_t trouble_ns; /* since when the server fails the watch; 0: it does not */
	bool absent_sure;    /* a plain list said so, too */
	uint64_t refused_ns; /* absent or forbidden since; 0: not */
};

void kube_reflector_init(struct kube_reflector *reflector, uint64_t first_ns);

/* When kube_reflector_tick() is to be called; UINT64_MAX: not before something came. */
uint64_t kube_reflector_due(const struct kube_reflector *reflector);
/* KUBE_ACT_NONE, ASK with *question, or SILENT. */
enum kube_act kube_reflector_tick(struct kube_reflector *reflector, uint64_t now_ns,
                                  uint32_t random, struct kube_question *question);

/* Of the request that is out. */

/* The server began to answer with success. */
void kube_reflector_opened(struct kube_reflector *reflector, uint64_t now_ns);
/* An event but ERROR: NONE, PUT, REMOVE, COMMIT or STOP. `version` NULL: it has none. */
enum kube_act kube_reflector_event(struct kube_reflector *reflector, uint64_t now_ns,
                                   uint32_t random, enum kube_frame_type type, const char *version,
                                   bool initial_events_end);
/* A page is complete: NONE (the next is to be asked), COMMIT or STOP. */
enum kube_act kube_reflector_page(struct kube_reflector *reflector, uint64_t now_ns,
                                  uint32_t random, const char *version, const char *token);
/* A stream ended in good order: NONE. */
void kube_reflector_ended(struct kube_reflector *reflector, uint64_t now_ns, uint32_t random);
/* NONE or EMPTY. */
enum kube_act kube_reflector_failed(struct kube_reflector *reflector, uint64_t now_ns,
                                    uint32_t random, const struct kube_failure *failure);
