#include "kube/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define HOST_MAX 253
#define PORT_DEFAULT 443
#define PORT_PLAIN 80

static const char secure[] = "https://", plain[] = "http://";

static char *join(const char *folder, const char *name)
{
	char *joined;

	return asprintf(&joined, "%s/%s", folder, name) < 0 ? NULL : joined;
}

void kube_server_clear(struct kube_server *server)
{
	for (int i = 0; i < _KUBE_FILE_MAX; i++) {
		if (server->data[i])
			explicit_bzero(server->data[i], strlen(server->data[i]));
		free(server->data[i]);
		free(server->file[i]);
	}
	free(server->url);
	free(server->host);
	free(server->tls_name);
	*server = (struct kube_server){ 0 };
}

/* Where it is */

/* An address, or a name as resolvers take it: nothing that would be another part of a URL. */
bool kube_server_is_host(const char *host)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
	size_t len = strlen(host);
	struct ip ip;

	if (ip_parse(host, &ip) == 0)
		return true;
	return len > 0 && len <= HOST_MAX && host[strspn(host, letters)] == '\0' &&
	       host[0] != '.' && host[0] != '-';
}

/* `path` begins with a slash or is empty, and has none at its end. */
static int set_place(struct kube_server *server, const char *scheme, const char *host,
                     uint16_t port, const char *path, size_t path_len)
{
	bool bracketed = strchr(host, ':');

	server->host = strdup(host);
	server->port = port;
	server->has_address = ip_parse(host, &server->address) == 0;
	if (!server->host ||
	    asprintf(&server->url, "%s%s%s%s:%u%.*s", scheme, bracketed ? "[" : "", host,
	             bracketed ? "]" : "", (unsigned int)port, (int)path_len, path) < 0) {
		server->url = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* The host and what follows it; -EINVAL. */
static int split_host(const char *text, char host[static HOST_MAX + 1], const char **rest)
{
	bool bracketed = *text == '[';
	size_t len = bracketed ? strcspn(++text, "]/?#") : strcspn(text, ":/?#@[");

	if (len == 0 || len > HOST_MAX || (bracketed && text[len] != ']'))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	*rest = text + len + bracketed;
	return kube_server_is_host(host) && bracketed == (strchr(host, ':') != NULL) ? 0 : -EINVAL;
}

static int parse_port(const char *text, size_t len, uint16_t *out)
{
	char digits[6];
	uint64_t port;

	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (parse_u64(digits, UINT16_MAX, &port) < 0 || port == 0)
		return -EINVAL;
	*out = (uint16_t)port;
	return 0;
}

const char *kube_server_name(const struct kube_server *server)
{
	return server->name ?: "the API server";
}

const char *kube_server_path(const struct kube_server *server)
{
	return strchr(strstr(server->url, "://") + 3, '/') ?: "";
}

int kube_server_set_url(struct kube_server *server, const char *url)
{
	static const char path_letters[] = "abcdefghijklmnopqrstuvwxyz"
					   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/%:";
	char host[HOST_MAX + 1];
	bool in_clear = server->plain && strncmp(url, plain, strlen(plain)) == 0;
	const char *scheme = in_clear ? plain : secure, *rest;
	uint16_t port = in_clear ? PORT_PLAIN : PORT_DEFAULT;
	size_t len;

	if (strncmp(url, scheme, strlen(scheme)) != 0 ||
	    split_host(url + strlen(scheme), host, &rest) < 0)
		return -EINVAL;
	if (*rest == ':') {
		len = strcspn(++rest, "/");
		if (parse_port(rest, len, &port) < 0)
			return -EINVAL;
		rest += len;
	}
	len = strlen(rest);
	if (len > 0 && (*rest != '/' || rest[strspn(rest, path_letters)] != '\0'))
		return -EINVAL;
	while (len > 0 && rest[len - 1] == '/')
		len--;
	return set_place(server, scheme, host, port, rest, len);
}

/* In a pod */

static int fail_environment(char error[static 512], const char *name, const char *expected)
{
	snprintf(error, 512,
	         "$%s: expected %s, as every pod has it; elsewhere name inventory.kubeconfig", name,
	         expected);
	return -EINVAL;
}

int kube_server_in_cluster(struct kube_server *out, char error[static 512])
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port_text = getenv("KUBERNETES_SERVICE_PORT");
	struct kube_server server = { 0 };
	uint16_t port;
	int r;

	if (!host || !kube_server_is_host(host))
		return fail_environment(error, "KUBERNETES_SERVICE_HOST", "an address or a name");
	if (!port_text || parse_port(port_text, strlen(port_text), &port) < 0)
		return fail_environment(error, "KUBERNETES_SERVICE_PORT", "a port");

	r = set_place(&server, secure, host, port, "", 0);
	server.file[KUBE_FILE_CA] = join(KUBE_SERVICE_ACCOUNT_DIRECTORY, "ca.crt");
	server.file[KUBE_FILE_TOKEN] = join(KUBE_SERVICE_ACCOUNT_DIRECTORY, "token");
	if (r < 0 || !server.file[KUBE_FILE_CA] || !server.file[KUBE_FILE_TOKEN]) {
		kube_server_clear(&server);
		snprintf(error, 512, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	*out = server;
	return 0;
}
