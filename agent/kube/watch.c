#include "kube/watch_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/question.h"

/* Group, plural, selector, version and token, each character of them as three. */
#define PATH_MAX_BYTES (3 * (KUBE_CONTINUE_MAX + KUBE_VERSION_MAX) + 4096)

DEFINE_FREEP(struct kube_watch, kube_watch)

uint32_t kube_watch_random(void)
{
	uint32_t random = 0;

	/* Without randomness all nodes come at the same time, which the server bears. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)clock_now().mono_ns * 2654435761u;
	return random;
}

static void tell(struct kube_watch *watch)
{
	if (watch->reflector.state == KUBE_WATCH_SYNCED ||
	    watch->reflector.state == KUBE_WATCH_WAITING)
		watch->reason[0] = '\0';
	if (watch->told_state == watch->reflector.state &&
	    strcmp(watch->told_reason, watch->reason) == 0)
		return;
	watch->told_state = watch->reflector.state;
	memcpy(watch->told_reason, watch->reason, sizeof(watch->told_reason));
	if (watch->events.state)
		watch->events.state(watch->events.user);
}

static void arm(struct kube_watch *watch)
{
	uint64_t due_ns = kube_reflector_due(&watch->reflector), now_ns = clock_now().mono_ns;

	if (due_ns == UINT64_MAX)
		(void)timer_stop(&watch->timer);
	else
		(void)timer_set(&watch->timer, due_ns > now_ns ? due_ns - now_ns : 0, 0);
}

/* A request is over, however. */
static void settle(struct kube_watch *watch)
{
	if (!watch->reflector.listing)
		kube_watch_abort(watch);
	kube_frames_reset(&watch->frames);
	kube_list_items_reset(&watch->list);
	tell(watch);
	arm(watch);
}

static void on_opened(void *user)
{
	struct kube_watch *watch = user;

	kube_watch_on_opened(watch);
	tell(watch);
	arm(watch);
}

static int on_data(void *user, const char *data, size_t len)
{
	struct kube_watch *watch = user;
	int r = kube_watch_on_data(watch, data, len);

	if (r == 0) {
		tell(watch);
		arm(watch);
	}
	return r;
}

static void on_done(void *user, const struct http_response *response)
{
	struct kube_watch *watch = user;

	watch->call = NULL;
	kube_watch_on_answer(watch, response);
	settle(watch);
}

static void ask(struct kube_watch *watch, const struct kube_question *question)
{
	cleanup(buf_clearp) struct buf path = BUF_INIT(PATH_MAX_BYTES);
	bool page = question->ask == KUBE_ASK_PAGE;
	struct kube_request request = {
		.stream = !page,
		.timeout_ns = page ? KUBE_LIST_TIMEOUT_NS : 0,
		.opened = on_opened,
		.write = on_data,
		.done = on_done,
		.user = watch,
	};
	int r;

	watch->stopped = false;
	if (question->ask == KUBE_ASK_STREAM || (page && !question->token[0])) {
		watch->stats.lists++;
		watch->stats.last_refusal[0] = '\0'; /* what is still so, the list says again */
	}
	kube_question_path(watch->resource, question, &path);
	request.path = path.data;
	r = path.error;
	if (r == 0)
		r = kube_client_start(watch->client, &request, &watch->call);
	if (r == 0) {
		arm(watch);
		return;
	}

	watch->stats.errors++;
	snprintf(watch->reason, sizeof(watch->reason), "the request could not be made: %s",
	         strerror(-r));
	(void)kube_reflector_failed(&watch->reflector, clock_now().mono_ns, kube_watch_random(),
	                            &(struct kube_failure){ .kind = KUBE_FAILURE_MEMORY });
	settle(watch);
}

static void give_up(struct kube_watch *watch)
{
	watch->stats.silences++;
	snprintf(watch->reason, sizeof(watch->reason), "the watch was given up: nothing came");
	if (watch->call)
		kube_call_cancel(take_ptr(watch->call));
	settle(watch);
}

static int on_timer(struct timer *timer)
{
	struct kube_watch *watch = container_of(timer, struct kube_watch, timer);
	struct kube_question question;

	switch (kube_reflector_tick(&watch->reflector, clock_now().mono_ns, kube_watch_random(),
	                            &question)) {
	case KUBE_ACT_ASK:
		ask(watch, &question);
		break;
	case KUBE_ACT_SILENT:
		give_up(watch);
		break;
	default:
		arm(watch);
	}
	return 0;
}

int kube_watch_new(struct loop *loop, struct kube_client *client,
                   const struct kube_resource *resource, const struct kube_watch_events *events,
                   uint64_t delay_ns, struct kube_watch **out)
{
	cleanup(kube_watch_freep) struct kube_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	watch->loop = loop;
	watch->client = client;
	watch->resource = resource;
	watch->events = *events;
	watch->timer = (struct timer)TIMER_INIT;
	kube_frames_init(&watch->frames, KUBE_FRAME_MAX);
	kube_list_items_init(&watch->list, KUBE_FRAME_MAX);
	kube_reflector_init(&watch->reflector, clock_now().mono_ns + delay_ns);

	r = timer_init(&watch->timer, loop, on_timer);
	if (r == 0)
		r = timer_set(&watch->timer, delay_ns, 0);
	if (r < 0)
		return r;
	*out = take_ptr(watch);
	return 0;
}

struct kube_watch *kube_watch_free(struct kube_watch *watch)
{
	if (!watch)
		return NULL;
	if (watch->call)
		kube_call_cancel(take_ptr(watch->call));
	timer_clear(&watch->timer);
	kube_frames_clear(&watch->frames);
	kube_list_items_clear(&watch->list);
	free(watch);
	return NULL;
}

const char *kube_watch_state_name(enum kube_watch_state state)
{
	static const char *const names[] = {
		[KUBE_WATCH_WAITING] = "waiting",     [KUBE_WATCH_SYNCED] = "synced",
		[KUBE_WATCH_STALE] = "stale",         [KUBE_WATCH_ABSENT] = "absent",
		[KUBE_WATCH_FORBIDDEN] = "forbidden", [KUBE_WATCH_FAILING] = "failing",
	};

	return state < _KUBE_WATCH_STATE_MAX ? names[state] : "unknown";
}

enum kube_watch_state kube_watch_state(const struct kube_watch *watch)
{
	return watch->reflector.state;
}

const char *kube_watch_reason(const struct kube_watch *watch)
{
	return watch->reason;
}

uint64_t kube_watch_heard_ns(const struct kube_watch *watch)
{
	return watch->heard_ns;
}

const struct kube_watch_stats *kube_watch_stats(const struct kube_watch *watch)
{
	return &watch->stats;
}
