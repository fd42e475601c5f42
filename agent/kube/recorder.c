#include "kube/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timer.h"
#include "kube/event_series.h"
#include "kube/status.h"

/* "/apis/…/namespaces/NAMESPACE/events/NAME?fieldManager=MANAGER", the manager's slash encoded */
#define PATH_BYTES (KUBE_NAME_MAX + KUBE_LABEL_MAX + KUBE_NAME_MAX + KUBE_LABEL_MAX + 96)

struct kube_recorder {
	struct kube_client *client;
	struct kube_event_series *series;
	struct timer timer;
	struct kube_call *call; /* under way, of the queue's head; NULL: none */
	struct buf body;
	uint32_t telling;    /* the count that the call tells */
	unsigned int tries;  /* of the head */
	unsigned int failed; /* tries in a row, of any */
	uint64_t retry_ns;   /* not before */
	uint64_t jitter;
	char *controller, *instance, *manager; /* owned */
	struct kube_recorder_stats stats;
};

enum outcome {
	OUTCOME_TOLD,
	OUTCOME_RETRY,
	OUTCOME_ANEW,    /* what is to be patched is gone */
	OUTCOME_REFUSED, /* for good */
	OUTCOME_ENDED,   /* the namespace ends, or has: nobody will miss it */
};

static void pump(struct kube_recorder *recorder, const struct moment *now);

/* Answers */

static void note_error(struct kube_recorder *recorder, const struct http_response *response)
{
	char *out = recorder->stats.last_error, text[512];
	size_t size = sizeof(recorder->stats.last_error);
	struct kube_status status;

	if (response->error != HTTP_OK) {
		snprintf(text, sizeof(text), "%s%s%.200s", http_error_text(response->error),
		         response->detail && *response->detail ? ": " : "",
		         response->detail ? response->detail : "");
	} else {
		kube_status_of_answer(response->status, response->body, response->body_len,
		                      &status);
		kube_status_format(&status, text, sizeof(text));
	}
	kube_event_clean(text, size - 1, out);
}

/*
 * The namespace ends or is gone, as its objects with it: kubernetes,
 * plugin/pkg/admission/namespace/lifecycle/admission.go, says so by a cause and in words.
 */
static bool is_ending(const struct http_response *response)
{
	return strstr(response->body, "\"NamespaceTerminating\"") ||
	       strstr(response->body, "because it is being terminated") ||
	       (response->status == 404 && strstr(response->body, "namespaces \\\""));
}

static enum outcome judge_answer(const struct http_response *response,
                                 const struct kube_event_entry *entry)
{
	bool patch = entry->due == KUBE_EVENT_PATCH;
	uint16_t status = response->status;

	if (response->error != HTTP_OK)
		return OUTCOME_RETRY;
	if (status >= 200 && status < 300)
		return OUTCOME_TOLD;
	switch (status) {
	case 401: /* the client has read the token again; the next may be good */
	case 408:
	case 425:
	case 429:
		return OUTCOME_RETRY;
	case 404: /* of a create: the namespace is gone, or the server has no such API */
		if (patch)
			return OUTCOME_ANEW;
		return is_ending(response) ? OUTCOME_ENDED : OUTCOME_REFUSED;
	case 403:
		return is_ending(response) ? OUTCOME_ENDED : OUTCOME_REFUSED;
	case 409: /* it has it, of an earlier try or run; or says so of what it just had not */
		if (patch)
			return OUTCOME_RETRY;
		return entry->told == 0 ? OUTCOME_TOLD : OUTCOME_REFUSED;
	default:
		return status >= 500 ? OUTCOME_RETRY : OUTCOME_REFUSED;
	}
}

/* Doubled with every failure in a row, and a part that differs from node to node. */
static uint64_t backoff(struct kube_recorder *recorder, const struct http_response *response)
{
	uint64_t delay = KUBE_EVENT_BACKOFF_MAX_NS, asked = 0;

	if (recorder->failed < 6)
		delay = KUBE_EVENT_BACKOFF_NS << recorder->failed;
	recorder->failed++;
	if (response)
		asked = response->retry_after_s * NSEC_PER_SEC;
	if (asked > KUBE_EVENT_RETRY_AFTER_MAX_NS)
		asked = KUBE_EVENT_RETRY_AFTER_MAX_NS;
	if (delay < asked)
		delay = asked;
	recorder->jitter = recorder->jitter * 6364136223846793005ULL + 1442695040888963407ULL;
	return delay + (recorder->jitter >> 32) * (delay / 4) / UINT32_MAX;
}

