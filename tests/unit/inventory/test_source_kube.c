/* The lists' order, what is handed on and what is said; the API server is scripted below. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timer.h"
#include "inventory/source_kube.h"
#include "limits.h"

/* One list as the source opened it, in place of the real one. */
struct kube_watch {
	struct kube_resource resource;
	struct kube_watch_events events;
	enum kube_watch_state state;
	char reason[64];
	uint64_t heard_ns;
	struct kube_watch_stats stats;
};

static struct kube_watch watches[_INVENTORY_KIND_MAX];
static size_t n_watches;
static int refuse_new;

int kube_watch_new(struct loop *loop, struct kube_client *client,
                   const struct kube_resource *resource, const struct kube_watch_events *events,
                   uint64_t delay_ns, struct kube_watch **out)
{
	(void)loop;
	(void)client;
	assert_int_equal(delay_ns, strcmp(resource->plural, "pods") == 0 ? 0 : 77);
	if (refuse_new-- > 0)
		return -ENOMEM;
	assert_true(n_watches < _INVENTORY_KIND_MAX);
	*out = &watches[n_watches++];
	**out = (struct kube_watch){ .resource = *resource, .events = *events };
	return 0;
}

struct kube_watch *kube_watch_free(struct kube_watch *watch)
{
	(void)watch;
	return NULL;
}

