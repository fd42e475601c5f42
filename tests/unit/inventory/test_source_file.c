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

/*
 * An inventory that only takes names down: what is put between begin and commit
 * becomes what it has, an abort forgets it.
 */
struct inventory {
	struct loop *loop;
	char has[512], next[512];
	unsigned int commits, aborts;
	bool open;
	int refusal; /* of the next put */
};

static int note(struct inventory *inventory, const char *kind, const char *namespace,
                const char *name)
{
	size_t len = strlen(inventory->next);
	int refusal = inventory->refusal;

	assert_true(inventory->open);
	inventory->refusal = 0;
	if (refusal)
		return refusal;
	snprintf(inventory->next + len, sizeof(inventory->next) - len, "%s %s/%s;", kind,
	         namespace ? namespace : "", name);
	return 0;
}

int inventory_put_pod(struct inventory *inventory, struct kube_pod *pod)
{
	int r = note(inventory, "pod", pod->namespace, pod->name);

	kube_pod_clear(pod);
	return r;
}

int inventory_put_gateway(struct inventory *inventory, struct kube_gateway *gateway)
{
	int r = note(inventory, "gateway", gateway->namespace, gateway->name);

	kube_gateway_clear(gateway);
	return r;
}

int inventory_put_gateway_vm(struct inventory *inventory, struct kube_gateway_vm *vm)
{
	int r = note(inventory, "vm", vm->namespace, vm->name);

	kube_gateway_vm_clear(vm);
	return r;
}

int inventory_put_node(struct inventory *inventory, struct kube_node *node)
{
	int r = note(inventory, "node", NULL, node->name);

	kube_node_clear(node);
	return r;
}

void inventory_begin(struct inventory *inventory)
{
	assert_false(inventory->open);
	inventory->open = true;
	inventory->next[0] = '\0';
}

void inventory_commit(struct inventory *inventory, const struct moment *now)
{
	assert_true(inventory->open && now->mono_ns);
	inventory->open = false;
	inventory->commits++;
	memcpy(inventory->has, inventory->next, sizeof(inventory->has));
	loop_stop(inventory->loop);
}

void inventory_abort(struct inventory *inventory)
{
	assert_true(inventory->open);
	inventory->open = false;
	inventory->aborts++;
	loop_stop(inventory->loop);
}

/* A folder, a loop with a deadline, and a source on the file in the folder. */
struct bench {
	struct loop *loop;
	struct timer deadline;
	struct inventory inventory;
	struct source_file *source;
	char folder[40], path[80];
};

