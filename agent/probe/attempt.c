#include "probe/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "io/heap.h"
#include "probe/answer.h"

/* RFC 8489, 6.2.1 has an initial RTO of 500 ms; two more copies fit any sensible timeout. */
#define STUN_RETRANSMIT_NS (500 * NSEC_PER_MSEC)
#define STUN_RETRANSMITS 2

/* Results */

/* What an echo said instead of an address: its first bytes, printable. */
static void quote_body(struct probe_result *result, const char *body, size_t len)
{
	char text[72];

	snprintf(text, sizeof(text), "\"%.*s%s\"", (int)(len < 60 ? len : 60), body,
	         len < 60 ? "" : "...");
	probe_result_set_detail(result, text);
}

static uint32_t elapsed_us(const struct probe_result *result, const struct moment *now)
{
	uint64_t us = (now->mono_ns - result->started.mono_ns) / NSEC_PER_USEC;

	return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static bool timed_out(enum probe_outcome outcome)
{
	return outcome == PROBE_RESOLVE_TIMEOUT || outcome == PROBE_CONNECT_TIMEOUT ||
	       outcome == PROBE_TIMEOUT;
}

/* The one way out: whoever is called may free the attempt. */
static void finish(struct attempt *attempt, enum probe_outcome outcome, enum probe_phase phase)
{
	struct probe_result *result = &attempt->result;
	uint32_t before = 0, total;

	/* A library that found no memory waits for a time-out, of this step or of the next. */
	if (timed_out(outcome) && attempt->heap_failures != heap_failures()) {
		outcome = PROBE_LOCAL_ERROR;
		probe_result_set_detail(result, strerror(ENOMEM));
	}
	result->outcome = outcome;
	result->phase = phase;
	result->finished = clock_now();
	total = elapsed_us(result, &result->finished);
	result->phase_us[PROBE_TOTAL] = total;

	/* The phase it ended in took what the ones before it left. */
	for (int i = 0; i < (int)phase; i++)
		before += result->phase_us[i];
	if (phase < PROBE_TOTAL && total > before)
		result->phase_us[phase] = total - before;

	attempt->done(attempt);
}

static uint64_t left_ns(const struct attempt *attempt)
{
	uint64_t spent = clock_now().mono_ns - attempt->result.started.mono_ns;

	/* Never 0, which the clients take for no bound. */
	return spent < attempt->env->timeout_ns ? attempt->env->timeout_ns - spent : 1;
}

/* HTTP */

static enum probe_outcome outcome_of_error(enum http_error error)
{
	static const enum probe_outcome outcomes[] = {
		[HTTP_OK] = PROBE_ANSWERED,
		[HTTP_BAD_URL] = PROBE_LOCAL_ERROR,
		[HTTP_RESOLVE_FAILED] = PROBE_RESOLVE_FAILED,
		[HTTP_CONNECT_REFUSED] = PROBE_CONNECT_REFUSED,
		[HTTP_CONNECT_TIMEOUT] = PROBE_CONNECT_TIMEOUT,
		[HTTP_UNREACHABLE] = PROBE_UNREACHABLE,
		[HTTP_TLS_FAILED] = PROBE_TLS_FAILED,
		[HTTP_TLS_VERIFY] = PROBE_TLS_VERIFY,
		[HTTP_TIMEOUT] = PROBE_TIMEOUT,
		[HTTP_RESET] = PROBE_RESET,
		[HTTP_PROTOCOL] = PROBE_UNPARSEABLE,
		[HTTP_TOO_LARGE] = PROBE_TOO_LARGE,
		[HTTP_ABORTED] = PROBE_LOCAL_ERROR,
		[HTTP_LOCAL_ERROR] = PROBE_LOCAL_ERROR,
	};

	return outcomes[error];
}

static enum probe_phase phase_of(const struct http_response *response, bool tls)
{
	if (!response->connected)
		return PROBE_CONNECT;
	if (tls && !response->secured)
		return PROBE_TLS;
	return response->first_byte ? PROBE_TOTAL : PROBE_FIRST_BYTE;
}

/* A final status says more than what then became of the body. */
static bool refused_by_status(uint16_t status, enum probe_outcome *outcome)
{
	if (status < 200 || status == 200)
		return false;
	if (status == 429)
		*outcome = PROBE_RATE_LIMITED;
	else if (status >= 300 && status < 400)
		*outcome = PROBE_REDIRECT;
	else
		*outcome = PROBE_HTTP_STATUS;
	return true;
}

static enum probe_outcome judge_response(struct attempt *attempt,
                                         const struct http_response *response)
{
	const struct answer_format format = { .json = attempt->target->json,
		                              .key = attempt->target->key };
	struct probe_result *result = &attempt->result;
	enum probe_outcome outcome;

	if (refused_by_status(response->status, &outcome)) {
		if (outcome == PROBE_RATE_LIMITED)
			result->retry_after_s = response->retry_after_s;
		return outcome;
	}
	if (response->error != HTTP_OK) {
		probe_result_set_detail(result, response->detail[0]
		                                        ? response->detail
		                                        : http_error_text(response->error));
		return outcome_of_error(response->error);
	}

	outcome = answer_parse(&format, response->body, response->body_len, &result->observed);
	if (outcome != PROBE_ANSWERED)
		quote_body(result, response->body, response->body_len);
	return outcome;
}

static void on_response(void *user, const struct http_response *response)
{
	struct attempt *attempt = user;
	struct probe_result *result = &attempt->result;

	attempt->transfer = NULL;
	result->http_status = response->status;
	result->phase_us[PROBE_CONNECT] = response->connect_us;
	result->phase_us[PROBE_TLS] = response->tls_us;
	result->phase_us[PROBE_FIRST_BYTE] = response->first_byte_us;
	finish(attempt, judge_response(attempt, response),
	       phase_of(response, attempt->target->url.tls));
}

static int ask_http(struct attempt *attempt)
{
	struct http_request request = {
		.url = attempt->target->text,
		.pin = &attempt->result.peer,
		.opener = &attempt->opener,
		.timeout_ns = left_ns(attempt),
		.header_max = ECHO_HEADERS_MAX,
		.body_max = ECHO_BODY_MAX,
		.fresh = true,
		.sessions = attempt->sessions,
		.done = on_response,
		.user = attempt,
	};

	return http_client_start(attempt->env->http, &request, &attempt->transfer);
}

/* STUN */

static bool on_datagram(void *user, const uint8_t *data, size_t len)
{
	struct attempt *attempt = user;

	return stun_decode_response(data, len, &attempt->id, &attempt->result.outcome,
	                            &attempt->result.observed) == 0;
}

static void on_exchange(void *user, enum udp_outcome outcome, int error)
{
	static const enum probe_outcome outcomes[] = {
		[UDP_TIMEOUT] = PROBE_TIMEOUT,
		[UDP_REFUSED] = PROBE_CONNECT_REFUSED,
		[UDP_UNREACHABLE] = PROBE_UNREACHABLE,
		[UDP_LOCAL_ERROR] = PROBE_LOCAL_ERROR,
	};
	struct attempt *attempt = user;

	if (outcome == UDP_ANSWERED) {
		/* The answer is one datagram: its first byte is its last. */
		attempt->result.phase_us[PROBE_FIRST_BYTE] =
			elapsed_us(&attempt->result, &(struct moment){ clock_now().mono_ns, 0 }) -
			attempt->result.phase_us[PROBE_RESOLVE];
		finish(attempt, attempt->result.outcome, PROBE_TOTAL);
		return;
	}
	if (outcome != UDP_TIMEOUT)
		probe_result_set_detail(&attempt->result, strerror(error));
	finish(attempt, outcomes[outcome],
	       outcome == UDP_TIMEOUT ? PROBE_FIRST_BYTE : PROBE_CONNECT);
}

static int ask_stun(struct attempt *attempt)
{
	uint8_t message[STUN_HEADER_LEN];
	struct udp_request request = {
		.peer = attempt->result.peer,
		.port = attempt->result.peer_port,
		.data = message,
		.len = sizeof(message),
		.timeout_ns = left_ns(attempt),
		.retransmit_ns = STUN_RETRANSMIT_NS,
		.retransmits = STUN_RETRANSMITS,
		.opener = &attempt->opener,
		.accept = on_datagram,
		.done = on_exchange,
		.user = attempt,
	};

	/* Unguessable, so that only who sees the request can answer it. */
	if (getrandom(&attempt->id, sizeof(attempt->id), GRND_NONBLOCK) != sizeof(attempt->id))
		return -EAGAIN;
	stun_encode_request(&attempt->id, message);
	return udp_exchange_new(attempt->env->loop, &request, &attempt->exchange);
}

/* Resolving */

static void fail_locally(struct attempt *attempt, int error, enum probe_phase phase)
{
	probe_result_set_detail(&attempt->result, strerror(-error));
	finish(attempt, PROBE_LOCAL_ERROR, phase);
}

static void ask(struct attempt *attempt, const struct ip *address)
{
	int r;

	attempt->result.peer = *address;
	r = attempt->target->udp ? ask_stun(attempt) : ask_http(attempt);
	if (r < 0)
		fail_locally(attempt, r, PROBE_CONNECT);
}

/*
 * An answer of a pod's resolver must not lead a probe to what only that
 * namespace can reach: loopback, link-local (169.254.169.254), multicast.
 */
static const struct ip *choose(const struct dns_answer *answer)
{
	for (size_t i = 0; i < answer->n; i++)
		if (answer_plausible(&answer->address[i]))
			return &answer->address[i];
	return NULL;
}

static enum probe_outcome outcome_of_resolve(enum dns_outcome outcome)
{
	if (outcome == DNS_LOCAL_ERROR)
		return PROBE_LOCAL_ERROR;
	return outcome == DNS_TIMEOUT ? PROBE_RESOLVE_TIMEOUT : PROBE_RESOLVE_FAILED;
}

static void on_resolved(void *user, const struct dns_answer *answer)
{
	struct attempt *attempt = user;
	const struct ip *address = choose(answer);
	struct moment now = clock_now();

	attempt->result.phase_us[PROBE_RESOLVE] = elapsed_us(&attempt->result, &now);
	if (answer->outcome != DNS_FOUND) {
		probe_result_set_detail(&attempt->result, answer->detail);
		finish(attempt, outcome_of_resolve(answer->outcome), PROBE_RESOLVE);
		return;
	}
	if (!address) {
		probe_result_set_detail(&attempt->result,
		                        "the name has only addresses that no echo can have");
		finish(attempt, PROBE_RESOLVE_FAILED, PROBE_RESOLVE);
		return;
	}
	ask(attempt, address);
}

static bool is_loopback(const struct ip *ip)
{
	static const struct ip none, v6 = { { [15] = 1 } };

	if (ip_is_v4(ip))
		return ip->b[12] == 127 || ip->b[12] == 0;
	return memcmp(ip, &v6, sizeof(v6)) == 0 || memcmp(ip, &none, sizeof(none)) == 0;
}

/* Those of the file that a pod reaches as the node does. */
static int load_reachable(const char *path, struct dns_servers *out)
{
	struct dns_servers all, kept = { 0 };
	int r = dns_servers_load(path, &all);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++)
		if (!is_loopback(&all.address[i]))
			kept.address[kept.n++] = all.address[i];
	if (kept.n == 0)
		return -EADDRNOTAVAIL;

	*out = kept;
	return 0;
}

