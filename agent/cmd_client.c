/*
 * Commands that ask a running agent: status, violations, flows, gateways,
 * explain. Each is a row of a table: what to ask, how to show it, what it means.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "client.h"
#include "commands.h"
#include "tables.h"

/* Flows that are shown at most; more than anybody reads, and bounded. */
enum { FLOWS_SHOWN_MAX = 5000, LISTED_MAX = 10000 };

struct options {
	const char *address, *pod, *path, *to, *since;
	bool json, watch, all;
};

struct command {
	const char *name, *summary, *own_options;
	const char *letters; /* of the options below that it takes */
	/* Asks; 0 and *out, or -errno with error. */
	int (*ask)(struct client *client, const struct options *options, struct json_object **out,
	           char error[static CLIENT_ERROR_MAX]);
	void (*show)(const struct terminal *terminal, struct json_object *answer);
	/* The exit status; reason "" when the output says it all. */
	int (*judge)(struct json_object *answer, char reason[static TABLES_REASON_MAX]);
};

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
}

/* status */

static int ask_status(struct client *client, const struct options *options,
                      struct json_object **out, char error[static CLIENT_ERROR_MAX])
{
	cleanup(json_putp) struct json_object *status = NULL;
	struct json_object *subjects;
	int r;

	(void)options;
	r = client_get(client, "/v1/status", &status, error);
	if (r == 0)
		r = client_list(client, "/v1/subjects", LISTED_MAX, &subjects, error);
	if (r < 0)
		return r;
	json_object_object_add(status, "items", json_object_get(tables_items(subjects)));
	json_object_put(subjects);

	*out = take_ptr(status);
	return 0;
}

static void show_status(const struct terminal *terminal, struct json_object *answer)
{
	tables_status(terminal, answer);
	if (tables_items(answer) && json_object_array_length(tables_items(answer))) {
		fputc('\n', terminal->out);
		tables_subjects(terminal, tables_items(answer));
	}
}

static int add_param(struct buf *target, const char *name, const char *value)
{
	cleanup(mem_freep) char *escaped = value ? client_escape(value) : NULL;

	if (!value)
		return 0;
	if (!escaped)
		return -ENOMEM;
	buf_format(target, "%s%s=%s", strchr(target->data, '?') ? "&" : "?", name, escaped);
	return target->error;
}

/* violations */

static int ask_violations(struct client *client, const struct options *options,
                          struct json_object **out, char error[static CLIENT_ERROR_MAX])
{
	cleanup(buf_clearp) struct buf target = BUF_INIT(1024);
	int r;

	buf_text(&target, "/v1/violations");
	if (!options->all && !options->since)
		buf_text(&target, "?state=open");
	r = target.error ? target.error : add_param(&target, "since", options->since);
	if (r < 0) {
		snprintf(error, CLIENT_ERROR_MAX, "%s", strerror(-r));
		return r;
	}
	return client_list(client, target.data, LISTED_MAX, out, error);
}

static void show_violations(const struct terminal *terminal, struct json_object *answer)
{
	const char *more = tables_text(answer, "continue", NULL);
	struct json_object *unreadable;

	tables_violations(terminal, tables_items(answer));
	if (json_object_object_get_ex(answer, "unreadable", &unreadable))
		terminal_wrap(terminal, 0, TONE_WARN,
		              "Some of the spool cannot be read: the agent's log says what.");
	if (more && *more)
		terminal_wrap(terminal, 0, TONE_WARN,
		              "There are more, resolved earlier: ask /v1/violations for them.");
}

static int judge_violations(struct json_object *answer, char reason[static TABLES_REASON_MAX])
{
	struct json_object *items = tables_items(answer);

	reason[0] = '\0';
	for (size_t i = 0; items && i < json_object_array_length(items); i++) {
		const char *state = tables_text(json_object_array_get_idx(items, i), "state", NULL);

		if (state && strcmp(state, "open") == 0)
			return EXIT_VIOLATED;
	}
	return EXIT_VERIFIED;
}

/* flows */

static int ask_flows(struct client *client, const struct options *options, struct json_object **out,
                     char error[static CLIENT_ERROR_MAX])
{
	cleanup(buf_clearp) struct buf target = BUF_INIT(1024);
	int r;

	buf_text(&target, "/v1/flows");
	r = target.error ? target.error : add_param(&target, "pod", options->pod);
	if (r == 0)
		r = add_param(&target, "path", options->path);
	if (r < 0) {
		snprintf(error, CLIENT_ERROR_MAX, "%s", strerror(-r));
		return r;
	}
	return client_list(client, target.data, FLOWS_SHOWN_MAX, out, error);
}

