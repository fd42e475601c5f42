/*
 * Which API server, and as whom: a kubeconfig, or the pod's service account.
 *
 * Of a kubeconfig its current context: certificate authority, and one of token, token file
 * and client certificate, each inline or as a file. What would run a program or
 * switch the verification off (exec, auth-provider, insecure-skip-tls-verify) is
 * refused with a sentence: the agent is nothing that should do it. Plain http is
 * refused, too.
 *
 * Another server whose credentials rotate is described by the same struct, filled in by hand: its
 * `name`, perhaps `plain`, kube_server_set_url(), its files.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"
#include "io/yaml.h"

/* "/var/run/secrets/kubernetes.io/serviceaccount": kubelet's, for every pod. */
#define KUBE_SERVICE_ACCOUNT_DIRECTORY "/var/run/secrets/kubernetes.io/serviceaccount"

/* Files that credentials come from; each NULL when it is inline or not used. */
enum kube_file {
	KUBE_FILE_CA,
	KUBE_FILE_TOKEN,
	KUBE_FILE_CERTIFICATE,
	KUBE_FILE_KEY,
	_KUBE_FILE_MAX
};

struct kube_server {
	const char *name; /* for people, constant; NULL: "the API server" */
	bool plain;       /* http is taken, too: nobody is verified then, and no file is used */
	char *url; /* owned, as every pointer below; "https://10.0.0.1:443", without a slash at the end */
	char *host; /* as in the URL, without brackets */
	uint16_t port;
	bool has_address; /* the host is a literal address: */
	struct ip address;
	char *tls_name;             /* verified instead of the host; NULL: the host */
	char *file[_KUBE_FILE_MAX]; /* absolute paths */
	char *data[_KUBE_FILE_MAX]; /* the contents, inline; PEM, or the token's text */
};

/* On failure `error` holds one line that names the input and what was expected. */
int kube_server_in_cluster(struct kube_server *out, char error[static 512]);
int kube_server_load(const char *kubeconfig, struct kube_server *out, char error[static 512]);
/* The same of bytes; `path` names them and gives the folder of relative files. */
int kube_server_parse(const char *data, size_t len, const char *path, struct kube_server *out,
                      char error[static 512]);
/*
 * "https://HOST[:PORT][/PATH]" and nothing else, or the same with http:// where it is
 * `plain`: url, host, port and address; -EINVAL, -ENOMEM.
 */
int kube_server_set_url(struct kube_server *server, const char *url);
/* An address, or a name as resolvers take it. */
bool kube_server_is_host(const char *host);
const char *kube_server_name(const struct kube_server *server);
/* Where the URL's path begins; "": it has none. */
const char *kube_server_path(const struct kube_server *server);
/* Tokens and keys are cleared from memory. */
void kube_server_clear(struct kube_server *server);
