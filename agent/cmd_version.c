#include "commands.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "commit.h"
#include "flow/loader.h"
#include "io/dns_client.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "io/yaml.h"

/* Those that run, which may be newer than those it was built with. */
static void print_libraries(void)
{
	const char *bpf = flow_loader_version();

	printf("libcurl %s with %s, c-ares %s\n", http_client_version(), http_client_tls_version(),
	       dns_client_version());
	printf("libmicrohttpd %s, libyaml %s, json-c %s, libbpf %s\n", http_server_version(),
	       yaml_version(), json_c_version(), *bpf == 'v' ? bpf + 1 : bpf);
}

int cmd_version(int argc, char **argv)
{
	bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

	if (argc > 1) {
		fprintf(help ? stdout : stderr, "usage: egress-verifier version\n");
		return help ? 0 : EXIT_USAGE;
	}
	printf("egress-verifier %s (commit %s)\n", VERSION, COMMIT);
	print_libraries();
	return 0;
}
