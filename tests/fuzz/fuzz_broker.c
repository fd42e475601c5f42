/* sources: agent/broker/broker.c agent/broker/serve.c agent/broker/serve_flows.c agent/broker/guard.c agent/broker/namespaces.c agent/broker/protocol.c agent/broker/tunnel_answer.c agent/io/netns.c agent/io/listener.c agent/io/netlink_socket.c agent/io/wireguard.c agent/io/wireguard_uapi.c agent/io/probe_socket.c agent/flow/clsact.c agent/flow/fail.c agent/flow/interface.c agent/flow/links.c agent/flow/loader.c agent/flow/loader_attach.c agent/flow/object.c agent/flow/pins.c agent/flow/privilege.c agent/flow/probers.c */
/*
 * Requests of a worker that was taken over: a sealed broker answers each with
 * one reply of the right size, and grants none of what it must not. The process
 * gives its privileges up first, so that nothing here touches the machine.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/capabilities.h"
#include "base/loop.h"
#include "broker/broker.h"
#include "broker/protocol.h"

#define MESSAGES_MAX 8
#define HEAD offsetof(struct broker_request, setup)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* Not the user: the fuzzer has files of its own to write. */
	assert(capabilities_keep(0) == 0);
	return 0;
}

static void stop(void *user)
{
	loop_stop(user);
}

/* Only an operator's signal leads to it. */
static void never(void *user)
{
	(void)user;
	assert(false);
}

static void send_setup(int fd)
{
	static struct broker_request request;

	request.operation = BROKER_SETUP;
	strcpy(request.setup.node, "fuzz");
	strcpy(request.setup.netns_dir, "/nowhere/netns");
	strcpy(request.setup.cgroup_root, "/nowhere/cgroup");
	assert(send(fd, &request, broker_request_size(BROKER_SETUP), 0) > 0);
	request.operation = BROKER_SEAL;
	assert(send(fd, &request, broker_request_size(BROKER_SEAL), 0) > 0);
}

/* One byte tells the operation, two how many bytes less than it wants; the rest is the body. */
static size_t send_messages(int fd, const uint8_t *data, size_t size, uint32_t *operation)
{
	static struct broker_request request;
	size_t n = 0;

	while (size >= 3 && n < MESSAGES_MAX) {
		size_t wanted, body, cut = (size_t)data[1] << 8 | data[2];

		memset(&request, 0, sizeof(request));
		request.operation = data[0] % (_BROKER_OPERATION_MAX + 1);
		request.sequence = (uint32_t)n;
		wanted = broker_request_size(request.operation) ?: sizeof(request);
		data += 3;
		size -= 3;
		body = wanted - HEAD < size ? wanted - HEAD : size;
		memcpy((uint8_t *)&request + HEAD, data, body);
		data += body;
		size -= body;
		wanted -= cut < wanted ? cut : 0;
		operation[n++] = wanted == broker_request_size(request.operation)
		                         ? request.operation
		                         : _BROKER_OPERATION_MAX;
		assert(send(fd, &request, wanted, MSG_DONTWAIT) > 0);
	}
	return n;
}

static void check_reply(int fd, uint32_t operation)
{
	static struct broker_reply reply;
	ssize_t n = recv(fd, &reply, sizeof(reply), MSG_DONTWAIT);

	assert(n >= (ssize_t)offsetof(struct broker_reply, inode));
	assert(reply.result <= 0 && reply.result > -4096);
	assert(memchr(reply.text, '\0', sizeof(reply.text)));
	if (operation == _BROKER_OPERATION_MAX)
		assert(reply.result == -EINVAL);
	else
		assert((size_t)n == broker_reply_size(operation));
	/* Sealed, and without namespaces, privileges or destinations nothing is left to hand out but this. */
	if (reply.descriptors)
		assert(operation == BROKER_NETLINK || operation == BROKER_FILE);
	if (operation == BROKER_SETUP || operation == BROKER_LISTEN ||
	    operation == BROKER_CONNECT || operation == BROKER_NETNS)
		assert(reply.result < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct broker_options options = { .config_path = "/nowhere/config.yaml",
		                                .once = true };
	struct broker_events events = { .gone = stop, .reload = never };
	uint32_t operation[MESSAGES_MAX];
	struct broker *broker;
	struct loop *loop;
	int pair[2];
	size_t n;

	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	assert(loop_new(&loop) == 0);
	events.user = loop;
	assert(broker_new(loop, pair[0], &options, &events, &broker) == 0);
	send_setup(pair[1]);
	n = send_messages(pair[1], data, size, operation);
	shutdown(pair[1], SHUT_WR);
	assert(loop_run(loop) == 0);

	/* The setup and the seal were granted, and then everything is as it must be. */
	check_reply(pair[1], BROKER_SEAL);
	check_reply(pair[1], BROKER_SEAL);
	for (size_t i = 0; i < n; i++)
		check_reply(pair[1], operation[i]);
	broker_free(broker);
	loop_free(loop);
	close(pair[1]);
	return 0;
}
