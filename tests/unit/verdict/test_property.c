/*
 * Random worlds over time. Whatever happens: no subject is verified while a
 * violation is open, a violation is opened and resolved by turns, counts do
 * not fall, evidence is JSON, and the same observations give the same verdicts.
 */
#include "world.h"

#define RUNS 60
#define STEPS 150

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

struct trace { /* what is known of each violation by its id */
	char id[33];
	bool open;
	uint64_t count;
};

struct watch {
	struct trace traces[512];
	size_t n;
	uint64_t hash; /* of everything that came out */
	uint64_t seed;
};

static void mix(struct watch *watch, const void *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		watch->hash = (watch->hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3ULL;
}

static struct trace *trace_of(struct watch *watch, const char *id)
{
	for (size_t i = 0; i < watch->n; i++)
		if (strcmp(watch->traces[i].id, id) == 0)
			return &watch->traces[i];
	assert_true(watch->n < sizeof(watch->traces) / sizeof(watch->traces[0]));
	memcpy(watch->traces[watch->n].id, id, sizeof(watch->traces[0].id));
	return &watch->traces[watch->n++];
}

static void follow(void *user, const struct violation *v, enum violation_change change)
{
	struct watch *watch = user;
	struct trace *trace = trace_of(watch, v->id);

	if (trace->open != (change == VIOLATION_RESOLVED))
		fail_msg("%s %s by turns broken", v->id, violation_kind_name(v->kind));
	trace->open = change == VIOLATION_OPENED;
	mix(watch, v->id, sizeof(v->id));
	mix(watch, &change, sizeof(change));
}

static void check_violations(struct world *w, struct watch *watch)
{
	const struct violation *v;

	for (size_t i = 0; (v = violations_at(w->violations, i)); i++) {
		struct trace *trace = trace_of(watch, v->id);

		assert_true(v->count >= trace->count);
		assert_true(v->open == trace->open);
		trace->count = v->count;
	}
}

static const char *random_answer(uint64_t *seed)
{
	static const char *const says[] = { GOOD,
		                            GOOD,
		                            GOOD2,
		                            OUTBOUND,
		                            "203.0.113.70",
		                            "198.51.100.9",
		                            "10.1.2.3",
		                            "2001:db8::1",
		                            "10.0.9.9=" GOOD,
		                            "10.0.9.9=" OUTBOUND,
		                            "!connect-timeout",
		                            "!resolve-failed",
		                            "!timeout",
		                            "!unparseable",
		                            "!skipped",
		                            "!local-error",
		                            "!rate-limited",
		                            NULL };

	return says[pick(seed, sizeof(says) / sizeof(says[0]))];
}

static void random_round(struct world *w, uint64_t *seed, double now)
{
	const char *says[WORLD_ECHOES], *all = random_answer(seed);
	bool same = pick(seed, 2);

	for (size_t i = 0; i < WORLD_ECHOES; i++)
		says[i] = same ? all : random_answer(seed);
	world_round(w, now, says);
}

static void random_flow(struct world *w, uint64_t *seed, double now)
{
	static const char *const dsts[] = { "192.0.2.1", "192.0.2.2",       "10.0.0.1",
		                            "10.60.1.9", "169.254.169.254", "2001:db8::7" };
	struct flow *flow;

	if (w->n_flows == 12) { /* an old one moves */
		flow = &w->flows[pick(seed, 12)];
		flow->last = at(now);
		flow->connections += pick(seed, 3);
		return;
	}
	flow = world_flow(w, dsts[pick(seed, 6)], pick(seed, 2) ? WORLD_ETH0 : WORLD_WG0, now, now);
	flow->key.origin = pick(seed, 4) ? FLOW_LOCAL : FLOW_REMOTE;
	flow->connections = pick(seed, 3);
}

static void random_object(struct world *w, uint64_t *seed, double now)
{
	switch (pick(seed, 7)) {
	case 0:
		w->subject.gateway = w->subject.gateway ? NULL : &w->blue;
		break;
	case 1:
		w->blue.prefix.n = !w->blue.prefix.n;
		break;
	case 2:
		w->blue.prefix_bad = !w->blue.prefix_bad;
		break;
	case 3:
		w->blue.default_to_gateway = !w->blue.default_to_gateway;
		w->subject.policy.default_path =
			w->blue.default_to_gateway ? PATH_GATEWAY : PATH_DIRECT;
		break;
	case 4:
		w->blue.provision_public_ips = !w->blue.provision_public_ips;
		break;
	case 5:
		w->blue.deleted_us = w->blue.deleted_us ? 0 : at(now).wall_us;
		break;
	default:
		w->subject.policy.n_exceptions = pick(seed, 4);
	}
	w->subject.gateway_changed_us = at(now).wall_us;
}

static void random_live(struct world *w, uint64_t *seed, double now)
{
	switch (pick(seed, 6)) {
	case 0:
		w->subject.live.tunnel_ifindex = w->subject.live.tunnel_ifindex ? 0 : WORLD_WG0;
		break;
	case 1:
		w->subject.live.readable = !w->subject.live.readable;
		break;
	case 2:
		w->routes[0].ifindex = pick(seed, 2) ? WORLD_ETH0 : WORLD_WG0;
		break;
	case 3:
		w->peers[0].key[0] = (uint8_t)(6 + pick(seed, 2));
		break;
	case 4:
		w->peers[0].tx_bytes += 148;
		break;
	default:
		w->peers[0].rx_bytes += 92;
		w->peers[0].handshake_us = at(now).wall_us;
	}
	world_read(w, now);
}

static void step(struct world *w, uint64_t *seed, double now)
{
	switch (pick(seed, 8)) {
	case 0:
	case 1:
	case 2:
		random_round(w, seed, now);
		break;
	case 3:
	case 4:
		random_flow(w, seed, now);
		break;
	case 5:
		world_control(w, now, pick(seed, 3) ? OUTBOUND : "!timeout");
		break;
	case 6:
		if (pick(seed, 3) == 0)
			random_object(w, seed, now);
		break;
	default:
		random_live(w, seed, now);
	}
}

static void check(struct world *w, struct watch *watch)
{
	if (w->record.state == STATE_VERIFIED &&
	    (violations_open(w->violations, NULL) || w->n_findings))
		fail_msg("seed %llu: verified with an open violation",
		         (unsigned long long)watch->seed);
	if ((w->record.state == STATE_VIOLATED) != (violations_open(w->violations, NULL) > 0))
		fail_msg("seed %llu: violated without a violation",
		         (unsigned long long)watch->seed);
	assert_true(w->record.reason[0] != '\0');
	for (size_t i = 0; i < w->n_findings; i++) {
		const struct finding *f = &w->findings[i];

		json_object_put(evidence_of(f));
		assert_true(f->count > 0);
		assert_true(f->first.wall_us != 0 && f->last.wall_us != 0);
		assert_true(f->first.mono_ns <= f->last.mono_ns);
		assert_true(f->reason[0] && f->remedy[0]);
		mix(watch, f->evidence, strlen(f->evidence));
	}
	mix(watch, &w->record.state, sizeof(w->record.state));
	mix(watch, w->record.reason, strlen(w->record.reason));
	check_violations(w, watch);
}

static uint64_t run(uint64_t seed)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	uint64_t random = seed, hash;
	double now = 1;
	struct world w;

	assert_non_null(watch);
	watch->seed = seed;
	world_init(&w);
	w.violations = violations_free(w.violations);
	assert_int_equal(violations_new(follow, watch, &w.violations), 0);
	for (int i = 0; i < STEPS; i++) {
		now += 0.05 + pick(&random, 40) / 4.0;
		step(&w, &random, now);
		world_judge(&w, now);
		check(&w, watch);
	}
	hash = watch->hash;
	free(watch);
	world_clear(&w);
	return hash;
}

static void holds_whatever_happens(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= RUNS; seed++) {
		uint64_t first = run(seed * 0x9e3779b97f4a7c15ULL);

		assert_true(first == run(seed * 0x9e3779b97f4a7c15ULL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
