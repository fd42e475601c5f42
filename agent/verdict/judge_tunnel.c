/*
 * The pod's WireGuard link against the objects, and against what it carries.
 */
#include "verdict/judge_parts.h"

#include <string.h>

#include "verdict/remedy.h"
#include "verdict/sentence.h"

#define V4_BITS 96
#define KEY_TEXT_MAX 45 /* base64 of 32 bytes and NUL */
/*
 * drivers/net/wireguard/messages.h: REJECT_AFTER_TIME, after which no key is
 * left, and three times REKEY_TIMEOUT, within which an answer to a handshake or
 * (KEEPALIVE_TIMEOUT, 10 s) to data must have come.
 */
#define REJECT_AFTER_NS (180 * NSEC_PER_SEC)
#define UNANSWERED_NS (15 * NSEC_PER_SEC)

enum tunnel_fault {
	TUNNEL_GOOD,
	TUNNEL_NO_PEER,
	TUNNEL_WRONG_KEY,
	TUNNEL_WRONG_ENDPOINT,
	TUNNEL_NARROW,    /* allowed-ips lack 0.0.0.0/0 */
	TUNNEL_NO_SHAKE,  /* never a handshake */
	TUNNEL_NO_ANSWER, /* sends, and nothing returns */
};

static bool is_judged(const struct subject *subject)
{
	return subject->gateway && !subject->gateway->deleted_us && !subject->host_network &&
	       subject->live.readable && subject->live.tunnel_ifindex &&
	       subject->live.tunnel.readable;
}

/* The peer that the object means; else whichever there is. */
static const struct live_peer *find_peer(const struct subject *subject)
{
	const struct live_tunnel *tunnel = &subject->live.tunnel;

	for (size_t i = 0; subject->gateway->has_server_key && i < tunnel->n_peers; i++)
		if (memcmp(tunnel->peers[i].key, subject->gateway->server_key,
		           sizeof(tunnel->peers[i].key)) == 0)
			return &tunnel->peers[i];
	return tunnel->n_peers ? &tunnel->peers[0] : NULL;
}

/* Whole, or in two halves. */
static bool allows_everything(const struct live_peer *peer)
{
	unsigned int halves = 0;

	for (size_t i = 0; i < peer->n_allowed; i++) {
		const struct cidr *cidr = &peer->allowed[i];

		if (!ip_is_v4(&cidr->net))
			continue;
		if (cidr->len == V4_BITS)
			return true;
		if (cidr->len == V4_BITS + 1)
			halves |= cidr->net.b[12] & 0x80 ? 2 : 1;
	}
	return halves == 3;
}

static bool same_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/*
 * The balancer's address, or one of the nodes behind it: when a gateway node
 * hears nothing for 15 s it starts a session itself, from an address of its own
 * (drivers/net/wireguard/timers.c, wg_expired_new_handshake(): "We clear the
 * endpoint address src address, in case this is the cause of trouble"), and the
 * pod's endpoint follows whoever proves to have the key.
 */
static bool right_endpoint(const struct judge_input *input, const struct live_peer *peer)
{
	const struct kube_gateway *gateway = input->subject->gateway;
	const struct kube_gateway_vm *nodes = input->gateway_nodes;

	if (!peer->has_endpoint || peer->endpoint_port != gateway->server_port)
		return false;
	if (same_ip(&peer->endpoint, &gateway->server_ip))
		return true;
	for (size_t i = 0; nodes && i < nodes->n_profiles; i++)
		if (same_ip(&peer->endpoint, &nodes->profiles[i].primary))
			return true;
	return false;
}

static enum tunnel_fault fault_of_settings(const struct judge_input *input)
{
	const struct subject *subject = input->subject;
	const struct kube_gateway *gateway = subject->gateway;
	const struct live_peer *peer = find_peer(subject);

	if (!peer)
		return subject->live.truncated ? TUNNEL_GOOD : TUNNEL_NO_PEER;
	if (gateway->has_server_key &&
	    memcmp(peer->key, gateway->server_key, sizeof(peer->key)) != 0)
		return subject->live.truncated ? TUNNEL_GOOD : TUNNEL_WRONG_KEY;
	if (gateway->has_server && !right_endpoint(input, peer))
		return TUNNEL_WRONG_ENDPOINT;
	if (!subject->live.truncated && !allows_everything(peer))
		return TUNNEL_NARROW;
	return TUNNEL_GOOD;
}

/*
 * Never by the age of the handshake alone: an idle tunnel's may be an hour old.
 * A reading between the first packet after a pause and its answer must not
 * count either, hence the time without answer.
 */
