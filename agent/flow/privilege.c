#include "flow/privilege.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "flow/fail.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif

#define BTF_FILE "/sys/kernel/btf/vmlinux"

static const struct {
	unsigned int number;
	const char *name;
} needed[] = {
	{ CAP_BPF, "CAP_BPF" },             /* maps and programs */
	{ CAP_PERFMON, "CAP_PERFMON" },     /* reading kernel structures, tracepoints */
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN" }, /* attaching to interfaces and cgroups */
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" }, /* entering other network namespaces */
};

static int effective(uint64_t *out)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*out = (uint64_t)data[1].effective << 32 | data[0].effective;
	return 0;
}

int privilege_check(struct flow_loader_error *error)
{
	char missing[128] = "";
	uint64_t have = 0;
	int r = effective(&have);

	if (r < 0)
		return flow_loader_fail(error, r, "cannot read own capabilities: %s", strerror(-r));
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		size_t n = strlen(missing);

		if (!(have & 1ULL << needed[i].number))
			snprintf(missing + n, sizeof(missing) - n, "%s%s", n ? ", " : "",
			         needed[i].name);
	}
	if (missing[0])
		return flow_loader_fail(error, -EPERM, "observing packets needs %s", missing);
	if (access(BTF_FILE, R_OK) < 0)
		return flow_loader_fail(error, -ENOSYS,
		                        "observing packets needs " BTF_FILE
		                        " (a kernel with CONFIG_DEBUG_INFO_BTF): %s",
		                        strerror(errno));
	return 0;
}
