/*
 * The file and its folder, against an inventory that only notes what it is told.
 */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/timer.h"
#include "inventory/source_file.h"

#define POD(name)                                                                                  \
	"- {apiVersion: v1, kind: Pod, metadata: {namespace: a, name: " name ", uid: u-" name "}}" \
	"\n"
#define LIST(items) "apiVersion: v1\nkind: List\nitems:\n" items

/* What the inventory holds, as text: the names between the last begin and commit. */
static char held[256], staged[256];
static unsigned int aborted, pods_put;
static int put_result;
static struct loop *loop;

static int stage(const char *kind, const char *name)
{
	size_t len = strlen(staged);

	snprintf(staged + len, sizeof(staged) - len, "%s:%s ", kind, name);
	return put_result;
}

void inventory_begin(struct inventory *inventory)
{
	(void)inventory;
	staged[0] = '\0';
}

int inventory_put_pod(struct inventory *inventory, struct kube_pod *pod)
{
	int r = stage("pod", pod->name);

	(void)inventory;
	pods_put++;
	kube_pod_clear(pod);
	return r;
}

int inventory_put_gateway(struct inventory *inventory, struct kube_gateway *gateway)
{
	int r = stage("gateway", gateway->name);

	(void)inventory;
	kube_gateway_clear(gateway);
	return r;
}

int inventory_put_gateway_vm(struct inventory *inventory, struct kube_gateway_vm *vm)
{
	int r = stage("vm", vm->name);

	(void)inventory;
	kube_gateway_vm_clear(vm);
	return r;
}

int inventory_put_node(struct inventory *inventory, struct kube_node *node)
{
	int r = stage("node", node->name);

	(void)inventory;
	kube_node_clear(node);
	return r;
}

void inventory_commit(struct inventory *inventory, const struct moment *now)
{
	(void)inventory;
	assert_true(now->mono_ns > 0);
	memcpy(held, staged, sizeof(held));
}

void inventory_abort(struct inventory *inventory)
{
	(void)inventory;
	aborted++;
}

static char root[64];

static int start(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/eva-source.XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_int_equal(chdir(root), 0);
	assert_int_equal(mkdir("d", 0700), 0);
	held[0] = '\0';
	aborted = pods_put = 0;
	put_result = 0;
	return loop_new(&loop);
}

