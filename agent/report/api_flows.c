#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/report_parts.h"

/* Big-endian fields in the order in which flows are listed: comparing bytes compares flows. */
struct rank {
	uint8_t bytes[32];
};

static void put(struct rank *rank, size_t at, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		rank->bytes[at + i] = (uint8_t)(value >> 8 * (n - 1 - i));
}

/* Flows that took a way they must not come first: a long list must not hide them. */
static struct rank rank_of(const struct flow *flow)
{
	const struct flow_key *key = &flow->key;
	struct rank rank = { 0 };

	put(&rank, 0, !flow->offending, 1);
	put(&rank, 1, key->subject, 4);
	memcpy(rank.bytes + 5, key->remote.b, 16);
	put(&rank, 21, key->remote_port, 2);
	put(&rank, 23, key->local_port, 2);
	put(&rank, 25, key->protocol, 1);
	put(&rank, 26, key->origin, 1);
	put(&rank, 27, key->ifindex, 4);
	return rank;
}

static int compare(const struct rank *a, const struct rank *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static void to_key(const struct rank *rank, char key[static LIST_KEY_MAX])
{
	for (size_t i = 0; i < sizeof(rank->bytes); i++)
		snprintf(key + 2 * i, 3, "%02x", rank->bytes[i]);
}

static int from_key(const char *key, struct rank *out)
{
	struct rank rank;
	char again[LIST_KEY_MAX];
	unsigned int byte;

	for (size_t i = 0; i < sizeof(rank.bytes); i++) {
		if (sscanf(key + 2 * i, "%2x", &byte) != 1)
			return -EINVAL;
		rank.bytes[i] = (uint8_t)byte;
	}
	to_key(&rank, again);
	if (strcmp(again, key) != 0)
		return -EINVAL;

	*out = rank;
	return 0;
}

struct item {
	struct rank rank;
	const struct flow *flow;
};

/*
 * A page is the first flows past the token. They are picked in one pass with a
 * heap of one page's size whose root is the last of them, because sorting all
 * flows for every page would hold the loop up.
 */
struct picker {
	struct item *heap;
	size_t n, max;
	bool more;
	bool any_path, has_after;
	enum path path;
	struct rank after;
};

static void sift_up(struct item *heap, size_t i)
{
	while (i > 0 && compare(&heap[i].rank, &heap[(i - 1) / 2].rank) > 0) {
		struct item swap = heap[i];

		heap[i] = heap[(i - 1) / 2];
		heap[(i - 1) / 2] = swap;
		i = (i - 1) / 2;
	}
}

static void sift_down(struct item *heap, size_t n)
{
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		struct item swap = heap[i];

		if (child + 1 < n && compare(&heap[child + 1].rank, &heap[child].rank) > 0)
			child++;
		if (child >= n || compare(&heap[child].rank, &heap[i].rank) <= 0)
			return;
		heap[i] = heap[child];
		heap[child] = swap;
		i = child;
	}
}

static int pick(void *user, struct flow *flow)
{
	struct picker *picker = user;
	struct item item = { rank_of(flow), flow };

	if (!picker->any_path && flow->path != picker->path)
		return 0;
	if (picker->n == picker->max && compare(&item.rank, &picker->heap[0].rank) >= 0) {
		picker->more = true;
		return 0;
	}
	if (picker->has_after && compare(&item.rank, &picker->after) <= 0)
		return 0;
	if (picker->n < picker->max) {
		picker->heap[picker->n] = item;
		sift_up(picker->heap, picker->n++);
		return 0;
	}
	picker->more = true;
	picker->heap[0] = item;
	sift_down(picker->heap, picker->n);
	return 0;
}

static int by_rank(const void *a, const void *b)
{
	return compare(&((const struct item *)a)->rank, &((const struct item *)b)->rank);
}

static void write_flow(struct call *call, const struct flow *flow)
{
	const struct report_sources *s = call->sources;
	const struct subject *subject = s->subject(s->user, flow->key.subject);
	const struct live_link *link = NULL;
	struct encode *e = &call->e;
	char protocol[8];

	encode_object(e, NULL);
	if (subject) {
		link = live_link_find(&subject->live, flow->key.ifindex);
		write_subject_name(e, "subject", subject->namespace, subject->pod, subject->uid);
	} else {
		encode_null(e, "subject");
	}
	encode_text(e, "protocol", flow_protocol_name(flow->key.protocol, protocol));
	encode_ip(e, "destination", &flow->key.remote);
	encode_u64(e, "port", flow->key.remote_port);
	encode_u64(e, "localPort", flow->key.local_port);
	encode_text(e, "origin", flow_origin_name((enum flow_origin)flow->key.origin));
	encode_text(e, "interface", link ? link->name : NULL);
	encode_text(e, "path", path_name((enum path)flow->path));
	encode_bool(e, "offending", flow->offending);
	encode_u64(e, "packets", flow->packets);
	encode_u64(e, "bytes", flow->bytes);
	encode_u64(e, "connections", flow->connections);
	encode_u64(e, "failed", flow->failed);
	encode_time(e, "firstSeen", flow->first.wall_us);
	encode_time(e, "lastSeen", flow->last.wall_us);
	encode_object_end(e);
}

static bool read_path(struct call *call, struct picker *picker)
{
	const char *path = http_server_param(call->request, "path");

	picker->any_path = !path;
	for (size_t i = 0; path && i < _PATH_MAX; i++) {
		if (i != PATH_UNKNOWN && strcmp(path, path_name((enum path)i)) == 0) {
			picker->path = (enum path)i;
			return true;
		}
	}
	if (path)
		call_problem(call, 400, "path: expected gateway, direct, cluster or reply");
	return !path;
}

int route_flows(struct call *call)
{
	const struct report_sources *s = call->sources;
	cleanup(mem_freep) struct item *heap = NULL;
	const struct subject *subject = NULL;
	struct picker picker = { 0 };
	char key[LIST_KEY_MAX];
	struct list list;

	if (!list_begin(call, &list) || !read_path(call, &picker))
		return 0;
	if (http_server_param(call->request, "pod")) {
		subject = call_subject(call, "pod");
		if (!subject)
			return 0;
	}
	picker.has_after = list.after[0] != '\0';
	if (picker.has_after && from_key(list.after, &picker.after) < 0)
		return call_problem(call, 400, "continue: expected a token from /v1/flows");
	heap = malloc(list.limit * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	picker.heap = heap;
	picker.max = list.limit;
	s->flows(s->user, subject ? subject->number : UINT32_MAX, pick, &picker);
	qsort(heap, picker.n, sizeof(*heap), by_rank);

	list_open(call);
	for (size_t i = 0; i < picker.n; i++) {
		to_key(&heap[i].rank, key);
		if (list_takes(&list, key))
			write_flow(call, heap[i].flow);
	}
	list.more = picker.more;
	list_close(call, &list);
	return 0;
}
