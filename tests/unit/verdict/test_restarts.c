/*
 * Agents that are restarted at any moment, in any state, on the same boot or on another one. Whatever
 * happens: a violation is opened and resolved by turns; one that goes on across restarts is neither
 * resolved nor opened again; one that ended meanwhile is resolved in time.
 */
#include "world.h"

#include "limits.h"
#include "verdict/snapshot.h"

#define RUNS 60
#define PHASES 10
#define FOUND_S 90     /* a fault is found within this of its begin, or of the agent's */
#define RESOLVED_S 260 /* without a fault, and an agent: nothing is open after that */

/* xorshift64*: the same everywhere, from a seed that a failure prints. */
static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

static unsigned int pick(uint64_t *seed, unsigned int n)
{
	return (unsigned int)(next(seed) >> 33) % n;
}

enum fault {
	HEALTHY,
	OTHER_ADDRESS,
	PAST_THE_TUNNEL,
	NO_TUNNEL,
	OTHER_ROUTES,
	OTHER_KEY,
	SILENT_PEER,
	NO_ANSWERS,
	NO_PREFIX,
	NO_GATEWAY,
	THROUGH_THE_TUNNEL,
	NO_ANNOTATION,
	_FAULT_MAX
};

static const enum violation_kind kind_of[] = {
	[HEALTHY] = _VIOLATION_KIND_MAX,
	[OTHER_ADDRESS] = WRONG_SOURCE_ADDRESS,
	[PAST_THE_TUNNEL] = GATEWAY_BYPASS,
	[NO_TUNNEL] = UNPROGRAMMED_POD,
	[OTHER_ROUTES] = STALE_ROUTES,
	[OTHER_KEY] = TUNNEL_BROKEN,
	[SILENT_PEER] = TUNNEL_BROKEN,
	[NO_ANSWERS] = EGRESS_UNREACHABLE,
	[NO_PREFIX] = UNASSIGNED_PREFIX,
	[NO_GATEWAY] = MISSING_CONFIGURATION,
	[THROUGH_THE_TUNNEL] = UNEXPECTED_GATEWAY,
	[NO_ANNOTATION] = UNGOVERNED_EGRESS,
};

struct trace {
	char id[33];
	bool open;
};

struct node {
	struct world w;
	uint64_t seed, random;
	int t; /* s */
	enum fault fault;
	int fault_since;
	bool was_open; /* a violation, of the fault that holds now */
	/* The agent that runs: what it does not know until then. */
	int agent_since, observing_at, live_at, gateway_at, probing_at;
	bool awaits_gateway; /* the object came after the pod, and looks new */
	int64_t flow_began;  /* s; of the kernel's own counting; -1: there is none */
	int flow_last;
	struct trace traces[512];
	size_t n_traces;
	size_t *across; /* restarts during which a violation was open, per kind */
};

#define fail_node(n, ...)                                                                        \
	do {                                                                                     \
		print_error("seed %llu at %d s, fault %d since %d s, agent since %d s: ",        \
		            (unsigned long long)(n)->seed, (n)->t, (n)->fault, (n)->fault_since, \
		            (n)->agent_since);                                                   \
		fail_msg(__VA_ARGS__);                                                           \
	} while (0)

static struct trace *trace_of(struct node *n, const char *id)
{
	for (size_t i = 0; i < n->n_traces; i++)
		if (strcmp(n->traces[i].id, id) == 0)
			return &n->traces[i];
	assert_true(n->n_traces < sizeof(n->traces) / sizeof(n->traces[0]));
	memcpy(n->traces[n->n_traces].id, id, sizeof(n->traces[0].id));
	return &n->traces[n->n_traces++];
}

static void follow(void *user, const struct violation *v, enum violation_change change)
{
	struct node *n = user;
	struct trace *trace = trace_of(n, v->id);
	bool of_fault = n->fault != HEALTHY && v->kind == kind_of[n->fault];

	if (trace->open != (change == VIOLATION_RESOLVED))
		fail_node(n, "%s %s by turns broken", v->id, violation_kind_name(v->kind));
	trace->open = change == VIOLATION_OPENED;
	if (of_fault && n->was_open)
		fail_node(n, "%s %s although it goes on: %s", violation_kind_name(v->kind),
		          trace->open ? "opened" : "resolved", v->reason);
}

static const struct violation *open_of(const struct node *n, enum violation_kind kind)
{
	const struct violation *v;

	for (size_t i = 0; (v = violations_at(n->w.violations, i)) && v->open; i++)
		if (v->kind == kind)
			return v;
	return NULL;
}

