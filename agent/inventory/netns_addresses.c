#include "inventory/netns_addresses.h"

#include <linux/netlink.h>
#include <string.h>

#include "base/cleanup.h"
#include "io/netlink.h"

static void forget_addresses(void *user)
{
	((struct netns_addresses *)user)->n = 0;
}

/* Loopback and link-local addresses are everywhere and tell no pod from another. */
static bool tells_apart(const struct netlink_address *address)
{
	const uint8_t *b = address->ip.b;

	/* A mapped address in the IPv6 table is not the IPv4 address it looks like. */
	if (address->ipv6)
		return !ip_is_v4(&address->ip) && !(b[0] == 0xfe && (b[1] & 0xc0) == 0x80) &&
		       address->len != 0 && !(b[0] == 0 && b[15] == 1);
	return b[12] != 127;
}

static int add_address(void *user, const union netlink_row *row)
{
	struct netns_addresses *addresses = user;

	if (!tells_apart(&row->address))
		return 0;
	if (addresses->n == NETNS_ADDRESSES_MAX)
		return 1;
	addresses->list[addresses->n++] = row->address.ip;
	return 0;
}

int netns_addresses_read(int netns_fd, struct netns_addresses *out)
{
	struct netns_addresses addresses = { .n = 0 };
	cleanup(netlink_close) struct netlink netlink = NETLINK_INIT;
	struct netlink_sink sink = { &addresses, forget_addresses, add_address };
	int r;

	r = netlink_open(&netlink, netns_fd, NETLINK_ROUTE);
	if (r == 0)
		r = netlink_dump(&netlink, NETLINK_ADDRESSES, &sink);
	if (r < 0)
		return r;

	*out = addresses;
	return 0;
}

bool netns_addresses_have(const struct netns_addresses *addresses, const struct ip *ip)
{
	for (size_t i = 0; i < addresses->n; i++)
		if (memcmp(&addresses->list[i], ip, sizeof(*ip)) == 0)
			return true;
	return false;
}

bool netns_addresses_equal(const struct netns_addresses *a, const struct netns_addresses *b)
{
	return a->n == b->n && memcmp(a->list, b->list, a->n * sizeof(a->list[0])) == 0;
}
