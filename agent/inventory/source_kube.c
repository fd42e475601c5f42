#include "inventory/source_kube.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/timer.h"
#include "limits.h"

#define GROUP "egressgateway.kubernetes.azure.com"

/* Of the server's own words. */
#define WHY_MAX 160

struct list {
	struct source_kube *source; /* borrowed: the owner */
	enum inventory_kind kind;
	struct kube_resource resource;
	char selector[KUBE_SELECTOR_MAX];
	struct kube_watch *watch;   /* owned; NULL: not begun */
	enum kube_watch_state said; /* the state that was logged last */
	bool complete;              /* was, at least once */
	bool cut;                   /* not all of it had room */
};

struct source_kube {
	struct loop *loop; /* borrowed, as the following */
	struct kube_client *client;
	struct inventory *inventory;
	struct list list[_INVENTORY_KIND_MAX];
	struct timer pods; /* begins the list of pods, outside of any callback */
};

DEFINE_FREEP(struct source_kube, source_kube)

/* One object */

/*
 * Whoever makes a pod writes its annotations: where its namespace and cgroup
 * are is found on the node, never told by the pod.
 */
static int put_pod(struct inventory *inventory, struct json_object *object,
                   struct decode_error *error)
{
	struct kube_pod pod;
	int r = kube_pod_decode(object, &pod, error);

	if (r < 0)
		return r;
	mem_freep(&pod.netns);
	mem_freep(&pod.cgroup);
	return inventory_put_pod(inventory, &pod);
}

static int put_gateway(struct inventory *inventory, struct json_object *object,
                       struct decode_error *error)
{
	struct kube_gateway gateway;
	int r = kube_gateway_decode(object, &gateway, error);

	return r < 0 ? r : inventory_put_gateway(inventory, &gateway);
}

static int put_gateway_vm(struct inventory *inventory, struct json_object *object,
                          struct decode_error *error)
{
	struct kube_gateway_vm vm;
	int r = kube_gateway_vm_decode(object, &vm, error);

	return r < 0 ? r : inventory_put_gateway_vm(inventory, &vm);
}

static int put_node(struct inventory *inventory, struct json_object *object,
                    struct decode_error *error)
{
	struct kube_node node;
	int r = kube_node_decode(object, &node, error);

	return r < 0 ? r : inventory_put_node(inventory, &node);
}

static void remove_node(struct inventory *inventory, const char *namespace, const char *name)
{
	(void)namespace;
	inventory_remove_node(inventory, name);
}

/*
 * A finished pod has no network any more: leaving it out makes it a deletion.
 * Of nodes only our own: 5,000 nodes that each watched all nodes would be
 * the largest load of the cluster (their status changes every 10 s to 5 min).
 */
static const struct {
	struct kube_resource resource;
	const char *before, *after; /* the node's name in the field selector; NULL: everything */
	int (*put)(struct inventory *, struct json_object *, struct decode_error *);
	void (*remove)(struct inventory *, const char *namespace, const char *name);
} kinds[_INVENTORY_KIND_MAX] = {
	[INVENTORY_PODS] = { { .group = "", .version = "v1", .plural = "pods", .kind = "Pod" },
	                     "spec.nodeName=",
	                     ",status.phase!=Succeeded,status.phase!=Failed",
	                     put_pod,
	                     inventory_remove_pod },
	[INVENTORY_GATEWAYS] = { { .group = GROUP,
	                           .version = "v1alpha1",
	                           .plural = "staticgatewayconfigurations",
	                           .kind = "StaticGatewayConfiguration" },
	                         NULL,
	                         NULL,
	                         put_gateway,
	                         inventory_remove_gateway },
	[INVENTORY_GATEWAY_VMS] = { { .group = GROUP,
	                              .version = "v1alpha1",
	                              .plural = "gatewayvmconfigurations",
	                              .kind = "GatewayVMConfiguration" },
	                            NULL,
	                            NULL,
	                            put_gateway_vm,
	                            inventory_remove_gateway_vm },
	[INVENTORY_NODES] = { { .group = "", .version = "v1", .plural = "nodes", .kind = "Node" },
	                      "metadata.name=",
	                      "",
	                      put_node,
	                      remove_node },
};

/* News of a list */

static void on_begin(void *user)
{
	struct list *list = user;

	list->cut = false;
	inventory_begin_kind(list->source->inventory, list->kind);
}

