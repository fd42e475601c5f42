#include "kube/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "kube/client_parts.h"

DEFINE_FREEP(struct kube_client, kube_client)

/* Pools */

static struct client_pool *pool_free(struct client_pool *pool)
{
	if (!pool)
		return NULL;
	http_client_free(pool->http);
	free(pool);
	return NULL;
}

int client_pool(struct kube_client *client, struct client_pool **out)
{
	struct client_pool *pool = client->pools;
	int r;

	if (pool && pool->trust == client->credentials.trust) {
		*out = pool;
		return 0;
	}
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	r = http_client_new(client->loop, NULL, &pool->http);
	if (r < 0) {
		free(pool);
		return r;
	}
	pool->trust = client->credentials.trust;
	pool->next = client->pools;
	client->pools = pool;
	/* What is idle in the others must not be used again. */
	kick_now(&client->sweep);
	*out = pool;
	return 0;
}

/* Not from a transfer's end: its client is at work then. */
static int on_sweep(struct kick *kick)
{
	struct kube_client *client = container_of(kick, struct kube_client, sweep);
	struct client_pool **at = client->pools ? &client->pools->next : &client->pools;

	while (*at) {
		struct client_pool *pool = *at;

		if (pool->calls) {
			at = &pool->next;
			continue;
		}
		*at = pool->next;
		pool_free(pool);
	}
	return 0;
}

void client_pool_leave(struct kube_client *client, struct client_pool *pool)
{
	if (--pool->calls == 0 && pool != client->pools)
		kick_now(&client->sweep);
}

/* The URL has the name that the certificate must have; the request says whom it is for. */
static int set_names(struct kube_client *client)
{
	const struct kube_server *server = &client->server;
	const char *name = server->tls_name ?: server->host;
	int scheme = (int)(strstr(server->url, "://") - server->url);
	bool v6 = strchr(name, ':'), host_v6 = strchr(server->host, ':');

	if (asprintf(&client->base, "%.*s://%s%s%s:%u%s", scheme, server->url, v6 ? "[" : "", name,
	             v6 ? "]" : "", (unsigned int)server->port, kube_server_path(server)) < 0) {
		client->base = NULL;
		return -ENOMEM;
	}
	if (server->tls_name &&
	    asprintf(&client->host_header, "Host: %s%s%s:%u", host_v6 ? "[" : "", server->host,
	             host_v6 ? "]" : "", (unsigned int)server->port) < 0) {
		client->host_header = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int set_up(struct kube_client *client, char error[static 512])
{
	int r = kube_credentials_init(&client->credentials, &client->server, clock_now().mono_ns,
	                              error);
	struct client_pool *pool;

	if (r < 0)
		return r;
	client->has_address = client->server.has_address;
	client->address = client->server.address;
	r = set_names(client);
	r = r ?: kick_init(&client->sweep, client->loop, on_sweep);
	r = r ?: client_pool(client, &pool);
	if (r < 0)
		snprintf(error, 512, "the client of %s: %s", kube_server_name(&client->server),
		         strerror(-r));
	return r;
}

int kube_client_new(struct loop *loop, struct kube_server *server, struct kube_client **out,
                    char error[static 512])
{
	cleanup(kube_client_freep) struct kube_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		snprintf(error, 512, "the client of %s: %s", kube_server_name(server),
		         strerror(ENOMEM));
		kube_server_clear(server);
		return -ENOMEM;
	}
	client->loop = loop;
	client->sweep = (struct kick)KICK_INIT;
	client->server = *server;
	*server = (struct kube_server){ 0 };
	r = set_up(client, error);
	if (r < 0)
		return r;
	*out = take_ptr(client);
	return 0;
}

struct kube_client *kube_client_free(struct kube_client *client)
{
	if (!client)
		return NULL;

	while (client->calls)
		client_call_free(client->calls);
	while (client->pools) {
		struct client_pool *pool = client->pools;

		client->pools = pool->next;
		pool_free(pool);
	}
	kick_clear(&client->sweep);
	kube_credentials_clear(&client->credentials);
	kube_server_clear(&client->server);
	free(client->base);
	free(client->host_header);
	free(client);
	return NULL;
}

struct kube_client_stats kube_client_stats(const struct kube_client *client)
{
	struct kube_client_stats stats = client->stats;

	stats.renewed = client->credentials.renewed;
	stats.credential_errors = client->credentials.errors;
	memcpy(stats.last_error, client->credentials.last_error, sizeof(stats.last_error));
	return stats;
}

const struct kube_server *kube_client_server(const struct kube_client *client)
{
	return &client->server;
}