/* What the node is like, whoever looks. */
static void set_fault(struct node *n, enum fault fault)
{
	struct world *w = &n->w;

	if (fault == n->fault)
		return;
	n->fault = fault;
	n->fault_since = n->t;
	n->was_open = false;
	w->blue.prefix.n = fault == NO_PREFIX ? 0 : 1;
	w->peers[0].key[31] = fault == OTHER_KEY ? 8 : 7;
	w->blue.default_to_gateway = fault != THROUGH_THE_TUNNEL;
	w->subject.policy.default_path =
		fault == THROUGH_THE_TUNNEL || fault == NO_ANNOTATION ? PATH_DIRECT : PATH_GATEWAY;
	w->subject.gateway_name = fault == NO_ANNOTATION ? NULL : (char *)"blue";
	w->subject.required = fault == NO_ANNOTATION;
	world_routes(w);
	if (fault == OTHER_ROUTES)
		world_unroute(w, "10.0.0.0/16");
	if (fault == THROUGH_THE_TUNNEL) {
		w->routes[0].ifindex = WORLD_ETH0;
		w->routes[0].gateway = ip_of("10.60.1.1");
	}
	n->flow_began = -1;
	if (fault == PAST_THE_TUNNEL || fault == THROUGH_THE_TUNNEL || fault == NO_ANNOTATION)
		n->flow_began = n->flow_last = n->t;
	w->subject.live.tunnel_ifindex = fault == NO_TUNNEL ? 0 : WORLD_WG0;
	w->subject.live.n_links = fault == NO_TUNNEL ? 2 : 3;
	world_read(w, n->t);
	if (n->t >= n->gateway_at && n->t > 0)
		w->subject.gateway_changed_us = at(n->t).wall_us;
}

/* What the agent that runs knows of it by now. */
static void set_sight(struct node *n)
{
	struct world *w = &n->w;
	bool gateways = n->t >= n->gateway_at;

	w->subject.gateway =
		gateways && n->fault != NO_GATEWAY && w->subject.gateway_name ? &w->blue : NULL;
	w->subject.gateway_unknown = !gateways;
	if (gateways && n->awaits_gateway) {
		n->awaits_gateway = false;
		w->subject.gateway_changed_us = at(n->t).wall_us;
	}
	w->subject.live.readable = n->t >= n->live_at;
	w->input.observing = n->t >= n->observing_at;
	if (n->flow_began >= 0 && n->t % 3 == 0)
		n->flow_last = n->t;
	w->n_flows = 0;
	if (n->flow_began >= 0 && w->input.observing)
		world_flow(w, "192.0.2.1", n->fault == THROUGH_THE_TUNNEL ? WORLD_WG0 : WORLD_ETH0,
		           (double)n->flow_began, n->flow_last);
}

static void probe(struct node *n)
{
	struct world *w = &n->w;
	bool dumb = n->fault == NO_ANSWERS || n->fault == SILENT_PEER || n->fault == OTHER_KEY;
	bool direct = n->fault == OTHER_ADDRESS || n->fault == THROUGH_THE_TUNNEL ||
	              n->fault == NO_ANNOTATION || n->fault == NO_TUNNEL;
	const char *says = dumb ? "!connect-timeout" : direct ? OUTBOUND : GOOD;
	const char *const all[WORLD_ECHOES] = { says, says, says, says };

	if (n->t >= n->probing_at && n->t % 10 == n->probing_at % 10)
		world_round(w, n->t, all);
	if (n->t % 10 == 7)
		world_control(w, n->t, OUTBOUND);
}

static void move_tunnel(struct node *n)
{
	struct world *w = &n->w;

	if (n->t % 10 != 5)
		return;
	w->peers[0].tx_bytes += 148;
	if (n->fault != SILENT_PEER) {
		w->peers[0].rx_bytes += 92;
		w->peers[0].handshake_us = at(n->t).wall_us;
	}
	world_read(w, n->t);
}

static bool is_due(const struct node *n)
{
	/* A handshake's time, and a pending prefix's, begin before they are a fault. */
	int found = n->fault == SILENT_PEER ? FOUND_S + 180 : FOUND_S;
	int since = n->agent_since > n->fault_since ? n->agent_since : n->fault_since;

	return n->t - since > found;
}

static void second(struct node *n)
{
	const struct violation *v;

	set_sight(n);
	move_tunnel(n);
	probe(n);
	world_judge(&n->w, n->t);
	if (n->fault == HEALTHY)
		return;
	v = open_of(n, kind_of[n->fault]);
	/* One of the same kind may still be there of a fault that is over. */
	n->was_open |= v && v->last.mono_ns > at(n->fault_since).mono_ns;
	if (!n->was_open && is_due(n))
		fail_node(n, "%s was not found", violation_kind_name(kind_of[n->fault]));
}

