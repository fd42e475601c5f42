/*
 * The agent: owns every module and connects what one brings to what another needs.
 *
 * The only place that knows them all. agent.c builds and tears down, the
 * agent_*.c files hold the arrows: packets, probes, judging, answers.
 */
#pragma once

#include "base/timer.h"
#include "broker/flow_client.h"
#include "config.h"
#include "export/exporter.h"
#include "flow/reader.h"
#include "flow/table.h"
#include "inventory/inventory.h"
#include "inventory/source_file.h"
#include "inventory/source_kube.h"
#include "kube/recorder.h"
#include "kube/server.h"
#include "probe/prober.h"
#include "probe/schedule.h"
#include "report/report.h"
#include "spool/client.h"
#include "verdict/judge.h"
#include "verdict/snapshot.h"
#include "verdict/violations.h"

struct agent;

/* What the agent keeps of one subject beside the inventory's own. */
struct watched {
	struct agent *agent;
	struct subject *subject; /* borrowed from the inventory */
	struct judge_record record;
	struct probe_result *round; /* owned; ECHOES_MAX of the running round, else NULL */
	size_t n_round;
	uint64_t scheduled_inode; /* namespace that probes are scheduled in; 0: none */
	uint64_t kept_proof_ns;   /* of the last proof that the spool was told */
	uint64_t kept_ns;         /* when it was told of it last; 0: not by this run */
	uint64_t live_read_ns;    /* of the live configuration that flows were classified by */
	bool observing;           /* the packet programs are attached */
	bool attach_due;          /* they are about to be */
	bool announced;           /* its first state was reported */
	bool caught_up;           /* what was sent while no agent was here has been judged */
	bool urgent;            /* a flow took a wrong way, the first of its kind: judge at once */
	char attach_error[256]; /* why it is not observed; "" when it is */
	struct flow_ref *offending; /* owned; flows that took a wrong way, newest last */
	size_t n_offending, offending_capacity;
	uint64_t offending_refused; /* beyond OFFENDING_MAX: the oldest gave way */
};

struct agent_options {
	const char *config_path;
	bool once; /* check: no listeners, nothing left in the kernel afterwards */
};

/* A change that waits to be told until the spool keeps it. */
struct untold {
	uint64_t token;
	uint64_t until_ns; /* told then in any case: a slow disk must not keep an alarm back */
	struct violation *violation; /* owned; NULL: a state changed */
	enum violation_change change;
	struct buf state; /* owned; of the change of a state, as readers of events get it */
};

/* What an earlier run knew of a subject that has not come yet. */
struct remembered {
	char uid[SPOOL_KEY_MAX];
	char *body; /* owned */
	size_t len;
};

struct agent {
	struct agent_options options;
	struct loop *loop;
	struct config *config;
	struct moment started;
	bool stopping;
	bool gone; /* the DaemonSet is: nothing is left in the kernel */
	struct {
		bool allowed;     /* the API server answered the question once */
		uint64_t next_ns; /* not before then is it asked whether it does */
		bool asked;       /* told to end */
		bool refused;     /* the answer was a refusal, once */
		uint64_t flush_until_ns;
		struct kube_call *call;
		struct timer timer;
	} leave;

	struct inventory *inventory;
	/* Where its objects come from: one of these once the source has begun. */
	struct source_file *source_file;
	struct source_kube *source_kube;
	struct kube_client *kube; /* NULL: the inventory is a file's */

	struct flow_client *packets; /* NULL: no packets are observed, bpf_error says why */
	struct flow_table *flows;
	struct flow_reader *reader;
	char bpf_error[256];
	struct timer attach_timer;
	unsigned int ticks;
	bool claimed; /* what an earlier run left was taken over or removed */

	struct kube_server api_server; /* until the client has it */
	struct schedule *schedule;
	struct prober *prober;
	struct probe_result control[ECHOES_MAX]; /* newest of the node's own probes */
	struct timer probe_timer;
	struct moment last_round;

	struct judge_settings settings;
	const struct kube_gateway **gateways; /* owned array of borrowed pointers, for the judge */
	size_t n_gateways;
	struct watched *watched[SUBJECTS_MAX]; /* by subject.number */
	struct violations *violations;
	struct timer tick;