static void give_up(struct kube_recorder *recorder, const struct kube_event_entry *entry)
{
	recorder->stats.dropped++;
	recorder->tries = 0;
	log_warn("event not delivered", "namespace", kube_event_namespace(&entry->event), "event",
	         entry->name, "reason", recorder->stats.last_error, NULL);
	kube_event_series_forget(recorder->series);
}

/* `response` NULL: the request could not even begin. */
static void retry(struct kube_recorder *recorder, const struct http_response *response,
                  const struct moment *now)
{
	recorder->retry_ns = now->mono_ns + backoff(recorder, response);
	if (++recorder->tries >= KUBE_EVENT_TRIES)
		give_up(recorder, kube_event_series_head(recorder->series));
}

static void refuse(struct kube_recorder *recorder, const struct kube_event_entry *entry, bool quiet)
{
	recorder->stats.rejected++;
	if (!quiet)
		log_warn("event refused by the API server", "namespace",
		         kube_event_namespace(&entry->event), "event", entry->name, "reason",
		         recorder->stats.last_error, NULL);
	kube_event_series_forget(recorder->series);
}

static void on_done(void *user, const struct http_response *response)
{
	struct kube_recorder *recorder = user;
	const struct kube_event_entry *entry = kube_event_series_head(recorder->series);
	enum outcome outcome = judge_answer(response, entry);
	struct moment now = clock_now();

	recorder->call = NULL;
	if (outcome != OUTCOME_TOLD && outcome != OUTCOME_ANEW)
		note_error(recorder, response);
	if (outcome == OUTCOME_RETRY) {
		retry(recorder, response, &now);
		pump(recorder, &now);
		return;
	}

	recorder->tries = recorder->failed = 0;
	switch (outcome) {
	case OUTCOME_TOLD:
		if (entry->due == KUBE_EVENT_PATCH)
			recorder->stats.series++;
		else
			recorder->stats.sent++;
		/* What the server had before this knows of no repeat. */
		kube_event_series_told(recorder->series,
		                       response->status == 409 ? 1 : recorder->telling,
		                       now.mono_ns);
		break;
	case OUTCOME_ANEW:
		kube_event_series_anew(recorder->series);
		break;
	default:
		refuse(recorder, entry, outcome == OUTCOME_ENDED);
		break;
	}
	pump(recorder, &now);
}

/* Requests */

static int begin_call(struct kube_recorder *recorder, const struct kube_event_entry *entry)
{
	bool patch = entry->due == KUBE_EVENT_PATCH;
	char path[PATH_BYTES];
	struct kube_request request = {
		.method = patch ? "PATCH" : "POST",
		.path = path,
		.content_type = patch ? "application/merge-patch+json" : NULL,
		.done = on_done,
		.user = recorder,
	};

	snprintf(path, sizeof(path),
	         "/apis/events.k8s.io/v1/namespaces/%s/events%s%s?fieldManager=%s",
	         kube_event_namespace(&entry->event), patch ? "/" : "", patch ? entry->name : "",
	         recorder->manager);
	buf_reset(&recorder->body);
	if (patch)
		kube_event_write_series(&entry->times, &recorder->body);
	else
		kube_event_write(&entry->event, entry->name, recorder->controller,
		                 recorder->instance, &entry->times, &recorder->body);
	if (recorder->body.error)
		return recorder->body.error;
	request.body = recorder->body.data;
	request.body_len = recorder->body.len;
	recorder->telling = entry->times.count;
	return kube_client_start(recorder->client, &request, &recorder->call);
}

