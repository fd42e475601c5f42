#include "verdict/evidence.h"

#include <errno.h>
#include <string.h>

#include "verdict/judge_parts.h"
#include "verdict/sentence.h"

#define ITEMS_MAX 32 /* per list, before anything is cut for room */
#define MAIN_TABLE 254

void evidence_left_out(const struct evidence *evidence, const char *key, size_t n)
{
	char name[64];

	if (n == 0)
		return;
	sentence_set(name, sizeof(name), "%sLeftOut", key);
	encode_u64(evidence->e, name, n);
}

void evidence_seconds(const struct evidence *evidence, const char *key, uint64_t ns)
{
	encode_double(evidence->e, key, (double)ns / (double)NSEC_PER_SEC);
}

void evidence_cidrs(const struct evidence *evidence, const char *key, const struct cidr *items,
                    size_t n)
{
	size_t shown = n < evidence->limit ? n : evidence->limit;

	encode_array(evidence->e, key);
	for (size_t i = 0; i < shown; i++)
		encode_cidr(evidence->e, NULL, &items[i]);
	encode_array_end(evidence->e);
	evidence_left_out(evidence, key, n - shown);
}

static const char *echo_name(const struct evidence *evidence, uint16_t echo)
{
	return judge_echo_name(evidence->input->settings, echo);
}

static void write_peer(struct encode *e, const struct ip *peer, uint16_t port)
{
	static const struct ip none;

	if (memcmp(peer, &none, sizeof(none)) == 0) {
		encode_null(e, "peer");
		return;
	}
	encode_ip(e, "peer", peer);
	encode_u64(e, "port", port);
}

static void write_witness(const struct evidence *evidence, const struct witness *witness)
{
	struct encode *e = evidence->e;

	encode_object(e, NULL);
	encode_text(e, "echo", echo_name(evidence, witness->echo));
	encode_text(e, "transport", witness->udp ? "udp" : "tcp");
	encode_text(e, "standing", witness_standing_name((enum witness_standing)witness->standing));
	encode_text(e, "outcome", probe_outcome_name((enum probe_outcome)witness->outcome));
	encode_text(e, "phase", probe_phase_name((enum probe_phase)witness->phase));
	write_peer(e, &witness->peer, witness->peer_port);
	if (witness->outcome == PROBE_ANSWERED)
		encode_ip(e, "observed", &witness->observed);
	encode_time(e, "started", witness->started_us);
	encode_time(e, "finished", witness->finished_us);
	encode_object_end(e);
}

void evidence_witnesses(const struct evidence *evidence, const char *key,
                        const struct witness *items, size_t n)
{
	size_t shown = n < evidence->limit ? n : evidence->limit;

	encode_array(evidence->e, key);
	for (size_t i = 0; i < shown; i++)
		write_witness(evidence, &items[i]);
	encode_array_end(evidence->e);
	evidence_left_out(evidence, key, n - shown);
}

static void write_result(const struct evidence *evidence, const struct probe_result *result)
{
	struct encode *e = evidence->e;

	encode_object(e, NULL);
	encode_text(e, "echo", echo_name(evidence, result->echo));
	encode_text(e, "transport", result->udp ? "udp" : "tcp");
	encode_text(e, "outcome", probe_outcome_name(result->outcome));
	encode_text(e, "phase", probe_phase_name(result->phase));
	write_peer(e, &result->peer, result->peer_port);
	if (result->outcome == PROBE_ANSWERED)
		encode_ip(e, "observed", &result->observed);
	if (result->detail[0])
		encode_text(e, "detail", result->detail);
	encode_time(e, "started", result->started.wall_us);
	encode_time(e, "finished", result->finished.wall_us);
	encode_object_end(e);
}

/* Only results that exist. */
void evidence_results(const struct evidence *evidence, const char *key,
                      const struct probe_result *results, size_t n)
{
	size_t shown = 0, left_out = 0;

	encode_array(evidence->e, key);
	for (size_t i = 0; results && i < n; i++) {
		if (!results[i].finished.wall_us)
			continue;
		if (shown == evidence->limit) {
			left_out++;
			continue;
		}
		write_result(evidence, &results[i]);
		shown++;
	}
	encode_array_end(evidence->e);
	evidence_left_out(evidence, key, left_out);
}

void evidence_flow(const struct evidence *evidence, const char *key, const struct flow *flow)
{
	struct encode *e = evidence->e;
	const struct live_link *link = judge_link(evidence->input->subject, flow->key.ifindex);
	char protocol[8];

	encode_object(e, key);
	encode_ip(e, "destination", &flow->key.remote);
	encode_u64(e, "port", flow->key.remote_port);
	encode_text(e, "protocol", flow_protocol_name(flow->key.protocol, protocol));
	encode_text(e, "interface", link ? link->name : NULL);
	encode_u64(e, "ifindex", flow->key.ifindex);
	encode_text(e, "path", path_name((enum path)flow->path));
	encode_u64(e, "packets", flow->packets);
	encode_u64(e, "bytes", flow->bytes);
	encode_u64(e, "connections", flow->connections);
	encode_u64(e, "failed", flow->failed);
	encode_time(e, "first", flow->first.wall_us);
	encode_time(e, "last", flow->last.wall_us);
	encode_object_end(e);
}

