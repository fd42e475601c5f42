#include "io/wireguard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/time_types.h>
#include <linux/wireguard.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "io/netlink_socket.h"
#include "io/privileged.h"

#define V4_MAPPED_BITS 96

static bool get_bytes(const struct nlattr *attr, void *out, size_t size)
{
	if (mnl_attr_get_payload_len(attr) != size)
		return false;
	memcpy(out, mnl_attr_get_payload(attr), size);
	return true;
}

static void set_v4(struct ip *ip, const void *data)
{
	*ip = (struct ip){ .b = { [10] = 0xff, [11] = 0xff } };
	memcpy(ip->b + 12, data, 4);
}

static bool get_endpoint(const struct nlattr *attr, struct wireguard_peer *peer)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (get_bytes(attr, &v4, sizeof(v4)) && v4.sin_family == AF_INET) {
		set_v4(&peer->endpoint, &v4.sin_addr);
		peer->endpoint_port = ntohs(v4.sin_port);
	} else if (get_bytes(attr, &v6, sizeof(v6)) && v6.sin6_family == AF_INET6) {
		memcpy(peer->endpoint.b, &v6.sin6_addr, sizeof(peer->endpoint.b));
		peer->endpoint_port = ntohs(v6.sin6_port);
	} else {
		return false;
	}
	peer->has_endpoint = true;
	return true;
}

static bool get_handshake(const struct nlattr *attr, struct wireguard_peer *peer)
{
	struct __kernel_timespec time;

	if (!get_bytes(attr, &time, sizeof(time)) || time.tv_sec < 0 ||
	    time.tv_sec > INT64_MAX / 1000000 - 1 || time.tv_nsec < 0 || time.tv_nsec > 999999999)
		return false;
	peer->handshake_us = (int64_t)time.tv_sec * 1000000 + (int64_t)time.tv_nsec / 1000;
	return true;
}

static bool decode_allowed(const struct nlattr *nest, struct cidr *out)
{
	const struct nlattr *attr, *ip = NULL;
	uint16_t family = 0;
	uint8_t len = 0;

	mnl_attr_for_each_nested(attr, nest)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == WGALLOWEDIP_A_FAMILY && !get_bytes(attr, &family, sizeof(family)))
			return false;
		if (type == WGALLOWEDIP_A_CIDR_MASK && !get_bytes(attr, &len, sizeof(len)))
			return false;
		if (type == WGALLOWEDIP_A_IPADDR)
			ip = attr;
	}
	if (!ip)
		return false;
	if (family == AF_INET && len <= 32 && mnl_attr_get_payload_len(ip) == 4) {
		set_v4(&out->net, mnl_attr_get_payload(ip));
		out->len = (uint8_t)(V4_MAPPED_BITS + len);
		return true;
	}
	out->len = len;
	return family == AF_INET6 && len <= 128 && get_bytes(ip, out->net.b, sizeof(out->net.b));
}

static bool decode_allowed_list(const struct nlattr *list, struct wireguard_peer *peer,
                                struct wireguard_device *device)
{
	const struct nlattr *attr;
	struct cidr cidr;

	mnl_attr_for_each_nested(attr, list)
	{
		if (!decode_allowed(attr, &cidr))
			return false;
		if (peer->n_allowed == LIVE_ALLOWED_IPS_MAX)
			device->truncated = true;
		else
			peer->allowed[peer->n_allowed++] = cidr;
	}
	return true;
}

static bool peer_attr(const struct nlattr *attr, struct wireguard_peer *peer,
                      struct wireguard_device *device)
{
	switch (mnl_attr_get_type(attr)) {
	case WGPEER_A_PUBLIC_KEY:
		return get_bytes(attr, peer->key, sizeof(peer->key));
	case WGPEER_A_ENDPOINT:
		return get_endpoint(attr, peer);
	case WGPEER_A_LAST_HANDSHAKE_TIME:
		return get_handshake(attr, peer);
	case WGPEER_A_RX_BYTES:
		return get_bytes(attr, &peer->rx_bytes, sizeof(peer->rx_bytes));
	case WGPEER_A_TX_BYTES:
		return get_bytes(attr, &peer->tx_bytes, sizeof(peer->tx_bytes));
	case WGPEER_A_ALLOWEDIPS:
		return decode_allowed_list(attr, peer, device);
	default: /* the preshared key among them */
		return true;
	}
}

