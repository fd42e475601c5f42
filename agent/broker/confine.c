#include "broker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "base/capabilities.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "broker/seccomp.h"
#include "io/privileged.h"
#include "limits.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

#define SANITIZED_TEXT "built with AddressSanitizer: this process is not confined at all"

static int fail(char error[static CONFINE_TEXT_MAX], int r, const char *what)
{
	snprintf(error, CONFINE_TEXT_MAX, "%s: %s", what, strerror(-r));
	return r;
}

bool confine_possible(void)
{
#ifdef SANITIZED
	return false;
#else
	return true;
#endif
}

static int last(int r)
{
	return r < 0 ? -errno : 0;
}

/* No memory of it on disk, none for other processes of the same user, and no set-uid program makes it more. */
static int harden(char error[static CONFINE_TEXT_MAX])
{
	const struct rlimit none = { 0, 0 };
	int r;

	r = last(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (r < 0)
		return fail(error, r, "no_new_privs");
	r = last(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	if (r < 0)
		return fail(error, r, "not dumpable");
	r = last(setrlimit(RLIMIT_CORE, &none));
	return r < 0 ? fail(error, r, "RLIMIT_CORE") : 0;
}

static bool can_change_user(uint64_t have)
{
	return (have & CAPABILITIES_IDENTITY) == CAPABILITIES_IDENTITY;
}

/* What the worker cannot give up is said, and the rest is given up all the same. */
static void warn_of_user(uint64_t have, char warning[static CONFINE_TEXT_MAX])
{
	const struct capability *missing[CAPABILITIES_MAX];

	if (geteuid() == 0 && capabilities_missing(have, CAPABILITIES_IDENTITY, missing))
		capability_sentence(missing[0], warning);
}

static int become_nobody(char error[static CONFINE_TEXT_MAX])
{
	int r;

	r = last(setgroups(0, NULL));
	if (r < 0)
		return fail(error, r, "setgroups");
	r = last(setresgid(CONFINE_ID, CONFINE_ID, CONFINE_ID));
	if (r < 0)
		return fail(error, r, "setresgid");
	r = last(setresuid(CONFINE_ID, CONFINE_ID, CONFINE_ID));
	return r < 0 ? fail(error, r, "setresuid") : 0;
}

/* The kernel forgets the signal when the user changes, and a parent that died before is not told of. */
static int die_with(pid_t parent, char error[static CONFINE_TEXT_MAX])
{
	int r;

	r = last(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
	if (r < 0)
		return fail(error, r, "PR_SET_PDEATHSIG");
	return getppid() == parent ? 0 : fail(error, -ESRCH, "the parent");
}

int confine_worker(pid_t parent, char warning[static CONFINE_TEXT_MAX],
                   char error[static CONFINE_TEXT_MAX])
{
	uint64_t have;
	int r;

	warning[0] = '\0';
	if (!confine_possible()) {
		snprintf(warning, CONFINE_TEXT_MAX, SANITIZED_TEXT);
		return die_with(parent, error);
	}
	r = capabilities_effective(&have);
	if (r < 0)
		return fail(error, r, "own capabilities");
	/* First of all: to shrink it takes CAP_SETPCAP, which goes with the user. */
	r = capabilities_bound(0);
	if (r < 0)
		return fail(error, r, "the capabilities' bounding set");
	if (can_change_user(have))
		r = become_nobody(error);
	else
		warn_of_user(have, warning);
	if (r < 0)
		return r;
	r = capabilities_keep(0);
	if (r < 0)
		return fail(error, r, "giving up capabilities");
	r = harden(error);
	r = r ?: die_with(parent, error);
	if (r < 0)
		return r;
	r = seccomp_worker();
	return r < 0 ? fail(error, r, "the filter of system calls") : 0;
}

/*
 * kill(2) asks for CAP_KILL or for a user in common, and so does the signal at
 * the parent's death (group_send_sig_info() in the kernel's exit.c). The real
 * user is what tells the two processes to belong together; files and
 * capabilities go by the effective one, which stays root.
 */
static int share_user(uint64_t have, char error[static CONFINE_TEXT_MAX])
{
	int r;

	if (!can_change_user(have))
		return 0;
	r = last(setresuid(CONFINE_ID, (uid_t)-1, (uid_t)-1));
	return r < 0 ? fail(error, r, "setresuid") : 0;
}

int confine_broker(char error[static CONFINE_TEXT_MAX])
{
	uint64_t have;
	int r;

	if (!confine_possible()) {
		log_warn(SANITIZED_TEXT, NULL);
		return 0;
	}
	r = capabilities_effective(&have);
	if (r < 0)
		return fail(error, r, "own capabilities");
	r = share_user(have, error);
	if (r < 0)
		return r;
	r = capabilities_keep(CAPABILITIES_KEPT);
	if (r < 0)
		return fail(error, r, "giving up capabilities");
	r = harden(error);
	if (r < 0)
		return r;
	r = seccomp_broker();
	return r < 0 ? fail(error, r, "the filter of system calls") : 0;
}

/* Files */

/* <linux/landlock.h> is of the machine that builds, the kernel may know more or less. */
struct ruleset {
	uint64_t files, network, scoped;
};

#define LANDLOCK_FILES_1 ((1ULL << 13) - 1)
#define LANDLOCK_REFER (1ULL << 13)             /* ABI 2, 5.19 */
#define LANDLOCK_TRUNCATE (1ULL << 14)          /* ABI 3, 6.2 */
#define LANDLOCK_TCP (1ULL << 0 | 1ULL << 1)    /* ABI 4, 6.7: bind, connect */
#define LANDLOCK_IOCTL_DEV (1ULL << 15)         /* ABI 5, 6.10 */
#define LANDLOCK_SCOPED (1ULL << 0 | 1ULL << 1) /* ABI 6, 6.12: abstract sockets, signals */

/*
 * What libraries open when they are first used, and what the kernel tells. Of
 * /proc all: its folders are made anew whenever the kernel likes, so a rule for
 * /proc/self would not last; Landlock itself keeps other processes' secrets.
 * /etc/ssl holds private keys too, so not all of it, and /etc/cni/net.d a plugin's
 * token: of that folder the broker opens what is a CNI configuration.
 */
static const char *const system_paths[] = {
	"/proc",
	"/sys/devices/system/cpu",
	"/dev/null",
	"/dev/urandom",
	"/etc/gnutls",
	"/etc/hosts",
	"/etc/localtime",
	"/etc/pki/ca-trust",
	"/etc/pki/tls/certs",
	"/etc/pki/tls/openssl.cnf",
	"/etc/resolv.conf",
	"/etc/ssl/certs",
	"/etc/ssl/openssl.cnf",
	"/run/systemd/resolve",
	"/usr/lib/ssl",
	"/usr/local/share/ca-certificates",
	"/usr/share/ca-certificates",
	"/usr/share/zoneinfo",
};

static int landlock_version(void)
{
	long r = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return r < 0 ? -errno : (int)r;
}

/* Everything that this kernel can refuse. */
static int new_ruleset(int version, int *fd)
{
	struct ruleset ruleset = { .files = LANDLOCK_FILES_1 };
	long r;

	if (version >= 2)
		ruleset.files |= LANDLOCK_REFER;
	if (version >= 3)
		ruleset.files |= LANDLOCK_TRUNCATE;
	if (version >= 4)
		ruleset.network = LANDLOCK_TCP;
	if (version >= 5)
		ruleset.files |= LANDLOCK_IOCTL_DEV;
	if (version >= 6)
		ruleset.scoped = LANDLOCK_SCOPED;
	/* An older kernel takes a longer structure whose rest is zero. */
	r = syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	if (r < 0)
		return -errno;
	*fd = (int)r;
	return 0;
}

/* What the worker may not reach by its path it may have been handed by now, entry for entry. */
static int locate(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC), handed;

	if (fd >= 0 || errno != EACCES || !privileged() || !privileged()->file)
		return fd;
	return privileged()->file(path, &handed) < 0 ? -1 : handed;
}

/* `in_folder`: what else is permitted when it is one. */
static int permit(int ruleset, const char *path, uint64_t in_folder)
{
	cleanup(fd_closep) int fd = locate(path);
	struct landlock_path_beneath_attr rule = { .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
		                                   .parent_fd = fd };
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR | in_folder;
	return last(
		(int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

static int permit_all(int ruleset, const char *const *paths, size_t n,
                      char error[static CONFINE_TEXT_MAX])
{
	for (size_t i = 0; i < n; i++) {
		int r = permit(ruleset, paths[i], 0);

		if (r < 0)
			return fail(error, r, paths[i]);
	}
	return 0;
}

/* EPERM is never the kernel's: a container's seccomp profile that is older than Landlock says it. */
static const char *why_no_landlock(int r)
{
	return r == -EPERM ? "the seccomp profile it was started with refuses Landlock"
	                   : "this kernel has no Landlock";
}

static int without_landlock(int r, char warning[static CONFINE_TEXT_MAX],
                            char error[static CONFINE_TEXT_MAX])
{
	const char *why = why_no_landlock(r);

	if (geteuid() == 0) {
		snprintf(
			error, CONFINE_TEXT_MAX,
			"CAP_SETUID or CAP_SETGID is missing, so the worker is root, and %s, which "
			"would keep it from root's files: %s",
			why, strerror(-r));
		return r;
	}
	snprintf(warning, CONFINE_TEXT_MAX, "%s: the worker may read what everybody may read", why);
	return 0;
}

int confine_files(const char *const *paths, size_t n, char warning[static CONFINE_TEXT_MAX],
                  char error[static CONFINE_TEXT_MAX])
{
	cleanup(fd_closep) int ruleset = -1;
	int version, r;

	warning[0] = '\0';
	if (!confine_possible())
		return 0;
	version = landlock_version();
	if (version <= 0)
		return without_landlock(version ?: -ENOSYS, warning, error);
	r = new_ruleset(version, &ruleset);
	if (r < 0)
		return fail(error, r, "Landlock");
	r = permit_all(ruleset, system_paths, sizeof(system_paths) / sizeof(system_paths[0]),
	               error);
	r = r ?: permit_all(ruleset, paths, n, error);
	if (r < 0)
		return r;
	r = last((int)syscall(SYS_landlock_restrict_self, ruleset, 0));
	return r < 0 ? fail(error, r, "Landlock") : 0;
}

/* The spool */

int confine_spool_start(char error[static CONFINE_TEXT_MAX])
{
	int r;

	if (!confine_possible()) {
		log_warn(SANITIZED_TEXT, NULL);
		return 0;
	}
	r = capabilities_keep(0);
	if (r < 0)
		return fail(error, r, "giving up capabilities");
	r = harden(error);
	if (r < 0)
		return r;
	r = seccomp_spool();
	return r < 0 ? fail(error, r, "the filter of system calls") : 0;
}

/*
 * The nearest folder above that is there, and one more: another file system may come to lie on it, and Landlock
 * does not look at what is hidden by that (is_access_to_paths_allowed(), security/landlock/fs.c). false: that
 * would be all there is.
 */
static bool find_above(const char *directory, char out[static SPOOL_DIRECTORY_MAX])
{
	struct stat st;
	char *slash;
	bool found = false;

	if (snprintf(out, SPOOL_DIRECTORY_MAX, "%s", directory) >= SPOOL_DIRECTORY_MAX)
		return false;
	while ((slash = strrchr(out, '/')) && slash > out) {
		*slash = '\0';
		if (found)
			return true;
		found = stat(out, &st) == 0 && S_ISDIR(st.st_mode);
		if (found && strrchr(out, '/') == out)
			return true;
	}
	return false;
}

/* Files are made and removed, no folders, links or devices; and renamed within it. */
static uint64_t in_spool(int version)
{
	uint64_t rights = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |
	                  LANDLOCK_ACCESS_FS_MAKE_REG;

	return version >= 3 ? rights | LANDLOCK_TRUNCATE : rights;
}

/* `path` NULL: nothing. */
static int restrict_to_spool(int version, const char *path, uint64_t rights,
                             char error[static CONFINE_TEXT_MAX])
{
	static const char *const read[] = { "/dev/urandom", "/etc/localtime",
		                            "/usr/share/zoneinfo" };
	cleanup(fd_closep) int ruleset = -1;
	int r;

	r = new_ruleset(version, &ruleset);
	if (r < 0)
		return fail(error, r, "Landlock");
	r = permit_all(ruleset, read, sizeof(read) / sizeof(read[0]), error);
	if (r < 0)
		return r;
	r = path ? permit(ruleset, path, rights) : 0;
	if (r < 0)
		return fail(error, r, path);
	r = last((int)syscall(SYS_landlock_restrict_self, ruleset, 0));
	return r < 0 ? fail(error, r, "Landlock") : 0;
}

/* Until its folder is there: each ruleset takes away from what those before it left. */
static int restrict_above(int version, const char *directory, char error[static CONFINE_TEXT_MAX])
{
	char above[SPOOL_DIRECTORY_MAX];
	bool any = find_above(directory, above);

	if (!any)
		log_warn("the spool's folder is not there, and is looked for again at the next "
		         "start only: above it is nothing but /",
		         "folder", directory, NULL);
	return restrict_to_spool(version, any ? above : NULL,
	                         in_spool(version) | LANDLOCK_ACCESS_FS_MAKE_DIR, error);
}

int confine_spool_files(const char *directory, bool there, char error[static CONFINE_TEXT_MAX])
{
	static bool above, told;
	int version, r = 0;

	if (!confine_possible())
		return 0;
	if (there)
		(void)umask(077);
	version = landlock_version();
	if (version > 0 && there)
		return restrict_to_spool(version, directory, in_spool(version), error);
	if (version > 0) {
		if (!above)
			r = restrict_above(version, directory, error);
		above = r == 0;
		return r;
	}
	if (!told)
		log_warn("the process of the spool is less confined than it should be", "reason",
		         why_no_landlock(version ?: -ENOSYS), NULL);
	told = true;
	return 0;
}