static enum tunnel_fault fault_of_traffic(const struct judge_record *record,
                                          const struct subject *subject, const struct moment *now)
{
	const struct live_peer *peer = find_peer(subject);

	if (!peer || !record->tunnel_unanswered.wall_us ||
	    judge_age(&subject->live.tunnel.read_at, &record->tunnel_unanswered) <= UNANSWERED_NS)
		return TUNNEL_GOOD;
	if (!peer->handshake_us)
		return record->silent_rounds ? TUNNEL_NO_SHAKE : TUNNEL_GOOD;
	return judge_wall_age(now, peer->handshake_us) > REJECT_AFTER_NS ? TUNNEL_NO_ANSWER
	                                                                 : TUNNEL_GOOD;
}

static void track_presence(struct judge_record *record, const struct subject *subject,
                           const struct moment *now)
{
	if (subject->live.readable && !subject->live.tunnel_ifindex)
		record->untunneled = *now;
	if (!judge_live_complete(subject))
		return;
	if (subject->live.tunnel_ifindex) {
		record->tunnel_seen = true;
		record->tunnel_missing_since = (struct moment){ 0 };
	} else if (!record->tunnel_missing_since.wall_us) {
		record->tunnel_missing_since = subject->live.read_at;
	}
}

/* Counters start again with a new peer or link: then they are below what was seen. */
static void track_traffic(struct judge_record *record, const struct subject *subject,
                          const struct live_peer *peer)
{
	const struct moment *read_at = &subject->live.tunnel.read_at;

	if (!record->tunnel_known || peer->rx_bytes != record->tunnel_rx ||
	    peer->tx_bytes < record->tunnel_tx) {
		bool never = !record->tunnel_known && peer->rx_bytes == 0 && peer->tx_bytes > 0;

		record->tunnel_known = true;
		record->tunnel_rx = peer->rx_bytes;
		record->tunnel_tx = peer->tx_bytes;
		record->tunnel_rx_changed = *read_at;
		record->tunnel_unanswered = never ? *read_at : (struct moment){ 0 };
	} else if (peer->tx_bytes > record->tunnel_tx && !record->tunnel_unanswered.wall_us) {
		record->tunnel_unanswered = *read_at;
	}
}

void judge_track_tunnel(struct judge_record *record, const struct judge_input *input,
                        const struct moment *now)
{
	const struct subject *subject = input->subject;
	const struct live_peer *peer;

	track_presence(record, subject, now);
	if (!is_judged(subject)) {
		record->tunnel_known = false;
		record->tunnel_unanswered = record->tunnel_bad_since = (struct moment){ 0 };
		return;
	}
	peer = find_peer(subject);
	if (peer)
		track_traffic(record, subject, peer);

	if (fault_of_settings(input) == TUNNEL_GOOD)
		record->tunnel_bad_since = (struct moment){ 0 };
	else if (!record->tunnel_bad_since.wall_us)
		record->tunnel_bad_since = subject->live.tunnel.read_at;
}

/* RFC 4648, as wg(8) shows keys. */
static const char *key_format(const uint8_t key[32], char out[static KEY_TEXT_MAX])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *p = out;

	for (size_t i = 0; i < 33; i += 3) {
		uint32_t v = (uint32_t)key[i] << 16 | (uint32_t)key[i + 1] << 8 |
		             (i + 2 < 32 ? key[i + 2] : 0);

		for (int shift = 18; shift >= 0; shift -= 6)
			*p++ = digits[v >> shift & 63];
	}
	p[-1] = '=';
	*p = '\0';
	return out;
}

static void write_expected(const struct evidence *evidence)
{
	const struct kube_gateway *gateway = evidence->input->subject->gateway;
	struct encode *e = evidence->e;
	char key[KEY_TEXT_MAX];

	encode_object(e, "expected");
	if (gateway->has_server_key)
		encode_text(e, "key", key_format(gateway->server_key, key));
	if (gateway->has_server) {
		encode_ip(e, "endpoint", &gateway->server_ip);
		encode_u64(e, "port", gateway->server_port);
	}
	encode_object_end(e);
}

static void write_peers(const struct evidence *evidence)
{
	const struct live_tunnel *tunnel = &evidence->input->subject->live.tunnel;
	size_t shown = tunnel->n_peers < evidence->limit ? tunnel->n_peers : evidence->limit;
	struct encode *e = evidence->e;
	char key[KEY_TEXT_MAX];

	encode_array(e, "peers");
	for (size_t i = 0; i < shown; i++) {
		const struct live_peer *peer = &tunnel->peers[i];

		encode_object(e, NULL);
		encode_text(e, "key", key_format(peer->key, key));
		if (peer->has_endpoint) {
			encode_ip(e, "endpoint", &peer->endpoint);
			encode_u64(e, "port", peer->endpoint_port);
		}
		evidence_cidrs(evidence, "allowed", peer->allowed, peer->n_allowed);
		encode_time(e, "handshake", peer->handshake_us);
		encode_u64(e, "received", peer->rx_bytes);
		encode_u64(e, "sent", peer->tx_bytes);
		encode_object_end(e);
	}
	encode_array_end(e);
	evidence_left_out(evidence, "peers", tunnel->n_peers - shown);
}