static int on_put(void *user, struct json_object *object, struct decode_error *error)
{
	struct list *list = user;
	struct inventory *inventory = list->source->inventory;
	int r = kinds[list->kind].put(inventory, object, error);

	if (r != -ENOSPC)
		return r;
	/* Anybody may make many, and whose there is no room for is not missing. */
	if (list->kind == INVENTORY_GATEWAYS) {
		list->cut = true;
		inventory_gateways_known(inventory, false);
	}
	return decode_fail(error, "there are more than the agent has room for");
}

static void on_remove(void *user, const char *namespace, const char *name)
{
	struct list *list = user;

	kinds[list->kind].remove(list->source->inventory, namespace, name);
}

static void on_commit(void *user)
{
	struct list *list = user;
	struct moment now = clock_now();

	list->complete = true;
	inventory_commit_kind(list->source->inventory, list->kind, &now);
	if (list->kind == INVENTORY_GATEWAYS)
		inventory_gateways_known(list->source->inventory, !list->cut);
}

static void on_abort(void *user)
{
	struct list *list = user;

	inventory_abort_kind(list->source->inventory, list->kind);
}

/* Every list but the pods' was answered, whatever the answer. */
static bool pods_may_come(const struct source_kube *source)
{
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++) {
		const struct kube_watch *watch = source->list[kind].watch;

		if (kind != INVENTORY_PODS &&
		    (!watch || kube_watch_state(watch) == KUBE_WATCH_WAITING))
			return false;
	}
	return true;
}

static void say(struct list *list)
{
	enum kube_watch_state state = kube_watch_state(list->watch);
	const char *reason = kube_watch_reason(list->watch);
	bool good = state == KUBE_WATCH_SYNCED || state == KUBE_WATCH_WAITING;

	if (state == list->said)
		return;
	list->said = state;
	log_line(&(struct log_site){ 0 }, good ? LOG_INFO : LOG_WARN, "list of objects", "resource",
	         list->resource.plural, "state", kube_watch_state_name(state), "reason", reason,
	         NULL);
}

static void on_state(void *user)
{
	struct list *list = user;
	struct source_kube *source = list->source;

	say(list);
	if (!source->list[INVENTORY_PODS].watch && pods_may_come(source))
		(void)timer_set(&source->pods, 0, 0);
}

/* What it says of itself */

static bool is_open(const struct list *list, enum kube_watch_state state)
{
	return list->watch && kube_watch_state(list->watch) == state;
}

bool source_kube_synced(const struct source_kube *source)
{
	return source->list[INVENTORY_PODS].complete;
}

bool source_kube_settled(const struct source_kube *source)
{
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		if (!source->list[kind].watch || is_open(&source->list[kind], KUBE_WATCH_WAITING) ||
		    is_open(&source->list[kind], KUBE_WATCH_FAILING))
			return false;
	return true;
}

/* A watch ends and begins again every few minutes: only silence beyond that makes a list doubtful. */
static bool is_outdated(const struct list *list, const struct moment *now)
{
	uint64_t heard_ns = kube_watch_heard_ns(list->watch);

	return now->mono_ns > heard_ns && now->mono_ns - heard_ns > SOURCE_STALE_NS;
}

static bool is_ready(const struct list *list, const struct moment *now)
{
	if (!list->watch)
		return false;
	switch (kube_watch_state(list->watch)) {
	case KUBE_WATCH_SYNCED:
		return true;
	case KUBE_WATCH_ABSENT: /* there is nothing to follow; it is said */
		return list->kind == INVENTORY_GATEWAYS || list->kind == INVENTORY_GATEWAY_VMS;
	case KUBE_WATCH_STALE:
		return !is_outdated(list, now);
	default:
		return false;
	}
}

static void add(char *text, size_t size, const char *before, const char *what)
{
	size_t len = strlen(text);

	snprintf(text + len, size - len, "%s%s", len ? before : "", what);
}

/* "forbidden: pods, nodes (403 …)": each list by its name, and the first one's reason for all. */
static void describe(const struct source_kube *source, enum kube_watch_state state, char *reason,
                     size_t size)
{
	const struct list *first = NULL;

	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++) {
		const struct list *list = &source->list[kind];

		if (!is_open(list, state))
			continue;
		if (!first) {
			add(reason, size, "; ", kube_watch_state_name(state));
			add(reason, size, ": ", list->resource.plural);
			first = list;
		} else {
			add(reason, size, ", ", list->resource.plural);
		}
	}
	if (first && kube_watch_reason(first->watch)[0]) {
		char why[WHY_MAX];

		snprintf(why, sizeof(why), "%.*s)", (int)sizeof(why) - 2,
		         kube_watch_reason(first->watch));
		add(reason, size, " (", why);
	}
}