/* The head of the queue, unless one is under way or the server is left in peace. */
static void pump(struct kube_recorder *recorder, const struct moment *now)
{
	const struct kube_event_entry *entry = kube_event_series_head(recorder->series);
	uint64_t next = 0;

	if (recorder->call)
		return;
	if (entry && now->mono_ns >= recorder->retry_ns) {
		int r = begin_call(recorder, entry);

		if (r == 0)
			return;
		snprintf(recorder->stats.last_error, sizeof(recorder->stats.last_error), "%s",
		         strerror(-r));
		retry(recorder, NULL, now);
		entry = kube_event_series_head(recorder->series);
	}
	next = entry ? recorder->retry_ns : kube_event_series_next(recorder->series);
	if (next)
		(void)timer_set(&recorder->timer, next > now->mono_ns ? next - now->mono_ns : 1, 0);
}

static int on_timer(struct timer *timer)
{
	struct kube_recorder *recorder = container_of(timer, struct kube_recorder, timer);
	struct moment now = clock_now();

	kube_event_series_tick(recorder->series, now.mono_ns);
	pump(recorder, &now);
	return 0;
}

void kube_recorder_add(struct kube_recorder *recorder, const struct kube_event *event,
                       const struct moment *now)
{
	struct kube_recorder_stats *stats = &recorder->stats;
	const char *fault = kube_event_fault(event);
	uint64_t evicted = kube_event_series_evicted(recorder->series);
	int r;

	stats->added++;
	if (fault) {
		stats->rejected++;
		snprintf(stats->last_error, sizeof(stats->last_error), "%s", fault);
		return;
	}
	r = kube_event_series_add(recorder->series, event, now);
	if (r == KUBE_EVENT_COUNTED)
		stats->coalesced++;
	else if (r == KUBE_EVENT_THROTTLED)
		stats->throttled++;
	else if (r != KUBE_EVENT_QUEUED)
		stats->dropped++;
	/* A series that made place, with repeats that nobody was told of. */
	stats->dropped += kube_event_series_evicted(recorder->series) - evicted;
	pump(recorder, now);
}

/* The object */

DEFINE_FREEP(struct kube_recorder, kube_recorder)

/* A slash is the only character of a qualified name that a query has another use for. */
static char *manager_of(const char *controller)
{
	const char *slash = strchr(controller, '/');
	char *manager;

	if (!slash)
		return strdup(controller);
	if (asprintf(&manager, "%.*s%%2F%s", (int)(slash - controller), controller, slash + 1) < 0)
		return NULL;
	return manager;
}

int kube_recorder_new(struct loop *loop, struct kube_client *client, const char *controller,
                      const char *instance, struct kube_recorder **out)
{
	cleanup(kube_recorder_freep) struct kube_recorder *recorder = NULL;
	int r;

	if (!kube_event_is_controller(controller) || !*instance)
		return -EINVAL;
	recorder = calloc(1, sizeof(*recorder));
	if (!recorder)
		return -ENOMEM;
	recorder->timer.fd = -1;
	recorder->client = client;
	recorder->body = (struct buf)BUF_INIT(KUBE_EVENT_BYTES_MAX);
	recorder->controller = strdup(controller);
	recorder->instance = strdup(instance);
	recorder->manager = manager_of(controller);
	if (!recorder->controller || !recorder->instance || !recorder->manager)
		return -ENOMEM;
	for (const char *p = instance; *p; p++)
		recorder->jitter = recorder->jitter * 31 + (unsigned char)*p;
	r = kube_event_series_new(recorder->instance, &recorder->series);
	if (r == 0)
		r = timer_init(&recorder->timer, loop, on_timer);
	if (r < 0)
		return r;
	*out = take_ptr(recorder);
	return 0;
}

struct kube_recorder *kube_recorder_free(struct kube_recorder *recorder)
{
	if (!recorder)
		return NULL;

	if (recorder->call)
		kube_call_cancel(recorder->call);
	timer_clear(&recorder->timer);
	kube_event_series_free(recorder->series);
	buf_clear(&recorder->body);
	free(recorder->controller);
	free(recorder->instance);
	free(recorder->manager);
	free(recorder);
	return NULL;
}

const struct kube_recorder_stats *kube_recorder_stats(const struct kube_recorder *recorder)
{
	return &recorder->stats;
}
