#include "commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "commit.h"

int cmd_version(int argc, char **argv)
{
	bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

	if (argc > 1) {
		fprintf(help ? stdout : stderr, "usage: egress-verifier version\n");
		return help ? 0 : EXIT_USAGE;
	}
	printf("egress-verifier %s (commit %s)\n", VERSION, COMMIT);
	return 0;
}
