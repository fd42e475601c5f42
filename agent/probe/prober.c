#include "probe/prober.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/kick.h"
#include "probe/attempt.h"

#define RESOLV_CONF_BEHIND "/run/systemd/resolve/resolv.conf"

struct probe {
	struct attempt attempt;
	struct prober *prober; /* borrowed */
	TAILQ_ENTRY(probe) entry;
	bool running;
	struct subject_sessions *sessions; /* borrowed; counted */
};

TAILQ_HEAD(probe_list, probe);

/* TLS sessions of one subject, in one life of it. */
struct subject_sessions {
	struct http_sessions *sessions; /* owned; NULL: none yet */
	uint64_t generation;
	unsigned int users;
};

struct prober {
	struct attempt_env env;
	struct kick kick; /* starts what waits, outside of any call */
	struct target targets[ECHOES_MAX];
	size_t n_targets;
	unsigned int in_flight_max, in_flight;
	bool resume_tls;
	struct subject_sessions sessions[SUBJECTS_MAX + 1]; /* the last is the node's */
	struct probe_list waiting, running;
	size_t n_waiting;
	struct prober_counts counts;
	prober_fn fn;
	void *user;
};

DEFINE_FREEP(struct prober, prober)

static struct probe *probe_free(struct probe *probe)
{
	if (!probe)
		return NULL;

	attempt_clear(&probe->attempt);
	if (probe->sessions)
		probe->sessions->users--;
	free(probe);
	return NULL;
}

static void unlink_probe(struct probe *probe)
{
	struct prober *prober = probe->prober;

	TAILQ_REMOVE(probe->running ? &prober->running : &prober->waiting, probe, entry);
	if (probe->running)
		prober->in_flight--;
	else
		prober->n_waiting--;
}

static struct subject_sessions *sessions_of(struct prober *prober, uint32_t subject)
{
	return &prober->sessions[subject == PROBE_SUBJECT_NODE ? SUBJECTS_MAX : subject];
}

/* NULL: a full handshake, because sessions are not wanted or cannot be had. */
static struct http_sessions *take_sessions(struct probe *probe)
{
	struct subject_sessions *sessions =
		sessions_of(probe->prober, probe->attempt.result.subject);

	if (!probe->prober->resume_tls || !probe->attempt.target->url.tls)
		return NULL;
	if (sessions->generation != probe->attempt.result.generation) {
		if (sessions->users > 0)
			return NULL;
		sessions->sessions = http_sessions_free(sessions->sessions);
		sessions->generation = probe->attempt.result.generation;
	}
	if (!sessions->sessions && http_sessions_new(&sessions->sessions) < 0)
		return NULL;

	probe->sessions = sessions;
	sessions->users++;
	return sessions->sessions;
}

/* Starting */

static void on_done(struct attempt *attempt)
{
	struct probe *probe = container_of(attempt, struct probe, attempt);
	struct prober *prober = probe->prober;
	struct probe_result result = attempt->result;

	prober->counts.attempts[result.echo]++;
	if (result.outcome != PROBE_ANSWERED)
		prober->counts.failures[result.echo][result.outcome]++;

	unlink_probe(probe);
	probe_free(probe);
	if (prober->n_waiting > 0)
		kick_now(&prober->kick);
	prober->fn(prober->user, &result);
}

static void begin(struct probe *probe)
{
	struct prober *prober = probe->prober;

	unlink_probe(probe);
	probe->running = true;
	prober->in_flight++;
	TAILQ_INSERT_TAIL(&prober->running, probe, entry);

	probe->attempt.sessions = take_sessions(probe);
	attempt_begin(&probe->attempt);
}

static int on_kick(struct kick *kick)
{
	struct prober *prober = container_of(kick, struct prober, kick);

	while (prober->in_flight < prober->in_flight_max && !TAILQ_EMPTY(&prober->waiting))
		begin(TAILQ_FIRST(&prober->waiting));
	return 0;
}

static void fill_result(const struct prober *prober, const struct prober_request *request,
                        struct probe_result *out)
{
	const struct target *target = &prober->targets[request->echo];

	*out = (struct probe_result){
		.subject = request->subject,
		.generation = request->generation,
		.round = request->round,
		.echo = request->echo,
		.udp = target->udp,
		.peer_port = target->url.port,
	};
}

void probe_result_skipped(const struct prober *prober, const struct prober_request *request,
                          const char *why, struct probe_result *out)
{
	fill_result(prober, request, out);
	out->outcome = PROBE_SKIPPED;
	out->started = out->finished = clock_now();
	probe_result_set_detail(out, why);
}

