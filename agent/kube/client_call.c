/*
 * One request: its name asked for, sent, perhaps repeated, told of.
 */
#include "kube/client_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/dns_client.h"

#define RESOLV_CONF "/etc/resolv.conf"

/* They may say who asks. */
static void free_headers(struct kube_request *request)
{
	char **lines = (char **)request->headers;

	for (size_t i = 0; lines && i < request->n_headers; i++) {
		if (lines[i])
			explicit_bzero(lines[i], strlen(lines[i]));
		free(lines[i]);
	}
	free(lines);
	request->headers = NULL;
}

struct kube_call *client_call_free(struct kube_call *call)
{
	if (!call)
		return NULL;

	if (call->at) {
		*call->at = call->next;
		if (call->next)
			call->next->at = call->at;
	}
	if (call->transfer)
		http_transfer_cancel(take_ptr(call->transfer));
	call->query = dns_query_free(call->query);
	if (call->pool)
		client_pool_leave(call->client, take_ptr(call->pool));
	free((char *)call->request.method);
	free((char *)call->request.path);
	free((char *)call->request.accept);
	free((char *)call->request.content_type);
	free_headers(&call->request);
	free((void *)call->request.body);
	free(call);
	return NULL;
}

DEFINE_FREEP(struct kube_call, client_call)

void kube_call_cancel(struct kube_call *call)
{
	client_call_free(call);
}

/* The one way out: whoever is called may start others, or end the client's. */
static void finish(struct kube_call *call, const struct http_response *response)
{
	http_done_fn done = call->request.done;
	void *user = call->request.user;

	client_call_free(call);
	done(user, response);
}

/* Deprecated resources, mostly: each answer says so. */
static void note_warning(struct kube_client *client, const char *text)
{
	uint64_t hash = hash_text(HASH_SEED, text);

	client->stats.warnings++;
	for (size_t i = 0; i < client->n_warned; i++)
		if (client->warned[i] == hash)
			return;
	if (client->n_warned == KUBE_WARNINGS_MAX)
		return;
	client->warned[client->n_warned++] = hash;
	log_warn("a server warns", "server", kube_server_name(&client->server), "text", text, NULL);
}

static void on_opened(void *user)
{
	struct kube_call *call = user;

	call->request.opened(call->request.user);
}

static int on_write(void *user, const char *data, size_t len)
{
	struct kube_call *call = user;

	call->client->stats.bytes += len;
	return call->request.write(call->request.user, data, len);
}

/* Another address of the same name may do better. */
static bool is_unreached(enum http_error error)
{
	return error == HTTP_CONNECT_REFUSED || error == HTTP_CONNECT_TIMEOUT ||
	       error == HTTP_UNREACHABLE;
}

static int begin(struct kube_call *call);

/*
 * Who was not believed, or does not believe, asks once more if what it was sent
 * with is not what the files have: they change before the server does, or just after.
 */
static bool repeat(struct kube_call *call, const struct http_response *response)
{
	struct kube_credentials *credentials = &call->client->credentials;

	if ((response->status != 401 && response->error != HTTP_TLS_VERIFY) || call->repeated)
		return false;
	if (call->generation == credentials->generation)
		kube_credentials_reread(credentials, clock_now().mono_ns);
	if (call->generation == credentials->generation)
		return false;
	call->repeated = true;
	return begin(call) == 0;
}

static void on_response(void *user, const struct http_response *response)
{
	struct kube_call *call = user;
	struct kube_client *client = call->client;

	call->transfer = NULL;
	client_pool_leave(client, take_ptr(call->pool));
	client->stats.bytes += response->body_len;
	if (response->warning[0])
		note_warning(client, response->warning);
	client->address_failed = is_unreached(response->error);
	if (!repeat(call, response))
		finish(call, response);
}

/* Without an answer of anybody: the same form. */
static void fail(struct kube_call *call, enum http_error error, const char *detail)
{
	const struct http_response response = {
		.error = error, .body = "", .warning = "", .detail = detail
	};

	finish(call, &response);
}

