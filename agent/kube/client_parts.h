/*
 * The client's own: what its two files share.
 */
#pragma once

#include "base/cleanup.h"
#include "io/kick.h"
#include "kube/client.h"
#include "kube/credentials.h"
#include "limits.h"

/* Connections made with the same certificates. A new one takes new requests, the old one ends with its last. */
struct client_pool {
	struct client_pool *next;
	struct http_client *http;
	uint64_t trust; /* of the credentials */
	size_t calls;
};

struct kube_client {
	struct loop *loop;
	struct kube_server server;
	struct kube_credentials credentials;
	char *base;                /* the server's URL, with the name that is verified */
	char *host_header;         /* NULL: the URL says it */
	struct client_pool *pools; /* the newest first */
	struct kick sweep;         /* a pool may have no more calls */
	struct kube_call *calls;
	bool has_address; /* of a name: where it was last */
	struct ip address;
	bool address_failed;                /* it was not reached: another one next time */
	uint64_t warned[KUBE_WARNINGS_MAX]; /* hashes of texts */
	size_t n_warned;
	struct kube_client_stats stats;
};

struct kube_call {
	struct kube_client *client;   /* borrowed */
	struct kube_call *next, **at; /* of the client's list */
	struct kube_request request;  /* its texts are owned */
	struct client_pool *pool;     /* borrowed while there is a transfer */
	struct http_transfer *transfer;
	struct dns_query *query;
	uint64_t started_ns;
	uint64_t generation; /* of the credentials that it was sent with */
	bool repeated;
};

/* For a new request: the newest, made when the certificates are others. */
int client_pool(struct kube_client *client, struct client_pool **out);
/* A call has left it. */
void client_pool_leave(struct kube_client *client, struct client_pool *pool);

/* Without a word to its owner. */
struct kube_call *client_call_free(struct kube_call *call);