enum kube_watch_state kube_watch_state(const struct kube_watch *watch)
{
	return watch->state;
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

const char *kube_watch_state_name(enum kube_watch_state state)
{
	static const char *const names[] = { "waiting", "synced",    "stale",
		                             "absent",  "forbidden", "failing" };

	return names[state];
}

struct fixture {
	struct loop *loop;
	struct inventory *inventory;
	struct source_kube *source;
	char directory[64];
};

static struct kube_watch *list(const char *plural)
{
	for (size_t i = 0; i < n_watches; i++)
		if (strcmp(watches[i].resource.plural, plural) == 0)
			return &watches[i];
	return NULL;
}

static void becomes(const char *plural, enum kube_watch_state state, const char *reason)
{
	struct kube_watch *watch = list(plural);

	watch->state = state;
	snprintf(watch->reason, sizeof(watch->reason), "%s", reason);
	watch->events.state(watch->events.user);
}

static int put(const char *plural, const char *text)
{
	struct kube_watch *watch = list(plural);
	struct json_object *object = json_tokener_parse(text);
	struct decode_error error = { "" };
	int r;

	assert_non_null(object);
	r = watch->events.put(watch->events.user, object, &error);
	assert_true(r == 0 || r == -ENOMEM || error.text[0]);
	json_object_put(object);
	return r;
}

static void comes(const char *plural, const char *text)
{
	struct kube_watch *watch = list(plural);

	watch->events.begin(watch->events.user);
	if (text)
		assert_int_equal(put(plural, text), 0);
	watch->events.commit(watch->events.user);
	becomes(plural, KUBE_WATCH_SYNCED, "");
}

static int stop_soon(struct timer *timer)
{
	(void)timer;
	return -ECANCELED;
}

/* What is due by now. */
static void turn(struct fixture *f, uint64_t ns)
{
	struct timer timer = TIMER_INIT;
	int r;

	assert_int_equal(timer_init(&timer, f->loop, stop_soon), 0);
	assert_int_equal(timer_set(&timer, ns, 0), 0);
	r = loop_run(f->loop);
	timer_clear(&timer); /* before a failed assertion leaves its frame */
	assert_int_equal(r, -ECANCELED);
}

static bool pods_are_asked_for(void)
{
	return list("pods");
}

static bool none_is_refused_any_more(void)
{
	return refuse_new <= 0;
}

static void turn_until(struct fixture *f, bool (*holds)(void))
{
	uint64_t deadline = clock_now().mono_ns + 60 * NSEC_PER_SEC;

	while (!holds() && clock_now().mono_ns < deadline)
		turn(f, NSEC_PER_MSEC);
	assert_true(holds());
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct inventory_events events = { 0 };
	struct inventory_options options = { .node = "w1", .wireguard_dir = "/nonexistent" };
	const struct source_kube_options how = { .node = "w1", .delay_ns = 77 };

	n_watches = 0;
	refuse_new = 0;
	strcpy(f->directory, "/tmp/eva-kube-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	options.netns_dir = options.cgroup_root = options.cni_dir = f->directory;
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(inventory_new(f->loop, &options, &events, &f->inventory), 0);
	assert_int_equal(source_kube_new(f->loop, NULL, f->inventory, &how, &f->source), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	source_kube_free(f->source);
	inventory_free(f->inventory);
	loop_free(f->loop);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

#define POD                                                                              \
	"{\"metadata\":{\"namespace\":\"payments\",\"name\":\"pa\",\"uid\":\"u1\","      \
	"\"annotations\":{\"kubernetes.azure.com/static-gateway-configuration\":"        \
	"\"blue\",\"egress-verifier.io/netns\":\"/run/netns/other\","                    \
	"\"egress-verifier.io/cgroup\":\"kubepods/other\"}},\"spec\":{\"nodeName\":\"w1" \
	"\"},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.60.1.2\"}}"
#define GATEWAY                                                                          \
	"{\"metadata\":{\"namespace\":\"payments\",\"name\":\"blue\",\"uid\":\"g1\"},"   \
	"\"spec\":{\"gatewayNodepoolName\":\"gw\"},\"status\":{\"egressIpPrefix\":\"203" \
	".0.113.68/31\"}}"
#define NODE                                                                    \
	"{\"metadata\":{\"name\":\"w1\"},\"status\":{\"addresses\":[{\"type\":" \
	"\"InternalIP\",\"address\":\"10.50.0.4\"}]}}"

static void asks_for_no_more_than_it_needs(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(n_watches, 3);
	assert_null(list("pods"));
	assert_null(list("staticgatewayconfigurations")->resource.field_selector);
	assert_null(list("gatewayvmconfigurations")->resource.field_selector);
	assert_string_equal(list("nodes")->resource.field_selector, "metadata.name=w1");
	comes("staticgatewayconfigurations", NULL);
	comes("gatewayvmconfigurations", NULL);
	comes("nodes", NODE);
	turn_until(f, pods_are_asked_for);
	assert_string_equal(list("pods")->resource.field_selector,
	                    "spec.nodeName=w1,status.phase!=Succeeded,status.phase!=Failed");
}

static void pods_come_last(void **state)
{
	struct fixture *f = *state;
	const struct subject *pa;
	const struct moment now = { .mono_ns = 1 };
	char reason[512];

	comes("staticgatewayconfigurations", GATEWAY);
	turn(f, NSEC_PER_MSEC);
	assert_null(list("pods"));
	becomes("gatewayvmconfigurations", KUBE_WATCH_FORBIDDEN, "may not");
	comes("nodes", NODE);
	turn_until(f, pods_are_asked_for);
	assert_false(source_kube_synced(f->source));
	assert_false(source_kube_settled(f->source));

	comes("pods", POD);
	assert_true(source_kube_synced(f->source));
	assert_true(source_kube_settled(f->source));
	becomes("gatewayvmconfigurations", KUBE_WATCH_FAILING, "not now");
	assert_false(source_kube_settled(f->source)); /* a refusal is an answer, this is none */
	becomes("gatewayvmconfigurations", KUBE_WATCH_FORBIDDEN, "may not");
	pa = inventory_find(f->inventory, "payments", "pa");
	assert_non_null(pa);
	assert_non_null(pa->gateway);
	/* What a pod says of its own place is not believed. */
	assert_null(pa->netns_path);
	assert_null(pa->cgroup_path);

	assert_false(source_kube_ready(f->source, &now, reason, sizeof(reason)));
	assert_string_equal(reason, "forbidden: gatewayvmconfigurations (may not)");
	comes("gatewayvmconfigurations", NULL);
	assert_true(source_kube_ready(f->source, &now, reason, sizeof(reason)));
	assert_string_equal(reason, "");

	list("pods")->events.remove(list("pods")->events.user, "payments", "pa");
	assert_null(inventory_find(f->inventory, "payments", "pa"));
	list("staticgatewayconfigurations")
		->events.remove(list("staticgatewayconfigurations")->events.user, "payments",
	                        "blue");
	assert_int_equal(inventory_gateway_count(f->inventory), 0);
	list("nodes")->events.remove(list("nodes")->events.user, "", "w1");
	assert_null(inventory_node(f->inventory));
}

/* Without the list of gateways nothing can be said of a pod's gateway. */
static void refused_gateways_are_unknown(void **state)
{
	struct fixture *f = *state;
	const struct subject *pa;

	becomes("staticgatewayconfigurations", KUBE_WATCH_FORBIDDEN, "may not");
	comes("gatewayvmconfigurations", NULL);
	comes("nodes", NULL);
	turn_until(f, pods_are_asked_for);
	comes("pods", POD);
	pa = inventory_find(f->inventory, "payments", "pa");
	assert_true(pa->gateway_unknown);
	comes("staticgatewayconfigurations", GATEWAY);
	assert_false(pa->gateway_unknown);
	assert_non_null(pa->gateway);
	comes("staticgatewayconfigurations", NULL);
	assert_null(pa->gateway);
	assert_false(pa->gateway_unknown);
}

static void many_gateways(size_t n)
{
	char text[256];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text),
		         "{\"metadata\":{\"namespace\":\"aaa\",\"name\":\"g%zu\"},"
		         "\"spec\":{\"gatewayNodepoolName\":\"gw\"}}",
		         i);
		assert_int_equal(put("staticgatewayconfigurations", text), 0);
	}
}

/* Whoever makes more than there is room for makes nobody else's gateway a missing one. */
static void gateways_without_room_are_unknown(void **state)
{
	struct fixture *f = *state;
	struct kube_watch *gateways = list("staticgatewayconfigurations");
	const struct subject *pa;

	comes("gatewayvmconfigurations", NULL);
	comes("nodes", NULL);
	gateways->events.begin(gateways->events.user);
	many_gateways(GATEWAYS_MAX);
	assert_int_equal(put("staticgatewayconfigurations", GATEWAY), -EINVAL);
	gateways->events.commit(gateways->events.user);
	becomes("staticgatewayconfigurations", KUBE_WATCH_SYNCED, "");
	turn_until(f, pods_are_asked_for);
	comes("pods", POD);
	pa = inventory_find(f->inventory, "payments", "pa");
	assert_null(pa->gateway);
	assert_true(pa->gateway_unknown);

	gateways->events.begin(gateways->events.user);
	many_gateways(GATEWAYS_MAX);
	gateways->events.commit(gateways->events.user);
	assert_false(pa->gateway_unknown);
	assert_int_equal(put("staticgatewayconfigurations", GATEWAY), -EINVAL);
	assert_true(pa->gateway_unknown);
	comes("staticgatewayconfigurations", GATEWAY);
	assert_non_null(pa->gateway);
	assert_false(pa->gateway_unknown);
}

static void each_list_is_named(void **state)
{
	static const struct {
		enum kube_watch_state gateways, vms, nodes, pods;
		uint64_t age_ns;
		bool ready;
		const char *reason;
	} rows[] = {
		{ KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, 0,
		  true, "" },
		{ KUBE_WATCH_ABSENT, KUBE_WATCH_ABSENT, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, 0,
		  true,
		  "static egress gateway not installed; absent: staticgatewayconfigurations, "
		  "gatewayvmconfigurations (why)" },
		{ KUBE_WATCH_FORBIDDEN, KUBE_WATCH_SYNCED, KUBE_WATCH_FORBIDDEN,
		  KUBE_WATCH_FORBIDDEN, 0, false,
		  "forbidden: pods, staticgatewayconfigurations, nodes (why)" },
		{ KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_ABSENT, KUBE_WATCH_SYNCED, 0,
		  false, "absent: nodes (why)" },
		{ KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_STALE,
		  SOURCE_STALE_NS, true, "stale: pods (why)" },
		{ KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_STALE,
		  SOURCE_STALE_NS + 1, false, "stale: pods (why)" },
		{ KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_SYNCED, KUBE_WATCH_FAILING, 0,
		  false, "failing: pods (why)" },
	};
	struct fixture *f = *state;
	char reason[512];

	assert_false(source_kube_ready(f->source, &(struct moment){ .mono_ns = 1 }, reason,
	                               sizeof(reason)));
	assert_non_null(strstr(reason, "pods: wait for the other lists"));
	assert_non_null(strstr(reason, "waiting: staticgatewayconfigurations, "
	                               "gatewayvmconfigurations, nodes"));
	becomes("gatewayvmconfigurations", KUBE_WATCH_SYNCED, "");
	becomes("staticgatewayconfigurations", KUBE_WATCH_SYNCED, "");
	becomes("nodes", KUBE_WATCH_SYNCED, "");
	turn_until(f, pods_are_asked_for);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct moment now = { .mono_ns = 1000 + rows[i].age_ns };

		for (size_t k = 0; k < n_watches; k++)
			watches[k].heard_ns = 1000;
		becomes("staticgatewayconfigurations", rows[i].gateways, "why");
		becomes("gatewayvmconfigurations", rows[i].vms, "why");
		becomes("nodes", rows[i].nodes, "why");
		becomes("pods", rows[i].pods, "why");
		assert_int_equal(source_kube_ready(f->source, &now, reason, sizeof(reason)),
		                 rows[i].ready);
		assert_string_equal(reason, rows[i].reason);
	}

