#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "inventory/conflist.h"
#include "netns_help.h"

/* As the CNI manager writes it. */
#define REAL                                                                                   \
	"{\"cniVersion\":\"0.3.1\",\"name\":\"azure\",\"plugins\":[{\"type\":\"ptp\",\"mtu\":" \
	"1500},"                                                                               \
	"{\"excludedCIDRs\":[\"169.254.169.254/32\",\"169.254.10.11/32\",\"10.0.0.0/16\"],"    \
	"\"ipam\":{\"type\":\"kube-egress-cni-ipam\"},\"socketPath\":\"localhost:50051\","     \
	"\"type\":\"kube-egress-cni\"},{\"type\":\"portmap\"}]}"
#define PLUGIN(members) "{\"plugins\":[{\"type\":\"kube-egress-cni\"" members "}]}"

static void parses(void **state)
{
	static const struct {
		const char *text;
		int result;
		size_t n, n_v6;
	} cases[] = {
		{ REAL, 0, 3, 0 },
		{ REAL "\n \n", 0, 3, 0 },
		{ PLUGIN(""), 0, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":null"), 0, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":[\"fd00::/8\",\"10.1.2.3/8\"]"), 0, 1, 1 },
		{ "{\"type\":\"kube-egress-cni\",\"excludedCIDRs\":[\"10.0.0.0/8\"]}", 0, 1, 0 },
		{ "{\"plugins\":[{\"type\":\"azure-vnet\"}]}", 1, 0, 0 },
		{ "{\"plugins\":[\"kube-egress-cni\",7,null]}", 1, 0, 0 },
		{ "{\"plugins\":{\"type\":\"kube-egress-cni\"}}", 1, 0, 0 },
		{ "{}", 1, 0, 0 },
		{ "", -EINVAL, 0, 0 },
		{ "[]", -EINVAL, 0, 0 },
		{ "null", -EINVAL, 0, 0 },
		{ REAL "x", -EINVAL, 0, 0 },
		{ REAL "{}", -EINVAL, 0, 0 },
		{ "{\"plugins\":[{'type':'kube-egress-cni'}]}", -EINVAL, 0, 0 },
		{ "{\"plugins\":[{\"type\":\"kube-egress-cni\"}", -EINVAL, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":\"10.0.0.0/8\""), -EINVAL, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":[\"10.0.0.0\"]"), -EINVAL, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":[\"10.0.0.0/8\\u0000x\"]"), -EINVAL, 0, 0 },
		{ PLUGIN(",\"excludedCIDRs\":[10]"), -EINVAL, 0, 0 },
	};
	struct conflist conflist;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		conflist = (struct conflist){ .n_excluded = 77 };
		if (conflist_parse(cases[i].text, strlen(cases[i].text), &conflist) !=
		    cases[i].result)
			fail_msg("%s", cases[i].text);
		if (cases[i].result == 1) {
			assert_int_equal(conflist.n_excluded, 77);
			continue;
		}
		assert_int_equal(conflist.known, cases[i].result == 0);
		assert_int_equal(conflist.n_excluded, cases[i].n);
		assert_int_equal(conflist.n_excluded_v6, cases[i].n_v6);
		assert_int_equal(conflist.state[0] != '\0', cases[i].result < 0);
	}
}

static void refuses_more_than_the_limits(void **state)
{
	static char text[CNI_EXCEPTIONS_MAX * 32];
	struct conflist conflist;
	size_t n;

	(void)state;
	n = (size_t)sprintf(text,
	                    "{\"type\":\"kube-egress-cni\",\"excludedCIDRs\":[\"10.0.0.0/8\"");
	for (int i = 0; i < CNI_EXCEPTIONS_MAX; i++)
		n += (size_t)sprintf(text + n, ",\"10.0.0.0/8\"");
	n += (size_t)sprintf(text + n, "]}");
	assert_int_equal(conflist_parse(text, n, &conflist), -EINVAL);
	assert_false(conflist.known);

	/* Nesting without end. */
	memset(text, '[', 4096);
	assert_int_equal(conflist_parse(text, 4096, &conflist), -EINVAL);
}