static void write_tunnel(const struct evidence *evidence)
{
	const struct judge_record *record = evidence->record;
	const enum tunnel_fault *fault = evidence->user;
	const char *phase = *fault == TUNNEL_NO_SHAKE    ? "handshake"
	                    : *fault == TUNNEL_NO_ANSWER ? "transport"
	                                                 : "configuration";

	encode_text(evidence->e, "phase", phase);
	write_expected(evidence);
	write_peers(evidence);
	encode_u64(evidence->e, "receivedBefore", record->tunnel_rx);
	encode_u64(evidence->e, "sentBefore", record->tunnel_tx);
	encode_time(evidence->e, "receivedChanged", record->tunnel_rx_changed.wall_us);
	encode_time(evidence->e, "unansweredSince", record->tunnel_unanswered.wall_us);
	encode_time(evidence->e, "tunnelReadAt",
	            evidence->input->subject->live.tunnel.read_at.wall_us);
	encode_u64(evidence->e, "silentRounds", record->silent_rounds);
	evidence_seconds(evidence, "unansweredSeconds", UNANSWERED_NS);
	evidence_seconds(evidence, "rejectAfterSeconds", REJECT_AFTER_NS);
}

static void describe_settings(const struct subject *subject, enum tunnel_fault fault,
                              char reason[static REASON_MAX])
{
	const struct live_peer *peer = find_peer(subject);
	char is[KEY_TEXT_MAX], must[KEY_TEXT_MAX], from[IP_TEXT_MAX], to[IP_TEXT_MAX];

	if (fault == TUNNEL_NO_PEER || !peer) {
		sentence_set(reason, REASON_MAX, "the tunnel has no peer");
	} else if (fault == TUNNEL_WRONG_KEY) {
		sentence_set(reason, REASON_MAX,
		             "the tunnel's peer key is %s, but the gateway's is %s",
		             key_format(peer->key, is),
		             key_format(subject->gateway->server_key, must));
	} else if (fault == TUNNEL_WRONG_ENDPOINT && peer->has_endpoint) {
		sentence_set(reason, REASON_MAX,
		             "the tunnel's endpoint is %s port %u, but the gateway's is %s port %u",
		             ip_format(&peer->endpoint, from), peer->endpoint_port,
		             ip_format(&subject->gateway->server_ip, to),
		             subject->gateway->server_port);
	} else if (fault == TUNNEL_WRONG_ENDPOINT) {
		sentence_set(reason, REASON_MAX, "the tunnel's peer has no endpoint");
	} else {
		sentence_set(reason, REASON_MAX, "the tunnel's allowed-ips do not hold 0.0.0.0/0");
	}
}

static void describe_traffic(const struct judge_record *record, const struct subject *subject,
                             enum tunnel_fault fault, char reason[static REASON_MAX])
{
	unsigned long long seconds =
		judge_age(&subject->live.tunnel.read_at, &record->tunnel_unanswered) / NSEC_PER_SEC;

	if (fault == TUNNEL_NO_SHAKE)
		sentence_set(reason, REASON_MAX,
		             "the tunnel never completed a handshake (phase handshake); it sends "
		             "since %llu s without any answer",
		             seconds);
	else
		sentence_set(reason, REASON_MAX,
		             "the tunnel sends since %llu s and nothing returns; its newest "
		             "handshake is older than 180 s (phase transport)",
		             seconds);
}

static enum tunnel_fault current_fault(const struct judge_record *record,
                                       const struct judge_input *input, const struct moment *now)
{
	enum tunnel_fault fault;

	if (!is_judged(input->subject) || judge_settling(input, now))
		return TUNNEL_GOOD;
	fault = fault_of_settings(input);
	return fault != TUNNEL_GOOD ? fault : fault_of_traffic(record, input->subject, now);
}

int judge_tunnel(const struct judge_record *record, const struct judge_input *input,
                 const struct moment *now, struct finding *out)
{
	enum tunnel_fault fault = current_fault(record, input, now);
	const struct subject *subject = input->subject;

	if (fault == TUNNEL_GOOD)
		return 0;
	out->count = 1;
	out->last = subject->live.tunnel.read_at;
	if (fault == TUNNEL_NO_SHAKE || fault == TUNNEL_NO_ANSWER) {
		out->first = record->tunnel_unanswered;
		describe_traffic(record, subject, fault, out->reason);
		remedy_of_tunnel(subject, REMEDY_TUNNEL_SILENT, out->remedy);
	} else {
		out->first = record->tunnel_bad_since;
		describe_settings(subject, fault, out->reason);
		remedy_of_tunnel(subject, REMEDY_TUNNEL_STALE, out->remedy);
	}
	return judge_found(record, input, now, out, write_tunnel, &fault);
}
