#include "broker/client.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/path.h"
#include "io/privileged.h"

/* One per process, as what it stands for. */
static int broker_fd = -1;
static uint32_t sequence;

static void close_fds(const int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
}

/* Descriptors that came with the message: they are ours now, whatever else is wrong. */
static uint32_t take_descriptors(struct msghdr *message, int fds[static BROKER_DESCRIPTORS_MAX])
{
	uint32_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
		     at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (n < BROKER_DESCRIPTORS_MAX)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

/* Bytes of the next message; -EAGAIN when there is none within BROKER_TIMEOUT_NS. */
static ssize_t receive(struct broker_reply *reply, int fds[static BROKER_DESCRIPTORS_MAX],
                       uint32_t *n_fds)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(BROKER_DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec data = { reply, sizeof(*reply) };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(broker_fd, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) /* ECONNRESET: it ended with requests of ours unread */
		return errno == ECONNRESET ? -EPIPE : -errno;
	*n_fds = take_descriptors(&message, fds);
	if (n == 0)
		return -EPIPE;
	return message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : n;
}

static bool is_late(ssize_t n, const struct broker_request *request,
                    const struct broker_reply *reply)
{
	return n >= (ssize_t)sizeof(reply->sequence) && reply->sequence != request->sequence;
}

static int await(const struct broker_request *request, struct broker_reply *reply,
                 int fds[static BROKER_DESCRIPTORS_MAX], uint32_t *n_fds)
{
	ssize_t n;

	/* The late answer to a question that was given up. */
	for (;;) {
		*n_fds = 0;
		n = receive(reply, fds, n_fds);
		if (!is_late(n, request, reply))
			break;
		close_fds(fds, *n_fds);
	}
	if (n >= 0 && (size_t)n == broker_reply_size(request->operation) &&
	    reply->descriptors == *n_fds && reply->result <= 0 && reply->result > -4096) {
		reply->text[sizeof(reply->text) - 1] = '\0';
		return 0;
	}
	close_fds(fds, *n_fds);
	*n_fds = 0;
	if (n == -EAGAIN)
		return -ETIMEDOUT;
	return n < 0 ? (int)n : -EPROTO;
}

int broker_call(struct broker_request *request, struct broker_reply *reply, int *fds, uint32_t n)
{
	int got[BROKER_DESCRIPTORS_MAX];
	uint32_t n_got = 0;
	int r;

	request->sequence = ++sequence;
	request->cpu = (uint32_t)sched_getcpu();
	memset(reply, 0, broker_reply_size(request->operation));
	if (send(broker_fd, request, broker_request_size(request->operation), MSG_NOSIGNAL) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	r = await(request, reply, got, &n_got);
	if (r < 0) {
		memset(reply, 0, broker_reply_size(request->operation));
		return r;
	}
	if (reply->result == 0 && n_got == n) {
		for (uint32_t i = 0; i < n; i++)
			fds[i] = got[i];
		return 0;
	}
	close_fds(got, n_got);
	return reply->result < 0 ? reply->result : -EPROTO;
}

/* Requests and replies are some kB: one of each, not on the stack, serves the single thread. */
static struct broker_request *request_of(enum broker_operation operation)
{
	static struct broker_request request;

	memset(&request, 0, broker_request_size(operation));
	request.operation = operation;
	return &request;
}

static struct broker_reply *reply_room(void)
{
	static struct broker_reply reply;

	return &reply;
}

static int ask_fd(struct broker_request *request, int *fd)
{
	return broker_call(request, reply_room(), fd, 1);
}

static int set_path(struct broker_request *request, const char *path)
{
	int n = snprintf(request->path, sizeof(request->path), "%s", path);

	return n < (int)sizeof(request->path) ? 0 : -ENAMETOOLONG;
}

static int inode_of(int netns_fd, uint64_t *inode)
{
	struct stat st;

	*inode = 0;
	if (netns_fd < 0)
		return 0;
	if (fstat(netns_fd, &st) < 0)
		return -errno;
	*inode = (uint64_t)st.st_ino;
	return 0;
}

static int ask_netns(const char *path, int *fd, uint64_t *inode)
{
	struct broker_request *request = request_of(BROKER_NETNS);
	struct broker_reply *reply = reply_room();
	int r = set_path(request, path);

	r = r ?: broker_call(request, reply, fd, 1);
	if (r == 0)
		*inode = reply->inode;
	return r;
}

static int ask_connect(int netns_fd, int type, const struct ip *peer, uint16_t port, int *fd)
{
	struct broker_request *request = request_of(BROKER_CONNECT);
	int r = inode_of(netns_fd, &request->connect.netns);

	request->connect.peer = *peer;
	request->connect.port = port;
	request->connect.stream = type == SOCK_STREAM;
	return r ?: ask_fd(request, fd);
}

static int ask_netlink(int netns_fd, uint32_t groups, int *fd)
{
	struct broker_request *request = request_of(BROKER_NETLINK);
	int r = inode_of(netns_fd, &request->netlink.netns);

	request->netlink.groups = groups;
	return r ?: ask_fd(request, fd);
}

static int ask_tunnel(int netns_fd, uint32_t ifindex, struct wireguard_device *out)
{
	struct broker_request *request = request_of(BROKER_TUNNEL);
	struct broker_reply *reply = reply_room();
	int r = inode_of(netns_fd, &request->tunnel.netns);

	request->tunnel.ifindex = ifindex;
	r = r ?: broker_call(request, reply, NULL, 0);
	if (r < 0)
		return r;
	if (reply->tunnel.n_peers > LIVE_PEERS_MAX)
		return -EPROTO;
	for (size_t i = 0; i < reply->tunnel.n_peers; i++)
		if (reply->tunnel.peers[i].n_allowed > LIVE_ALLOWED_IPS_MAX)
			return -EPROTO;
	*out = reply->tunnel;
	return 0;
}

static int ask_tunnel_answer(const char *name, int *fd)
{
	struct broker_request *request = request_of(BROKER_TUNNEL_ANSWER);

	if (snprintf(request->name, sizeof(request->name), "%s", name) >=
	    (int)sizeof(request->name))
		return -EINVAL;
	return ask_fd(request, fd);
}

static int ask_file(const char *path, int *fd)
{
	struct broker_request *request = request_of(BROKER_FILE);
	cleanup(mem_freep) char *absolute = path_absolute(path);
	int r = absolute ? set_path(request, absolute) : -errno;

	return r ?: ask_fd(request, fd);
}

static int ask_listen(const struct listener_address *address, int *fd)
{
	struct broker_request *request = request_of(BROKER_LISTEN);

	request->listen = *address;
	return ask_fd(request, fd);
}

void broker_client_start(int fd)
{
	static const struct privileged through_broker = {
		.netns_open = ask_netns,
		.connect = ask_connect,
		.netlink = ask_netlink,
		.tunnel = ask_tunnel,
		.tunnel_answer = ask_tunnel_answer,
		.file = ask_file,
		.listen = ask_listen,
	};

	const struct timeval patience = { .tv_sec = BROKER_TIMEOUT_NS / NSEC_PER_SEC };

	broker_fd = fd;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* Questions that nobody takes fill the socket: the next one would wait for ever. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	privileged_set(&through_broker);
	file_set_opener(ask_file);
}

bool broker_client_started(void)
{
	return broker_fd >= 0;
}

int broker_client_setup(const struct broker_setup *setup)
{
	struct broker_request *request = request_of(BROKER_SETUP);

	request->setup = *setup;
	return broker_call(request, reply_room(), NULL, 0);
}

int broker_client_seal(void)
{
	return broker_call(request_of(BROKER_SEAL), reply_room(), NULL, 0);
}
