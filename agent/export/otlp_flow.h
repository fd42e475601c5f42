/*
 * The flow that a violation's evidence begins with.
 */
#pragma once

#include "base/ip.h"

struct otlp_flow {
	struct ip destination;
	uint16_t port;      /* 0: none */
	char transport[16]; /* "tcp", "udp"; "": neither */
};

/*
 * The first of `flows` in evidence as the judge writes it. -ENOENT: it has none; -EINVAL, -E2BIG: no
 * such JSON; -ENOMEM. It may be of an earlier run, from a disk: read strictly.
 */
int otlp_flow_read(const char *evidence, struct otlp_flow *out);