static void write_route(const struct evidence *evidence, const struct live_route *route)
{
	struct encode *e = evidence->e;
	const struct live_link *link = judge_link(evidence->input->subject, route->ifindex);

	encode_object(e, NULL);
	encode_cidr(e, "to", &route->dst);
	encode_text(e, "interface", link ? link->name : NULL);
	if (route->has_gateway)
		encode_ip(e, "via", &route->gateway);
	encode_u64(e, "protocol", route->protocol);
	encode_u64(e, "type", route->type);
	if (route->priority)
		encode_u64(e, "metric", route->priority);
	encode_object_end(e);
}

void evidence_routes(const struct evidence *evidence, const char *key)
{
	const struct live *live = &evidence->input->subject->live;
	size_t shown = 0, left_out = 0;

	encode_array(evidence->e, key);
	for (size_t i = 0; i < live->n_routes; i++) {
		if (live->routes[i].table != MAIN_TABLE || !ip_is_v4(&live->routes[i].dst.net))
			continue;
		if (shown == evidence->limit) {
			left_out++;
			continue;
		}
		write_route(evidence, &live->routes[i]);
		shown++;
	}
	encode_array_end(evidence->e);
	evidence_left_out(evidence, key, left_out);
}

static void write_subject(const struct evidence *evidence)
{
	const struct subject *subject = evidence->input->subject;
	struct encode *e = evidence->e;

	encode_object(e, "subject");
	encode_text(e, "namespace", subject->namespace);
	encode_text(e, "pod", subject->pod);
	encode_text(e, "uid", subject->uid);
	if (subject->has_ip)
		encode_ip(e, "ip", &subject->ip);
	encode_bool(e, "hostNetwork", subject->host_network);
	encode_bool(e, "required", subject->required);
	encode_time(e, "started", judge_pod_started_us(subject));
	encode_time(e, "known", subject->since.wall_us);
	encode_text(e, "annotation", subject->gateway_name);
	encode_object_end(e);
}

static void write_gateway(const struct evidence *evidence)
{
	const struct kube_gateway *gateway = evidence->input->subject->gateway;
	struct encode *e = evidence->e;

	if (!gateway) {
		encode_null(e, "gateway");
		return;
	}
	encode_object(e, "gateway");
	encode_text(e, "namespace", gateway->namespace);
	encode_text(e, "name", gateway->name);
	encode_text(e, "defaultRoute",
	            gateway->default_to_gateway ? "staticEgressGateway" : "azureNetworking");
	encode_bool(e, "provisionPublicIps", gateway->provision_public_ips);
	evidence_cidrs(evidence, "allowed", gateway->prefix.items, gateway->prefix.n);
	encode_time(e, "created", gateway->created_us);
	encode_time(e, "deleted", gateway->deleted_us);
	encode_time(e, "changed", evidence->input->subject->gateway_changed_us);
	encode_object_end(e);
}

static void write_all(const struct evidence *evidence, evidence_fn write)
{
	struct encode *e = evidence->e;

	encode_object(e, NULL);
	encode_text(e, "kind", violation_kind_name(evidence->kind));
	encode_time(e, "at", evidence->now->wall_us);
	write_subject(evidence);
	write_gateway(evidence);
	encode_bool(e, "flowsObserved", evidence->input->observing);
	encode_u64(e, "flowEventsLost", evidence->input->events_lost);
	write(evidence);
	encode_object_end(e);
}

/* Names without bound come from a file: then even the empty lists do not fit. */
static int write_too_large(const struct evidence *evidence, struct buf *buf)
{
	struct encode e = ENCODE_INIT(buf);

	buf_reset(buf);
	encode_object(&e, NULL);
	encode_text(&e, "kind", violation_kind_name(evidence->kind));
	encode_time(&e, "at", evidence->now->wall_us);
	encode_bool(&e, "tooLarge", true);
	encode_object_end(&e);
	return buf->error;
}

int evidence_build(const struct evidence *evidence, evidence_fn write, char **out)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(EVIDENCE_MAX);
	int r = -EOVERFLOW;

	for (size_t limit = ITEMS_MAX; r == -EOVERFLOW; limit /= 2) {
		struct encode e = ENCODE_INIT(&buf);
		struct evidence attempt = *evidence;

		buf_reset(&buf);
		attempt.e = &e;
		attempt.limit = limit;
		write_all(&attempt, write);
		r = buf.error;
		if (limit == 0)
			break;
	}
	if (r == -EOVERFLOW)
		r = write_too_large(evidence, &buf);
	if (r < 0)
		return r;

	*out = take_ptr(buf.data);
	return 0;
}