/* Headers of one request; the token is cleared by who copied them, and here. */
struct headers {
	const char *line[KUBE_HEADERS_MAX + 4];
	size_t n;
	char *authorization, *accept, *content_type; /* owned */
};

static void headers_clear(struct headers *headers)
{
	if (headers->authorization)
		explicit_bzero(headers->authorization, strlen(headers->authorization));
	free(headers->authorization);
	free(headers->accept);
	free(headers->content_type);
}

static int add_header(struct headers *headers, char **line, const char *name, const char *value)
{
	if (asprintf(line, "%s%s", name, value) < 0) {
		*line = NULL;
		return -ENOMEM;
	}
	headers->line[headers->n++] = *line;
	return 0;
}

static int make_headers(const struct kube_call *call, struct headers *headers)
{
	const struct kube_request *request = &call->request;
	const char *token = call->client->credentials.text[KUBE_FILE_TOKEN];
	int r;

	r = add_header(headers, &headers->accept,
	               "Accept: ", request->accept ?: "application/json");
	if (r == 0 && request->body)
		r = add_header(headers, &headers->content_type,
		               "Content-Type: ", request->content_type ?: "application/json");
	if (r == 0 && token)
		r = add_header(headers, &headers->authorization, "Authorization: Bearer ", token);
	if (r == 0 && call->client->host_header)
		headers->line[headers->n++] = call->client->host_header;
	for (size_t i = 0; i < request->n_headers; i++)
		headers->line[headers->n++] = request->headers[i];
	return r;
}

/* What is left of a request's time when its name is found; never 0, which is no bound. */
static uint64_t left_ns(const struct kube_call *call)
{
	uint64_t spent = clock_now().mono_ns - call->started_ns;

	return spent < call->request.timeout_ns ? call->request.timeout_ns - spent : 1;
}

static int send_request(struct kube_call *call, const char *url, const struct headers *headers)
{
	struct kube_client *client = call->client;
	const struct kube_credentials *credentials = &client->credentials;
	const struct http_trust trust = {
		.authorities = credentials->text[KUBE_FILE_CA],
		.certificate = credentials->text[KUBE_FILE_CERTIFICATE],
		.key = credentials->text[KUBE_FILE_KEY],
	};
	struct http_request request = {
		.method = call->request.method,
		.url = url,
		.headers = headers->line,
		.n_headers = headers->n,
		.body = call->request.body,
		.body_len = call->request.body_len,
		.pin = &client->address,
		.trust = &trust,
		.gzip = true,
		.keep = true,
		.connect_timeout_ns = KUBE_CONNECT_NS,
		.timeout_ns = call->request.stream ? 0 : left_ns(call),
		.body_max = call->request.body_max,
		.opened = call->request.opened ? on_opened : NULL,
		.write = call->request.write ? on_write : NULL,
		.done = on_response,
		.user = call,
	};
	struct client_pool *pool;
	int r = client_pool(client, &pool);

	r = r ?: http_client_start(pool->http, &request, &call->transfer);
	if (r < 0)
		return r;
	call->pool = pool;
	pool->calls++;
	call->generation = credentials->generation;
	client->stats.requests++;
	return 0;
}

