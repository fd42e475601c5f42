/* sources: agent/io/netlink.c agent/io/netlink_socket.c agent/io/netns.c agent/io/wireguard.c agent/io/wireguard_uapi.c */
/* Any bytes as a message of the kernel's: read within them, and what is taken is within its bounds. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "io/netlink.h"
#include "io/wireguard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_cidr(const struct cidr *cidr)
{
	assert(cidr->len <= 128);
}

static void check_row(enum netlink_list list, const union netlink_row *row)
{
	switch (list) {
	case NETLINK_LINKS:
		assert(memchr(row->link.name, '\0', sizeof(row->link.name)));
		assert(memchr(row->link.kind, '\0', sizeof(row->link.kind)));
		assert(memchr(row->link.alias, '\0', sizeof(row->link.alias)));
		break;
	case NETLINK_ADDRESSES:
		assert(row->address.len <= 128);
		break;
	case NETLINK_ROUTES:
		check_cidr(&row->route.dst);
		break;
	case NETLINK_RULES:
		check_cidr(&row->rule.src);
		check_cidr(&row->rule.dst);
		break;
	case _NETLINK_LIST_MAX:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Messages are padded to four bytes, and libmnl reads the last attribute as if it were. */
	struct nlmsghdr *message = calloc(1, sizeof(*message) + NLMSG_ALIGN(size));
	struct wireguard_device device = { 0 };

	assert(message);
	*message = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(sizeof(*message) + size) };
	memcpy(message + 1, data, size);
	for (int list = 0; list < _NETLINK_LIST_MAX; list++) {
		union netlink_row row = { 0 };
		int r = netlink_decode((enum netlink_list)list, message, &row);

		assert(r == 0 || r == 1 || r == -EBADMSG);
		if (r == 0)
			check_row((enum netlink_list)list, &row);
	}
	/* A second message goes on where the first ended. */
	for (int i = 0; i < 2; i++) {
		(void)wireguard_decode(message, &device);
		assert(device.n_peers <= LIVE_PEERS_MAX);
		for (size_t p = 0; p < device.n_peers; p++)
			assert(device.peers[p].n_allowed <= LIVE_ALLOWED_IPS_MAX);
	}
	free(message);
	return 0;
}
