#include "base/capabilities.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct capability capabilities[CAPABILITIES_MAX] = {
	{ CAP_BPF, "CAP_BPF", "flow/loader",
	  "no packet program can be loaded: no packets are observed; probes go on" },
	{ CAP_PERFMON, "CAP_PERFMON", "flow/loader",
	  "the kernel refuses the packet programs: no packets are observed; probes go on" },
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN", "flow/loader, io/wireguard",
	  "no packet program can be attached and no tunnel's state be read: no packets are "
	  "observed" },
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "io/netns",
	  "no pod's network namespace can be entered: nothing is probed and no packets are "
	  "observed" },
	{ CAP_SETUID, "CAP_SETUID", "broker/confine",
	  "what reads the network stays user root, without capabilities; everything works" },
	{ CAP_SETGID, "CAP_SETGID", "broker/confine",
	  "what reads the network stays user root, without capabilities; everything works" },
};

static int get(struct __user_cap_data_struct data[static 2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

int capabilities_effective(uint64_t *out)
{
	struct __user_cap_data_struct data[2];
	int r = get(data);

	if (r < 0)
		return r;
	*out = (uint64_t)data[1].effective << 32 | data[0].effective;
	return 0;
}

size_t capabilities_missing(uint64_t have, uint64_t wanted,
                            const struct capability *out[static CAPABILITIES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < CAPABILITIES_MAX; i++)
		if (wanted & ~have & CAPABILITY_BIT(capabilities[i].number))
			out[n++] = &capabilities[i];
	return n;
}

const char *capability_sentence(const struct capability *capability, char buf[static 256])
{
	snprintf(buf, 256, "%s is missing: %s", capability->name, capability->lost);
	return buf;
}

int capabilities_bound(uint64_t set)
{
	for (unsigned int i = 0; i < 64; i++) {
		int held = prctl(PR_CAPBSET_READ, i, 0, 0, 0);

		if (held < 0) /* the kernel knows no more */
			return 0;
		if (!held || set & CAPABILITY_BIT(i))
			continue;
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return errno == EPERM ? 0 : -errno;
	}
	return 0;
}

int capabilities_keep(uint64_t set)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	int r;

	r = capabilities_bound(set);
	r = r ?: get(data);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(set >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}