static void write_file(const char *directory, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void takes_the_first_file_that_names_the_plugin(void **state)
{
	char directory[] = "/tmp/eva-cni-XXXXXX";
	struct conflist conflist;

	(void)state;
	conflist_read("/tmp/eva-no-such-folder", &conflist);
	assert_false(conflist.known);
	assert_string_not_equal(conflist.state, "");

	assert_non_null(mkdtemp(directory));
	conflist_read(directory, &conflist);
	assert_false(conflist.known);

	write_file(directory, "10-azure.conflist", "{\"plugins\":[{\"type\":\"azure-vnet\"}]}");
	write_file(directory, "00-egress.conflist.bak", REAL);
	conflist_read(directory, &conflist);
	assert_false(conflist.known);

	write_file(directory, "01-egressgateway.conflist", REAL);
	write_file(directory, "02-other.conflist", PLUGIN(""));
	conflist_read(directory, &conflist);
	assert_true(conflist.known && conflist.first);
	assert_int_equal(conflist.n_excluded, 3);
	assert_string_equal(conflist.state, "01-egressgateway.conflist");

	/* A file before it is the one that the runtime reads. */
	write_file(directory, "00-mine.conf", "{\"type\":\"bridge\"}");
	conflist_read(directory, &conflist);
	assert_true(conflist.known && !conflist.first);

	/* One that cannot be understood may be the one that counts. */
	write_file(directory, "00-mine.conf", "{\"type\":");
	conflist_read(directory, &conflist);
	assert_false(conflist.known);
	assert_non_null(strstr(conflist.state, "00-mine.conf: "));
	(void)sh("rm -r %s", directory);
}

/* In their order, whatever the folder's is; what is past the bound is not read. */
static void reads_a_bounded_number_in_order(void **state)
{
	char directory[] = "/tmp/eva-cni-XXXXXX", name[32];
	struct conflist conflist;

	(void)state;
	assert_non_null(mkdtemp(directory));
	for (int i = CONFLIST_FILES_MAX; i >= 1; i--) {
		snprintf(name, sizeof(name), "%03d.conf", 100 + i * 37 % 101);
		write_file(directory, name, "{\"type\":\"bridge\"}");
	}
	write_file(directory, "999.conf", PLUGIN(""));
	conflist_read(directory, &conflist);
	assert_false(conflist.known);
	assert_string_equal(conflist.state,
	                    "no file of the CNI configuration names kube-egress-cni");

	write_file(directory, "099.conflist", PLUGIN(""));
	conflist_read(directory, &conflist);
	assert_true(conflist.known && conflist.first);
	assert_string_equal(conflist.state, "099.conflist");
	(void)sh("rm -r %s", directory);
}

static int given_folder, given_file;

static int give(const char *path, int *fd)
{
	*fd = dup(strchr(path + 5, '/') ? given_file : given_folder);
	return 0;
}

/* Neither the folder nor its files are ours to open. */
static void asks_for_a_folder_that_is_not_ours(void **state)
{
	char directory[] = "/tmp/eva-cni-XXXXXX", path[64];
	struct conflist conflist;
	int status;
	pid_t pid;

	(void)state;
	skip_unless_root();
	assert_non_null(mkdtemp(directory)); /* 0700 */
	write_file(directory, "01-egressgateway.conflist", REAL);
	snprintf(path, sizeof(path), "%s/01-egressgateway.conflist", directory);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		given_folder = open(directory, O_RDONLY | O_CLOEXEC);
		given_file = open(path, O_RDONLY | O_CLOEXEC);
		if (setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		conflist_read(directory, &conflist);
		if (conflist.known)
			_exit(3);
		file_set_opener(give);
		conflist_read(directory, &conflist);
		_exit(conflist.known && conflist.first && conflist.n_excluded == 3 ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	(void)sh("rm -r %s", directory);
}

struct seen {
	struct conflist_watch *watch;
	size_t expected;
	bool known;
	unsigned int changes;
};

static void on_changed(void *user)
{
	((struct seen *)user)->changes++;
}

static bool as_expected(void *arg)
{
	struct seen *seen = arg;
	const struct conflist *conflist = conflist_watch_get(seen->watch);

	return conflist->known == seen->known && conflist->n_excluded == seen->expected;
}

static void follows_the_folder(void **state)
{
	char directory[] = "/tmp/eva-cni-XXXXXX";
	struct seen seen = { .expected = 3, .known = true };
	struct loop *loop;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(conflist_watch_new(loop, directory, on_changed, &seen, &seen.watch), 0);
	assert_false(conflist_watch_get(seen.watch)->known);

	write_file(directory, "01-egressgateway.conflist", REAL);
	assert_true(wait_until(loop, as_expected, &seen, WAIT_MS));
	assert_int_equal(seen.changes, 1);

	/* Renamed over it, as careful writers do. */
	write_file(directory, ".new", PLUGIN(",\"excludedCIDRs\":[\"10.9.0.0/16\"]"));
	assert_int_equal(sh("mv %s/.new %s/01-egressgateway.conflist", directory, directory), 0);
	seen.expected = 1;
	assert_true(wait_until(loop, as_expected, &seen, WAIT_MS));

	assert_int_equal(sh("rm %s/01-egressgateway.conflist", directory), 0);
	seen = (struct seen){ .watch = seen.watch };
	assert_true(wait_until(loop, as_expected, &seen, WAIT_MS));
	assert_int_equal(seen.changes, 1);

	seen.watch = conflist_watch_free(seen.watch);
	loop_free(loop);
	(void)sh("rm -r %s", directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),
		cmocka_unit_test(refuses_more_than_the_limits),
		cmocka_unit_test(takes_the_first_file_that_names_the_plugin),
		cmocka_unit_test(reads_a_bounded_number_in_order),
		cmocka_unit_test(asks_for_a_folder_that_is_not_ours),
		cmocka_unit_test(follows_the_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
