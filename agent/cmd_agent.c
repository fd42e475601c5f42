#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/path.h"
#include "broker/confine.h"
#include "broker/processes.h"
#include "limits.h"
#include "spool/serve.h"

static void usage(FILE *out)
{
	fprintf(out, "usage: egress-verifier agent --config FILE\n\n"
	             "Runs in the foreground until SIGTERM; SIGHUP reads FILE again.\n"
	             "Its log goes to standard error, its answers to http.listen of FILE.\n");
}

/*
 * glibc learns from the largest block ever freed (the kernel's types, read
 * while programs load: 6 MB) that blocks of that size belong on the heap, and
 * gives nothing of it back below twice that. Fixed thresholds keep the heap as
 * small as what lives there.
 */
static void bound_heap(void)
{
	mallopt(M_MMAP_THRESHOLD, HEAP_BLOCK_MAX);
	mallopt(M_TRIM_THRESHOLD, HEAP_BLOCK_MAX);
}

static int run(void *path)
{
	struct agent_options options = { .config_path = path };
	struct agent *agent = NULL;
	char error[512] = "";
	int r;

	r = agent_new(&options, &agent, error);
	if (r < 0) {
		fprintf(stderr, "egress-verifier: %s\n", error);
		return r == -EPERM || r == -ETIMEDOUT ? EXIT_UNDECIDED : EXIT_USAGE;
	}

	agent_places_tell(agent);
	log_info("agent started", "node", agent->config->node, "listen",
	         agent->config->n_listen ? agent->config->listen[0] : "", "packets",
	         agent->packets ? "observed" : "not observed", NULL);
	r = agent_run(agent);
	if (r == 0 && !agent->stopping) /* nobody asked for it: it is to be started anew */
		r = -ECANCELED;
	agent_free(agent);
	if (r < 0) {
		log_error("stopped", "error", strerror(-r), NULL);
		return EXIT_UNDECIDED;
	}
	log_info("stopped", NULL);
	return 0;
}

static int keep_spool(int fd)
{
	return spool_serve(fd, confine_spool_files);
}

static int run_all(const char *path)
{
	cleanup(mem_freep) char *absolute = path_absolute(path);
	const struct processes_options options = { .config_path = absolute,
		                                   .lost_status = EXIT_UNDECIDED,
		                                   .spool = keep_spool };

	if (!absolute) {
		fprintf(stderr, "egress-verifier: %s: %s\n", path, strerror(errno));
		return EXIT_USAGE;
	}
	bound_heap();
	processes_detach();
	return processes_run(&options, run, (void *)path);
}

int cmd_agent(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (!path || optind < argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	return run_all(path);
}
