#include "flow/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "flow/fail.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define NEEDED_MAJOR 5
#define NEEDED_MINOR 15
#define STRING(x) #x
#define DECIMAL(x) STRING(x)
#define NEEDED_TEXT DECIMAL(NEEDED_MAJOR) "." DECIMAL(NEEDED_MINOR)

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

bool privilege_kernel_is_old(const char *release)
{
	unsigned int major, minor;

	if (sscanf(release, "%3u.%5u", &major, &minor) != 2)
		return false;
	return major < NEEDED_MAJOR || (major == NEEDED_MAJOR && minor < NEEDED_MINOR);
}

int privilege_refused(struct flow_loader_error *error, int r)
{
	struct utsname name;

	/* What it answers itself misleads: before 5.11 EPERM, where memory of maps counts as locked. */
	if (uname(&name) == 0 && privilege_kernel_is_old(name.release))
		return flow_loader_fail(error, r,
		                        "observing packets needs Linux " NEEDED_TEXT ", this is %s",
		                        name.release);
	return flow_loader_fail(
		error, r,
		"the kernel refuses the packet programs: %s (its reasons: log level debug)",
		strerror(-r));
}