static void show_flows(const struct terminal *terminal, struct json_object *answer)
{
	const char *more = tables_text(answer, "continue", NULL);

	tables_flows(terminal, tables_items(answer));
	if (more && *more)
		terminal_wrap(terminal, 0, TONE_WARN,
		              "There are more flows: choose with --pod or --path.");
}

static int judge_flows(struct json_object *answer, char reason[static TABLES_REASON_MAX])
{
	struct json_object *items = tables_items(answer), *offending;

	reason[0] = '\0';
	for (size_t i = 0; items && i < json_object_array_length(items); i++)
		if (json_object_object_get_ex(json_object_array_get_idx(items, i), "offending",
		                              &offending) &&
		    json_object_get_boolean(offending))
			return EXIT_VIOLATED;
	return EXIT_VERIFIED;
}

/* gateways */

static int ask_gateways(struct client *client, const struct options *options,
                        struct json_object **out, char error[static CLIENT_ERROR_MAX])
{
	(void)options;
	return client_list(client, "/v1/gateways", LISTED_MAX, out, error);
}

static void show_gateways(const struct terminal *terminal, struct json_object *answer)
{
	tables_gateways(terminal, tables_items(answer));
}

static int judge_gateways(struct json_object *answer, char reason[static TABLES_REASON_MAX])
{
	struct json_object *items = tables_items(answer), *open;

	reason[0] = '\0';
	for (size_t i = 0; items && i < json_object_array_length(items); i++)
		if (json_object_object_get_ex(json_object_array_get_idx(items, i), "violationsOpen",
		                              &open) &&
		    json_object_get_uint64(open) > 0)
			return EXIT_VIOLATED;
	return EXIT_VERIFIED;
}

/* explain */

static int ask_explain(struct client *client, const struct options *options,
                       struct json_object **out, char error[static CLIENT_ERROR_MAX])
{
	cleanup(buf_clearp) struct buf target = BUF_INIT(1024);
	int r;

	buf_text(&target, "/v1/explain");
	r = target.error ? target.error : add_param(&target, "pod", options->pod);
	if (r == 0)
		r = add_param(&target, "to", options->to);
	if (r < 0) {
		snprintf(error, CLIENT_ERROR_MAX, "%s", strerror(-r));
		return r;
	}
	return client_get(client, target.data, out, error);
}

static int judge_explain(struct json_object *answer, char reason[static TABLES_REASON_MAX])
{
	const char *agreement = tables_text(answer, "agreement", NULL);

	reason[0] = '\0';
	if (agreement && strcmp(agreement, "agrees") == 0)
		return EXIT_VERIFIED;
	return agreement && strcmp(agreement, "differs") == 0 ? EXIT_VIOLATED : EXIT_UNDECIDED;
}

/* All of them */

static const struct command commands[] = {
	{ "status", "The pods of a node and their state, as its agent sees them.", "", "aowh",
	  ask_status, show_status, tables_judge_status },
	{ "violations", "What is wrong, why, and what to do.",
	  "  --all               resolved ones too, as far as they are in memory\n"
	  "  --since TIME        and those resolved since, from the spool: 90m, 24h, 7d, or\n"
	  "                      2026-11-20T15:00:00Z\n",
	  "aowhAs", ask_violations, show_violations, judge_violations },
	{ "flows", "What left the pods, and by which way; what took a wrong way first.",
	  "  --pod NS/POD        of this pod only\n"
	  "  --path PATH         gateway, direct, cluster or reply\n",
	  "aowhpP", ask_flows, show_flows, judge_flows },
	{ "gateways", "StaticGatewayConfigurations as seen from this node.", "", "aowh",
	  ask_gateways, show_gateways, judge_gateways },
	{ "explain", "Which way a packet must take, which rule says so, and what it would do.",
	  "  --pod NS/POD        the pod it leaves (needed)\n"
	  "  --to ADDRESS        the address it goes to (needed)\n",
	  "aowhpt", ask_explain, tables_explain, judge_explain },
};

static void usage(const struct command *command)
{
	printf("usage: egress-verifier %s [OPTION…]\n\n%s\n\n", command->name, command->summary);
	printf("  --address ADDRESS   the agent: http://HOST:PORT or unix:/PATH\n"
	       "                      (" CLIENT_ADDRESS ")\n"
	       "  --output FORMAT     text or json\n"
	       "  --watch             print again whenever something changes\n%s\n"
	       "Exit status: 0 as declared, 1 a violation, 2 usage, 3 undecided or no agent.\n",
	       command->own_options);
}

static int bad_usage(const struct command *command, const char *what, const char *value)
{
	fprintf(stderr, "egress-verifier %s: %s%s%s\n", command->name, value ? value : "",
	        value ? ": " : "", what);
	return -EINVAL;
}

