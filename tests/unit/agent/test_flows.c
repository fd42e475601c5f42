#include "verdict/world.h"

#include "agent.h"

struct fixture {
	struct world world;
	struct agent agent;
	struct watched watched;
	struct flow *flow;
};

/* A flow that an earlier agent left, by eth0; 198.51.100.0/24 is excluded. */
static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct flow_key key = { .ifindex = WORLD_ETH0, .remote = ip_of("198.51.100.7") };
	bool is_new;

	assert_non_null(f);
	world_init(&f->world);
	world_except(&f->world, "198.51.100.0/24");
	key.subject = f->world.subject.number;
	f->watched = (struct watched){ .agent = &f->agent, .subject = &f->world.subject };
	assert_int_equal(flow_table_new(16, &f->agent.flows), 0);
	assert_int_equal(flow_table_add(f->agent.flows, &key, &is_new, &f->flow), 0);
	f->flow->first = f->flow->last = at(1);
	f->flow->unjudged = true;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	flow_table_free(f->agent.flows);
	free(f->watched.offending);
	world_clear(&f->world);
	free(f);
	return 0;
}

static void judged(struct fixture *f)
{
	agent_flows_classify(&f->agent, &f->watched);
	agent_flows_judged(&f->agent, &f->watched);
}

static void include_again(struct fixture *f)
{
	f->world.subject.policy.n_exceptions--;
	agent_flows_classify(&f->agent, &f->watched);
	assert_true(f->flow->offending);
}

/* It was as declared when it was sent: a declaration of later accuses it only if it is not over. */
static void a_later_declaration_is_not_for_what_is_over(void **state)
{
	struct fixture *f = *state;

	judged(f);
	assert_false(f->flow->offending);
	include_again(f);
	assert_false(f->flow->unjudged);
}

static void it_waits_for_gateways_and_links(void **state)
{
	struct fixture *f = *state;

	f->world.subject.gateway_unknown = true;
	judged(f);
	f->world.subject.gateway_unknown = false;
	f->world.subject.live.readable = false;
	judged(f);
	f->world.subject.live.readable = true;
	include_again(f);
	assert_true(f->flow->unjudged);
	judged(f);
	assert_false(f->flow->unjudged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_later_declaration_is_not_for_what_is_over, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(it_waits_for_gateways_and_links, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