	/* However long the server's words are. */
	memset(list("pods")->reason, 'x', sizeof(list("pods")->reason) - 1);
	assert_false(source_kube_ready(f->source, &(struct moment){ .mono_ns = 1 }, reason, 16));
	assert_int_equal(strlen(reason), 15);
}

static void what_is_wrong_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct moment now = { .mono_ns = 1 };
	char reason[512];

	list("nodes")->events.begin(list("nodes")->events.user);
	assert_int_equal(put("nodes", "{\"metadata\":{\"name\":7}}"), -EINVAL);
	assert_int_equal(put("nodes", NODE), 0);
	list("nodes")->events.abort(list("nodes")->events.user);
	assert_null(inventory_node(f->inventory));
	assert_int_equal(put("staticgatewayconfigurations", "{\"metadata\":{}}"), -EINVAL);
	assert_int_equal(put("gatewayvmconfigurations", "{\"metadata\":[]}"), -EINVAL);

	comes("nodes", NODE);
	comes("gatewayvmconfigurations", NULL);
	comes("staticgatewayconfigurations", NULL);
	list("nodes")->stats.refused = 2;
	strcpy(list("nodes")->stats.last_refusal, "Node w9 left out: metadata.name: expected text");
	list("gatewayvmconfigurations")->stats.refused = 1;
	assert_int_equal(source_kube_refused(f->source), 3);
	(void)source_kube_ready(f->source, &now, reason, sizeof(reason));
	assert_non_null(strstr(reason, "Node w9 left out"));
}

/* No memory for the list of pods: it is begun a second later. */
static void the_list_of_pods_is_begun_again(void **state)
{
	struct fixture *f = *state;

	comes("gatewayvmconfigurations", NULL);
	comes("staticgatewayconfigurations", NULL);
	comes("nodes", NULL);
	refuse_new = 1;
	turn_until(f, none_is_refused_any_more);
	assert_null(list("pods"));
	assert_false(source_kube_settled(f->source));
	turn_until(f, pods_are_asked_for);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(asks_for_no_more_than_it_needs, setup, teardown),
		cmocka_unit_test_setup_teardown(pods_come_last, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_gateways_are_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(gateways_without_room_are_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(each_list_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(the_list_of_pods_is_begun_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
