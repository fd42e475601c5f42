/*
 * Remedies: what to do about a violation, with the command to run.
 */
#pragma once

#include "inventory/subject.h"
#include "verdict/verdict.h"

enum remedy_tunnel {                       /* what is wrong with it */
	             REMEDY_TUNNEL_STALE,  /* made for another state of the objects */
	             REMEDY_TUNNEL_SILENT, /* nothing returns */
};

void remedy_of_flow(const struct subject *subject, enum violation_kind kind,
                    char out[static REMEDY_MAX]);
/* past_tunnel: the pod's own routes lead past the tunnel, so the gateway nodes are not to blame. */
void remedy_of_source(const struct subject *subject, enum attribution attribution, bool past_tunnel,
                      char out[static REMEDY_MAX]);
void remedy_of_tunnel(const struct subject *subject, enum remedy_tunnel what,
                      char out[static REMEDY_MAX]);
void remedy_of_silence(const struct subject *subject, bool resolve, char out[static REMEDY_MAX]);
void remedy_of_object(const struct subject *subject, enum violation_kind kind,
                      char out[static REMEDY_MAX]);
