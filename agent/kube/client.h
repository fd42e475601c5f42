/*
 * Requests to a server whose credentials rotate: the API server, a collector.
 *
 * Token, certificates and authority are read again while the agent runs (kubelet
 * renews a projected token at 80 % of its life and swaps ca.crt): a request
 * carries what the files said at most KUBE_CREDENTIALS_NS ago. Files that are gone,
 * empty or wrong change nothing and are counted. A new authority or client certificate
 * closes idle connections. On 401, and when the server's certificate is not believed, they
 * are read again and, if they changed, the request repeated once, before anything of the
 * answer is delivered.
 *
 * A name as host is asked of the node's name servers for every new connection.
 */
#pragma once

#include "base/loop.h"
#include "io/http_client.h"
#include "kube/server.h"

struct kube_client;
struct kube_call;

/* Zeroed fields are the default. Everything is copied before kube_client_start() returns. */
struct kube_request {
	const char *method;       /* NULL: GET */
	const char *path;         /* with query, percent-encoded: "/api/v1/pods?watch=1" */
	const char *accept;       /* NULL: application/json */
	const char *content_type; /* of the body; NULL: application/json */
	const char *const
		*headers; /* more: "Name: value", KUBE_HEADERS_MAX at most; wiped in the end */
	size_t n_headers;
	const void *body;
	size_t body_len;
	bool stream; /* a watch: no bound on its length, keepalive, a connection of its own */
	uint64_t timeout_ns; /* of what is no stream; 0: KUBE_TIMEOUT_NS */
	size_t body_max; /* gathered without `write`, and of answers other than 2xx; 0: KUBE_STATUS_MAX */
	http_open_fn opened; /* the header of status 2xx is there; may be NULL */
	http_write_fn write; /* the body as it comes, of status 2xx, decompressed; NULL: gathered */
	http_done_fn done;   /* once, from the loop, never from kube_client_start() */
	void *user;
};

/* The server's content moves to the client, also on error. `resolv_conf` NULL: the node's. */
int kube_client_new(struct loop *loop, struct kube_server *server, struct kube_client **out,
                    char error[static 512]);
/* Ends every call without a word to its owner. */
struct kube_client *kube_client_free(struct kube_client *client);

int kube_client_start(struct kube_client *client, const struct kube_request *request,
                      struct kube_call **out);
/* Ends it without a call to `done`; may be called from its own `write` no more than http_transfer_cancel(). */
void kube_call_cancel(struct kube_call *call);

struct kube_client_stats {
	uint64_t requests;          /* sent, repeated ones too */
	uint64_t bytes;             /* of answers' bodies, as delivered */
	uint64_t renewed;           /* credentials that changed */
	uint64_t credential_errors; /* files that could not be used; the old ones stay */
	uint64_t warnings;          /* answers with a Warning header; a new text is logged once */
	char last_error[160];       /* of credentials; "" when the newest reading was good */
};
struct kube_client_stats kube_client_stats(const struct kube_client *client);
const struct kube_server *kube_client_server(const struct kube_client *client);
