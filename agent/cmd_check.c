#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/path.h"
#include "broker/processes.h"
#include "tables.h"

#define CHECK_CONFIG "/etc/egress-verifier/config.yaml"
/* How often it is looked whether every subject was judged. */
#define LOOK_NS (50 * NSEC_PER_MSEC)
/* For the API server's lists, before the round. */
#define LISTS_NS (10 * NSEC_PER_SEC)

struct check {
	const char *config_path;
	uint64_t wait_ns; /* 0: one round */
	bool json;
	char *const *pods;
	size_t n_pods;

	struct agent *agent;
	struct timer look;
	bool listed; /* what there is to check is known */
	uint64_t began_ns, bound_ns;
};

static void usage(FILE *out)
{
	fprintf(out, "usage: egress-verifier check [OPTION…] [NAMESPACE/POD…]\n\n"
	             "One round of everything the agent does, then a table with a reason per row.\n"
	             "  --config FILE   default " CHECK_CONFIG "\n"
	             "  --wait D        until all are verified, at most D (30s, 5m)\n"
	             "  --output FORMAT text or json\n\n"
	             "Exit status: 0 all verified, 1 an open violation, 2 usage or configuration,\n"
	             "3 nothing could be decided.\n");
}

static bool asked_for(const struct check *check, const struct subject *subject)
{
	char name[600];

	if (check->n_pods == 0)
		return true;
	snprintf(name, sizeof(name), "%s/%s", subject->namespace, subject->pod);
	for (size_t i = 0; i < check->n_pods; i++)
		if (strcmp(check->pods[i], name) == 0)
			return true;
	return false;
}

struct tally {
	size_t subjects, judged, verified, violated;
};

/* A pod that cannot be probed is judged by what else is known of it. */
static struct tally count(const struct check *check)
{
	struct tally tally = { 0 };

	for (size_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct watched *watched = check->agent->watched[i];

		if (!watched || !asked_for(check, watched->subject))
			continue;
		tally.subjects++;
		tally.judged += !watched->attach_due &&
		                (watched->record.rounds > 0 || !watched->scheduled_inode);
		tally.verified += watched->record.state == STATE_VERIFIED;
		tally.violated += watched->record.state == STATE_VIOLATED;
	}
	return tally;
}

/* The node's own answers tell whose address a pod was seen with, and a dead echo from a dead gateway. */
static bool control_is_complete(const struct agent *agent)
{
	for (size_t i = 0; agent->config->node_control && i < agent->settings.n_echoes; i++)
		if (!agent->control[i].finished.wall_us)
			return false;
	return true;
}

static bool is_done(const struct check *check)
{
	struct tally tally = count(check);

	if (check->wait_ns)
		return tally.verified == tally.subjects;
	return tally.judged == tally.subjects && control_is_complete(check->agent);
}

/*
 * The round's time begins when it is known whom to ask. What cannot be read is
 * waited for only when waiting was asked for.
 */
static void look_at_lists(struct check *check, uint64_t now_ns)
{
	bool settled = agent_source_settled(check->agent);
	uint64_t bound_ns = check->wait_ns ? check->wait_ns : LISTS_NS;

	if (settled && agent_source_complete(check->agent)) {
		check->listed = true;
		check->began_ns = now_ns;
	} else if ((settled && !check->wait_ns) || now_ns - check->began_ns >= bound_ns) {
		loop_stop(check->agent->loop);
	}
}

static int on_look(struct timer *timer)
{
	struct check *check = container_of(timer, struct check, look);
	uint64_t now_ns = clock_now().mono_ns;

	if (!check->listed)
		look_at_lists(check, now_ns);
	else if (is_done(check) || now_ns - check->began_ns >= check->bound_ns)
		loop_stop(check->agent->loop);
	return 0;
}

/* Names and keys of the inventory come from whoever writes objects. */
static void complain(const char *what, const char *why)
{
	const struct terminal terminal = { .out = stderr, .width = 80 };

	fprintf(stderr, "egress-verifier: %s", what);
	terminal_text(&terminal, TONE_PLAIN, why);
	fputc('\n', stderr);
}

/* What stands in the way of a verdict, for who sees an empty table. */
static void print_conditions(const struct check *check)
{
	char reason[512] = "";
	bool ready = agent_source_ready(check->agent, reason, sizeof(reason));

	/* What is wrong with a file was logged. */
	if ((ready || check->agent->source_kube) && reason[0])
		complain("", reason);
	if (agent_source_complete(check->agent) && count(check).subjects == 0)
		fprintf(stderr, "egress-verifier: no pod of node %s uses a gateway or must\n",
		        check->agent->config->node);
}

