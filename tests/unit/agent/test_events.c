/* ldflags: -Wl,--wrap=inventory_gateway_find,--wrap=kube_recorder_add,--wrap=clock_now */
#include "test.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"

static struct kube_gateway blue = { .namespace = "team", .name = "blue", .uid = "u-gateway" };

static struct {
	struct kube_event event;
	char reason[64], note[2048], id[64];
} seen[4];
static size_t n_seen;

const struct kube_gateway *__wrap_inventory_gateway_find(const struct inventory *inventory,
                                                         const char *namespace, const char *name);
void __wrap_kube_recorder_add(struct kube_recorder *recorder, const struct kube_event *event,
                              const struct moment *now);
struct moment __wrap_clock_now(void);

struct moment __wrap_clock_now(void)
{
	return (struct moment){ 1, 2 };
}

const struct kube_gateway *__wrap_inventory_gateway_find(const struct inventory *inventory,
                                                         const char *namespace, const char *name)
{
	(void)inventory;
	return strcmp(namespace, "team") == 0 && strcmp(name, "blue") == 0 ? &blue : NULL;
}

void __wrap_kube_recorder_add(struct kube_recorder *recorder, const struct kube_event *event,
                              const struct moment *now)
{
	assert_non_null(recorder);
	assert_int_equal(now->mono_ns, 1);
	assert_true(n_seen < sizeof(seen) / sizeof(seen[0]));
	assert_null(kube_event_fault(event));
	seen[n_seen].event = *event;
	snprintf(seen[n_seen].reason, sizeof(seen[0].reason), "%s", event->reason);
	snprintf(seen[n_seen].note, sizeof(seen[0].note), "%s", event->note);
	snprintf(seen[n_seen].id, sizeof(seen[0].id), "%s", event->id ? event->id : "");
	n_seen++;
}

static struct violation violation(enum violation_kind kind, const char *gateway)
{
	return (struct violation){
		.id = "0123456789abcdef0123456789abcdef",
		.kind = kind,
		.namespace = (char *)"team",
		.pod = (char *)"app",
		.uid = (char *)"u-pod",
		.gateway_namespace = gateway ? (char *)"team" : NULL,
		.gateway = (char *)gateway,
		.first = { 1, 7200000000 },
		.reason = "left by eth0",
		.remedy = "restart the pod",
	};
}

static void tell(const struct violation *v, enum violation_change change)
{
	struct agent agent = { .recorder = (struct kube_recorder *)&n_seen };

	n_seen = 0;
	agent_event(&agent, v, change);
}

static void both_objects_are_told(void **state)
{
	struct violation bypass = violation(GATEWAY_BYPASS, "blue");
	const struct kube_event *pod = &seen[0].event, *gateway = &seen[1].event;

	(void)state;
	tell(&bypass, VIOLATION_OPENED);
	assert_int_equal(n_seen, 2);
	assert_string_equal(pod->regarding.api_version, "v1");
	assert_string_equal(pod->regarding.kind, "Pod");
	assert_string_equal(pod->regarding.namespace, "team");
	assert_string_equal(pod->regarding.name, "app");
	assert_string_equal(pod->regarding.uid, "u-pod");
	assert_string_equal(gateway->regarding.api_version,
	                    "egressgateway.kubernetes.azure.com/v1alpha1");
	assert_string_equal(gateway->regarding.kind, "StaticGatewayConfiguration");
	assert_string_equal(gateway->regarding.namespace, "team");
	assert_string_equal(gateway->regarding.name, "blue");
	assert_string_equal(gateway->regarding.uid, "u-gateway");
	assert_memory_equal(&pod->related, &gateway->regarding, sizeof(pod->related));
	assert_memory_equal(&gateway->related, &pod->regarding, sizeof(pod->related));
	assert_true(pod->warning && gateway->warning);
	assert_string_equal(seen[0].reason, "GatewayBypass");
	assert_string_equal(seen[1].reason, "GatewayBypass");
	assert_string_equal(seen[0].note, "left by eth0. To do: restart the pod");
	assert_string_equal(seen[1].note, "pod team/app: left by eth0. To do: restart the pod");

	tell(&bypass, VIOLATION_RESOLVED);
	assert_int_equal(n_seen, 2);
	assert_false(pod->warning || gateway->warning);
	assert_string_equal(seen[0].reason, "GatewayBypassResolved");
	assert_string_equal(seen[1].reason, "GatewayBypassResolved");
	assert_string_equal(seen[0].note, "resolved: left by eth0");
	assert_string_equal(seen[1].note, "pod team/app: resolved: left by eth0");
}

static void without_a_gateway_only_the_pod(void **state)
{
	struct violation none = violation(UNGOVERNED_EGRESS, NULL),
			 missing = violation(MISSING_CONFIGURATION, "green");

	(void)state;
	tell(&none, VIOLATION_OPENED);
	assert_int_equal(n_seen, 1);
	assert_null(seen[0].event.related.kind);
	assert_string_equal(seen[0].reason, "UngovernedEgress");
	tell(&missing, VIOLATION_OPENED);
	assert_int_equal(n_seen, 1);
	assert_string_equal(seen[0].reason, "MissingConfiguration");
}

/* What a restarted agent finds again has the same id; what it cannot find again has none. */
static void ids_outlast_the_agent(void **state)
{
	struct violation v = violation(GATEWAY_BYPASS, "blue");

	(void)state;
	tell(&v, VIOLATION_OPENED);
	assert_string_equal(seen[0].id, v.id);
	assert_string_equal(seen[1].id, v.id);
	tell(&v, VIOLATION_RESOLVED);
	assert_null(seen[0].event.id);

	v = violation(WRONG_SOURCE_ADDRESS, "blue");
	tell(&v, VIOLATION_OPENED);
	assert_string_equal(seen[0].id, "hour 2");
	v.id[0] = 'f'; /* found anew half an hour later */
	v.first.wall_us += 1800000000;
	tell(&v, VIOLATION_OPENED);
	assert_string_equal(seen[0].id, "hour 2");
	v.first.wall_us += 1800000000;
	tell(&v, VIOLATION_OPENED);
	assert_string_equal(seen[0].id, "hour 3");
}

static void every_kind_and_the_longest_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < _VIOLATION_KIND_MAX; i++) {
		struct violation v = violation((enum violation_kind)i, "blue");

		memset(v.reason, 'x', sizeof(v.reason) - 1);
		memset(v.remedy, 'y', sizeof(v.remedy) - 1);
		tell(&v, VIOLATION_OPENED);
		assert_int_equal(n_seen, 2);
		assert_true(seen[1].reason[0] >= 'A' && seen[1].reason[0] <= 'Z');
		assert_null(strchr(seen[1].reason, '-'));
		assert_non_null(strstr(seen[1].note, "yyyy"));
	}
}

static void without_a_recorder_nothing(void **state)
{
	struct violation v = violation(GATEWAY_BYPASS, "blue");
	struct agent agent = { 0 };

	(void)state;
	n_seen = 0;
	agent_event(&agent, &v, VIOLATION_OPENED);
	assert_int_equal(n_seen, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_objects_are_told),
		cmocka_unit_test(without_a_gateway_only_the_pod),
		cmocka_unit_test(ids_outlast_the_agent),
		cmocka_unit_test(every_kind_and_the_longest_texts),
		cmocka_unit_test(without_a_recorder_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