static int stop(void **state)
{
	char command[96];

	(void)state;
	loop_free(loop);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

static void rename_over(const char *path, const char *text)
{
	write_file("d/.new", text);
	assert_int_equal(rename("d/.new", path), 0);
}

static struct source_file *open_source(const char *path)
{
	struct source_file *source = NULL;

	assert_int_equal(source_file_new(loop, path, NULL, &source), 0);
	return source;
}

/* The loop runs in short turns until a reading took effect or failed since `seen`. */
static int on_turn(struct timer *timer)
{
	loop_stop(timer->source.loop);
	return 0;
}

static uint64_t readings(const struct source_file *source)
{
	return source_file_stats(source)->reloads + source_file_stats(source)->errors;
}

static void run_until_read(const struct source_file *source, uint64_t seen)
{
	uint64_t deadline = clock_now().mono_ns + 60 * NSEC_PER_SEC;
	struct timer turn = TIMER_INIT;
	int r = 0;

	assert_int_equal(timer_init(&turn, loop, on_turn), 0);
	assert_int_equal(timer_set(&turn, NSEC_PER_MSEC, NSEC_PER_MSEC), 0);
	while (r == 0 && readings(source) == seen)
		r = clock_now().mono_ns < deadline ? loop_run(loop) : -ETIMEDOUT;
	timer_clear(&turn); /* before a failed assertion leaves its frame */
	assert_int_equal(r, 0);
}

static void every_kind_finds_its_place(void **state)
{
	struct source_file *source;

	(void)state;
	write_file("d/i.yaml",
	           LIST(POD("p1") "- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n"
	                          "- {apiVersion: apps/v1, kind: Pod, metadata: {name: "
	                          "other}}\n"
	                          "- {apiVersion: v1, kind: Secret, metadata: {name: "
	                          "s}}\n") "---\n"
	                                   "apiVersion: "
	                                   "egressgateway.kubernetes.azure.com/v1alpha1\n"
	                                   "kind: StaticGatewayConfiguration\nmetadata: "
	                                   "{namespace: a, name: blue}\n"
	                                   "---\n---\n"
	                                   "{\"apiVersion\":\"egressgateway.kubernetes."
	                                   "azure.com/v1alpha1\","
	                                   "\"kind\":\"GatewayVMConfiguration\","
	                                   "\"metadata\":{\"namespace\":\"a\",\"name\":"
	                                   "\"blue\"}}\n");
	source = open_source("d/i.yaml");
	assert_string_equal(held, "pod:p1 node:n1 gateway:blue vm:blue ");
	assert_int_equal(source_file_stats(source)->reloads, 1);
	assert_int_equal(source_file_stats(source)->ignored, 2);
	assert_int_equal(source_file_stats(source)->refused, 0);
	source_file_free(source);
}

static void a_bad_object_is_left_out_and_named(void **state)
{
	static const struct {
		const char *text, *held, *refusal;
	} rows[] = {
		{ LIST(POD("p1") "- {apiVersion: v1, kind: Pod, metadata: {namespace: a, name: "
		                 "bad}}\n" POD("p2")),
		  "pod:p1 pod:p2 ", "i.yaml:5: Pod bad left out: metadata.uid: missing" },
		{ LIST(POD("p1") "- {kind: Pod}\n"), "pod:p1 ",
		  "i.yaml:5: Pod without name left out: no Kubernetes object: apiVersion or kind "
		  "is missing" },
		{ LIST("- 7\n" POD("p1") "- [x]\n- {apiVersion: v1, kind: 7}\n"), "pod:p1 ",
		  "i.yaml:4: object without name left out: no Kubernetes object: apiVersion or "
		  "kind is missing" },
		{ LIST("- {apiVersion: v1, kind: Node, metadata: []}\n" POD("p1")), "pod:p1 ",
		  "i.yaml:4: Node without name left out: metadata: not an object" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct source_file *source;

		write_file("d/i.yaml", rows[i].text);
		source = open_source("d/i.yaml");
		assert_string_equal(held, rows[i].held);
		assert_string_equal(source_file_stats(source)->last_refusal, rows[i].refusal);
		assert_true(source_file_stats(source)->refused > 0);
		assert_string_equal(source_file_stats(source)->last_error, "");

		write_file("d/i.yaml", LIST(POD("p9")));
		assert_int_equal(source_file_reload(source), 0);
		assert_string_equal(source_file_stats(source)->last_refusal, "");
		source_file_free(source);
	}
}

static void what_finds_no_room_is_counted(void **state)
{
	struct source_file *source;

	(void)state;
	put_result = -ENOSPC;
	write_file("d/i.yaml", LIST(POD("p1") POD("p2")));
	source = open_source("d/i.yaml");
	assert_int_equal(source_file_stats(source)->refused, 2);
	assert_string_equal(source_file_stats(source)->last_refusal,
	                    "i.yaml:4: Pod p1 left out: No space left on device");

	put_result = -ENOMEM; /* no reading at all rather than half of one */
	assert_int_equal(source_file_reload(source), -ENOMEM);
	assert_string_equal(source_file_stats(source)->last_error,
	                    "d/i.yaml: Cannot allocate memory");
	assert_int_equal(aborted, 1);
	assert_int_equal(source_file_stats(source)->refused, 2);
	source_file_free(source);
}

static void a_bad_file_keeps_the_old_inventory(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ LIST(POD("p2") "- {apiVersion: v1, kind: Pod, metadata: {namespace: b\n"),
		  "d/i.yaml:6:1: " },
		{ LIST(POD("p2") "- &x {apiVersion: v1}\n"), "d/i.yaml:5:3: " },
		{ LIST(POD("p2")) "items: []\n", "d/i.yaml:5:1: " },
		{ "\t", "d/i.yaml:1:" },
		{ "\xff\xfe", "d/i.yaml:1:" },
		{ "", "d/i.yaml: empty, expected Kubernetes objects" },
		{ "# nothing\n\n  # but comments", "d/i.yaml: empty, expected Kubernetes objects" },
		{ "---\n---\r\n\n...\n", "d/i.yaml: empty, expected Kubernetes objects" },
		{ "----\n", "d/i.yaml:" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct source_file *source;
		const struct source_file_stats *stats;

		write_file("d/i.yaml", LIST(POD("p1")));
		source = open_source("d/i.yaml");
		stats = source_file_stats(source);
		write_file("d/i.yaml", rows[i].text);
		assert_true(source_file_reload(source) < 0);
		if (strncmp(stats->last_error, rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("row %zu: %s", i, stats->last_error);
		assert_string_equal(held, "pod:p1 ");
		assert_int_equal(stats->errors, 1);
		assert_int_equal(stats->reloads, 1);
		assert_int_equal(aborted, i + 1);

		write_file("d/i.yaml", LIST(POD("p3")));
		assert_int_equal(source_file_reload(source), 0);
		assert_string_equal(held, "pod:p3 ");
		assert_string_equal(stats->last_error, "");
		source_file_free(source);
	}
}

static void a_change_takes_effect_by_itself(void **state)
{
	struct source_file *source;
	uint64_t seen;

	(void)state;
	write_file("d/i.yaml", LIST(POD("p1")));
	source = open_source("d/i.yaml");

	seen = readings(source);
	write_file("d/i.yaml", LIST(POD("in-place")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:in-place ");

	seen = readings(source);
	rename_over("d/i.yaml", LIST(POD("renamed")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:renamed ");

	/* Gone: it says so and keeps what it has. */
	seen = readings(source);
	assert_int_equal(unlink("d/i.yaml"), 0);
	run_until_read(source, seen);
	assert_string_equal(source_file_stats(source)->last_error,
	                    "d/i.yaml: No such file or directory");
	assert_string_equal(held, "pod:renamed ");

	seen = readings(source);
	assert_int_equal(mkdir("d/i.yaml", 0700), 0);
	run_until_read(source, seen);
	assert_string_equal(source_file_stats(source)->last_error, "d/i.yaml: Is a directory");

	seen = readings(source);
	assert_int_equal(rmdir("d/i.yaml"), 0);
	write_file("d/i.yaml", LIST(POD("again")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:again ");
	source_file_free(source);
}

/* Neither a reading for each of many writes, nor none while they go on. */
static void endless_writing_neither_floods_nor_starves(void **state)
{
	uint64_t began = clock_now().mono_ns, took_ns;
	struct timer turn = TIMER_INIT;
	struct source_file *source;
	unsigned int writes = 0;
	int r = 0;

	(void)state;
	write_file("d/i.yaml", LIST(POD("p1")));
	source = open_source("d/i.yaml");
	assert_int_equal(timer_init(&turn, loop, on_turn), 0);
	assert_int_equal(timer_set(&turn, NSEC_PER_MSEC, NSEC_PER_MSEC), 0);
	do {
		rename_over("d/i.yaml", LIST(POD("p2")));
		writes++;
		r = loop_run(loop);
		took_ns = clock_now().mono_ns - began;
	} while (r == 0 && took_ns < 60 * NSEC_PER_SEC && source_file_stats(source)->reloads < 8);
	timer_clear(&turn);
	assert_int_equal(r, 0);
	assert_int_equal(source_file_stats(source)->reloads, 8);
	/* The first reading is when it begins; then one for what happens in 50 ms. */
	assert_true(took_ns >= 7 * 50 * NSEC_PER_MSEC);
	assert_true(writes >= 8);
	assert_string_equal(held, "pod:p2 ");
	source_file_free(source);
}

static void a_file_may_come_later(void **state)
{
	struct source_file *source = open_source("d/i.yaml");
	uint64_t seen = readings(source);

	(void)state;
	assert_int_equal(source_file_stats(source)->errors, 1);
	assert_string_equal(source_file_stats(source)->last_error,
	                    "d/i.yaml: No such file or directory");
	write_file("d/i.yaml", LIST(POD("p1")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:p1 ");
	source_file_free(source);
}

/* kubectl get … >i.yaml takes its time: what is there before it closes is not the answer. */
static void a_file_is_read_when_its_writer_has_closed_it(void **state)
{
	struct source_file *source = open_source("d/i.yaml");
	uint64_t seen = readings(source), until = clock_now().mono_ns + 200 * NSEC_PER_MSEC;
	struct timer turn = TIMER_INIT;
	FILE *file = fopen("d/i.yaml", "we");
	int r = 0;

	(void)state;
	assert_non_null(file);
	fputs(LIST(POD("p1")), file);
	fflush(file);
	assert_int_equal(timer_init(&turn, loop, on_turn), 0);
	assert_int_equal(timer_set(&turn, NSEC_PER_MSEC, NSEC_PER_MSEC), 0);
	while (r == 0 && clock_now().mono_ns < until)
		r = loop_run(loop);
	timer_clear(&turn);
	assert_int_equal(r, 0);
	assert_int_equal(readings(source), seen);

	fputs(POD("p2"), file);
	assert_int_equal(fclose(file), 0);
	run_until_read(source, seen);
	assert_string_equal(held, "pod:p1 pod:p2 ");
	source_file_free(source);
}

/* As the kubelet does: i.yaml -> ..data/i.yaml, ..data -> ..1, replaced by a rename. */
static void a_mounted_configmap_may_change(void **state)
{
	struct source_file *source;
	uint64_t seen;

	(void)state;
	assert_int_equal(mkdir("d/..1", 0700) | mkdir("d/..2", 0700), 0);
	write_file("d/..1/i.yaml", LIST(POD("one")));
	write_file("d/..2/i.yaml", LIST(POD("two")));
	assert_int_equal(symlink("..1", "d/..data") | symlink("..data/i.yaml", "d/i.yaml"), 0);
	source = open_source("d/i.yaml");
	assert_string_equal(held, "pod:one ");

	seen = readings(source);
	assert_int_equal(symlink("..2", "d/..data_tmp"), 0);
	assert_int_equal(rename("d/..data_tmp", "d/..data"), 0);
	run_until_read(source, seen);
	assert_string_equal(held, "pod:two ");
	source_file_free(source);
}

static void the_folder_may_be_replaced(void **state)
{
	struct source_file *source;
	uint64_t seen;

	(void)state;
	write_file("d/i.yaml", LIST(POD("one")));
	source = open_source("d/i.yaml");
	assert_int_equal(mkdir("e", 0700), 0);
	write_file("e/i.yaml", LIST(POD("two")));

	seen = readings(source);
	assert_int_equal(rename("d", "old") | rename("e", "d"), 0);
	run_until_read(source, seen);
	assert_string_equal(held, "pod:two ");

	seen = readings(source);
	write_file("d/i.yaml", LIST(POD("three")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:three ");

	/* Gone for good, then back: it looks again. */
	seen = readings(source);
	assert_int_equal(unlink("d/i.yaml") | rmdir("d"), 0);
	run_until_read(source, seen);
	if (source_file_stats(source)->reloads + 1 == readings(source) &&
	    strstr(source_file_stats(source)->last_error, "d/i.yaml")) {
		seen = readings(source);
		run_until_read(source, seen);
	}
	assert_string_equal(source_file_stats(source)->last_error,
	                    "d: not watched: No such file or directory");
	assert_string_equal(held, "pod:three ");
	assert_int_equal(mkdir("d", 0700), 0);
	write_file("d/i.yaml", LIST(POD("four")));
	while (strcmp(held, "pod:four ") != 0)
		run_until_read(source, readings(source));
	source_file_free(source);
}

static void a_path_without_folder_is_watched_too(void **state)
{
	struct source_file *source;
	uint64_t seen;

	(void)state;
	write_file("i.yaml", LIST(POD("p1")));
	source = open_source("i.yaml");
	seen = readings(source);
	write_file("i.yaml", LIST(POD("p2")));
	run_until_read(source, seen);
	assert_string_equal(held, "pod:p2 ");
	source_file_free(source);

	source = (struct source_file *)&loop;
	assert_int_equal(source_file_new(loop, "missing/i.yaml", NULL, &source), -ENOENT);
	assert_ptr_equal(source, &loop);
	assert_null(source_file_free(NULL));
}

static void large_files_are_read(void **state)
{
	struct source_file *source;
	FILE *file = fopen("d/i.yaml", "we");
	uint64_t before;

	(void)state;
	assert_non_null(file);
	fputs(LIST(""), file);
	for (unsigned int i = 0; ftell(file) < 10 << 20; i++)
		fprintf(file,
		        "- apiVersion: v1\n  kind: Pod\n  metadata:\n    namespace: a\n"
		        "    name: p%u\n    uid: u%u\n    labels: {app: x%u}\n  spec:\n"
		        "    containers:\n    - {image: x, name: main}\n    nodeName: w1\n",
		        i, i, i);
	assert_int_equal(fclose(file), 0);
	before = clock_now().mono_ns;
	source = open_source("d/i.yaml");
	print_message("10 MiB, %u pods: %llu ms\n", pods_put,
	              (unsigned long long)((clock_now().mono_ns - before) / NSEC_PER_MSEC));
	assert_int_equal(source_file_stats(source)->reloads, 1);
	assert_int_equal(source_file_stats(source)->refused, 0);
	assert_true(pods_put > 50000);

	assert_int_equal(truncate("d/i.yaml", 1LL << 32), 0);
	assert_int_equal(source_file_reload(source), -EFBIG);
	assert_string_equal(source_file_stats(source)->last_error, "d/i.yaml: File too large");
	source_file_free(source);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, start, stop)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(every_kind_finds_its_place),
		IN_FOLDER(a_bad_object_is_left_out_and_named),
		IN_FOLDER(what_finds_no_room_is_counted),
		IN_FOLDER(a_bad_file_keeps_the_old_inventory),
		IN_FOLDER(a_change_takes_effect_by_itself),
		IN_FOLDER(endless_writing_neither_floods_nor_starves),
		IN_FOLDER(a_file_may_come_later),
		IN_FOLDER(a_file_is_read_when_its_writer_has_closed_it),
		IN_FOLDER(a_mounted_configmap_may_change),
		IN_FOLDER(the_folder_may_be_replaced),
		IN_FOLDER(a_path_without_folder_is_watched_too),
		IN_FOLDER(large_files_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