static int take_option(const struct command *command, int letter, const char *value,
                       struct options *options)
{
	switch (letter) {
	case 'a':
		options->address = value;
		return 0;
	case 'o':
		options->json = strcmp(value, "json") == 0;
		if (!options->json && strcmp(value, "text") != 0)
			return bad_usage(command, "expected --output text or json", value);
		return 0;
	case 'w':
		options->watch = true;
		return 0;
	case 'A':
		options->all = true;
		return 0;
	case 's':
		options->since = value;
		return 0;
	case 'p':
		options->pod = value;
		return 0;
	case 'P':
		options->path = value;
		return 0;
	default:
		options->to = value;
		return 0;
	}
}

/* 0; 1: help was printed; -EINVAL: said what was wrong. */
static int parse(const struct command *command, int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "address", required_argument, NULL, 'a' },
		{ "output", required_argument, NULL, 'o' },
		{ "watch", no_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ "all", no_argument, NULL, 'A' },
		{ "since", required_argument, NULL, 's' },
		{ "pod", required_argument, NULL, 'p' },
		{ "path", required_argument, NULL, 'P' },
		{ "to", required_argument, NULL, 't' },
		{ 0 },
	};
	int letter, r;

	*options = (struct options){ .address = CLIENT_ADDRESS };
	opterr = 0;
	optind = 1;
	while ((letter = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
		if (letter == ':')
			return bad_usage(command, "expected a value after it", argv[optind - 1]);
		if (letter == '?' || !strchr(command->letters, letter))
			return bad_usage(command, "expected an option that --help lists",
			                 argv[optind - 1]);
		if (letter == 'h') {
			usage(command);
			return 1;
		}
		r = take_option(command, letter, optarg, options);
		if (r < 0)
			return r;
	}
	if (optind < argc)
		return bad_usage(command, "expected an option that --help lists", argv[optind]);
	if (strchr(command->letters, 't') && (!options->pod || !options->to))
		return bad_usage(command, "expected --pod NS/POD and --to ADDRESS", NULL);
	return 0;
}

static int once(const struct command *command, const struct options *options, struct client *client,
                char error[static CLIENT_ERROR_MAX])
{
	cleanup(json_putp) struct json_object *answer = NULL;
	struct terminal terminal = terminal_of(stdout);
	char reason[TABLES_REASON_MAX];
	int r, status;

	r = command->ask(client, options, &answer, error);
	if (r < 0)
		return r;
	if (options->json) {
		terminal_json(stdout, json_object_to_json_string_ext(
					      answer, JSON_C_TO_STRING_PLAIN |
							      JSON_C_TO_STRING_NOSLASHESCAPE));
		putchar('\n');
	} else {
		if (options->watch && terminal.colour)
			fputs("\033[H\033[2J", stdout);
		else if (options->watch)
			fputs("---\n", stdout);
		command->show(&terminal, answer);
	}
	fflush(stdout);
	status = command->judge(answer, reason);
	/* Text says it by itself; a program that reads JSON looks at stderr for it. */
	if (status == EXIT_UNDECIDED && options->json && reason[0])
		fprintf(stderr, "egress-verifier %s: %s\n", command->name, reason);
	return status;
}

static int ask_agent(const struct command *command, const struct options *options,
                     char error[static CLIENT_ERROR_MAX])
{
	struct client *client = NULL;
	int r;

	r = client_new(options->address, &client, error);
	if (r < 0)
		return r;
	if (options->watch)
		r = client_watch(client, error);
	if (r == 0)
		r = once(command, options, client, error);
	while (options->watch && r >= 0) {
		r = client_wait(client, error);
		if (r == 0)
			r = once(command, options, client, error);
	}
	client_free(client);
	return r;
}

static int run(const char *name, int argc, char **argv)
{
	const struct command *command = commands;
	char error[CLIENT_ERROR_MAX];
	struct options options;
	int r;

	while (strcmp(command->name, name) != 0)
		command++;
	r = parse(command, argc, argv, &options);
	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0;

	r = ask_agent(command, &options, error);
	if (r >= 0)
		return r;
	fputs("egress-verifier ", stderr);
	fputs(name, stderr);
	fputs(": ", stderr);
	terminal_text(&(struct terminal){ .out = stderr, .width = 80 }, TONE_PLAIN, error);
	fputc('\n', stderr);
	return r == -EINVAL ? EXIT_USAGE : EXIT_UNDECIDED;
}

int cmd_status(int argc, char **argv)
{
	return run("status", argc, argv);
}

int cmd_violations(int argc, char **argv)
{
	return run("violations", argc, argv);
}

int cmd_flows(int argc, char **argv)
{
	return run("flows", argc, argv);
}

int cmd_gateways(int argc, char **argv)
{
	return run("gateways", argc, argv);
}

int cmd_explain(int argc, char **argv)
{
	return run("explain", argc, argv);
}
