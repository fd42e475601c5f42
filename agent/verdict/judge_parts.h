/*
 * Inside of the judge: the parts that each know one kind of violation, and
 * the few questions they share. Nobody outside this directory includes it.
 */
#pragma once

#include "verdict/evidence.h"

/*
 * What the platform needs at most to bring up a pod or to carry a change to
 * the gateway nodes: links and SNAT follow an object in 5 s (seen on the real
 * daemon), and CNI ADD ends before a container starts.
 */
#define JUDGE_SETTLE_NS (5 * NSEC_PER_SEC)

/* 1: holds, *out is filled; 0: does not; -ENOMEM. */
typedef int (*judge_part_fn)(const struct judge_record *record, const struct judge_input *input,
                             const struct moment *now, struct finding *out);

int judge_wrong_source(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out);
int judge_bypass(const struct judge_record *record, const struct judge_input *input,
                 const struct moment *now, struct finding *out);
int judge_ungoverned(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out);
int judge_unexpected(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out);
int judge_unprogrammed(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out);
int judge_stale_routes(const struct judge_record *record, const struct judge_input *input,
                       const struct moment *now, struct finding *out);
int judge_tunnel(const struct judge_record *record, const struct judge_input *input,
                 const struct moment *now, struct finding *out);
int judge_unreachable(const struct judge_record *record, const struct judge_input *input,
                      const struct moment *now, struct finding *out);
int judge_unassigned(const struct judge_record *record, const struct judge_input *input,
                     const struct moment *now, struct finding *out);
int judge_missing(const struct judge_record *record, const struct judge_input *input,
                  const struct moment *now, struct finding *out);

/* Bring the record up to what the input says now; before the parts. */
void judge_track_flows(struct judge_record *record, const struct judge_input *input,
                       const struct moment *now);
void judge_track_routes(struct judge_record *record, const struct judge_input *input,
                        const struct moment *now);
void judge_track_tunnel(struct judge_record *record, const struct judge_input *input,
                        const struct moment *now);
void judge_track_faults(struct judge_record *record, const struct judge_input *input);

/* Writes the evidence into *out and answers 1, or -ENOMEM. */
int judge_found(const struct judge_record *record, const struct judge_input *input,
                const struct moment *now, struct finding *out, evidence_fn write, const void *user);

/* The gateway exists, is not being deleted and has addresses to compare with. */
bool judge_comparable(const struct subject *subject);
/* The agent knows the pod, or its namespace, too short a time to conclude anything from what is missing. */
uint64_t judge_settle_ns(const struct judge_settings *settings);
bool judge_settling(const struct judge_input *input, const struct moment *now);
/* The agent saw the gateway object change while it knew the pod already. */
bool judge_gateway_edited(const struct subject *subject);
int64_t judge_pod_started_us(const struct subject *subject); /* 0: unknown */
/* Since when the prefix of the subject's gateway, which has none, is awaited. */
int64_t judge_awaited_since_us(const struct subject *subject);
void judge_describe_bad_prefix(const struct kube_gateway *gateway, char reason[static REASON_MAX]);
uint64_t judge_age(const struct moment *now, const struct moment *then); /* ns; 0 for the future */
uint64_t judge_wall_age(const struct moment *now, int64_t wall_us);      /* likewise */
struct moment judge_at_wall(const struct moment *now, int64_t wall_us);
const char *judge_echo_name(const struct judge_settings *settings, uint16_t echo);
/* NULL: not among the live links, or these are unknown. */
const struct live_link *judge_link(const struct subject *subject, uint32_t ifindex);
/* Live configuration was read whole: what is missing there is missing. */
bool judge_live_complete(const struct subject *subject);
