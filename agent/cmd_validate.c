#include "commands.h"

#include <getopt.h>
#include <stdio.h>

#include "config.h"

static void usage(FILE *out)
{
	fprintf(out, "usage: egress-verifier validate FILE…\n\n"
	             "Checks configuration files. Their keys, and the defaults:\n\n");
	config_describe(out);
}

static int validate(const char *path)
{
	struct config *config = NULL;
	char error[512];

	if (config_load(path, &config, error) < 0) {
		fprintf(stderr, "%s\n", error);
		return EXIT_USAGE;
	}
	config_free(config);
	printf("%s: valid\n", path);
	return 0;
}

int cmd_validate(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option, status = 0;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option != 'h')
			return EXIT_USAGE; /* getopt named the option */
		usage(stdout);
		return 0;
	}
	if (optind == argc) {
		fprintf(stderr, "egress-verifier validate: expected a FILE, got none\n");
		return EXIT_USAGE;
	}

	for (; optind < argc; optind++)
		if (validate(argv[optind]) != 0)
			status = EXIT_USAGE;
	return status;
}
