/*
 * What an agent that has just started must have seen of a kind of violation before one of an earlier
 * run may end: for each kind, all that can be missing, and what then suffices.
 */
#include "world.h"

static const char *const good[] = { GOOD, GOOD, GOOD, GOOD };
static const char *const silent[] = { "!connect-timeout", "!connect-timeout", "!timeout",
	                              "!timeout" };
static const char *const unasked[] = { "!skipped", "!skipped", "!skipped", "!local-error" };
static const char *const unresolved[] = { "!resolve-failed", "!resolve-failed", "!resolve-failed",
	                                  "!resolve-failed" };
static const char *const outside[] = { OUTBOUND, OUTBOUND, OUTBOUND, OUTBOUND };

struct scene {
	struct world w;
	const char *const *says; /* NULL: no rounds */
};

typedef void (*scene_fn)(struct scene *scene);

static void unknown_gateway(struct scene *scene)
{
	scene->w.subject.gateway = NULL;
	scene->w.subject.gateway_unknown = true;
}

static void known_gateway(struct scene *scene)
{
	scene->w.subject.gateway = &scene->w.blue;
	scene->w.subject.gateway_unknown = false;
}

static void no_rounds(struct scene *scene)
{
	scene->says = NULL;
}

static void silence(struct scene *scene)
{
	scene->says = silent;
}

static void nobody_asked(struct scene *scene)
{
	scene->says = unasked;
}

static void good_rounds(struct scene *scene)
{
	scene->says = good;
}

static void unobserved(struct scene *scene)
{
	scene->w.input.observing = false;
}

static void observed(struct scene *scene)
{
	scene->w.input.observing = true;
}

static void unreadable(struct scene *scene)
{
	scene->w.subject.live.readable = false;
}

static void readable(struct scene *scene)
{
	scene->w.subject.live.readable = true;
}

static void truncated(struct scene *scene)
{
	scene->w.subject.live.truncated = true;
}

static void whole(struct scene *scene)
{
	scene->w.subject.live.truncated = false;
}

static void unknown_tunnel(struct scene *scene)
{
	scene->w.subject.live.tunnel.readable = false;
	scene->says = silent;
}

static void tunnel_without_rounds(struct scene *scene)
{
	scene->says = NULL;
}

static void known_tunnel(struct scene *scene)
{
	scene->w.subject.live.tunnel.readable = true;
}

/* Only what is listed uses the gateway; echoes are not, and see the node's address. */
static void azure(struct scene *scene)
{
	scene->w.blue.default_to_gateway = false;
	scene->w.subject.policy.default_path = PATH_DIRECT;
	scene->says = outside;
}

static void azure_unobserved(struct scene *scene)
{
	azure(scene);
	unobserved(scene);
}

static void azure_unheard(struct scene *scene)
{
	azure(scene);
	scene->says = silent;
}

static void azure_unresolved(struct scene *scene)
{
	azure(scene);
	scene->says = unresolved;
}

static void azure_heard(struct scene *scene)
{
	scene->says = outside;
}

static void awaited(struct scene *scene)
{
	scene->w.settings.pending_grace_ns = 1000 * NSEC_PER_SEC;
	scene->w.subject.gateway_changed_us = at(1).wall_us;
	scene->w.blue.prefix.n = 0;
}

static void assigned(struct scene *scene)
{
	scene->w.blue.prefix.n = 1;
}

/* No annotation, and a policy that wants one. */
static void ungoverned(struct scene *scene)
{
	scene->w.subject.gateway_name = NULL;
	scene->w.subject.gateway = NULL;
	scene->w.subject.required = true;
	scene->w.subject.policy.default_path = PATH_DIRECT;
}

static void ungoverned_unobserved(struct scene *scene)
{
	ungoverned(scene);
	unobserved(scene);
}

static void ungoverned_unreadable(struct scene *scene)
{
	ungoverned(scene);
	unreadable(scene);
}

static void nothing(struct scene *scene)
{
	(void)scene;
}