int prober_start(struct prober *prober, const struct prober_request *request)
{
	struct probe *probe;

	assert(request->echo < prober->n_targets);
	assert(request->subject < SUBJECTS_MAX || request->subject == PROBE_SUBJECT_NODE);

	if (prober->n_waiting >= PROBES_QUEUED_MAX) {
		prober->counts.refused++;
		return -EBUSY;
	}
	probe = calloc(1, sizeof(*probe));
	if (!probe)
		return -ENOMEM;

	probe->prober = prober;
	probe->attempt.env = &prober->env;
	probe->attempt.target = &prober->targets[request->echo];
	probe->attempt.opener = request->opener;
	probe->attempt.done = on_done;
	fill_result(prober, request, &probe->attempt.result);
	TAILQ_INSERT_TAIL(&prober->waiting, probe, entry);
	if (prober->n_waiting++ == 0)
		kick_now(&prober->kick);
	return 0;
}

static void cancel_in(struct probe_list *list, uint32_t subject)
{
	struct probe *probe, *next;

	for (probe = TAILQ_FIRST(list); probe; probe = next) {
		next = TAILQ_NEXT(probe, entry);
		if (probe->attempt.result.subject != subject)
			continue;
		probe->prober->counts.cancelled++;
		unlink_probe(probe);
		probe_free(probe);
	}
}

void prober_cancel(struct prober *prober, uint32_t subject)
{
	struct subject_sessions *sessions = sessions_of(prober, subject);

	cancel_in(&prober->waiting, subject);
	cancel_in(&prober->running, subject);
	if (prober->n_waiting > 0)
		kick_now(&prober->kick);
	if (sessions->users == 0)
		sessions->sessions = http_sessions_free(sessions->sessions);
}

size_t prober_pending(const struct prober *prober)
{
	return prober->n_waiting + prober->in_flight;
}

const struct prober_counts *prober_counts(const struct prober *prober)
{
	return &prober->counts;
}

/* Set-up */

static int copy_echoes(struct prober *prober, const struct prober_options *options,
                       const char **reason, size_t *which)
{
	for (size_t i = 0; i < options->n_echoes; i++) {
		const char *why = "";
		int r = target_init(&prober->targets[prober->n_targets++], &options->echoes[i],
		                    &why);

		if (r == -EINVAL && reason)
			*reason = why;
		if (r == -EINVAL && which)
			*which = i;
		if (r < 0)
			return r;
	}
	return 0;
}

int prober_new(struct loop *loop, const struct prober_options *options, prober_fn fn, void *user,
               const char **reason, size_t *which, struct prober **out)
{
	cleanup(prober_freep) struct prober *prober = NULL;
	const char *resolv_conf = options->resolv_conf ? options->resolv_conf : PROBER_RESOLV_CONF;
	int r;

	assert(options->n_echoes <= ECHOES_MAX);

	prober = calloc(1, sizeof(*prober));
	if (!prober)
		return -ENOMEM;
	prober->env.loop = loop;
	prober->kick = (struct kick)KICK_INIT;
	prober->env.timeout_ns = options->timeout_ns;
	prober->env.resolv_conf_behind = options->resolv_conf ? NULL : RESOLV_CONF_BEHIND;
	prober->in_flight_max = options->in_flight ? options->in_flight : PROBES_IN_FLIGHT_MAX;
	prober->resume_tls = options->resume_tls;
	prober->fn = fn;
	prober->user = user;
	TAILQ_INIT(&prober->waiting);
	TAILQ_INIT(&prober->running);

	prober->env.resolv_conf = strdup(resolv_conf);
	if (!prober->env.resolv_conf)
		return -ENOMEM;
	r = copy_echoes(prober, options, reason, which);
	if (r == 0)
		r = kick_init(&prober->kick, loop, on_kick);
	if (r == 0)
		r = http_client_new(loop, options->ca_bundle, &prober->env.http);
	if (r < 0)
		return r;

	*out = take_ptr(prober);
	return 0;
}

static void drop_all(struct probe_list *list)
{
	while (!TAILQ_EMPTY(list)) {
		struct probe *probe = TAILQ_FIRST(list);

		TAILQ_REMOVE(list, probe, entry);
		probe_free(probe);
	}
}

struct prober *prober_free(struct prober *prober)
{
	if (!prober)
		return NULL;

	drop_all(&prober->waiting);
	drop_all(&prober->running);
	for (size_t i = 0; i <= SUBJECTS_MAX; i++)
		http_sessions_free(prober->sessions[i].sessions);
	http_client_free(prober->env.http);
	kick_clear(&prober->kick);
	for (size_t i = 0; i < prober->n_targets; i++)
		target_clear(&prober->targets[i]);
	free(prober->env.resolv_conf);
	free(prober);
	return NULL;
}