static void keep_violations(struct node *n, const char *boot, struct violations *to)
{
	const struct violation *v;

	for (size_t i = 0; (v = violations_at(n->w.violations, i)) && v->open; i++) {
		cleanup(buf_clearp) struct buf text = BUF_INIT(SPOOL_BODY_MAX);
		struct violation *read = NULL;
		struct moment now = at(n->t);

		n->across[v->kind]++;
		snapshot_violation_write(v, "boot-a", &text);
		assert_int_equal(text.error, 0);
		assert_int_equal(snapshot_violation_read(text.data, text.len, boot, &now, &read),
		                 0);
		assert_int_equal(violations_restore(to, read), 0);
		snapshot_violation_free(read);
	}
}

static void start_agent(struct node *n, const struct judge_record *before, const char *boot)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(SPOOL_BODY_MAX);
	struct moment now = at(n->t);
	struct world *w = &n->w;

	judge_record_init(&w->record, &now);
	if (before) {
		snapshot_subject_write(before, "boot-a", &text);
		assert_int_equal(text.error, 0);
		assert_int_equal(snapshot_subject_read(text.data, text.len, boot, &now, &w->record),
		                 0);
	}
	w->subject.since = now;
	memset(w->node, 0, sizeof(w->node));
	memset(w->flows, 0, sizeof(w->flows));
	n->agent_since = n->t;
	n->live_at = n->t + (int)pick(&n->random, 20);
	n->observing_at = n->t + (int)pick(&n->random, 50);
	n->gateway_at = n->t + (int)(pick(&n->random, 2) ? pick(&n->random, 30) : 0);
	n->awaits_gateway = n->gateway_at > n->t;
	n->probing_at = n->t + (int)pick(&n->random, 15);
}

/* Gone for a while, in which anything may happen. */
static void restart(struct node *n)
{
	const char *boot = pick(&n->random, 3) ? "boot-a" : "boot-b";
	struct judge_record before = n->w.record;
	struct violations *violations;

	n->t += (int)pick(&n->random, 100);
	if (pick(&n->random, 3) == 0)
		set_fault(n,
		          pick(&n->random, 2) ? HEALTHY : (enum fault)pick(&n->random, _FAULT_MAX));
	n->t += (int)pick(&n->random, 100);
	assert_int_equal(violations_new(follow, n, &violations), 0);
	keep_violations(n, boot, violations);
	violations_free(n->w.violations);
	n->w.violations = violations;
	start_agent(n, pick(&n->random, 4) ? &before : NULL, boot);
}

static void nothing_is_open(struct node *n)
{
	const struct violation *v = violations_at(n->w.violations, 0);

	if (v && v->open)
		fail_node(n, "%s is still open: %s", violation_kind_name(v->kind), v->reason);
}

static void phase(struct node *n)
{
	int length = 1 + (int)pick(&n->random, 200);
	bool long_enough = pick(&n->random, 4) == 0;

	if (pick(&n->random, 2))
		set_fault(n, (enum fault)pick(&n->random, _FAULT_MAX));
	if (long_enough && n->fault == HEALTHY)
		length = RESOLVED_S;
	for (int i = 0; i < length; i++, n->t++)
		second(n);
	if (length == RESOLVED_S)
		nothing_is_open(n);
	if (pick(&n->random, 3))
		restart(n);
}

static void run(uint64_t seed, size_t *across)
{
	struct node *n = calloc(1, sizeof(*n));

	assert_non_null(n);
	n->seed = n->random = seed;
	n->across = across;
	n->t = 1;
	n->flow_began = -1;
	world_init(&n->w);
	violations_free(n->w.violations);
	assert_int_equal(violations_new(follow, n, &n->w.violations), 0);
	n->w.settings.pending_grace_ns = 30 * NSEC_PER_SEC;
	for (int i = 0; i < PHASES; i++)
		phase(n);
	set_fault(n, HEALTHY);
	restart(n);
	set_fault(n, HEALTHY);
	for (int i = 0; i < RESOLVED_S; i++, n->t++)
		second(n);
	nothing_is_open(n);
	for (size_t i = 0; i < n->n_traces; i++)
		if (n->traces[i].open)
			fail_node(n, "%s was never told to be resolved", n->traces[i].id);
	world_clear(&n->w);
	free(n);
}

static void holds_whatever_happens(void **state)
{
	size_t across[_VIOLATION_KIND_MAX] = { 0 };

	(void)state;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		run(seed * 0x9e3779b97f4a7c15ULL, across);
	for (int kind = 0; kind < _VIOLATION_KIND_MAX; kind++)
		if (!across[kind])
			fail_msg("%s was never open when the agent was restarted",
			         violation_kind_name((enum violation_kind)kind));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
