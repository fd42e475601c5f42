/* sources: agent/kube/server.c agent/kube/kubeconfig.c agent/kube/pem.c agent/io/yaml.c agent/io/yaml_value.c */
/*
 * An error is one line that begins with the file and tells no secret; what is
 * accepted keeps the promises of server.h.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "kube/pem.h"
#include "kube/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kube_server *server)
{
	struct kube_server again = { 0 };

	assert(strncmp(server->url, "https://", 8) == 0 && server->port > 0);
	assert(server->url[strlen(server->url) - 1] != '/' && !strpbrk(server->url, " \r\n@?#\\"));
	assert(kube_server_is_host(server->host));
	assert(!server->tls_name || kube_server_is_host(server->tls_name));
	for (int i = 0; i < _KUBE_FILE_MAX; i++) {
		const char *file = server->file[i];

		assert(!file || !server->data[i]);
		assert(!file || (file[0] == '/' && !strstr(file, "/../") && !strstr(file, "//")));
	}
	assert(server->data[KUBE_FILE_TOKEN] || server->file[KUBE_FILE_TOKEN] ||
	       server->data[KUBE_FILE_CERTIFICATE] || server->file[KUBE_FILE_CERTIFICATE]);

	/* Its own URL is the same place. */
	assert(kube_server_set_url(&again, server->url) == 0);
	assert(strcmp(again.url, server->url) == 0 && strcmp(again.host, server->host) == 0);
	assert(again.port == server->port && again.has_address == server->has_address);
	kube_server_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_server server = { 0 };
	const char *reason = NULL;
	char error[512] = "";
	int r = kube_server_parse((const char *)data, size, "/etc/kube/config", &server, error);

	if (r == 0) {
		check(&server);
		kube_server_clear(&server);
	} else {
		assert(r == -EINVAL && !server.url);
		assert(strncmp(error, "/etc/kube/config:", 17) == 0);
		assert(strlen(error) < sizeof(error) && !strpbrk(error, "\n\r\x1b"));
	}

	r = pem_check((const char *)data, size, "CERTIFICATE", &reason);
	assert(r == 0 || (r == -EINVAL && reason));
	return 0;
}