static const struct look {
	const char *what;
	enum violation_kind kind;
	scene_fn blind, see; /* blind NULL: nothing is missing */
} looks[] = {
	{ "all", WRONG_SOURCE_ADDRESS, NULL, NULL },
	{ "gateway", WRONG_SOURCE_ADDRESS, unknown_gateway, known_gateway },
	{ "rounds", WRONG_SOURCE_ADDRESS, no_rounds, good_rounds },
	{ "answers", WRONG_SOURCE_ADDRESS, silence, good_rounds },
	{ "questions", WRONG_SOURCE_ADDRESS, nobody_asked, good_rounds },
	{ "all", GATEWAY_BYPASS, NULL, NULL },
	{ "gateway", GATEWAY_BYPASS, unknown_gateway, known_gateway },
	{ "flows", GATEWAY_BYPASS, unobserved, observed },
	{ "links", GATEWAY_BYPASS, unreadable, readable },
	{ "all", UNGOVERNED_EGRESS, ungoverned, nothing },
	{ "flows", UNGOVERNED_EGRESS, ungoverned_unobserved, observed },
	{ "links", UNGOVERNED_EGRESS, ungoverned_unreadable, readable },
	{ "all", UNEXPECTED_GATEWAY, NULL, NULL },
	{ "flows", UNEXPECTED_GATEWAY, unobserved, observed },
	{ "links", UNEXPECTED_GATEWAY, unreadable, readable },
	{ "gateway", UNEXPECTED_GATEWAY, unknown_gateway, known_gateway },
	{ "flows, azure", UNEXPECTED_GATEWAY, azure_unobserved, observed },
	{ "echoes", UNEXPECTED_GATEWAY, azure_unheard, azure_heard },
	{ "addresses of echoes", UNEXPECTED_GATEWAY, azure_unresolved, azure_heard },
	{ "all", UNPROGRAMMED_POD, NULL, NULL },
	{ "gateway", UNPROGRAMMED_POD, unknown_gateway, known_gateway },
	{ "links", UNPROGRAMMED_POD, unreadable, readable },
	{ "whole links", UNPROGRAMMED_POD, truncated, whole },
	{ "all", STALE_ROUTES, NULL, NULL },
	{ "gateway", STALE_ROUTES, unknown_gateway, known_gateway },
	{ "routes", STALE_ROUTES, unreadable, readable },
	{ "whole routes", STALE_ROUTES, truncated, whole },
	{ "all", TUNNEL_BROKEN, NULL, NULL },
	{ "gateway", TUNNEL_BROKEN, unknown_gateway, known_gateway },
	{ "links", TUNNEL_BROKEN, unreadable, readable },
	{ "peers", TUNNEL_BROKEN, unknown_tunnel, known_tunnel },
	{ "questions", TUNNEL_BROKEN, tunnel_without_rounds, good_rounds },
	{ "all", EGRESS_UNREACHABLE, NULL, NULL },
	{ "gateway", EGRESS_UNREACHABLE, unknown_gateway, known_gateway },
	{ "rounds", EGRESS_UNREACHABLE, no_rounds, good_rounds },
	{ "answers", EGRESS_UNREACHABLE, silence, good_rounds },
	{ "questions", EGRESS_UNREACHABLE, nobody_asked, good_rounds },
	{ "all", UNASSIGNED_PREFIX, NULL, NULL },
	{ "gateway", UNASSIGNED_PREFIX, unknown_gateway, known_gateway },
	{ "its time", UNASSIGNED_PREFIX, awaited, assigned },
	{ "all", MISSING_CONFIGURATION, NULL, NULL },
	{ "gateway", MISSING_CONFIGURATION, unknown_gateway, known_gateway },
};

static void scene_init(struct scene *scene, const struct look *look)
{
	struct world *w = &scene->w;
	/* Of the earlier run; restoring copies it. */
	struct violation before = { .id = "0123456789abcdef0123456789abcdef",
		                    .kind = look->kind,
		                    .namespace = (char *)"team",
		                    .pod = (char *)"app",
		                    .uid = (char *)"u-1",
		                    .gateway_namespace = (char *)"team",
		                    .gateway = (char *)"blue",
		                    .first = at(-500),
		                    .last = at(-100),
		                    .opened = at(-499),
		                    .count = 1,
		                    .open = true };

	world_init(w);
	w->subject.since = at(0); /* the agent is new, the pod is not */
	w->context.node_control = false;
	scene->says = good;
	if (look->blind)
		look->blind(scene);
	if (!w->subject.gateway_name)
		before.gateway_namespace = before.gateway = NULL;
	assert_int_equal(violations_restore(w->violations, &before), 0);
}

