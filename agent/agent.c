#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"

static void on_subject_added(void *user, struct subject *subject)
{
	struct agent *agent = user;
	struct watched *watched = calloc(1, sizeof(*watched));
	struct moment now = clock_now();

	if (!watched) {
		agent->out_of_memory++;
		log_error("pod is not watched", "namespace", subject->namespace, "pod",
		          subject->pod, "error", strerror(ENOMEM), NULL);
		return;
	}
	watched->agent = agent;
	watched->subject = subject;
	judge_record_init(&watched->record, &now);
	agent_spool_remember(agent, watched);
	agent->watched[subject->number] = watched;

	agent_flows_attach(agent, watched);
	agent_flows_classify(agent, watched); /* those of an earlier run */
	agent_probes_follow(agent, watched);
	agent_judge_now(agent, watched, &now);
}

static void on_subject_changed(void *user, struct subject *subject, unsigned int what)
{
	struct agent *agent = user;
	struct watched *watched = agent->watched[subject->number];
	bool reread = watched && watched->live_read_ns != subject->live.read_at.mono_ns;
	struct moment now = clock_now();

	if (!watched)
		return;
	if (what & INVENTORY_NETNS)
		agent_probes_follow(agent, watched);
	if (what & (INVENTORY_NETNS | INVENTORY_LIVE))
		agent_flows_attach(agent, watched);
	/*
	 * A tunnel's counters alone change no flow's way, but every few seconds; finding
	 * a subject's flows means looking at all of them.
	 */
	if (what & (INVENTORY_GATEWAY | INVENTORY_POD) || (what & INVENTORY_LIVE && reread))
		agent_flows_classify(agent, watched);
	watched->live_read_ns = subject->live.read_at.mono_ns;
	if (what & (INVENTORY_GATEWAY | INVENTORY_POD))
		agent_probes_soon(agent, watched);
	agent_judge_now(agent, watched, &now);
}

static void on_subject_removed(void *user, struct subject *subject)
{
	struct agent *agent = user;
	struct watched *watched = agent->watched[subject->number];
	struct moment now = clock_now();

	if (!watched)
		return;
	agent_probes_forget(agent, watched);
	agent_flows_detach(agent, watched);
	violations_forget(agent->violations, subject->uid, &now);
	agent_spool_forget(agent, subject);
	agent->watched[subject->number] = NULL;
	free(watched->round);
	free(watched->offending);
	free(watched);
}

static void on_gateways(void *user)
{
	agent_judge_gateways(user);
}

struct inventory_options agent_inventory_options(const struct config *config)
{
	return (struct inventory_options){
		.node = config->node,
		.netns_dir = config->netns_dir,
		.cgroup_root = config->cgroup_root,
		.cluster = config->cluster,
		.n_cluster = config->n_cluster,
		.require = config->require,
		.n_require = config->n_require,
	};
}

static int on_signal(struct loop_source *source, uint32_t events)
{
	struct agent *agent = container_of(source, struct agent, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(agent->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			agent_reload(agent);
			continue;
		}
		log_info("stopping", "signal", strsignal((int)info.ssi_signo), NULL);
		agent->stopping = true;
		agent_leave(agent);
	}
	return 0;
}

static int watch_signals(struct agent *agent)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);

	agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent->signal_fd < 0)
		return -errno;
	return loop_add(agent->loop, &agent->signals, agent->signal_fd, EPOLLIN, on_signal);
}

/* Pods that memory was wanting for when they came. */
static void watch_left_out(struct agent *agent)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		struct subject *subject = inventory_subject(agent->inventory, i);

		if (subject && !agent->watched[i])
			on_subject_added(agent, subject);
	}
}

static int on_tick(struct timer *timer)
{
	struct agent *agent = container_of(timer, struct agent, tick);
	struct moment now = clock_now();

	watch_left_out(agent);
	agent_leave_prepare(agent);
	agent_flows_settle(agent);
	agent_judge_tick(agent);
	agent_spool_tick(agent, &now);
	return 0;
}

static int start_inventory(struct agent *agent)
{
	struct inventory_options options = agent_inventory_options(agent->config);
	struct inventory_events events = {
		.user = agent,
		.added = on_subject_added,
		.changed = on_subject_changed,
		.removed = on_subject_removed,
		.gateways = on_gateways,
	};

	return inventory_new(agent->loop, &options, &events, &agent->inventory);
}