static int start_transfer(struct kube_call *call)
{
	cleanup(headers_clear) struct headers headers = { 0 };
	cleanup(mem_freep) char *url = NULL;
	int r;

	if (asprintf(&url, "%s%s", call->client->base, call->request.path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	r = make_headers(call, &headers);
	return r ?: send_request(call, url, &headers);
}

/* The name */

/* The one that worked, so that its connections do, too; else one that did not fail. */
static void choose(struct kube_client *client, const struct dns_answer *answer)
{
	size_t known = answer->n;

	for (size_t i = 0; i < answer->n && client->has_address; i++)
		if (memcmp(&answer->address[i], &client->address, sizeof(client->address)) == 0)
			known = i;
	if (known == answer->n)
		client->address = answer->address[0];
	else if (client->address_failed)
		client->address = answer->address[(known + 1) % answer->n];
	client->has_address = true;
	client->address_failed = false;
}

static void on_resolved(void *user, const struct dns_answer *answer)
{
	struct kube_call *call = user;
	struct kube_client *client = call->client;
	const char *detail = answer->detail;
	bool found = answer->outcome == DNS_FOUND;
	int r;

	if (found)
		choose(client, answer);
	call->query = dns_query_free(call->query);
	/* While no name server answers it is where it was: its certificate will tell. */
	if (!found && !client->has_address) {
		fail(call, HTTP_RESOLVE_FAILED, detail);
		return;
	}
	r = start_transfer(call);
	if (r < 0)
		fail(call, HTTP_LOCAL_ERROR, strerror(-r));
}

static int resolve(struct kube_call *call)
{
	struct dns_servers servers;
	struct dns_request request = {
		.name = call->client->server.host,
		.servers = &servers,
		.timeout_ns = KUBE_RESOLVE_NS,
		.fn = on_resolved,
		.user = call,
	};
	int r;

	if (!call->request.stream && left_ns(call) < request.timeout_ns)
		request.timeout_ns = left_ns(call);
	r = dns_servers_load(RESOLV_CONF, &servers);
	if (r < 0 && call->client->has_address)
		return start_transfer(call);
	return r ?: dns_query_new(call->client->loop, &request, &call->query);
}

static int begin(struct kube_call *call)
{
	return call->client->server.has_address ? start_transfer(call) : resolve(call);
}

static int copy_text(const char **text)
{
	const char *from = *text;

	*text = from ? strdup(from) : NULL;
	return from && !*text ? -ENOMEM : 0;
}

static int copy_headers(const struct kube_request *from, struct kube_request *to)
{
	char **lines = from->n_headers ? calloc(from->n_headers, sizeof(*lines)) : NULL;

	to->headers = (const char *const *)lines;
	if (from->n_headers && !lines)
		return -ENOMEM;
	for (size_t i = 0; i < from->n_headers; i++) {
		lines[i] = strdup(from->headers[i]);
		if (!lines[i])
			return -ENOMEM;
	}
	return 0;
}

static int copy_request(const struct kube_request *from, struct kube_request *to)
{
	int r = 0;

	*to = *from;
	to->body = NULL;
	/* All of them are copied, or forgotten: none may stay that is the caller's. */
	r |= copy_text(&to->method);
	r |= copy_text(&to->path);
	r |= copy_text(&to->accept);
	r |= copy_text(&to->content_type);
	r |= copy_headers(from, to);
	if (from->body) {
		char *body = malloc(from->body_len + 1);

		if (body) {
			memcpy(body, from->body, from->body_len);
			body[from->body_len] = '\0';
		}
		to->body = body;
		r |= body ? 0 : -ENOMEM;
	}
	if (!to->timeout_ns)
		to->timeout_ns = KUBE_TIMEOUT_NS;
	if (!to->body_max)
		to->body_max = KUBE_STATUS_MAX;
	return r;
}

int kube_client_start(struct kube_client *client, const struct kube_request *request,
                      struct kube_call **out)
{
	cleanup(client_call_freep) struct kube_call *call = calloc(1, sizeof(*call));
	int r;

	if (!call)
		return -ENOMEM;
	if (request->n_headers > KUBE_HEADERS_MAX)
		return -EINVAL;
	call->client = client;
	call->started_ns = clock_now().mono_ns;
	r = copy_request(request, &call->request);
	if (r < 0)
		return r;
	kube_credentials_refresh(&client->credentials, call->started_ns);
	r = begin(call);
	if (r < 0)
		return r;

	call->at = &client->calls;
	call->next = client->calls;
	if (call->next)
		call->next->at = &call->next;
	client->calls = call;
	*out = take_ptr(call);
	return 0;
}
