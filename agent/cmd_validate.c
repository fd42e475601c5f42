#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "config.h"

static int usage(FILE *out)
{
	fprintf(out, "usage: egress-verifier validate FILE\n\n"
	             "Checks a configuration file. Its keys, and their defaults:\n\n");
	config_describe(out);
	return out == stdout ? 0 : EXIT_USAGE;
}

int cmd_validate(int argc, char **argv)
{
	struct config *config = NULL;
	char error[512];

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return usage(stdout);
	if (argc != 2) {
		fprintf(stderr, "egress-verifier validate: expected one FILE (got %d arguments)\n",
		        argc - 1);
		return EXIT_USAGE;
	}

	if (config_load(argv[1], &config, error) < 0) {
		fprintf(stderr, "%s\n", error);
		return EXIT_USAGE;
	}
	config_free(config);
	printf("%s: valid\n", argv[1]);
	return 0;
}
