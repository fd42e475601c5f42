#include "io/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/timer.h"
#include "io/heap.h"
#include "io/http_transfer.h"
#include "io/kick.h"
#include "limits.h"

#define CA_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

/*
 * One descriptor that libcurl waits for. A copy is watched, because libcurl
 * 7.88 closes its own of a connection that failed or timed out before it says
 * that it need not be watched any more.
 */
struct http_socket {
	struct loop_source source;
	struct http_client *client; /* borrowed */
	curl_socket_t fd;           /* libcurl's */
	int watched_fd;             /* owned; a copy */
};

/*
 * Handles for the next transfers. One that once worked without a share has made
 * itself a list of TLS sessions, which libcurl forgets to free when it is given
 * a share (7.88, CURLOPT_SHARE in lib/setopt.c): so each keeps to its kind.
 */
struct http_pool {
	CURL *idle[HTTP_IDLE_HANDLES_MAX];
	size_t n;
};

struct http_client {
	struct loop *loop;
	CURLM *multi;
	struct kick kick;   /* libcurl wants to run at once */
	struct timer timer; /* or later: */
	uint64_t wanted_ns; /* then; UINT64_MAX: never */
	uint64_t armed_ns;  /* the timer goes off then, never after wanted_ns; UINT64_MAX: never */
	char *ca_bundle;
	struct http_transfer *transfers; /* owned; running */
	struct http_pool pools[2];       /* without and with shared sessions */
};

DEFINE_FREEP(struct http_sessions, http_sessions)
DEFINE_FREEP(struct http_client, http_client)

/* The end of a transfer */

/* Back into the pool, without anything of the transfer it served. */
static void keep_handle(struct http_pool *pool, CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_SHARE, NULL); /* curl_easy_reset() leaves it */
	curl_easy_reset(easy);
	if (pool->n < HTTP_IDLE_HANDLES_MAX)
		pool->idle[pool->n++] = easy;
	else
		curl_easy_cleanup(easy);
}

static void unlink_transfer(struct http_transfer *transfer)
{
	if (!transfer->at)
		return;
	curl_multi_remove_handle(transfer->client->multi, transfer->easy);
	curl_easy_setopt(transfer->easy, CURLOPT_SHARE, NULL); /* the sessions may go now */
	*transfer->at = transfer->next;
	if (transfer->next)
		transfer->next->at = transfer->at;
	transfer->at = NULL;
}

static struct http_transfer *transfer_free(struct http_transfer *transfer)
{
	if (!transfer)
		return NULL;

	unlink_transfer(transfer);
	/* libcurl 7.88 takes the next answer for none on a handle that once found no memory. */
	if (transfer->easy && transfer->heap_failures == heap_failures())
		keep_handle(transfer->pool, transfer->easy);
	else
		curl_easy_cleanup(transfer->easy);
	http_transfer_clear(transfer);
	free(transfer);
	return NULL;
}

DEFINE_FREEP(struct http_transfer, transfer)

void http_transfer_cancel(struct http_transfer *transfer)
{
	transfer_free(transfer);
}

static void reap(struct http_client *client)
{
	CURLMsg *message;
	int left;

	/* Asked anew each time: a call may have ended transfers whose message waited. */
	while ((message = curl_multi_info_read(client->multi, &left))) {
		struct http_response response = { 0 };
		struct http_transfer *transfer;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		unlink_transfer(transfer);
		http_transfer_response(transfer, code, &response);
		transfer->done(transfer->user, &response);
		transfer_free(transfer);
	}
}

/* libcurl on the loop */

/* The timer only ever moves to an earlier moment; at its own it looks whether it is time. */
static int arm(struct http_client *client, uint64_t now_ns)
{
	uint64_t delay_ns = client->wanted_ns > now_ns ? client->wanted_ns - now_ns : 0;

	if (client->wanted_ns >= client->armed_ns)
		return 0;
	client->armed_ns = client->wanted_ns;
	return timer_set(&client->timer, delay_ns, 0);
}

/*
 * libcurl does not repeat a moment that it named before. When it finds that the
 * moment has not come, because it counts whole milliseconds, it is asked again.
 * Nor does it always say that there is none any more, once a stream is open.
 */
static uint64_t ask_moment(struct http_client *client, uint64_t now_ns)
{
	long timeout_ms = -1;

	curl_multi_timeout(client->multi, &timeout_ms);
	if (timeout_ms < 0)
		return UINT64_MAX;
	return now_ns + (timeout_ms ? (uint64_t)timeout_ms : 1) * NSEC_PER_MSEC;
}

static int run_timeouts(struct http_client *client, uint64_t now_ns)
{
	uint64_t wanted_ns = client->wanted_ns;
	int running;

	curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	if (client->wanted_ns == wanted_ns && wanted_ns <= now_ns)
		client->wanted_ns = ask_moment(client, now_ns);
	reap(client);
	return arm(client, now_ns);
}

static int on_kick(struct kick *kick)
{
	return run_timeouts(container_of(kick, struct http_client, kick), clock_now().mono_ns);
}

static int on_timer(struct timer *timer)
{
	struct http_client *client = container_of(timer, struct http_client, timer);
	uint64_t now_ns = clock_now().mono_ns;

	client->armed_ns = UINT64_MAX;
	if (now_ns >= client->wanted_ns)
		return run_timeouts(client, now_ns);
	return arm(client, now_ns);
}

