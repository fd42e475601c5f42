#include "flow/flow.h"

#include <netinet/in.h>
#include <stdio.h>

#include "limits.h"

_Static_assert(sizeof(struct flow_key) == 32,
               "flow_key has hidden padding: keys are compared as bytes");

static const struct {
	uint8_t number;
	const char *name;
} protocols[] = {
	{ IPPROTO_TCP, "tcp" },       { IPPROTO_UDP, "udp" },   { IPPROTO_ICMP, "icmp" },
	{ IPPROTO_ICMPV6, "icmpv6" }, { IPPROTO_SCTP, "sctp" }, { IPPROTO_ESP, "esp" },
	{ IPPROTO_GRE, "gre" },
};

const char *flow_protocol_name(uint8_t protocol, char buf[static 8])
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		if (protocols[i].number == protocol)
			return protocols[i].name;
	}
	snprintf(buf, 8, "%u", protocol);
	return buf;
}

const char *flow_origin_name(enum flow_origin origin)
{
	static const char *const names[] = {
		[FLOW_LOCAL] = "local",
		[FLOW_REMOTE] = "remote",
	};

	_Static_assert(sizeof(names) / sizeof(names[0]) == _FLOW_ORIGIN_MAX,
	               "an origin has no name");
	return names[origin];
}