static int fail(char error[static 512], const char *what, int r)
{
	snprintf(error, 512, "%s: %s", what, strerror(-r));
	return r;
}

/* In the order in which one needs another. */
static int build(struct agent *agent, char error[static 512])
{
	int r;

	r = loop_new(&agent->loop);
	if (r == 0)
		r = watch_signals(agent);
	if (r == 0)
		r = agent_answers_start(agent);
	if (r == 0)
		r = agent_judge_start(agent);
	if (r < 0)
		return fail(error, "starting", r);

	r = agent_setup(agent->config, &agent->export.settings, agent_source_server(agent));
	if (r < 0)
		return fail(error, "what the configuration asks of the broker", r);
	/* Before anything in the kernel is touched: an agent that runs already has the address. */
	error[0] = '\0';
	r = agent_answers_listen(agent, error);
	if (r < 0)
		return error[0] ? r : fail(error, "http.listen", r);
	r = agent_seal(agent, error);
	if (r < 0) {
		if (!error[0])
			fail(error, "confining the worker", r);
		return -EPERM;
	}

	r = start_inventory(agent);
	if (r < 0)
		return fail(error, "inventory", r);
	r = agent_flows_start(agent);
	if (r < 0)
		return fail(error, agent->bpf_error[0] ? agent->bpf_error : "flows", r);

	/* After it is known that no other agent of this node runs, before the first pod is. */
	r = agent_spool_start(agent, error);
	if (r < 0)
		return r;

	error[0] = '\0';
	r = agent_probes_start(agent, error);
	if (r < 0)
		return error[0] ? r : fail(error, "probes", r);

	r = agent_export_start(agent, error);
	if (r < 0)
		return r;
	r = agent_source_start(agent, error);
	if (r < 0)
		return r;

	agent_flows_settle(agent);

	r = timer_init(&agent->tick, agent->loop, on_tick);
	if (r == 0)
		r = timer_set(&agent->tick, JUDGE_TICK_MS * NSEC_PER_MSEC,
		              JUDGE_TICK_MS * NSEC_PER_MSEC);
	return r < 0 ? fail(error, "timer", r) : 0;
}

DEFINE_FREEP(struct agent, agent)

int agent_new(const struct agent_options *options, struct agent **out, char error[static 512])
{
	cleanup(agent_freep) struct agent *agent = NULL;
	int r;

	agent = calloc(1, sizeof(*agent));
	if (!agent)
		return fail(error, "starting", -ENOMEM);
	agent->options = *options;
	agent->started = clock_now();
	agent->signal_fd = -1;
	agent->leave.timer.fd = -1;
	agent->spool.late.fd = -1;
	agent->probe_timer.fd = agent->tick.fd = agent->attach_timer.fd = -1;

	r = config_load(options->config_path, &agent->config, error);
	if (r < 0)
		return r;
	r = agent_source_load(agent, error);
	if (r < 0)
		return r;
	r = agent_export_load(agent, error);
	if (r < 0)
		return r;

	r = build(agent, error);
	if (r < 0)
		return r;
	*out = take_ptr(agent);
	return 0;
}

struct agent *agent_free(struct agent *agent)
{
	if (!agent)
		return NULL;

	timer_clear(&agent->tick);
	agent_leave_stop(agent);
	agent_source_stop(agent);
	agent_answers_stop(agent);
	agent_export_stop(agent);
	agent_spool_stop(agent);
	agent_flows_stop(agent);
	for (size_t i = 0; i < SUBJECTS_MAX; i++)
		if (agent->watched[i]) {
			agent_probes_forget(agent, agent->watched[i]);
			free(agent->watched[i]->round);
			free(agent->watched[i]->offending);
			free(agent->watched[i]);
			agent->watched[i] = NULL;
		}
	agent_probes_stop(agent);
	timer_clear(&agent->probe_timer);
	inventory_free(agent->inventory);
	flow_table_free(agent->flows);
	violations_free(agent->violations);
	report_free(agent->report);
	free(agent->gateways);
	loop_remove(&agent->signals);
	fd_closep(&agent->signal_fd);
	config_free(agent->config);
	loop_free(agent->loop);
	free(agent);
	return NULL;
}

int agent_run(struct agent *agent)
{
	return loop_run(agent->loop);
}