	struct {
		struct spool_client *client; /* NULL: check keeps nothing */
		char boot[SNAPSHOT_BOOT_MAX];
		struct untold untold[TELL_QUEUE_MAX]; /* a ring, the oldest first */
		size_t first, n;
		struct timer late;             /* of the oldest */
		struct remembered *remembered; /* owned; until everything was read once */
		size_t n_remembered;
		bool settled;
		bool loaded;                 /* all that an earlier run left was told */
		bool behind;                 /* and the agent judged before that */
		uint64_t reported_ns;        /* the newest node.report */
		uint64_t round_ns;           /* since when what violations counted was kept anew */
		size_t in_round;             /* so many of them were; 0: all */
		uint64_t told_early, unread; /* before they were kept; rows that made no sense */
	} spool;
	struct {
		struct export_settings settings;
		struct otlp_resource resource;
		char instance[37];            /* a UUID */
		char node_uid[64];            /* "": not known yet */
		struct exporter *exporter;    /* NULL: no collector */
		struct exporter_stats before; /* of exporters that a reload replaced */
	} export;

	struct kube_recorder *recorder; /* NULL: nobody takes events */
	struct report *report;
	struct http_server *server; /* NULL: check serves nothing */
	uint64_t probes_skipped;
	uint64_t out_of_memory;
	struct loop_source signals;
	int signal_fd;
};

/*
 * On failure *error holds one line that names the input and what was expected.
 * -EPERM: a privilege is missing, not the configuration wrong.
 */
int agent_new(const struct agent_options *options, struct agent **out, char error[static 512]);
struct agent *agent_free(struct agent *agent);
int agent_run(struct agent *agent);
struct inventory_options agent_inventory_options(const struct config *config);

/* agent_reload.c: the configuration again. */
void agent_reload(struct agent *agent);

/* agent_setup.c: configuration → what the broker grants. */
/* Which API server; before agent_setup(), and read through the broker when only root may. */
int agent_api_server(const struct config *config, struct kube_server *out, char error[static 512]);
/* collector is NULL before it was read, server with the inventory of a file. */
int agent_setup(const struct config *config, const struct export_settings *collector,
                const struct kube_server *server);
/* From here on the network may be heard. */
int agent_seal(const struct agent *agent, char error[static 512]);

/* agent_source.c: a file or the API server → inventory. */
int agent_source_load(struct agent *agent, char error[static 512]);
/* NULL: the inventory is a file's. */
const struct kube_server *agent_source_server(const struct agent *agent);
int agent_source_start(struct agent *agent, char error[static 512]);
void agent_source_stop(struct agent *agent);
/* SIGHUP. */
void agent_source_reload(struct agent *agent);
/* Everything was read at least once. */
bool agent_source_complete(const struct agent *agent);
/* Nothing more comes by waiting a moment. */
bool agent_source_settled(const struct agent *agent);
/* Whether it can be relied on now; what is to be said of it. */
bool agent_source_ready(const struct agent *agent, char *reason, size_t size);
uint64_t agent_source_refused(const struct agent *agent);

/* agent_leave.c: SIGTERM. Learns now and then whether it may ask; ends the loop, soon. */
void agent_leave_prepare(struct agent *agent);
void agent_leave(struct agent *agent);
void agent_leave_stop(struct agent *agent);

/* agent_flows.c: packets → flows → offending ones. */
int agent_flows_start(struct agent *agent);
void agent_flows_stop(struct agent *agent);
/* After the inventory was read: what an earlier run left and nobody claims goes. */
void agent_flows_settle(struct agent *agent);
bool agent_flows_attaching(const struct agent *agent);
void agent_flows_attach(struct agent *agent, struct watched *watched);
void agent_flows_detach(struct agent *agent, struct watched *watched);
void agent_flows_classify(struct agent *agent, struct watched *watched);
/* Borrowed until flows change; at most OFFENDING_MAX. */
size_t agent_flows_offending(struct agent *agent, struct watched *watched,
                             const struct flow *list[static OFFENDING_MAX]);