static int on_socket(struct loop_source *source, uint32_t events)
{
	const struct http_socket *socket = container_of(source, struct http_socket, source);
	struct http_client *client = socket->client;
	int running, mask;

	mask = (events & EPOLLIN ? CURL_CSELECT_IN : 0) |
	       (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
	       (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
	curl_multi_socket_action(client->multi, socket->fd, mask, &running);
	reap(client);
	return 0;
}

/*
 * Each transfer sets the timer several times and nearly always finishes before
 * it: a later moment, or none, is only noted.
 */
static int set_timer(CURLM *multi, long timeout_ms, void *user)
{
	struct http_client *client = user;
	uint64_t now_ns;

	(void)multi;
	if (timeout_ms < 0) {
		client->wanted_ns = UINT64_MAX;
		return 0;
	}
	now_ns = clock_now().mono_ns;
	client->wanted_ns = now_ns + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	if (timeout_ms > 0)
		return arm(client, now_ns) < 0 ? -1 : 0;
	kick_now(&client->kick);
	return 0;
}

static void remove_socket(struct http_socket *socket)
{
	loop_remove(&socket->source);
	fd_closep(&socket->watched_fd);
	free(socket);
}

/*
 * A callback of libcurl that fails makes the whole client unusable for good.
 * What is not watched runs into its time-out, which then says why.
 */
static void add_socket(struct http_client *client, curl_socket_t fd, uint32_t events)
{
	struct http_socket *socket = heap_calloc(1, sizeof(*socket));

	if (!socket)
		return;
	socket->client = client;
	socket->fd = fd;
	socket->watched_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (socket->watched_fd < 0 ||
	    loop_add(client->loop, &socket->source, socket->watched_fd, events, on_socket) < 0) {
		heap_note_failure();
		remove_socket(socket);
		return;
	}
	curl_multi_assign(client->multi, fd, socket);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
	struct http_socket *socket = known;
	uint32_t events =
		(what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);

	(void)easy;
	if (!socket && what != CURL_POLL_REMOVE)
		add_socket(user, fd, events);
	if (!socket)
		return 0;
	if (what != CURL_POLL_REMOVE)
		return loop_modify(&socket->source, events) < 0 ? -1 : 0;
	remove_socket(socket);
	return 0;
}

int http_client_new(struct loop *loop, const char *ca_bundle, struct http_client **out)
{
	cleanup(http_client_freep) struct http_client *client = NULL;
	int r;

	if (!ca_bundle)
		ca_bundle = getenv("SSL_CERT_FILE");
	if (!ca_bundle)
		ca_bundle = CA_BUNDLE;

	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, heap_malloc, heap_free, heap_realloc,
	                         heap_strdup, heap_calloc) != CURLE_OK)
		return -ENOMEM;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->loop = loop;
	client->timer = (struct timer)TIMER_INIT;
	client->kick = (struct kick)KICK_INIT;
	client->wanted_ns = client->armed_ns = UINT64_MAX;

	client->ca_bundle = strdup(ca_bundle);
	client->multi = curl_multi_init();
	if (!client->ca_bundle || !client->multi)
		return -ENOMEM;
	r = timer_init(&client->timer, loop, on_timer);
	if (r == 0)
		r = kick_init(&client->kick, loop, on_kick);
	if (r < 0)
		return r;

	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);

	*out = take_ptr(client);
	return 0;
}

struct http_client *http_client_free(struct http_client *client)
{
	if (!client)
		return NULL;

	while (client->transfers)
		transfer_free(client->transfers);
	for (size_t i = 0; i < 2; i++)
		while (client->pools[i].n > 0)
			curl_easy_cleanup(client->pools[i].idle[--client->pools[i].n]);
	if (client->multi)
		curl_multi_cleanup(client->multi);
	timer_clear(&client->timer);
	kick_clear(&client->kick);
	free(client->ca_bundle);
	free(client);
	return NULL;
}

int http_sessions_new(struct http_sessions **out)
{
	cleanup(http_sessions_freep) struct http_sessions *sessions = calloc(1, sizeof(*sessions));

	if (!sessions)
		return -ENOMEM;
	sessions->share = curl_share_init();
	if (!sessions->share || curl_share_setopt(sessions->share, CURLSHOPT_SHARE,
	                                          CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
		return -ENOMEM;

	*out = take_ptr(sessions);
	return 0;
}

struct http_sessions *http_sessions_free(struct http_sessions *sessions)
{
	if (!sessions)
		return NULL;
	if (sessions->share)
		curl_share_cleanup(sessions->share);
	free(sessions);
	return NULL;
}

static CURL *take_handle(struct http_pool *pool)
{
	return pool->n > 0 ? pool->idle[--pool->n] : curl_easy_init();
}

int http_client_start(struct http_client *client, const struct http_request *request,
                      struct http_transfer **out)
{
	cleanup(transfer_freep) struct http_transfer *transfer = calloc(1, sizeof(*transfer));
	int r;

	if (!transfer)
		return -ENOMEM;
	transfer->heap_failures = heap_failures();
	transfer->client = client;
	transfer->pool = &client->pools[request->fresh && request->sessions];
	transfer->easy = take_handle(transfer->pool);
	if (!transfer->easy)
		return -ENOMEM;
	r = http_transfer_prepare(transfer, client->ca_bundle, request);
	if (r < 0)
		return r;
	if (curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK)
		return -ENOMEM;

	transfer->at = &client->transfers;
	transfer->next = client->transfers;
	if (transfer->next)
		transfer->next->at = &transfer->next;
	client->transfers = transfer;
	*out = take_ptr(transfer);
	return 0;
}

const char *http_client_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

const char *http_client_tls_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->ssl_version;
}