/*
 * Loopback in a pod's namespace is the pod: it would not have the node's
 * resolver there, or one of its own that tells where the echo is. Where the
 * node's is systemd-resolved on loopback, its other file names the real ones,
 * as for the kubelet.
 */
static int load_servers(const struct attempt *attempt, struct dns_servers *out)
{
	const struct attempt_env *env = attempt->env;
	int r;

	if (!attempt->opener.open)
		return dns_servers_load(env->resolv_conf, out);
	r = load_reachable(env->resolv_conf, out);
	if (r == -EADDRNOTAVAIL && env->resolv_conf_behind &&
	    load_reachable(env->resolv_conf_behind, out) == 0)
		r = 0;
	return r;
}

static void resolve(struct attempt *attempt)
{
	struct dns_servers servers;
	struct dns_request request = {
		.name = attempt->target->url.host,
		.servers = &servers,
		.opener = &attempt->opener,
		.timeout_ns = attempt->env->timeout_ns,
		.fn = on_resolved,
		.user = attempt,
	};
	int r;

	/* Read each time: it is small, it changes, and a query costs far more. */
	r = load_servers(attempt, &servers);
	if (r == -EADDRNOTAVAIL) {
		probe_result_set_detail(&attempt->result,
		                        "every name server is on loopback, where pods have none");
		finish(attempt, PROBE_LOCAL_ERROR, PROBE_RESOLVE);
		return;
	}
	if (r == 0)
		r = dns_query_new(attempt->env->loop, &request, &attempt->query);
	if (r < 0)
		fail_locally(attempt, r, PROBE_RESOLVE);
}

void attempt_begin(struct attempt *attempt)
{
	attempt->result.started = clock_now();
	attempt->heap_failures = heap_failures();
	if (attempt->target->fixed)
		ask(attempt, &attempt->target->address);
	else
		resolve(attempt);
}

void attempt_clear(struct attempt *attempt)
{
	attempt->query = dns_query_free(attempt->query);
	attempt->exchange = udp_exchange_free(attempt->exchange);
	if (attempt->transfer)
		http_transfer_cancel(take_ptr(attempt->transfer));
}
