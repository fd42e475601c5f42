#include "inventory/live_reader.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/timer.h"
#include "io/netlink.h"
#include "io/wireguard.h"
#include "limits.h"

struct live_reader {
	struct live_reader_options options;
	struct live_reader_stats *stats; /* borrowed */
	struct loop *loop;               /* borrowed */
	struct netlink_watch watch;
	struct timer timer;
	bool everything; /* that is what the timer waits to read; else the tunnel alone */
	struct wireguard_query query;
	uint64_t delay_ns; /* from the next change to its reading */
	uint64_t read_ns;  /* monotonic: when everything was read last */
};

DEFINE_FREEP(struct live_reader, live_reader)

static void live_clearp(struct live *live)
{
	live_clear(live);
}

/* Rows */

struct rows {
	void *data; /* owned by the live configuration that is being read */
	size_t n, max, capacity;
	bool truncated;
};

/* Room for one more; NULL with 0 in *error when the limit is reached. */
static void *rows_add(struct rows *rows, size_t size, int *error)
{
	*error = 0;
	if (rows->n == rows->max) {
		rows->truncated = true;
		return NULL;
	}
	if (rows->n == rows->capacity) {
		size_t capacity = rows->capacity ? rows->capacity * 2 : 8;
		void *data = reallocarray(rows->data, capacity, size);

		if (!data) {
			*error = -ENOMEM;
			return NULL;
		}
		rows->data = data;
		rows->capacity = capacity;
	}
	return (char *)rows->data + size * rows->n++;
}

static void rows_restart(void *user)
{
	struct rows *rows = user;

	rows->n = 0;
	rows->truncated = false;
}

#define ROW(rows, type)                                 \
	int error;                                      \
	type *to = rows_add(rows, sizeof(*to), &error); \
	if (!to)                                        \
	return error < 0 ? error : 1 /* that is enough */

static int add_link(void *user, const union netlink_row *row)
{
	const struct netlink_link *link = &row->link;
	ROW(user, struct live_link);

	*to = (struct live_link){ .ifindex = link->ifindex,
		                  .up = link->up,
		                  .loopback = link->loopback };
	memcpy(to->name, link->name, sizeof(to->name));
	memcpy(to->kind, link->kind, sizeof(to->kind));
	memcpy(to->alias, link->alias, sizeof(to->alias));
	return 0;
}

static int add_address(void *user, const union netlink_row *row)
{
	const struct netlink_address *address = &row->address;
	ROW(user, struct live_address);

	*to = (struct live_address){ address->ifindex, address->ip, address->len };
	return 0;
}

static int add_route(void *user, const union netlink_row *row)
{
	const struct netlink_route *route = &row->route;
	ROW(user, struct live_route);

	*to = (struct live_route){
		.dst = route->dst,
		.ipv6 = route->ipv6,
		.table = route->table,
		.ifindex = route->ifindex,
		.gateway = route->gateway,
		.has_gateway = route->has_gateway,
		.type = route->type,
		.protocol = route->protocol,
		.scope = route->scope,
		.priority = route->priority,
	};
	return 0;
}

static int add_rule(void *user, const union netlink_row *row)
{
	const struct netlink_rule *rule = &row->rule;
	ROW(user, struct live_rule);

	*to = (struct live_rule){
		.priority = rule->priority,
		.table = rule->table,
		.mark = rule->mark,
		.mask = rule->mask,
		.src = rule->src,
		.dst = rule->dst,
		.has_src = rule->has_src,
		.has_dst = rule->has_dst,
		.invert = rule->invert,
		.other = rule->other,
		.ipv6 = rule->ipv6,
		.suppress = rule->suppress,
		.suppress_len = rule->suppress_len,
		.action = rule->action,
	};
	return 0;
}

static int read_list(struct netlink *netlink, enum netlink_list list,
                     int (*add)(void *user, const union netlink_row *row), size_t max, void **data,
                     size_t *n, bool *truncated)
{
	struct rows rows = { .max = max };
	struct netlink_sink sink = { &rows, rows_restart, add };
	int r;

	r = netlink_dump(netlink, list, &sink);
	*data = rows.data;
	*n = rows.n;
	*truncated = *truncated || rows.truncated;
	return r < 0 ? r : 0;
}

static int read_lists(int netns_fd, struct live *live)
{
	cleanup(netlink_close) struct netlink netlink = NETLINK_INIT;
	int r;

	r = netlink_open(&netlink, netns_fd, NETLINK_ROUTE);
	if (r < 0)
		return r;

#define READ(list, add, max, member)                                                   \
	read_list(&netlink, list, add, max, (void **)&live->member, &live->n_##member, \
	          &live->truncated)
	r = READ(NETLINK_LINKS, add_link, LIVE_LINKS_MAX, links);
	if (r == 0)
		r = READ(NETLINK_ADDRESSES, add_address, LIVE_ADDRESSES_MAX, addresses);
	if (r == 0)
		r = READ(NETLINK_ROUTES, add_route, LIVE_ROUTES_MAX, routes);
	if (r == 0)
		r = READ(NETLINK_RULES, add_rule, LIVE_RULES_MAX, rules);
#undef READ
	return r;
}