/* An object that was left out, of a list that is fine by itself. */
static void describe_refusals(const struct source_kube *source, char *reason, size_t size)
{
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++) {
		const struct list *list = &source->list[kind];

		if (is_open(list, KUBE_WATCH_SYNCED) &&
		    kube_watch_stats(list->watch)->last_refusal[0])
			add(reason, size, "; ", kube_watch_stats(list->watch)->last_refusal);
	}
}

bool source_kube_ready(const struct source_kube *source, const struct moment *now, char *reason,
                       size_t size)
{
	bool ready = true;

	reason[0] = '\0';
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		ready = ready && is_ready(&source->list[kind], now);
	if (is_open(&source->list[INVENTORY_GATEWAYS], KUBE_WATCH_ABSENT))
		add(reason, size, "", "static egress gateway not installed");
	for (int state = 0; state < _KUBE_WATCH_STATE_MAX; state++)
		if (state != KUBE_WATCH_SYNCED)
			describe(source, (enum kube_watch_state)state, reason, size);
	if (!source->list[INVENTORY_PODS].watch)
		add(reason, size, "; ", "pods: wait for the other lists");
	describe_refusals(source, reason, size);
	return ready;
}

const struct kube_watch *source_kube_list(const struct source_kube *source, size_t index)
{
	return source->list[index].watch;
}

uint64_t source_kube_refused(const struct source_kube *source)
{
	uint64_t refused = 0;

	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		if (source->list[kind].watch)
			refused += kube_watch_stats(source->list[kind].watch)->refused;
	return refused;
}

/* Making */

static int open_list(struct list *list, uint64_t delay_ns)
{
	const struct kube_watch_events events = {
		.user = list,
		.begin = on_begin,
		.put = on_put,
		.remove = on_remove,
		.commit = on_commit,
		.abort = on_abort,
		.state = on_state,
	};

	return kube_watch_new(list->source->loop, list->source->client, &list->resource, &events,
	                      delay_ns, &list->watch);
}

static int on_pods_due(struct timer *timer)
{
	struct source_kube *source = container_of(timer, struct source_kube, pods);
	struct list *list = &source->list[INVENTORY_PODS];

	if (list->watch)
		return 0;
	if (open_list(list, 0) < 0) {
		log_error("list of pods not begun", "error", strerror(ENOMEM), NULL);
		return timer_set(timer, NSEC_PER_SEC, 0);
	}
	return 0;
}

static int prepare(struct source_kube *source, enum inventory_kind kind, const char *node)
{
	struct list *list = &source->list[kind];
	int n;

	list->source = source;
	list->kind = kind;
	list->resource = kinds[kind].resource;
	if (!kinds[kind].before)
		return 0;
	n = snprintf(list->selector, sizeof(list->selector), "%s%s%s", kinds[kind].before, node,
	             kinds[kind].after);
	if (n < 0 || (size_t)n >= sizeof(list->selector))
		return -ENAMETOOLONG;
	list->resource.field_selector = list->selector;
	return 0;
}

int source_kube_new(struct loop *loop, struct kube_client *client, struct inventory *inventory,
                    const struct source_kube_options *options, struct source_kube **out)
{
	cleanup(source_kube_freep) struct source_kube *source = calloc(1, sizeof(*source));
	int r;

	if (!source)
		return -ENOMEM;
	source->loop = loop;
	source->client = client;
	source->inventory = inventory;
	source->pods = (struct timer)TIMER_INIT;
	r = timer_init(&source->pods, loop, on_pods_due);
	for (int kind = 0; r == 0 && kind < _INVENTORY_KIND_MAX; kind++)
		r = prepare(source, (enum inventory_kind)kind, options->node);
	for (int kind = 0; r == 0 && kind < _INVENTORY_KIND_MAX; kind++)
		if (kind != INVENTORY_PODS)
			r = open_list(&source->list[kind], options->delay_ns);
	if (r < 0)
		return r;
	inventory_gateways_known(inventory, false);

	*out = take_ptr(source);
	return 0;
}

struct source_kube *source_kube_free(struct source_kube *source)
{
	if (!source)
		return NULL;
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		kube_watch_free(source->list[kind].watch);
	timer_clear(&source->pods);
	free(source);
	return NULL;
}
