/*
 * One event (events.k8s.io/v1) as the API server takes it.
 *
 * Pure. The server's rules are those of kubernetes, pkg/apis/core/validation/events.go:
 * a wrong one is refused whole, so texts of others are made to fit here. What
 * kubectl prints of an event goes to a terminal: it holds no control character.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "limits.h"

struct kube_reference { /* texts borrowed for the call; NULL is "" */
	const char *api_version, *kind, *namespace, *name,
		*uid; /* namespace "" of cluster objects */
};

struct kube_event {
	struct kube_reference regarding;
	struct kube_reference related; /* kind NULL: none */
	bool warning;                  /* else Normal */
	const char *reason;            /* "GatewayBypass": CamelCase, ≤ 128 */
	const char *action;            /* "Verify": what was done, ≤ 128 */
	const char *note;              /* for people; cut at 1024 bytes on a character's border */
	/*
	 * What happened, the same after a restart of the agent: it gets the same name again,
	 * and the server, which has it, refuses the second. NULL: happens now.
	 */
	const char *id;
};

/* NULL, or what the server would not take and no cutting mends; static. */
const char *kube_event_fault(const struct kube_event *event);
/* A qualified name: "egress-verifier", "example.com/agent". */
bool kube_event_is_controller(const char *text);

/* Where it belongs: of cluster objects "default". Borrowed from the event. */
const char *kube_event_namespace(const struct kube_event *event);
/* "<name, cut>.<16 hexadecimal digits>": a DNS subdomain, whatever `regarding` is. */
void kube_event_name(const char *regarding, uint64_t number, char out[static KUBE_NAME_MAX + 1]);
/*
 * Blanks become spaces, what is not visible or not UTF-8 U+FFFD; at most `max`
 * bytes, cut between characters. `out` has room for max + 1.
 */
void kube_event_clean(const char *text, size_t max, char *out);

struct kube_event_times {
	int64_t first_us, last_us; /* wall clock */
	uint32_t count;            /* ≥ 2: a series */
};

/* The body of a create; errors are in out->error. */
void kube_event_write(const struct kube_event *event, const char *name, const char *controller,
                      const char *instance, const struct kube_event_times *times, struct buf *out);
/* The body of the only patch that the server allows: of the series. */
void kube_event_write_series(const struct kube_event_times *times, struct buf *out);
