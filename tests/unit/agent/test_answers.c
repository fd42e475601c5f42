/* ldflags: -Wl,--wrap=report_new,--wrap=source_kube_ready */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "agent.h"

static struct report_sources told;
static const char *lists;
static bool ready;

int __wrap_report_new(const struct report_sources *sources, struct report **out);
bool __wrap_source_kube_ready(const struct source_kube *source, const struct moment *now,
                              char *reason, size_t size);

int __wrap_report_new(const struct report_sources *sources, struct report **out)
{
	told = *sources;
	*out = NULL;
	return 0;
}

bool __wrap_source_kube_ready(const struct source_kube *source, const struct moment *now,
                              char *reason, size_t size)
{
	assert_non_null(source);
	assert_non_null(now);
	snprintf(reason, size, "%s", lists);
	return ready;
}

#define MISSING                                                                             \
	"inventory.netnsDir /nowhere is not there: no pod is probed or observed but those " \
	"of the node's network"

/* Somebody's object that was left out, or no gateways at all, hides no mount that is missing. */
static void folders_are_said_beside_lists(void **state)
{
	static const struct {
		const char *netns_dir, *lists;
		bool ready, ok;
		const char *reason;
	} rows[] = {
		{ "/", "", true, true, "" },
		{ "/", "a/b: too large", true, true, "a/b: too large" },
		{ "/nowhere", "", true, false, MISSING },
		{ "/nowhere", "a/b: too large", true, false, MISSING "; a/b: too large" },
		{ "/nowhere", "failing: pods", false, false, "failing: pods" },
	};
	struct subject subject = { .netns_fd = -1 };
	struct watched watched = { .subject = &subject };
	struct config config = { .cgroup_root = (char *)"/" };
	struct agent agent = { .config = &config,
		               .source_kube = (struct source_kube *)&lists,
		               .watched = { &watched } };

	(void)state;
	assert_int_equal(agent_answers_start(&agent), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct report_condition_state is = { 0 };

		config.netns_dir = (char *)rows[i].netns_dir;
		lists = rows[i].lists;
		ready = rows[i].ready;
		told.condition(&agent, CONDITION_INVENTORY, &is);
		assert_string_equal(is.reason, rows[i].reason);
		assert_int_equal(is.ok, rows[i].ok);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folders_are_said_beside_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