/* A second of it: a round and a reading now and then, and a judgement. */
static void scene_second(struct scene *scene, int t)
{
	struct world *w = &scene->w;

	if (t % 10 == 3 && scene->says)
		world_round(w, t, scene->says);
	if (t % 10 == 5) {
		w->peers[0].rx_bytes += 92;
		w->peers[0].tx_bytes += 148;
		world_read(w, t);
	}
	world_judge(w, t);
}

static size_t changes_of(const struct world *w, enum violation_kind kind,
                         enum violation_change what)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_changes; i++)
		n += w->changes[i].kind == kind && w->changes[i].what == what;
	return n;
}

#define SETTLED 15 /* the settling time, and the quiet one */
#define BLIND 400
#define SEEN 60

static void ends_only_when_enough_was_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		const struct look *look = &looks[i];
		const char *name = violation_kind_name(look->kind);
		bool blind = look->see && look->see != nothing;
		int t = 0, until = blind ? BLIND : SETTLED;
		struct scene scene;

		scene_init(&scene, look);
		for (; t < until; t++) {
			scene_second(&scene, t);
			if (changes_of(&scene.w, look->kind, VIOLATION_RESOLVED))
				fail_msg("%s without %s: resolved at %d s", name, look->what, t);
		}
		if (blind)
			look->see(&scene);
		for (; t < until + SEEN; t++)
			scene_second(&scene, t);
		if (changes_of(&scene.w, look->kind, VIOLATION_RESOLVED) != 1 ||
		    changes_of(&scene.w, look->kind, VIOLATION_OPENED))
			fail_msg("%s with %s: resolved %zu times, opened %zu times", name,
			         look->what, changes_of(&scene.w, look->kind, VIOLATION_RESOLVED),
			         changes_of(&scene.w, look->kind, VIOLATION_OPENED));
		world_clear(&scene.w);
	}
}

/* Nothing answers and nothing is accused: a tunnel that had its time and carries something is good. */
static void a_tunnel_is_given_a_silent_peers_time(void **state)
{
	static const struct look look = { "all", TUNNEL_BROKEN, silence, NULL };
	struct scene scene;
	int t = 0;

	(void)state;
	scene_init(&scene, &look);
	for (; t < 200; t++)
		scene_second(&scene, t);
	assert_int_equal(scene.w.n_changes, 0);
	scene_second(&scene, t);
	assert_int_equal(scene.w.n_changes, 1);
	assert_int_equal(scene.w.changes[0].what, VIOLATION_RESOLVED);
	world_clear(&scene.w);
}

/* Flows are watched since a moment ago only. */
static void flows_are_watched_for_the_quiet_time(void **state)
{
	static const struct look look = { "flows", GATEWAY_BYPASS, unobserved, observed };
	struct scene scene;
	int t = 0;

	(void)state;
	scene_init(&scene, &look);
	for (; t < 100; t++) {
		scene.w.input.observing = t % 10 < 8; /* and never long enough */
		scene_second(&scene, t);
	}
	assert_int_equal(scene.w.n_changes, 0);
	scene.w.input.observing = true;
	for (; t < 110; t++)
		scene_second(&scene, t);
	assert_int_equal(scene.w.n_changes, 0);
	scene_second(&scene, t);
	assert_int_equal(scene.w.n_changes, 1);
	world_clear(&scene.w);
}

/* The subject is violated meanwhile, and says what there is to say. */
static void the_state_is_violated_meanwhile(void **state)
{
	static const struct look look = { "rounds", WRONG_SOURCE_ADDRESS, no_rounds, NULL };
	struct scene scene;

	(void)state;
	scene_init(&scene, &look);
	assert_int_equal(world_judge(&scene.w, 1), STATE_VIOLATED);
	expect_reason(&scene.w, "nothing remembered",
	              "not seen again so far: what an earlier run of the agent found");
	snprintf(scene.w.record.finding_reason, sizeof(scene.w.record.finding_reason),
	         "2 of 3 echoes");
	assert_int_equal(world_judge(&scene.w, 2), STATE_VIOLATED);
	expect_reason(&scene.w, "remembered", "not seen again so far: 2 of 3 echoes");
	world_clear(&scene.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_only_when_enough_was_seen),
		cmocka_unit_test(a_tunnel_is_given_a_silent_peers_time),
		cmocka_unit_test(flows_are_watched_for_the_quiet_time),
		cmocka_unit_test(the_state_is_violated_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