/* What was sent before this agent began has been told. */
void agent_flows_judged(struct agent *agent, struct watched *watched);

/* agent_probes.c: schedule → prober → rounds. */
int agent_probes_start(struct agent *agent, char error[static 512]);
void agent_probes_stop(struct agent *agent);
void agent_probes_follow(struct agent *agent, struct watched *watched);
void agent_probes_forget(struct agent *agent, struct watched *watched);
void agent_probes_soon(struct agent *agent, struct watched *watched);
int agent_probes_pump(struct agent *agent);

/* agent_places.c: what of the node is not there, and what does not work without it. */
void agent_places_tell(const struct agent *agent);
bool agent_places_ready(const struct agent *agent, char *reason, size_t size);

/* agent_judge.c: everything known of a subject → state and violations. */
int agent_judge_start(struct agent *agent);
void agent_judge_settings(struct agent *agent);
void agent_judge_gateways(struct agent *agent);
void agent_judge_round(struct agent *agent, struct watched *watched, const struct moment *now);
/* The node's round that was asked at `asked` is complete. */
void agent_judge_control(struct agent *agent, const struct moment *asked, const struct moment *now);
void agent_judge_now(struct agent *agent, struct watched *watched, const struct moment *now);
void agent_judge_tick(struct agent *agent);

/* agent_spool.c: changes → spool. */
int agent_spool_start(struct agent *agent, char error[static 512]);
void agent_spool_stop(struct agent *agent);
void agent_spool_forget(struct agent *agent, const struct subject *subject);
void agent_spool_violation(struct agent *agent, const struct violation *violation,
                           enum violation_change change, const struct moment *now);
void agent_spool_state(struct agent *agent, struct watched *watched, enum subject_state from,
                       const struct moment *now);
/* Each tick: node.report, proofs. */
void agent_spool_tick(struct agent *agent, const struct moment *now);
void agent_spool_remove(struct agent *agent, enum spool_table table, const char *key);

/* agent_spool_load.c: what an earlier run left → violations, records. */
int agent_spool_load(struct agent *agent);
/* A subject came: what that run knew of it. */
void agent_spool_remember(struct agent *agent, struct watched *watched);
/* Each tick, until everything was read once: what has not come is gone. */
void agent_spool_settle(struct agent *agent, const struct moment *now);
void agent_spool_forget_all(struct agent *agent);

/* agent_tell.c: to whoever listens, once it is kept. */
int agent_tell_start(struct agent *agent);
void agent_tell_stop(struct agent *agent);
/* token 0: at once. */
void agent_tell(struct agent *agent, const struct violation *violation,
                enum violation_change change, uint64_t token);
/* Takes the text's content. */
void agent_tell_state(struct agent *agent, struct buf *json, uint64_t token);
void agent_tell_kept(struct agent *agent, uint64_t token);

/* agent_export.c: spool, metrics → collector. */
/* The collector's address and files, of the configuration and the environment; before agent_setup(). */
int agent_export_read(const struct config *config, struct export_settings *out,
                      char error[static 512]);
int agent_export_load(struct agent *agent, char error[static 512]);
int agent_export_start(struct agent *agent, char error[static 512]);
void agent_export_stop(struct agent *agent);
void agent_export_kick(struct agent *agent);
/* Everything is at the collector, or there is none. */
bool agent_export_done(const struct agent *agent);
struct exporter_stats agent_export_stats(const struct agent *agent);
void agent_export_condition(const struct agent *agent, struct report_condition_state *out);
/* A node.report of now, as a LogRecord. */
int agent_export_report(struct agent *agent, const struct moment *now, struct buf *out,
                        char uid[static OTLP_UID_MAX]);

/* agent_events.c: what `kubectl describe` tells; without a recorder nothing. */
void agent_event(struct agent *agent, const struct violation *violation,
                 enum violation_change change);

/* agent_answers.c: what the HTTP endpoint and the metrics tell. */
int agent_answers_start(struct agent *agent);
int agent_answers_listen(struct agent *agent, char error[static 512]);
void agent_answers_stop(struct agent *agent);