/* Tunnel */

static int set_tunnel(struct live *live, const struct wireguard_device *device)
{
	struct live_peer *peers = NULL;

	peers = calloc(device->n_peers + 1, sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	for (size_t i = 0; i < device->n_peers; i++) {
		const struct wireguard_peer *peer = &device->peers[i];
		struct live_peer *to = &peers[i];

		static_assert(sizeof(to->allowed) == sizeof(peer->allowed), "limits differ");
		memcpy(to->key, peer->key, sizeof(to->key));
		to->has_endpoint = peer->has_endpoint;
		to->endpoint = peer->endpoint;
		to->endpoint_port = peer->endpoint_port;
		memcpy(to->allowed, peer->allowed, sizeof(to->allowed));
		to->n_allowed = peer->n_allowed;
		to->handshake_us = peer->handshake_us;
		to->rx_bytes = peer->rx_bytes;
		to->tx_bytes = peer->tx_bytes;
	}

	free(live->tunnel.peers);
	live->tunnel = (struct live_tunnel){
		.readable = true,
		.read_at = clock_now(),
		.has_key = device->has_key,
		.listen_port = device->listen_port,
		.peers = peers,
		.n_peers = device->n_peers,
		.truncated = device->truncated,
	};
	memcpy(live->tunnel.key, device->key, sizeof(live->tunnel.key));
	live->tunnel_error[0] = '\0';
	return 0;
}

static void tunnel_unknown(struct live *live, const char *what, int error)
{
	free(live->tunnel.peers);
	live->tunnel = (struct live_tunnel){ 0 };
	snprintf(live->tunnel_error, sizeof(live->tunnel_error), "%s%s%s", what, error ? ": " : "",
	         error ? strerror(-error) : "");
}

/* No such thing in this kernel, or the link is none: another implementation may own it. */
static bool not_the_kernels(int error)
{
	return error == -ENOENT || error == -EOPNOTSUPP;
}

static int read_kernel_tunnel(int netns_fd, struct live *live)
{
	struct wireguard_device device;
	int r;

	r = wireguard_read(netns_fd, live->tunnel_ifindex, &device);
	if (r == 0)
		r = set_tunnel(live, &device);
	return r;
}

int live_read(int netns_fd, struct live *live)
{
	cleanup(live_clearp) struct live new = { 0 };
	const struct live_link *tunnel;
	int r;

	r = read_lists(netns_fd, &new);
	if (r < 0) {
		live_clear(live);
		live->error = r;
		live->read_at = clock_now();
		return r;
	}

	new.readable = true;
	new.read_at = clock_now();
	tunnel = live_tunnel_link(&new);
	new.tunnel_ifindex = tunnel ? tunnel->ifindex : 0;
	if (!tunnel)
		tunnel_unknown(&new, "no tunnel interface", 0);
	else
		tunnel_unknown(&new, "not read yet", 0);

	live_clear(live);
	*live = new;
	new = (struct live){ 0 };
	return 0;
}

static void on_tunnel_answer(struct wireguard_query *query, int error,
                             const struct wireguard_device *device);

/* The first name that somebody listens under; the link's present one is the last to try. */
static int ask_userspace(struct live_reader *reader, const char *first, const char *second)
{
	int r = -ENOENT;

	wireguard_query_cancel(&reader->query);
	if (first[0])
		r = wireguard_query_start(&reader->query, reader->loop,
		                          reader->options.wireguard_dir, first, on_tunnel_answer);
	if (r < 0 && second[0])
		r = wireguard_query_start(&reader->query, reader->loop,
		                          reader->options.wireguard_dir, second, on_tunnel_answer);
	return r;
}

static void on_tunnel_answer(struct wireguard_query *query, int error,
                             const struct wireguard_device *device)
{
	struct live_reader *reader = container_of(query, struct live_reader, query);
	struct live *live = reader->options.live;

	if (error == 0)
		error = set_tunnel(live, device);
	if (error < 0) {
		reader->stats->errors++;
		tunnel_unknown(live, "userspace WireGuard", error);
	}
	reader->options.changed(reader->options.user);
}

/* True when *live has the answer already; a userspace tunnel's comes later. */
static bool read_tunnel(struct live_reader *reader)
{
	struct live *live = reader->options.live;
	const struct live_link *link;
	int r;

	link = live_link_find(live, live->tunnel_ifindex);
	if (!link)
		return true;

	r = read_kernel_tunnel(reader->options.netns_fd, live);
	if (r < 0 && not_the_kernels(r)) {
		r = ask_userspace(reader, link->alias, link->name);
		if (r == 0)
			return false;
		tunnel_unknown(live, "neither the kernel's nor a userspace WireGuard answers", r);
		return true;
	}
	if (r < 0) {
		reader->stats->errors++;
		tunnel_unknown(live, "WireGuard", r);
	}
	return true;
}

/* Reading */

/* What was known of the tunnel holds until its implementation answers again. */
static void keep_tunnel(struct live *live, struct live_tunnel *old, char *old_error,
                        uint32_t old_ifindex)
{
	if (live->tunnel_ifindex == 0 || live->tunnel_ifindex != old_ifindex)
		return;
	free(live->tunnel.peers);
	live->tunnel = *old;
	*old = (struct live_tunnel){ 0 };
	memcpy(live->tunnel_error, old_error, sizeof(live->tunnel_error));
}

static void read_all(struct live_reader *reader)
{
	struct live *live = reader->options.live;
	struct live_tunnel old = live->tunnel;
	uint32_t old_ifindex = live->tunnel_ifindex;
	char old_error[sizeof(live->tunnel_error)];

	memcpy(old_error, live->tunnel_error, sizeof(old_error));
	live->tunnel = (struct live_tunnel){ 0 };

	reader->stats->readings++;
	if (live_read(reader->options.netns_fd, live) < 0)
		reader->stats->errors++;
	else
		keep_tunnel(live, &old, old_error, old_ifindex);
	free(old.peers);

	reader->read_ns = live->read_at.mono_ns;
	read_tunnel(reader);
}

/* A descriptor per subject is dear, so one timer serves both kinds of reading. */
static void read_later(struct live_reader *reader, bool everything, uint64_t delay_ns)
{
	reader->everything = everything;
	(void)timer_set(&reader->timer, delay_ns, 0);
}

static void read_next(struct live_reader *reader)
{
	if (reader->options.live->readable)
		read_later(reader, false, LIVE_TUNNEL_INTERVAL_NS);
	else
		read_later(reader, true, LIVE_DEBOUNCE_MAX_NS);
}

/*
 * A quiet namespace is read LIVE_DEBOUNCE_NS after a change. One that changes
 * again right after a reading waits twice as long each time: a pod may not make
 * us read all day.
 */
static void on_kernel_change(struct netlink_watch *watch)
{
	struct live_reader *reader = container_of(watch, struct live_reader, watch);
	uint64_t since = clock_now().mono_ns - reader->read_ns;

	if (since > 4 * reader->delay_ns)
		reader->delay_ns = LIVE_DEBOUNCE_NS;
	else if (reader->delay_ns < LIVE_DEBOUNCE_MAX_NS)
		reader->delay_ns *= 2;
	read_later(reader, true, reader->delay_ns);
}

static int on_due(struct timer *timer)
{
	struct live_reader *reader = container_of(timer, struct live_reader, timer);
	struct live *live = reader->options.live;
	bool changed = true;

	/* A watch that cannot be had again makes every reading a full one. */
	if (reader->everything || !reader->watch.source.loop) {
		(void)netlink_watch_rearm(&reader->watch);
		read_all(reader);
	} else {
		changed = live->tunnel_ifindex != 0 && read_tunnel(reader);
	}
	read_next(reader);
	if (changed)
		reader->options.changed(reader->options.user);
	return 0;
}

int live_reader_new(struct loop *loop, const struct live_reader_options *options,
                    struct live_reader_stats *stats, struct live_reader **out)
{
	cleanup(live_reader_freep) struct live_reader *reader = NULL;
	int r;

	reader = calloc(1, sizeof(*reader));
	if (!reader)
		return -ENOMEM;

	*reader = (struct live_reader){
		.options = *options,
		.stats = stats,
		.loop = loop,
		.watch = NETLINK_WATCH_INIT,
		.timer = TIMER_INIT,
		.query = WIREGUARD_QUERY_INIT,
		.delay_ns = LIVE_DEBOUNCE_NS,
	};
	r = timer_init(&reader->timer, loop, on_due);
	if (r < 0)
		return r;
	r = netlink_watch_open(&reader->watch, loop, options->netns_fd, NETLINK_TOPIC_ALL,
	                       on_kernel_change);
	if (r < 0)
		return r;

	read_all(reader);
	read_next(reader);
	*out = take_ptr(reader);
	return 0;
}

struct live_reader *live_reader_free(struct live_reader *reader)
{
	if (!reader)
		return NULL;

	netlink_watch_close(&reader->watch);
	timer_clear(&reader->timer);
	wireguard_query_cancel(&reader->query);
	free(reader);
	return NULL;
}
