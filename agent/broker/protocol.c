#include "broker/protocol.h"

#include <string.h>

#define BODY(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
#define ASKS(member) BODY(struct broker_request, member)
#define ASKS_NOTHING offsetof(struct broker_request, setup)
#define TELLS(member) BODY(struct broker_reply, member)
#define TELLS_NOTHING offsetof(struct broker_reply, inode)

static const struct {
	size_t request, reply;
} sizes[_BROKER_OPERATION_MAX] = {
	[BROKER_SETUP] = { ASKS(setup), TELLS_NOTHING },
	[BROKER_LISTEN] = { ASKS(listen), TELLS_NOTHING },
	[BROKER_SEAL] = { ASKS_NOTHING, TELLS_NOTHING },
	[BROKER_FILE] = { ASKS(path), TELLS_NOTHING },
	[BROKER_NETNS] = { ASKS(path), TELLS(inode) },
	[BROKER_CONNECT] = { ASKS(connect), TELLS_NOTHING },
	[BROKER_NETLINK] = { ASKS(netlink), TELLS_NOTHING },
	[BROKER_TUNNEL] = { ASKS(tunnel), TELLS(tunnel) },
	[BROKER_TUNNEL_ANSWER] = { ASKS(name), TELLS_NOTHING },
	[BROKER_FLOWS_START] = { ASKS_NOTHING, TELLS(flows) },
	[BROKER_FLOWS_ADOPTED] = { ASKS(number), TELLS(adopted) },
	[BROKER_FLOWS_ATTACH] = { ASKS(attach), TELLS(owner) },
	[BROKER_FLOWS_ATTACH_CGROUP] = { ASKS(attach_cgroup), TELLS(owner) },
	[BROKER_FLOWS_DETACH] = { ASKS(number), TELLS_NOTHING },
	[BROKER_FLOWS_COUNTS] = { ASKS_NOTHING, TELLS(counts) },
	[BROKER_FLOWS_STOP] = { ASKS(keep), TELLS_NOTHING },
};

size_t broker_request_size(uint32_t operation)
{
	return operation < _BROKER_OPERATION_MAX ? sizes[operation].request : 0;
}

size_t broker_reply_size(uint32_t operation)
{
	return operation < _BROKER_OPERATION_MAX ? sizes[operation].reply : 0;
}

static void tidy(bool *value)
{
	uint8_t byte;

	memcpy(&byte, value, sizeof(byte));
	*value = byte != 0;
}

void broker_request_tidy(struct broker_request *request)
{
	switch (request->operation) {
	case BROKER_SETUP:
		for (size_t i = 0; i < BROKER_DESTINATIONS_MAX; i++) {
			tidy(&request->setup.destinations[i].stream);
			tidy(&request->setup.destinations[i].any);
			tidy(&request->setup.destinations[i].cluster);
		}
		break;
	case BROKER_LISTEN:
		tidy(&request->listen.local);
		break;
	case BROKER_CONNECT:
		tidy(&request->connect.stream);
		break;
	case BROKER_FLOWS_ATTACH:
		for (size_t i = 0; i < LIVE_LINKS_MAX; i++)
			tidy(&request->attach.links[i].is_tunnel);
		break;
	case BROKER_FLOWS_STOP:
		tidy(&request->keep);
		break;
	default:
		break;
	}
}