/* Prints and gives the exit status. */
static int show(const struct check *check, const struct buf *text)
{
	const struct terminal terminal = terminal_of(stdout);
	struct json_object *json = json_tokener_parse(text->data);
	char reason[TABLES_REASON_MAX] = "";
	int status;

	if (!json) {
		fprintf(stderr, "egress-verifier: check: %s\n", strerror(ENOMEM));
		return EXIT_UNDECIDED;
	}
	if (check->json)
		printf("%s\n", text->data);
	else
		tables_check(&terminal, json);
	status = tables_judge_check(json, reason);
	/* Text says it by itself; a program that reads JSON looks at stderr for it. */
	if (check->json && status == EXIT_UNDECIDED && reason[0])
		complain("check: ", reason);
	json_object_put(json);
	return status;
}

static int answer(const struct check *check)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(HTTP_ANSWER_MAX);
	size_t missing = 0;
	int r, status;

	r = report_check(check->agent->report, (const char *const *)check->pods, check->n_pods,
	                 &missing, &text);
	if (r == -ENOENT && !agent_source_complete(check->agent)) {
		fprintf(stderr, "egress-verifier: %s: the pods of node %s are not known\n",
		        check->pods[missing], check->agent->config->node);
		print_conditions(check);
		return EXIT_UNDECIDED;
	}
	if (r == -ENOENT) {
		fprintf(stderr, "egress-verifier: %s is no pod of node %s that uses a gateway\n",
		        check->pods[missing], check->agent->config->node);
		return EXIT_UNDECIDED;
	}
	if (r < 0) {
		fprintf(stderr, "egress-verifier: check: %s\n", strerror(-r));
		return EXIT_UNDECIDED;
	}
	status = show(check, &text);
	print_conditions(check);
	return status;
}

static int run(void *arg)
{
	struct check *check = arg;
	struct agent_options options = { .config_path = check->config_path, .once = true };
	const struct config *config;
	char error[512] = "";
	int r, status;

	r = agent_new(&options, &check->agent, error);
	if (r < 0) {
		fprintf(stderr, "egress-verifier: %s\n", error);
		return r == -EPERM ? EXIT_UNDECIDED : EXIT_USAGE;
	}

	/* A round takes a timeout at most; the first may wait for its turn. */
	config = check->agent->config;
	check->began_ns = clock_now().mono_ns;
	check->bound_ns =
		check->wait_ns ? check->wait_ns : 2 * config->timeout_ns + 2 * NSEC_PER_SEC;
	r = timer_init(&check->look, check->agent->loop, on_look);
	if (r == 0)
		r = timer_set(&check->look, LOOK_NS, LOOK_NS);
	if (r == 0)
		r = agent_run(check->agent);

	if (r < 0)
		fprintf(stderr, "egress-verifier: check: %s\n", strerror(-r));
	agent_judge_tick(check->agent); /* with all that is known by now */
	status = r < 0 ? EXIT_UNDECIDED : answer(check);
	timer_clear(&check->look);
	agent_free(check->agent);
	return status;
}

static int run_both(struct check *check)
{
	cleanup(mem_freep) char *absolute = path_absolute(check->config_path);
	const struct processes_options options = {
		.config_path = absolute,
		.once = true,
		.lost_status = EXIT_UNDECIDED,
	};

	if (!absolute) {
		fprintf(stderr, "egress-verifier: %s: %s\n", check->config_path, strerror(errno));
		return EXIT_USAGE;
	}
	log_set_level(LOG_ERROR); /* the table says the rest */
	log_set_command("egress-verifier");
	processes_detach();
	return processes_run(&options, run, check);
}

/* A name without its namespace is a mistake, not a pod that is not here. */
static bool are_names(const struct check *check)
{
	for (size_t i = 0; i < check->n_pods; i++) {
		const char *slash = strchr(check->pods[i], '/');

		if (slash && slash != check->pods[i] && slash[1] && !strchr(slash + 1, '/'))
			continue;
		fprintf(stderr, "egress-verifier: check: expected NAMESPACE/POD, got %s\n",
		        check->pods[i]);
		return false;
	}
	return true;
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "wait", required_argument, NULL, 'w' },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct check check = { .config_path = CHECK_CONFIG, .look = TIMER_INIT };
	int c;

	while ((c = getopt_long(argc, argv, "c:w:o:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			check.config_path = optarg;
			break;
		case 'w':
			if (parse_duration(optarg, &check.wait_ns) < 0) {
				fprintf(stderr,
				        "egress-verifier: --wait: expected a duration like 30s, "
				        "got %s\n",
				        optarg);
				return EXIT_USAGE;
			}
			break;
		case 'o':
			check.json = strcmp(optarg, "json") == 0;
			if (!check.json && strcmp(optarg, "text") != 0) {
				fprintf(stderr,
				        "egress-verifier: --output: expected text or json, got "
				        "%s\n",
				        optarg);
				return EXIT_USAGE;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	check.pods = argv + optind;
	check.n_pods = (size_t)(argc - optind);
	if (!are_names(&check))
		return EXIT_USAGE;
	return run_both(&check);
}
