#include "flow/clsact.h"

#include <errno.h>

#include <bpf/libbpf.h>

#include "flow/loader.h"

/* Ours among other people's filters: Cilium uses 1, NetObserv and Inspektor Gadget take the next free one. */
#define HANDLE 0x6576
#define PRIORITY 0x6576

#define HOOK(name, index, is_egress)                            \
	LIBBPF_OPTS(bpf_tc_hook, name, .ifindex = (int)(index), \
	            .attach_point = (is_egress) ? BPF_TC_EGRESS : BPF_TC_INGRESS)
#define FILTER(name) LIBBPF_OPTS(bpf_tc_opts, name, .handle = HANDLE, .priority = PRIORITY)

int clsact_attach(uint32_t ifindex, bool egress, int program_fd)
{
	HOOK(hook, ifindex, egress);
	FILTER(filter);
	int r = bpf_tc_hook_create(&hook);

	if (r < 0 && r != -EEXIST)
		return r;
	filter.prog_fd = program_fd;
	filter.flags = BPF_TC_F_REPLACE;
	return bpf_tc_attach(&hook, &filter);
}

void clsact_detach(uint32_t ifindex, bool egress)
{
	HOOK(hook, ifindex, egress);
	FILTER(filter);

	/* The qdisc stays: another program may have come to rely on it. */
	bpf_tc_detach(&hook, &filter);
}

bool clsact_is_attached(uint32_t ifindex, bool egress)
{
	HOOK(hook, ifindex, egress);
	FILTER(filter);

	return bpf_tc_query(&hook, &filter) == 0;
}

const char *flow_loader_version(void)
{
	return libbpf_version_string();
}
