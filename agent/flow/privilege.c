#include "flow/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "flow/fail.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"

int privilege_check(struct flow_loader_error *error)
{
	const struct capability *missing[CAPABILITIES_MAX];
	char names[128] = "";
	uint64_t have = 0;
	size_t n, used = 0;
	int r = capabilities_effective(&have);

	if (r < 0)
		return flow_loader_fail(error, r, "cannot read own capabilities: %s", strerror(-r));
	n = capabilities_missing(have, CAPABILITIES_KEPT, missing);
	for (size_t i = 0; i < n && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
		                         missing[i]->name);
	if (n)
		return flow_loader_fail(error, -EPERM, "observing packets needs %s", names);
	if (faccessat(AT_FDCWD, BTF_FILE, R_OK, AT_EACCESS) < 0)
		return flow_loader_fail(error, -ENOSYS,
		                        "observing packets needs " BTF_FILE
		                        " (a kernel with CONFIG_DEBUG_INFO_BTF): %s",
		                        strerror(errno));
	return 0;
}
