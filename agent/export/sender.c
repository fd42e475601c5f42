#include "export/sender.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "probe/url.h"

/* specification/protocol/exporter.md, "User Agent" */
#define USER_AGENT "User-Agent: egress-verifier/" VERSION " OTel-OTLP-Exporter-C/" VERSION

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static int copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static int describe(const struct export_target *target, const struct url *url,
                    struct kube_server *server)
{
	bool v6 = strchr(url->host, ':');
	char base[URL_HOST_MAX + 32];
	int r;

	*server = (struct kube_server){ .name = "the collector", .plain = !url->tls };
	snprintf(base, sizeof(base), "http%s://%s%s%s:%u", url->tls ? "s" : "", v6 ? "[" : "",
	         url->host, v6 ? "]" : "", (unsigned int)url->port);
	r = kube_server_set_url(server, base);
	r = r ?: copy(&server->file[KUBE_FILE_CA], target->ca);
	r = r ?: copy(&server->file[KUBE_FILE_CERTIFICATE], target->certificate);
	return r ?: copy(&server->file[KUBE_FILE_KEY], target->key);
}

static bool is_shared(const struct sender *other, const struct export_target *target,
                      const struct kube_server *server)
{
	return other && other->client &&
	       same(kube_client_server(other->client)->url, server->url) &&
	       same(other->target->ca, target->ca) &&
	       same(other->target->certificate, target->certificate) &&
	       same(other->target->key, target->key);
}

static void set_headers(struct sender *sender)
{
	const struct export_target *target = sender->target;
	bool named = false;

	for (size_t i = 0; i < target->n_headers; i++) {
		sender->headers[sender->n_headers++] = target->header[i];
		named |= strncasecmp(target->header[i], "User-Agent:", 11) == 0;
	}
	if (!named)
		sender->headers[sender->n_headers++] = USER_AGENT;
	if (target->gzip)
		sender->headers[sender->n_headers++] = "Content-Encoding: gzip";
}

int sender_open(struct sender *sender, struct loop *loop, const struct export_target *target,
                const struct sender *other, char error[static 512])
{
	struct kube_server server = { 0 };
	const char *reason = "";
	struct url url;
	int r;

	sender->target = target;
	set_headers(sender);
	r = url_parse(target->url, &url, &reason);
	r = r ?: copy(&sender->path, url.path);
	r = r ?: describe(target, &url, &server);
	if (r < 0) {
		kube_server_clear(&server);
		snprintf(error, 512, "the collector's URL: %s", *reason ? reason : strerror(-r));
		return r;
	}
	if (!is_shared(other, target, &server))
		return kube_client_new(loop, &server, &sender->client, error);
	sender->client = other->client;
	sender->borrowed = true;
	kube_server_clear(&server);
	return 0;
}

void sender_close(struct sender *sender)
{
	if (sender->call)
		kube_call_cancel(sender->call);
	if (!sender->borrowed)
		kube_client_free(sender->client);
	free(sender->path);
	*sender = (struct sender){ 0 };
}

int sender_post(struct sender *sender, const struct batch *batch, uint64_t timeout_ns,
                http_done_fn done, void *user)
{
	const struct buf *body = batch_body(batch);
	const struct kube_request request = {
		.method = "POST",
		.path = sender->path,
		.headers = sender->headers,
		.n_headers = sender->n_headers,
		.body = body->data,
		.body_len = body->len,
		.timeout_ns = timeout_ns,
		.body_max = EXPORT_ANSWER_MAX,
		.done = done,
		.user = user,
	};

	return kube_client_start(sender->client, &request, &sender->call);
}
