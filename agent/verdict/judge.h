/*
 * Judge: observations × expectation × time → state and findings. Pure.
 *
 * A record holds what the judge must remember of one subject between calls
 * (runs of bad rounds, the last proof); everything else is passed in.
 */
#pragma once

#include "flow/flow.h"
#include "inventory/subject.h"
#include "kube/gateway_vm.h"
#include "limits.h"
#include "probe/result.h"
#include "verdict/verdict.h"
#include "verdict/witness.h"

struct judge_settings {
	uint64_t interval_ns, pending_grace_ns;
	unsigned int quorum; /* as configured; lowered to the number of echoes per transport */
	size_t n_echoes;
	const char *echo_name[ECHOES_MAX]; /* borrowed */
	bool echo_udp[ECHOES_MAX];
	bool once; /* everything there is was read at the start: nothing but a new pod is to come */
};

/* What the judge may know of other objects, for attribution. */
struct judge_context {
	const struct kube_gateway *const *gateways; /* borrowed */
	size_t n_gateways;
	const struct probe_result
		*node_results; /* control probes, one per echo; finished.wall_us 0: none */
	bool node_control;
	struct ip node_ip;
	bool has_node_ip;
};

enum { JUDGE_FINDINGS_MAX = _VIOLATION_KIND_MAX };

/* When traffic on a way it must not take began, per kind; told apart from an earlier, ended time. */
struct judge_streak {
	struct moment since; /* wall_us 0: no such traffic now */
	struct moment ended; /* the newest packet of the time before */
};

/* A fault that a round showed, kept until rounds show that it is gone. */
struct judge_fault {
	bool holds;
	uint32_t count; /* rounds that showed it */
	struct moment first, last;
	struct witness witness[ECHOES_MAX]; /* of the newest round that showed it */
	size_t n_witness;
	struct ip address; /* what was seen */
};

struct judge_record {
	struct moment begun; /* judge_record_init() */
	bool remembered; /* an earlier run knew the subject: it is not new because the agent is */
	struct probe_result last[ECHOES_MAX]; /* newest result per echo; finished.wall_us 0: none */
	struct ip peer[ECHOES_MAX];           /* newest known address of each; all zero: none */
	uint32_t rounds;                      /* complete rounds judged */
	struct moment last_proof;             /* newest quorum for an allowed address */
	struct ip observed;                   /* address of the newest quorum, allowed or not */
	enum attribution attribution;
	char attributed_to[160]; /* "namespace/name" of the other gateway, else "" */
	uint32_t bad_rounds, silent_rounds, good_rounds; /* runs */
	struct moment silent_since, silent_last;
	bool answered; /* the newest round's lack of proof is not for lack of answers */
	char round_reason[REASON_MAX]; /* what the newest round said */
	struct judge_fault wrong;      /* wrong-source-address */
	struct moment alone_since;     /* a lone echo accuses since then; wall_us 0: none does */
	bool alone_new;                /* since the newest round: the node should ask it soon */
	struct judge_fault unexpected; /* the gateway's address seen where it must not be */
	uint32_t unexpected_clean;     /* rounds since */
	bool unreachable;              /* egress-unreachable holds */
	uint32_t alive; /* bits of silent echoes that answered the node by the last round */
	struct judge_streak streak[_VIOLATION_KIND_MAX];
	struct moment observing_since; /* its flows, without a break; wall_us 0: not now */
	/* WireGuard traffic at the last change of rx: sends without answer are judged by it. */
	bool tunnel_known;
	uint64_t tunnel_rx, tunnel_tx;
	struct moment tunnel_rx_changed;
	struct moment
		tunnel_unanswered; /* first reading with more sent since then; wall_us 0: none */
	struct moment tunnel_bad_since; /* configuration that differs from the objects */
	struct moment tunnel_missing_since;
	bool tunnel_seen;
	struct moment untunneled; /* newest look that found none; wall_us 0: never */
	/* Comparing all routes is quadratic, so the answer is kept for as long as its inputs. */
	uint64_t routes_key;
	bool routes_stale;
	struct moment routes_since;
	struct ip routes_at; /* the address at which expectation and routes differ first */
	char routes_reason[REASON_MAX];
	enum subject_state state;
	char reason[REASON_MAX];
	struct moment state_since;
	char finding_reason[REASON_MAX]; /* of the worst finding of the newest judge(); else "" */
	size_t n_findings;
};

struct judge_input {
	const struct subject *subject;
	const struct judge_settings *settings;
	const struct judge_context *context;
	const struct flow *const
		*offending; /* this subject's flows with flow.offending, any kind; borrowed */
	size_t n_offending;
	const struct kube_gateway_vm *gateway_nodes; /* of its gateway; borrowed; NULL: not known */
	bool observing; /* BPF programs are attached for it: silence of flows means something */
	uint64_t events_lost; /* flow events lost since start: said in evidence */
};

void judge_record_init(struct judge_record *record, const struct moment *now);

/*
 * A round is complete: one result per echo that was asked. Results of an
 * earlier pod of the same number (another generation) are left out.
 */
void judge_round(struct judge_record *record, const struct judge_input *input,
                 const struct probe_result *results, size_t n, const struct moment *now);

/*
 * Everything that holds now. findings[] has room for JUDGE_FINDINGS_MAX; the
 * caller owns them. -ENOMEM leaves both alone: then nothing is known, and no
 * violation may be resolved by it.
 *
 * judge_state() follows it and sets record->state and ->reason; `open` is the
 * number of the subject's violations that are still open (hysteresis lives in
 * violations).
 */
int judge(struct judge_record *record, const struct judge_input *input, const struct moment *now,
          struct finding *findings, size_t *n_findings);
void judge_state(struct judge_record *record, const struct judge_input *input, size_t open,
                 const struct moment *now);

/*
 * Bits of the kinds of violation whose absence means that there is none, not that nobody has
 * looked since the record began: what an earlier run found is resolved by that only.
 */
uint32_t judge_decided(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now);

/*
 * Classifies a flow against the subject's policy and live interfaces: sets
 * flow->path and flow->offending; *kind is the violation when offending.
 */
void judge_flow(const struct subject *subject, struct flow *flow, enum violation_kind *kind);

/* The quiet time after which a kind resolves. */
uint64_t judge_quiet_ns(const struct judge_settings *settings);