/* Its key alone says whether the peer is new or the last one goes on. */
static struct wireguard_peer *peer_of(const struct nlattr *nest, struct wireguard_device *device)
{
	struct wireguard_peer *last = device->n_peers ? &device->peers[device->n_peers - 1] : NULL;
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr,
	                         nest) if (mnl_attr_get_type(attr) == WGPEER_A_PUBLIC_KEY && last &&
	                                   mnl_attr_get_payload_len(attr) == sizeof(last->key) &&
	                                   memcmp(mnl_attr_get_payload(attr), last->key,
	                                          sizeof(last->key)) == 0) return last;
	if (device->n_peers == LIVE_PEERS_MAX)
		return NULL;

	last = &device->peers[device->n_peers++];
	*last = (struct wireguard_peer){ 0 };
	return last;
}

/* 1: the device has no room for more. */
static int decode_peers(const struct nlattr *list, struct wireguard_device *device)
{
	const struct nlattr *nest, *attr;

	mnl_attr_for_each_nested(nest, list)
	{
		struct wireguard_peer *peer = peer_of(nest, device);

		if (!peer) {
			device->truncated = true;
			return 1;
		}
		mnl_attr_for_each_nested(attr,
		                         nest) if (!peer_attr(attr, peer, device)) return -EBADMSG;
	}
	return 0;
}

int wireguard_decode(const struct nlmsghdr *message, struct wireguard_device *device)
{
	const struct nlattr *attr;
	int r = 0;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct genlmsghdr))
		return -EBADMSG;

	mnl_attr_for_each(attr, message, sizeof(struct genlmsghdr))
	{
		switch (mnl_attr_get_type(attr)) {
		case WGDEVICE_A_PUBLIC_KEY:
			if (!get_bytes(attr, device->key, sizeof(device->key)))
				return -EBADMSG;
			device->has_key = true;
			break;
		case WGDEVICE_A_LISTEN_PORT:
			if (!get_bytes(attr, &device->listen_port, sizeof(device->listen_port)))
				return -EBADMSG;
			break;
		case WGDEVICE_A_PEERS:
			r = decode_peers(attr, device);
			if (r != 0)
				return r;
			break;
		default: /* the private key among them */
			break;
		}
	}
	return 0;
}

static void start_message(void *space, uint16_t family, uint8_t command, uint8_t version,
                          uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(space);
	struct genlmsghdr *head;

	request->nlmsg_type = family;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	head = mnl_nlmsg_put_extra_header(request, sizeof(*head));
	*head = (struct genlmsghdr){ .cmd = command, .version = version };
}

static int take_family(void *user, const struct nlmsghdr *message)
{
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct genlmsghdr))
		return -EBADMSG;
	mnl_attr_for_each(
		attr, message,
		sizeof(struct genlmsghdr)) if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
	                                       !get_bytes(attr, user,
	                                                  sizeof(uint16_t))) return -EBADMSG;
	return 0;
}

static int find_family(struct netlink *netlink, uint16_t *family)
{
	_Alignas(struct nlmsghdr) char space[128];
	uint16_t found = 0;
	int r;

	start_message(space, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, NLM_F_ACK);
	mnl_attr_put_strz((struct nlmsghdr *)space, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
	r = netlink_request(netlink, (struct nlmsghdr *)space, take_family, &found, NULL);
	if (r < 0)
		return r;
	if (found == 0)
		return -ENOENT;

	*family = found;
	return 0;
}

static int take_device(void *user, const struct nlmsghdr *message)
{
	return wireguard_decode(message, user);
}

static int ask_device(struct netlink *netlink, uint16_t family, uint32_t ifindex,
                      struct wireguard_device *device)
{
	_Alignas(struct nlmsghdr) char space[128];
	bool inconsistent = false;
	int r = 0;

	for (int i = 0; i < NETLINK_DUMP_ATTEMPTS; i++) {
		*device = (struct wireguard_device){ 0 };
		start_message(space, family, WG_CMD_GET_DEVICE, WG_GENL_VERSION, NLM_F_DUMP);
		mnl_attr_put_u32((struct nlmsghdr *)space, WGDEVICE_A_IFINDEX, ifindex);
		r = netlink_request(netlink, (struct nlmsghdr *)space, take_device, device,
		                    &inconsistent);
		netlink_wipe();
		if (r != 0 || !inconsistent)
			return r < 0 ? r : 0;
	}
	return -EINTR;
}

int wireguard_read(int netns_fd, uint32_t ifindex, struct wireguard_device *out)
{
	cleanup(netlink_close) struct netlink netlink = NETLINK_INIT;
	struct wireguard_device device;
	uint16_t family;
	int r;

	if (privileged())
		return privileged()->tunnel(netns_fd, ifindex, out);
	r = netlink_open(&netlink, netns_fd, NETLINK_GENERIC);
	if (r < 0)
		return r;
	r = find_family(&netlink, &family);
	if (r < 0)
		return r;
	r = ask_device(&netlink, family, ifindex, &device);
	if (r < 0)
		return r;

	*out = device;
	return 0;
}