static int too_late(struct timer *timer)
{
	(void)timer;
	return -ETIME;
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void in_folder(const struct bench *bench, const char *name, char path[static 80])
{
	snprintf(path, 80, "%s/%s", bench->folder, name);
}

static void start(struct bench *bench, const char *text)
{
	bench->deadline = (struct timer)TIMER_INIT;
	strcpy(bench->folder, "/tmp/egress-source-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	in_folder(bench, "inventory.yaml", bench->path);
	assert_int_equal(loop_new(&bench->loop), 0);
	assert_int_equal(timer_init(&bench->deadline, bench->loop, too_late), 0);
	bench->inventory = (struct inventory){ .loop = bench->loop };
	if (text)
		write_to(bench->path, text);
	assert_int_equal(
		source_file_new(bench->loop, bench->path, &bench->inventory, &bench->source), 0);
}

static void finish(struct bench *bench)
{
	char command[96];

	assert_null(source_file_free(bench->source));
	timer_clear(&bench->deadline);
	assert_null(loop_free(bench->loop));
	snprintf(command, sizeof(command), "rm -r '%s'", bench->folder);
	assert_int_equal(system(command), 0);
}

/* Until the file was read once more, for better or worse. */
static void await_reading(struct bench *bench)
{
	assert_int_equal(timer_set(&bench->deadline, 10 * NSEC_PER_SEC, 0), 0);
	assert_int_equal(loop_run(bench->loop), 0);
}

#define POD(name) \
	"{apiVersion: v1, kind: Pod, metadata: {namespace: a, name: " name ", uid: u-" name "}}"
#define LIST(items) "apiVersion: v1\nitems: [" items "]\nkind: List\n"

static void takes_the_four_kinds(void **state)
{
	static const char *const forms[] = {
		/* kubectl's List, another API group's Pod and a kind of no use in it */
		"apiVersion: v1\nitems:\n- " POD(
			"p") "\n"
			     "- {apiVersion: v1, kind: Node, metadata: {name: n}}\n"
			     "- {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: a}}\n"
			     "- {apiVersion: metrics.k8s.io/v1, kind: Pod, metadata: {name: x}}\n"
			     "- {apiVersion: egressgateway.kubernetes.azure.com/v1alpha1,\n"
			     "   kind: StaticGatewayConfiguration, metadata: {name: g, namespace: "
		             "a}}\n"
			     "- {apiVersion: egressgateway.kubernetes.azure.com/v1alpha1,\n"
			     "   kind: GatewayVMConfiguration, metadata: {name: g, namespace: a}}\n"
			     "kind: List\n",
		/* documents */
		"---\n" POD(
			"p") "\n---\n{apiVersion: v1, kind: Node, metadata: {name: n}}\n---\n"
			     "{apiVersion: v1, kind: Secret}\n---\n{apiVersion: apps/v1, kind: "
		             "Pod}\n---\n"
			     "apiVersion: egressgateway.kubernetes.azure.com/v1alpha1\n"
			     "kind: StaticGatewayConfiguration\nmetadata: {name: g, namespace: "
		             "a}\n---\n"
			     "apiVersion: egressgateway.kubernetes.azure.com/v1alpha1\n"
			     "kind: GatewayVMConfiguration\nmetadata: {name: g, namespace: a}\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct source_file_stats *stats;
		struct bench bench;

		start(&bench, forms[i]);
		stats = source_file_stats(bench.source);
		assert_string_equal(bench.inventory.has, "pod a/p;node /n;gateway a/g;vm a/g;");
		assert_int_equal(stats->reloads, 1);
		assert_int_equal(stats->ignored, 2);
		assert_int_equal(stats->refused, 0);
		assert_string_equal(stats->last_refusal, "");
		finish(&bench);
	}
}

static void leaves_a_bad_object_out(void **state)
{
	const struct source_file_stats *stats;
	struct bench bench;

	(void)state;
	start(&bench, "items:\n"
	              "- " POD("p") "\n"
	                            "- {apiVersion: v1, kind: Pod, metadata: {namespace: a, name: "
	                            "q, uid: u},\n"
	                            "   status: {podIP: 10.0.0}}\n"
	                            "- 7\n"
	                            "- null\n"
	                            "- {kind: Pod}\n"
	                            "- " POD("r") "\n"
	                                          "kind: List\n");
	stats = source_file_stats(bench.source);
	assert_string_equal(bench.inventory.has, "pod a/p;pod a/r;");
	assert_int_equal(stats->reloads, 1);
	assert_int_equal(stats->refused, 4);
	assert_string_equal(stats->last_error, "");
	assert_string_equal(stats->last_refusal, "inventory.yaml:3: Pod q left out: status.podIP: "
	                                         "not an IP address");

	/* Whatever has no room is told in the same way; the next good file clears it. */
	bench.inventory.refusal = -ENOSPC;
	assert_int_equal(source_file_reload(bench.source), 0);
	assert_string_equal(bench.inventory.has, "pod a/r;");
	assert_string_equal(stats->last_refusal,
	                    "inventory.yaml:2: Pod p left out: No space left on device");
	assert_int_equal(stats->refused, 9);
	write_to(bench.path, LIST(POD("p")));
	assert_int_equal(source_file_reload(bench.source), 0);
	assert_string_equal(stats->last_refusal, "");
	assert_int_equal(stats->refused, 9);
	finish(&bench);
}

static void keeps_the_last_good_inventory(void **state)
{
	static const struct {
		const char *text, *error; /* after the path */
	} bad[] = {
		{ "items:\n- " POD("q") "\n- a: [\nkind: List\n", ":5:1: did not find" },
		{ "items:\n- " POD("q") "\n- &x 1\nkind: List\n", ":3:3: anchors" },
		{ "items: 3\n", ":1:8: items" },
		{ "- " POD("q") "\n", ":1:1: not an object but a list" },
		{ "", ": empty" },
	};
	const struct source_file_stats *stats;
	struct bench bench;

	(void)state;
	start(&bench, LIST(POD("p")));
	stats = source_file_stats(bench.source);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_to(bench.path, bad[i].text);
		assert_true(source_file_reload(bench.source) < 0);
		assert_string_equal(bench.inventory.has, "pod a/p;");
		assert_int_equal(stats->errors, i + 1);
		assert_int_equal(strncmp(stats->last_error, bench.path, strlen(bench.path)), 0);
		assert_int_equal(strncmp(stats->last_error + strlen(bench.path), bad[i].error,
		                         strlen(bad[i].error)),
		                 0);
	}
	/* The ones that memory refused are no reason to lose the rest. */
	write_to(bench.path, LIST(POD("q")));
	bench.inventory.refusal = -ENOMEM;
	assert_int_equal(source_file_reload(bench.source), -ENOMEM);
	assert_string_equal(bench.inventory.has, "pod a/p;");

	assert_int_equal(unlink(bench.path), 0);
	assert_int_equal(source_file_reload(bench.source), -ENOENT);
	assert_int_equal(stats->reloads, 1);
	assert_int_equal(bench.inventory.aborts, stats->errors);
	write_to(bench.path, LIST(POD("q")));
	assert_int_equal(source_file_reload(bench.source), 0);
	assert_string_equal(bench.inventory.has, "pod a/q;");
	assert_string_equal(stats->last_error, "");
	finish(&bench);
}

static void starts_without_the_file(void **state)
{
	struct source_file *untouched = (struct source_file *)&state, *source = untouched;
	struct bench bench;

	(void)state;
	start(&bench, NULL);
	assert_int_equal(source_file_stats(bench.source)->errors, 1);
	write_to(bench.path, LIST(POD("p")));
	await_reading(&bench);
	assert_string_equal(bench.inventory.has, "pod a/p;");

	assert_true(source_file_new(bench.loop, "/nonexistent/x.yaml", &bench.inventory, &source) <
	            0);
	assert_ptr_equal(source, untouched);
	finish(&bench);
}

static void sees_every_way_of_replacing_it(void **state)
{
	char temporary[80], version[80], link[80];
	struct bench bench;

	(void)state;
	start(&bench, LIST(POD("p")));

	write_to(bench.path, LIST(POD("written")));
	await_reading(&bench);
	assert_string_equal(bench.inventory.has, "pod a/written;");

	in_folder(&bench, "inventory.yaml.tmp", temporary);
	write_to(temporary, LIST(POD("renamed")));
	assert_int_equal(rename(temporary, bench.path), 0);
	await_reading(&bench);
	assert_string_equal(bench.inventory.has, "pod a/renamed;");

	/* As the kubelet mounts a ConfigMap: name -> ..data/name, ..data -> a version. */
	in_folder(&bench, "v1", version);
	assert_int_equal(mkdir(version, 0700), 0);
	in_folder(&bench, "v1/inventory.yaml", version);
	write_to(version, LIST(POD("one")));
	in_folder(&bench, "v2", version);
	assert_int_equal(mkdir(version, 0700), 0);
	in_folder(&bench, "v2/inventory.yaml", version);
	write_to(version, LIST(POD("two")));
	in_folder(&bench, "..data", link);
	assert_int_equal(symlink("v1", link), 0);
	assert_int_equal(symlink("..data/inventory.yaml", temporary), 0);
	assert_int_equal(rename(temporary, bench.path), 0);
	await_reading(&bench);
	assert_string_equal(bench.inventory.has, "pod a/one;");

	in_folder(&bench, "..data_tmp", temporary);
	assert_int_equal(symlink("v2", temporary), 0);
	assert_int_equal(rename(temporary, link), 0);
	await_reading(&bench);
	assert_string_equal(bench.inventory.has, "pod a/two;");
	finish(&bench);
}

/* Several steps of one change are one reading; what is beside the file is none of ours. */
static void reads_a_burst_once(void **state)
{
	struct bench bench;
	char other[80];

	(void)state;
	start(&bench, LIST(POD("p")));
	for (int i = 0; i < 10; i++)
		write_to(bench.path, LIST(POD("q")));
	await_reading(&bench);
	assert_int_equal(source_file_stats(bench.source)->reloads, 2);

	in_folder(&bench, "other.yaml", other);
	write_to(other, LIST(POD("r")));
	assert_int_equal(timer_set(&bench.deadline, 150 * NSEC_PER_MSEC, 0), 0);
	assert_int_equal(loop_run(bench.loop), -ETIME);
	assert_int_equal(source_file_stats(bench.source)->reloads, 2);
	finish(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_four_kinds),
		cmocka_unit_test(leaves_a_bad_object_out),
		cmocka_unit_test(keeps_the_last_good_inventory),
		cmocka_unit_test(starts_without_the_file),
		cmocka_unit_test(sees_every_way_of_replacing_it),
		cmocka_unit_test(reads_a_burst_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
