#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "agent", cmd_agent, "the per-node agent, in the foreground" },
	{ "check", cmd_check, "one round of everything the agent does, then a table" },
	{ "status", cmd_status, "ask a running agent: subjects and their state" },
	{ "violations", cmd_violations, "ask a running agent: what is wrong and what to do" },
	{ "flows", cmd_flows, "ask a running agent: what left the pods, and by which way" },
	{ "gateways", cmd_gateways, "ask a running agent: gateways as seen from this node" },
	{ "explain", cmd_explain, "which interface a packet must take, and why" },
	{ "echo", cmd_echo, "an echo of our own: HTTP, UDP and STUN on one port" },
	{ "validate", cmd_validate, "check a configuration file" },
	{ "version", cmd_version, "version, commit, library versions" },
};

static void usage(FILE *out)
{
	fprintf(out, "usage: egress-verifier COMMAND [OPTION…]\n\n"
	             "Proves, per pod, that egress through a static egress gateway is as declared."
	             "\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].help);
	fprintf(out,
	        "\nCOMMAND --help says more. Exit status: 0 everything asked for is verified,\n"
	        "1 an open violation, 2 usage or configuration error, 3 nothing could be "
	        "decided.\n");
}

/* An answer that did not get out was not given: a full disk must not look like a good verdict. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "egress-verifier: cannot write the answer\n");
	return EXIT_UNDECIDED;
}

/*
 * A standard descriptor that was closed would become the next socket, and what
 * is printed there a message to somebody. To use it fails as it did.
 */
static void hold_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
	hold_standard_descriptors();
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return finish(0);
	}
	if (strcmp(argv[1], "--version") == 0)
		argv[1] = "version";

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return finish(commands[i].run(argc - 1, argv + 1));

	fprintf(stderr,
	        "egress-verifier: unknown command %s, expected one of those that --help lists\n",
	        argv[1]);
	return EXIT_USAGE;
}
